#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "bundle.h"
#include "bundle_ask.h"

static const char *const stages[BUNDLE_STAGES] = BUNDLE_STAGE_NAMES;

/* What the changed file will be; written to without a call that may fail. */
struct output {
	char *text;
	size_t used, room;
};

static void put(struct output *to, const char *text, size_t bytes)
{
	size_t left = to->room - to->used;
	bytes = bytes < left ? bytes : left;
	memcpy(to->text + to->used, text, bytes);
	to->used += bytes;
}

static void put_text(struct output *to, const char *text)
{
	put(to, text, strlen(text));
}

/* TEXT, which is printable, as JSON. */
static void put_string(struct output *to, const char *text)
{
	put_text(to, "\"");
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			put_text(to, "\\");
		put(to, text, 1);
	}
	put_text(to, "\"");
}

/* The entry for HOOK at STAGE: its path, its name and the stage. No timeout: at its end the runtime would fail the
 * container. */
static void put_entry(struct output *to, const char *hook, int stage)
{
	const char *slash = strrchr(hook, '/');
	put_text(to, "{\"path\":");
	put_string(to, hook);
	put_text(to, ",\"args\":[");
	put_string(to, slash ? slash + 1 : hook);
	put_text(to, ",");
	put_string(to, stages[stage]);
	put_text(to, "]}");
}

/* An array of the entry alone; the stage's member with that value where IS_MEMBER. */
static void put_stage(struct output *to, const char *hook, int stage, bool is_member)
{
	if (is_member) {
		put_string(to, stages[stage]);
		put_text(to, ":");
	}
	put_text(to, "[");
	put_entry(to, hook, stage);
	put_text(to, "]");
}

static void put_hooks(struct output *to, const char *hook, bool is_member)
{
	put_text(to, is_member ? "\"hooks\":{" : "{");
	put_stage(to, hook, 0, true);
	put_text(to, ",");
	put_stage(to, hook, 1, true);
	put_text(to, "}");
}

/* What goes to the place of STAGE. */
static void put_addition(struct output *to, const struct bundle_place *places, int stage, const char *hook)
{
	const struct bundle_place *place = &places[stage];
	bool is_member = place->replaced_bytes == 0;
	/* Two members may go to the same place: the first one is not the last then. */
	bool is_last = place->is_empty && (stage == 1 || places[1].shape != BUNDLE_NO_STAGE);
	switch ((enum bundle_shape)place->shape) {
	case BUNDLE_NO_HOOKS:
		put_hooks(to, hook, is_member);
		is_last = place->is_empty;
		break;
	case BUNDLE_NO_STAGE: put_stage(to, hook, stage, is_member); break;
	case BUNDLE_LIST:
		put_text(to, place->is_empty ? "" : ",");
		put_entry(to, hook, stage);
		return;
	case BUNDLE_THERE:
	case BUNDLE_SHAPES: return;
	}
	put_text(to, is_member && !is_last ? "," : "");
}

char *inject_hook(const char *text, size_t bytes, const struct bundle_place *places, const char *hook,
                  size_t *changed_bytes)
{
	/* An entry has the path once and its name once, perhaps each character escaped. */
	size_t room = bytes + BUNDLE_STAGES * (4 * strlen(hook) + 128);
	struct output to = {.text = malloc(room + 1), .room = room};
	size_t done = 0;
	int first = places[0].offset <= places[1].offset ? 0 : 1;
	if (!to.text)
		return NULL;
	for (int i = 0; i < BUNDLE_STAGES; i++) {
		int stage = i == 0 ? first : !first;
		if (places[stage].shape == BUNDLE_THERE || (places[stage].shape == BUNDLE_NO_HOOKS && stage > 0))
			continue;
		put(&to, text + done, places[stage].offset - done);
		put_addition(&to, places, stage, hook);
		done = places[stage].offset + places[stage].replaced_bytes;
	}
	put(&to, text + done, bytes - done);
	to.text[to.used] = '\0';
	*changed_bytes = to.used;
	return to.text;
}

/* Write TEXT beside the file NAME in DIRECTORY_FD, like ABOUT in owner and mode, and put it in its place. */
static int replace_file(int directory_fd, const char *name, const char *text, size_t bytes, const struct stat *about,
                        struct error *err)
{
	char temporary[64];
	snprintf(temporary, sizeof temporary, ".hugexec-%d", (int)getpid());
	unlinkat(directory_fd, temporary, 0); /* left by a namesake that was killed here */
	cleanup_close int fd =
	    openat(directory_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set_errno(err, errno, "config", "a new file in the bundle");
	if (write_all(fd, text, bytes) < 0 || fchown(fd, about->st_uid, about->st_gid) < 0 ||
	    fchmod(fd, about->st_mode & 07777) < 0 || renameat(directory_fd, temporary, directory_fd, name) < 0) {
		error_set_errno(err, errno, "config", "writing it");
		unlinkat(directory_fd, temporary, 0);
		return -1;
	}
	return 0;
}

/* As inject_into_bundle(), of the file NAME, which is TEXT and is to become *CHANGED (free() it). */
static int edit(const char *name, const char *text, size_t bytes, const char *hook, const struct policy *policy,
                char **changed, size_t *changed_bytes, struct error *err)
{
	cleanup_free struct bundle_answer *answer = bundle_ask(name, text, bytes, hook, err);
	cleanup_free struct annotation *annotations = answer ? bundle_answer_annotations(answer) : NULL;
	if (!answer)
		return -1;
	if (!annotations)
		return error_set(err, "config", "out of memory");
	if (!policy_may_remap_container(policy, annotations, answer->annotation_count))
		return 0;
	if (answer->status == BUNDLE_NO_PLACE)
		return error_set(err, "config", "%s: %s", name, answer->message);
	if (answer->places[0].shape == BUNDLE_THERE && answer->places[1].shape == BUNDLE_THERE)
		return 0;
	*changed = inject_hook(text, bytes, answer->places, hook, changed_bytes);
	return *changed ? 1 : error_set(err, "config", "out of memory");
}

int inject_into_bundle(const char *bundle, const char *config, const char *hook, const struct policy *policy,
                       struct error *err)
{
	cleanup_free char *text = NULL;
	cleanup_free char *changed = NULL;
	char shown[4096];
	size_t bytes, changed_bytes = 0;
	struct stat about;
	if (strcmp(text_printable(hook, shown, sizeof shown), hook) != 0)
		return error_set(err, "config", "the hook's path cannot be written in JSON");
	cleanup_close int directory_fd = bundle_read(bundle, config, &text, &bytes, &about, err);
	if (directory_fd < 0)
		return -1;
	int result = edit(config, text, bytes, hook, policy, &changed, &changed_bytes, err);
	if (result > 0 && replace_file(directory_fd, config, changed, changed_bytes, &about, err) < 0)
		return -1;
	return result;
}
