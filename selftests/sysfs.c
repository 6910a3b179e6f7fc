// SPDX-License-Identifier: GPL-2.0
/*
 * The driver's folder in sysfs: files, formats, and that they count.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/counters.h"
#include "lib/emulator.h"
#include "lib/harness.h"
#include "lib/json.h"
#include "lib/roundtrip.h"

static const char * const totals[] = {
	"admin/num_cpqs_created",
	"admin/num_fpqs_created",
	"admin/num_q_delete_cmds",
	"global/total_error_completions",
	"global/total_submissions",
	"global/total_completions",
	"global/total_lvl2_aborts",
	"global/total_cmds_aborted",
	"global/total_lvl1_aborts",
	"global/total_session_mismatches",
};

static const char * const of_queue[] = {
	"num_cmds_pending_in_hw",
	"num_level1_aborts",
	"min_time_to_complete_io",
	"max_time_to_complete_io",
	"avg_time_to_complete_io",
	"total_ios_in_error",
	"total_ios_submitted_to_hw",
	"total_ios_completed_by_hw",
	"total_ios_timedout",
	"completions_per_sec",
	"total_ios_aborted",
	"stale_completions",
	"bad_sq_heads",
	"missed_interrupts",
	"bytes_copied",
	"pages_pinned",
	"data_descriptors",
	"dma_mappings",
};

FIXTURE(sysfs) {
	int fd;
	struct azihsm_query limits;
	struct hsm_partition part;
	struct hsm_session s;
};

FIXTURE_SETUP(sysfs)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_query(self->fd, &self->limits));
}

FIXTURE_TEARDOWN(sysfs)
{
	close(self->fd);
}

/* Digits, perhaps a sign before them, then exactly @end. */
static bool is_number(const char *text, const char *end)
{
	if (*text == '-')
		text++;
	if (*text < '0' || *text > '9')
		return false;
	while (*text >= '0' && *text <= '9')
		text++;
	return !strcmp(text, end);
}

TEST_F(sysfs, formats)
{
	char text[64], file[96];

	for (unsigned int i = 0; i < ARRAY_SIZE(totals); i++) {
		ASSERT_LT(0, counter_text(totals[i], text, sizeof(text))) {
			TH_LOG("%s", totals[i]);
		}
		EXPECT_TRUE(is_number(text, "")) {
			TH_LOG("%s: \"%s\"", totals[i], text);
		}
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(of_queue); i++) {
		for (unsigned int kind = 0; kind < 2; kind++) {
			snprintf(file, sizeof(file), "%s/%s",
				 kind ? "fp_sq256" : "cp_sq1", of_queue[i]);
			ASSERT_LT(0, counter_text(file, text, sizeof(text))) {
				TH_LOG("%s", file);
			}
			EXPECT_TRUE(is_number(text, "\n")) {
				TH_LOG("%s: \"%s\"", file, text);
			}
		}
	}
}

TEST_F(sysfs, nothing_to_write)
{
	char path[256];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/azihsm/%s",
		 hsm_pci_address(), "global/total_submissions");
	ASSERT_EQ(0, stat(path, &st));
	EXPECT_EQ(0444, st.st_mode & 07777);
	/* Root may open it all the same. */
	fd = open(path, O_WRONLY);
	if (fd >= 0) {
		EXPECT_EQ(-1, write(fd, "0", 1));
		EXPECT_EQ(EIO, errno);
		close(fd);
	} else {
		EXPECT_EQ(EACCES, errno);
	}
}

TEST_F(sysfs, a_folder_for_each_queue)
{
	struct azihsm_query *q = &self->limits;

	EXPECT_EQ(q->cp_queues, counter("admin/num_cpqs_created"));
	EXPECT_EQ(q->fp_queues, counter("admin/num_fpqs_created"));
	EXPECT_EQ(q->cp_queues, counter_folders("cp_sq"));
	EXPECT_EQ(q->fp_queues, counter_folders("fp_sq"));
	/* Nothing else is there. */
	EXPECT_EQ(q->cp_queues + q->fp_queues + 4, counter_folders(""));

	ASSERT_EQ(0, hsm_reset(self->fd, AZIHSM_RESET_CTRL));
	EXPECT_EQ(q->cp_queues, counter_folders("cp_sq"));
	EXPECT_EQ(q->fp_queues, counter_folders("fp_sq"));
}

