// SPDX-License-Identifier: GPL-2.0
/*
 * What the bus does to the device while the driver is bound: a reset of the
 * function through sysfs, errors on the link (injected with aer_inject, if there
 * is such a module), removal and discovery.
 *
 * Whatever happens, commands meanwhile end, files stay usable unless the device
 * was removed, and sessions are as after any other reset.
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib/aer.h"
#include "lib/busy.h"
#include "lib/emulator.h"
#include "lib/flight.h"
#include "lib/gone.h"
#include "lib/harness.h"
#include "lib/roundtrip.h"

#define WAIT_MS		20000
/* Longest that a command may take here: no rung of recovery is needed. */
#define COMMAND_MS	10000
/* Command timeout of the driver, in which it flushes sessions before it goes. */
#define TIMEOUT_MS	6000
/* Longest that it takes when the device is gone, besides what it always takes. */
#define GONE_MS		3000

/* Folder of the function under test in sysfs. */
static char function[PATH_MAX];
/* How long it takes to let go of a device that works, in milliseconds. */
static long long usual_ms;

static int write_to(const char *folder, const char *name, const char *text)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return hsm_write_file(path, text);
}

FIXTURE(bus) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key key;
	struct busy busy;
	__u8 entropy[32];
};

FIXTURE_SETUP(bus)
{
	struct azihsm_dev_info info = { .argsz = sizeof(info) };

	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM_UNAPPROVED, "bus",
				      HSM_KEY_CIPHER, &self->key));
	ASSERT_EQ(0, hsm_dev_info(self->fd, &info));
	memcpy(self->entropy, info.device_entropy, sizeof(self->entropy));
	memset(&self->busy, 0, sizeof(self->busy));
	self->busy.s = &self->s;
	self->busy.key = self->key.bulk_id;
}

FIXTURE_TEARDOWN(bus)
{
	busy_stop(&self->busy);
	close(self->fd);
	EXPECT_NO_COMPLAINT(device_at_rest());
}

/* Whether the controller was brought up anew since it had this entropy. */
static bool was_reset(int fd, const __u8 before[32])
{
	struct azihsm_dev_info info = { .argsz = sizeof(info) };

	return !hsm_dev_info(fd, &info) &&
	       memcmp(info.device_entropy, before, sizeof(info.device_entropy));
}

/* The session is there, and is of use again after it was reopened. */
static const char *revive_session(struct hsm_session *s,
				  struct hsm_partition *part)
{
	struct hsm_key key;

	if (hsm_generate_key(s, HSM_KEY_GCM, "", HSM_KEY_CIPHER, &key) !=
	    DDI_SESSION_NEEDS_RENEGOTIATION)
		return "session does not need to be renegotiated";
	if (hsm_establish(s->fd, part))
		return "credential refused";
	if (hsm_reopen_session(s))
		return "session not reopened";
	return hsm_close_session(s) ? "session not closed" : NULL;
}

TEST_F_TIMEOUT(bus, function_reset_when_idle, 60)
{
	int ret = write_to(function, "reset", "1");

	if (ret == -ENOENT)
		SKIP(return, "the function cannot be reset");
	ASSERT_EQ(0, ret);
	EXPECT_TRUE(was_reset(self->fd, self->entropy));
	EXPECT_EQ(1, hsm_bus_master(hsm_pci_address()));
	EXPECT_NO_COMPLAINT(revive_session(&self->s, &self->part));
}

TEST_F_TIMEOUT(bus, function_reset_under_load, 120)
{
	ASSERT_TRUE(busy_start(&self->busy));
	for (int i = 0; i < 5; i++) {
		int ret = write_to(function, "reset", "1");

		if (ret == -ENOENT)
			SKIP(return, "the function cannot be reset");
		ASSERT_EQ(0, ret);
		ASSERT_TRUE(busy_progress(&self->busy, 20));
	}
	EXPECT_NO_COMPLAINT(busy_stop(&self->busy));
	EXPECT_GT(COMMAND_MS, self->busy.longest_ms);
	EXPECT_NO_COMPLAINT(revive_session(&self->s, &self->part));
}

