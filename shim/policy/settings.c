/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings: defaults, merging, and the names of things.
 */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "policy/internal.h"

void settings_default(struct settings *settings)
{
	*settings = (struct settings){
	    .min_text_bytes = 2 * MIB, /* by which nobody waits for a program that gains nothing */
	    .max_text_bytes = UINT64_MAX,
	    .backing = {BACKING_FILE, BACKING_HUGETLB, BACKING_THP},
	    .backing_count = BACKING_COUNT,
	    .rebase = true,
	    .follow = FOLLOW_BY_WRAPPER,
	    .follow_timeout_s = 30,
	    .file_timeout_ms = 500,
	    .hold_timeout_ms = 2000,
	    .on_error = ON_ERROR_CONTINUE,
	};
}

void settings_apply(struct settings *settings, const struct setting_set *set)
{
	const struct settings *values = &set->values;
	unsigned given = set->given;
	if (given & SETTING_MIN_TEXT)
		settings->min_text_bytes = values->min_text_bytes;
	if (given & SETTING_MAX_TEXT)
		settings->max_text_bytes = values->max_text_bytes;
	if (given & SETTING_BACKING) {
		memcpy(settings->backing, values->backing, sizeof settings->backing);
		settings->backing_count = values->backing_count;
	}
	if (given & SETTING_PAGE_SIZE)
		settings->page_size_bytes = values->page_size_bytes;
	if (given & SETTING_LIBRARIES) {
		settings->libraries = values->libraries;
		settings->library_include = values->library_include;
		settings->library_exclude = values->library_exclude;
		settings->library_prepare = values->library_prepare;
	}
	if (given & SETTING_REBASE)
		settings->rebase = values->rebase;
	if (given & SETTING_ROUND_OUT)
		settings->round_out = values->round_out;
	if (given & SETTING_COVERAGE)
		settings->coverage = values->coverage;
	if (given & SETTING_RODATA)
		settings->rodata = values->rodata;
	if (given & SETTING_FOLLOW)
		settings->follow = values->follow;
	if (given & SETTING_WRAPPERS)
		settings->wrappers = values->wrappers;
	if (given & SETTING_FOLLOW_TIMEOUT)
		settings->follow_timeout_s = values->follow_timeout_s;
	if (given & SETTING_KEEP_FREE) {
		settings->keep_free_pages = values->keep_free_pages;
		settings->keep_free_percent = values->keep_free_percent;
	}
	if (given & SETTING_FILE_TIMEOUT)
		settings->file_timeout_ms = values->file_timeout_ms;
	if (given & SETTING_HOLD_TIMEOUT)
		settings->hold_timeout_ms = values->hold_timeout_ms;
	if (given & SETTING_PERF_MAP)
		settings->perf_map = values->perf_map;
	if (given & SETTING_ON_ERROR)
		settings->on_error = values->on_error;
}

bool settings_rounds_out(const struct settings *settings)
{
	return settings->round_out || settings->coverage == COVERAGE_FULL;
}

/* To read text from a disk of 100 MiB a second and to copy it. */
#define COPY_MS_PER_MIB 10

uint64_t settings_hold_ms(const struct settings *settings, uint64_t text_bytes)
{
	uint64_t needed_ms = settings->file_timeout_ms + text_bytes / MIB * COPY_MS_PER_MIB;
	return needed_ms > settings->hold_timeout_ms ? needed_ms : settings->hold_timeout_ms;
}

const char *const coverage_names[] = {[COVERAGE_CHEAP] = "cheap", [COVERAGE_FULL] = "full", NULL};

static const char *const backing_names[BACKING_COUNT] = {"file", "hugetlb", "thp"};

const char *backing_name(enum backing backing)
{
	return backing >= 0 && backing < BACKING_COUNT ? backing_names[backing] : NULL;
}

const char *coverage_name(enum coverage coverage)
{
	return coverage_names[coverage];
}

const char *follow_name(enum follow follow)
{
	static const char *const names[] = {
	    [FOLLOW_NONE] = "none",
	    [FOLLOW_EXEC] = "exec",
	    [FOLLOW_FORK] = "fork",
	    [FOLLOW_BY_WRAPPER] = NULL,
	};
	return names[follow];
}

const char *via_name(enum via via)
{
	switch (via) {
	case VIA_SHIM: return "shim";
	case VIA_HOOK: return "hook";
	case VIA_ATTACH: return "attach";
	}
	return "unknown";
}

static int backing_by_name(const char *name, size_t len)
{
	for (int i = 0; i < BACKING_COUNT; i++) {
		if (strlen(backing_names[i]) == len && memcmp(backing_names[i], name, len) == 0)
			return i;
	}
	return -1;
}

static int override_backing(struct settings *settings, const char *list, struct error *err)
{
	enum backing chosen[BACKING_COUNT];
	unsigned count = 0;
	for (const char *word = list;; word++) {
		size_t len = strcspn(word, ",");
		int backing = backing_by_name(word, len);
		if (backing < 0)
			return error_set(err, REASON_USAGE, "no backing '%.*s': choose from file, hugetlb, thp",
			                 (int)len, word);
		for (unsigned i = 0; i < count; i++) {
			if (chosen[i] == (enum backing)backing)
				return error_set(err, REASON_USAGE, "backing '%.*s' is named twice", (int)len, word);
		}
		chosen[count++] = (enum backing)backing;
		word += len;
		if (*word == '\0')
			break;
	}
	memcpy(settings->backing, chosen, count * sizeof chosen[0]);
	settings->backing_count = count;
	return 0;
}

static int override_coverage(struct settings *settings, const char *name, struct error *err)
{
	for (unsigned i = 0; coverage_names[i]; i++) {
		if (strcmp(coverage_names[i], name) != 0)
			continue;
		settings->coverage = (enum coverage)i;
		return 0;
	}
	return error_set(err, REASON_USAGE, "no coverage '%s': choose cheap or full", name);
}

int settings_override(struct settings *settings, const struct overrides *overrides, struct error *err)
{
	struct settings changed = *settings;
	if (overrides->backing && override_backing(&changed, overrides->backing, err) < 0)
		return -1;
	if (overrides->coverage && override_coverage(&changed, overrides->coverage, err) < 0)
		return -1;
	*settings = changed;
	return 0;
}
