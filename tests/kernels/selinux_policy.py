# SPDX-License-Identifier: Apache-2.0
"""A policy of SELinux for the guest, as small as one can be: what it does not name is allowed.

base_t      may do all, and trace everybody, as RHEL's unconfined_service_t; the guest's init is in it
daemon_t    a confined service: traces its own processes only; what is of server_exec_t gets the domain server_t
server_t    as daemon_t
strict_t    as daemon_t, and may not execute memory files (memory_t)
"""
import subprocess

# The kernel asks for them by number (security/selinux/include/initial_sid_to_string.h): 1 is its own, 7 is init's; the names do not matter.
INITIAL = [f"initial_{number}" for number in range(1, 28)]
DOMAIN_OF = {"initial_1": "system_r:base_t", "initial_7": "system_r:base_t"}
RULES = """
class process { fork transition sigchld sigkill sigstop signull signal ptrace getsched setsched getsession getpgid setpgid getcap setcap
    share getattr setexec setfscreate noatsecure siginh setrlimit rlimitinh dyntransition setcurrent execmem execstack execheap
    setkeycreate setsockcreate getrlimit }
class file { ioctl read write create getattr setattr lock relabelfrom relabelto append map unlink link rename execute quotaon mounton
    audit_access open execmod watch execute_no_trans entrypoint }
attribute every;
attribute confined;
type base_t, every;
type daemon_t, every, confined;
type server_t, every, confined;
type strict_t, every, confined;
type thing_t, every;
type memory_t, every;
type server_exec_t, every;
allow base_t every:process *;
allow base_t every:file *;
allow confined self:process ~{ execmem execstack execheap };
allow confined every:process { sigchld getattr };
allow { daemon_t server_t } every:file ~execmod;
allow strict_t { thing_t server_exec_t strict_t }:file ~execmod;
allow strict_t memory_t:file ~{ execute execmod };
allow daemon_t server_t:process { transition signal sigkill siginh rlimitinh noatsecure };
type_transition daemon_t server_exec_t:process server_t;
type_transition strict_t thing_t:file memory_t;
role system_r;
role system_r types { base_t daemon_t server_t strict_t };
user system_u roles { system_r };
"""


def compile_policy(folder, target):
    """Into TARGET, with checkpolicy, by way of FOLDER."""
    lines = ["class process", "class file", *(f"sid {name}" for name in INITIAL), RULES]
    lines += [f"sid {name} system_u:{DOMAIN_OF.get(name, 'object_r:thing_t')}" for name in INITIAL]
    lines += [f"fs_use_trans {filesystem} system_u:object_r:thing_t;" for filesystem in ("tmpfs", "devtmpfs")]
    lines += [f"genfscon {filesystem} / system_u:object_r:thing_t" for filesystem in ("proc", "sysfs", "rootfs", "selinuxfs", "cgroup2")]
    source = folder / "selinux.conf"
    source.write_text("\n".join(lines) + "\n")
    subprocess.run(["checkpolicy", "-U", "allow", "-c", "31", "-o", target, source], check=True, capture_output=True)
