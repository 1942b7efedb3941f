/* SPDX-License-Identifier: Apache-2.0 */
#include "create_container.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "policy/container_attrs.h"
#include "told_container.h"

/* The numbers of the fields that are used, by message (nri.pkg.api.v1alpha1). */
enum { REQUEST_POD = 1, REQUEST_CONTAINER = 2 };
enum { POD_NAME = 2, POD_NAMESPACE = 4, POD_LABELS = 5, POD_ANNOTATIONS = 6 };
enum { CONTAINER_NAME = 3, CONTAINER_ANNOTATIONS = 6, CONTAINER_HOOKS = 10, CONTAINER_IMAGE = 22 };
enum { IMAGE_NAME = 1 };
enum { ENTRY_KEY = 1, ENTRY_VALUE = 2 };
enum { HOOKS_CREATE_RUNTIME = 2, HOOKS_POSTSTOP = 6 };
enum { HOOK_PATH = 1, HOOK_ARGS = 2 };
enum { RESPONSE_ADJUST = 1, ADJUST_HOOKS = 5 };

#define NAME_BYTES_MAX  4000
#define STORE_BYTES_MAX (64 * 1024)

/* What a request says, its names copied: they have no NUL behind them there. */
struct container_request {
	struct told_container told;
	size_t store_bytes;
	char store[STORE_BYTES_MAX];
};

/* A copy of TEXT; NULL if it is too long, or no text that could be told on. */
static const char *keep(struct container_request *request, struct pb text)
{
	char *copy = request->store + request->store_bytes;
	if (text.bytes > NAME_BYTES_MAX || text.bytes >= STORE_BYTES_MAX - request->store_bytes ||
	    (text.bytes > 0 && memchr(text.at, '\0', text.bytes)))
		return NULL;
	if (text.bytes > 0)
		memcpy(copy, text.at, text.bytes);
	copy[text.bytes] = '\0';
	if (!text_is_utf8(copy))
		return NULL;
	request->store_bytes += text.bytes + 1;
	return copy;
}

static const char *keep_field(struct container_request *request, struct pb message, uint32_t number)
{
	struct pb text;
	return pb_find(message, number, &text) && text.bytes > 0 ? keep(request, text) : NULL;
}

/* Keep the entries of the map NUMBER in MESSAGE that WANTED says, and that LIST does not have. */
static void keep_entries(struct container_request *request, const struct policy *policy, struct pb message,
                         uint32_t number, bool (*wanted)(const struct policy *policy, const char *name),
                         struct annotation *list, size_t *count)
{
	struct pb_field field;
	while (pb_next(&message, &field) > 0) {
		struct pb key, value = {0};
		if (field.number != number || field.type != PB_BYTES || *count == TOLD_MAX ||
		    !pb_find(field.in, ENTRY_KEY, &key))
			continue;
		size_t before = request->store_bytes;
		const char *name = keep(request, key);
		bool is_new = name && !strchr(name, '=') && wanted(policy, name);
		for (size_t i = 0; i < *count && is_new; i++)
			is_new = strcmp(list[i].name, name) != 0;
		pb_find(field.in, ENTRY_VALUE, &value);
		const char *text = is_new ? keep(request, value) : NULL;
		if (text)
			list[(*count)++] = (struct annotation){name, text};
		else
			request->store_bytes = before;
	}
}

static bool names_image(const struct policy *policy, const char *name)
{
	(void)policy;
	return container_attrs_name_image(name);
}

/* The image is in a field from NRI 0.11 on, and in an annotation of the engine's own before. */
static const char *find_image(struct container_request *request, struct pb container)
{
	struct annotation by_engine[2];
	size_t count = 0;
	struct pb image;
	const char *name = pb_find(container, CONTAINER_IMAGE, &image) ? keep_field(request, image, IMAGE_NAME) : NULL;
	if (name)
		return name;
	keep_entries(request, NULL, container, CONTAINER_ANNOTATIONS, names_image, by_engine, &count);
	return count == 1 ? by_engine[0].value : NULL; /* two engines' names: one of them is the pod's own */
}

static void read_request(const struct policy *policy, struct pb pod, struct pb container, struct container_request *out)
{
	struct told_container *told = &out->told;
	struct container_attrs *attrs = &told->attrs;
	attrs->annotations = told->annotations;
	attrs->labels = told->labels;
	attrs->pod_namespace = keep_field(out, pod, POD_NAMESPACE);
	attrs->pod = keep_field(out, pod, POD_NAME);
	attrs->container = keep_field(out, container, CONTAINER_NAME);
	attrs->image = find_image(out, container);
	/* The container's come first: what the engine has set is not the pod's to say. */
	keep_entries(out, policy, container, CONTAINER_ANNOTATIONS, policy_asks_annotation, told->annotations,
	             &attrs->annotation_count);
	keep_entries(out, policy, pod, POD_ANNOTATIONS, policy_asks_annotation, told->annotations,
	             &attrs->annotation_count);
	keep_entries(out, policy, pod, POD_LABELS, policy_asks_label, told->labels, &attrs->label_count);
}