static void *reset_over_and_over(void *arg)
{
	atomic_bool *stop = arg;
	int fd = hsm_open();
	long wrong = 0;

	while (!*stop && !wrong) {
		int ret = hsm_reset(fd, AZIHSM_RESET_CTRL);

		/* -EINVAL: another reset is in progress. */
		if (ret && ret != -EINVAL)
			wrong = ret;
		usleep(1000);
	}
	close(fd);
	return (void *)wrong;
}

/* Resets of both kinds get into each other's way. */
TEST_F_TIMEOUT(bus, function_reset_and_reset_ioctl, 120)
{
	atomic_bool stop = false;
	pthread_t threads[4];
	void *wrong;

	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL,
					    reset_over_and_over, &stop));
	ASSERT_TRUE(busy_start(&self->busy));
	for (int i = 0; i < 5; i++) {
		int ret = write_to(function, "reset", "1");

		EXPECT_TRUE(!ret || ret == -ENOENT);
		usleep(50000);
	}
	stop = true;
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &wrong));
		EXPECT_EQ(NULL, wrong);
	}
	ASSERT_TRUE(busy_progress(&self->busy, 20));
	EXPECT_NO_COMPLAINT(busy_stop(&self->busy));
	EXPECT_NO_COMPLAINT(revive_session(&self->s, &self->part));
}

/* Injects an error on the link of the function. */
static int inject(__u32 correctable, __u32 uncorrectable)
{
	return aer_inject(strrchr(function, '/') + 1, correctable,
			  uncorrectable);
}

/* Waits until the controller was brought up anew. */
static bool wait_for_reset(int fd, const __u8 before[32])
{
	for (int ms = 0; ms < WAIT_MS; ms += 10) {
		if (was_reset(fd, before))
			return true;
		usleep(10000);
	}
	return false;
}

TEST_F_TIMEOUT(bus, correctable_error, 60)
{
	if (!aer_present())
		SKIP(return, "no aer_inject");
	ASSERT_TRUE(busy_start(&self->busy));
	ASSERT_EQ(0, inject(AER_BAD_TLP, 0));
	ASSERT_TRUE(busy_progress(&self->busy, 50));
	EXPECT_NO_COMPLAINT(busy_stop(&self->busy));
	EXPECT_EQ(0, self->busy.lost);
	EXPECT_FALSE(was_reset(self->fd, self->entropy));
}

/* The device works on, so nothing is lost. */
TEST_F_TIMEOUT(bus, error_that_is_not_fatal, 60)
{
	if (!aer_present())
		SKIP(return, "no aer_inject");
	ASSERT_TRUE(busy_start(&self->busy));
	ASSERT_EQ(0, inject(0, AER_COMPLETION_TIMEOUT));
	ASSERT_TRUE(busy_progress(&self->busy, 50));
	usleep(500000);
	EXPECT_NO_COMPLAINT(busy_stop(&self->busy));
	EXPECT_FALSE(was_reset(self->fd, self->entropy));
	EXPECT_EQ(0, hsm_close_session(&self->s));
}

/* SES-16: the link is reset, and with it the device. */
TEST_F_TIMEOUT(bus, fatal_error, 90)
{
	if (!aer_present())
		SKIP(return, "no aer_inject");
	ASSERT_TRUE(busy_start(&self->busy));
	for (int i = 0; i < 2; i++) {
		struct azihsm_dev_info info = { .argsz = sizeof(info) };

		ASSERT_EQ(0, hsm_dev_info(self->fd, &info));
		memcpy(self->entropy, info.device_entropy,
		       sizeof(self->entropy));
		ASSERT_EQ(0, inject(0, AER_MALFORMED_TLP));
		ASSERT_TRUE(wait_for_reset(self->fd, self->entropy));
		ASSERT_TRUE(busy_progress(&self->busy, 20));
	}
	EXPECT_NO_COMPLAINT(busy_stop(&self->busy));
	EXPECT_GT(COMMAND_MS, self->busy.longest_ms);
	EXPECT_EQ(1, hsm_bus_master(hsm_pci_address()));
	/* A reset of the link is a power cycle: nothing is left of it all. */
	EXPECT_NO_COMPLAINT(session_gone(&self->s));
	self->fd = -1;
}

