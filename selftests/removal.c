// SPDX-License-Identifier: GPL-2.0
/*
 * The module and the slot go while everybody uses the device: rmmod, with files
 * open and without, and the power switch of the slot.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include "lib/busy.h"
#include "lib/fault.h"
#include "lib/flight.h"
#include "lib/harness.h"
#include "lib/rungs.h"

#define WAIT_MS		60000
/* Longest that a command may take here: no rung of recovery is needed. */
#define COMMAND_MS	10000
/*
 * Longest that it takes when the device is silent, besides the time-out for the
 * flush of sessions and what it always takes.
 */
#define GONE_MS		3000
/* When no further round begins: a kernel with checkers takes its time. */
#define ROUNDS_MS	30000
#define MODULE		"/sys/module/azihsm"
#define SLOTS		"/sys/bus/pci/slots"

/* How long it takes to let go of a device that works, in milliseconds. */
static long long usual_ms;

/* Where the module is: AZIHSM_MODULE, or the guest's place. */
static const char *module_file(void)
{
	const char *file = getenv("AZIHSM_MODULE");

	return file ? file : "/lib/azihsm.ko";
}

FIXTURE(removal) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key key;
	struct busy busy;
	char address[64];
	/* As the module was loaded, for the next time. */
	char parameters[1024];
};

/* Adds the value of a parameter to the text. */
static void add_parameter(char *text, size_t size, const char *name)
{
	char path[512], value[128] = "";
	size_t used = strlen(text);
	int fd;

	snprintf(path, sizeof(path), MODULE "/parameters/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (read(fd, value, sizeof(value) - 1) > 0) {
		value[strcspn(value, "\n")] = 0;
		snprintf(text + used, size - used, "%s=%s ", name, value);
	}
	close(fd);
}

static void read_parameters(char *text, size_t size)
{
	DIR *dir = opendir(MODULE "/parameters");
	struct dirent *entry;

	text[0] = 0;
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			add_parameter(text, size, entry->d_name);
	if (dir)
		closedir(dir);
}

static int unload(void)
{
	return syscall(SYS_delete_module, "azihsm", O_NONBLOCK) ? -errno : 0;
}

static int load(const char *parameters)
{
	int fd = open(module_file(), O_RDONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (syscall(SYS_finit_module, fd, parameters, 0))
		ret = -errno;
	close(fd);
	return ret;
}

/* Unloads the module as soon as nothing of it is in use. */
static int unload_soon(void)
{
	int ret = -EAGAIN;

	for (int ms = 0; ms < WAIT_MS && ret == -EAGAIN; ms++) {
		ret = unload();
		usleep(1000);
	}
	return ret;
}

FIXTURE_SETUP(removal)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM_UNAPPROVED, "gone",
				      HSM_KEY_CIPHER, &self->key));
	memset(&self->busy, 0, sizeof(self->busy));
	self->busy.s = &self->s;
	self->busy.key = self->key.bulk_id;
	self->busy.gone = true;
	snprintf(self->address, sizeof(self->address), "%s", hsm_pci_address());
	read_parameters(self->parameters, sizeof(self->parameters));
}

FIXTURE_TEARDOWN(removal)
{
	struct hsm_device_info info;

	busy_stop(&self->busy);
	if (self->fd >= 0)
		close(self->fd);
	/* Whatever went wrong, leave the device to the next test. */
	if (access(MODULE, F_OK))
		EXPECT_EQ(0, load(self->parameters));
	hsm_write_file(HSM_DRIVER "/bind", self->address);
	ASSERT_TRUE(hsm_wait_for_node(true));
	self->fd = hsm_open();
	EXPECT_EQ(0, hsm_get_device_info(self->fd, &info));
	EXPECT_AT_REST();
}

/*
 * Files hold the module, whether their device is still there or not. With the
 * last of them it can go.
 */
TEST_F_TIMEOUT(removal, module_with_open_files, 120)
{
	struct hsm_device_info info;

	if (access(module_file(), R_OK))
		SKIP(return, "no %s: set AZIHSM_MODULE", module_file());
	ASSERT_TRUE(busy_start(&self->busy));
	for (int i = 0; i < 100; i++)
		ASSERT_EQ(-EAGAIN, unload());
	/* It works as if nothing had been asked. */
	ASSERT_TRUE(busy_progress(&self->busy, 50));
	EXPECT_EQ(0, self->busy.lost);

	ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/unbind", self->address));
	EXPECT_EQ(-ENODEV, hsm_get_device_info(self->fd, &info));
	EXPECT_EQ(-EAGAIN, unload());
	EXPECT_NO_COMPLAINT(busy_stop(&self->busy));
	EXPECT_GT(COMMAND_MS, self->busy.longest_ms);
	EXPECT_EQ(-EAGAIN, unload());
	EXPECT_EQ(-ENODEV, hsm_get_device_info(self->fd, &info));
	EXPECT_EQ(0, close(self->fd));
	self->fd = -1;
	EXPECT_EQ(0, unload_soon());
	EXPECT_NE(0, access(MODULE, F_OK));
}

/* Opens, asks and closes, as long as there is a node. */
static void *use_shortly(void *arg)
{
	atomic_bool *stop = arg;
	long wrong = 0;

	while (!*stop && !wrong) {
		struct azihsm_dev_info info;
		int fd = open(hsm_path(), O_RDWR | O_CLOEXEC);
		int ret = fd < 0 ? -errno : hsm_dev_info(fd, &info);

		if (fd >= 0)
			close(fd);
		if (ret && ret != -ENOENT && ret != -ENODEV && ret != -ENXIO)
			wrong = ret;
		usleep(2000);
	}
	return (void *)wrong;
}

