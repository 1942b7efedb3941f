/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexecctl doctor: what this host, this cgroup and this user can do, and the setting that would change it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/kill_switch.h"
#include "base/proc.h"
#include "base/size.h"
#include "base/utf8.h"
#include "ctl/ctl.h"
#include "ctl/findings.h"
#include "ctl/probe.h"
#include "helper/protocol.h"
#include "host/host.h"
#include "host/huge_tlb.h"
#include "host/pages.h"
#include "policy/policy.h"
#include "tracer/exe_inspect.h"

#define POOLS_MAX 8
#define THP_DIR   "/sys/kernel/mm/transparent_hugepage/"

static const char help[] = "Usage: hugexecctl doctor [OPTIONS] [DIRECTORY...]\n"
                           "Find out what hugexec can do here, by trying it on a small scale, and name the\n"
                           "command or setting that would change what it cannot do. It checks the host's\n"
                           "policy, too. As root it sees more.\n"
                           "\n"
                           "It writes a nameless file of 4 MiB to /usr/bin and /var/tmp, or to DIRECTORY. If\n"
                           "it may not, it reads a large file there into the page cache anew. It takes one\n"
                           "huge page. It gives all of that back.\n"
                           "\n"
                           "  %s works   %s does not   %s could not be found out\n"
                           "\n"
                           "  --json           print JSON, for programs\n"
                           "  -h, --help       this text\n"
                           "\n"
                           "Exit status: 0 if programs can be put on huge pages (the policy is valid,\n"
                           "tracing and at least one backing work), else 1; 2 for wrong usage.\n";

static void print_help(void)
{
	printf(help, mark_sign(MARK_GOOD), mark_sign(MARK_BAD), mark_sign(MARK_UNKNOWN));
}

struct doctor {
	struct findings findings;
	bool works[BACKING_COUNT];
	bool may_trace;
	bool sees_proc;
	bool has_policy;
	bool is_off; /* by somebody */
};

__attribute__((format(printf, 5, 6))) static void fact(struct doctor *doctor, const char *topic, const char *name,
                                                       enum mark mark, const char *format, ...)
{
	char text[400];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	findings_add(&doctor->findings, topic, name, mark, text, "");
}

static bool add_probe(struct doctor *doctor, const char *topic, const char *name, const struct probe *probe)
{
	static const enum mark marks[] = {MARK_GOOD, MARK_BAD, MARK_UNKNOWN};
	findings_add(&doctor->findings, topic, name, marks[probe->verdict], probe->text, probe->advice);
	return probe->verdict == VERDICT_WORKS;
}

/* Text of files in COUNT directories; what holds for the first one is what is said of the backing. */
static void look_at_files(struct doctor *doctor, const char *const *directories, int count)
{
	struct probe probe;
	for (int i = 0; i < count; i++) {
		char name[FINDING_NAME_BYTES], shown[FINDING_NAME_BYTES - 8];
		snprintf(name, sizeof name, "file, %s", text_printable(directories[i], shown, sizeof shown));
		probe_file(directories[i], &probe);
		bool works = add_probe(doctor, "backings", name, &probe);
		if (i == 0)
			doctor->works[BACKING_FILE] = works;
	}
}

/* "hugetlb, 2M" */
static const char *pool_name(uint64_t page_bytes, char buf[FINDING_NAME_BYTES])
{
	bool is_gib = page_bytes >= GIB;
	snprintf(buf, FINDING_NAME_BYTES, "hugetlb, %" PRIu64 "%s",
	         page_bytes / (is_gib              ? GIB
	                       : page_bytes >= MIB ? MIB
	                                           : KIB),
	         is_gib              ? "G"
	         : page_bytes >= MIB ? "M"
	                             : "K");
	return buf;
}

static bool look_at_pool(struct doctor *doctor, uint64_t page_bytes)
{
	struct probe probe;
	char name[FINDING_NAME_BYTES];
	probe_hugetlb(page_bytes, &probe);
	return add_probe(doctor, "backings", pool_name(page_bytes, name), &probe);
}

