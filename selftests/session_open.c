// SPDX-License-Identifier: GPL-2.0
/*
 * Opening sessions when something comes between: other threads, a response
 * that cannot be delivered, SIGKILL. Whatever it is, device and driver agree
 * on who has a session. The names of the rules are those of
 * Documentation/userspace-api/azihsm.rst.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "lib/edge.h"
#include "lib/harness.h"

#define THREADS		8
#define ROUNDS		5
#define KILLS		40

FIXTURE(session_open) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
};

FIXTURE_SETUP(session_open)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
}

FIXTURE_TEARDOWN(session_open)
{
	close(self->fd);
	EXPECT_AT_REST();
}

/* How many sessions can be had on the device now, with new files. */
static int free_sessions(void)
{
	struct hsm_session s;
	int fds[HSM_SESSIONS + 1], n = 0;
	int ret = 0;

	while (!ret && n <= HSM_SESSIONS) {
		fds[n] = hsm_open();
		ret = fds[n] < 0 ? fds[n] : hsm_open_session(fds[n], &s);
		n++;
	}
	for (int i = 0; i < n; i++)
		close(fds[i]);
	return ret == DDI_SESSION_LIMIT_REACHED ? n - 1 : ret;
}

/* A prepared OpenSession, sent when all others are ready. */
struct opener {
	struct ddi_call call;
	struct hsm_session s;
	pthread_barrier_t *barrier;
	int fd;
	int ret;
};

static void *open_together(void *arg)
{
	struct opener *o = arg;

	pthread_barrier_wait(o->barrier);
	o->ret = ddi_exec(o->fd, &o->call);
	return NULL;
}

/* SES-3: of many that open at the same time, one wins. */
TEST_F(session_open, one_of_many)
{
	static struct opener openers[THREADS];
	pthread_t threads[THREADS];
	pthread_barrier_t barrier;

	ASSERT_EQ(0, pthread_barrier_init(&barrier, NULL, THREADS));
	for (int round = 0; round < ROUNDS; round++) {
		int won = 0, refused = 0;

		for (int i = 0; i < THREADS; i++) {
			struct opener *o = &openers[i];

			o->barrier = &barrier;
			o->fd = self->fd;
			ASSERT_EQ(0, hsm_begin_open(o->fd, &o->s, &o->call));
		}
		for (int i = 0; i < THREADS; i++)
			ASSERT_EQ(0, pthread_create(&threads[i], NULL,
						    open_together,
						    &openers[i]));
		for (int i = 0; i < THREADS; i++) {
			const struct azihsm_cp_cmd *cmd = &openers[i].call.cmd;

			pthread_join(threads[i], NULL);
			if (!openers[i].ret)
				won++;
			else if (openers[i].ret == -EINVAL &&
				 cmd->extended_status ==
				 AZIHSM_EXT_SESSION_LIMIT)
				refused++;
		}
		EXPECT_EQ(1, won);
		EXPECT_EQ(THREADS - 1, refused);
		/* The device has that one, and the file has it. */
		EXPECT_EQ(HSM_SESSIONS - 1, free_sessions());
		close(self->fd);
		self->fd = hsm_open();
		ASSERT_LE(0, self->fd);
	}
}

/* Whether the file can open a session, which nobody else has one of. */
static const char *is_free(int fd)
{
	static char why[64];
	struct hsm_session s;
	int ret;

	if (free_sessions() != HSM_SESSIONS)
		return "the device holds a session";
	ret = hsm_open_session(fd, &s);
	if (!ret)
		ret = hsm_close_session(&s);
	if (!ret)
		return NULL;
	snprintf(why, sizeof(why), "the file's next session: %d", ret);
	return why;
}

