/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject.h - add hugexec's hook to the config.json of a bundle, if the policy may want its container.
 *
 * Hooks are put into the text; all else stays as it is, byte for byte, and the file keeps its owner and mode. A reader
 * says where they go (bundle_ask.h); what goes there is made here. If something hides a hook, or the text is no JSON (a
 * duplicate key, invalid UTF-8), the file is left alone, with an error.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "bundle_answer.h"
#include "policy/policy.h"

/*
 * TEXT, which is BYTES long, with the hook at path HOOK (printable UTF-8) at the PLACES of an answer that was checked
 * for it, in a fresh string (free() it) of *CHANGED_BYTES. NULL: no memory. Pure.
 */
char *inject_hook(const char *text, size_t bytes, const struct bundle_place *places, const char *hook,
                  size_t *changed_bytes);

/*
 * Do it to the file CONFIG in directory BUNDLE: read it, ask POLICY, write it anew beside itself and rename.
 * Returns 1 (added), 0 (not wanted, or there already; the file is untouched), or -1 with ERR, words "bundle",
 * "bundle-reader", "config": the file is untouched.
 */
int inject_into_bundle(const char *bundle, const char *config, const char *hook, const struct policy *policy,
                       struct error *err);
