/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/relocate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/arch.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/missing.h"
#include "base/size.h"
#include "host/pages.h"
#include "mm/cow_pages.h"
#include "mm/pt_load.h"
#include "ptrace/auxv.h"
#include "ptrace/inject.h"
#include "ptrace/tracee_files.h"
#include "remap/private_copy.h"

#define BASE_TRIES 8

#define MAPPINGS_MAX  32
#define SCRATCH_BYTES 512

/* A move in the making. */
struct move {
	struct tracee *tracee;
	const struct address_space *space;
	uint64_t delta; /* added to every address of the program; wraps for a move down */
	struct {
		const struct mapping *mapping;
		/*
		 * Read-only: mapped from the file if that may be; else moved. Text with a uprobe's breakpoints is
		 * moved, too: the probe would count a mapping that comes (uprobe_mmap()), but not one that goes.
		 */
		bool as_in_file;
		bool fresh; /* mapped from the file at its new place; the old mapping is still there */
		bool done;
	} parts[MAPPINGS_MAX];
	unsigned count;
	struct passed_file exe; /* in the tracee; without the file, which could not be passed on, all is moved */
	uint64_t scratch_addr;  /* untouched stack memory in the tracee, zero before and after */
	struct auxv auxv;
};

int relocate_check(const struct tracee *tracee, const struct address_space *space, int exe_fd, uint64_t phase,
                   struct error *err)
{
	struct segments segments;
	char path[64];
	cleanup_free char *text = NULL;
	if (segments_read(exe_fd, space->entry_addr, host_pages()->base_bytes, &segments, err) < 0)
		return -1;
	if (phase % segments.align) {
		char align[16];
		return error_set(err, REASON_REBASE_REFUSED,
		                 "a segment of it asks for addresses that are multiples of %s",
		                 size_format(segments.align, align, sizeof align));
	}
	/* ld.so started as a program is ET_DYN too, but its own program is a file that it opens itself. */
	snprintf(path, sizeof path, "/proc/%d/personality", (int)tracee->pid);
	if (read_file_at(AT_FDCWD, path, 64, &text, NULL) < 0)
		return error_set_errno(err, errno, REASON_REBASE_REFUSED, "%s", path);
	if (strtoul(text, NULL, 16) & ADDR_NO_RANDOMIZE)
		return error_set(err, REASON_REBASE_REFUSED,
		                 "its addresses must not be random (personality ADDR_NO_RANDOMIZE)");
	return 0;
}

uint64_t relocate_phase(const struct mapping *text, uint64_t huge_bytes)
{
	return (text->file_off - text->start) % huge_bytes;
}

/* The program's mappings: those of its file and anonymous ones (bss) in its segments. */
static int collect_parts(struct move *move, int exe_fd, struct error *err)
{
	const struct address_space *space = move->space;
	const struct mapping *exe = &space->mappings[space->exe_index];
	struct segments segments;
	if (segments_read(exe_fd, space->entry_addr, host_pages()->base_bytes, &segments, err) < 0)
		return -1;
	for (size_t i = 0; i < space->count; i++) {
		const struct mapping *mapping = &space->mappings[i];
		bool own = mapping_same_file(mapping, exe);
		bool bss = mapping->inode == 0 && (mapping->path[0] == '\0' || strcmp(mapping->path, "[heap]") == 0);
		enum segments_hold hold = segments_hold(&segments, mapping);
		if (hold == SEGMENTS_NOTHING)
			continue;
		if (hold == SEGMENTS_PART || (!own && !bss) || move->count == MAPPINGS_MAX || mapping->shared) {
			error_set(err, REASON_REBASE_REFUSED,
			          "its mappings are not those of a program that was just loaded");
			return -1;
		}
		move->parts[move->count].mapping = mapping;
		bool as_in_file = !(mapping->prot & PROT_WRITE) &&
		                  (!(mapping->prot & PROT_EXEC) ||
		                   !private_pages_between(move->tracee->pid, mapping->start, mapping->end));
		move->parts[move->count++].as_in_file = own && as_in_file;
	}
	if (move->count == 0) {
		error_set(err, REASON_REBASE_REFUSED, "none of its mappings is the program's");
		return -1;
	}
	return 0;
}

