/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "ctl/ctl.h"
#include "host/huge_tlb.h"
#include "report/json_text.h"

json_object *ctl_text(const char *text)
{
	return json_text(text);
}

/* Nanoseconds a step; null if nothing was timed. */
static json_object *timings_to_json(const struct tlb_opinion *opinion)
{
	if (opinion->best.few_small <= 0)
		return NULL;
	json_object *json = json_object_new_object();
	json_object_object_add(json, "few_small", json_object_new_double(opinion->best.few_small));
	json_object_object_add(json, "many_small", json_object_new_double(opinion->best.many_small));
	json_object_object_add(json, "few_huge", json_object_new_double(opinion->best.few_huge));
	json_object_object_add(json, "many_huge", json_object_new_double(opinion->best.many_huge));
	return json;
}

json_object *ctl_tlb(const struct huge_tlb *tlb)
{
	static const char *const words[] = {[TLB_HOLDS] = "holds", [TLB_SPLITS] = "splits", [TLB_UNKNOWN] = "unknown"};
	json_object *json = json_object_new_object();
	json_object_object_add(json, "huge_pages", ctl_text(words[tlb->verdict]));
	json_object_object_add(json, "text", ctl_text(huge_tlb_text(tlb)));
	json_object_object_add(json, "load_ns", timings_to_json(&tlb->loads));
	json_object_object_add(json, "jump_ns", timings_to_json(&tlb->jumps));
	return json;
}

void ctl_print_json(json_object *json)
{
	const char *text =
	    json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		puts(text);
	json_object_put(json);
}
