/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy/container_attrs.h - which pod and container it is, by the annotations that an engine puts into config.json.
 *
 * An engine writes its own names over those that a pod gives itself, but hands on what it does not know. So a pod on
 * CRI-O can call itself anything by containerd's names, and the other way round: if both are there none counts.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "policy/policy.h"

/* Whether an engine puts the image's name into the annotation NAME. */
bool container_attrs_name_image(const char *name);

/* The attributes of a container with COUNT ANNOTATIONS, and no labels. All of it is borrowed. Pure. */
struct container_attrs container_attrs_of(const struct annotation *annotations, size_t count);
