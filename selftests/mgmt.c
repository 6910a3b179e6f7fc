// SPDX-License-Identifier: GPL-2.0
/*
 * The management node: every rule of its ioctls, in the order in which they
 * decide.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lib/harness.h"
#include "lib/pf.h"

#define VFS	2
#define POISON	0xcc

/* Resources of the device; the physical function has some of them. */
#define RESOURCES	65

#define SET	AZIHSM_MGMT_IOC_SET_RES_CNT
#define GET	AZIHSM_MGMT_IOC_GET_RES_CNT
#define COUNT	AZIHSM_MGMT_IOC_VF_COUNT
#define INFO	AZIHSM_MGMT_IOC_DEV_INFO

/* In row.status: nothing is written back. */
#define NOT_WRITTEN	0xffffffff

/* Where the structure lies. */
enum place {
	MEMORY,
	NULL_POINTER,	/* not readable */
	KERNEL,		/* not an address of the process */
	READ_ONLY,
	CUT,		/* its last byte is not mapped */
};

/* An ioctl about resources, and what comes of it. */
struct row {
	const char *what;
	unsigned int vfs;
	unsigned long cmd;
	enum place place;
	__u32 argsz;
	__u16 vf_idx;
	__u16 res_cnt;
	int error;
	__u32 status;
	__u16 res_cnt_after;
};

