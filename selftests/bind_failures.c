// SPDX-License-Identifier: GPL-2.0
/*
 * Binding that fails: at each allocation, where the kernel can make them fail, and
 * on a device that does not start, or does not stop again. What was taken is given
 * back, nobody spins, the device is cut off from memory, and the next bind is good.
 */
#include "lib/busy.h"
#include "lib/fault.h"
#include "lib/harness.h"
#include "lib/injection.h"
#include "lib/pages.h"
#include "lib/rungs.h"

/*
 * The first ones are made to fail one by one, later ones with a distance that is
 * drawn, on average a part of their number: there are thousands, most of them
 * alike, and each of them may be the next one in some run.
 */
#define EACH_UP_TO	60
#define EACH_BY_ITSELF_UP_TO	100
#define PART		20
#define ALLOCATIONS_MAX	20000
#define NOT_IDENTIFIED	\
	"{\"class\":\"admin\",\"opcode\":6,\"what\":{\"refuse\":{\"status\":6}}}"
/* The last of the queues that a bind creates. */
#define NO_LAST_QUEUE	\
	"{\"class\":\"admin\",\"opcode\":1,\"after\":11,\"every\":12,\"what\":{\"refuse\":{\"status\":6}}}"
/* Binds in vain: until things have warmed up, and those that may leave nothing. */
#define WARM_UP		20
#define IN_VAIN		400

/*
 * What the kernel keeps many of that were freed: ranges of its addresses, and of
 * addresses behind an IOMMU.
 */
static const char *const collected[] = { "vmap_area", "iommu_iova", NULL };

FIXTURE(bind_failures) {
	char address[64];
};

static int unbind_driver(const char *address)
{
	return hsm_write_file(HSM_DRIVER "/unbind", address);
}

static int bind_driver(const char *address)
{
	return hsm_write_file(HSM_DRIVER "/bind", address);
}

FIXTURE_SETUP(bind_failures)
{
	snprintf(self->address, sizeof(self->address), "%s", hsm_pci_address());
	if (emulator_present())
		ASSERT_TRUE(fault_clear());
	ASSERT_EQ(0, unbind_driver(self->address));
}

FIXTURE_TEARDOWN(bind_failures)
{
	struct hsm_partition part = { 0 };
	struct hsm_session s;
	int fd;

	if (emulator_present())
		ASSERT_TRUE(fault_clear());
	hsm_rescan();
	if (!hsm_name())
		EXPECT_EQ(0, bind_driver(self->address));
	hsm_rescan();
	fd = hsm_open();
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, hsm_provision(fd, &part));
	EXPECT_EQ(0, hsm_open_session(fd, &s));
	EXPECT_EQ(0, hsm_close_session(&s));
	close(fd);
	EXPECT_AT_REST();
}

/* A bind: what it returned, and what it took. */
struct bind {
	int ret;
	long long took_ms;
	long long used_ms;
};

static struct bind timed_bind(const char *address)
{
	long long start = busy_now_ms(), used = busy_cpu_ms();
	struct bind b = { .ret = bind_driver(address) };

	b.took_ms = busy_now_ms() - start;
	b.used_ms = busy_cpu_ms() - used;
	return b;
}

/* The same where nothing is in the way. */
static struct bind usual_bind(struct __test_metadata *_metadata,
			      const char *address)
{
	struct bind b = timed_bind(address);

	ASSERT_EQ(0, b.ret);
	ASSERT_EQ(0, unbind_driver(address));
	return b;
}

/*
 * A bind that fails after READY_MS; who waited slept, and the device is cut off.
 * That is beyond what a bind usually takes: seconds, in a kernel that checks itself.
 */
#define EXPECT_BIND_IN_VAIN(address, usual) do {			\
	const char *address_ = (address);				\
	const struct bind *usual_ = (usual);				\
	struct bind b_ = timed_bind(address_);				\
									\
	EXPECT_GT(0, b_.ret);						\
	TH_LOG("%lld ms, of which %lld ms of a processor; usually %lld and %lld", \
	       b_.took_ms, b_.used_ms, usual_->took_ms, usual_->used_ms); \
	EXPECT_LE(READY_MS, b_.took_ms);				\
	EXPECT_GE(READY_MS + SLACK_MS + usual_->took_ms, b_.took_ms);	\
	EXPECT_GE(READY_MS / BUSY_SHARE + usual_->used_ms, b_.used_ms);	\
	EXPECT_EQ(0, hsm_bus_master(address_));				\
} while (0)

/* The controller never becomes ready: who waits for it sleeps. */
TEST_F_TIMEOUT(bind_failures, never_ready, 60)
{
	struct bind usual;

	if (!emulator_present() || !fault_slow())
		SKIP(return, "takes long: set AZIHSM_SLOW=1");
	usual = usual_bind(_metadata, self->address);
	ASSERT_LE(0, fault_arm(NEVER("ignore-enable")));
	EXPECT_BIND_IN_VAIN(self->address, &usual);
}

/* It becomes ready, is of no use, and does not stop any more. */
TEST_F_TIMEOUT(bind_failures, never_stops, 60)
{
	struct bind usual;

	if (!emulator_present() || !fault_slow())
		SKIP(return, "takes long: set AZIHSM_SLOW=1");
	usual = usual_bind(_metadata, self->address);
	ASSERT_LE(0, fault_arm(NEVER("ignore-disable")));
	ASSERT_LE(0, fault_arm(NOT_IDENTIFIED));
	EXPECT_BIND_IN_VAIN(self->address, &usual);
}

