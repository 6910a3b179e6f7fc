// SPDX-License-Identifier: GPL-2.0
/*
 * The rungs of recovery that take long: what comes when the reset of a queue does
 * not help, and a controller that does not come back, or not for long.
 */
#include <sys/ioctl.h>

#include "lib/fault.h"
#include "lib/harness.h"
#include "lib/roundtrip.h"
#include "lib/rungs.h"

/* In that time a device that disables the function all the time is given up. */
#define DISABLED_MS	60000
/* A storm of faults, and how many lines in the log it may cost. */
#define STORM_MS	20000
#define LINES_PER_S	15
/* How long callers go on that have been told that the controller is dead. */
#define DEAD_MS		2000
/* What the log says then. */
#define UNUSABLE	"controller is unusable"

FIXTURE(recovery_slow) {
	struct client client;
	long long subsystem_resets;
};

FIXTURE_SETUP(recovery_slow)
{
	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	ASSERT_EQ(0, client_open(&self->client));
	self->subsystem_resets = emulator_stat("subsystem_resets");
	ASSERT_LE(0, self->subsystem_resets);
}

FIXTURE_TEARDOWN(recovery_slow)
{
	if (!emulator_present())
		return;
	client_close(&self->client);
	EXPECT_NO_COMPLAINT(device_at_rest());
}

