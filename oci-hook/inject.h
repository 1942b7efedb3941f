/*
 * inject.h - add hugexec's hook to the config.json of a bundle, where the policy may want its container.
 *
 * Only hooks are added; all else keeps its value, and the file its owner and mode. What cannot be kept for certain (a
 * key that is there twice, numbers beyond 64 bits, what is no valid UTF-8) leaves the file alone, with an error.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>

#include "base/error.h"
#include "policy/policy.h"

/* Whether POLICY may remap anything in the container that CONFIG (a parsed config.json) describes. */
bool inject_is_wanted(json_object *config, const struct policy *policy, struct error *err);

/*
 * Add the hook at path HOOK to CONFIG's createRuntime hooks, last, and to poststop. Returns 1; 0 where it is there
 * already; -1 with ERR word "config" where CONFIG is not built as config.json has to be, or memory is short.
 */
int inject_add_hook(json_object *config, const char *hook, struct error *err);

/*
 * Do it to the file CONFIG in directory BUNDLE: read it, ask POLICY, write it anew beside itself and rename.
 * Returns 1 (added), 0 (not wanted, or there already; the file is untouched), or -1 with ERR, words "bundle", "config":
 * the file is untouched.
 */
int inject_into_bundle(const char *bundle, const char *config, const char *hook, const struct policy *policy,
                       struct error *err);
