/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What rules ask of a container: annotations, labels, and the names of its pod.
 */
#include "policy/container_attrs.h"
#include "policy_testing.h"

static void annotation(void **state)
{
	(void)state;
	struct annotation given[] = {{"io.hugexec.remap", "true"}, {"team", "db/one"}};
	const struct container_attrs container = {.annotations = given, .annotation_count = 2};
	struct match_input attrs = {.via = VIA_HOOK, .container = &container};
	struct match_input none = {.via = VIA_HOOK};
	assert_int_equal(match_says("{\"annotation\":{\"io.hugexec.remap\":\"true\"}}", &attrs), ACTION_REMAP);
	assert_int_equal(match_says("{\"annotation\":{\"io.hugexec.remap\":\"false\"}}", &attrs), ACTION_SKIP);
	assert_int_equal(match_says("{\"annotation\":{\"io.hugexec.remap\":[\"yes\",\"t*\"]}}", &attrs), ACTION_REMAP);
	assert_int_equal(match_says("{\"annotation\":{\"io.hugexec.remap\":\"true\",\"team\":\"db*\"}}", &attrs),
	                 ACTION_REMAP);
	assert_int_equal(match_says("{\"annotation\":{\"io.hugexec.remap\":\"true\",\"team\":\"web\"}}", &attrs),
	                 ACTION_SKIP);
	assert_int_equal(match_says("{\"annotation\":{\"io.hugexec.remap\":\"*\",\"x\":\"*\"}}", &attrs), ACTION_SKIP);
	assert_int_equal(match_says("{\"annotation\":{\"team\":\"*\"}}", &none), ACTION_SKIP);
}

/* What is known of its pod; what is not known matches nothing, and a label is no annotation. */
static void pod(void **state)
{
	(void)state;
	static const struct annotation labels[] = {{"app", "web"}, {"tier", "front"}};
	const struct container_attrs container = {.pod_namespace = "shop",
	                                          .pod = "web-0",
	                                          .container = "server",
	                                          .image = "registry.example/shop/web:7",
	                                          .labels = labels,
	                                          .label_count = 2};
	const struct container_attrs nameless = {0};
	const struct match_input attrs = {.via = VIA_HOOK, .container = &container};
	const struct match_input unknown = {.via = VIA_HOOK, .container = &nameless}, none = {.via = VIA_SHIM};
	static const struct {
		const char *match;
		bool holds;
	} cases[] = {
	    {"{\"namespace\":\"shop\"}", true},
	    {"{\"namespace\":\"sho\"}", false},
	    {"{\"namespace\":[\"x\",\"s*\"]}", true},
	    {"{\"pod\":\"web-?\"}", true},
	    {"{\"pod\":\"server\"}", false},
	    {"{\"container\":\"server\"}", true},
	    {"{\"container\":\"web-0\"}", false},
	    {"{\"image\":\"registry.example/*:7\"}", true},
	    {"{\"image\":\"registry.example/*:8\"}", false},
	    {"{\"label\":{\"app\":\"web\",\"tier\":\"f*\"}}", true},
	    {"{\"label\":{\"app\":\"web\",\"tier\":\"back\"}}", false},
	    {"{\"label\":{\"application\":\"*\"}}", false},
	    {"{\"annotation\":{\"app\":\"web\"}}", false},
	    {"{\"namespace\":\"shop\",\"container\":\"sidecar\"}", false},
	    {"{\"namespace\":\"shop\",\"pod\":\"*\",\"container\":\"*\",\"image\":\"*\"}", true},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		if ((match_says(cases[i].match, &attrs) == ACTION_REMAP) != cases[i].holds)
			fail_msg("wrong for %s", cases[i].match);
		assert_int_equal(match_says(cases[i].match, &unknown), ACTION_SKIP);
		assert_int_equal(match_says(cases[i].match, &none), ACTION_SKIP);
	}
}

