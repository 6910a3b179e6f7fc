// SPDX-License-Identifier: GPL-2.0
/*
 * Device information: the ioctl's fields, the firmware's own answers, and what
 * the node refuses.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "lib/harness.h"

FIXTURE(dev_info) {
	int fd;
};

FIXTURE_SETUP(dev_info)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(dev_info)
{
	close(self->fd);
	EXPECT_AT_REST();
}

/* Text of at least one character, then NULs to the end of the field. */
static bool is_nul_padded_text(const __u8 *field, size_t size)
{
	size_t len = strnlen((const char *)field, size);

	for (size_t i = 0; i < len; i++)
		if (field[i] < 0x20 || field[i] > 0x7e)
			return false;
	return len && len < size && all_bytes(field + len, 0, size - len);
}

TEST_F(dev_info, fields)
{
	struct azihsm_dev_info info;

	memset(&info, 0xcc, sizeof(info));
	info.argsz = sizeof(info);
	ASSERT_EQ(0, ioctl(self->fd, AZIHSM_IOC_DEV_INFO, &info));
	EXPECT_EQ(sizeof(info), info.argsz);
	EXPECT_GE(64, info.ctrl_id);
	EXPECT_TRUE(is_nul_padded_text(info.pci_info, sizeof(info.pci_info)));
	EXPECT_STREQ(hsm_pci_address(), (const char *)info.pci_info);
	/* The last byte of these ends them; the device pads with its own. */
	EXPECT_EQ(0, info.serial_num[32]);
	EXPECT_LT(0, strlen((const char *)info.serial_num));
	EXPECT_EQ(0, info.firmware_rev[32]);
	EXPECT_LT(0, strlen((const char *)info.firmware_rev));
	EXPECT_TRUE(all_bytes(info.model_num, 0, sizeof(info.model_num)));
	EXPECT_TRUE(is_nul_padded_text(info.driver_rev,
				       sizeof(info.driver_rev)));
	EXPECT_FALSE(all_bytes(info.device_entropy, info.device_entropy[0],
			       sizeof(info.device_entropy)));
	/* What has no meaning comes back as it was. */
	EXPECT_TRUE(all_bytes(info.rsvd, 0xcc, sizeof(info.rsvd)));
	EXPECT_EQ(0xcc, info.pad);
}

/* Drawn by the driver at each initialisation, not at each call. */
TEST_F(dev_info, entropy)
{
	struct azihsm_dev_info first, second;
	int other = hsm_open();

	ASSERT_LE(0, other);
	ASSERT_EQ(0, hsm_dev_info(self->fd, &first));
	ASSERT_EQ(0, hsm_dev_info(other, &second));
	EXPECT_EQ(0, memcmp(&first, &second, sizeof(first)));
	close(other);

	ASSERT_EQ(0, hsm_reset(self->fd, AZIHSM_RESET_CTRL));
	ASSERT_EQ(0, hsm_dev_info(self->fd, &second));
	EXPECT_NE(0, memcmp(first.device_entropy, second.device_entropy,
			    sizeof(first.device_entropy)));
	/* Nothing else changed. */
	memcpy(second.device_entropy, first.device_entropy,
	       sizeof(first.device_entropy));
	EXPECT_EQ(0, memcmp(&first, &second, sizeof(first)));
}

TEST_F(dev_info, firmware)
{
	struct hsm_device_info info;
	struct ddi_call c;

	ASSERT_EQ(0, hsm_get_device_info(self->fd, &info));
	EXPECT_EQ(HSM_KIND_VIRTUAL, info.kind);
	EXPECT_LE(1, info.tables);
	EXPECT_GE(65, info.tables);

	ddi_begin(&c, DDI_OP_GET_API_REV, DDI_NO_SESSION, 0);
	ASSERT_EQ(0, ddi_exec(self->fd, &c));
	EXPECT_EQ(2, c.fields);
	for (int rev = 1; rev <= 2; rev++) {
		mbor_want_id(&c.resp, rev);
		EXPECT_EQ(2, mbor_get_map(&c.resp));
		mbor_want_id(&c.resp, 1);
		EXPECT_EQ(1, mbor_get_u32(&c.resp));
		mbor_want_id(&c.resp, 2);
		EXPECT_EQ(0, mbor_get_u32(&c.resp));
	}
	EXPECT_EQ(0, ddi_end(&c));
	EXPECT_EQ(58, c.cmd.byte_count);
}

/* ALL-11: ioctls that the node does not have, nor the management node's. */
TEST_F(dev_info, unknown_ioctls)
{
	static const unsigned long unknown[] = {
		0xc0704202,	/* legacy command, removed */
		0xc0284205,	/* test hook */
		0xc0b04105,	/* device information of the management node */
		0xc00c4102,	/* resource counts */
		0xc0084104,	/* number of functions */
		0xc0b04204 ^ 0x10000,	/* device information, other size */
		0xc1904203,	/* command, other size */
		0,
	};
	__u8 arg[512];

	for (unsigned int i = 0; i < ARRAY_SIZE(unknown); i++) {
		memset(arg, 0xcc, sizeof(arg));
		EXPECT_EQ(-1, ioctl(self->fd, unknown[i], arg)) {
			TH_LOG("ioctl %#lx was accepted", unknown[i]);
		}
		EXPECT_EQ(ENOTTY, errno);
		EXPECT_TRUE(all_bytes(arg, 0xcc, sizeof(arg)));
	}
}

/* Whether the node has this ioctl; the query's number counts in any size. */
static bool is_known(unsigned long nr)
{
	static const unsigned long known[] = {
		AZIHSM_IOC_CP_CMD, AZIHSM_IOC_DEV_INFO, AZIHSM_IOC_RESET,
		AZIHSM_IOC_AES_XTS, AZIHSM_IOC_AES_GCM,
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(known); i++)
		if (nr == known[i])
			return true;
	return _IOC_TYPE(nr) == AZIHSM_IOC_MAGIC &&
	       _IOC_NR(nr) == _IOC_NR(AZIHSM_IOC_QUERY);
}

/* ALL-11: all numbers of both nodes, in all directions and some sizes. */
TEST_F(dev_info, all_numbers)
{
	static const char types[] = {
		AZIHSM_IOC_MAGIC, AZIHSM_MGMT_IOC_MAGIC,
	};
	static const unsigned int sizes[] = {
		0, 8, 12, 40, sizeof(struct azihsm_cp_cmd),
		sizeof(struct azihsm_dev_info), sizeof(struct azihsm_reset),
		sizeof(struct azihsm_aes),
	};
	__u8 arg[512];

	memset(arg, 0xcc, sizeof(arg));
	for (unsigned int i = 0; i < 4 * 256 * ARRAY_SIZE(types); i++) {
		for (unsigned int j = 0; j < ARRAY_SIZE(sizes); j++) {
			unsigned long nr = _IOC(i / 256 % 4, types[i / 1024],
						i % 256, sizes[j]);

			if (is_known(nr))
				continue;
			ASSERT_EQ(-1, ioctl(self->fd, nr, arg)) {
				TH_LOG("ioctl %#lx was accepted", nr);
			}
			ASSERT_EQ(ENOTTY, errno);
		}
	}
	EXPECT_TRUE(all_bytes(arg, 0xcc, sizeof(arg)));
}

/* ALL-14: the node has ioctls, and nothing to read or write. */
TEST_F(dev_info, no_data)
{
	char byte = 0;

	EXPECT_EQ(-1, read(self->fd, &byte, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(self->fd, &byte, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED, self->fd,
				   0));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
