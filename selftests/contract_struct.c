// SPDX-License-Identifier: GPL-2.0
/*
 * What holds for the structure of every ioctl: where it may lie, what happens
 * where it cannot be read or written, its size, who may use it. The names of
 * the rules are those of Documentation/userspace-api/azihsm.rst.
 */
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "lib/edge.h"
#include "lib/harness.h"
#include "lib/vectors.h"

#define SIZE_MAX_ARG	sizeof(struct azihsm_aes)
#define TEXT_LEN	64

FIXTURE(structure) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
	struct hsm_key gcm, xts1, xts2;
	struct edge edge;
	__u8 src[TEXT_LEN];
	__u8 dst[TEXT_LEN];
};

/* Which ioctl, and how much of its structure is transferred. */
FIXTURE_VARIANT(structure) {
	unsigned long nr;
	size_t size;
	size_t transferred;
};

FIXTURE_VARIANT_ADD(structure, cp) {
	.nr = AZIHSM_IOC_CP_CMD,
	.size = sizeof(struct azihsm_cp_cmd),
	.transferred = sizeof(struct azihsm_cp_cmd),
};

FIXTURE_VARIANT_ADD(structure, gcm) {
	.nr = AZIHSM_IOC_AES_GCM,
	.size = sizeof(struct azihsm_aes),
	.transferred = sizeof(struct azihsm_aes),
};

FIXTURE_VARIANT_ADD(structure, xts) {
	.nr = AZIHSM_IOC_AES_XTS,
	.size = sizeof(struct azihsm_aes),
	.transferred = sizeof(struct azihsm_aes),
};

FIXTURE_VARIANT_ADD(structure, reset) {
	.nr = AZIHSM_IOC_RESET,
	.size = sizeof(struct azihsm_reset),
	.transferred = sizeof(struct azihsm_reset),
};

FIXTURE_VARIANT_ADD(structure, dev_info) {
	.nr = AZIHSM_IOC_DEV_INFO,
	.size = sizeof(struct azihsm_dev_info),
	/* All but the last byte, which is padding. */
	.transferred = sizeof(struct azihsm_dev_info) - 1,
};

FIXTURE_SETUP(structure)
{
	struct hsm_session *s = &self->s;

	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_TRUE(edge_alloc(&self->edge, 2 * SIZE_MAX_ARG));
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
	ASSERT_EQ(0, hsm_open_session(self->fd, s));
	ASSERT_EQ(0, hsm_generate_key(s, HSM_KEY_GCM, "gcm", HSM_KEY_CIPHER,
				      &self->gcm));
	ASSERT_EQ(0, hsm_generate_xts_keys(s, &self->xts1,
					   &self->xts2));
}

FIXTURE_TEARDOWN(structure)
{
	edge_free(&self->edge);
	EXPECT_AT_REST();
}

/* The structures of all ioctls; each begins with its size. */
union arg {
	__u32 size;
	struct azihsm_cp_cmd cp;
	struct azihsm_aes aes;
	struct azihsm_reset reset;
	struct azihsm_dev_info info;
	__u8 bytes[SIZE_MAX_ARG];
};

/* A structure that works, with something in every byte that has no meaning. */
static void good(FIXTURE_DATA(structure) * self, unsigned long nr,
		 union arg *arg)
{
	memset(arg, 0xcc, sizeof(*arg));
	memset(self->dst, GUARD_FILL, sizeof(self->dst));
	switch (nr) {
	case AZIHSM_IOC_CP_CMD:
		memcpy(self->src, api_rev_request, sizeof(api_rev_request));
		arg->cp.opc = 0;
		arg->cp.cmdset = 0;
		arg->cp.src_len = sizeof(api_rev_request);
		arg->cp.src = (unsigned long)self->src;
		arg->cp.dst_len = sizeof(self->dst);
		arg->cp.dst = (unsigned long)self->dst;
		arg->cp.session_flags = AZIHSM_SESSION_NONE;
		break;
	case AZIHSM_IOC_AES_GCM:
	case AZIHSM_IOC_AES_XTS:
		arg->aes.op = AZIHSM_AES_ENCRYPT;
		arg->aes.src = (unsigned long)self->src;
		arg->aes.src_len = TEXT_LEN;
		arg->aes.dst = (unsigned long)self->dst;
		arg->aes.dst_len = TEXT_LEN;
		arg->aes.frame_type = AZIHSM_FRAME_AES;
		arg->aes.session_id = self->s.id;
		arg->aes.short_app_id = self->s.app;
		if (nr == AZIHSM_IOC_AES_GCM) {
			arg->aes.cipher = AZIHSM_AES_GCM;
			arg->aes.gcm.key_id = self->gcm.bulk_id;
			arg->aes.gcm.aad_len = 0;
			arg->aes.gcm.padded_aad_len = 0;
		} else {
			arg->aes.cipher = AZIHSM_AES_XTS;
			arg->aes.xts.data_unit = AZIHSM_XTS_UNIT_ALL;
			arg->aes.xts.key_id1 = self->xts1.bulk_id;
			arg->aes.xts.key_id2 = self->xts2.bulk_id;
		}
		break;
	case AZIHSM_IOC_RESET:
		arg->reset.abort_type = AZIHSM_RESET_CTRL;
		break;
	}
}