static void look_at_backings(struct doctor *doctor, const char *const *directories, int count)
{
	static const char *const usual[] = {"/usr/bin", "/var/tmp"};
	struct probe probe;
	look_at_files(doctor, count ? directories : usual, count ? count : 2);
	doctor->works[BACKING_HUGETLB] = look_at_pool(doctor, host_pages()->hugetlb_bytes);
	uint64_t sizes[POOLS_MAX];
	unsigned pools = host_hugetlb_sizes(sizes, POOLS_MAX);
	for (unsigned i = 0; i < pools; i++) {
		if (sizes[i] != host_pages()->hugetlb_bytes)
			look_at_pool(doctor, sizes[i]);
	}
	probe_thp(&probe);
	doctor->works[BACKING_THP] = add_probe(doctor, "backings", "thp", &probe);
}

/* The value of KEY ("CapEff") in /proc/self/status, in BASE; FALLBACK if it is not there. */
static uint64_t own_status(const char *key, int base, uint64_t fallback)
{
	cleanup_free char *status = proc_own_status();
	uint64_t value = fallback;
	proc_u64(status, key, base, &value);
	return value;
}

static void look_at_helper(struct doctor *doctor)
{
	const char *path = helper_socket();
	if (!path)
		fact(doctor, "tracing", "hugexecd", MARK_FACT, "is not asked: HUGEXEC_HELPER=off");
	else if (helper_is_there())
		fact(doctor, "tracing", "hugexecd", MARK_GOOD,
		     "its socket can be reached: it traces programs that may not be traced from inside");
	else if (access(path, F_OK) == 0)
		findings_add(&doctor->findings, "tracing", "hugexecd", MARK_BAD,
		             "its socket exists, but this user may not write to it",
		             "SocketMode= and SocketGroup= of hugexecd.socket say who may");
	else
		findings_add(&doctor->findings, "tracing", "hugexecd", MARK_FACT,
		             "no socket: programs that may not be traced from inside stay on small pages",
		             "systemctl enable --now hugexecd.socket, for units that filter system calls");
}

static void look_at_tracing(struct doctor *doctor)
{
	struct probe probe;
	probe_ptrace(&probe);
	doctor->may_trace = add_probe(doctor, "tracing", "ptrace", &probe);
	probe_proc(&probe);
	doctor->sees_proc = add_probe(doctor, "tracing", "/proc", &probe);
	if (doctor->may_trace) { /* a filter may kill for ptrace */
		probe_entry(&probe);
		add_probe(doctor, "tracing", "libraries", &probe);
	}
	int scope = host_yama_scope();
	if (scope < 0)
		fact(doctor, "tracing", "Yama", MARK_FACT, "not in this kernel");
	else
		fact(doctor, "tracing", "Yama", scope < 2 ? MARK_FACT : MARK_BAD, "kernel.yama.ptrace_scope is %d",
		     scope);
	fact(doctor, "tracing", "CAP_SYS_PTRACE", MARK_FACT, "%s",
	     program_may_trace_privileged() ? "yes: set-uid programs can be remapped too"
	                                    : "no: set-uid, set-gid and file-capability programs are left alone");
	static const char *const modes[] = {"none", "strict", "a filter is in force"};
	uint64_t mode = own_status("Seccomp", 10, 0);
	fact(doctor, "tracing", "seccomp", MARK_FACT, "%s", mode < 3 ? modes[mode] : "unknown mode");
	look_at_helper(doctor);
}

static void add_policy_file(void *context, const char *file, size_t rule_count, const struct error *err)
{
	struct doctor *doctor = context;
	char shown[300];
	if (err)
		findings_add(&doctor->findings, "policy", "broken", MARK_BAD,
		             text_printable(err->detail, shown, sizeof shown), "");
	else
		fact(doctor, "policy", "file", MARK_GOOD, "%s: %zu rule%s", text_printable(file, shown, sizeof shown),
		     rule_count, rule_count == 1 ? "" : "s");
}

static void add_left_out(void *context, const char *mistake)
{
	struct doctor *doctor = context;
	char shown[300];
	findings_add(&doctor->findings, "policy", "left out", MARK_BAD, text_printable(mistake, shown, sizeof shown),
	             "what matches this rule is left alone: hugexecctl check");
}

