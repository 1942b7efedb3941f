/* SPDX-License-Identifier: Apache-2.0 */
/*
 * size.h - byte counts as people write and read them.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * KIB)
#define GIB (UINT64_C(1024) * MIB)

/*
 * Parse "4096", "64K", "2M", "1G" or "1T" (powers of 1024, suffix in either case, nothing else around it) to bytes.
 * Returns 0, or -1 if TEXT is no size or does not fit 64 bits; then *OUT_BYTES is untouched.
 */
int size_parse(const char *text, uint64_t *out_bytes);

/* "21.0 MiB", "512 KiB", "0 B" into BUF (16 bytes are enough). Returns BUF. */
const char *size_format(uint64_t bytes, char *buf, size_t buf_bytes);