/* Whether [START, END) and a page on either side is free in the address space. */
static bool is_free(const struct address_space *space, uint64_t start, uint64_t end)
{
	uint64_t page_bytes = host_pages()->base_bytes;
	for (size_t i = 0; i < space->count; i++) {
		if (space->mappings[i].start < end + page_bytes && space->mappings[i].end + page_bytes > start)
			return false;
	}
	return true;
}

static int choose_delta(struct move *move, uint64_t phase, struct error *err)
{
	uint64_t start = move->parts[0].mapping->start;
	uint64_t end = move->parts[move->count - 1].mapping->end;
	uint64_t huge_bytes = host_pages()->huge_bytes;
	uint64_t lowest, highest;
	arch_move_range(move->space->mappings[move->space->count - 1].end, &lowest, &highest);
	uint64_t steps = (highest - lowest) / huge_bytes;
	for (int tries = 0; tries < BASE_TRIES; tries++) {
		uint64_t random;
		if (getrandom(&random, sizeof random, 0) != sizeof random)
			return error_set_errno(err, errno, REASON_REBASE_REFUSED, "getrandom");
		/* The old base keeps its bits below a huge page, moved by the phase. */
		uint64_t base = lowest + random % steps * huge_bytes + (start + phase) % huge_bytes;
		move->delta = base - start;
		if (is_free(move->space, base, end + move->delta))
			return 0;
	}
	return error_set(err, REASON_REBASE_REFUSED, "no free address range found");
}

/*
 * Bring one part to its new place. What may not be mapped afresh (a security module may say so) is moved; page tables
 * that come along would keep a slot on small pages, so they are given up (Linux 6.14, CONFIG_PT_RECLAIM).
 */
static int bring(struct move *move, unsigned i, struct error *err)
{
	const struct mapping *mapping = move->parts[i].mapping;
	uint64_t bytes = mapping->end - mapping->start;
	uint64_t to_addr = mapping->start + move->delta;
	int prot =
	    mapping_is_text(mapping) ? text_prot(move->tracee->pid, mapping->start, mapping->end) : mapping->prot;
	int64_t result = -EBADF;
	if (move->parts[i].as_in_file && move->exe.fd >= 0)
		result = remote_syscall(move->tracee, err, SYS_mmap, to_addr, bytes, (uint64_t)prot,
		                        MAP_PRIVATE | MAP_FIXED_NOREPLACE, (uint64_t)move->exe.fd, mapping->file_off);
	move->parts[i].fresh = result >= 0;
	if (result < 0 && result != INT64_MIN)
		result = remote_syscall(move->tracee, err, SYS_mremap, mapping->start, bytes, bytes,
		                        MREMAP_MAYMOVE | MREMAP_FIXED, to_addr, 0);
	if (result == INT64_MIN)
		return -1;
	if (result < 0)
		return error_set_errno(err, (int)-result, REASON_REBASE_REFUSED, "mremap in the workload");
	move->parts[i].done = true;
	if (move->parts[i].as_in_file && !move->parts[i].fresh)
		remote_syscall(move->tracee, NULL, SYS_madvise, to_addr, bytes, MADV_DONTNEED, 0, 0, 0);
	fault_point("rebase-moved");
	return move->tracee->state == TRACEE_GONE ? -1 : 0;
}

/* Take everything back. Returns -1 if even that fails: the tracee must not run then. */
static int take_back(struct move *move)
{
	for (unsigned i = move->count; i > 0; i--) {
		const struct mapping *mapping = move->parts[i - 1].mapping;
		uint64_t bytes = mapping->end - mapping->start;
		int64_t result = 0;
		if (!move->parts[i - 1].done)
			continue;
		if (move->parts[i - 1].fresh)
			result = remote_syscall(move->tracee, NULL, SYS_munmap, mapping->start + move->delta, bytes, 0,
			                        0, 0, 0);
		else
			result = remote_syscall(move->tracee, NULL, SYS_mremap, mapping->start + move->delta, bytes,
			                        bytes, MREMAP_MAYMOVE | MREMAP_FIXED, mapping->start, 0);
		if (result < 0)
			return -1;
	}
	return 0;
}

/* Whether nothing lies between the first and the last of the program's parts but these. */
static bool is_alone(const struct move *move)
{
	unsigned between = 0;
	for (size_t i = 0; i < move->space->count; i++)
		between += move->space->mappings[i].start >= move->parts[0].mapping->start &&
		           move->space->mappings[i].end <= move->parts[move->count - 1].mapping->end;
	return between == move->count;
}