/* As a launch by this user would have it. */
static void look_at_policy(struct doctor *doctor)
{
	struct policy_sources sources = {.require_root_owned = geteuid() == 0,
	                                 .leave_out = true,
	                                 .observe = add_policy_file,
	                                 .observe_context = doctor};
	struct policy *policy = NULL;
	struct error err = {0};
	doctor->is_off = is_switched_off();
	if (doctor->is_off)
		findings_add(&doctor->findings, "policy", "switch", MARK_BAD, "hugexec is switched off",
		             "remove " KILL_SWITCH_FILE ", or unset HUGEXEC");
	doctor->has_policy = policy_load(&sources, &policy, NULL, &err) == 0;
	if (doctor->has_policy) {
		policy_each_left_out(policy, add_left_out, doctor);
		policy_free(policy);
	} else
		findings_add(&doctor->findings, "policy", "in all", MARK_BAD,
		             "it cannot be used: programs start, but none of them on huge pages",
		             "hugexecctl check, after a change");
}

static void look_at_limit(struct doctor *doctor, const char *name, __rlimit_resource_t resource, uint64_t least,
                          const char *advice)
{
	struct rlimit limit;
	char text[64], size[16];
	if (getrlimit(resource, &limit) < 0)
		return;
	bool low = limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < least;
	if (limit.rlim_cur == RLIM_INFINITY)
		snprintf(text, sizeof text, "none");
	else if (resource == RLIMIT_NOFILE)
		snprintf(text, sizeof text, "%" PRIu64, (uint64_t)limit.rlim_cur);
	else
		snprintf(text, sizeof text, "%s", size_format(limit.rlim_cur, size, sizeof size));
	findings_add(&doctor->findings, "limits", name, low ? MARK_BAD : MARK_FACT, text, low ? advice : "");
}

static void look_at_headroom(struct doctor *doctor, const char *name, const char *controller, uint64_t headroom_bytes)
{
	char size[16], directory[256], text[400];
	bool unlimited = headroom_bytes == UINT64_MAX;
	probe_cgroup_directory(controller, directory, sizeof directory);
	if (unlimited)
		snprintf(text, sizeof text, "no limit%s%s", *directory ? "; cgroup " : " that can be seen", directory);
	else
		snprintf(text, sizeof text, "%s left; cgroup %s", size_format(headroom_bytes, size, sizeof size),
		         directory);
	bool low = headroom_bytes < 2 * host_pages()->huge_bytes;
	findings_add(
	    &doctor->findings, "limits", name, low ? MARK_BAD : MARK_FACT, text,
	    low ? "raise the limit of that cgroup or of one above it, for a unit with MemoryMax= or, for hugetlb, "
	          "by giving the pod or container huge pages"
	        : "");
}

static void look_at_limits(struct doctor *doctor)
{
	uint64_t bytes = UINT64_MAX;
	host_memory_headroom(getpid(), &bytes);
	look_at_headroom(doctor, "memory", "memory", bytes);
	char name[FINDING_NAME_BYTES];
	host_hugetlb_headroom(getpid(), host_pages()->hugetlb_bytes, &bytes);
	look_at_headroom(doctor, pool_name(host_pages()->hugetlb_bytes, name), "hugetlb", bytes);
	look_at_limit(doctor, "open files", RLIMIT_NOFILE, 16, "ulimit -n 1024, for a unit LimitNOFILE=");
	look_at_limit(doctor, "address space", RLIMIT_AS, GIB, "ulimit -v unlimited, for a unit LimitAS=infinity");
	look_at_limit(doctor, "file size", RLIMIT_FSIZE, GIB, "ulimit -f unlimited, for a unit LimitFSIZE=infinity");
}

static void look_at_switch(struct doctor *doctor, const char *name, const char *path, const char *remark)
{
	char word[64];
	if (*host_switch(path, word, sizeof word))
		fact(doctor, "switches", name, MARK_FACT, "%s%s%s", word, *remark ? ": " : "", remark);
	else
		fact(doctor, "switches", name, MARK_FACT, "not in this kernel");
}

