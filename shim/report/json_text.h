/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_text.h - any bytes as a string of JSON, which is UTF-8: paths and the policy's names may be none.
 */
#pragma once

#include <json-c/json_object.h>

/* TEXT as a string; NULL, which json-c prints as null, if it is NULL, empty, or memory is short. */
json_object *json_text(const char *text);
