/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - how a loaded policy looks inside shim/policy/. Nobody else includes this.
 */
#pragma once

#include <json-c/json.h>

#include "policy/policy.h"

/* Which settings a file or rule gives; one bit a key. */
enum setting_bit {
	SETTING_MIN_TEXT = 1 << 0,
	SETTING_MAX_TEXT = 1 << 1,
	SETTING_BACKING = 1 << 2,
	SETTING_PAGE_SIZE = 1 << 3,
	SETTING_LIBRARIES = 1 << 4,
	SETTING_REBASE = 1 << 5,
	SETTING_ROUND_OUT = 1 << 6,
	SETTING_FOLLOW = 1 << 7,
	SETTING_FOLLOW_TIMEOUT = 1 << 8,
	SETTING_KEEP_FREE = 1 << 9,
	SETTING_FILE_TIMEOUT = 1 << 10,
	SETTING_PERF_MAP = 1 << 11,
	SETTING_ON_ERROR = 1 << 12,
	SETTING_WRAPPERS = 1 << 13,
	SETTING_HOLD_TIMEOUT = 1 << 14,
	SETTING_COVERAGE = 1 << 15,
	SETTING_RODATA = 1 << 16,
};

struct setting_set {
	unsigned given; /* setting_bit bits */
	struct settings values;
};

struct annotation_match {
	const char *name;
	const char **globs; /* NULL-terminated */
};

/* What a rule asks for; NULL (0 for via) means that it does not ask. Lists are NULL-terminated, any entry may hold. */
struct match {
	const char **exe;
	const char **build_id; /* lower-case hex prefixes */
	const char **user;     /* names, or uids in decimal */
	const char **unit;
	const char **cgroup;
	const char **pod_namespace, **pod, **container, **image;
	struct annotation_match *annotations, *labels;
	size_t annotation_count, label_count;
	unsigned via; /* enum via bits */
	bool has_share;
	unsigned share; /* percent of all hosts */
};

struct rule {
	const char *name; /* NULL: none */
	const char *file;
	enum action action;
	struct match match;
	struct setting_set settings;
	const char *mistake; /* of one that is not understood */
};

struct policy {
	struct rule *rules;
	size_t rule_count;
	enum action default_action;
	struct setting_set settings;
	/* What the pointers above point into. */
	json_object **roots;
	size_t root_count;
	struct chunk *chunks;
};

/* Whether MATCH asks for what only a container has. */
bool match_asks_container(const struct match *match);

/* Zeroed memory that lives as long as the policy; NULL if there is none. */
void *policy_alloc(struct policy *policy, size_t bytes);

/*
 * Add one file's text (NUL-terminated, TEXT_BYTES without the NUL) to POLICY. SAID (may be NULL) gets the "on_error" of
 * its settings even if the file is wrong elsewhere. Returns 0, or -1 with ERR "policy-invalid", of which the
 * observer of TOLD (may be NULL) was told, as of every other mistake; then POLICY may hold a part of the file and must
 * not be used.
 */
int policy_add_text(struct policy *policy, const char *text, size_t text_bytes, const char *name,
                    const struct policy_sources *told, enum on_error *said, struct error *err);

void settings_apply(struct settings *settings, const struct setting_set *set);

#define POLICY_FILE_MAX_BYTES (1024 * 1024)
