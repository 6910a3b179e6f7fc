// SPDX-License-Identifier: GPL-2.0
/*
 * Sessions: one per open file, eight per device, gone when the file is closed,
 * and of no use to another process.
 */
#include <fcntl.h>
#include <sys/wait.h>

#include "lib/harness.h"

FIXTURE(session) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
};

FIXTURE_SETUP(session)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
}

FIXTURE_TEARDOWN(session)
{
	close(self->fd);
	EXPECT_AT_REST();
}

/* Sends a CloseSession as given; for requests that the driver refuses. */
static int send_close(int fd, unsigned int flags, __u16 id, __u32 *ext)
{
	struct azihsm_cp_cmd cmd;
	struct ddi_call c;
	int ret;

	ddi_begin(&c, DDI_OP_CLOSE_SESSION, id, 0);
	ddi_cp_init(&cmd, flags & AZIHSM_SESSION_KIND_MASK, DDI_NO_SESSION,
		    c.req_buf, c.req.len, c.resp_buf, sizeof(c.resp_buf));
	cmd.session_flags = flags;
	cmd.session_id = id;
	ret = hsm_cp(fd, &cmd);
	*ext = cmd.extended_status;
	return ret;
}

#define CLOSE_VALID	(AZIHSM_SESSION_CLOSE | AZIHSM_SESSION_ID_VALID)
#define IN_VALID	(AZIHSM_SESSION_IN_SESSION | AZIHSM_SESSION_ID_VALID)

/* A small operation that needs the session. */
static int use_session(const struct hsm_session *s)
{
	struct hsm_key key;
	int ret = hsm_generate_key(s, HSM_KEY_AES256, "", HSM_KEY_CIPHER, &key);

	return ret ? ret : hsm_delete_key(s, key.id);
}

/* SES-2, SES-5 */
TEST_F(session, open_use_close)
{
	__u32 ext;

	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	EXPECT_EQ(0, self->s.id);
	EXPECT_EQ(0, use_session(&self->s));
	EXPECT_EQ(0, hsm_close_session(&self->s));
	/* The file has none now. */
	EXPECT_EQ(-EINVAL, send_close(self->fd, CLOSE_VALID, 0, &ext));
	EXPECT_EQ(AZIHSM_EXT_NO_SESSION, ext);
	/* And may open another. */
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	EXPECT_EQ(0, self->s.id);
	EXPECT_EQ(0, use_session(&self->s));
}

/* SES-2 */
TEST_F(session, wrong_credential)
{
	ASSERT_EQ(DDI_INVALID_APP_CREDENTIALS,
		  hsm_open_session_wrong_pin(self->fd, &self->s));
	/* An open that failed leaves the file without a session. */
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	EXPECT_EQ(0, self->s.id);
}

/* SES-3, CP-15 */
TEST_F(session, second_open_refused)
{
	struct azihsm_cp_cmd cmd;
	struct ddi_call c;

	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ddi_begin(&c, DDI_OP_OPEN_SESSION, DDI_NO_SESSION, 0);
	ddi_cp_init(&cmd, AZIHSM_SESSION_OPEN, DDI_NO_SESSION, c.req_buf,
		    c.req.len, c.resp_buf, sizeof(c.resp_buf));
	EXPECT_EQ(-EINVAL, hsm_cp(self->fd, &cmd));
	EXPECT_EQ(AZIHSM_EXT_SESSION_LIMIT, cmd.extended_status);
	EXPECT_EQ(0, cmd.status);
	EXPECT_EQ(0, cmd.byte_count);
	/* The first is as before. */
	EXPECT_EQ(0, use_session(&self->s));
}

/* CP-13, CP-14 */
TEST_F(session, wrong_ids)
{
	__u32 ext;

	/* Without a session. */
	EXPECT_EQ(-EINVAL, send_close(self->fd, CLOSE_VALID, 0, &ext));
	EXPECT_EQ(AZIHSM_EXT_NO_SESSION, ext);
	EXPECT_EQ(-EINVAL, send_close(self->fd, IN_VALID, 0, &ext));
	EXPECT_EQ(AZIHSM_EXT_NO_SESSION, ext);
	EXPECT_EQ(-EINVAL, send_close(self->fd, CLOSE_VALID, 0xffff, &ext));
	EXPECT_EQ(AZIHSM_EXT_NO_SESSION, ext);

	/* With one: another id, or the valid flag clear. */
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	EXPECT_EQ(-EINVAL, send_close(self->fd, CLOSE_VALID, self->s.id + 1,
				      &ext));
	EXPECT_EQ(AZIHSM_EXT_SESSION_MISMATCH, ext);
	EXPECT_EQ(-EINVAL, send_close(self->fd, IN_VALID, self->s.id + 1,
				      &ext));
	EXPECT_EQ(AZIHSM_EXT_SESSION_MISMATCH, ext);
	EXPECT_EQ(-EINVAL, send_close(self->fd, AZIHSM_SESSION_CLOSE,
				      self->s.id, &ext));
	EXPECT_EQ(AZIHSM_EXT_SESSION_MISMATCH, ext);
	EXPECT_EQ(-EINVAL, send_close(self->fd, AZIHSM_SESSION_IN_SESSION,
				      self->s.id, &ext));
	EXPECT_EQ(AZIHSM_EXT_SESSION_MISMATCH, ext);
	EXPECT_EQ(0, use_session(&self->s));
}

