/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "create_container.h"
#include "protobuf.h"

#define PLUGIN_NAME  "hugexec"
/* Two digits; engines ask plugins in this order. Hooks are called in it too, and ours should find the process as the
 * others leave it. */
#define PLUGIN_INDEX "90"

/* Bit EVENT - 1 for each event (nri.pkg.api.v1alpha1.Event) that we want to be told of. */
enum { EVENT_CREATE_CONTAINER = 4 };

/* Fields: of ttrpc's messages, and of NRI's. */
enum { REQUEST_SERVICE = 1, REQUEST_METHOD = 2, REQUEST_PAYLOAD = 3 };
enum { RESPONSE_STATUS = 1, RESPONSE_PAYLOAD = 2, STATUS_CODE = 1, STATUS_MESSAGE = 2 };
enum { REGISTER_NAME = 1, REGISTER_INDEX = 2 };
enum { CONFIGURE_RUNTIME = 2, CONFIGURE_VERSION = 3, CONFIGURED_EVENTS = 2 };
enum { SYNCHRONIZE_MORE = 3, SYNCHRONIZED_MORE = 2 };

#define BODY_OUT_MAX (160 * 1024) /* twice what a container's names may take, and more */

static int send_message(struct plugin *plugin, const struct wire_message *message)
{
	size_t bytes = wire_frames_bytes(message->bytes);
	uint8_t *frames = malloc(bytes);
	if (!frames)
		return -1;
	wire_frames(message, frames);
	int result = plugin->send(plugin->context, frames, bytes);
	free(frames);
	return result;
}

int plugin_register(struct plugin *plugin)
{
	uint8_t body[256];
	struct pb_writer to = {.buf = body, .room = sizeof body};
	pb_put_text(&to, REQUEST_SERVICE, "nri.pkg.api.v1alpha1.Runtime");
	pb_put_text(&to, REQUEST_METHOD, "RegisterPlugin");
	size_t payload = pb_begin(&to, REQUEST_PAYLOAD);
	pb_put_text(&to, REGISTER_NAME, PLUGIN_NAME);
	pb_put_text(&to, REGISTER_INDEX, PLUGIN_INDEX);
	pb_end(&to, payload);
	const struct wire_message message = {
	    .connection = WIRE_TO_ENGINE, .call = 1, .type = WIRE_REQUEST, .body = body, .bytes = to.bytes};
	return send_message(plugin, &message);
}

static const char *show(struct pb text, char *buf, size_t buf_bytes)
{
	char copy[128];
	snprintf(copy, sizeof copy, "%.*s", (int)(text.bytes < sizeof copy ? text.bytes : sizeof copy - 1),
	         text.bytes ? (const char *)text.at : "");
	return text_printable(copy, buf, buf_bytes);
}

static void configure(struct plugin *plugin, struct pb request, struct pb_writer *to)
{
	struct pb name = {0}, version = {0};
	char shown_name[32], shown_version[32];
	pb_find(request, CONFIGURE_RUNTIME, &name);
	pb_find(request, CONFIGURE_VERSION, &version);
	snprintf(plugin->engine, sizeof plugin->engine, "%s %s", show(name, shown_name, sizeof shown_name),
	         show(version, shown_version, sizeof shown_version));
	plugin->is_configured = true;
	pb_put_number(to, CONFIGURED_EVENTS, 1U << (EVENT_CREATE_CONTAINER - 1));
}

/* What runs already is not ours to change; but that there is more of it wants to be acknowledged. */
static void synchronize(struct pb request, struct pb_writer *to)
{
	if (pb_number(request, SYNCHRONIZE_MORE))
		pb_put_number(to, SYNCHRONIZED_MORE, 1);
}

static bool is_text(struct pb text, const char *wanted)
{
	return text.bytes == strlen(wanted) && memcmp(text.at, wanted, text.bytes) == 0;
}

static void answer(struct plugin *plugin, struct pb method, struct pb request, struct pb_writer *to)
{
	if (is_text(method, "Configure")) {
		configure(plugin, request, to);
	} else if (is_text(method, "Synchronize")) {
		synchronize(request, to);
	} else if (is_text(method, "CreateContainer")) {
		const char *hook;
		struct policy *policy = plugin->load(plugin->context, &hook);
		if (policy)
			create_container(policy, hook, request, to);
		policy_free(policy);
	}
}

static int take_request(struct plugin *plugin, const struct wire_message *request)
{
	static uint8_t body[BODY_OUT_MAX];
	struct pb_writer to = {.buf = body, .room = sizeof body};
	struct pb method = {0}, payload = {0};
	const struct pb message = {request->body, request->bytes};
	size_t begun = pb_begin(&to, RESPONSE_PAYLOAD);
	if (pb_find(message, REQUEST_METHOD, &method)) {
		pb_find(message, REQUEST_PAYLOAD, &payload);
		answer(plugin, method, payload, &to);
	}
	pb_end(&to, begun);
	if (to.is_cut)
		to.bytes = 0; /* an empty answer is one of success */
	const struct wire_message response = {.connection = WIRE_TO_PLUGIN,
	                                      .call = request->call,
	                                      .type = WIRE_RESPONSE,
	                                      .body = body,
	                                      .bytes = to.bytes};
	return send_message(plugin, &response);
}

struct taking {
	struct plugin *plugin;
	struct error *err;
};

/* Whether we are registered. */
static int take_response(struct taking *taking, const struct wire_message *response)
{
	struct pb status, text = {0};
	char shown[128];
	if (pb_find((struct pb){response->body, response->bytes}, RESPONSE_STATUS, &status) &&
	    pb_number(status, STATUS_CODE) != 0) {
		pb_find(status, STATUS_MESSAGE, &text);
		return error_set(taking->err, REASON_NRI, "the engine refuses the plugin: %s",
		                 show(text, shown, sizeof shown));
	}
	taking->plugin->is_registered = true;
	return 0;
}

static int receive(void *context, const struct wire_message *message)
{
	struct taking *taking = context;
	if (message->connection == WIRE_TO_PLUGIN && message->type == WIRE_REQUEST)
		return take_request(taking->plugin, message);
	if (message->connection == WIRE_TO_ENGINE && message->type == WIRE_RESPONSE)
		return take_response(taking, message);
	return 0;
}

int plugin_take(struct plugin *plugin, const uint8_t *data, size_t bytes, struct error *err)
{
	struct taking taking = {plugin, err};
	return wire_take(&plugin->wire, data, bytes, receive, &taking, err);
}

void plugin_free(struct plugin *plugin)
{
	wire_free(&plugin->wire);
}
