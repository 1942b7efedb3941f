/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/elf/elf_client.h"

#include <elf.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "sandbox/elf/elf_reply.h"

#define READER      "hugexec-elf-reader"
#define ADDRESS_MAX (UINT64_C(1) << 63)

static int start(struct reader *reader, int file_fd, const char *mode, struct error *err)
{
	const char *const words[] = {mode, NULL};
	return reader_start(reader, READER, words, file_fd, REASON_ELF_READER, err);
}

int elf_reader_start(struct reader *reader, int file_fd, struct error *err)
{
	return start(reader, file_fd, NULL, err);
}

/* The reader has read a stranger's file: what it says is checked as if the stranger had said it. */
static bool is_sane(const struct elf_info *info)
{
	if (info->elf_class != ELFCLASS32 && info->elf_class != ELFCLASS64)
		return false;
	if (info->has_interp > 1 || info->build_id_bytes > ELF_BUILD_ID_MAX || info->segment_count > ELF_SEGMENTS_MAX)
		return false;
	if (info->relro_vaddr >= ADDRESS_MAX || info->relro_bytes >= ADDRESS_MAX - info->relro_vaddr)
		return false;
	for (unsigned i = 0; i < info->segment_count; i++) {
		const struct elf_segment *segment = &info->segments[i];
		if (segment->vaddr >= ADDRESS_MAX || segment->mem_bytes >= ADDRESS_MAX - segment->vaddr ||
		    segment->file_off >= ADDRESS_MAX || segment->file_bytes >= ADDRESS_MAX - segment->file_off ||
		    segment->file_bytes > segment->mem_bytes)
			return false;
	}
	return true;
}

int elf_answer_check(const struct elf_answer *answer, struct elf_info *out, struct error *err)
{
	if (answer->magic != ELF_ANSWER_MAGIC)
		return error_set(err, REASON_ELF_READER, "no answer from " READER);
	if (answer->status == ELF_ANSWER_NOT_ELF)
		return error_set(err, REASON_ELF_INVALID, "not an ELF file");
	if (answer->status != ELF_ANSWER_OK || !is_sane(&answer->info))
		return error_set(err, REASON_ELF_INVALID, "its ELF headers make no sense");
	*out = answer->info;
	return 0;
}

int elf_reader_finish(struct reader *reader, int timeout_ms, struct elf_info *out, struct error *err)
{
	struct elf_answer answer;
	size_t got = reader_read(reader, &answer, sizeof answer, now_ms() + timeout_ms);
	reader_end(reader);
	if (got < sizeof answer)
		return error_set(err, REASON_ELF_READER, "no answer from " READER);
	return elf_answer_check(&answer, out, err);
}

/* Whether a symbol makes sense; its name is made fit for a line of text. */
static bool clean_symbol(struct elf_symbol *symbol)
{
	symbol->name[ELF_SYMBOL_NAME_MAX - 1] = '\0';
	for (char *at = symbol->name; *at; at++) {
		if (*at <= ' ' || *at > '~')
			*at = '?';
	}
	return symbol->name[0] && symbol->bytes > 0 && symbol->bytes < ADDRESS_MAX && symbol->file_off < ADDRESS_MAX;
}

/* Hand on what READER tells. Returns 1 if these were all, 0 if the reader told less or nonsense, -1 for EACH. */
static int hand_on(const struct reader *reader, int64_t deadline_ms,
                   int (*each)(const struct elf_symbol *symbol, void *context), void *context)
{
	static const struct elf_symbol last;
	struct elf_symbol batch[256];
	for (uint32_t count = 0; count <= ELF_SYMBOLS_MAX;) {
		size_t got = reader_read(reader, batch, sizeof batch, deadline_ms) / sizeof batch[0];
		for (size_t i = 0; i < got; i++, count++) {
			if (memcmp(&batch[i], &last, sizeof last) == 0)
				return 1;
			if (!clean_symbol(&batch[i]))
				return 0;
			if (each(&batch[i], context) < 0)
				return -1;
		}
		if (got < sizeof batch / sizeof batch[0])
			break;
	}
	return 0;
}

int elf_read_symbols(int file_fd, int timeout_ms, int (*each)(const struct elf_symbol *symbol, void *context),
                     void *context, struct error *err)
{
	struct reader reader;
	int64_t deadline_ms = now_ms() + timeout_ms;
	if (start(&reader, file_fd, ELF_READER_SYMBOLS, err) < 0)
		return -1;
	int result = hand_on(&reader, deadline_ms, each, context);
	reader_end(&reader);
	if (result == 0)
		error_set(err, REASON_ELF_INVALID, "its symbols could not all be read in %d ms", timeout_ms);
	return result == 1 ? 0 : -1;
}

const char *elf_build_id_hex(const struct elf_info *info, char *buf)
{
	buf[0] = '\0';
	for (unsigned i = 0; i < info->build_id_bytes && i < ELF_BUILD_ID_MAX; i++)
		snprintf(buf + (size_t)2 * i, 3, "%02x", info->build_id[i]);
	return buf;
}