/* Requests to the emulator. */
#define ARM(faults)	"{\"cmd\":\"arm\",\"faults\":[" faults "]}"
#define CLEAR		"{\"cmd\":\"clear\"}"
#define GONE		"{\"what\":\"registers-gone\"}"
/* Every command of some class is forgotten by the device. */
#define FORGET(class)	"{\"class\":\"" class "\",\"what\":\"ignore\"}"

static bool ask(const char *request, const char *expected)
{
	char *answer = emulator_ask(request);
	bool ok = answer && strstr(answer, expected);

	free(answer);
	return ok;
}

/*
 * An error that is not fatal, of a controller that does not work any more: only
 * a reset of the link helps.
 */
TEST_F_TIMEOUT(bus, error_of_a_controller_in_trouble, 60)
{
	struct hsm_device_info info;

	if (!aer_present())
		SKIP(return, "no aer_inject");
	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	ASSERT_TRUE(busy_start(&self->busy));
	ASSERT_TRUE(ask(ARM("{\"what\":\"crash\"}"), "armed"));
	ASSERT_EQ(0, inject(0, AER_COMPLETION_TIMEOUT));
	ASSERT_TRUE(wait_for_reset(self->fd, self->entropy));
	ASSERT_TRUE(busy_progress(&self->busy, 20));
	EXPECT_NO_COMPLAINT(busy_stop(&self->busy));
	EXPECT_GT(COMMAND_MS, self->busy.longest_ms);
	EXPECT_EQ(0, hsm_get_device_info(self->fd, &info));
	EXPECT_EQ(1, hsm_bus_master(hsm_pci_address()));
	hsm_close_session(&self->s);
}

/* The device does not come back: it is given up, until its function is reset. */
TEST_F_TIMEOUT(bus, fatal_error_that_stays, 180)
{
	struct hsm_device_info info;
	long long start;

	if (!aer_present())
		SKIP(return, "no aer_inject");
	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	self->busy.dead = true;
	ASSERT_TRUE(busy_start(&self->busy));
	ASSERT_TRUE(ask(ARM(GONE), "armed"));
	ASSERT_EQ(0, inject(0, AER_MALFORMED_TLP));
	start = busy_now_ms();
	while (hsm_get_device_info(self->fd, &info) != -EIO &&
	       busy_now_ms() - start < WAIT_MS)
		usleep(10000);
	EXPECT_EQ(-EIO, hsm_get_device_info(self->fd, &info));
	/* It can be opened, which is what tools need to say so. */
	EXPECT_EQ(0, close(hsm_open()));
	ASSERT_TRUE(ask(CLEAR, "cleared"));
	EXPECT_EQ(-EIO, hsm_get_device_info(self->fd, &info));

	ASSERT_EQ(0, write_to(function, "reset", "1"));
	ASSERT_TRUE(busy_progress(&self->busy, 20));
	EXPECT_NO_COMPLAINT(busy_stop(&self->busy));
	EXPECT_EQ(0, hsm_get_device_info(self->fd, &info));
	EXPECT_EQ(1, hsm_bus_master(hsm_pci_address()));
	hsm_close_session(&self->s);
}

