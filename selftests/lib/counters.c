// SPDX-License-Identifier: GPL-2.0
/*
 * The driver's counters in sysfs.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "counters.h"
#include "hsm.h"

static void folder_path(char *path, size_t size, const char *below)
{
	snprintf(path, size, "/sys/bus/pci/devices/%s/azihsm/%s",
		 hsm_pci_address(), below);
}

long counter_text(const char *file, char *text, size_t size)
{
	char path[256];
	ssize_t len;
	int fd;

	folder_path(path, sizeof(path), file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = read(fd, text, size - 1);
	if (len < 0)
		len = -errno;
	else
		text[len] = 0;
	close(fd);
	return len;
}

long long counter(const char *file)
{
	char text[64], *end;
	long long value;

	if (counter_text(file, text, sizeof(text)) <= 0)
		return -1;
	value = strtoll(text, &end, 10);
	if (end == text || (*end && strcmp(end, "\n")))
		return -1;
	return value;
}

static DIR *open_folder(void)
{
	char path[256];

	folder_path(path, sizeof(path), "");
	return opendir(path);
}

/* The next name that begins with @prefix; NULL, and @dir closed, at the end. */
static const char *next_name(DIR *dir, const char *prefix)
{
	struct dirent *entry;

	if (!dir)
		return NULL;
	while ((entry = readdir(dir)))
		if (!strncmp(entry->d_name, prefix, strlen(prefix)))
			return entry->d_name;
	closedir(dir);
	return NULL;
}

unsigned int counter_folders(const char *prefix)
{
	DIR *dir = open_folder();
	unsigned int count = 0;

	while (next_name(dir, prefix))
		count++;
	return count;
}

unsigned int counter_each(const char *prefix, const char *file,
			  long long values[COUNTER_FOLDERS])
{
	DIR *dir = open_folder();
	unsigned int count = 0;
	const char *name;
	char path[128];

	while ((name = next_name(dir, prefix))) {
		snprintf(path, sizeof(path), "%.32s/%s", name, file);
		if (count < COUNTER_FOLDERS)
			values[count++] = counter(path);
	}
	return count;
}

long long counter_sum(const char *prefix, const char *file)
{
	long long values[COUNTER_FOLDERS], sum = 0;
	unsigned int count = counter_each(prefix, file, values);

	for (unsigned int i = 0; i < count; i++) {
		if (values[i] < 0)
			return -1;
		sum += values[i];
	}
	return sum;
}