static const struct row rows[] = {
	/* MGMT-1: not readable. It precedes everything, a bad size for one. */
	{ "set: NULL", 0, SET, NULL_POINTER, 0, 0, 0, EFAULT, NOT_WRITTEN, 0 },
	{ "get: NULL", 0, GET, NULL_POINTER, 0, 0, 0, EFAULT, NOT_WRITTEN, 0 },
	{ "set: kernel", 0, SET, KERNEL, 0, 0, 0, EFAULT, NOT_WRITTEN, 0 },
	{ "get: kernel", 0, GET, KERNEL, 0, 0, 0, EFAULT, NOT_WRITTEN, 0 },
	{ "set: cut", 0, SET, CUT, 11, 0, 0, EFAULT, NOT_WRITTEN, 0 },
	{ "get: cut", 0, GET, CUT, 11, 0, 0, EFAULT, NOT_WRITTEN, 0 },
	/* MGMT-2: size. It precedes the missing virtual functions. */
	{ "set: size 0", 0, SET, MEMORY, 0, 9, 1, EINVAL, NOT_WRITTEN, 1 },
	{ "get: size 0", 0, GET, MEMORY, 0, 9, 1, EINVAL, NOT_WRITTEN, 1 },
	{ "set: size 11", 0, SET, MEMORY, 11, 9, 1, EINVAL, NOT_WRITTEN, 1 },
	{ "get: size 11", 0, GET, MEMORY, 11, 9, 1, EINVAL, NOT_WRITTEN, 1 },
	{ "set: read-only, size 11", 0, SET, READ_ONLY, 11, 0, 0, EINVAL,
	  NOT_WRITTEN, 0 },
	/* MGMT-4: no virtual functions. It precedes the index. */
	{ "set: no VFs", 0, SET, MEMORY, 12, 0, 7, EINVAL, AZIHSM_MGMT_NO_VFS,
	  7 },
	{ "get: no VFs", 0, GET, MEMORY, 12, 0, 7, EINVAL, AZIHSM_MGMT_NO_VFS,
	  0 },
	{ "set: no VFs, index", 0, SET, MEMORY, 12, 0xffff, 7, EINVAL,
	  AZIHSM_MGMT_NO_VFS, 7 },
	{ "get: no VFs, large size", 0, GET, MEMORY, 0xffffffff, 0xffff, 7,
	  EINVAL, AZIHSM_MGMT_NO_VFS, 0 },
	{ "set: no VFs, read-only", 0, SET, READ_ONLY, 12, 0, 0, EFAULT,
	  NOT_WRITTEN, 0 },
	/* MGMT-5: index. It precedes the device. */
	{ "set: index", VFS, SET, MEMORY, 12, VFS, 66, EINVAL,
	  AZIHSM_MGMT_VF_INDEX, 66 },
	{ "get: index", VFS, GET, MEMORY, 12, VFS, 66, EINVAL,
	  AZIHSM_MGMT_VF_INDEX, 0 },
	{ "set: last index", VFS, SET, MEMORY, 12, 0xffff, 1, EINVAL,
	  AZIHSM_MGMT_VF_INDEX, 1 },
	{ "get: last index", VFS, GET, MEMORY, 12, 0xffff, 1, EINVAL,
	  AZIHSM_MGMT_VF_INDEX, 0 },
	/* MGMT-8: the device refuses: more than there can be, more than are free. */
	{ "set: 66", VFS, SET, MEMORY, 12, 0, 66, EFAULT,
	  AZIHSM_MGMT_SET_FAILED, 66 },
	{ "set: 65535", VFS, SET, MEMORY, 12, 1, 0xffff, EFAULT,
	  AZIHSM_MGMT_SET_FAILED, 0xffff },
	{ "set: all", VFS, SET, MEMORY, 12, 0, RESOURCES, EFAULT,
	  AZIHSM_MGMT_SET_FAILED, RESOURCES },
	/* It works. */
	{ "set: 3", VFS, SET, MEMORY, 12, 0, 3, 0, AZIHSM_MGMT_OK, 3 },
	{ "get: 3", VFS, GET, MEMORY, 12, 0, 9, 0, AZIHSM_MGMT_OK, 3 },
	{ "set: 3 again", VFS, SET, MEMORY, 12, 0, 3, 0, AZIHSM_MGMT_OK, 3 },
	{ "set: 2, large size", VFS, SET, MEMORY, 4096, 1, 2, 0, AZIHSM_MGMT_OK,
	  2 },
	{ "get: 2, large size", VFS, GET, MEMORY, 4096, 1, 0, 0, AZIHSM_MGMT_OK,
	  2 },
	{ "get: 3 still", VFS, GET, MEMORY, 12, 0, 0, 0, AZIHSM_MGMT_OK, 3 },
	/* MGMT-11: it works, but nobody learns of it. */
	{ "set: read-only", VFS, SET, READ_ONLY, 12, 0, 4, EFAULT,
	  NOT_WRITTEN, 0 },
	{ "get: set nevertheless", VFS, GET, MEMORY, 12, 0, 0, 0,
	  AZIHSM_MGMT_OK, 4 },
	{ "get: read-only", VFS, GET, READ_ONLY, 12, 0, 0, EFAULT,
	  NOT_WRITTEN, 0 },
	/* Nothing is a number, too. */
	{ "set: 0", VFS, SET, MEMORY, 12, 0, 0, 0, AZIHSM_MGMT_OK, 0 },
	{ "get: 0", VFS, GET, MEMORY, 12, 0, 9, 0, AZIHSM_MGMT_OK, 0 },
	{ "set: 0, the other", VFS, SET, MEMORY, 12, 1, 0, 0, AZIHSM_MGMT_OK,
	  0 },
};

/* Two pages, of which the second is not mapped. */
static __u8 *page;

static void *place(enum place place, const void *arg, size_t size)
{
	__u8 *at = page;

	if (place == NULL_POINTER)
		return NULL;
	if (place == KERNEL)
		return (void *)0xffff888000000000UL;
	if (place == CUT)
		at = page + 4096 - (size - 1);
	mprotect(page, 4096, PROT_READ | PROT_WRITE);
	memset(page, POISON, 4096);
	memcpy(at, arg, place == CUT ? size - 1 : size);
	if (place == READ_ONLY)
		mprotect(page, 4096, PROT_READ);
	return at;
}

FIXTURE(mgmt) {
	int fd;
};

FIXTURE_SETUP(mgmt)
{
	self->fd = pf_mgmt_open();
	ASSERT_LE(0, self->fd);
	page = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, page);
	ASSERT_EQ(0, munmap(page + 4096, 4096));
}

FIXTURE_TEARDOWN(mgmt)
{
	close(self->fd);
}

