/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexecctl warm: have the page cache hold the text of programs in huge folios before anyone starts them.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/size.h"
#include "base/utf8.h"
#include "ctl/ctl.h"
#include "ctl/warm.h"
#include "ctl/warm_policy.h"
#include "policy/policy.h"
#include "remap/shared_store.h"
#include "tracer/exe_inspect.h"

#define UNITS       "/run/systemd/generator"
#define BEFORE_FILE 24 /* columns */

static const char help[] = "Usage: hugexecctl warm [--json] [--share] FILE...\n"
                           "       hugexecctl warm [--json] --policy[=FILE]\n"
                           "       hugexecctl warm [--json] --unshare\n"
                           "Read the text of programs and libraries into the page cache in huge pages, so\n"
                           "that their next start finds it there, and say how much of it is. Files that run\n"
                           "on small pages at the moment, or that are not on the disk yet, stay as they are.\n"
                           "The pages stay until the kernel needs the memory.\n"
                           "\n"
                           "  --policy[=FILE]  the programs that rules of the host's policy (or FILE) name,\n"
                           "                   by a path or a pattern, with the libraries that the rules\n"
                           "                   want and those that they name to be prepared. With the host's\n"
                           "                   policy also the programs of enabled services. What is not\n"
                           "                   installed is no failure. All that a pattern matches is read,\n"
                           "                   such as each JVM that is installed, used or not\n"
                           "  --share          of libraries also write text that is out of step with its\n"
                           "                   file to " SHARED_FOLDER ", from where all processes with\n"
                           "                   \"coverage\": \"full\" map it. Root only. With --policy this is\n"
                           "                   done for rules that say so, if root runs it\n"
                           "  --unshare        remove all that is there\n"
                           "  --json           print JSON, for programs\n"
                           "  -h, --help       this text\n"
                           "\n"
                           "Exit status: 0 if all whole slots of 2 MiB are on huge pages; 1 if some are not,\n"
                           "or a file or the policy cannot be read; 2 for wrong usage.\n";

struct warm {
	bool json, progress, by_policy, share;
	json_object *files;
	unsigned shown, incomplete;
};

static void show_progress(void *context, uint64_t done_bytes, uint64_t all_bytes)
{
	char done[16], all[16], path[PATH_MAX];
	fprintf(stderr, "\r\033[K%s of %s  %.50s", size_format(done_bytes, done, sizeof done),
	        size_format(all_bytes, all, sizeof all), text_printable(context, path, sizeof path));
	fflush(stderr);
}

static json_object *warmed_to_json(const char *path, const struct warmed *warmed)
{
	char text[ERROR_TEXT_BYTES];
	json_object *json = json_object_new_object();
	json_object_object_add(json, "path", ctl_text(path));
	json_object_object_add(json, "text_bytes", json_object_new_uint64(warmed->text_bytes));
	json_object_object_add(json, "slot_bytes", json_object_new_uint64(warmed->slot_bytes));
	json_object_object_add(json, "huge_bytes", json_object_new_uint64(warmed->huge_bytes));
	json_object_object_add(json, "shared_bytes", json_object_new_uint64(warmed->shared.copy_bytes));
	json_object_object_add(json, "reason",
	                       error_is_set(&warmed->reason) ? ctl_text(error_text(&warmed->reason, text, sizeof text))
	                                                     : NULL);
	return json;
}

static void print_warmed(struct warm *warm, const char *path, const struct warmed *warmed)
{
	char text[16], huge[16], why[ERROR_TEXT_BYTES];
	if (warm->shown++ == 0)
		printf("%10s  %10s  %s\n", "TEXT", "HUGE", "FILE");
	unsigned columns = ctl_columns(stdout);
	printf("%10s  %10s  ", size_format(warmed->text_bytes, text, sizeof text),
	       size_format(warmed->huge_bytes, huge, sizeof huge));
	ctl_print_cell(path, columns - BEFORE_FILE, false);
	ctl_print_reason(BEFORE_FILE,
	                 error_is_set(&warmed->reason) ? error_text(&warmed->reason, why, sizeof why) : NULL);
}

static void warm_one(void *context, const char *path, bool with_rodata, bool is_full)
{
	struct warm *warm = context;
	struct warmed warmed;
	bool with_shared = warm->share || (is_full && geteuid() == 0);
	warm_file(path, with_rodata, with_shared, warm->progress ? show_progress : NULL, (void *)(uintptr_t)path,
	          &warmed);
	if (warm->progress)
		fputs("\r\033[K", stderr);
	/* Text that is too small for a slot is as well as it can be; a misaligned program is not. */
	bool nothing_to_do = warmed.reason.code == REASON_NO_HUGE_SLOT || warmed.reason.code == REASON_NO_TEXT;
	if (error_is_set(&warmed.reason) && !nothing_to_do && !(warm->by_policy && warmed.missing))
		warm->incomplete++;
	if (warm->json)
		json_object_array_add(warm->files, warmed_to_json(path, &warmed));
	else
		print_warmed(warm, path, &warmed);
}

