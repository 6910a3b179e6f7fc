// SPDX-License-Identifier: GPL-2.0
/*
 * The machine sleeps while the device is at work, and wakes up again.
 *
 * The kernel may be able to test that: then everything sleeps but the machine
 * itself, for a second. Else the machine does, if AZIHSM_SLEEP is set, and its
 * clock wakes it. One that does not wake up is of no use any more, so that has
 * to be asked for.
 */
#include "lib/gone.h"
#include "lib/harness.h"
#include "lib/rungs.h"

#define STATE		"/sys/power/state"
#define MEM_SLEEP	"/sys/power/mem_sleep"
#define PM_TEST		"/sys/power/pm_test"
#define PM_TEST_DELAY	"/sys/module/suspend/parameters/pm_test_delay"
#define WAKE_ALARM	"/sys/class/rtc/rtc0/wakealarm"

FIXTURE(sleep) {
	struct client c;
	struct busy busy;
};

FIXTURE_SETUP(sleep)
{
	ASSERT_EQ(0, client_open(&self->c));
	memset(&self->busy, 0, sizeof(self->busy));
	self->busy.s = &self->c.s;
	self->busy.key = self->c.key.bulk_id;
}

FIXTURE_TEARDOWN(sleep)
{
	busy_stop(&self->busy);
	client_close(&self->c);
	EXPECT_AT_REST();
}

FIXTURE_VARIANT(sleep) {
	const char *state;
};

/* The processors idle, the devices are told to save power. */
FIXTURE_VARIANT_ADD(sleep, freeze) {
	.state = "freeze",
};

/* All but the memory loses its power (ACPI S3): the device starts from zero. */
FIXTURE_VARIANT_ADD(sleep, deep) {
	.state = "mem",
};

/* Why the machine cannot sleep like that, or NULL. */
static const char *prepare(const char *state)
{
	bool deep = !strcmp(state, "mem");

	if (!access(PM_TEST, W_OK)) {
		if (deep)
			return "the kernel tests that as it does freeze";
		hsm_write_file(PM_TEST_DELAY, "1");
		return hsm_write_file(PM_TEST, "platform") ?
			"the kernel does not test sleep" : NULL;
	}
	if (!getenv("AZIHSM_SLEEP"))
		return "no pm_test, and AZIHSM_SLEEP is not set";
	if (!deep)
		return "the emulated clock does not wake an idle machine";
	if (hsm_write_file(MEM_SLEEP, "deep"))
		return "no deep sleep";
	/* An alarm that is set has to be taken back before another is. */
	hsm_write_file(WAKE_ALARM, "0");
	return hsm_write_file(WAKE_ALARM, "+3") ?
		"no clock to wake the machine" : NULL;
}

/* SES-16 */
TEST_F_TIMEOUT(sleep, under_load, 120)
{
	const char *unable = prepare(variant->state);
	bool lost = !strcmp(variant->state, "mem");
	int ret;

	if (unable)
		SKIP(return, "%s", unable);
	ASSERT_TRUE(busy_start(&self->busy));
	ASSERT_TRUE(busy_progress(&self->busy, 20));
	ret = hsm_write_file(STATE, variant->state);
	hsm_write_file(PM_TEST, "none");
	hsm_write_file(WAKE_ALARM, "0");
	ASSERT_EQ(0, ret);
	EXPECT_TRUE(client_was_reset(&self->c));
	ASSERT_TRUE(busy_progress(&self->busy, 20));
	EXPECT_NO_COMPLAINT(busy_stop(&self->busy));
	if (lost)
		EXPECT_NO_COMPLAINT(session_gone(&self->c.s));
	else
		EXPECT_EQ(0, hsm_close_session(&self->c.s));
	/* It was closed if the session is gone. */
	self->c.fd = self->c.s.fd;
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
