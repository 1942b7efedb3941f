/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An answer of any bytes, as a reader that was taken over might give it: what passes the check is safe to plan with.
 */
#include "fuzzing.h"
#include "remap/plan_estimate.h"
#include "remap/text_blocks.h"
#include "sandbox/elf/elf_reply.h"

static void check_forecast(const struct elf_info *info, const struct settings *settings, const struct page_sizes *pages,
                           uint64_t page_bytes)
{
	struct forecast forecast;
	forecast_make(info, settings, pages, page_bytes, &forecast);
	MUST(forecast.fewest_bytes <= forecast.most_bytes);
	MUST(settings->round_out || forecast.most_bytes <= forecast.text_bytes);
	MUST(forecast.most_bytes % page_bytes == 0 && forecast.file_bytes % pages->huge_bytes == 0);
	MUST(forecast.most_bytes > 0 || forecast.file_bytes > 0 || error_is_set(&forecast.reason));
}

static void check_text_slots(const struct elf_info *info, uint64_t huge_bytes, bool is_library)
{
	struct text_slots slots;
	uint64_t bytes = 0;
	text_slots_of(info, is_library, huge_bytes, &slots);
	MUST(slots.count <= ELF_SEGMENTS_MAX && (slots.count > 0 || error_is_set(&slots.reason)));
	for (unsigned i = 0; i < slots.count; i++) {
		const struct file_range *range = &slots.ranges[i];
		MUST(range->bytes > 0 && (range->file_off | range->bytes) % huge_bytes == 0);
		bytes += range->bytes;
	}
	MUST(bytes == slots.slot_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct elf_answer answer = {.magic = ELF_ANSWER_MAGIC};
	struct elf_info info;
	struct settings settings;
	settings_default(&settings);
	uint8_t choice = input_byte(&input);
	settings.min_text_bytes = 0;
	settings.rebase = choice & 1;
	settings.round_out = choice & 2;
	input_bytes(&input, &answer.info, sizeof answer.info);
	/* Two bytes decide about what would hardly ever be right by chance. */
	answer.info.elf_class = choice & 4 ? 2 : answer.info.elf_class;
	answer.info.segment_count %= choice & 8 ? ELF_SEGMENTS_MAX + 1 : UINT16_MAX;
	struct error err = {0};
	if (elf_answer_check(&answer, &info, &err) < 0)
		return 0;
	for (uint64_t base = 4096; base <= 65536; base *= 4) {
		struct page_sizes pages = pages_of_base(base);
		check_forecast(&info, &settings, &pages, pages.huge_bytes);
		check_forecast(&info, &settings, &pages, UINT64_C(1) << 30);
		check_text_slots(&info, pages.huge_bytes, false);
		check_text_slots(&info, pages.huge_bytes, true);
	}
	return 0;
}
