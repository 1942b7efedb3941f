/* SPDX-License-Identifier: Apache-2.0 */
#include "layouts.h"

#include "tlb.h"

#define MIN_TEXT HUGE_PAGE

const char *const layout_names[LAYOUT_COUNT] = {
    "plain", "TiExec", "iodlr", "libhugetlbfs", "Hugifier", "hugexec file", "hugexec full",
};

/* Is the slot around ADDRESS inside [start, end)? */
static bool slot_is_inside(uint64_t address, uint64_t start, uint64_t end)
{
	uint64_t slot = address & ~(HUGE_PAGE - 1);
	return slot >= start && slot + HUGE_PAGE <= end;
}

/* Do offset and address of the text agree modulo 2 MiB, or can hugexec make them? */
static bool is_congruent(const struct object *object)
{
	bool can_be_moved = object->kind == OBJECT_PROGRAM && !object->fixed;
	return can_be_moved || (object->text_start - object->text_off) % HUGE_PAGE == 0;
}

bool layout_has_slots(const struct object *object)
{
	return object->text_bytes >= MIN_TEXT && is_congruent(object);
}

static uint64_t hugexec_key(enum layout layout, const struct object *object, uint64_t offset)
{
	uint64_t origin = object->text_start - object->text_off;
	if (object->kind == OBJECT_LOADER || object->text_bytes < MIN_TEXT)
		return small_key(origin + offset);
	/* A program that can be moved goes to the next lower base that is congruent. */
	uint64_t address = (is_congruent(object) ? origin & ~(HUGE_PAGE - 1) : origin) + offset;
	/* What is dlopened is mapped huge by the kernel; nobody is there who could copy its ends. */
	if (layout == LAYOUT_FULL && object->kind != OBJECT_LATER)
		return huge_key(address);
	bool whole = slot_is_inside(offset, object->text_off, object->text_off + object->text_bytes);
	return is_congruent(object) && whole ? huge_key(address) : small_key(address);
}

static uint64_t relinked_key(const struct object *object, uint64_t offset)
{
	return huge_key(object->relinked + (offset - object->code_off));
}

uint64_t layout_key(enum layout layout, const struct object *object, uint64_t offset)
{
	uint64_t origin = object->text_start - object->text_off;
	uint64_t address = origin + offset;
	bool program = object->kind == OBJECT_PROGRAM;
	uint64_t section = origin + object->section_off;
	if (offset < object->code_off || offset >= object->code_off + object->code_bytes)
		return small_key(address);
	switch (layout) {
	case LAYOUT_TIEXEC:
		if (program && slot_is_inside(address, object->text_start, object->text_start + object->text_bytes))
			return huge_key(address);
		break;
	case LAYOUT_IODLR:
		if ((program || object->kind == OBJECT_LIBRARY) &&
		    slot_is_inside(address, section, section + object->section_bytes))
			return huge_key(address);
		break;
	case LAYOUT_LIBHUGETLBFS:
		if (program)
			return relinked_key(object, offset);
		break;
	case LAYOUT_HUGIFIER:
		if (object->kind != OBJECT_LOADER)
			return relinked_key(object, offset);
		break;
	case LAYOUT_FILE:
	case LAYOUT_FULL: return hugexec_key(layout, object, offset);
	case LAYOUT_PLAIN:
	case LAYOUT_COUNT: break;
	}
	return small_key(address);
}

void layout_keys(const struct object *object, uint64_t offset, uint64_t keys[LAYOUT_COUNT])
{
	for (enum layout layout = 0; layout < LAYOUT_COUNT; layout++)
		keys[layout] = layout_key(layout, object, offset);
}

uint64_t layout_huge_bytes(enum layout layout, const struct object *object)
{
	uint64_t bytes = 0;
	for (uint64_t at = 0; at < object->text_bytes; at += 1UL << SMALL_PAGE_SHIFT)
		bytes += key_is_huge(layout_key(layout, object, object->text_off + at)) ? 1UL << SMALL_PAGE_SHIFT : 0;
	return bytes;
}