/* A late completion ends no command but its own. */
TEST_F_TIMEOUT(recovery_slow, late_completions_match_nothing, 120)
{
	struct client *c = &self->client;
	struct azihsm_aes cmd;
	long long took;

	for (int i = 0; i < 2; i++) {
		ASSERT_LE(0, fault_arm(ONE_OF("fp", MS("stale", "50"))));
		EXPECT_EQ(-EAGAIN, client_encrypt(c, &cmd, &took));
	}
	for (int i = 0; i < 1000; i++) {
		struct gcm_case round = {
			.s = &c->s,
			.key = c->key.bulk_id,
			.text = 64 + i % 64,
		};
		__u8 bytes[32];

		hsm_test_key("key", bytes);
		round.key_bytes = bytes;
		ASSERT_NO_COMPLAINT(gcm_round_trip(&round));
	}
	EXPECT_FALSE(client_was_reset(c));
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

/* Resets of the subsystem since the test began. */
static long long subsystem_resets(const struct _test_data_recovery_slow *self)
{
	return emulator_stat("subsystem_resets") - self->subsystem_resets;
}

/* Resets of its queue do not help: then it is the controller's turn. */
TEST_F_TIMEOUT(recovery_slow, then_the_controller, 90)
{
	struct client *c = &self->client;
	struct azihsm_aes cmd;
	long long took;

	ASSERT_LE(0, fault_arm(ALL_OF("fp", IGNORE)));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(-EAGAIN, client_encrypt(c, &cmd, &took));
		EXPECT_FALSE(client_was_reset(c));
	}
	EXPECT_EQ(-EAGAIN, client_encrypt(c, &cmd, &took));
	EXPECT_EQ(AZIHSM_EXT_ABORTED, cmd.extended_status);
	EXPECT_TRUE(client_was_reset(c));
	EXPECT_EQ(0, subsystem_resets(self));
	ASSERT_TRUE(fault_clear());
	ASSERT_EQ(0, hsm_establish(c->fd, &c->part));
	ASSERT_EQ(0, hsm_reopen_session(&c->s));
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

/* The queue cannot be deleted: the controller is reset, in time. */
TEST_F_TIMEOUT(recovery_slow, queue_that_cannot_be_deleted, 90)
{
	struct client *c = &self->client;
	struct azihsm_aes cmd;
	long long took;

	ASSERT_LE(0, fault_arm(ONE_OF("fp", IGNORE)));
	ASSERT_LE(0, fault_arm(OPCODE("admin", "0", IGNORE)));
	EXPECT_EQ(-EAGAIN, client_encrypt(c, &cmd, &took));
	EXPECT_EQ(AZIHSM_EXT_ABORTED, cmd.extended_status);
	EXPECT_LE(TIMEOUT_MS + QUEUES_MS, took);
	EXPECT_GE(TIMEOUT_MS + WATCH_MS + QUEUES_MS + SLACK_MS, took);
	EXPECT_TRUE(client_was_reset(c));
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

/*
 * The controller does not stop when it is told to, and is cut off from memory
 * until it does: when the subsystem is reset.
 */
TEST_F_TIMEOUT(recovery_slow, controller_that_stops_late, 90)
{
	struct client *c = &self->client;

	ASSERT_LE(0, fault_arm(ONCE("{\"ignore-disable\":{}}")));
	EXPECT_EQ(0, hsm_reset(c->fd, AZIHSM_RESET_CTRL));
	EXPECT_TRUE(client_was_reset(c));
	EXPECT_EQ(1, subsystem_resets(self));
	EXPECT_EQ(1, hsm_bus_master(hsm_pci_address()));
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

/* A reset that a thread asks for. */
struct reset_call {
	pthread_t thread;
	int fd;
	int ret;
	__u32 status;
	atomic_bool ended;
};

static void *call_reset(void *arg)
{
	struct reset_call *r = arg;

	r->ret = reset_status(r->fd, &r->status);
	r->ended = true;
	return NULL;
}

/*
 * A reset that does not come to its end in three attempts, each of which waits for
 * READY_MS: given up, said so, and back when the function is reset. Unless the
 * controller @stops it is cut off from memory until then.
 */
static void reset_in_vain(struct __test_metadata *_metadata, struct client *c,
			  const char *fault, bool stops)
{
	struct reset_call reset = { .fd = c->fd };
	struct busy busy = {
		.s = &c->s,
		.key = c->key.bulk_id,
		.dead = true,
	};
	int log = log_open(), dead_log;
	char path[128];
	struct hsm_device_info info;
	struct azihsm_aes cmd;
	long long took = busy_now_ms(), idle;
	__u32 status;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/reset",
		 hsm_pci_address());
	if (access(path, W_OK))
		SKIP(return, "the function cannot be reset");
	ASSERT_LE(0, fault_arm(fault));
	idle = busy_idle_ms();
	ASSERT_LE(0, idle);
	ASSERT_EQ(0, pthread_create(&reset.thread, NULL, call_reset, &reset));
	/* It is cut off since the first attempt, and the second is under way. */
	usleep(READY_MS * 1500);
	EXPECT_FALSE(reset.ended);
	EXPECT_EQ(stops, hsm_bus_master(hsm_pci_address()));
	ASSERT_EQ(0, pthread_join(reset.thread, NULL));
	EXPECT_EQ(stops, hsm_bus_master(hsm_pci_address()));
	EXPECT_EQ(-EIO, reset.ret);
	EXPECT_EQ(AZIHSM_RESET_FAILED, reset.status);
	took = busy_now_ms() - took;
	/* Whoever waits for the controller sleeps. */
	idle = busy_idle_ms() - idle;
	TH_LOG("%lld ms, of which processors slept %lld ms", took, idle);
	EXPECT_GE(took / BUSY_SHARE,
		  took * sysconf(_SC_NPROCESSORS_ONLN) - idle);
	/* Three attempts, with their pauses. */
	EXPECT_LE(3 * READY_MS, took);
	EXPECT_GE(3 * READY_MS + 1100 + 2 * SLACK_MS, took);

	EXPECT_EQ(-EIO, hsm_get_device_info(c->fd, &info));
	EXPECT_EQ(-EIO, client_encrypt(c, &cmd, &took));
	EXPECT_EQ(AZIHSM_EXT_NOT_READY, cmd.extended_status);
	EXPECT_GE(100, took);
	EXPECT_EQ(-EIO, reset_status(c->fd, &status));
	EXPECT_EQ(AZIHSM_RESET_BAD_STATE, status);
	EXPECT_EQ(0, close(hsm_open()));

	/* It is said once, whoever goes on asking. */
	dead_log = log_open();
	ASSERT_TRUE(busy_start(&busy));
	usleep(DEAD_MS * 1000);
	EXPECT_NO_COMPLAINT(busy_stop(&busy));
	EXPECT_LT(BUSY_THREADS, busy.lost);
	EXPECT_EQ(0, busy.done);
	EXPECT_EQ(1, log_count(log, UNUSABLE));
	EXPECT_EQ(0, log_count(dead_log, "azihsm"));
	close(log);
	close(dead_log);

	ASSERT_TRUE(fault_clear());
	EXPECT_EQ(stops, hsm_bus_master(hsm_pci_address()));
	ASSERT_EQ(0, hsm_write_file(path, "1"));
	EXPECT_EQ(0, hsm_get_device_info(c->fd, &info));
	EXPECT_EQ(1, hsm_bus_master(hsm_pci_address()));
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

TEST_F_TIMEOUT(recovery_slow, controller_that_never_stops, 180)
{
	reset_in_vain(_metadata, &self->client, NEVER("ignore-disable"),
		      false);
}

TEST_F_TIMEOUT(recovery_slow, controller_that_never_starts, 180)
{
	reset_in_vain(_metadata, &self->client, NEVER("ignore-enable"), true);
}

/* Disables the function as often as it is back, until the driver gives it up. */
static int disable_until_dead(struct client *c, long long end)
{
	struct azihsm_dev_info info = { .argsz = sizeof(info) };
	int ret;

	do {
		ret = client_look(c);
		if (!ret && fault_arm(ONCE("\"clear-enable\"")) < 0)
			return -ECOMM;
		while (!ret && busy_now_ms() < end) {
			usleep(10000);
			ret = hsm_dev_info(c->fd, &info);
			if (memcmp(info.device_entropy, c->entropy,
				   sizeof(c->entropy)))
				break;
		}
		while (ret == -EAGAIN && busy_now_ms() < end) {
			usleep(10000);
			ret = hsm_dev_info(c->fd, &info);
		}
	} while (ret != -EIO && busy_now_ms() < end);
	return ret;
}

/*
 * The device disables the function again and again for no reason. It is brought
 * up again some times, later and later, and then given up; commands that work in
 * between change nothing.
 */
static void disabled_again_and_again(struct __test_metadata *_metadata,
				     struct client *c, struct busy *busy)
{
	int log = log_open(), dead_log = log_open();
	char path[128];
	struct hsm_device_info info;
	long long start = busy_now_ms();

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/reset",
		 hsm_pci_address());
	EXPECT_EQ(-EIO, disable_until_dead(c, start + DISABLED_MS));
	TH_LOG("given up after %lld ms", busy_now_ms() - start);
	/* Ten times, with pauses of 100 ms and then 1 s. */
	EXPECT_LE(10 * WATCH_MS + 8100, busy_now_ms() - start + 2 * WATCH_MS);
	EXPECT_EQ(10, log_count(log, "the device disabled the function\n"));
	lseek(log, 0, SEEK_END);
	ASSERT_TRUE(fault_clear());
	usleep(DEAD_MS * 1000);
	if (busy)
		EXPECT_NO_COMPLAINT(busy_stop(busy));
	/* It is said once, and stays so. */
	EXPECT_EQ(1, log_count(dead_log, UNUSABLE));
	EXPECT_EQ(0, log_count(log, "azihsm"));
	EXPECT_EQ(-EIO, hsm_get_device_info(c->fd, &info));
	close(log);
	close(dead_log);
	ASSERT_EQ(0, hsm_write_file(path, "1"));
	EXPECT_EQ(0, hsm_get_device_info(c->fd, &info));
	EXPECT_EQ(0, hsm_close_session(&c->s));
}

TEST_F_TIMEOUT(recovery_slow, disabled_when_idle, 120)
{
	disabled_again_and_again(_metadata, &self->client, NULL);
}

TEST_F_TIMEOUT(recovery_slow, disabled_under_load, 120)
{
	struct client *c = &self->client;
	struct busy busy = {
		.s = &c->s,
		.key = c->key.bulk_id,
		.dead = true,
	};

	ASSERT_TRUE(busy_start(&busy));
	disabled_again_and_again(_metadata, c, &busy);
}

static const char *const storm[] = {
	"{\"class\":\"cp\",\"every\":40,\"what\":\"fatal\"}",
	"{\"class\":\"cp\",\"every\":15,\"what\":\"clear-enable\"}",
	"{\"class\":\"fp\",\"every\":20,\"what\":\"ignore\"}",
	"{\"class\":\"fp\",\"every\":10,\"what\":{\"duplicate\":{}}}",
	"{\"class\":\"fp\",\"every\":9,\"what\":{\"completion\":{\"sq-head\":{\"set\":65535}}}}",
	"{\"class\":\"admin\",\"every\":30,\"what\":{\"refuse\":{\"status\":6}}}",
	"{\"what\":{\"interrupt\":{\"vector\":2,\"times\":20000,\"every-us\":500}}}",
};

/*
 * Whatever goes wrong, and however often, what the driver says of it stays
 * readable; a device that was given up is brought back to go on.
 */
TEST_F_TIMEOUT(recovery_slow, log_in_a_storm, 120)
{
	struct client *c = &self->client;
	struct busy busy = {
		.s = &c->s,
		.key = c->key.bulk_id,
		.dead = true,
	};
	int log = log_open();
	long long start = busy_now_ms();
	unsigned int lines, revived = 0;
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/reset",
		 hsm_pci_address());
	ASSERT_TRUE(busy_start(&busy));
	for (int i = 0; i < ARRAY_SIZE(storm); i++)
		ASSERT_LE(0, fault_arm(storm[i]));
	while (busy_now_ms() < start + STORM_MS) {
		struct azihsm_dev_info info = { .argsz = sizeof(info) };

		usleep(500000);
		if (hsm_dev_info(c->fd, &info) == -EIO) {
			hsm_write_file(path, "1");
			revived++;
		}
	}
	lines = log_count(log, "azihsm ");
	TH_LOG("%u lines in %d s, %u commands done, %u lost, revived %u times",
	       lines, STORM_MS / 1000, busy.done, busy.lost, revived);
	EXPECT_LT(0, lines);
	EXPECT_GE(LINES_PER_S * STORM_MS / 1000, lines);
	ASSERT_TRUE(fault_clear());
	ASSERT_EQ(0, hsm_write_file(path, "1"));
	EXPECT_TRUE(busy_progress(&busy, 100));
	EXPECT_NO_COMPLAINT(busy_stop(&busy));
	close(log);
	hsm_close_session(&c->s);
}

int main(int argc, char **argv)
{
	skip_without_device();
	if (!fault_slow()) {
		ksft_print_header();
		ksft_exit_skip("takes minutes: set AZIHSM_SLOW=1\n");
	}
	return test_harness_run(argc, argv);
}