static bool pb_ends(struct pb text, const char *end)
{
	size_t bytes = strlen(end);
	return text.bytes >= bytes && memcmp(text.at + text.bytes - bytes, end, bytes) == 0;
}

/* Whether HOOK, a message, has the arguments that a plugin gives it. */
static bool is_told(struct pb hook)
{
	struct pb_field field;
	while (pb_next(&hook, &field) > 0) {
		if (field.number == HOOK_ARGS && field.type == PB_BYTES &&
		    field.in.bytes >= sizeof TOLD_HOOK_MARK - 1 &&
		    memcmp(field.in.at, TOLD_HOOK_MARK, sizeof TOLD_HOOK_MARK - 1) == 0)
			return true;
	}
	return false;
}

enum hook_there { HOOK_NONE, HOOK_PLAIN, HOOK_TOLD };

/* What CONTAINER has of our hook: another plugin's, as while a DaemonSet is updated, or one of a file that the engine
 * reads (CRI-O). */
static enum hook_there find_hook(struct pb container)
{
	enum hook_there found = HOOK_NONE;
	struct pb hooks, path;
	struct pb_field field;
	if (!pb_find(container, CONTAINER_HOOKS, &hooks))
		return HOOK_NONE;
	while (found != HOOK_TOLD && pb_next(&hooks, &field) > 0) {
		if (field.number == HOOKS_CREATE_RUNTIME && field.type == PB_BYTES &&
		    pb_find(field.in, HOOK_PATH, &path) && pb_ends(path, "/" TOLD_HOOK_NAME))
			found = is_told(field.in) ? HOOK_TOLD : HOOK_PLAIN;
	}
	return found;
}

static void put_arg(struct pb_writer *to, const char *option, const char *value)
{
	char arg[NAME_BYTES_MAX + 32];
	if (!value)
		return;
	snprintf(arg, sizeof arg, "--%s=%s", option, value);
	pb_put_text(to, HOOK_ARGS, arg);
}

static void put_args(struct pb_writer *to, const char *option, const struct annotation *list, size_t count)
{
	char arg[2 * NAME_BYTES_MAX + 32];
	for (size_t i = 0; i < count; i++) {
		snprintf(arg, sizeof arg, "--%s=%s=%s", option, list[i].name, list[i].value);
		pb_put_text(to, HOOK_ARGS, arg);
	}
}

/* FACTS may be NULL. No timeout: at its end the runtime would fail the container. */
static void put_hook(struct pb_writer *to, uint32_t stage, const char *hook, const char *stage_name,
                     const struct container_attrs *attrs)
{
	const char *slash = strrchr(hook, '/');
	size_t begun = pb_begin(to, stage);
	pb_put_text(to, HOOK_PATH, hook);
	pb_put_text(to, HOOK_ARGS, slash ? slash + 1 : hook);
	if (attrs) {
		put_arg(to, "namespace", attrs->pod_namespace);
		put_arg(to, "pod", attrs->pod);
		put_arg(to, "container", attrs->container);
		put_arg(to, "image", attrs->image);
		put_args(to, "annotation", attrs->annotations, attrs->annotation_count);
		put_args(to, "label", attrs->labels, attrs->label_count);
	}
	pb_put_text(to, HOOK_ARGS, stage_name);
	pb_end(to, begun);
}

void create_container(const struct policy *policy, const char *hook, struct pb request, struct pb_writer *to)
{
	static struct container_request parsed;
	struct pb pod, container;
	memset(&parsed, 0, offsetof(struct container_request, store));
	if (!pb_find(request, REQUEST_CONTAINER, &container))
		return;
	enum hook_there there = find_hook(container);
	if (there == HOOK_TOLD || (there == HOOK_PLAIN && !(policy_needs(policy) & INPUT_CONTAINER)))
		return;
	if (!pb_find(request, REQUEST_POD, &pod))
		pod = (struct pb){0};
	read_request(policy, pod, container, &parsed);
	/* A plain hook leaves the container to ours, which knows more, also if that is that no rule wants it. */
	if (there == HOOK_NONE && !policy_may_remap_container(policy, &parsed.told.attrs))
		return;
	size_t adjust = pb_begin(to, RESPONSE_ADJUST);
	size_t hooks = pb_begin(to, ADJUST_HOOKS);
	put_hook(to, HOOKS_CREATE_RUNTIME, hook, "createRuntime", &parsed.told.attrs);
	put_hook(to, HOOKS_POSTSTOP, hook, "poststop", NULL);
	pb_end(to, hooks);
	pb_end(to, adjust);
}