/* Commands count where they ran, and their time is that of a command. */
TEST_F(sysfs, commands_count)
{
	long long cp = counter_sum("cp_sq", "total_ios_completed_by_hw");
	long long total = counter("global/total_completions");
	long long submitted = counter("global/total_submissions");
	struct hsm_device_info info;

	EXPECT_LT(0, cp);
	EXPECT_LE(cp, total);
	for (int i = 0; i < 20; i++)
		ASSERT_EQ(0, hsm_get_device_info(self->fd, &info));
	EXPECT_EQ(cp + 20, counter_sum("cp_sq", "total_ios_completed_by_hw"));
	EXPECT_EQ(cp + 20, counter_sum("cp_sq", "total_ios_submitted_to_hw"));
	EXPECT_EQ(total + 20, counter("global/total_completions"));
	EXPECT_EQ(submitted + 20, counter("global/total_submissions"));
	EXPECT_EQ(0, counter_sum("cp_sq", "num_cmds_pending_in_hw"));
	EXPECT_EQ(0, counter_sum("cp_sq", "stale_completions"));
	EXPECT_EQ(0, counter_sum("cp_sq", "bad_sq_heads"));
}

/* Times are those that a caller measures, or a bit less. */
TEST_F(sysfs, times)
{
	struct timespec before, after;
	struct hsm_device_info info;
	long long min, max, avg, took;
	char file[64];

	clock_gettime(CLOCK_MONOTONIC, &before);
	ASSERT_EQ(0, hsm_get_device_info(self->fd, &info));
	clock_gettime(CLOCK_MONOTONIC, &after);
	took = (after.tv_sec - before.tv_sec) * 1000000000LL +
	       after.tv_nsec - before.tv_nsec;

	for (unsigned int id = 1; id <= self->limits.cp_queues; id++) {
		snprintf(file, sizeof(file),
			 "cp_sq%u/total_ios_completed_by_hw", id);
		if (!counter(file))
			continue;
		snprintf(file, sizeof(file), "cp_sq%u/min_time_to_complete_io",
			 id);
		min = counter(file);
		snprintf(file, sizeof(file), "cp_sq%u/max_time_to_complete_io",
			 id);
		max = counter(file);
		snprintf(file, sizeof(file), "cp_sq%u/avg_time_to_complete_io",
			 id);
		avg = counter(file);
		EXPECT_LT(0, min);
		EXPECT_LE(min, avg);
		EXPECT_LE(avg, max);
		/* One of the queues ran the command. */
		if (min <= took)
			took = -1;
	}
	EXPECT_EQ(-1, took);
}

TEST_F(sysfs, errors_count)
{
	long long cp = counter_sum("cp_sq", "total_ios_in_error");
	long long total = counter("global/total_error_completions");
	__u8 src[16] = { 0 }, dst[64];
	struct azihsm_cp_cmd cmd;

	/* A response with an error in it is a success for driver and queue. */
	ddi_cp_init(&cmd, AZIHSM_SESSION_NONE, -1, src, sizeof(src), dst,
		    sizeof(dst));
	ASSERT_EQ(0, hsm_cp(self->fd, &cmd));
	EXPECT_EQ(0, cmd.status);
	EXPECT_EQ(cp, counter_sum("cp_sq", "total_ios_in_error"));
	/* A length that the device does not take is none. */
	ddi_cp_init(&cmd, AZIHSM_SESSION_NONE, -1, NULL, 0, dst, sizeof(dst));
	ASSERT_EQ(0, hsm_cp(self->fd, &cmd));
	EXPECT_NE(0, cmd.status);
	EXPECT_EQ(cp + 1, counter_sum("cp_sq", "total_ios_in_error"));
	EXPECT_EQ(total + 1, counter("global/total_error_completions"));
}

