// SPDX-License-Identifier: GPL-2.0
/*
 * Commands that take longer than the driver waits for them. For these tests
 * the device must be slow: the emulated one is with --service-time 8000000
 * (all commands) or --fp-service-time 8000000 (fast path only). With another
 * device they are skipped.
 *
 * The driver's timeout is 6 s, and it looks twice a second. Then it has the
 * queue of the command deleted, which waits for what the device is running on
 * it, and creates it anew. If that takes too long the controller is reset.
 */
#include <pthread.h>
#include <time.h>

#include "lib/harness.h"
#include "lib/killing.h"
#include "lib/roundtrip.h"

/* Bounds of a command that times out, in milliseconds. */
#define TIMEOUT_MS	6000
#define BOUND_MS	14000
/* What the driver promises, whatever the device does. */
#define PROMISE_MS	27500
/* When a caller with a session is killed: it has one by then. */
#define KILL_FAST_MS	1500

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* How long a control command takes, in milliseconds; negative on failure. */
static long long control_time(int fd)
{
	struct hsm_device_info info;
	long long start = now_ms();

	if (hsm_get_device_info(fd, &info))
		return -1;
	return now_ms() - start;
}

/*
 * The driver draws it anew whenever it brings the controller up. Waits for the
 * end of a reset that may be under way.
 */
static int entropy(int fd, __u8 *bytes)
{
	struct azihsm_dev_info info = { .argsz = sizeof(info) };
	int ret = -EAGAIN;

	for (int i = 0; i < BOUND_MS / 100 && ret == -EAGAIN; i++) {
		ret = hsm_dev_info(fd, &info);
		if (ret == -EAGAIN)
			usleep(100000);
	}
	memcpy(bytes, info.device_entropy, sizeof(info.device_entropy));
	return ret;
}

/* Whether the controller was brought up anew. */
static bool was_reset(int fd, const __u8 *before)
{
	__u8 after[32];

	return !entropy(fd, after) && memcmp(before, after, sizeof(after));
}

FIXTURE(timeout_control) {
	int fd;
	__u8 entropy[32];
};

FIXTURE_SETUP(timeout_control)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, entropy(self->fd, self->entropy));
	if (control_time(self->fd) < TIMEOUT_MS)
		SKIP(return, "control commands are not slow");
}

FIXTURE_TEARDOWN(timeout_control)
{
	close(self->fd);
	EXPECT_AT_REST();
}

/*
 * The device ends a control command before it deletes its queue. What it says
 * then must reach the caller: the command was executed. Time and again, and
 * without a reset of the controller, since the device does work.
 */
TEST_F_TIMEOUT(timeout_control, late_answer_is_delivered, 90)
{
	for (int i = 0; i < 2; i++) {
		long long took = control_time(self->fd);

		EXPECT_LE(TIMEOUT_MS, took);
		EXPECT_GE(BOUND_MS, took);
	}
	EXPECT_FALSE(was_reset(self->fd, self->entropy));
}

/* Who waits for a control command can be killed, and who ends while it runs. */
static void in_control(const void *arg)
{
	control_time(hsm_open());
}

TEST_F_TIMEOUT(timeout_control, killed_caller_leaves_at_once, 60)
{
	EXPECT_KILLED(KILLED_MS, in_control, NULL);
	/* The device works on. */
	EXPECT_LT(0, control_time(self->fd));
}

/* A session with keys, and the state of the controller at that time. */
struct fast {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key key1;
	struct hsm_key key2;
	__u8 entropy[32];
};

FIXTURE(timeout_fast) {
	struct fast f;
};

FIXTURE_SETUP(timeout_fast)
{
	self->f.fd = hsm_open();
	ASSERT_LE(0, self->f.fd);
	/* One before may have had the controller reset. */
	ASSERT_EQ(0, entropy(self->f.fd, self->f.entropy));
	if (control_time(self->f.fd) > 1000)
		SKIP(return, "control commands are slow");
	ASSERT_EQ(0, hsm_provision(self->f.fd, &self->f.part));
	ASSERT_EQ(0, hsm_open_session(self->f.fd, &self->f.s));
	ASSERT_EQ(0, hsm_generate_key(&self->f.s, HSM_KEY_XTS, "a",
				      HSM_KEY_CIPHER, &self->f.key1));
	ASSERT_EQ(0, hsm_generate_key(&self->f.s, HSM_KEY_XTS, "b",
				      HSM_KEY_CIPHER, &self->f.key2));
	ASSERT_EQ(0, entropy(self->f.fd, self->f.entropy));
}

FIXTURE_TEARDOWN(timeout_fast)
{
	close(self->f.fd);
	EXPECT_AT_REST();
}

/* Sends one command of so many bytes; returns what the ioctl returned. */
static int send_xts(const struct fast *f, struct azihsm_aes *cmd, void *data,
		    size_t len)
{
	xts_init(cmd, &f->s, AZIHSM_AES_ENCRYPT, f->key1.bulk_id,
		 f->key2.bulk_id, 0, 0, data, data, len);
	return hsm_xts(f->fd, cmd);
}

