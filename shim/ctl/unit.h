/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit.h - what the systemd that runs knows of a unit, over D-Bus (org.freedesktop.systemd1).
 */
#pragma once

#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "base/error.h"
#include "ctl/exec_line.h"

struct unit {
	char *name; /* the real one if an alias was asked for; of a template "foo@.service" */
	bool is_template;
	char *object;                  /* its path on D-Bus; of a template that of the instance that stands for all */
	struct exec_commands commands; /* ExecStart= */
};

#define UNIT_NAME_MAX 255

/*
 * Connect to the system's bus. Returns 0 (sd_bus_flush_close_unref() *OUT), or -1 with ERR "no-systemd".
 */
int unit_connect(sd_bus **out, struct error *err);

/* Whether TYPED can be the name of a unit, with or without ".service" behind it. */
bool unit_is_name(const char *typed);

/* A service's full NAME from what a person typed, into BUF. Returns 0, or -1 with ERR "usage". */
int unit_full_name(const char *typed, char buf[UNIT_NAME_MAX + 1], struct error *err);

/* The same of a unit of any type; ".service" is added to a name without. */
int unit_any_name(const char *typed, char buf[UNIT_NAME_MAX + 1], struct error *err);

/*
 * Load NAME (of unit_full_name()) and read it. Returns 0 (unit_free() it), or -1 with ERR "no-unit" (not there, masked,
 * broken) or "no-systemd".
 */
int unit_load(sd_bus *bus, const char *name, struct unit *unit, struct error *err);

/* How a unit is at this moment. */
struct unit_state {
	char active[32]; /* "active", "inactive", "failed", "activating" ... */
	char result[32]; /* of its last run: "success", "exit-code" ... */
	char type[32];   /* "simple", "oneshot" ... */
	uint32_t restarts, main_pid;
	int32_t exec_status; /* exit status, or signal, of the last main process */
};

/* Returns 0, or -1 with ERR "no-systemd". */
int unit_read_state(sd_bus *bus, const struct unit *unit, struct unit_state *out, struct error *err);

/*
 * Call EACH with the names of UNIT's instances that are loaded and not inactive if it is a template, else with its
 * own. It ends with the first that is not 0, which is returned; -1 with ERR "no-systemd" too.
 */
int unit_each_instance(sd_bus *bus, const struct unit *unit, int (*each)(void *context, const char *name),
                       void *context, struct error *err);

/*
 * Call EACH with the names of the services that are loaded and have PartOf=UNIT: Debian's postgresql.service starts
 * nothing, and its servers are such. Returns 0, or -1 with ERR "no-systemd".
 */
int unit_each_part(sd_bus *bus, const struct unit *unit, void (*each)(void *context, const char *name), void *context,
                   struct error *err);

/* Read ExecStart= anew, into *OUT (exec_commands_free() it). */
int unit_read_commands(sd_bus *bus, const struct unit *unit, struct exec_commands *out, struct error *err);

/* Have systemd read all unit files again, as systemctl daemon-reload does. Returns 0, or -1 with ERR "no-systemd". */
int unit_reload_all(sd_bus *bus, struct error *err);

void unit_free(struct unit *unit);
