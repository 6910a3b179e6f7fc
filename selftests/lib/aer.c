// SPDX-License-Identifier: GPL-2.0
/*
 * Errors on the link.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "aer.h"

#define INJECTOR	"/dev/aer_inject"

/* struct aer_error_inj of drivers/pci/pcie/aer_inject.c. */
struct injected {
	__u8 bus;
	__u8 dev;
	__u8 fn;
	__u32 uncor_status;
	__u32 cor_status;
	__u32 header_log[4];
	__u32 domain;
};

bool aer_present(void)
{
	if (!access(INJECTOR, W_OK))
		return true;
	if (!access("/lib/aer_inject.ko.xz", R_OK) &&
	    !system("xzcat /lib/aer_inject.ko.xz >/tmp/aer_inject.ko") &&
	    !system("insmod /tmp/aer_inject.ko"))
		return !access(INJECTOR, W_OK);
	return !system("modprobe aer_inject 2>/dev/null") &&
	       !access(INJECTOR, W_OK);
}

int aer_inject(const char *address, __u32 correctable, __u32 uncorrectable)
{
	struct injected e = {
		.cor_status = correctable,
		.uncor_status = uncorrectable,
	};
	char path[128], function[PATH_MAX];
	unsigned int domain, bus, dev, fn;
	int fd, ret = 0;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", address);
	if (!realpath(path, function))
		return -errno;
	/* The folder of the port is the one around that of the function. */
	*strrchr(function, '/') = 0;
	if (sscanf(strrchr(function, '/') + 1, "%x:%x:%x.%x", &domain, &bus,
		   &dev, &fn) != 4)
		return -EINVAL;
	e.domain = domain;
	e.bus = bus;
	e.dev = dev;
	e.fn = fn;
	fd = open(INJECTOR, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, &e, sizeof(e)) != sizeof(e))
		ret = -errno;
	close(fd);
	return ret;
}
