/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unit files as systemd reads them, which files they are, and what of their settings keeps hugexec out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctl/unit_compose.h"
#include "ctl/unit_files.h"
#include "ctl/unit_fit.h"
#include "ctl/unit_text.h"

static struct unit_needs needs = {.launcher = "/usr/libexec/hugexec/hugexec-launch",
                                  .hugexec = "/usr/bin/hugexec",
                                  .libexec = "/usr/libexec/hugexec",
                                  .loader = "/usr/lib/ld.so",
                                  .libc = "/usr/lib/libc.so.6"};

static int note(void *context, const char *section, const char *key, const char *value, struct error *err)
{
	char *all = context;
	(void)err;
	snprintf(all + strlen(all), 4096 - strlen(all), "[%s]%s=<%s>", section, key, value);
	return 0;
}

static int parse(const char *text, char all[4096])
{
	char *copy = strdup(text);
	all[0] = '\0';
	int result = unit_text_parse(copy, strlen(copy), note, all, NULL);
	free(copy);
	return result;
}

static void text_is_read_as_systemd_does(void **state)
{
	(void)state;
	static const struct {
		const char *text, *expected;
	} cases[] = {
	    {"x=0\n[A]\n b = c \n\n;x=1\n#x=2\nnonsense\nd=\n", "[A]b=<c>[A]d=<>"},
	    {"[A]\nb=c \\\n  d\\\n#x\n ;y\n e\nf=g", "[A]b=<c    d  e>[A]f=<g>"},
	    {"[A]\nb=c\\\\\nd=e\\", "[A]b=<c\\\\>[A]d=<e>"},
	    {"\xef\xbb\xbf[A]\nb=c=d\n[B]\ne=\"f\"", "[A]b=<c=d>[B]e=<\"f\">"},
	    {"[A]\nb=c\\\n#end", "[A]b=<c>"},
	};
	char all[4096];
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(parse(cases[i].text, all), 0);
		assert_string_equal(all, cases[i].expected);
	}
	assert_int_equal(parse("[A\nb=c", all), -1);
	assert_int_equal(parse("[A]\r\nb=c", all), -1);
	assert_int_equal(parse("[A]\nb=\xff", all), -1);
	char zero[] = "[A]\0b=c";
	assert_int_equal(unit_text_parse(zero, sizeof zero - 1, note, all, NULL), -1);
}

/* Whether a service with these settings ("KEY=VALUE\n") may be started through hugexec; LINES: what it takes. */
static bool fits(const char *text, char lines[4096])
{
	char *body = NULL, *copy = strdup(text), *rest = copy;
	size_t bytes;
	struct unit_setting list[32];
	struct unit_settings settings = {.list = list, .count = 0};
	for (char *line; (line = strsep(&rest, "\n")) != NULL && *line;) {
		char *value = strchr(line, '=');
		*value++ = '\0';
		assert_true(unit_fit_knows(line));
		list[settings.count++] = (struct unit_setting){.key = line, .value = value};
	}
	FILE *stream = open_memstream(&body, &bytes);
	assert_non_null(stream);
	int result = unit_fit(&settings, &needs, stream, NULL);
	fclose(stream);
	snprintf(lines, 4096, "%s", body);
	free(body);
	free(copy);
	return result == 0;
}