/* Removed under load, with files open, and found again. */
TEST_F_TIMEOUT(bus, removed_and_found, 120)
{
	struct hsm_device_info info;

	self->busy.gone = true;
	ASSERT_TRUE(busy_start(&self->busy));
	for (int i = 0; i < 3; i++) {
		ASSERT_TRUE(busy_progress(&self->busy, 20));
		ASSERT_EQ(0, write_to(function, "remove", "1"));
		EXPECT_EQ(-ENODEV, hsm_get_device_info(self->fd, &info));
		EXPECT_TRUE(hsm_wait_for_node(false));
		ASSERT_EQ(0, hsm_write_file("/sys/bus/pci/rescan", "1"));
		ASSERT_TRUE(hsm_wait_for_node(true));
	}
	ASSERT_TRUE(busy_progress(&self->busy, 20));
	EXPECT_NO_COMPLAINT(busy_stop(&self->busy));
	EXPECT_GT(COMMAND_MS, self->busy.longest_ms);
	EXPECT_EQ(-ENODEV, hsm_get_device_info(self->fd, &info));
	close(self->fd);
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	EXPECT_EQ(0, hsm_get_device_info(self->fd, &info));
}

/*
 * The device still has the session of a driver that could not flush it, and a
 * reset does not free it. A power cycle does, and an error on the link is one.
 */
static bool power_cycle(int fd)
{
	struct azihsm_dev_info info = { .argsz = sizeof(info) };

	return aer_present() && !hsm_dev_info(fd, &info) &&
	       !inject(0, AER_MALFORMED_TLP) &&
	       wait_for_reset(fd, info.device_entropy);
}

/*
 * Removed when it reads as all ones, which is what is left of a device that was
 * pulled out, with callers blocked.
 */
TEST_F_TIMEOUT(bus, removed_when_it_is_gone, 120)
{
	struct hsm_device_info info;
	char name[64];
	long long took;

	if (!emulator_present() || !aer_present())
		SKIP(return, "no channel to the emulator, or no aer_inject");
	snprintf(name, sizeof(name), "%s", hsm_name());
	self->busy.gone = true;
	self->busy.dead = true;
	ASSERT_TRUE(ask(ARM(FORGET("cp") "," FORGET("fp")), "armed"));
	ASSERT_TRUE(busy_start(&self->busy));
	usleep(300000);
	ASSERT_TRUE(ask(ARM(GONE), "armed"));
	took = busy_now_ms();
	ASSERT_EQ(0, write_to(function, "remove", "1"));
	took = busy_now_ms() - took;
	EXPECT_GT(GONE_MS + BUSY_TIMES * usual_ms, took);
	EXPECT_NO_COMPLAINT(busy_stop(&self->busy));
	EXPECT_GT(GONE_MS, self->busy.longest_ms);
	EXPECT_EQ(-ENODEV, hsm_get_device_info(self->fd, &info));

	ASSERT_TRUE(ask(CLEAR, "cleared"));
	ASSERT_EQ(0, hsm_write_file("/sys/bus/pci/rescan", "1"));
	ASSERT_TRUE(hsm_wait_for_node(true));
	/* A file of the one before is open, and the number is free all the same. */
	EXPECT_STREQ(name, hsm_name());
	ASSERT_EQ(0, hsm_provision_anew(&self->fd, &self->part));
	EXPECT_TRUE(power_cycle(self->fd));
}

/*
 * Removed when it completes nothing, with commands of a ring at it, others that
 * wait for their turn, and callers blocked: all of them fail.
 */
