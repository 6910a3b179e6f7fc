// SPDX-License-Identifier: GPL-2.0
/*
 * The device is pulled out under load: the emulator ends, and all that is read
 * from the function from then on is ones. Nothing tells the driver but that.
 *
 * There is no device afterwards, so this has to be asked for: AZIHSM_PULL_OUT=1.
 */
#include "lib/busy.h"
#include "lib/emulator.h"
#include "lib/fault.h"
#include "lib/harness.h"
#include "lib/ring.h"

/* When the driver knows: a look of the watchdog, three attempts, QEMU's pause. */
#define NOTICE_MS	15000
/* Longest that somebody waits who had a command at the device. */
#define COMMAND_MS	15000
/* The same to look at a device that is gone, or, more than usual, to let go. */
#define GONE_MS		3000
/* Commands of the ring that the device has forgotten when it goes. */
#define FORGOTTEN	4
#define RING_S		30
/* From then on no command is answered. */
#define SILENCE								\
	"{\"class\":\"fp\",\"what\":\"ignore\"},"			\
	"{\"class\":\"cp\",\"what\":\"ignore\"}"

static char address[64];
/* How long it takes to let go of a device that works, in milliseconds. */
static long long usual_ms;

/* Waits until the driver says that the device cannot be used. */
static int wait_until_dead(int fd)
{
	long long end = busy_now_ms() + NOTICE_MS;
	struct hsm_device_info info;
	int ret;

	do {
		ret = hsm_get_device_info(fd, &info);
		usleep(1000);
	} while (ret != -EIO && busy_now_ms() < end);
	return ret;
}

static long long timed_write(const char *path, const char *text, int *ret)
{
	long long start = busy_now_ms();

	*ret = hsm_write_file(path, text);
	return busy_now_ms() - start;
}

TEST(pulled_out_under_load)
{
	static __u8 text[64], out[FORGOTTEN][64];
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key key;
	struct hsm_device_info info;
	struct io_uring ring;
	struct busy busy = { .s = &s, .gone = true, .dead = true };
	struct ring_done done;
	int fd = hsm_open(), ret;
	char *answer;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, hsm_provision(fd, &part));
	ASSERT_EQ(0, hsm_open_session(fd, &s));
	ASSERT_EQ(0, hsm_generate_key(&s, HSM_KEY_GCM_UNAPPROVED, "key",
				      HSM_KEY_CIPHER, &key));
	busy.key = key.bulk_id;

	/* Commands of a ring that are at the device when it goes. */
	ASSERT_EQ(0, ring_open(&ring, 2 * FORGOTTEN, 0));
	/*
	 * All wait for the device when it goes, and nobody writes to it: the emulator
	 * ends when it has not been asked anything for some time.
	 */
	ASSERT_LE(0, fault_arm(SILENCE));
	for (int i = 0; i < FORGOTTEN; i++) {
		struct azihsm_aes cmd;

		gcm_init(&cmd, &s, AZIHSM_AES_ENCRYPT, key.bulk_id, 0, text,
			 out[i], sizeof(text));
		ASSERT_NE(NULL, ring_put_aes(&ring, &cmd, fd, NULL, i));
	}
	ASSERT_LE(0, io_uring_submit(&ring));
	ASSERT_TRUE(busy_start(&busy));
	sleep(1);
	EXPECT_EQ(0, busy.done);

	answer = emulator_ask("{\"cmd\":\"end\"}");
	ASSERT_NE(NULL, answer);
	ASSERT_NE(NULL, strstr(answer, "ending"));
	free(answer);
	EXPECT_EQ(-EIO, wait_until_dead(fd));
	for (int i = 0; i < FORGOTTEN; i++) {
		ASSERT_EQ(0, ring_wait(&ring, &done, RING_S));
		EXPECT_EQ(-EAGAIN, done.res);
	}
	io_uring_queue_exit(&ring);
	/* The node can be opened, and says why it is of no use. */
	EXPECT_EQ(0, close(hsm_open()));

	EXPECT_GT(GONE_MS + BUSY_TIMES * usual_ms,
		  timed_write(HSM_DRIVER "/unbind", address, &ret));
	EXPECT_EQ(0, ret);
	EXPECT_NO_COMPLAINT(busy_stop(&busy));
	EXPECT_GT(COMMAND_MS, busy.longest_ms);
	EXPECT_EQ(-ENODEV, hsm_get_device_info(fd, &info));
	EXPECT_EQ(0, close(fd));

	/* What is not there any more is not taken again. */
	for (int i = 0; i < 3; i++) {
		EXPECT_GT(GONE_MS,
			  timed_write(HSM_DRIVER "/bind", address, &ret));
		EXPECT_GT(0, ret);
	}
	hsm_rescan();
	EXPECT_EQ(NULL, hsm_name());
}

int main(int argc, char **argv)
{
	const char *wanted = getenv("AZIHSM_PULL_OUT");

	skip_without_device();
	if (!wanted || !emulator_present()) {
		ksft_print_header();
		ksft_exit_skip("the device is gone afterwards: set AZIHSM_PULL_OUT=1\n");
	}
	snprintf(address, sizeof(address), "%s", hsm_pci_address());
	usual_ms = hsm_usual_unbind(address);
	return test_harness_run(argc, argv);
}
