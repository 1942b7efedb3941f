/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h - from JSON files to a decision about one program.
 *
 *   files --policy_load()--> struct policy --policy_decide(input)--> struct decision
 *
 * The policy never touches a process and the engine never reads JSON: a decision is all that passes between them.
 * Loading is bounded (size, depth, number of rules), refuses what is not a plain file, and as root what others could
 * have written. Matching does no I/O: the caller gathers the input, and only what policy_needs() asks for. The
 * format is told in hugexec-policy(5) and held to config/policy.schema.json by a test.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Where huge pages for text can come from. */
enum backing { BACKING_FILE, BACKING_HUGETLB, BACKING_THP, BACKING_COUNT, BACKING_NONE = -1 };

/* The door that a process came through; bits, so that a rule can name several. */
enum via { VIA_SHIM = 1, VIA_HOOK = 2, VIA_ATTACH = 4 };

/*
 * What is followed behind a wrapper: nothing, what its process executes later, or what its children execute as well.
 * BY_WRAPPER stands in settings only: each wrapper as the built-in list says.
 */
enum follow { FOLLOW_NONE, FOLLOW_EXEC, FOLLOW_FORK, FOLLOW_BY_WRAPPER };
/* How much of the text: what costs no memory of its own, or all. */
enum coverage { COVERAGE_CHEAP, COVERAGE_FULL };
enum on_error { ON_ERROR_CONTINUE, ON_ERROR_FAIL };

/* Everything that a rule or a file's "settings" may set, already merged: rule over settings over defaults. */
struct settings {
	uint64_t min_text_bytes;
	uint64_t max_text_bytes; /* UINT64_MAX: no upper limit */
	enum backing backing[BACKING_COUNT];
	unsigned backing_count;
	uint64_t page_size_bytes; /* of hugetlb pages; 0: 2 MiB */
	bool libraries;
	char *const *library_include; /* NULL-terminated globs; NULL: all. Owned by the policy */
	char *const *library_exclude; /* NULL-terminated globs; NULL: none. Owned by the policy */
	char *const *library_prepare; /* the same, of files that programs load when they run */
	bool rebase;
	bool round_out; /* see settings_rounds_out() */
	enum coverage coverage;
	bool rodata; /* with the backing file: prepare the program's read-only data, too */
	enum follow follow;
	char *const
	    *wrappers; /* NULL-terminated globs, "+" among them for the built-in list; NULL: that. The policy's */
	unsigned follow_timeout_s;
	uint64_t keep_free_pages;   /* hugetlb pages never taken ... */
	unsigned keep_free_percent; /* ... or this share of the pool; one of the two is 0 */
	unsigned file_timeout_ms;   /* longest time that the file backing may hold the workload */
	unsigned hold_timeout_ms;   /* and all of the work: see settings_hold_ms() */
	bool perf_map;              /* write /tmp/perf-PID.map if a private copy hides symbols from perf */
	enum on_error on_error;
};

/* What an engine says of a container. Strings are borrowed; NULL means not known. */
struct container_attrs {
	const char *pod_namespace, *pod; /* its pod's, in Kubernetes */
	const char *container;           /* its name in the pod */
	const char *image;
	const struct annotation {
		const char *name, *value;
	} * annotations, *labels; /* the labels are the pod's */
	size_t annotation_count, label_count;
};

/* What is known of the program that is about to run. Strings are borrowed; NULL means not known (or not asked for). */
struct match_input {
	enum via via;
	const char *exe;      /* resolved path of the ELF that runs, as its own mount namespace shows it */
	const char *called;   /* another path of this file, by which it was executed; NULL: none, or not known */
	const char *build_id; /* lower-case hex */
	uid_t uid;            /* effective */
	const struct known_user {
		const char *name;
		bool exists;
		uid_t uid; /* if it exists */
	} * users;         /* names that were looked up */
	size_t user_count;
	const char *unit;   /* systemd unit, "mariadb.service" */
	const char *cgroup; /* "/system.slice/mariadb.service" */
	const char *machine_id;
	const struct container_attrs *container; /* NULL: it is in none that we know of */
};

enum input_bit {
	INPUT_BUILD_ID = 1,
	INPUT_UNIT = 2,
	INPUT_CGROUP = 4,
	INPUT_CONTAINER = 8,
	INPUT_USER = 16,
	INPUT_CALLED = 32,
	INPUT_MACHINE_ID = 64,
};

enum action {
	ACTION_SKIP,
	ACTION_REMAP,
	ACTION_OBSERVE,        /* say what a remap would do */
	ACTION_NOT_UNDERSTOOD, /* skip: the rule was left out, and by what of it is understood it matches */
	ACTION_UNDECIDED, /* it hangs on a fact that is not known: a user's name that was not looked up, else the build
	                     id */
};

struct decision {
	enum action action;
	bool rule_matched;     /* false: no rule did, "default" decided */
	const char *rule_name; /* NULL: the rule has no name, or no rule matched. Owned by the policy */
	size_t rule_index;     /* in the joined list, from 0; valid if rule_matched */
	const char *rule_file; /* file that the rule came from; NULL if none matched. Owned by the policy */
	const char *user;      /* undecided: the name to look up; NULL: it is the build id. Owned by the policy */
	const char *mistake;   /* not understood: FILE:LINE:COLUMN: why. Owned by the policy */
	struct settings settings;
};

struct policy;

/* Told of each file that policy_load() reads: its number of rules, or (ERR not NULL) all that is wrong with it, one by
 * one. */
typedef void policy_observer(void *context, const char *file, size_t rule_count, const struct error *err);

