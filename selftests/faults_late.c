// SPDX-License-Identifier: GPL-2.0
/*
 * A device that writes to a command's buffers after the command has ended. What
 * was copied, the driver's own memory takes: the caller's is out of reach. What
 * the device worked on directly only an IOMMU can protect.
 */
#include <stdio.h>
#include <sys/mman.h>

#include "lib/harness.h"
#include "lib/fault.h"
#include "lib/world.h"

/* Data that is copied, and data that is not, in bytes. */
#define SMALL		512
#define LARGE		(256 * 1024)
/* When the device writes, and when it has done so at the latest. */
#define LATE_MS		200
#define DONE_MS		3000
#define FAULT(buffers)	"{\"class\":\"fp\",\"count\":1,\"what\":{\"late-write\":" \
			"{\"ms\":200,\"buffers\":\"" buffers "\"}}}"

FIXTURE(late) {
	struct world world;
	__u8 *src, *dst, *want;
};

FIXTURE_VARIANT(late) {
	const char *fault;
};

FIXTURE_VARIANT_ADD(late, destination) {
	.fault = FAULT("destination"),
};

FIXTURE_VARIANT_ADD(late, source) {
	.fault = FAULT("source"),
};

FIXTURE_SETUP(late)
{
	__u8 *all;

	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	ASSERT_TRUE(fault_clear());
	ASSERT_EQ(0, world_init(&self->world));
	all = mmap(NULL, 3ul * LARGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, all);
	self->src = all;
	self->dst = all + LARGE;
	self->want = all + 2ul * LARGE;
}

FIXTURE_TEARDOWN(late)
{
	if (!emulator_present())
		return;
	fault_clear();
	world_close(&self->world);
	EXPECT_AT_REST();
}

static long long count(const char *what)
{
	return emulator_number("{\"cmd\":\"faults\"}", what);
}

/*
 * Encrypts, waits for the late write, and looks whether the caller's memory is
 * as the command left it. NULL, or what is wrong; the writes that reached
 * memory and those that did not.
 */
static const char *encrypt(struct _test_data_late *self, const char *fault,
			   size_t len, long long *landed, long long *refused)
{
	const struct world_keys *keys = &self->world.keys;
	struct azihsm_aes cmd;

	fill_pattern(self->src, len, 1);
	if (!aes_xts(true, keys->xts1_bytes, keys->xts2_bytes, 0,
		     xts_unit_len(AZIHSM_XTS_UNIT_512), self->src, self->want,
		     len))
		return "libcrypto: XTS";
	*landed = count("late_writes_landed");
	*refused = count("late_writes_refused");
	xts_init(&cmd, &self->world.s[0], AZIHSM_AES_ENCRYPT,
		 keys->xts1.bulk_id, keys->xts2.bulk_id, AZIHSM_XTS_UNIT_512, 0,
		 self->src, self->dst, len);
	if (fault_arm(fault) < 0)
		return "the fault cannot be armed";
	if (hsm_xts(self->world.s[0].fd, &cmd) || cmd.result)
		return "the command failed";
	if (memcmp(self->dst, self->want, len))
		return "the result is wrong";
	for (int ms = 0; ms < DONE_MS; ms += 20) {
		if (count("late_writes_landed") > *landed ||
		    count("late_writes_refused") > *refused)
			break;
		usleep(20000);
	}
	/* There may be more than one. */
	usleep(LATE_MS * 1000);
	*landed = count("late_writes_landed") - *landed;
	*refused = count("late_writes_refused") - *refused;
	if (memcmp(self->dst, self->want, len))
		return "the destination was written to later";
	fill_pattern(self->want, len, 1);
	if (memcmp(self->src, self->want, len))
		return "the source was written to";
	return NULL;
}

TEST_F(late, copied)
{
	long long landed, refused;

	EXPECT_NO_COMPLAINT(encrypt(self, variant->fault, SMALL, &landed,
				    &refused));
	/* In the slot, which is the device's for as long as it is bound. */
	EXPECT_LT(0, landed);
	EXPECT_EQ(0, refused);
}

TEST_F(late, direct)
{
	long long landed, refused;

	if (!hsm_iommu_is_strict())
		SKIP(return, "nothing keeps the device away: no strict IOMMU");
	EXPECT_NO_COMPLAINT(encrypt(self, variant->fault, LARGE, &landed,
				    &refused));
	/* What landed, if anything: the list of pages, which is the driver's. */
	EXPECT_LT(0, refused);
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