/* The names that engines put into annotations count only if they are those of one engine. */
static void names_by_annotations(void **state)
{
	(void)state;
	static const struct annotation containerd[] = {{"io.kubernetes.cri.sandbox-namespace", "shop"},
	                                               {"io.kubernetes.cri.container-name", "server"},
	                                               {"io.kubernetes.cri.image-name", "web:7"}};
	static const struct annotation both[] = {{"io.kubernetes.cri.sandbox-namespace", "trusted"},
	                                         {"io.kubernetes.pod.namespace", "shop"},
	                                         {"io.kubernetes.pod.name", "web-0"}};
	struct container_attrs attrs = container_attrs_of(containerd, 3);
	assert_string_equal(attrs.pod_namespace, "shop");
	assert_null(attrs.pod);
	assert_string_equal(attrs.container, "server");
	assert_string_equal(attrs.image, "web:7");
	assert_ptr_equal(attrs.annotations, containerd);
	attrs = container_attrs_of(&both[1], 2);
	assert_string_equal(attrs.pod_namespace, "shop");
	assert_string_equal(attrs.pod, "web-0");
	attrs = container_attrs_of(both, 3);
	assert_null(attrs.pod_namespace);
	assert_null(attrs.pod);
	assert_int_equal(attrs.annotation_count, 3);
	assert_null(container_attrs_of(NULL, 0).pod_namespace);
}

static void what_rules_ask_for(void **state)
{
	(void)state;
	struct policy *policy = policy_of("{\"version\":1,\"rules\":[{\"match\":{\"annotation\":{\"a\":\"x\"}}},"
	                                  "{\"match\":{\"label\":{\"l\":\"x\",\"m\":\"y\"}}}]}");
	assert_true(policy_asks_annotation(policy, "a"));
	assert_false(policy_asks_annotation(policy, "l"));
	assert_true(policy_asks_label(policy, "m"));
	assert_false(policy_asks_label(policy, "a"));
	policy_free(policy);
}

/* What is known of a container when it is created: its annotations, and nothing of what it will run. */
static void may_remap_container(void **state)
{
	(void)state;
	static const struct annotation on[] = {{"team", "db"}, {"io.hugexec.remap", "true"}};
	static const struct annotation off[] = {{"io.hugexec.remap", "false"}};
	const struct container_attrs with_on = {.annotations = on, .annotation_count = 2, .pod_namespace = "shop"};
	const struct container_attrs with_off = {.annotations = off, .annotation_count = 1}, with_none = {0};
	static const struct {
		const char *rules;
		bool with_on, with_off, with_none;
	} cases[] = {
	    {"[]", false, false, false},
	    {"[{\"match\":{}}]", true, true, true},
	    {"[{\"match\":{\"via\":\"shim\"}}]", false, false, false},
	    {"[{\"match\":{\"annotation\":{\"io.hugexec.remap\":\"true\"}}}]", true, false, false},
	    {"[{\"match\":{\"exe\":\"/bin/x\",\"annotation\":{\"io.hugexec.remap\":\"t*\"}}}]", true, false, false},
	    {"[{\"match\":{\"annotation\":{\"io.hugexec.remap\":\"false\"}},\"action\":\"skip\"},{\"match\":{}}]", true,
	     false, true},
	    {"[{\"match\":{\"exe\":\"/bin/x\",\"annotation\":{\"io.hugexec.remap\":\"false\"}},\"action\":\"skip\"},"
	     "{\"match\":{}}]",
	     true, true, true},
	    {"[{\"match\":{},\"action\":\"skip\"},{\"match\":{}}]", false, false, false},
	    {"[{\"match\":{\"namespace\":\"shop\"}}]", true, false, false},
	    {"[{\"match\":{\"namespace\":\"shop\"},\"action\":\"skip\"},{\"match\":{}}]", false, true, true},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[1024];
		snprintf(text, sizeof text, "{\"version\":1,\"rules\":%s}", cases[i].rules);
		struct policy *policy = policy_of(text);
		if (policy_may_remap_container(policy, &with_on) != cases[i].with_on ||
		    policy_may_remap_container(policy, &with_off) != cases[i].with_off ||
		    policy_may_remap_container(policy, &with_none) != cases[i].with_none)
			fail_msg("wrong for %s", cases[i].rules);
		policy_free(policy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(annotation),           cmocka_unit_test(pod),
	    cmocka_unit_test(names_by_annotations), cmocka_unit_test(what_rules_ask_for),
	    cmocka_unit_test(may_remap_container),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
