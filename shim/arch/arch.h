/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arch.h - picks the processor's header. Nothing outside this folder names a register.
 */
#pragma once

#if defined(__x86_64__)
#include "arch/x86_64.h"
#elif defined(__aarch64__)
#include "arch/aarch64.h"
#else
#error "no port to this processor"
#endif
