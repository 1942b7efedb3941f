/* SPDX-License-Identifier: Apache-2.0 */
#include "ptrace/entry_stop.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/arch.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/missing.h"
#include "base/size.h"
#include "host/pages.h"
#include "mm/maps.h"
#include "ptrace/auxv.h"
#include "ptrace/inject.h"
#include "ptrace/tracee_files.h"

#define LOADER_BYTES (256 * KIB) /* of ld.so's data; glibc's has some 12 KiB */

/*
 * Where the page goes: above vm.mmap_min_addr as it is by default, below all that the kernel and ld.so map without
 * being told where, so that the addresses of everything else are those of a plain run.
 */
#define LOWEST_ADDR (64 * KIB)
#define PLACES_MAX  8

/* Somewhere in the page, which the tracee has for reading and executing only; we have it writable. */
struct placed_stub {
	struct arch_entry_stub stub;
	struct robust_list link;
};

struct entry_stop {
	void *page;                 /* ours; NULL: not yet */
	struct placed_stub *placed; /* in it */
	uint64_t page_addr;         /* the tracee's */
	uint64_t stub_addr;         /* in it */
	uint64_t slot_addr;         /* of AT_ENTRY's value on the tracee's stack */
	uint64_t entry_addr;
};

/* What the kernel goes through when we die (kernel/futex/core.c, exit_robust_list()). */
static struct robust_list_head robust = {.list = {&robust.list},
                                         .futex_offset = (long)(offsetof(struct placed_stub, stub.tracer)) -
                                                         (long)offsetof(struct placed_stub, link)};

static void add_to_robust(struct placed_stub *placed)
{
	placed->link.next = robust.list.next;
	robust.list.next = &placed->link;
	/* Refused, the program would wait in vain if we die, and go on by itself: the stub counts. */
	syscall(SYS_set_robust_list, &robust, sizeof robust);
}

static void remove_from_robust(struct placed_stub *placed)
{
	struct robust_list *link = &robust.list;
	while (link->next != &robust.list && link->next != &placed->link)
		link = link->next;
	if (link->next == &placed->link)
		link->next = placed->link.next;
}

/*
 * One processor for both, and a tracee of a real-time class, to which we may not belong (SCHED_RESET_ON_FORK): it would
 * spin until it has counted to the end.
 */
static bool would_starve_us(pid_t pid)
{
	cpu_set_t allowed;
	int class = sched_getscheduler(pid) & ~SCHED_RESET_ON_FORK;
	return (class == SCHED_FIFO || class == SCHED_RR) && sched_getaffinity(pid, sizeof allowed, &allowed) == 0 &&
	       CPU_COUNT(&allowed) == 1;
}

/* With the tracee borrowed: where on its stack the value of AT_ENTRY is, and the value. */
static int find_slot(struct tracee *tracee, struct entry_stop *stop, struct error *err)
{
	struct auxv auxv;
	struct error reason = {0};
	if (auxv_find(tracee, &auxv, &reason) < 0)
		return error_set(err, REASON_NO_BREAKPOINT, "%s", reason.detail);
	for (unsigned i = 0; i + 1 < auxv.word_count; i += 2) {
		if (auxv.words[i] == AT_ENTRY) {
			stop->slot_addr = auxv.tracee_addr + (i + 1) * sizeof auxv.words[0];
			stop->entry_addr = auxv.words[i + 1];
		}
	}
	return stop->entry_addr ? 0 : error_set(err, REASON_NO_BREAKPOINT, "its auxiliary vector has no entry point");
}

static uint64_t random_below(uint64_t limit)
{
	uint64_t random = 0;
	(void)!getrandom(&random, sizeof random, GRND_NONBLOCK);
	return random % limit;
}

/*
 * Our own mapping of MEMFD, with the stub somewhere in it, so that its address is no number that anything else is
 * likely to have. From here on nobody else can change it.
 */