/* The refusal of each admin command that a bind takes. */
TEST_F_TIMEOUT(bind_failures, each_admin_command, 300)
{
	char fault[128];
	long hits = 1;
	int i;

	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	for (i = 0; hits > 0; i++) {
		long id;
		int ret;

		snprintf(fault, sizeof(fault),
			 "{\"class\":\"admin\",\"after\":%d,\"count\":1,\"what\":{\"refuse\":{\"status\":6}}}",
			 i);
		id = fault_arm(fault);
		ASSERT_LE(0, id);
		ret = bind_driver(self->address);
		hits = fault_hits(id);
		ASSERT_TRUE(fault_clear());
		hsm_rescan();
		ASSERT_EQ(!ret, !!hsm_name());
		if (ret)
			EXPECT_EQ(0, hsm_bus_master(self->address));
		if (!ret)
			ASSERT_EQ(0, unbind_driver(self->address));
	}
	/* Identify, two counts, the capabilities, and two for each queue. */
	EXPECT_LT(8, i);
	TH_LOG("%d admin commands", i - 1);
}

/* A bind that fails gives back what it took, however often that is. */
TEST_F_TIMEOUT(bind_failures, nothing_is_left, 600)
{
	static const char * const faults[] = { NOT_IDENTIFIED, NO_LAST_QUEUE };

	if (!emulator_present() || !fault_slow())
		SKIP(return, "takes long: set AZIHSM_SLOW=1");
	if (hsm_kernel_checks_itself())
		SKIP(return, "the kernel looks for leaks itself");
	for (int f = 0; f < 2; f++) {
		static struct slab_counts before, after;
		struct slab_cache most;

		ASSERT_LE(0, fault_arm(faults[f]));
		for (int i = 0; i < WARM_UP + IN_VAIN; i++) {
			if (i == WARM_UP)
				slab_count(&before);
			ASSERT_GT(0, bind_driver(self->address));
		}
		slab_count(&after);
		most = slab_growth(&before, &after, collected);
		ASSERT_TRUE(fault_clear());
		EXPECT_LT(0, before.caches);
		/* Others may take some meanwhile, but not one for each bind. */
		EXPECT_GT(IN_VAIN / 2, most.objects);
		TH_LOG("%d binds in vain: %+ld objects of %s, that is most",
		       IN_VAIN, most.objects, most.name);
	}
}

/* Draws which allocation is the next one to fail. */
static unsigned int draw_next(unsigned int n, unsigned int each,
			      unsigned int *state)
{
	return n < each ? n + 1 : n + 1 + rand_r(state) % (2 * n / PART);
}

/*
 * Has allocations of a bind fail, the first @each of them one by one, and expects
 * more than @needed of the failures to end the bind.
 */
static void fail_allocations(struct __test_metadata *_metadata,
			     const char *address, unsigned int each,
			     unsigned int needed)
{
	unsigned int n = 1, refused = 0, borne = 0;
	unsigned int seed = harness_seed(), state = seed;
	bool failed = true;

	TH_LOG("AZIHSM_SEED=%u", seed);
	for (; failed && n < ALLOCATIONS_MAX; n = draw_next(n, each, &state)) {
		int ret;

		ASSERT_EQ(0, injection_nth(n));
		ret = bind_driver(address);
		failed = injection_happened();
		/* Which may be the one that fails. */
		ASSERT_TRUE(!injection_nth(0) || !injection_nth(0));
		if (!failed)
			EXPECT_EQ(0, ret);
		refused += !!ret;
		/* Some can be done without, those of the driver core for one. */
		borne += !ret && failed;
		hsm_rescan();
		ASSERT_EQ(!ret, !!hsm_name()) {
			TH_LOG("allocation %u: %d", n, ret);
		}
		if (!ret)
			ASSERT_EQ(0, unbind_driver(address));
	}
	TH_LOG("of %u allocations, %u were needed, and %u were not", n,
	       refused, borne);
	EXPECT_FALSE(failed);
	EXPECT_LT(needed, refused);
}

TEST_F_TIMEOUT(bind_failures, each_allocation, 900)
{
	if (!injection_prepare())
		SKIP(return, "the kernel cannot have allocations fail");
	/*
	 * The kernel goes on without the files of an interrupt in /proc, and warns
	 * when it is to remove one that it could not make.
	 */
	ASSERT_EQ(0, injection_spare("register_irq_proc"));
	fail_allocations(_metadata, self->address, EACH_UP_TO, 10);
}

/* Those of the driver itself are fewer. */
TEST_F_TIMEOUT(bind_failures, each_allocation_by_itself, 900)
{
	if (!injection_prepare())
		SKIP(return, "the kernel cannot have allocations fail");
	ASSERT_EQ(0, injection_only_by("azihsm"));
	fail_allocations(_metadata, self->address, EACH_BY_ITSELF_UP_TO,
			 EACH_BY_ITSELF_UP_TO / 2);
}

int main(int argc, char **argv)
{
	skip_without_device();
	skip_without_unbind();
	return test_harness_run(argc, argv);
}