TEST_F_TIMEOUT(bus, removed_when_it_is_silent, 120)
{
	struct hsm_device_info info;
	struct flight flight;
	int fd = hsm_open();
	char name[64];
	long long took;

	if (!emulator_present() || !aer_present())
		SKIP(return, "no channel to the emulator, or no aer_inject");
	snprintf(name, sizeof(name), "%s", hsm_name());
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, flight_prepare(&flight, fd, 0));
	self->busy.gone = true;
	self->busy.only_gone = true;
	ASSERT_TRUE(ask(ARM(FORGET("cp") "," FORGET("fp")), "armed"));
	ASSERT_EQ(0, flight_start(&flight, fd));
	ASSERT_TRUE(busy_start(&self->busy));
	usleep(300000);
	took = busy_now_ms();
	ASSERT_EQ(0, write_to(function, "remove", "1"));
	took = busy_now_ms() - took;
	EXPECT_GT(TIMEOUT_MS + GONE_MS + BUSY_TIMES * usual_ms, took);
	EXPECT_NO_COMPLAINT(busy_stop(&self->busy));
	EXPECT_GT(TIMEOUT_MS + GONE_MS, self->busy.longest_ms);
	EXPECT_NO_COMPLAINT(flight_lost(&flight));
	io_uring_queue_exit(&flight.ring);
	EXPECT_EQ(-ENODEV, hsm_get_device_info(fd, &info));
	close(fd);

	ASSERT_TRUE(ask(CLEAR, "cleared"));
	ASSERT_EQ(0, hsm_write_file("/sys/bus/pci/rescan", "1"));
	ASSERT_TRUE(hsm_wait_for_node(true));
	EXPECT_STREQ(name, hsm_name());
	ASSERT_EQ(0, hsm_provision_anew(&self->fd, &self->part));
	EXPECT_NO_COMPLAINT(flight_sessions_free());
}

/* Unbound from a device that completes nothing: the session cannot be flushed. */
TEST_F_TIMEOUT(bus, unbound_when_it_is_silent, 120)
{
	char address[64];
	long long took;

	if (!emulator_present() || !aer_present())
		SKIP(return, "no channel to the emulator, or no aer_inject");
	snprintf(address, sizeof(address), "%s", strrchr(function, '/') + 1);
	self->busy.gone = true;
	self->busy.only_gone = true;
	ASSERT_TRUE(ask(ARM(FORGET("cp") "," FORGET("fp")), "armed"));
	ASSERT_TRUE(ask(ARM(FORGET("admin")), "armed"));
	ASSERT_TRUE(busy_start(&self->busy));
	usleep(300000);
	took = busy_now_ms();
	ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/unbind", address));
	took = busy_now_ms() - took;
	EXPECT_GT(TIMEOUT_MS + GONE_MS + BUSY_TIMES * usual_ms, took);
	EXPECT_NO_COMPLAINT(busy_stop(&self->busy));
	EXPECT_GT(TIMEOUT_MS + GONE_MS, self->busy.longest_ms);

	ASSERT_TRUE(ask(CLEAR, "cleared"));
	ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/bind", address));
	ASSERT_TRUE(hsm_wait_for_node(true));
	ASSERT_EQ(0, hsm_provision_anew(&self->fd, &self->part));
	EXPECT_TRUE(power_cycle(self->fd));
}

/* Bound and unbound while everybody uses it. AZIHSM_CYCLES says how often. */
TEST_F_TIMEOUT(bus, bound_and_unbound_under_load, 3600)
{
	const char *cycles = getenv("AZIHSM_CYCLES");
	char address[64];

	snprintf(address, sizeof(address), "%s", strrchr(function, '/') + 1);
	self->busy.gone = true;
	ASSERT_TRUE(busy_start(&self->busy));
	for (int i = cycles ? atoi(cycles) : 20; i > 0; i--) {
		ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/unbind", address));
		ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/bind", address));
		ASSERT_TRUE(busy_progress(&self->busy, 5));
	}
	EXPECT_NO_COMPLAINT(busy_stop(&self->busy));
	EXPECT_GT(COMMAND_MS, self->busy.longest_ms);
	ASSERT_TRUE(hsm_wait_for_node(true));
}

int main(int argc, char **argv)
{
	char path[128];

	skip_without_device();
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s",
		 hsm_pci_address());
	if (!realpath(path, function) || access(HSM_DRIVER "/unbind", W_OK)) {
		ksft_print_header();
		ksft_exit_skip("%s: cannot be written to\n", path);
	}
	usual_ms = hsm_usual_unbind(strrchr(function, '/') + 1);
	return test_harness_run(argc, argv);
}
