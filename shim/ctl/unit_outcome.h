/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit_outcome.h - what came of a service's start: how much of its main process's text is on huge pages, and why not
 * more.
 */
#pragma once

#include <json-c/json.h>
#include <stdint.h>
#include <sys/types.h>

struct unit_outcome {
	uint64_t text_bytes, huge_bytes; /* 0: there is no process, or it may not be read */
	char report[512];                /* the last that the journal has, fit for a terminal; "" */
};

/* PID 0: there is none. */
void unit_outcome_read(const char *unit, pid_t pid, struct unit_outcome *out);

/* "18.0 MiB of 21.0 MiB of text on huge pages (85 %)", or why there is nothing, into BUF. Returns BUF. */
const char *unit_outcome_text(const struct unit_outcome *outcome, char *buf, size_t buf_bytes);

/* Its members into JSON. */
void unit_outcome_to_json(const struct unit_outcome *outcome, json_object *json);