static void run_row(struct __test_metadata *_metadata, int fd,
		    const struct row *row)
{
	struct azihsm_res_cnt arg = {
		.argsz = row->argsz,
		.vf_idx = row->vf_idx,
		.res_cnt = row->res_cnt,
		.status = NOT_WRITTEN,
	};
	void *at = place(row->place, &arg, sizeof(arg));
	int error = ioctl(fd, row->cmd, at) ? errno : 0;

	EXPECT_EQ(row->error, error) {
		TH_LOG("%s", row->what);
	}
	if (row->place != MEMORY)
		return;
	memcpy(&arg, at, sizeof(arg));
	EXPECT_EQ(row->status, arg.status) {
		TH_LOG("%s", row->what);
	}
	EXPECT_EQ(row->res_cnt_after, arg.res_cnt) {
		TH_LOG("%s", row->what);
	}
	EXPECT_EQ(row->argsz, arg.argsz);
	EXPECT_EQ(row->vf_idx, arg.vf_idx);
	/* No more than the structure. */
	EXPECT_TRUE(all_bytes((__u8 *)at + sizeof(arg), POISON, 64));
}

TEST_F_TIMEOUT(mgmt, resources, 60)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		ASSERT_EQ(0, pf_set_vfs(rows[i].vfs));
		run_row(_metadata, self->fd, &rows[i]);
	}
}

static int vf_count(int fd, enum place where, __u32 argsz,
		    struct azihsm_vf_count *after)
{
	struct azihsm_vf_count arg = {
		.argsz = argsz,
		.vf_count = 0x1234,
		.pad = 0x5678,
	};
	void *at;
	int ret;

	/* The padding at the end need not even be there. */
	at = place(where, &arg, where == CUT ? 7 : sizeof(arg));
	ret = ioctl(fd, COUNT, at) ? errno : 0;
	if (where == MEMORY)
		memcpy(after, at, sizeof(*after));
	if (where == CUT)
		memcpy(after, at, 6);
	return ret;
}

/* VFCOUNT-1, VFCOUNT-2, VFCOUNT-4 */
TEST_F_TIMEOUT(mgmt, number_of_vfs, 60)
{
	struct azihsm_vf_count after;

	for (unsigned int vfs = 0; vfs <= VFS; vfs++) {
		ASSERT_EQ(0, pf_set_vfs(vfs));
		EXPECT_EQ(EFAULT, vf_count(self->fd, NULL_POINTER, 8, &after));
		EXPECT_EQ(EFAULT, vf_count(self->fd, KERNEL, 8, &after));
		EXPECT_EQ(EINVAL, vf_count(self->fd, MEMORY, 7, &after));
		EXPECT_EQ(7, after.argsz);
		EXPECT_EQ(0x1234, after.vf_count);
		EXPECT_EQ(EINVAL, vf_count(self->fd, READ_ONLY, 7, &after));
		EXPECT_EQ(EFAULT, vf_count(self->fd, READ_ONLY, 8, &after));
		EXPECT_EQ(0, vf_count(self->fd, MEMORY, 8, &after));
		EXPECT_EQ(8, after.argsz);
		EXPECT_EQ(vfs, after.vf_count);
		EXPECT_EQ(0x5678, after.pad);
		EXPECT_EQ(0, vf_count(self->fd, MEMORY, 0xffffffff, &after));
		EXPECT_EQ(vfs, after.vf_count);
		after.vf_count = 0x1234;
		EXPECT_EQ(0, vf_count(self->fd, CUT, 8, &after));
		EXPECT_EQ(vfs, after.vf_count);
	}
}

