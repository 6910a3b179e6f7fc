// SPDX-License-Identifier: GPL-2.0
/*
 * What the tests of recovery share.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "aes.h"
#include "ddi.h"
#include "fault.h"
#include "hsm.h"
#include "rungs.h"

/* Longest wait for a reset that is under way. */
#define WAIT_MS		60000
#define LINE_MAX	2048

int client_open(struct client *c)
{
	int ret;

	memset(c, 0, sizeof(*c));
	hsm_use_processor(0);
	if (!fault_clear())
		return -EIO;
	c->fd = hsm_open();
	if (c->fd < 0)
		return c->fd;
	ret = hsm_provision(c->fd, &c->part);
	if (!ret)
		ret = hsm_open_session(c->fd, &c->s);
	if (!ret)
		ret = hsm_generate_key(&c->s, HSM_KEY_GCM_UNAPPROVED, "key",
				       HSM_KEY_CIPHER, &c->key);
	return ret ? ret : client_look(c);
}

void client_close(struct client *c)
{
	fault_clear();
	if (c->fd > 0)
		close(c->fd);
}

int client_look(struct client *c)
{
	struct azihsm_dev_info info = { .argsz = sizeof(info) };
	int ret = hsm_dev_info(c->fd, &info);

	memcpy(c->entropy, info.device_entropy, sizeof(c->entropy));
	return ret;
}

static bool is_new(const struct client *c, int *ret)
{
	struct azihsm_dev_info info = { .argsz = sizeof(info) };

	*ret = hsm_dev_info(c->fd, &info);
	return !*ret && memcmp(info.device_entropy, c->entropy,
			       sizeof(c->entropy));
}

bool client_was_reset(const struct client *c)
{
	for (int ms = 0; ms < WAIT_MS; ms += 10) {
		int ret;
		bool fresh = is_new(c, &ret);

		if (ret != -EAGAIN)
			return fresh;
		usleep(10000);
	}
	return false;
}

bool client_waits_for_reset(const struct client *c, int ms)
{
	long long end = busy_now_ms() + ms;
	int ret;

	do {
		if (is_new(c, &ret))
			return true;
		usleep(5000);
	} while (busy_now_ms() < end);
	return false;
}

int client_encrypt(const struct client *c, struct azihsm_aes *cmd,
		   long long *took_ms)
{
	static __u8 text[64], out[64];
	long long start = busy_now_ms();
	int ret;

	gcm_init(cmd, &c->s, AZIHSM_AES_ENCRYPT, c->key.bulk_id, 0, text, out,
		 sizeof(text));
	ret = hsm_gcm(c->fd, cmd);
	*took_ms = busy_now_ms() - start;
	return ret;
}

int reset_status(int fd, __u32 *status)
{
	struct azihsm_reset reset = {
		.hdr.size = sizeof(reset),
		.abort_type = AZIHSM_RESET_CTRL,
	};
	int ret = ioctl(fd, AZIHSM_IOC_RESET, &reset);

	*status = reset.abort_sts;
	return ret ? -errno : 0;
}

/* Identify fails: the controller is ready, and cannot be used. */
#define NOT_IDENTIFIED							\
	"{\"function\":%u,\"class\":\"admin\",\"opcode\":6,"	\
	"\"what\":{\"refuse\":{\"status\":6}}}"

const char *controller_give_up(int fd)
{
	struct azihsm_dev_info info;
	char fault[128];
	int ret = hsm_dev_info(fd, &info);

	if (ret)
		return "the controller does not work";
	snprintf(fault, sizeof(fault), NOT_IDENTIFIED, info.ctrl_id);
	if (fault_arm(fault) < 0)
		return "no channel to the emulator";
	ret = hsm_reset(fd, AZIHSM_RESET_CTRL);
	if (!fault_clear())
		return "no channel to the emulator";
	if (!ret || hsm_dev_info(fd, &info) != -EIO)
		return "the controller is not given up";
	return NULL;
}

int log_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

unsigned int log_count(int log, const char *text)
{
	char line[LINE_MAX];
	unsigned int lines = 0;
	ssize_t len;

	while ((len = read(log, line, sizeof(line) - 1)) > 0 ||
	       (len < 0 && errno == EPIPE)) {
		/* Older lines were overwritten. */
		if (len < 0)
			continue;
		line[len] = 0;
		if (strstr(line, text))
			lines++;
	}
	return lines;
}
