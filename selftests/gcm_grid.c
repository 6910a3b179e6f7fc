// SPDX-License-Identifier: GPL-2.0
/*
 * AES-GCM on the fast path against libcrypto, every length of AAD with every
 * length of text up to some blocks, then large ones at random: encryption,
 * decryption, decryption with a wrong tag. The names of the rules are those of
 * Documentation/userspace-api/azihsm.rst.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "lib/harness.h"
#include "lib/roundtrip.h"

#define AAD_MAX		96
#define TEXT_MAX	80
#define CASES		((AAD_MAX + 1) * (TEXT_MAX + 1))
#define THREADS		4
#define RANDOM_CASES	24
#define RANDOM_AAD	4096
#define RANDOM_TEXT	(4 << 20)

FIXTURE(grid) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key key;
	__u8 key_bytes[32];
};

FIXTURE_VARIANT(grid) {
	__u32 size;
	/* Of the small lengths, every how many-th. */
	unsigned int step;
};

/* Who draws the IV does not change what the driver does. */
FIXTURE_VARIANT_ADD(grid, approved) {
	.size = HSM_KEY_GCM,
	.step = 7,
};

FIXTURE_VARIANT_ADD(grid, unapproved) {
	.size = HSM_KEY_GCM_UNAPPROVED,
	.step = 1,
};

FIXTURE_SETUP(grid)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_generate_key(&self->s, variant->size, "grid",
				      HSM_KEY_CIPHER, &self->key));
	hsm_test_key("grid", self->key_bytes);
}

FIXTURE_TEARDOWN(grid)
{
	close(self->fd);
	EXPECT_AT_REST();
}

/* What the workers share. */
struct work {
	struct gcm_case c;
	unsigned int step;
	atomic_uint next;
	atomic_uint done;
	atomic_bool failed;
	char why[512];
};

static void report(struct work *w, const char *why)
{
	if (!atomic_exchange(&w->failed, true))
		snprintf(w->why, sizeof(w->why), "%s", why);
}

/* FP-15: AAD that fills the source, since there is no text. */
static const char *must_be_refused(const struct gcm_case *c)
{
	static __thread char why[128];
	__u8 src[AAD_MAX + 1] = { 0 }, dst[AAD_MAX + 1];
	struct azihsm_aes cmd;
	int ret;

	memset(dst, GUARD_FILL, sizeof(dst));
	for (__u8 op = AZIHSM_AES_ENCRYPT; op <= AZIHSM_AES_DECRYPT; op++) {
		gcm_init(&cmd, c->s, op, c->key, c->aad, src, dst, c->aad);
		ret = hsm_gcm(c->s->fd, &cmd);
		if (ret == -EINVAL &&
		    cmd.extended_status == AZIHSM_EXT_AES_GCM &&
		    all_bytes(dst, GUARD_FILL, sizeof(dst)))
			continue;
		snprintf(why, sizeof(why),
			 "AAD %zu without text: returned %d, status %#x",
			 c->aad, ret, cmd.extended_status);
		return why;
	}
	return NULL;
}

static void *work_on_grid(void *arg)
{
	struct work *w = arg;
	struct gcm_case c = w->c;

	for (;;) {
		unsigned int n = atomic_fetch_add(&w->next, w->step);
		const char *why;

		c.aad = n / (TEXT_MAX + 1);
		c.text = n % (TEXT_MAX + 1);
		if (c.aad > AAD_MAX || w->failed)
			return NULL;
		/* Every position of both ends in a block, now and then. */
		c.src_offset = n * 7 % 4096;
		c.dst_offset = n * 11 % 4096;
		if (gcm_padded_len(c.aad) + c.text > c.aad)
			why = gcm_round_trip(&c);
		else
			why = must_be_refused(&c);
		if (why)
			report(w, why);
		w->done++;
	}
}

/* GCM-1, GCM-2, GCM-3, GCM-4, GCM-5, MEM-1, MEM-3 */
TEST_F_TIMEOUT(grid, small, 100)
{
	static struct work w;
	pthread_t threads[THREADS];

	w = (struct work) {
		.c = {
			.s = &self->s,
			.key = self->key.bulk_id,
			.key_bytes = self->key_bytes,
			.approved = variant->size == HSM_KEY_GCM,
			.wrong_tag = true,
		},
		.step = variant->step,
	};
	for (int i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, work_on_grid,
					    &w));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_STREQ("", w.why);
	EXPECT_EQ((CASES + variant->step - 1) / variant->step, w.done);
}

/* A length up to a limit, small ones as likely as large ones. */
static size_t draw_length(unsigned int *seed, size_t limit)
{
	size_t len = limit;

	for (int halve = rand_r(seed) % 20; halve; halve--)
		len /= 2;
	return rand_r(seed) % (len + 1);
}

/* GCM-1, GCM-2: lengths, and positions, that nobody thought of. */
TEST_F_TIMEOUT(grid, at_random, 100)
{
	unsigned int seed = harness_seed();
	unsigned int state = seed;
	struct gcm_case c = {
		.s = &self->s,
		.key = self->key.bulk_id,
		.key_bytes = self->key_bytes,
		.approved = variant->size == HSM_KEY_GCM,
		.wrong_tag = true,
	};

	for (int i = 0; i < RANDOM_CASES; i++) {
		const char *why;

		c.aad = draw_length(&state, RANDOM_AAD);
		c.text = 1 + draw_length(&state, RANDOM_TEXT - 1);
		c.src_offset = rand_r(&state) % 4096;
		c.dst_offset = rand_r(&state) % 4096;
		why = gcm_round_trip(&c);
		EXPECT_EQ(NULL, why) {
			TH_LOG("AZIHSM_SEED=%u, case %d: %s", seed, i, why);
		}
	}
}

/* GCM-2: the largest one. */
TEST_F(grid, largest)
{
	struct gcm_case c = {
		.s = &self->s,
		.key = self->key.bulk_id,
		.key_bytes = self->key_bytes,
		.approved = variant->size == HSM_KEY_GCM,
		.wrong_tag = true,
		.aad = 77,
		.text = RANDOM_TEXT - 1,
		.src_offset = 4095,
		.dst_offset = 1,
	};

	EXPECT_NO_COMPLAINT(gcm_round_trip(&c));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
