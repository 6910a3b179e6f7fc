// SPDX-License-Identifier: GPL-2.0
/*
 * Allocations of this thread that the kernel makes fail, one by one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hsm.h"
#include "injection.h"
#include "kselftest.h"

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define DEBUGFS		"/sys/kernel/debug"
/* At how many callers the kernel is to look: all that it can. */
#define ALL_CALLERS	"32"
/* The allocator, and what the kernel's abstractions put between it and a module. */
#define DIRECT_CALLERS	"6"
#define PAGE		4096ULL

static const char * const kinds[] = { "failslab", "fail_page_alloc" };

/* A symbol of the kernel, or of a module. */
struct symbol {
	unsigned long long at;
	char type;
	char name[128];
	char module[64];
};

static bool next_symbol(FILE *f, struct symbol *s)
{
	char line[1024];

	s->module[0] = 0;
	return fgets(line, sizeof(line), f) &&
	       sscanf(line, "%llx %c %127s [%63[^]]]", &s->at, &s->type,
		      s->name, s->module) >= 3;
}

/* Sets something for all kinds of allocations. */
static int set(const char *name, const char *value)
{
	char path[128];
	int ret = 0;

	for (int i = 0; !ret && i < ARRAY_SIZE(kinds); i++) {
		snprintf(path, sizeof(path), DEBUGFS "/%s/%s", kinds[i], name);
		ret = hsm_write_file(path, value);
	}
	return ret;
}

static int set_address(const char *name, unsigned long long address)
{
	char text[32];

	snprintf(text, sizeof(text), "%#llx", address);
	return set(name, text);
}

bool injection_prepare(void)
{
	/* Allocations that may sleep, too, of any size; and no word of it. */
	return !access(FAIL_NTH, W_OK) && !set("ignore-gfp-wait", "N") &&
	       !set("verbose", "0") &&
	       !hsm_write_file(DEBUGFS "/fail_page_alloc/min-order", "0") &&
	       !set_address("require-start", 0) &&
	       !set_address("require-end", -1) &&
	       !set_address("reject-start", 0) && !set_address("reject-end", 0);
}

int injection_only_by(const char *module)
{
	FILE *f = fopen("/proc/kallsyms", "r");
	unsigned long long first = -1, last = 0;
	struct symbol s;
	int ret;

	if (!f)
		return -errno;
	while (next_symbol(f, &s)) {
		if (strcmp(s.module, module) || (s.type != 't' && s.type != 'T'))
			continue;
		first = s.at < first ? s.at : first;
		last = s.at > last ? s.at : last;
	}
	fclose(f);
	if (!last)
		return -ENOENT;
	ret = set_address("require-start", first);
	if (!ret)
		ret = set_address("require-end", (last | (PAGE - 1)) + 1);
	return ret ?: set("stacktrace-depth", DIRECT_CALLERS);
}

int injection_spare(const char *function)
{
	FILE *f = fopen("/proc/kallsyms", "r");
	unsigned long long start = 0, end = -1;
	struct symbol s;
	int ret;

	if (!f)
		return -errno;
	while (!start && next_symbol(f, &s))
		if (!strcmp(s.name, function))
			start = s.at;
	rewind(f);
	/* Up to what comes behind it. */
	while (next_symbol(f, &s))
		if (s.at > start && s.at < end)
			end = s.at;
	fclose(f);
	if (!start)
		return -ENOENT;
	ret = set_address("reject-start", start);
	if (!ret)
		ret = set_address("reject-end", end);
	return ret ?: set("stacktrace-depth", ALL_CALLERS);
}

int injection_nth(unsigned int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	return hsm_write_file(FAIL_NTH, text);
}

bool injection_happened(void)
{
	char text[16] = "";
	int fd = open(FAIL_NTH, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		text[0] = '1';
	close(fd);
	return !atoi(text);
}
