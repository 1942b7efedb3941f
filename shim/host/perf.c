/* SPDX-License-Identifier: Apache-2.0 */
#include "host/perf.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/pages.h"

#define DATA_PAGES 4 /* 16 KiB are 1,000 samples */

static int open_event(struct perf_event_attr *attr, pid_t tid)
{
	attr->size = sizeof *attr;
	attr->exclude_kernel = 1;
	attr->exclude_hv = 1;
	return (int)syscall(SYS_perf_event_open, attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

int perf_sampler_open(pid_t tid, unsigned hz, struct perf_sampler *out)
{
	struct perf_event_attr attr = {
	    .type = PERF_TYPE_SOFTWARE,
	    .config = PERF_COUNT_SW_TASK_CLOCK,
	    .sample_period = 1000000000 / hz,
	    .sample_type = PERF_SAMPLE_IP,
	};
	*out = (struct perf_sampler){.fd = open_event(&attr, tid)};
	if (out->fd < 0)
		return -1;
	out->ring_bytes = (1 + DATA_PAGES) * host_pages()->base_bytes;
	out->ring = mmap(NULL, out->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, out->fd, 0);
	if (out->ring == MAP_FAILED) {
		int saved_errno = errno;
		close(out->fd);
		errno = saved_errno;
		return -1;
	}
	return 0;
}

/* BYTES at OFFSET of the data area, which begins anew behind its end. */
static void copy_out(const struct perf_sampler *sampler, uint64_t offset, void *out, size_t bytes)
{
	size_t page = host_pages()->base_bytes, size = sampler->ring_bytes - page;
	const char *data = (const char *)sampler->ring + page;
	for (size_t i = 0; i < bytes; i++)
		((char *)out)[i] = data[(offset + i) % size];
}

void perf_sampler_drain(struct perf_sampler *sampler, void (*take)(void *context, uint64_t ip), void *context)
{
	struct perf_event_mmap_page *meta = sampler->ring;
	uint64_t head = __atomic_load_n(&meta->data_head, __ATOMIC_ACQUIRE), tail = meta->data_tail;
	while (tail < head) {
		struct perf_event_header header;
		uint64_t ip;
		copy_out(sampler, tail, &header, sizeof header);
		if (header.size < sizeof header)
			break;
		if (header.type == PERF_RECORD_SAMPLE && header.size >= sizeof header + sizeof ip) {
			copy_out(sampler, tail + sizeof header, &ip, sizeof ip);
			take(context, ip);
		}
		tail += header.size;
	}
	__atomic_store_n(&meta->data_tail, head, __ATOMIC_RELEASE);
}

void perf_sampler_close(struct perf_sampler *sampler)
{
	munmap(sampler->ring, sampler->ring_bytes);
	close(sampler->fd);
}

static int open_counter(pid_t tid, const struct itlb_event *event, bool is_tree)
{
	struct perf_event_attr attr = {
	    .type = event->type,
	    .config = event->config,
	    .inherit = is_tree,
	    .read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
	};
	return event->config || event->type == PERF_TYPE_HARDWARE ? open_event(&attr, tid) : -1;
}

int perf_counters_open(pid_t tid, const struct itlb_events *events, bool is_tree, struct perf_counters *out)
{
	const struct itlb_event wanted[PERF_COUNTS] = {
	    [COUNT_CYCLES] = {PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES},
	    [COUNT_INSTRUCTIONS] = {PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS},
	    [COUNT_WALKS] = events->walks,
	    [COUNT_WALK_CYCLES] = events->walk_cycles,
	    [COUNT_FIRST_MISSES] = events->first_miss,
	};
	int error = 0;
	for (int i = 0; i < PERF_COUNTS; i++) {
		out->fds[i] = open_counter(tid, &wanted[i], is_tree);
		if (out->fds[i] < 0 && i <= COUNT_WALKS && !error)
			error = errno;
	}
	if (!error)
		return 0;
	perf_counters_close(out);
	errno = error;
	return -1;
}

void perf_counters_add(const struct perf_counters *counters, double counts[PERF_COUNTS])
{
	struct {
		uint64_t value, enabled, running;
	} got;
	for (int i = 0; i < PERF_COUNTS; i++) {
		if (counters->fds[i] >= 0 && read(counters->fds[i], &got, sizeof got) == (ssize_t)sizeof got &&
		    got.running)
			counts[i] += (double)got.value * (double)got.enabled / (double)got.running;
	}
}

void perf_counters_close(struct perf_counters *counters)
{
	for (int i = 0; i < PERF_COUNTS; i++) {
		if (counters->fds[i] >= 0)
			close(counters->fds[i]);
		counters->fds[i] = -1;
	}
}
