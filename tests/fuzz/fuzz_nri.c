/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine sends hugexec-nri: streams in which anything may be, and requests that begin as they should. Input: a
 * byte that says which of the two, and where what is sent is cut in pieces; then the bytes.
 */
#include "fuzzing.h"
#include "nri/create_container.h"
#include "nri/plugin.h"
#include "nri/protobuf.h"

#define HOOK "/usr/libexec/hugexec/hugexec-oci-hook"

static const char policy_text[] = "{\"version\":1,\"rules\":[{\"match\":{\"namespace\":\"x*\"}},"
                                  "{\"match\":{\"label\":{\"a\":\"*\"},\"image\":\"*\"}},"
                                  "{\"match\":{\"annotation\":{\"b\":\"*\"}}}]}";

static struct policy *make_policy(void *context, const char **hook)
{
	struct policy *policy = NULL;
	(void)context;
	*hook = HOOK;
	MUST(policy_parse(policy_text, sizeof policy_text - 1, "fuzz.json", &policy, NULL) == 0);
	return policy;
}

/* What is sent is frames that an engine can take apart, of messages that say nothing of an error. */
static int check_response(void *context, const struct wire_message *message)
{
	struct pb status;
	(void)context;
	MUST(message->connection == WIRE_TO_PLUGIN ? message->type == WIRE_RESPONSE : message->type == WIRE_REQUEST);
	if (message->type == WIRE_RESPONSE)
		MUST(!pb_find((struct pb){message->body, message->bytes}, 1, &status));
	return 0;
}

static int look_at_sent(void *context, const void *data, size_t bytes)
{
	struct wire wire = {0};
	(void)context;
	MUST(wire_take(&wire, data, bytes, check_response, NULL, NULL) == 0);
	MUST(wire.frame_left == 0 && wire.frame_bytes == 0 && wire.streams[0].header_bytes == 0);
	wire_free(&wire);
	return 0;
}

static void take_stream(struct input *input, size_t piece)
{
	struct plugin plugin = {.load = make_policy, .send = look_at_sent};
	struct error err = {0};
	MUST(plugin_register(&plugin) == 0);
	while (input->left > 0) {
		size_t bytes = piece && piece < input->left ? piece : input->left;
		if (plugin_take(&plugin, input->at, bytes, &err) < 0) {
			MUST(error_is_set(&err));
			break;
		}
		input->at += bytes;
		input->left -= bytes;
	}
	plugin_free(&plugin);
}

/* An answer is empty, or has the hook, and says nothing that the request does not. */
static void take_request(struct input *input)
{
	static uint8_t body[256 * 1024];
	struct pb_writer to = {.buf = body, .room = sizeof body};
	struct pb adjust, hooks, hook, path;
	const char *name;
	struct policy *policy = make_policy(NULL, &name);
	create_container(policy, name, (struct pb){input->at, input->left}, &to);
	MUST(!to.is_cut);
	if (to.bytes > 0) {
		MUST(pb_find((struct pb){body, to.bytes}, 1, &adjust) && pb_find(adjust, 5, &hooks));
		MUST(pb_find(hooks, 2, &hook) && pb_find(hook, 1, &path));
		MUST(path.bytes == sizeof HOOK - 1 && memcmp(path.at, HOOK, path.bytes) == 0);
		MUST(pb_find(hooks, 6, &hook));
	}
	policy_free(policy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	uint8_t how = input_byte(&input);
	if (how & 1)
		take_request(&input);
	else
		take_stream(&input, how >> 1);
	return 0;
}
