// SPDX-License-Identifier: GPL-2.0
/*
 * Every wait for the device ends when the waiting process is killed: that of a
 * command, of a ring, of the reset ioctl, of a close, and those of who writes to
 * sysfs. (Who writes to the power switch of the slot waits for a thread of the
 * kernel, which lets go of the device and which nobody kills.)
 */
#include <sys/wait.h>

#include "lib/fault.h"
#include "lib/flight.h"
#include "lib/harness.h"
#include "lib/killing.h"
#include "lib/rungs.h"

/* How long the device is in the way: longer than until the process is killed. */
#define OBSTACLE	"2500"
#define OBSTACLE_MS	2500
/* Has functions found that were removed. */
#define RESCAN		"/sys/bus/pci/rescan"
/* When a process with commands of a ring is killed: all are submitted by then. */
#define KILL_RING_MS	2000

/* Of the next command in a session. */
#define IN_SESSION(what)						\
	"{\"class\":\"cp\",\"session-kind\":3,\"count\":1,\"what\":" what "}"

FIXTURE(killed) {
	struct client client;
	char address[64];
};

FIXTURE_SETUP(killed)
{
	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	ASSERT_EQ(0, client_open(&self->client));
	snprintf(self->address, sizeof(self->address), "%s", hsm_pci_address());
}

FIXTURE_TEARDOWN(killed)
{
	if (!emulator_present())
		return;
	client_close(&self->client);
	hsm_write_file(RESCAN, "1");
	hsm_write_file(HSM_DRIVER "/bind", self->address);
	EXPECT_TRUE(hsm_wait_for_node(true));
	EXPECT_NO_COMPLAINT(device_at_rest());
}

/* What a child process does that is to be killed. */
static void in_command(const void *address)
{
	struct hsm_device_info info;

	hsm_get_device_info(hsm_open(), &info);
}

static void in_reset(const void *address)
{
	hsm_reset(hsm_open(), AZIHSM_RESET_CTRL);
}

/* Commands of a ring, of which some are at the device, and others wait for a slot. */
static void in_ring(const void *address)
{
	struct flight flight;
	int fd = hsm_open();

	if (!flight_prepare(&flight, fd, 0) && !flight_start(&flight, fd))
		pause();
}

/* Its flush takes long, and so does that of who is killed. */
static void in_close(const void *address)
{
	struct hsm_session s;

	if (!hsm_open_session(hsm_open(), &s))
		pause();
}

static void in_function_reset(const void *address)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/reset",
		 (const char *)address);
	hsm_write_file(path, "1");
}

/*
 * Resets the function with nothing in the way: how long that takes. The PCI core
 * gives a function 100 ms afterwards, and restores its configuration.
 */
static long long usual_function_reset(struct client *c, const char *address)
{
	long long start = busy_now_ms();
	long long took;

	in_function_reset(address);
	took = busy_now_ms() - start;
	client_look(c);
	return took;
}

static void in_unbind(const void *address)
{
	hsm_write_file(HSM_DRIVER "/unbind", address);
}

static void in_bind(const void *address)
{
	hsm_write_file(HSM_DRIVER "/bind", address);
}

static void in_remove(const void *address)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove",
		 (const char *)address);
	hsm_write_file(path, "1");
}

/* Removes the function with nothing in the way: how long that takes. */
static long long usual_remove(const char *address)
{
	long long took = busy_now_ms();

	in_remove(address);
	took = busy_now_ms() - took;
	hsm_write_file(RESCAN, "1");
	hsm_wait_for_node(true);
	return took;
}

TEST_F_TIMEOUT(killed, command, 60)
{
	ASSERT_LE(0, fault_arm(ONE_OF("cp", MS("delay", OBSTACLE))));
	EXPECT_KILLED(KILLED_MS, in_command, self->address);
	usleep(OBSTACLE_MS * 1000);
	EXPECT_EQ(0, hsm_close_session(&self->client.s));
}