/* PFINFO-1, PFINFO-2, PFINFO-4 */
TEST_F(mgmt, information)
{
	struct azihsm_dev_info info, hsm;
	void *at;
	int fd;

	memset(&info, POISON, sizeof(info));
	info.argsz = sizeof(info);
	ASSERT_EQ(0, ioctl(self->fd, INFO, &info));
	EXPECT_EQ(0, info.ctrl_id);
	EXPECT_STREQ(pf_address(), (const char *)info.pci_info);
	EXPECT_TRUE(all_bytes(info.rsvd, POISON, sizeof(info.rsvd)));
	EXPECT_EQ(POISON, info.pad);

	/* The same as the HSM node of the physical function says. */
	ASSERT_EQ(0, pf_use_node(pf_address()));
	fd = hsm_open();
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, hsm_dev_info(fd, &hsm));
	ASSERT_EQ(0, mgmt_dev_info(self->fd, &info));
	EXPECT_EQ(0, memcmp(&hsm, &info, sizeof(info)));
	close(fd);

	EXPECT_EQ(-1, ioctl(self->fd, INFO, NULL));
	EXPECT_EQ(EFAULT, errno);
	info.argsz = sizeof(info) - 1;
	EXPECT_EQ(-1, ioctl(self->fd, INFO, &info));
	EXPECT_EQ(EINVAL, errno);
	at = place(READ_ONLY, &info, sizeof(info));
	EXPECT_EQ(-1, ioctl(self->fd, INFO, at));
	EXPECT_EQ(EINVAL, errno);
	info.argsz = sizeof(info);
	at = place(READ_ONLY, &info, sizeof(info));
	EXPECT_EQ(-1, ioctl(self->fd, INFO, at));
	EXPECT_EQ(EFAULT, errno);
	/* The last byte of the structure is padding, and not transferred. */
	at = place(CUT, &info, sizeof(info));
	EXPECT_EQ(0, ioctl(self->fd, INFO, at));
}

/* The physical function has as many as it was told to take. */
TEST_F(mgmt, own_resources)
{
	struct azihsm_query query = { .size = sizeof(query) };
	FILE *file = fopen("/sys/module/azihsm/parameters/pf_res_cnt", "r");
	unsigned int wanted = 0;
	int fd;

	ASSERT_NE(NULL, file);
	ASSERT_EQ(1, fscanf(file, "%u", &wanted));
	fclose(file);
	if (!wanted)
		SKIP(return, "pf_res_cnt is 0");
	ASSERT_EQ(0, pf_use_node(pf_address()));
	fd = hsm_open();
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, AZIHSM_IOC_QUERY, &query));
	EXPECT_EQ(wanted > 64 ? 64 : wanted, query.resources);
	EXPECT_EQ(query.resources, query.cp_queues);
	EXPECT_EQ(2 * query.resources, query.fp_queues);
	close(fd);
}

/* ALL-11: clients look for HSMs with these on every node there is. */
TEST_F(mgmt, other_ioctls)
{
	static const unsigned long others[] = {
		AZIHSM_IOC_CP_CMD, AZIHSM_IOC_DEV_INFO, AZIHSM_IOC_RESET,
		AZIHSM_IOC_AES_XTS, AZIHSM_IOC_AES_GCM,
		_IOWR('B', 0x02, struct azihsm_cp_cmd),
		AZIHSM_IOC_QUERY,
		_IOWR('A', 0x01, struct azihsm_res_cnt),
		_IOWR('A', 0x06, struct azihsm_res_cnt),
		_IOWR('A', 0x02, struct azihsm_vf_count),
		_IOR('A', 0x03, struct azihsm_res_cnt),
		_IO('A', 0x04),
		0, ~0UL,
	};
	static const unsigned long ours[] = { SET, GET, COUNT, INFO };
	__u8 arg[4096];
	int fd;

	memset(arg, 0xff, sizeof(arg));
	for (unsigned int i = 0; i < ARRAY_SIZE(others); i++) {
		EXPECT_EQ(-1, ioctl(self->fd, others[i], arg));
		EXPECT_EQ(ENOTTY, errno) {
			TH_LOG("%#lx", others[i]);
		}
	}
	EXPECT_TRUE(all_bytes(arg, 0xff, sizeof(arg)));

	/* The other way round. */
	ASSERT_EQ(0, pf_use_node(pf_address()));
	fd = hsm_open();
	ASSERT_LE(0, fd);
	for (unsigned int i = 0; i < ARRAY_SIZE(ours); i++) {
		EXPECT_EQ(-1, ioctl(fd, ours[i], arg));
		EXPECT_EQ(ENOTTY, errno);
	}
	close(fd);
}

