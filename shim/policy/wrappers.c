/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which programs are wrappers: those that people put before a program, told by their names.
 */
#include <fnmatch.h>
#include <string.h>

#include "arch/elf_arch.h"
#include "policy/policy.h"

/* They become the program: what the same process executes later is looked at. */
static const char *const exec_wrappers[] = {
    /* shells, and how scripts find their interpreter */
    "sh", "ash", "bash", "dash", "fish", "hush", "ksh", "ksh93", "mksh", "oksh", "rbash", "yash", "zsh", "zsh5", "env",
    /* by their own name: which of their programs it is, their first argument says */
    "busybox", "coreutils", "toybox",
    /* scheduling, processors, memory, limits, output */
    "chrt", "eatmydata", "faketime", "hugexec", "ionice", "nice", "nohup", "numactl", "prlimit", "proxychains*",
    "schedtool", "setsid", "stdbuf", "taskset", "uclampset",
    /* users, privileges, roots, personality, cgroups */
    "capsh", "cgexec", "chroot", "gosu", "linux32", "linux64", "setarch", "setpriv", "su-exec", "systemd-run",
    ARCH_SETARCH_NAMES
    /* daemontools, runit, s6, execline: programs that end by executing the next one */
    "chpst",
    "envdir", "envuidgid", "pgrphack", "setlock", "setuidgid", "softlimit", "s6-*", "backtick", "background", "define",
    "elgetopt", "elgetpositionals", "emptyenv", "exec", "execlineb", "export", "fdblock", "fdclose", "fdmove",
    "fdreserve", "fdswap", "foreground", "if", "ifelse", "ifte", "ifthenelse", "importas", "multidefine",
    "multisubstitute", "pipeline", "piperw", "redirfd", "runblock", "tryexec", "umask", "unexport", "with-contenv",
    /* its proxies are rustc, cargo and the like by another name */
    "rustup", NULL};

/* They stay, as the parent of the program: what their children execute is looked at as well. */
static const char *const fork_wrappers[] = {
    /* init processes of containers, supervisors */
    "catatonit", "docker-init", "dumb-init", "podman-init", "runsv", "runsvdir", "s6-supervise", "s6-svscan",
    "start-stop-daemon", "supervise", "supervisord", "svscan", "tini", "tini-*",
    /* users and namespaces: a session's end, or that of a PID namespace, is waited for */
    "bwrap", "doas", "firejail", "nsenter", "pkexec", "runuser", "su", "sudo", "unshare",
    /* for a while */
    "dbus-run-session", "flock", "systemd-inhibit", "time", "timeout", "xvfb-run",
    /* control programs of servers */
    "apache2ctl", "apachectl", "mariadbd-safe", "mysqld_safe", "pg_ctl", "pg_ctlcluster",
    /* drivers of compilers */
    "c++", "cc", "ccache", "distcc", "g++", "g++-[0-9]*", "gcc", "gcc-[0-9]*", "gmake", "make", "*-g++", "*-gcc",
    "*-g++-[0-9]*", "*-gcc-[0-9]*", NULL};

/* One file with many names, of which only that by which it was executed tells what it does. */
static const char *const multi_call[] = {"busybox", "coreutils", "toybox", NULL};

static bool name_matches(const char *const *globs, const char *path)
{
	if (!path)
		return false;
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	for (; *globs; globs++) {
		if (fnmatch(*globs, name, 0) == 0)
			return true;
	}
	return false;
}

static bool is_built_in(const char *const *globs, const struct program_names *names)
{
	bool goes_by_call = names->called && name_matches(multi_call, names->exe);
	return name_matches(globs, goes_by_call ? names->called : names->exe) ||
	       (names->is_script && name_matches(globs, names->called));
}

static bool uses_built_in(const struct settings *settings)
{
	for (char *const *name = settings->wrappers; name && *name; name++) {
		if (strcmp(*name, "+") == 0)
			return true;
	}
	return !settings->wrappers;
}

bool settings_names_wrapper(const struct settings *settings, const struct program_names *names)
{
	const char *const *own = (const char *const *)settings->wrappers;
	if (own && (name_matches(own, names->exe) || name_matches(own, names->called)))
		return true;
	return uses_built_in(settings) && (is_built_in(exec_wrappers, names) || is_built_in(fork_wrappers, names));
}

enum follow settings_follow(const struct settings *settings, const struct program_names *names)
{
	if (!names->is_script && !settings_names_wrapper(settings, names))
		return FOLLOW_NONE;
	if (settings->follow != FOLLOW_BY_WRAPPER)
		return settings->follow;
	/* An entry point may start its server as a child, and is there for nothing else. */
	return names->is_init || is_built_in(fork_wrappers, names) ? FOLLOW_FORK : FOLLOW_EXEC;
}