TEST_F_TIMEOUT(killed, ring, 60)
{
	struct client *c = &self->client;
	struct azihsm_query query;
	long id;

	ASSERT_EQ(0, hsm_query(c->fd, &query));
	id = fault_arm(ALL_OF("fp", IGNORE));
	ASSERT_LE(0, id);
	EXPECT_KILLED_UNLIKE(wait_for_nothing, KILL_RING_MS, KILLED_MS, in_ring,
			     NULL);
	/* Each slot was taken. */
	EXPECT_EQ(query.fp_queues * (query.fp_ring_entries - 1), fault_hits(id));
	ASSERT_TRUE(fault_clear());
	/* What is still at the device ends with this. */
	EXPECT_EQ(0, hsm_reset(c->fd, AZIHSM_RESET_CTRL));
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

TEST_F_TIMEOUT(killed, reset, 60)
{
	struct client *c = &self->client;

	ASSERT_LE(0, fault_arm(ONCE(MS("ignore-disable", OBSTACLE))));
	EXPECT_KILLED(KILLED_MS, in_reset, self->address);
	/* It goes on without who wanted it. */
	EXPECT_TRUE(client_waits_for_reset(c, OBSTACLE_MS + SLACK_MS));
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

TEST_F_TIMEOUT(killed, close, 60)
{
	ASSERT_LE(0, fault_arm(OPCODE("cp", "1", MS("delay", OBSTACLE))));
	EXPECT_KILLED(KILLED_MS, in_close, self->address);
	usleep(OBSTACLE_MS * 1000);
	EXPECT_EQ(0, hsm_close_session(&self->client.s));
}

TEST_F_TIMEOUT(killed, function_reset_that_does_not_stop, 60)
{
	struct client *c = &self->client;
	/* What has to be done in any case. */
	long long usual_ms = usual_function_reset(c, self->address);

	ASSERT_LE(0, fault_arm(NEVER("ignore-disable")));
	EXPECT_KILLED(KILLED_MS + 3 * usual_ms, in_function_reset,
		      self->address);
	/* The function was reset all the same, and works. */
	EXPECT_TRUE(client_waits_for_reset(c, READY_MS + SLACK_MS));
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

TEST_F_TIMEOUT(killed, function_reset_that_does_not_start, 60)
{
	struct client *c = &self->client;
	/* What has to be done in any case. */
	long long usual_ms = usual_function_reset(c, self->address);

	ASSERT_LE(0, fault_arm(ONCE(MS("ignore-enable", OBSTACLE))));
	EXPECT_KILLED(KILLED_MS + 3 * usual_ms, in_function_reset,
		      self->address);
	EXPECT_TRUE(client_waits_for_reset(c, OBSTACLE_MS + SLACK_MS));
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

/* A reset is under way; what wants it ended does not wait for its end. */
TEST_F_TIMEOUT(killed, function_reset_in_a_reset, 60)
{
	struct client *c = &self->client;
	long long took;
	pid_t pid;

	ASSERT_LE(0, fault_arm(ONCE(MS("ignore-enable", "8000"))));
	pid = fork();
	if (!pid) {
		in_reset(self->address);
		_exit(0);
	}
	usleep(KILL_MS * 1000);
	took = busy_now_ms();
	in_function_reset(self->address);
	took = busy_now_ms() - took;
	EXPECT_GE(SLACK_MS, took);
	EXPECT_TRUE(client_was_reset(c));
	/* Who waited for the first one has the second. */
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

TEST_F_TIMEOUT(killed, unbind_that_does_not_flush, 60)
{
	/* What has to be done in any case. */
	long long undo_ms = hsm_usual_unbind(self->address);

	close(self->client.fd);
	ASSERT_EQ(0, client_open(&self->client));
	ASSERT_LE(0, fault_arm(OPCODE("cp", "1", MS("delay", OBSTACLE))));
	EXPECT_KILLED(KILLED_MS + 3 * undo_ms, in_unbind, self->address);
}

static void *make_key(void *arg)
{
	struct client *c = arg;
	struct hsm_key key;

	hsm_generate_key(&c->s, HSM_KEY_GCM, "", HSM_KEY_CIPHER, &key);
	return NULL;
}

/* The session is in use, so that it cannot be flushed yet. */
TEST_F_TIMEOUT(killed, unbind_that_waits_for_a_command, 60)
{
	/* What has to be done in any case. */
	long long undo_ms = hsm_usual_unbind(self->address);
	struct client *c = &self->client;
	pthread_t user;

	close(c->fd);
	ASSERT_EQ(0, client_open(c));
	ASSERT_LE(0, fault_arm(IN_SESSION(MS("delay", "5000"))));
	ASSERT_EQ(0, pthread_create(&user, NULL, make_key, c));
	EXPECT_KILLED(KILLED_MS + 3 * undo_ms, in_unbind, self->address);
	pthread_join(user, NULL);
	/* What was not flushed is before the next session. */
	client_close(c);
	ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/bind", self->address));
	ASSERT_TRUE(hsm_wait_for_node(true));
	EXPECT_EQ(0, client_open(c));
}

TEST_F_TIMEOUT(killed, unbind_that_does_not_stop, 60)
{
	/* What has to be done in any case. */
	long long undo_ms = hsm_usual_unbind(self->address);

	close(self->client.fd);
	ASSERT_LE(0, fault_arm(NEVER("ignore-disable")));
	EXPECT_KILLED(KILLED_MS + 3 * undo_ms, in_unbind, self->address);
}

TEST_F_TIMEOUT(killed, bind_that_does_not_start, 60)
{
	/* What has to be done in any case. */
	long long undo_ms = hsm_usual_unbind(self->address);

	close(self->client.fd);
	ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/unbind", self->address));
	ASSERT_LE(0, fault_arm(NEVER("ignore-enable")));
	EXPECT_KILLED(KILLED_MS + 3 * undo_ms, in_bind, self->address);
}

TEST_F_TIMEOUT(killed, remove_that_does_not_flush, 60)
{
	/* What has to be done in any case. */
	long long undo_ms = usual_remove(self->address);

	close(self->client.fd);
	ASSERT_EQ(0, client_open(&self->client));
	ASSERT_LE(0, fault_arm(OPCODE("cp", "1", MS("delay", OBSTACLE))));
	EXPECT_KILLED(KILLED_MS + 3 * undo_ms, in_remove, self->address);
}

TEST_F_TIMEOUT(killed, remove_that_does_not_stop, 60)
{
	/* What has to be done in any case. */
	long long undo_ms = usual_remove(self->address);

	close(self->client.fd);
	ASSERT_LE(0, fault_arm(NEVER("ignore-disable")));
	EXPECT_KILLED(KILLED_MS + 3 * undo_ms, in_remove, self->address);
}

int main(int argc, char **argv)
{
	char path[128];

	skip_without_device();
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/reset",
		 hsm_pci_address());
	if (access(path, W_OK) || access(HSM_DRIVER "/unbind", W_OK)) {
		ksft_print_header();
		ksft_exit_skip("%s: cannot be written to\n", path);
	}
	return test_harness_run(argc, argv);
}
