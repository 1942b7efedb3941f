/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf_object.h - one ELF object of a stopped process (the program itself, or a library): its backings in order until
 * one holds.
 */
#pragma once

#include <stdbool.h>

#include "mm/maps.h"
#include "policy/policy.h"
#include "ptrace/tracee.h"
#include "report/report.h"

struct elf_object {
	struct tracee *tracee;
	struct address_space *space; /* read anew if the object had to move; with private_pages_note() if it has run */
	const struct settings *settings;
	size_t map_index;  /* a mapping of the object in SPACE */
	bool is_program;   /* not a library */
	bool is_loaded;    /* it stands at its entry point: what is read-only now remains so */
	bool may_move;     /* a program that has not run yet */
	bool has_perf_map; /* one was begun for an object before */
	bool rebased;
};

/*
 * Put the object's text on huge pages if that can be done. OUT gets path, address range, text bytes, and why not
 * if not; objects_measure() adds what came of it. TRACEE: STOPPED; STOPPED afterwards, or GONE. Returns whether the
 * text was changed (a library that was not had nothing to do or was refused).
 */
bool elf_object_remap(struct elf_object *object, struct report_object *out);

/*
 * With coverage "full": put those slots of text on huge pages that elf_object_remap() could not have. OUT: what
 * elf_object_remap() filled in. Returns whether the text was changed.
 */
bool elf_object_copy_rest(struct elf_object *object, struct report_object *out);

/* Fill in huge bytes and backing of COUNT objects of PID, as its page tables are. */
void objects_measure(pid_t pid, struct report_object *objects, unsigned count);

/* Whether a reason means "there is nothing to do here", as opposed to "it could not be done". */
bool is_nothing_to_do(const struct error *reason);