/* What the ioctl returned: 0, a negative errno, or something positive. */
static int issue(int fd, unsigned long nr, void *arg)
{
	int ret = ioctl(fd, nr, arg);

	return ret < 0 ? -errno : ret;
}

/*
 * Whether a structure that worked came back as documented: input and reserved
 * input as they were, output written, reserved output without the caller's
 * bytes. What the output is, is for other tests.
 */
static const char *check_success(unsigned long nr, const union arg *before,
				 const union arg *after)
{
	const struct azihsm_aes *aes = &after->aes;
	union arg want = *before;

	switch (nr) {
	case AZIHSM_IOC_CP_CMD:
		want.cp.out_ctxt = before->cp.in_ctxt;
		want.cp.status = 0;
		want.cp.byte_count = sizeof(api_rev_response);
		want.cp.extended_status = 0;
		want.cp.pad4 = 0;
		break;
	case AZIHSM_IOC_AES_GCM:
	case AZIHSM_IOC_AES_XTS:
		memset(&want.aes.out_ctxt, 0,
		       sizeof(want.aes) - offsetof(struct azihsm_aes, out_ctxt));
		want.aes.out_ctxt = before->aes.in_ctxt;
		want.aes.byte_count = TEXT_LEN;
		want.aes.fips_approved = !!aes->fips_approved;
		if (nr == AZIHSM_IOC_AES_GCM) {
			memcpy(want.aes.tag, aes->tag, sizeof(aes->tag));
			memcpy(want.aes.iv, aes->iv, sizeof(aes->iv));
			if (all_bytes(aes->tag, aes->tag[0], 16))
				return "no tag";
			if (all_bytes(aes->iv, aes->iv[0], 12))
				return "no IV";
		}
		break;
	case AZIHSM_IOC_RESET:
		want.reset.abort_sts = AZIHSM_RESET_OK;
		break;
	case AZIHSM_IOC_DEV_INFO:
		want.info.ctrl_id = after->info.ctrl_id;
		memcpy(want.info.pci_info, after->info.pci_info,
		       offsetof(struct azihsm_dev_info, rsvd) -
		       offsetof(struct azihsm_dev_info, pci_info));
		memcpy(want.info.device_entropy, after->info.device_entropy,
		       sizeof(want.info.device_entropy));
		if (!memcmp(&before->info.ctrl_id, &after->info.ctrl_id, 100))
			return "not written";
		break;
	}
	return memcmp(&want, after, sizeof(want)) ? "differs" : NULL;
}

/* A reset takes its time, and the keys: fewer of them are enough. */
static unsigned int stride(unsigned long nr)
{
	return nr == AZIHSM_IOC_RESET ? 29 : 3;
}

/* ALL-1: addresses that nobody can read from. */
TEST_F(structure, nowhere)
{
	const __u64 nowhere[] = {
		0, 1, UNMAPPED, KERNEL_ADDRESS, KERNEL_ADDRESS + 1,
		KERNEL_TEXT, LAST_ADDRESS, LAST_ADDRESS - variant->size + 1,
		(unsigned long)self->edge.end,
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(nowhere); i++) {
		EXPECT_EQ(-EFAULT, issue(self->fd, variant->nr,
					 (void *)nowhere[i])) {
			TH_LOG("address %#llx", nowhere[i]);
		}
	}
}

/* CP-1, CP-3, FP-1, FP-3, RESET-1, INFO-4: memory ends within it. */
TEST_F(structure, cut_off)
{
	union arg arg, *cut;

	good(self, variant->nr, &arg);
	arg.size = variant->size;
	for (size_t left = 1; left < variant->transferred; left++) {
		cut = edge_put(&self->edge, &arg, left);
		EXPECT_EQ(-EFAULT, issue(self->fd, variant->nr, cut)) {
			TH_LOG("with %zu bytes", left);
		}
		EXPECT_EQ(0, memcmp(cut, &arg, left));
	}
	EXPECT_TRUE(all_bytes(self->dst, GUARD_FILL, sizeof(self->dst)));
}

