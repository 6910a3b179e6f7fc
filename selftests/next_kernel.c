// SPDX-License-Identifier: GPL-2.0
/*
 * Starts another kernel, as `kexec -l` and `kexec -e` do: neither the machine
 * nor its devices are reset in between, and of each driver only shutdown() is
 * called. Not a test, but what one begins with.
 *
 *   next_kernel KERNEL INITRD COMMAND-LINE
 */
#include <err.h>
#include <fcntl.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		errx(2, "usage: %s KERNEL INITRD COMMAND-LINE", argv[0]);
	if (syscall(SYS_kexec_file_load, open_file(argv[1]), open_file(argv[2]),
		    strlen(argv[3]) + 1, argv[3], 0))
		err(1, "kexec_file_load");
	reboot(RB_KEXEC);
	err(1, "reboot");
}