static void settings_that_hide_or_forbid(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool fits;
	} cases[] = {
	    {"", true},
	    {"RootDirectory=/srv/x\n", false},
	    {"RootDirectory=/\n", true},
	    {"RootDirectory=/srv/x\nBindReadOnlyPaths=/usr\n", true},
	    {"RootDirectory=/srv/x\nBindReadOnlyPaths=/opt:/usr\n", false},
	    {"RootImage=/x.raw\n", false},
	    {"RootImage=/x.raw\nRootImage=\n", true},
	    {"RootMStack=/x.mstack\n", false},
	    {"InaccessiblePaths=-/srv /boot\n", true},
	    {"InaccessiblePaths=/usr/bin\n", false},
	    {"InaccessiblePaths=-/usr/lib/libc.so.6\n", false},
	    {"InaccessiblePaths=/usr\nInaccessiblePaths=\n", true},
	    {"InaccessiblePaths=/usr\nBindReadOnlyPaths=/usr/bin /usr/lib /usr/libexec\n", false},
	    {"InaccessiblePaths=%t/x\n", true},
	    {"InaccessiblePaths=%i\n", false},
	    {"TemporaryFileSystem=/:ro\n", false},
	    {"TemporaryFileSystem=/:ro\nBindReadOnlyPaths=/usr\n", true},
	    {"TemporaryFileSystem=/:ro\nBindReadOnlyPaths=/usr/lib /usr/bin\n", false},
	    {"TemporaryFileSystem=/usr\nBindPaths=/usr:/usr\n", true},
	    {"ProtectHome=yes\nPrivateTmp=yes\n", true},
	    {"SELinuxContext=a:b:c\n", false},
	    {"AppArmorProfile=-x\n", false},
	    {"SmackProcessLabel=x\n", false},
	    {"MountImages=/x.raw:/opt\n", false},
	    {"ExtensionImages=/x.raw\n", false},
	    {"ExtensionDirectories=/x\n", false},
	    {"RestrictFileSystems=ext4\n", false},
	    {"MemoryTHP=disable\n", false},
	    {"MemoryTHP=madvise\n", true},
	    {"SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\n", true},
	    {"SystemCallFilter=read write\n", false},
	    {"SystemCallFilter=read write\nSystemCallErrorNumber=EPERM\n", true},
	    {"SystemCallFilter=~clone\n", false},
	    {"SystemCallFilter=~@debug @mount\n", true},
	    {"SystemCallFilter=~@process\nSystemCallFilter=\n", true},
	    {"NoExecPaths=/usr/bin/hugexec\n", false},
	    {"NoExecPaths=/usr/libexec/hugexec/x\n", false},
	};
	char lines[4096];
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		if (fits(cases[i].text, lines) != cases[i].fits)
			fail_msg("%s", cases[i].text);
		assert_string_equal(lines, "");
	}
}

/* hugexec below a home, or in /tmp: settings that are about these hide it. */
static void a_binary_where_a_setting_hides_it(void **state)
{
	(void)state;
	static const struct {
		const char *hugexec, *text;
		bool fits;
	} cases[] = {
	    {"/home/a/bin/hugexec", "ProtectHome=yes\n", false},
	    {"/home/a/bin/hugexec", "ProtectHome=tmpfs\n", false},
	    {"/home/a/bin/hugexec", "ProtectHome=read-only\n", true},
	    {"/home/a/bin/hugexec", "ProtectHome=yes\nProtectHome=no\n", true},
	    {"/root/bin/hugexec", "ProtectHome=true\n", false},
	    {"/tmp/bin/hugexec", "PrivateTmp=yes\n", false},
	    {"/var/tmp/hugexec", "PrivateTmp=disconnected\n", false},
	    {"/tmp/bin/hugexec", "PrivateTmp=no\n", true},
	};
	const struct unit_needs usual = needs;
	char lines[4096];
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		needs.hugexec = cases[i].hugexec;
		if (fits(cases[i].text, lines) != cases[i].fits)
			fail_msg("%s %s", cases[i].hugexec, cases[i].text);
	}
	needs = usual;
}

static void what_may_be_executed_is_extended(void **state)
{
	(void)state;
	char lines[4096];
	assert_true(fits("NoExecPaths=/\n", lines));
	assert_string_equal(lines, "ExecPaths=-/usr/bin/hugexec -/usr/libexec/hugexec -/usr/lib/ld.so "
	                           "-/usr/lib/libc.so.6\n");
	assert_true(fits("NoExecPaths=/\nNoExecPaths=\n", lines));
	assert_string_equal(lines, "");
}

static char root[64];

