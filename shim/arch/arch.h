/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arch.h - picks the processor's header. Nothing outside this folder names a register.
 */
#pragma once

#if defined(__x86_64__)
#include "arch/x86_64.h"
#else
#error "hugexec has no engine/arch header for this processor yet"
#endif