/* SES-11, CP-20: nobody knows the id of a session whose response is lost. */
TEST_F(session_open, response_not_writable)
{
	struct ddi_call c;

	ASSERT_EQ(0, hsm_begin_open(self->fd, &self->s, &c));
	ddi_cp_init(&c.cmd, AZIHSM_SESSION_OPEN, DDI_NO_SESSION, c.req_buf,
		    c.req.len, (void *)UNMAPPED, sizeof(c.resp_buf));
	EXPECT_EQ(-EFAULT, hsm_cp(self->fd, &c.cmd));
	EXPECT_EQ(AZIHSM_EXT_DST_BUF, c.cmd.extended_status);
	EXPECT_EQ(0, c.cmd.status);
	EXPECT_NO_COMPLAINT(is_free(self->fd));
}

/* SES-11, ALL-4: nor does who is told that the ioctl failed. */
TEST_F(session_open, structure_not_writable)
{
	struct azihsm_cp_cmd *arg;
	struct ddi_call c;
	struct edge e;

	ASSERT_TRUE(edge_alloc(&e, sizeof(c.cmd)));
	ASSERT_EQ(0, hsm_begin_open(self->fd, &self->s, &c));
	ddi_cp_init(&c.cmd, AZIHSM_SESSION_OPEN, DDI_NO_SESSION, c.req_buf,
		    c.req.len, c.resp_buf, sizeof(c.resp_buf));
	arg = edge_put(&e, &c.cmd, sizeof(c.cmd));
	ASSERT_TRUE(edge_protect(&e, PROT_READ));
	EXPECT_EQ(-EFAULT, hsm_cp(self->fd, arg));
	EXPECT_NO_COMPLAINT(is_free(self->fd));
	edge_free(&e);
}

/* SES-8: closing with a response that was lost changes the file's session. */
TEST_F(session_open, close_not_told)
{
	struct ddi_call c;

	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ddi_begin(&c, DDI_OP_CLOSE_SESSION, self->s.id, 0);
	ddi_cp_init(&c.cmd, AZIHSM_SESSION_CLOSE, self->s.id, c.req_buf,
		    c.req.len, (void *)UNMAPPED, sizeof(c.resp_buf));
	EXPECT_EQ(-EFAULT, hsm_cp(self->fd, &c.cmd));
	EXPECT_EQ(AZIHSM_EXT_DST_BUF, c.cmd.extended_status);
	EXPECT_NO_COMPLAINT(is_free(self->fd));
}

/* SES-2: an open that the device refuses opens nothing. */
TEST_F(session_open, refused_by_device)
{
	EXPECT_EQ(DDI_INVALID_APP_CREDENTIALS,
		  hsm_open_session_wrong_pin(self->fd, &self->s));
	EXPECT_NO_COMPLAINT(is_free(self->fd));
}

/*
 * Whether the session of somebody who was killed meanwhile was opened in between:
 * there is one nonce, which is renewed then, and the session is there for a
 * moment.
 */
static bool was_overtaken(int ret)
{
	return ret == DDI_NONCE_MISMATCH || ret == DDI_SESSION_LIMIT_REACHED;
}

/* SES-11: killed at all moments of opening a session. */
TEST_F(session_open, killed_while_opening)
{
	unsigned int killed = 0;

	for (int i = 0; i < KILLS; i++) {
		struct ddi_call c;
		int status;
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (!pid) {
			int fd = hsm_open(), ret;

			/* Everything before it can be done before the race. */
			if (fd < 0 || hsm_begin_open(fd, &self->s, &c))
				_exit(1);
			raise(SIGSTOP);
			ret = ddi_exec(fd, &c);
			_exit(ret && !was_overtaken(ret));
		}
		ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
		ASSERT_TRUE(WIFSTOPPED(status));
		kill(pid, SIGCONT);
		usleep(i * 37);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		if (WIFSIGNALED(status))
			killed++;
		else
			EXPECT_EQ(0, status);
	}
	EXPECT_LT(0, killed);
	/* The command may still be at the device; the session goes with it. */
	for (int ms = 0; ms < 3000 && free_sessions() != HSM_SESSIONS; ms += 50)
		usleep(50000);
	EXPECT_NO_COMPLAINT(is_free(self->fd));
}

int main(int argc, char **argv)
{
	skip_without_device();
	return test_harness_run(argc, argv);
}
