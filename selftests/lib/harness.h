/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all test programs share: the harness, and SKIP without a device.
 */
#ifndef AZIHSM_HARNESS_H
#define AZIHSM_HARNESS_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "aes.h"
#include "client.h"
#include "ddi.h"
#include "emulator.h"
#include "guarded.h"
#include "hsm.h"
#include "softcrypto.h"

/*
 * Ends the program with SKIP if there is no device that may be opened; prepares
 * what all tests use if there is one.
 */
static inline void skip_without_device(void)
{
	struct hsm_device_info info;
	int fd, ret;

	if (!hsm_name()) {
		ksft_print_header();
		ksft_exit_skip("no azihsm device\n");
	}
	fd = hsm_open();
	if (fd < 0) {
		ksft_print_header();
		if (fd == -EACCES || fd == -EPERM)
			ksft_exit_skip("%s: no permission, run as root\n",
				       hsm_path());
		ksft_exit_fail_msg("%s: %s\n", hsm_path(), strerror(-fd));
	}
	ret = hsm_get_device_info(fd, &info);
	if (!ret && info.kind != HSM_KIND_VIRTUAL) {
		ksft_print_header();
		ksft_exit_skip("%s: not a virtual device\n", hsm_path());
	}
	close(fd);
	softcrypto_warm_up();
}

/* Ends a program that lets the driver go and come back if it may not do so. */
static inline void skip_without_unbind(void)
{
	if (access(HSM_DRIVER "/unbind", W_OK)) {
		ksft_print_header();
		ksft_exit_skip("cannot write to %s\n", HSM_DRIVER "/unbind");
	}
}

/*
 * Where a test begins that draws what it does: AZIHSM_SEED, which repeats what a
 * run did that has told it, or else the clock.
 */
static inline unsigned int harness_seed(void)
{
	const char *text = getenv("AZIHSM_SEED");

	return text ? strtoul(text, NULL, 0) : time(NULL);
}

/* For functions that return NULL, or a text that says what went wrong. */
#define EXPECT_NO_COMPLAINT(call) do {		\
	const char *why_ = (call);		\
						\
	EXPECT_EQ(NULL, why_) {			\
		TH_LOG("%s", why_);		\
	}					\
} while (0)

#define ASSERT_NO_COMPLAINT(call) do {		\
	const char *why_ = (call);		\
						\
	ASSERT_EQ(NULL, why_) {			\
		TH_LOG("%s", why_);		\
	}					\
} while (0)

/* For the end of every teardown; closes the node's files of this process. */
#define EXPECT_AT_REST()	EXPECT_NO_COMPLAINT(device_at_rest())

#endif /* AZIHSM_HARNESS_H */