/* SES-13 */
TEST_F(session, device_limit)
{
	struct hsm_session s[HSM_SESSIONS + 1];
	int fd[HSM_SESSIONS + 1];

	for (int i = 0; i <= HSM_SESSIONS; i++) {
		fd[i] = hsm_open();
		ASSERT_LE(0, fd[i]);
	}
	for (int i = 0; i < HSM_SESSIONS; i++) {
		ASSERT_EQ(0, hsm_open_session(fd[i], &s[i]));
		/* The lowest free id first. */
		EXPECT_EQ(i, s[i].id);
	}
	ASSERT_EQ(DDI_SESSION_LIMIT_REACHED,
		  hsm_open_session(fd[HSM_SESSIONS], &s[HSM_SESSIONS]));
	for (int i = 0; i < HSM_SESSIONS; i++)
		EXPECT_EQ(0, use_session(&s[i]));

	/* Room for one: whoever asks gets it. */
	ASSERT_EQ(0, hsm_close_session(&s[3]));
	ASSERT_EQ(0, hsm_open_session(fd[HSM_SESSIONS], &s[HSM_SESSIONS]));
	EXPECT_EQ(3, s[HSM_SESSIONS].id);
	EXPECT_EQ(DDI_SESSION_LIMIT_REACHED, hsm_open_session(fd[3], &s[3]));

	for (int i = 0; i <= HSM_SESSIONS; i++)
		close(fd[i]);
}

/* SES-8: closing the file without CloseSession: the driver does it. */
TEST_F(session, flush_on_close)
{
	for (int round = 0; round < HSM_SESSIONS + 2; round++) {
		int fd = hsm_open();

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, hsm_open_session(fd, &self->s));
		EXPECT_EQ(0, self->s.id);
		close(fd);
	}
}

/* SES-12: a duplicate keeps the file, and so the session, open. */
TEST_F(session, duplicate_fd)
{
	int copy;

	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	copy = fcntl(self->fd, F_DUPFD_CLOEXEC, 0);
	ASSERT_LE(0, copy);
	close(self->fd);
	self->s.fd = copy;
	EXPECT_EQ(0, use_session(&self->s));
	close(copy);

	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	EXPECT_EQ(0, self->s.id);
}

/* SES-8: the last close flushes the session, whoever closes. */
TEST_F(session, last_close_in_child)
{
	int pipe_fd[2], status, other;
	struct hsm_session s;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, pipe(pipe_fd));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* The file lives until this process ends. */
		close(pipe_fd[1]);
		_exit(read(pipe_fd[0], &byte, 1) != 0);
	}
	close(pipe_fd[0]);
	close(self->fd);

	other = hsm_open();
	ASSERT_LE(0, other);
	ASSERT_EQ(0, hsm_open_session(other, &s));
	EXPECT_EQ(1, s.id);
	ASSERT_EQ(0, hsm_close_session(&s));

	close(pipe_fd[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* A process that ends does not wait long for the flush. */
	for (int ms = 0; ms < 5000; ms += 50) {
		ASSERT_EQ(0, hsm_open_session(other, &s));
		if (!s.id)
			break;
		ASSERT_EQ(0, hsm_close_session(&s));
		usleep(50000);
	}
	EXPECT_EQ(0, s.id);
	self->fd = other;
}

/*
 * KEY-3: key of one session, used in another session of the same application.
 */
TEST_F(session, keys_of_the_application)
{
	struct hsm_session other;
	struct hsm_key app_key, own_key;
	__u8 iv[16] = { 0 }, msg[16] = { 0 }, out[16];
	int fd = hsm_open();

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, hsm_open_session(fd, &other));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_AES256, "a",
				      HSM_KEY_CIPHER, &app_key));
	ASSERT_EQ(0, hsm_generate_key(&self->s, HSM_KEY_AES256, "b",
				      HSM_KEY_CIPHER | HSM_KEY_SESSION_ONLY,
				      &own_key));
	EXPECT_EQ(0, hsm_cbc(&other, app_key.id, true, iv, msg, out, 16));
	EXPECT_LT(0, hsm_cbc(&other, own_key.id, true, iv, msg, out, 16));
	EXPECT_EQ(0, hsm_cbc(&self->s, own_key.id, true, iv, msg, out, 16));
	/* The session takes its own keys along. */
	ASSERT_EQ(0, hsm_close_session(&self->s));
	EXPECT_EQ(0, hsm_cbc(&other, app_key.id, true, iv, msg, out, 16));
	EXPECT_LT(0, hsm_cbc(&other, own_key.id, true, iv, msg, out, 16));
	close(fd);
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