/* CP-2, FP-2, RESET-2, INFO-5: its size says that it is too small. */
TEST_F(structure, too_small)
{
	const __u32 sizes[] = {
		0, 1, 15, 16, variant->size / 2, variant->size - 1,
	};
	bool headless = variant->nr == AZIHSM_IOC_DEV_INFO;
	union arg arg, *put;

	good(self, variant->nr, &arg);
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t left = headless ? variant->transferred : 16;

		arg.size = sizes[i];
		/* With nothing behind what is read first, and with all. */
		put = edge_put(&self->edge, &arg, left);
		EXPECT_EQ(-EINVAL, issue(self->fd, variant->nr, put));
		EXPECT_EQ(0, memcmp(put, &arg, left));
		put = edge_put(&self->edge, &arg, sizeof(arg));
		EXPECT_EQ(-EINVAL, issue(self->fd, variant->nr, put));
		EXPECT_EQ(0, memcmp(put, &arg, sizeof(arg)));
	}
	EXPECT_TRUE(all_bytes(self->dst, GUARD_FILL, sizeof(self->dst)));
}

/* ALL-2: its size says that there is more: that is not touched. */
TEST_F(structure, large_enough)
{
	const __u32 sizes[] = {
		variant->size, variant->size + 1, 4096, ~0U,
	};
	union arg before, after, *put;

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		good(self, variant->nr, &before);
		before.size = sizes[i];
		put = edge_put(&self->edge, &before, variant->transferred);
		EXPECT_EQ(0, issue(self->fd, variant->nr, put));
		after = before;
		memcpy(&after, put, variant->transferred);
		EXPECT_NO_COMPLAINT(check_success(variant->nr, &before,
						  &after));
		put = edge_put(&self->edge, &before, sizeof(before));
		EXPECT_EQ(0, issue(self->fd, variant->nr, put));
		EXPECT_NO_COMPLAINT(check_success(variant->nr, &before, put));
	}
}

/* ALL-3: at any address, and across the border of two pages. */
TEST_F(structure, anywhere)
{
	union arg before, after, *put;

	good(self, variant->nr, &before);
	before.size = variant->size;
	for (size_t left = variant->size; left < variant->size + 9; left++) {
		put = memcpy(edge_at(&self->edge, left), &before,
			     variant->size);
		EXPECT_EQ(0, issue(self->fd, variant->nr, put));
		after = before;
		memcpy(&after, put, variant->size);
		EXPECT_NO_COMPLAINT(check_success(variant->nr, &before,
						  &after));
		if (variant->nr == AZIHSM_IOC_RESET)
			left += 2;
	}
	edge_free(&self->edge);
	ASSERT_TRUE(edge_alloc(&self->edge, 8192));
	for (size_t first = 1; first < variant->size;
	     first += stride(variant->nr)) {
		put = memcpy(edge_at(&self->edge, 4096 + first), &before,
			     variant->size);
		EXPECT_EQ(0, issue(self->fd, variant->nr, put));
		memcpy(&after, put, variant->size);
		EXPECT_NO_COMPLAINT(check_success(variant->nr, &before,
						  &after));
	}
}

/* ALL-4, RESET-9, INFO-6: what was done cannot be told. */
TEST_F(structure, read_only)
{
	union arg before, *put;

	good(self, variant->nr, &before);
	before.size = variant->size;
	put = edge_put(&self->edge, &before, sizeof(before));
	ASSERT_TRUE(edge_protect(&self->edge, PROT_READ));
	EXPECT_EQ(-EFAULT, issue(self->fd, variant->nr, put));
	EXPECT_EQ(0, memcmp(put, &before, sizeof(before)));
	/* It was done, all the same. */
	if (variant->nr == AZIHSM_IOC_CP_CMD) {
		EXPECT_EQ(0, memcmp(self->dst, api_rev_response,
				    sizeof(api_rev_response)));
	}
	if (variant->nr == AZIHSM_IOC_AES_XTS)
		EXPECT_FALSE(all_bytes(self->dst, GUARD_FILL, TEXT_LEN));

	/* Only its second page cannot be written. */
	edge_free(&self->edge);
	ASSERT_TRUE(edge_alloc(&self->edge, 8192));
	put = memcpy(edge_at(&self->edge, 4096 + variant->size / 2), &before,
		     variant->size);
	ASSERT_EQ(0, mprotect(self->edge.end - 4096, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, issue(self->fd, variant->nr, put));
}

/* ALL-8: of another process, it is not even looked at. */
TEST_F(structure, of_another_process)
{
	union arg arg, before;
	int status;
	pid_t pid;

	good(self, variant->nr, &arg);
	arg.size = variant->size;
	before = arg;
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (issue(self->fd, variant->nr, &arg) != -EACCES)
			_exit(1);
		if (memcmp(&arg, &before, sizeof(arg)))
			_exit(2);
		arg.size = 1;
		if (issue(self->fd, variant->nr, &arg) != -EACCES)
			_exit(3);
		if (issue(self->fd, variant->nr, NULL) != -EACCES)
			_exit(4);
		if (!all_bytes(self->dst, GUARD_FILL, TEXT_LEN))
			_exit(5);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	/* The owner can go on. */
	EXPECT_EQ(0, issue(self->fd, variant->nr, &arg));
	EXPECT_NO_COMPLAINT(check_success(variant->nr, &before, &arg));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