static void put(const char *path, const char *text)
{
	char whole[512];
	snprintf(whole, sizeof whole, "%s%s", root, path);
	for (char *slash = strchr(whole + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(whole, 0755);
		*slash = '/';
	}
	if (strncmp(text, "-> ", 3) == 0) {
		assert_int_equal(symlink(text + 3, whole), 0);
		return;
	}
	FILE *file = fopen(whole, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

/* "FRAGMENT DROP-IN..." of NAME without the root; "" where it is refused. */
static const char *found(const char *name, char all[4096])
{
	static struct unit_paths paths;
	struct unit_files files;
	assert_int_equal(unit_files_read(root, "zz-hugexec.conf", &files, NULL), 0);
	all[0] = '\0';
	if (unit_files_find(&files, name, &paths, NULL) == 0) {
		snprintf(all, 4096, "%s", paths.fragment + strlen(root));
		for (size_t i = 0; i < paths.drop_in_count; i++)
			snprintf(all + strlen(all), 4096 - strlen(all), " %s", paths.drop_ins[i] + strlen(root));
	}
	unit_files_free(&files);
	return all;
}

#define ETC "/etc/systemd/system/"
#define LIB "/usr/lib/systemd/system/"

static void files_are_found_as_systemd_does(void **state)
{
	(void)state;
	char all[4096];
	put(LIB "a-b.service", "");
	put(LIB "a-b.service.d/20-x.conf", "");
	put(ETC "a-b.service.d/10-y.conf", "");
	put(ETC "a-b.service.d/20-x.conf", "");
	put(ETC "a-b.service.d/notes", "");
	put(ETC "a-b.service.d/zz-hugexec.conf", "");
	put(LIB "a-.service.d/30-z.conf", "");
	put(LIB "service.d/40-all.conf", "");
	put(ETC "alias.service", "-> " LIB "a-b.service");
	put(ETC "alias.service.d/50-alias.conf", "");
	static const char expected[] =
	    LIB "a-b.service " ETC "a-b.service.d/10-y.conf " ETC "a-b.service.d/20-x.conf " LIB
	        "a-.service.d/30-z.conf " LIB "service.d/40-all.conf " ETC "alias.service.d/50-alias.conf";
	assert_string_equal(found("a-b.service", all), expected);
	assert_string_equal(found("alias.service", all), expected);
	put(LIB "t@.service", "");
	put(LIB "t@.service.d/1.conf", "");
	put(ETC "t@x.service.d/2.conf", "");
	put(ETC "t@y.service", "-> " LIB "t@.service");
	assert_string_equal(found("t@x.service", all), LIB "t@.service " LIB "t@.service.d/1.conf " ETC
	                                                   "t@x.service.d/2.conf " LIB "service.d/40-all.conf");
	assert_string_equal(found("t@y.service", all),
	                    ETC "t@y.service " LIB "t@.service.d/1.conf " LIB "service.d/40-all.conf");
	put(LIB "m.service", "");
	put(ETC "m.service", "-> /dev/null");
	put(ETC "l1.service", "-> l2.service");
	put(ETC "l2.service", "-> l1.service");
	put(LIB "two.service", "");
	put(LIB "two.service.d/40-all.conf", "");
	static const char *const refused[] = {"none.service", "m.service", "l1.service", "two.service"};
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
		assert_string_equal(found(refused[i], all), "");
}

static void assert_composed(const char *name, const char *expected)
{
	static struct unit_paths paths;
	struct unit_files files;
	char *text = NULL;
	assert_int_equal(unit_files_read(root, "zz-hugexec.conf", &files, NULL), 0);
	int result = unit_compose(&files, &needs, name, &paths, &text, NULL);
	unit_files_free(&files);
	if (!expected) {
		assert_int_equal(result, -1);
		return;
	}
	assert_int_equal(result, 0);
	assert_string_equal(strstr(text, "[Service]"), expected);
	free(text);
}

static void drop_ins_are_composed(void **state)
{
	(void)state;
	put(LIB "c.service", "[Unit]\nExecStart=/no\n[Service]\nExecStart=/bin/c x\n");
	assert_composed("c.service",
	                "[Service]\nExecStart=\nExecStart=/usr/libexec/hugexec/hugexec-launch -- /bin/c x\n"
	                "SyslogIdentifier=c\n");
	put(ETC "c.service.d/override.conf",
	    "[Service]\nNoExecPaths=/\nSyslogIdentifier=me\nExecStart=\nExecStart=/bin/d\n");
	assert_composed("c.service", "[Service]\nExecStart=\nExecStart=/usr/libexec/hugexec/hugexec-launch -- /bin/d\n"
	                             "ExecPaths=-/usr/bin/hugexec -/usr/libexec/hugexec -/usr/lib/ld.so "
	                             "-/usr/lib/libc.so.6\n");
	put(ETC "c.service.d/zzz.conf", "[Service]\nExecStart=\nExecStart=/bin/e\n");
	assert_composed("c.service", NULL);
	put(LIB "empty.service", "[Service]\nExecStart=/bin/a\nExecStart=\n");
	assert_composed("empty.service", NULL);
	put(LIB "systemd-x.service", "[Service]\nExecStart=/bin/a\n");
	assert_composed("systemd-x.service", NULL);
}

static int make_root(void **state)
{
	(void)state;
	strcpy(root, "/tmp/hugexec-units-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	(void)state;
	char line[128];
	snprintf(line, sizeof line, "rm -rf '%s'", root);
	return system(line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(text_is_read_as_systemd_does),
	    cmocka_unit_test(settings_that_hide_or_forbid),
	    cmocka_unit_test(a_binary_where_a_setting_hides_it),
	    cmocka_unit_test(what_may_be_executed_is_extended),
	    cmocka_unit_test_setup_teardown(files_are_found_as_systemd_does, make_root, remove_root),
	    cmocka_unit_test_setup_teardown(drop_ins_are_composed, make_root, remove_root),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