/* Unlike an HSM node, a file is not bound to the process that opened it. */
TEST_F(mgmt, other_process)
{
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid)
		_exit(mgmt_vf_count(self->fd) < 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(mgmt, node)
{
	char path[80];
	struct stat st;

	snprintf(path, sizeof(path), "/dev/%s", pf_mgmt_name());
	ASSERT_EQ(0, stat(path, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(0600, st.st_mode & 07777);
	EXPECT_EQ(-1, read(self->fd, path, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(self->fd, path, 1));
	EXPECT_EQ(EINVAL, errno);
}

/* Changes from many threads: each is made whole. */
static void *change(void *arg)
{
	int fd = *(int *)arg;
	long failed = 0;

	for (unsigned int i = 0; i < 20; i++) {
		unsigned int vf = i % VFS;
		int count;

		failed |= mgmt_set_resources(fd, vf, 1 + i % 3, NULL);
		count = mgmt_get_resources(fd, vf, NULL);
		failed |= count < 1 || count > 3;
	}
	return (void *)failed;
}

TEST_F_TIMEOUT(mgmt, threads, 60)
{
	pthread_t threads[4];
	void *failed;

	ASSERT_EQ(0, pf_set_vfs(VFS));
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, change,
					    &self->fd));
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++) {
		pthread_join(threads[i], &failed);
		EXPECT_EQ(NULL, failed);
	}
	/* The functions that were disturbed find their feet again. */
	for (unsigned int vf = 0; vf < VFS; vf++) {
		EXPECT_EQ(0, vf_use(vf));
		EXPECT_EQ(0, vf_wait_usable());
	}
}

/* MGMT-3, VFCOUNT-3, PFINFO-3: an open file outlives the device. */
TEST_F_TIMEOUT(mgmt, unbind, 60)
{
	struct azihsm_dev_info info;
	char path[80];
	__u32 status;

	snprintf(path, sizeof(path), "/dev/%s", pf_mgmt_name());
	ASSERT_EQ(0, pf_set_vfs(VFS));
	ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/unbind", pf_address()));
	EXPECT_EQ(0, pf_num_vfs());
	EXPECT_NE(0, access(path, F_OK));
	EXPECT_EQ(-ENODEV, mgmt_vf_count(self->fd));
	EXPECT_EQ(-ENODEV, mgmt_dev_info(self->fd, &info));
	EXPECT_EQ(-ENODEV, mgmt_set_resources(self->fd, 0, 1, &status));
	EXPECT_EQ(AZIHSM_MGMT_NO_VFS, status);
	EXPECT_EQ(-ENODEV, mgmt_get_resources(self->fd, 0, &status));
	EXPECT_EQ(AZIHSM_MGMT_NO_VFS, status);
	EXPECT_EQ(EINVAL, vf_count(self->fd, MEMORY, 7,
				   &(struct azihsm_vf_count) { 0 }));
	EXPECT_EQ(-1, ioctl(self->fd, AZIHSM_IOC_DEV_INFO, &info));
	EXPECT_EQ(ENOTTY, errno);

	ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/bind", pf_address()));
	EXPECT_EQ(-ENODEV, mgmt_vf_count(self->fd));
	close(self->fd);
	for (int ms = 0; ms < PF_PATIENCE_MS && access(path, F_OK); ms += 10)
		usleep(10000);
	self->fd = pf_mgmt_open();
	ASSERT_LE(0, self->fd);
	EXPECT_EQ(0, mgmt_vf_count(self->fd));
}

int main(int argc, char **argv)
{
	int fd;

	if (!pf_mgmt_name() || pf_total_vfs() < VFS) {
		ksft_print_header();
		ksft_exit_skip("no physical function with %u virtual ones\n",
			       VFS);
	}
	fd = pf_mgmt_open();
	if (fd == -EACCES || fd == -EPERM) {
		ksft_print_header();
		ksft_exit_skip("no permission, run as root\n");
	}
	close(fd);
	return test_harness_run(argc, argv);
}