/* Where to look. All zero means the host's policy. */
struct policy_sources {
	const char *file;        /* only this file (--policy=FILE) */
	const char *root;        /* prefix put before /etc, /run and /usr/lib; NULL: none (tests use it) */
	bool require_root_owned; /* refuse files not owned by root, or writable by group or others */
	/*
	 * A rule with a key or a value that this version does not understand makes no policy invalid: it is left out,
	 * as ACTION_NOT_UNDERSTOOD. Never so that a later rule gets what was its: it matches all that it would match
	 * without what is not understood, and then nothing is done.
	 */
	bool leave_out;
	policy_observer *observe; /* NULL: none */
	void *observe_context;
};

/*
 * Load the policy. If no file exists at all, the built-in copy of config/policy.json is used.
 * Returns 0 and *OUT (policy_free() it), or -1 with ERR: word "policy-invalid" (detail FILE:LINE:COLUMN: message),
 * "policy-unreadable", "policy-untrusted" or "policy-too-large". On failure *ON_ERROR (may be NULL) is what the
 * readable part of the policy said of "on_error": only an explicit "fail" in settings makes a broken policy an error.
 */
int policy_load(const struct policy_sources *sources, struct policy **out, enum on_error *on_error, struct error *err);

/* As policy_load() of one text held in memory; NAME stands for the file in messages. */
int policy_parse(const char *text, size_t text_bytes, const char *name, struct policy **out, struct error *err);

void policy_free(struct policy *policy);

/* Call EACH for every rule that was left out (struct policy_sources), with what is not understood. Returns how many. */
size_t policy_each_left_out(const struct policy *policy, void (*each)(void *context, const char *mistake),
                            void *context);

/*
 * What to call the rule of DECISION, into OUT: its name, "rule N of FILE" if it has none, "" if no rule matched.
 */
void policy_rule_label(const struct decision *decision, char *out, size_t out_bytes);

/*
 * Why a DECISION by which nothing is done has been taken: REASON gets the word "rule-skip" or "rule-unknown"; or
 * "no-rule". Returns -1.
 */
int policy_skip_reason(const struct decision *decision, struct error *reason);

/* Which input some rule looks at, as input_bit bits: what the caller need not gather otherwise. */
unsigned policy_needs(const struct policy *policy);

/* Whether any program at all that comes through VIA could be remapped. False: nothing to do, ever. */
bool policy_may_remap(const struct policy *policy, enum via via);

/* The same for a container of which FACTS is known, and nothing of its programs. */
bool policy_may_remap_container(const struct policy *policy, const struct container_attrs *attrs);

/* Whether a rule looks at the annotation (the label) NAME. */
bool policy_asks_annotation(const struct policy *policy, const char *name);
bool policy_asks_label(const struct policy *policy, const char *name);

/* Decide about one program: the first rule whose every key holds, else "default". Never fails. */
void policy_decide(const struct policy *policy, const struct match_input *input, struct decision *out);

/*
 * Call EACH for every rule by which programs are remapped with the file backing among others, so that page cache can be
 * prepared for them before anyone starts them: with its settings, and its patterns of "exe" (NULL: it has none, which
 * is any program). The strings are the policy's.
 */
void policy_each_file_rule(const struct policy *policy,
                           void (*each)(void *context, const char *const *exe, const struct settings *settings),
                           void *context);

/* Whether of the rules with an "exe" that matches PATH the first one says to leave it alone. */
bool policy_skips_exe(const struct policy *policy, const char *path);

/*
 * A glob on a path, as in "exe" and "libraries": * ? and [...] stop at '/', and a ** that stands alone between slashes
 * is any number of directories, none included (the parser lets no other ** through). At most one fnmatch(3) a
 * component.
 */
bool policy_path_matches(const char *glob, const char *path);

/* What options say in place of the rule's settings; NULL: the rule's. The strings are borrowed. */
struct overrides {
	const char *backing;  /* a list with commas: "hugetlb,thp" */
	const char *coverage; /* "cheap", "full" */
};

/* Returns 0, or -1 with ERR word "usage"; then SETTINGS is untouched. */
int settings_override(struct settings *settings, const struct overrides *overrides, struct error *err);

/* What holds if neither a rule nor a file says otherwise: the table in hugexec-policy(5). */
void settings_default(struct settings *settings);

/* Whether an end of the text may be covered together with read-only data beside it. */
bool settings_rounds_out(const struct settings *settings);

/* How long a workload with so much text may be held: hold_timeout, or what file_timeout and a copy need. */
uint64_t settings_hold_ms(const struct settings *settings, uint64_t text_bytes);

/* What is known of a program by its names. Strings are borrowed. */
struct program_names {
	const char *exe; /* path of the ELF file that runs, resolved */
	const char
	    *called;    /* path by which it was executed, or that of the script that it interprets; NULL: not known */
	bool is_script; /* it interprets CALLED, which the kernel was asked to execute */
	bool is_init;   /* its process is PID 1 of a PID namespace, as a container's entry point is */
};

/* Whether the last part of one of NAMES is a wrapper's by SETTINGS: the built-in list, or the policy's own. */
bool settings_names_wrapper(const struct settings *settings, const struct program_names *names);

/* How a process that runs the program of NAMES is followed by SETTINGS; FOLLOW_NONE if it is no wrapper. */
enum follow settings_follow(const struct settings *settings, const struct program_names *names);

const char *follow_name(enum follow follow);       /* "none", "exec", "fork"; NULL: by wrapper */
const char *coverage_name(enum coverage coverage); /* "cheap", "full" */
extern const char *const coverage_names[];         /* by enum coverage; NULL behind the last */
const char *backing_name(enum backing backing);    /* "file", "hugetlb", "thp"; NULL for BACKING_NONE */
const char *via_name(enum via via);                /* "shim", "hook", "attach" */
