// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel counts in pages.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hsm.h"
#include "pages.h"

#define SLABS		"/sys/kernel/slab"
#define HUGE_PAGES	"/proc/sys/vm/nr_hugepages"
/* How long pages may stay pinned, in milliseconds. */
#define PINNED_MS	5000

/* Each processor has a share of a count, which it tells when it likes. */
static void collect(void)
{
	int fd = open("/proc/sys/vm/stat_refresh", O_RDONLY);
	char c;

	if (fd < 0)
		return;
	if (read(fd, &c, 1) < 0)
		perror("# stat_refresh");
	close(fd);
}

long page_count(const char *name)
{
	char line[128], key[64];
	long value, found = -1;
	FILE *f;

	collect();
	f = fopen("/proc/vmstat", "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %ld", key, &value) == 2 &&
		    !strcmp(key, name))
			found = value;
	fclose(f);
	return found;
}

long pages_pinned(void)
{
	return page_count("nr_foll_pin_acquired") -
	       page_count("nr_foll_pin_released");
}

long pages_left(long before)
{
	for (int ms = 0; ms < PINNED_MS && pages_pinned() > before; ms += 50)
		usleep(50000);
	return pages_pinned() - before;
}

/*
 * Has the slab caches let go of what they need not keep: a kernel that checks
 * memory keeps what was freed for some time, as if it were in use.
 */
static void shrink_slabs(void)
{
	char path[300];
	struct dirent *d;
	DIR *dir = opendir(SLABS);

	while (dir && (d = readdir(dir))) {
		snprintf(path, sizeof(path), SLABS "/%s/shrink", d->d_name);
		hsm_write_file(path, "1");
	}
	if (dir)
		closedir(dir);
}

void slab_count(struct slab_counts *counts)
{
	char line[256];
	FILE *f;

	shrink_slabs();
	counts->caches = 0;
	f = fopen("/proc/slabinfo", "r");
	if (!f)
		return;
	while (counts->caches < SLAB_CACHES && fgets(line, sizeof(line), f)) {
		struct slab_cache *cache = &counts->cache[counts->caches];

		if (sscanf(line, "%63s %ld", cache->name, &cache->objects) == 2)
			counts->caches++;
	}
	fclose(f);
}

/* Objects that a cache had; of several with a name it is the first. */
static long objects_before(const struct slab_counts *before, const char *name)
{
	for (unsigned int i = 0; i < before->caches; i++)
		if (!strcmp(before->cache[i].name, name))
			return before->cache[i].objects;
	return 0;
}

static bool is_listed(const char *name, const char *const *list)
{
	for (; list && *list; list++)
		if (!strcmp(*list, name))
			return true;
	return false;
}

struct slab_cache slab_growth(const struct slab_counts *before,
			      const struct slab_counts *after,
			      const char *const *without)
{
	struct slab_cache most = { .name = "none", .objects = 0 };

	for (unsigned int i = 0; i < after->caches; i++) {
		struct slab_cache cache = after->cache[i];

		cache.objects -= objects_before(before, cache.name);
		if (cache.objects > most.objects &&
		    !is_listed(cache.name, without))
			most = cache;
	}
	return most;
}

long pages_huge(long want)
{
	char text[32] = "";
	FILE *f;
	long have = -1;

	if (want >= 0) {
		snprintf(text, sizeof(text), "%ld", want);
		hsm_write_file(HUGE_PAGES, text);
	}
	f = fopen(HUGE_PAGES, "r");
	if (f) {
		if (fscanf(f, "%ld", &have) != 1)
			have = -1;
		fclose(f);
	}
	return have;
}
