/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nri/create_container.h - the plugin's answer to CreateContainer: what the request says of the container, whether the
 * policy may want it, and the hook to add.
 */
#pragma once

#include "policy/policy.h"
#include "protobuf.h"

/*
 * Write to TO a CreateContainerResponse that adds HOOK with what it has to know, as far as POLICY asks for it, if
 * POLICY may want the container of REQUEST, a CreateContainerRequest; else nothing, as for a request that is malformed,
 * or has the hook already. Names of more than 4000 bytes, or with a NUL in them, count as not known. Pure.
 */
void create_container(const struct policy *policy, const char *hook, struct pb request, struct pb_writer *to);