/* The module goes and comes between two opens, over and over. */
TEST_F_TIMEOUT(removal, module_between_two_opens, 240)
{
	enum { USERS = 4, ROUNDS = 5 };
	long long end = busy_now_ms() + ROUNDS_MS;
	atomic_bool stop = false;
	pthread_t users[USERS];

	if (access(module_file(), R_OK))
		SKIP(return, "no %s: set AZIHSM_MODULE", module_file());
	EXPECT_EQ(0, close(self->fd));
	self->fd = -1;
	for (int i = 0; i < USERS; i++)
		ASSERT_EQ(0, pthread_create(&users[i], NULL, use_shortly,
					    &stop));
	for (int i = 0; i < ROUNDS && busy_now_ms() < end; i++) {
		ASSERT_EQ(0, unload_soon());
		ASSERT_EQ(0, load(self->parameters));
		usleep(100000);
	}
	stop = true;
	for (int i = 0; i < USERS; i++) {
		void *wrong;

		ASSERT_EQ(0, pthread_join(users[i], &wrong));
		EXPECT_EQ(NULL, wrong);
	}
}

/* Finds the switch of the slot that a function is in; false if there is none. */
static bool slot_power(const char *address, char *path, size_t size)
{
	DIR *dir = opendir(SLOTS);
	bool found = false;
	struct dirent *entry;

	while (dir && !found && (entry = readdir(dir))) {
		char text[64] = "";
		int fd;

		snprintf(path, size, SLOTS "/%s/address", entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (read(fd, text, sizeof(text) - 1) > 0) {
			text[strcspn(text, "\n")] = 0;
			found = *text && !strncmp(address, text, strlen(text));
		}
		close(fd);
		snprintf(path, size, SLOTS "/%s/power", entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found && !access(path, W_OK);
}

/* The power of the slot is turned off and on under load, with files open. */
TEST_F_TIMEOUT(removal, slot_power, 120)
{
	struct hsm_device_info info;
	char path[512];

	if (!slot_power(self->address, path, sizeof(path)))
		SKIP(return, "the slot has no switch");
	ASSERT_TRUE(busy_start(&self->busy));
	for (int i = 0; i < 3; i++) {
		ASSERT_TRUE(busy_progress(&self->busy, 20));
		ASSERT_EQ(0, hsm_write_file(path, "0"));
		EXPECT_TRUE(hsm_wait_for_node(false));
		EXPECT_EQ(-ENODEV, hsm_get_device_info(self->fd, &info));
		ASSERT_EQ(0, hsm_write_file(path, "1"));
		ASSERT_TRUE(hsm_wait_for_node(true));
	}
	ASSERT_TRUE(busy_progress(&self->busy, 20));
	EXPECT_NO_COMPLAINT(busy_stop(&self->busy));
	EXPECT_GT(COMMAND_MS, self->busy.longest_ms);
	EXPECT_EQ(-ENODEV, hsm_get_device_info(self->fd, &info));
}

/*
 * The power of the slot is turned off under a device that completes nothing, with
 * commands of a ring at it, others that wait for their turn, and callers blocked:
 * all of them fail, when the driver has waited for the flush of their sessions.
 */
TEST_F_TIMEOUT(removal, slot_power_of_a_silent_device, 120)
{
	struct hsm_device_info info;
	struct flight flight;
	int fd = hsm_open();
	char path[512], name[64];
	long long took;

	if (!slot_power(self->address, path, sizeof(path)))
		SKIP(return, "the slot has no switch");
	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	snprintf(name, sizeof(name), "%s", hsm_name());
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, flight_prepare(&flight, fd, 0));
	ASSERT_LE(0, fault_arm(ALL_OF("fp", IGNORE)));
	ASSERT_LE(0, fault_arm(ALL_OF("cp", IGNORE)));
	ASSERT_EQ(0, flight_start(&flight, fd));
	self->busy.only_gone = true;
	ASSERT_TRUE(busy_start(&self->busy));
	usleep(300000);
	took = busy_now_ms();
	ASSERT_EQ(0, hsm_write_file(path, "0"));
	took = busy_now_ms() - took;
	EXPECT_GT(TIMEOUT_MS + GONE_MS + BUSY_TIMES * usual_ms, took);
	EXPECT_NO_COMPLAINT(busy_stop(&self->busy));
	EXPECT_GT(TIMEOUT_MS + GONE_MS, self->busy.longest_ms);
	EXPECT_NO_COMPLAINT(flight_lost(&flight));
	io_uring_queue_exit(&flight.ring);
	EXPECT_EQ(-ENODEV, hsm_get_device_info(fd, &info));
	close(fd);

	ASSERT_TRUE(fault_clear());
	ASSERT_EQ(0, hsm_write_file(path, "1"));
	ASSERT_TRUE(hsm_wait_for_node(true));
	/* A file of the one before is open, and the number is free all the same. */
	EXPECT_STREQ(name, hsm_name());
	ASSERT_EQ(0, hsm_provision_anew(&self->fd, &self->part));
	EXPECT_NO_COMPLAINT(flight_sessions_free());
}

int main(int argc, char **argv)
{
	skip_without_device();
	if (geteuid()) {
		ksft_print_header();
		ksft_exit_skip("needs root\n");
	}
	usual_ms = hsm_usual_unbind(hsm_pci_address());
	return test_harness_run(argc, argv);
}