/* Pages that are pinned for I/O right now, in the whole machine. */
static long pinned_pages(void)
{
	long acquired = 0, released = 0;
	char line[128];
	FILE *f;

	/* Adds up what each CPU counted. */
	hsm_write_file("/proc/sys/vm/stat_refresh", "1");
	f = fopen("/proc/vmstat", "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "nr_foll_pin_acquired %ld", &acquired) != 1 &&
		    sscanf(line, "nr_foll_pin_released %ld", &released) == 1)
			break;
	}
	fclose(f);
	return acquired - released;
}

/*
 * The device ends what it is running before it deletes the queue, so a command
 * that is only late succeeds. Neither keys nor sessions are lost.
 */
static void late(struct __test_metadata *_metadata, struct fast *f, size_t len)
{
	struct azihsm_aes cmd;
	struct guarded data;
	long long took = now_ms();
	int ret;

	ASSERT_TRUE(guarded_alloc(&data, len, 0));
	ret = send_xts(f, &cmd, data.p, len);
	took = now_ms() - took;
	if (took < TIMEOUT_MS && !ret)
		SKIP(return, "fast-path commands are not slow");

	EXPECT_EQ(0, ret);
	EXPECT_EQ(0, cmd.result);
	EXPECT_EQ(0, cmd.extended_status);
	EXPECT_EQ(len, cmd.byte_count);
	EXPECT_LE(TIMEOUT_MS, took);
	EXPECT_GE(BOUND_MS, took);
	EXPECT_FALSE(was_reset(f->fd, f->entropy));
	EXPECT_EQ(0, hsm_close_session(&f->s));
}

/* In the memory of a slot. */
TEST_F_TIMEOUT(timeout_fast, late_command, 60)
{
	late(_metadata, &self->f, 4096);
}

/* In the caller's pages, which are given back. */
TEST_F_TIMEOUT(timeout_fast, late_large_command, 60)
{
	long before = pinned_pages();

	late(_metadata, &self->f, 1024 * 1024);
	EXPECT_EQ(before, pinned_pages());
}

static void *one_command(void *arg)
{
	const struct fast *f = arg;
	struct azihsm_aes cmd;
	__u8 data[4096] = { 0 };
	int ret = send_xts(f, &cmd, data, sizeof(data));

	return (void *)(long)(ret == -EAGAIN &&
			      cmd.extended_status == AZIHSM_EXT_ABORTED);
}

/* More callers than the device has slots: all get their answer. */
TEST_F_TIMEOUT(timeout_fast, more_callers_than_slots, 90)
{
	enum { CALLERS = 160 };
	pthread_t threads[CALLERS];
	long long start = now_ms();
	struct azihsm_aes cmd;
	__u8 data[16] = { 0 };
	int told = 0, ret;

	/* Many may take long on any device, one does not. */
	send_xts(&self->f, &cmd, data, sizeof(data));
	if (now_ms() - start < TIMEOUT_MS)
		SKIP(return, "fast-path commands are not slow");
	start = now_ms();
	for (int i = 0; i < CALLERS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, one_command,
					    &self->f));
	for (int i = 0; i < CALLERS; i++) {
		void *ok;

		pthread_join(threads[i], &ok);
		told += !!ok;
	}
	/* Those that the device did not begin with are told so. */
	EXPECT_LT(0, told);
	EXPECT_GE(PROMISE_MS, now_ms() - start);
	/* The file works on. */
	EXPECT_GT(0, send_xts(&self->f, &cmd, NULL, sizeof(data)));
	/* What was still at the device may have led to another reset. */
	start = now_ms();
	do {
		ret = hsm_close_session(&self->f.s);
		usleep(10000);
	} while (ret == -EAGAIN && now_ms() - start < PROMISE_MS);
	EXPECT_EQ(0, ret);
}

static void in_fast(const void *arg)
{
	struct fast child = *(const struct fast *)arg;
	struct azihsm_aes cmd;
	void *data = malloc(1024 * 1024);

	child.fd = hsm_open();
	if (child.fd < 0 || hsm_open_session(child.fd, &child.s))
		return;
	send_xts(&child, &cmd, data, 1024 * 1024);
}

TEST_F_TIMEOUT(timeout_fast, killed_caller_leaves_at_once, 60)
{
	long before = pinned_pages();
	struct lived lived;

	lived = kill_in(KILL_FAST_MS, KILLED_MS, in_fast, wait_for_nothing,
			&self->f);
	if (lived.ms < 0)
		SKIP(return, "fast-path commands are not slow");
	EXPECT_GE(KILLED_MS + 3 * lived.idle_ms, lived.ms);
	/* What it left at the device is cleared away in time. */
	if (!lived.idle_ms)
		EXPECT_LT(before, pinned_pages());
	for (int i = 0; i < BOUND_MS / 100 && pinned_pages() != before; i++)
		usleep(100000);
	EXPECT_EQ(before, pinned_pages());
	EXPECT_FALSE(was_reset(self->f.fd, self->f.entropy));
	EXPECT_EQ(0, hsm_close_session(&self->f.s));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