TEST_F(sysfs, resets_count)
{
	long long resets = counter("global/total_lvl2_aborts");

	ASSERT_EQ(0, hsm_reset(self->fd, AZIHSM_RESET_CTRL));
	EXPECT_EQ(resets + 1, counter("global/total_lvl2_aborts"));
	ASSERT_EQ(0, hsm_reset(self->fd, AZIHSM_RESET_NSSR));
	EXPECT_EQ(resets + 2, counter("global/total_lvl2_aborts"));
}

TEST_F(sysfs, completions_per_second)
{
	struct hsm_device_info info;
	long long rate = 0;

	counter_sum("cp_sq", "completions_per_sec");
	for (int i = 0; i < 20; i++)
		ASSERT_EQ(0, hsm_get_device_info(self->fd, &info));
	rate = counter_sum("cp_sq", "completions_per_sec");
	EXPECT_LT(0, rate);
	/* Since the last look there was none. */
	EXPECT_EQ(0, counter_sum("cp_sq", "completions_per_sec"));
}

static long long device_count(const char *answer, const char *name)
{
	__u64 value;

	return json_number(json_member(answer, name), &value) ? value : -1;
}

/* Driver and device count the same. */
TEST_F(sysfs, device_agrees)
{
	static const struct {
		const char *folders, *device;
	} kinds[] = {
		{ "cp_sq", "commands_cp" },
		{ "fp_sq", "commands_fp" },
	};
	long long driver[2], device[2];
	struct hsm_key key;
	__u8 bytes[32];
	char *answer;

	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	hsm_test_key("gcm", bytes);
	for (int round = 0; round < 2; round++) {
		answer = emulator_ask("{\"cmd\":\"stats\"}");
		ASSERT_NE(NULL, answer);
		for (int i = 0; i < 2; i++) {
			long long n = counter_sum(kinds[i].folders,
						  "total_ios_completed_by_hw");

			driver[i] = n - (round ? driver[i] : 0);
			n = device_count(answer, kinds[i].device);
			device[i] = n - (round ? device[i] : 0);
		}
		free(answer);
		if (round)
			break;
		ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_GCM, "gcm",
					      HSM_KEY_CIPHER, &key));
		for (int i = 0; i < 10; i++) {
			struct gcm_case gcm = {
				.s = &self->s,
				.key = key.bulk_id,
				.key_bytes = bytes,
				.approved = true,
				.aad = i,
				.text = 1 + 1000 * i,
			};

			EXPECT_NO_COMPLAINT(gcm_round_trip(&gcm));
		}
	}
	EXPECT_LE(1, driver[0]);
	EXPECT_LE(20, driver[1]);
	EXPECT_EQ(device[0], driver[0]);
	EXPECT_EQ(device[1], driver[1]);
}

static atomic_bool stop;

static void *read_all(void *arg)
{
	char text[64];

	while (!stop) {
		for (unsigned int i = 0; i < ARRAY_SIZE(totals); i++)
			counter_text(totals[i], text, sizeof(text));
		for (unsigned int i = 0; i < ARRAY_SIZE(of_queue); i++)
			counter_sum("", of_queue[i]);
	}
	return NULL;
}

/* Files can be read while queues work and are reset. */
TEST_F(sysfs, read_during_resets)
{
	pthread_t reader;

	stop = false;
	ASSERT_EQ(0, pthread_create(&reader, NULL, read_all, NULL));
	for (int i = 0; i < 20; i++)
		EXPECT_EQ(0, hsm_reset(self->fd, AZIHSM_RESET_CTRL));
	stop = true;
	ASSERT_EQ(0, pthread_join(reader, NULL));
	EXPECT_EQ(self->limits.fp_queues, counter_folders("fp_sq"));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