static void look_at_switches(struct doctor *doctor)
{
	look_at_switch(doctor, "THP enabled", THP_DIR "enabled",
	               "this is about heaps; text can be huge even with never");
	look_at_switch(doctor, "THP shmem_enabled", THP_DIR "shmem_enabled", "");
	look_at_switch(doctor, "THP defrag", THP_DIR "defrag", "");
	look_at_switch(doctor, "vm.memfd_noexec", "/proc/sys/vm/memfd_noexec", "hugexec works with any value");
	look_at_switch(doctor, "vm.nr_hugepages", "/proc/sys/vm/nr_hugepages", "");
}

/* Whether text on huge pages can bring anything here. No reason to leave it: another machine runs the same unit. */
static void look_at_tlb(struct doctor *doctor)
{
	static const enum mark marks[] = {
	    [TLB_HOLDS] = MARK_GOOD, [TLB_SPLITS] = MARK_BAD, [TLB_UNKNOWN] = MARK_UNKNOWN};
	struct huge_tlb tlb;
	huge_tlb_probe(&tlb);
	findings_add(&doctor->findings, "host", "TLB", marks[tlb.verdict], huge_tlb_text(&tlb),
	             tlb.verdict == TLB_SPLITS
	                 ? "back the virtual machine with huge pages on its host (and see nx_huge_pages of KVM there)"
	                 : "");
}

static void print_json(const struct doctor *doctor, const struct utsname *host, bool usable)
{
	json_object *json = json_object_new_object();
	json_object *backings = json_object_new_object();
	for (int i = 0; i < BACKING_COUNT; i++)
		json_object_object_add(backings, backing_name((enum backing)i),
		                       json_object_new_boolean(doctor->works[i]));
	json_object_object_add(json, "version", json_object_new_int(1));
	json_object_object_add(json, "kernel", ctl_text(host->release));
	json_object_object_add(json, "machine", ctl_text(host->machine));
	json_object_object_add(json, "usable", json_object_new_boolean(usable));
	json_object_object_add(json, "backings", backings);
	json_object_object_add(json, "findings", findings_to_json(&doctor->findings));
	ctl_print_json(json);
}

static void print_verdict(const struct doctor *doctor, bool usable)
{
	char list[64] = "";
	for (int i = 0; i < BACKING_COUNT; i++) {
		if (doctor->works[i])
			snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", *list ? ", " : "",
			         backing_name((enum backing)i));
	}
	if (usable)
		printf("\nhugexec works here; backings: %s.\n", list);
	else
		printf("\nhugexec cannot put text on huge pages here: %s.\n",
		       !doctor->has_policy  ? "the policy is broken"
		       : !doctor->sees_proc ? "it needs /proc"
		       : !doctor->may_trace ? "it may not trace"
		                            : "no backing works");
}

int ctl_doctor(int argc, char **argv)
{
	static const struct option known[] = {
	    {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	bool json = false;
	int option;
	while ((option = ctl_option(argc, argv, "h", known)) != -1) {
		switch (option) {
		case 'j': json = true; break;
		case 'h': print_help(); return CTL_OK;
		default: return CTL_USAGE;
		}
	}
	for (int i = optind; i < argc; i++) {
		struct stat about;
		if (stat(argv[i], &about) < 0 || !S_ISDIR(about.st_mode)) {
			return ctl_wrong_usage(argv[0], "'%s' is no directory", argv[i]);
		}
	}
	struct doctor doctor = {0};
	struct utsname host = {0};
	uname(&host);
	fact(&doctor, "host", "kernel", MARK_FACT, "%s %s, %s", host.sysname, host.release, host.machine);
	look_at_tlb(&doctor);
	look_at_policy(&doctor);
	look_at_backings(&doctor, (const char *const *)argv + optind, argc - optind);
	look_at_tracing(&doctor);
	look_at_limits(&doctor);
	look_at_switches(&doctor);
	bool usable = !doctor.is_off && doctor.has_policy && doctor.may_trace && doctor.sees_proc;
	usable &= doctor.works[BACKING_FILE] || doctor.works[BACKING_HUGETLB] || doctor.works[BACKING_THP];
	if (json) {
		print_json(&doctor, &host, usable);
	} else {
		findings_print(&doctor.findings);
		print_verdict(&doctor, usable);
	}
	findings_free(&doctor.findings);
	return usable ? CTL_OK : CTL_NO;
}
