/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lsm.h - what the kernel's security modules let a tracer do.
 *
 * A program that is executed may get a domain (SELinux) or profile (AppArmor) of its own. If it is traced then, and the
 * tracer's own may not trace that one, execve(2) fails: EPERM (security/selinux/hooks.c, selinux_bprm_creds_for_exec())
 * or EACCES (security/apparmor/domain.c, may_change_ptraced_domain()). The target would lack a program that it can
 * execute when nobody traces it.
 */
#pragma once

#include "base/error.h"

/*
 * Whether a tracer with the caller's domain and profile makes no exec fail, whatever its tracee executes.
 *
 * - SELinux tells no list of domains. So this asks whether the caller's may trace the kernel's own, which is for those
 *   only that are not confined. What cannot be asked counts as a no.
 * - AppArmor's profiles cannot be asked. So a profile that is enforced is a no, but for those of container engines,
 *   which give no program a profile of its own.
 *
 * Returns 0, also if neither is there, or seen here, or enforces; -1 with ERR, whose word is CODE.
 */
int lsm_check_tracer(enum reason code, struct error *err);
