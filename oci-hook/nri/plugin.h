/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nri/plugin.h - the plugin's side of one connection to an engine, apart from its socket: it registers itself, and
 * answers what it is asked.
 *
 * An answer that is an error would fail a container. So every request gets an answer of success, an empty one if it is
 * not understood; only a stream that makes no sense ends the connection. Nothing is remembered of any container.
 */
#pragma once

#include <stdbool.h>

#include "policy/policy.h"
#include "wire.h"

struct plugin {
	struct wire wire;
	bool is_registered; /* the engine has said so */
	bool is_configured; /* and has told us what to do */
	char engine[64];    /* its name and version, for people; "" until it is configured */
	/* The hook's path, and a policy to free, or NULL if no container is to be changed now. */
	struct policy *(*load)(void *context, const char **hook);
	/* Send all BYTES of DATA. Returns 0 or -1. */
	int (*send)(void *context, const void *data, size_t bytes);
	void *context;
};

/* Ask to be registered. Returns 0, or -1 if it could not be sent. */
int plugin_register(struct plugin *plugin);

/*
 * Take in what came from the engine, and answer it. Returns 0; -1 if the connection has to end: ERR has the word
 * "nri" (it makes no sense, or the engine does not want us) or is not set (what SEND said).
 */
int plugin_take(struct plugin *plugin, const uint8_t *data, size_t bytes, struct error *err);

void plugin_free(struct plugin *plugin);
