/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mm/mapping_build_id.h - the build ID of a mapped file, as the kernel reads it: no process, no parser of our own.
 */
#pragma once

#include <sys/types.h>

#include <stdint.h>

/*
 * The build ID of the file that PID has mapped at ADDR of its own, in hexadecimal, into HEX of SIZE bytes.
 * ioctl(PROCMAP_QUERY) on /proc/PID/maps: Linux 6.11. Returns 0, with "" if the file has none; -1 if the kernel cannot
 * say: it is older, nothing is mapped there, or /proc/PID/maps may not be read. HEX is "" then.
 */
int mapping_build_id(pid_t pid, uint64_t tracee_addr, char *hex, size_t size);