/*
 * The old read-only mappings; by now nothing points to them. One that stays does no harm. One call for all, with the
 * holes that the moved ones have left.
 */
static void drop_old(struct move *move)
{
	uint64_t start = move->parts[0].mapping->start, end = move->parts[move->count - 1].mapping->end;
	if (is_alone(move) && remote_syscall(move->tracee, NULL, SYS_munmap, start, end - start, 0, 0, 0, 0) == 0)
		return;
	for (unsigned i = 0; i < move->count && move->tracee->state == TRACEE_INJECTING; i++) {
		const struct mapping *mapping = move->parts[i].mapping;
		if (move->parts[i].fresh)
			remote_syscall(move->tracee, NULL, SYS_munmap, mapping->start, mapping->end - mapping->start, 0,
			               0, 0, 0);
	}
}

/* A program without ELF interpreter starts in itself: the registers that it gets back point there. */
static void move_pc(struct move *move)
{
	struct arch_regs *regs = &move->tracee->saved_regs;
	uint64_t pc = arch_pc(regs);
	for (unsigned i = 0; i < move->count; i++) {
		if (pc >= move->parts[i].mapping->start && pc < move->parts[i].mapping->end) {
			arch_set_pc(regs, pc + move->delta);
			return;
		}
	}
}

/* With the tracee borrowed: the whole move, undone if it fails. */
static int move_all(struct move *move, int exe_fd, struct error *err)
{
	int result = 0;
	tracee_pass_file(move->tracee, exe_fd, move->scratch_addr, &move->exe);
	fault_point("rebase-passed");
	for (unsigned i = 0; i < move->count && result == 0 && move->tracee->state == TRACEE_INJECTING; i++)
		result = bring(move, i, err);
	if (result == 0 &&
	    move->tracee->state == TRACEE_INJECTING) /* the last that can fail, and undone by itself if it does */
		result = auxv_move(move->tracee, &move->auxv, move->delta, move->scratch_addr, err);
	if (move->tracee->state == TRACEE_GONE)
		return -1;
	if (result < 0 && take_back(move) < 0) {
		tracee_kill(move->tracee);
		return -1;
	}
	if (move->exe.fd >= 0)
		tracee_close_passed(move->tracee, &move->exe);
	if (result == 0) {
		move_pc(move);
		drop_old(move);
		fault_point("rebase-fixed");
	}
	return move->tracee->state == TRACEE_GONE ? -1 : result;
}

/* Without a vDSO a program of its own may have the only one. */
static bool moves_syscall_insn(const struct move *move)
{
	uint64_t addr = move->tracee->syscall_insn_addr;
	for (unsigned i = 0; i < move->count; i++) {
		if (addr >= move->parts[i].mapping->start && addr < move->parts[i].mapping->end)
			return true;
	}
	return false;
}

int relocate(struct tracee *tracee, const struct address_space *space, int exe_fd, uint64_t phase, struct error *err)
{
	struct move move = {.tracee = tracee, .space = space};
	static const char zero[SCRATCH_BYTES];
	char before[SCRATCH_BYTES];
	if (collect_parts(&move, exe_fd, err) < 0 || choose_delta(&move, phase, err) < 0 ||
	    inject_begin(tracee, err) < 0)
		return -1;
	move.scratch_addr = tracee_scratch(tracee, SCRATCH_BYTES);
	int result;
	if (moves_syscall_insn(&move))
		result = error_set(err, REASON_REBASE_REFUSED,
		                   "calls could not be run in it while it moves: it has no vDSO");
	else if (tracee_read(tracee, move.scratch_addr, before, sizeof before) != sizeof before ||
	         memcmp(before, zero, sizeof zero) != 0)
		result = error_set(err, REASON_REBASE_REFUSED, "the memory below the stack is in use");
	else
		result = auxv_find(tracee, &move.auxv, err);
	if (result == 0)
		result = move_all(&move, exe_fd, err);
	if (tracee->state == TRACEE_GONE)
		return -1;
	tracee_write(tracee, move.scratch_addr, zero, sizeof zero);
	if (inject_end(tracee, err) < 0)
		return -1;
	return result;
}