static int make_page(int memfd, struct entry_stop *stop, pid_t zombie_pid, struct error *err)
{
	void *page = MAP_FAILED;
	uint64_t page_bytes = host_pages()->base_bytes;
	if (ftruncate(memfd, (off_t)page_bytes) == 0)
		page = mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	if (page == MAP_FAILED)
		return error_set_errno(err, errno, REASON_NO_BREAKPOINT, "a page for its entry point");
	uint64_t places = (page_bytes - sizeof *stop->placed) / sizeof(uint64_t);
	stop->page = page;
	stop->placed = (struct placed_stub *)((uint64_t *)page + 1 + random_below(places));
	arch_make_entry_stub(&stop->placed->stub, stop->entry_addr, stop->slot_addr);
	stop->placed->stub.tracer = (uint32_t)getpid();
	stop->placed->stub.zombie = (uint32_t)zombie_pid;
	if (fcntl(memfd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		return 0;
	return error_set_errno(err, errno, REASON_NO_BREAKPOINT, "sealing a page");
}

static int refused(int64_t result, const char *what, struct error *err)
{
	if (result == INT64_MIN)
		return -1;
	error_set_errno(err, (int)-result, REASON_NO_BREAKPOINT, "%s in the workload", what);
	return -1;
}

/* With the tracee borrowed: map FD, one of its own, at some free place. */
static int map_page(struct tracee *tracee, int64_t fd, struct entry_stop *stop, struct error *err)
{
	int64_t mapped = -EEXIST;
	uint64_t page_bytes = host_pages()->base_bytes;
	uint64_t places = (ARCH_LOADED_ABOVE - LOWEST_ADDR) / page_bytes;
	for (int i = 0; i < PLACES_MAX && mapped < 0 && tracee->state == TRACEE_INJECTING; i++) {
		uint64_t place = LOWEST_ADDR + random_below(places) * page_bytes;
		mapped = remote_syscall(tracee, err, SYS_mmap, place, page_bytes, PROT_READ | PROT_EXEC,
		                        MAP_SHARED | MAP_FIXED_NOREPLACE, (uint64_t)fd, 0);
	}
	if (mapped < 0)
		return refused(mapped, "mmap", err);
	stop->page_addr = (uint64_t)mapped;
	stop->stub_addr = stop->page_addr + (uint64_t)((char *)stop->placed - (char *)stop->page);
	return 0;
}

/* With the tracee borrowed: the page is there, and AT_ENTRY points to it. */
static int place_stub(struct tracee *tracee, struct entry_stop *stop, pid_t zombie_pid, struct error *err)
{
	if (find_slot(tracee, stop, err) < 0)
		return -1;
	int64_t fd = tracee_memfd_create(tracee, 0, err);
	if (fd < 0)
		return refused(fd, "memfd_create", err);
	cleanup_close int memfd = tracee_fetch_fd(tracee->pid, (int)fd, err);
	int failed = memfd < 0 ? -1 : make_page(memfd, stop, zombie_pid, err);
	if (!failed)
		failed = map_page(tracee, fd, stop, err);
	if (tracee->state == TRACEE_GONE)
		return -1;
	int64_t closed = remote_syscall(tracee, failed ? NULL : err, SYS_close, (uint64_t)fd, 0, 0, 0, 0, 0);
	if (closed < 0 && !failed)
		failed = refused(closed, "close", err);
	fault_point("entry-mapped");
	if (!failed && tracee_write(tracee, stop->slot_addr, &stop->stub_addr, sizeof stop->stub_addr) !=
	                   (ssize_t)sizeof stop->stub_addr)
		failed = error_set_errno(err, errno, REASON_NO_BREAKPOINT, "writing AT_ENTRY of process %d",
		                         (int)tracee->pid);
	return failed;
}

static void unmap_page(struct tracee *tracee, const struct entry_stop *stop)
{
	if (stop->page_addr && tracee->state == TRACEE_INJECTING)
		remote_syscall(tracee, NULL, SYS_munmap, stop->page_addr, host_pages()->base_bytes, 0, 0, 0, 0);
}

static void free_stop(struct entry_stop *stop)
{
	if (stop->page) {
		remove_from_robust(stop->placed);
		__atomic_store_n(&stop->placed->stub.tracer, 0, __ATOMIC_SEQ_CST);
		munmap(stop->page, host_pages()->base_bytes);
	}
	free(stop);
}

int entry_stop_set(struct tracee *tracee, pid_t zombie_pid, struct error *err)
{
	if (would_starve_us(tracee->pid))
		return error_set(err, REASON_NO_BREAKPOINT, "it would occupy the only processor");
	struct entry_stop *stop = calloc(1, sizeof *stop);
	if (!stop)
		return error_set_errno(err, ENOMEM, REASON_NO_BREAKPOINT, "a page for its entry point");
	if (inject_begin(tracee, err) < 0) {
		free(stop);
		return -1;
	}
	bool is_placed = place_stub(tracee, stop, zombie_pid, err) == 0 && stop->placed;
	if (is_placed)
		add_to_robust(stop->placed);
	else
		unmap_page(tracee, stop);
	if (tracee->state == TRACEE_GONE || inject_end(tracee, is_placed ? err : NULL) < 0 || !is_placed) {
		free_stop(stop);
		return -1;
	}
	tracee->entry_stop = stop;
	fault_point("entry-set");
	return 0;
}

static uint64_t read_slot(const struct tracee *tracee)
{
	uint64_t value = 0;
	return tracee_read(tracee, tracee->entry_stop->slot_addr, &value, sizeof value) == (ssize_t)sizeof value ? value
	                                                                                                         : 0;
}

bool entry_stop_is_near(const struct tracee *tracee)
{
	return tracee->entry_stop && read_slot(tracee) == tracee->entry_stop->entry_addr;
}

bool entry_stop_is_hidden(const struct tracee *tracee)
{
	uint64_t value;
	return tracee->entry_stop && tracee_read(tracee, tracee->entry_stop->slot_addr, &value, sizeof value) < 0 &&
	       errno == EPERM;
}

bool entry_stop_is_ahead(const struct tracee *tracee)
{
	return tracee->entry_stop && read_slot(tracee) == tracee->entry_stop->stub_addr;
}

/* Put right what ld.so has noted in the BYTES at ADDR, data of its own: glibc's keeps AT_ENTRY (l_entry), unused. */
static void correct_words(struct tracee *tracee, uint64_t addr, uint64_t bytes)
{
	uint64_t words[512];
	const struct entry_stop *stop = tracee->entry_stop;
	for (uint64_t done = 0; done < bytes && done < LOADER_BYTES; done += sizeof words) {
		ssize_t got = tracee_read(tracee, addr + done, words, sizeof words);
		for (ssize_t i = 0; i < got / (ssize_t)sizeof words[0]; i++) {
			if (words[i] == stop->stub_addr)
				tracee_write(tracee, addr + done + (uint64_t)i * sizeof words[0], &stop->entry_addr,
				             sizeof stop->entry_addr);
		}
	}
}

/* In ld.so's writable data, and what it has without a file behind that. */
static void correct_loader(struct tracee *tracee)
{
	struct address_space space;
	if (address_space_read(tracee->pid, &space, NULL) < 0)
		return;
	ssize_t interp = space.interp_addr ? address_space_find(&space, space.interp_addr) : -1;
	bool is_behind = false;
	for (size_t i = interp < 0 ? space.count : (size_t)interp; i < space.count; i++) {
		const struct mapping *mapping = &space.mappings[i];
		bool is_own = mapping_same_file(mapping, &space.mappings[interp]);
		if (!is_own && (!is_behind || mapping->inode || mapping->start != space.mappings[i - 1].end))
			break;
		is_behind = true;
		if (mapping->prot & PROT_WRITE)
			correct_words(tracee, mapping->start, mapping->end - mapping->start);
	}
	address_space_free(&space);
}

bool entry_stop_take(struct tracee *tracee)
{
	struct arch_regs regs;
	struct entry_stop *stop = tracee->entry_stop;
	if (!stop || tracee_get_regs(tracee, &regs, NULL) < 0 || arch_pc(&regs) < stop->stub_addr ||
	    arch_pc(&regs) >= stop->stub_addr + sizeof stop->placed->stub || !entry_stop_is_near(tracee))
		return false;
	arch_set_pc(&regs, stop->entry_addr);
	arch_replace_address(&regs, stop->stub_addr, stop->entry_addr);
	if (tracee_set_regs(tracee, &regs, NULL) < 0)
		return false;
	tracee->state = TRACEE_STOPPED;
	correct_loader(tracee);
	tracee_check_filter(tracee, NULL);
	if (ARCH_RESULT_IS_SEEN && stop->placed->stub.zombie && tracee->filter_seen != FILTER_NEW)
		return true;
	if ((tracee->filter_seen != FILTER_NEW || tracee->suspends_seccomp) && inject_begin(tracee, NULL) == 0) {
		unmap_page(tracee, stop);
		inject_end(tracee, NULL);
	}
	tracee->entry_stop = NULL;
	stop->placed->stub.zombie = 0; /* a child that a constructor has forked has none to reap, by whatever number */
	free_stop(stop);
	return true;
}

bool entry_stop_hand_off(struct tracee *tracee)
{
	struct arch_regs regs;
	const struct entry_stop *stop = tracee->entry_stop;
	if (!stop || tracee_get_regs(tracee, &regs, NULL) < 0)
		return false;
	arch_set_pc(&regs, stop->stub_addr + ARCH_STUB_REAP_OFF);
	if (tracee_set_regs(tracee, &regs, NULL) < 0)
		return false;
	fault_point("handoff-stub");
	tracee->state = TRACEE_DETACHED;
	return true;
}

void entry_stop_drop(struct tracee *tracee)
{
	struct entry_stop *stop = tracee->entry_stop;
	if (!stop)
		return;
	tracee_check_filter(tracee, NULL);
	if (tracee->filter_seen == FILTER_NEW)
		stop->placed->stub.zombie = 0;
	if (entry_stop_is_ahead(tracee))
		tracee_write(tracee, stop->slot_addr, &stop->entry_addr, sizeof stop->entry_addr);
	tracee->entry_stop = NULL;
	free_stop(stop);
}
