// SPDX-License-Identifier: GPL-2.0
/*
 * The device node: where it is, and its ioctls.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "busy.h"
#include "hsm.h"

/* Bits of the command register. */
#define PCI_COMMAND		4
#define PCI_COMMAND_MASTER	4

static char node_name[64];
static char node_path[80];
static char pci_address[64];

/* The number in "azihsm<number>", or -1. */
static int node_number(const char *name)
{
	const char *digits = name + strlen("azihsm");

	if (strncmp(name, "azihsm", strlen("azihsm")) || !*digits)
		return -1;
	for (const char *p = digits; *p; p++)
		if (!isdigit(*p))
			return -1;
	return atoi(digits);
}

static void use_node(const char *name)
{
	char link[PATH_MAX], target[PATH_MAX];
	ssize_t len;

	snprintf(node_name, sizeof(node_name), "%s", name);
	snprintf(node_path, sizeof(node_path), "/dev/%s", node_name);
	pci_address[0] = 0;
	snprintf(link, sizeof(link), HSM_CLASS "/%s/device", node_name);
	len = readlink(link, target, sizeof(target) - 1);
	if (len > 0) {
		const char *base;

		target[len] = 0;
		base = strrchr(target, '/');
		snprintf(pci_address, sizeof(pci_address), "%.63s",
			 base ? base + 1 : target);
	}
}

void hsm_rescan(void)
{
	const char *wanted = getenv("AZIHSM_DEV");
	char best[sizeof(node_name)] = "";
	struct dirent *entry;
	int lowest = INT_MAX;
	DIR *dir;

	node_name[0] = 0;
	node_path[0] = 0;
	pci_address[0] = 0;
	dir = opendir(HSM_CLASS);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		int number = node_number(entry->d_name);

		if (wanted && strcmp(wanted, entry->d_name))
			continue;
		if (number >= 0 && number < lowest) {
			lowest = number;
			snprintf(best, sizeof(best), "%.63s", entry->d_name);
		}
	}
	closedir(dir);
	if (best[0])
		use_node(best);
}

const char *hsm_name(void)
{
	if (!node_name[0])
		hsm_rescan();
	return node_name[0] ? node_name : NULL;
}

bool hsm_wait_for_node(bool there)
{
	for (int ms = 0; ms < 20000; ms += 10) {
		hsm_rescan();
		if (there == (hsm_name() && !access(hsm_path(), R_OK | W_OK)))
			return true;
		usleep(10000);
	}
	return false;
}

long long hsm_usual_unbind(const char *address)
{
	long long took = busy_now_ms();

	hsm_write_file(HSM_DRIVER "/unbind", address);
	took = busy_now_ms() - took;
	hsm_write_file(HSM_DRIVER "/bind", address);
	hsm_wait_for_node(true);
	return took;
}

const char *hsm_revive(const char *address)
{
	long long end = busy_now_ms() + 30000;
	struct azihsm_dev_info info;
	int fd, ret = -ENODEV;

	while (busy_now_ms() < end) {
		hsm_rescan();
		fd = hsm_name() ? hsm_open() : -ENODEV;
		if (fd >= 0) {
			ret = hsm_dev_info(fd, &info);
			close(fd);
		}
		if (!ret)
			return NULL;
		if (ret != -EAGAIN) {
			hsm_write_file(HSM_DRIVER "/unbind", address);
			hsm_write_file(HSM_DRIVER "/bind", address);
		}
		usleep(50000);
	}
	return "the device does not come back";
}

const char *hsm_path(void)
{
	hsm_name();
	return node_path;
}

const char *hsm_pci_address(void)
{
	hsm_name();
	return pci_address;
}

int hsm_bus_master(const char *address)
{
	char path[128];
	__u16 command;
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", address);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = pread(fd, &command, sizeof(command), PCI_COMMAND);
	close(fd);
	return len == sizeof(command) ? !!(command & PCI_COMMAND_MASTER) : -EIO;
}

/* How the IOMMU treats the device, "" without one. */
static void read_iommu_type(char type[16])
{
	char path[128];
	FILE *f;

	type[0] = 0;
	snprintf(path, sizeof(path),
		 "/sys/bus/pci/devices/%s/iommu_group/type", hsm_pci_address());
	f = fopen(path, "r");
	if (!f)
		return;
	if (fscanf(f, "%15s", type) != 1)
		type[0] = 0;
	fclose(f);
}

bool hsm_kernel_checks_itself(void)
{
	return !access("/sys/kernel/debug/kmemleak", F_OK);
}

bool hsm_behind_iommu(void)
{
	char type[16];

	read_iommu_type(type);
	return !strncmp(type, "DMA", 3);
}

bool hsm_iommu_is_strict(void)
{
	char type[16];

	read_iommu_type(type);
	return !strcmp(type, "DMA");
}

bool hsm_dma_is_bounced(void)
{
	char line[1024] = "";
	FILE *f = fopen("/proc/cmdline", "r");

	if (f) {
		if (!fgets(line, sizeof(line), f))
			line[0] = 0;
		fclose(f);
	}
	return strstr(line, "swiotlb=force");
}

int hsm_open(void)
{
	int fd = open(hsm_path(), O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int do_ioctl(int fd, unsigned long cmd, void *arg)
{
	int ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

static __thread const struct hsm_door *other_door;

void hsm_use_door(const struct hsm_door *door)
{
	other_door = door;
}

int hsm_cp(int fd, struct azihsm_cp_cmd *cmd)
{
	if (other_door)
		return other_door->cp(fd, cmd);
	return do_ioctl(fd, AZIHSM_IOC_CP_CMD, cmd);
}

int hsm_gcm(int fd, struct azihsm_aes *cmd)
{
	if (other_door)
		return other_door->aes(fd, cmd);
	return do_ioctl(fd, AZIHSM_IOC_AES_GCM, cmd);
}

int hsm_xts(int fd, struct azihsm_aes *cmd)
{
	if (other_door)
		return other_door->aes(fd, cmd);
	return do_ioctl(fd, AZIHSM_IOC_AES_XTS, cmd);
}

int hsm_dev_info(int fd, struct azihsm_dev_info *info)
{
	memset(info, 0, sizeof(*info));
	info->argsz = sizeof(*info);
	return do_ioctl(fd, AZIHSM_IOC_DEV_INFO, info);
}

int hsm_query(int fd, struct azihsm_query *query)
{
	memset(query, 0, sizeof(*query));
	query->size = sizeof(*query);
	return do_ioctl(fd, AZIHSM_IOC_QUERY, query);
}

int hsm_reset(int fd, __u32 type)
{
	struct azihsm_reset reset = {
		.hdr.size = sizeof(reset),
		.abort_type = type,
	};
	int ret = do_ioctl(fd, AZIHSM_IOC_RESET, &reset);

	if (!ret && reset.abort_sts != AZIHSM_RESET_OK)
		return -EREMOTEIO;
	return ret;
}

void hsm_use_processor(int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (processor < 0 || i == processor)
			CPU_SET(i, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

int hsm_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

int hsm_set_bounce_limit(unsigned int limit)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", limit);
	return hsm_write_file("/sys/module/azihsm/parameters/bounce_limit",
			      text);
}
