/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bundle_ask.h - have a config.json read by a process that can do nothing else.
 *
 * The file may be anybody's, the caller is root. So the parsing is done by `hugexec-bundle-reader`, a process of its
 * own that locks itself up (sandbox/sandbox_enter.h), and whose answer is checked (bundle_answer.h) before anyone sees
 * it.
 */
#pragma once

#include "bundle_answer.h"

/*
 * Ask about the config.json called NAME, which is BYTES of TEXT; if HOOK is not NULL about the places for it, too.
 * Takes some seconds at most. Returns a fresh answer that was checked (free() it), or NULL with ERR, words
 * "bundle-reader" and "config".
 */
struct bundle_answer *bundle_ask(const char *name, const char *text, size_t bytes, const char *hook, struct error *err);