/* A file, or a program by its name as a shell would find it. */
static void warm_word(struct warm *warm, const char *word)
{
	struct program program = {.kind = PROGRAM_NOT_FOUND};
	if (!strchr(word, '/') && access(word, F_OK) < 0)
		program_inspect(word, &program);
	warm_one(warm, program.kind == PROGRAM_NOT_FOUND ? word : program.path, false, false);
}

static int warm_by_policy(struct warm *warm, const char *file)
{
	struct policy_sources sources = {.file = file, .require_root_owned = geteuid() == 0, .leave_out = true};
	struct policy *policy = NULL;
	struct error err = {0};
	if (policy_load(&sources, &policy, NULL, &err) < 0) {
		fprintf(stderr, "hugexecctl: %s\n", err.detail);
		return CTL_NO;
	}
	warm_policy(policy, file ? NULL : UNITS, warm_one, warm);
	if (!warm->json && warm->shown == 0)
		puts("No rule names a program with text to prepare.");
	policy_free(policy);
	return CTL_OK;
}

/* What the copies for all processes take of the disk, once those that are of no use any more have gone. */
static int tell_shared(const struct warm *warm, bool unshare, json_object *json)
{
	struct shared_usage usage;
	char size[16], why[ERROR_TEXT_BYTES];
	share_sweep(unshare, &usage);
	if (error_is_set(&usage.reason))
		fprintf(stderr, "hugexecctl: %s\n", error_text(&usage.reason, why, sizeof why));
	if (json) {
		json_object *shared = json_object_new_object();
		json_object_object_add(shared, "folder", json_object_new_string(SHARED_FOLDER));
		json_object_object_add(shared, "copies", json_object_new_int64(usage.count));
		json_object_object_add(shared, "bytes", json_object_new_uint64(usage.bytes));
		json_object_object_add(shared, "removed", json_object_new_int64(usage.removed));
		json_object_object_add(json, "shared", shared);
	} else if (unshare || warm->share || usage.count + usage.removed > 0) {
		printf("%s has %u copies for all processes, which take %s; %u were removed.\n", SHARED_FOLDER,
		       usage.count, size_format(usage.bytes, size, sizeof size), usage.removed);
	}
	return error_is_set(&usage.reason) ? CTL_NO : CTL_OK;
}

static int unshare(const struct warm *warm)
{
	if (geteuid() != 0) {
		fputs("hugexecctl: only root removes copies for all processes\n", stderr);
		return CTL_NO;
	}
	json_object *json = warm->json ? json_object_new_object() : NULL;
	if (json)
		json_object_object_add(json, "version", json_object_new_int(1));
	int result = tell_shared(warm, true, json);
	if (json)
		ctl_print_json(json);
	return result;
}

static int warm_all(struct warm *warm, const char *policy_file, char **files)
{
	int result = CTL_OK;
	warm->progress = isatty(STDERR_FILENO) && !warm->json;
	warm->files = warm->json ? json_object_new_array() : NULL;
	if (warm->by_policy)
		result = warm_by_policy(warm, policy_file);
	for (; *files; files++)
		warm_word(warm, *files);
	json_object *json = warm->json ? json_object_new_object() : NULL;
	if (json) {
		json_object_object_add(json, "version", json_object_new_int(1));
		json_object_object_add(json, "files", warm->files);
	}
	if ((warm->share || warm->by_policy) && geteuid() == 0 && tell_shared(warm, false, json) != CTL_OK)
		result = CTL_NO;
	if (json)
		ctl_print_json(json);
	return warm->incomplete ? CTL_NO : result;
}

int ctl_warm(int argc, char **argv)
{
	static const struct option known[] = {
	    {"json", no_argument, NULL, 'j'},  {"policy", optional_argument, NULL, 'p'},
	    {"share", no_argument, NULL, 's'}, {"unshare", no_argument, NULL, 'u'},
	    {"help", no_argument, NULL, 'h'},  {NULL, 0, NULL, 0}};
	struct warm warm = {0};
	const char *policy_file = NULL;
	bool unshares = false;
	int option;
	while ((option = ctl_option(argc, argv, "h", known)) != -1) {
		switch (option) {
		case 'j': warm.json = true; break;
		case 'p':
			warm.by_policy = true;
			policy_file = optarg;
			break;
		case 's': warm.share = true; break;
		case 'u': unshares = true; break;
		case 'h': fputs(help, stdout); return CTL_OK;
		default: return CTL_USAGE;
		}
	}
	if (policy_file && !policy_file[0])
		return ctl_wrong_usage(argv[0], "--policy=FILE: the name of the file is empty");
	if (unshares && (warm.by_policy || warm.share || optind < argc))
		return ctl_wrong_usage(argv[0], "--unshare stands alone");
	if (unshares)
		return unshare(&warm);
	if (warm.by_policy == (optind < argc))
		return ctl_wrong_usage(argv[0], "it takes either FILEs or --policy");
	return warm_all(&warm, policy_file, argv + optind);
}
