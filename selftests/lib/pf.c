// SPDX-License-Identifier: GPL-2.0
/*
 * The physical function: its management node, its virtual functions.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client.h"
#include "hsm.h"
#include "pf.h"

#define PCI_DEVICES	"/sys/bus/pci/devices"

/* Time between two looks, in ms. */
#define LOOK_MS		20

/* Last component of what a link leads to, or "". */
static void link_name(const char *link, char *name, size_t size)
{
	char target[PATH_MAX];
	ssize_t len = readlink(link, target, sizeof(target) - 1);
	const char *base;

	name[0] = 0;
	if (len <= 0)
		return;
	target[len] = 0;
	base = strrchr(target, '/');
	snprintf(name, size, "%.*s", (int)size - 1, base ? base + 1 : target);
}

const char *pf_mgmt_name(void)
{
	static char name[64];
	struct dirent *entry;
	DIR *dir = opendir(MGMT_CLASS);

	name[0] = 0;
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' &&
		    (!name[0] || strcmp(entry->d_name, name) < 0))
			snprintf(name, sizeof(name), "%.63s", entry->d_name);
	if (dir)
		closedir(dir);
	return name[0] ? name : NULL;
}

const char *pf_address(void)
{
	const char *name = pf_mgmt_name();
	static char address[64];
	char link[PATH_MAX];

	/* It stays the same when the driver is unbound. */
	if (!address[0] && name) {
		snprintf(link, sizeof(link), MGMT_CLASS "/%s/device", name);
		link_name(link, address, sizeof(address));
	}
	return address;
}

int pf_mgmt_open(void)
{
	const char *name = pf_mgmt_name();
	char path[80];
	int fd;

	if (!name)
		return -ENODEV;
	snprintf(path, sizeof(path), "/dev/%s", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static unsigned int pf_attribute(const char *attribute)
{
	unsigned int value = 0;
	char path[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/%s", pf_address(),
		 attribute);
	file = fopen(path, "r");
	if (file && fscanf(file, "%u", &value) != 1)
		value = 0;
	if (file)
		fclose(file);
	return value;
}

unsigned int pf_total_vfs(void)
{
	return pf_attribute("sriov_totalvfs");
}

unsigned int pf_num_vfs(void)
{
	return pf_attribute("sriov_numvfs");
}

int pf_set_vfs(unsigned int num)
{
	char path[PATH_MAX], text[16];
	unsigned int vf;
	int ret;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/sriov_numvfs",
		 pf_address());
	if (pf_num_vfs() == num)
		return 0;
	/* The number can only be changed from and to 0. */
	if (num && pf_num_vfs()) {
		ret = hsm_write_file(path, "0");
		if (ret)
			return ret;
	}
	snprintf(text, sizeof(text), "%u", num);
	ret = hsm_write_file(path, text);
	for (vf = 0; !ret && vf < num; vf++)
		ret = vf_use(vf);
	return ret;
}

static void remove_vfs(void)
{
	pf_set_vfs(0);
}

void pf_no_vfs_at_exit(void)
{
	atexit(remove_vfs);
}

const char *vf_address(unsigned int index)
{
	static __thread char address[64];
	char link[PATH_MAX];

	snprintf(link, sizeof(link), PCI_DEVICES "/%s/virtfn%u", pf_address(),
		 index);
	link_name(link, address, sizeof(address));
	return address;
}

int pf_use_node(const char *address)
{
	char link[PATH_MAX], name[64];
	struct dirent *entry;
	int ret = -ENODEV;
	DIR *dir;

	dir = opendir(HSM_CLASS);
	if (!dir)
		return -ENODEV;
	while (ret && (entry = readdir(dir))) {
		snprintf(link, sizeof(link), HSM_CLASS "/%s/device",
			 entry->d_name);
		link_name(link, name, sizeof(name));
		if (!*address || strcmp(name, address))
			continue;
		setenv("AZIHSM_DEV", entry->d_name, 1);
		hsm_rescan();
		/* The node follows a little later. */
		ret = access(hsm_path(), F_OK) ? -ENODEV : 0;
	}
	closedir(dir);
	return ret;
}

int vf_use(unsigned int index)
{
	int ret = -ENODEV;

	for (int ms = 0; ms < PF_PATIENCE_MS; ms += LOOK_MS) {
		ret = pf_use_node(vf_address(index));
		if (!ret)
			break;
		usleep(LOOK_MS * 1000);
	}
	return ret;
}

static int resources(int fd, unsigned long cmd, struct azihsm_res_cnt *arg,
		     __u32 *status)
{
	int ret = ioctl(fd, cmd, arg) ? -errno : 0;

	if (status)
		*status = arg->status;
	return ret;
}

int mgmt_set_resources(int fd, unsigned int vf, unsigned int count,
		       __u32 *status)
{
	struct azihsm_res_cnt arg = {
		.argsz = sizeof(arg),
		.vf_idx = vf,
		.res_cnt = count,
		.status = ~0,
	};

	return resources(fd, AZIHSM_MGMT_IOC_SET_RES_CNT, &arg, status);
}

int mgmt_get_resources(int fd, unsigned int vf, __u32 *status)
{
	struct azihsm_res_cnt arg = {
		.argsz = sizeof(arg),
		.vf_idx = vf,
		.res_cnt = 0xcccc,
		.status = ~0,
	};
	int ret = resources(fd, AZIHSM_MGMT_IOC_GET_RES_CNT, &arg, status);

	return ret ? ret : arg.res_cnt;
}

int mgmt_vf_count(int fd)
{
	struct azihsm_vf_count arg = { .argsz = sizeof(arg) };
	int ret = ioctl(fd, AZIHSM_MGMT_IOC_VF_COUNT, &arg) ? -errno : 0;

	return ret ? ret : arg.vf_count;
}

int mgmt_dev_info(int fd, struct azihsm_dev_info *info)
{
	memset(info, 0, sizeof(*info));
	info->argsz = sizeof(*info);
	return ioctl(fd, AZIHSM_MGMT_IOC_DEV_INFO, info) ? -errno : 0;
}

int vf_wait_usable(void)
{
	struct hsm_device_info info;
	int fd = hsm_open(), ret = fd;

	for (int ms = 0; fd >= 0 && ms < PF_PATIENCE_MS; ms += LOOK_MS) {
		ret = hsm_get_device_info(fd, &info);
		if (ret != -EAGAIN)
			break;
		usleep(LOOK_MS * 1000);
	}
	if (fd >= 0)
		close(fd);
	return ret;
}

int vf_give(unsigned int vf, unsigned int count)
{
	int fd = pf_mgmt_open(), ret = fd;
	int had;

	if (fd < 0)
		return ret;
	had = mgmt_get_resources(fd, vf, NULL);
	ret = had < 0 ? had : 0;
	if (!ret && had != count)
		ret = mgmt_set_resources(fd, vf, count, NULL);
	close(fd);
	if (!ret)
		ret = vf_use(vf);
	return ret || !count ? ret : vf_wait_usable();
}
