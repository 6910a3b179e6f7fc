// SPDX-License-Identifier: GPL-2.0
/*
 * Files that come to other processes, and programs: by fork(), over a socket,
 * through execve(). The names of the rules are those of
 * Documentation/userspace-api/azihsm.rst.
 */
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "lib/harness.h"

/* What main() does when it is the program that was executed. */
#define IN_SESSION	"--in-session"

FIXTURE(session_share) {
	int fd;
	struct hsm_partition part;
	struct hsm_session s;
};

FIXTURE_SETUP(session_share)
{
	self->fd = hsm_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hsm_provision(self->fd, &self->part));
}

FIXTURE_TEARDOWN(session_share)
{
	close(self->fd);
	EXPECT_AT_REST();
}

/* A small operation that needs the session. */
static int use_session(const struct hsm_session *s)
{
	struct hsm_key key;
	int ret = hsm_generate_key(s, HSM_KEY_AES256, "", HSM_KEY_CIPHER, &key);

	return ret ? ret : hsm_delete_key(s, key.id);
}

/* The lowest id that the device has left. */
static int next_id(void)
{
	struct hsm_session s;
	int fd = hsm_open();
	int ret;

	if (fd < 0)
		return fd;
	ret = hsm_open_session(fd, &s);
	close(fd);
	return ret ? -1 : s.id;
}

/* Waits for the flush of a session whose process ended with the file open. */
static int next_id_soon(int want)
{
	int id = next_id();

	for (int ms = 0; ms < 5000 && id != want; ms += 50) {
		usleep(50000);
		id = next_id();
	}
	return id;
}

/* How a child ended: its exit code, or -1. */
static int exit_code(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* SES-8, SES-12: a child's end is not the end of the file. */
TEST_F(session_share, child_that_ends)
{
	pid_t pid;

	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(use_session(&self->s) == -EACCES ? 0 : 1);
	EXPECT_EQ(0, exit_code(pid));
	EXPECT_EQ(0, use_session(&self->s));
	EXPECT_EQ(1, next_id());
}

static bool send_fd(int socket, int fd)
{
	char control[CMSG_SPACE(sizeof(fd))] = { 0 };
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	return sendmsg(socket, &msg, 0) == 1;
}

static int receive_fd(int socket)
{
	char control[CMSG_SPACE(sizeof(int))];
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	int fd = -1;

	if (recvmsg(socket, &msg, 0) != 1)
		return -1;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

/* ALL-8, SES-8, SES-12: a file that was sent to somebody else. */
TEST_F(session_share, sent_over_a_socket)
{
	int sockets[2];
	char byte;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct hsm_session s = { 0 };

		close(sockets[0]);
		close(self->fd);
		s.fd = receive_fd(sockets[1]);
		if (s.fd < 0 || use_session(&s) != -EACCES)
			_exit(1);
		/* Tell that it is here, and keep it until the word comes. */
		if (write(sockets[1], "r", 1) != 1 ||
		    read(sockets[1], &byte, 1) != 1)
			_exit(2);
		_exit(use_session(&s) == -EACCES ? 0 : 3);
	}
	close(sockets[1]);
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_EQ(0, self->s.id);
	ASSERT_TRUE(send_fd(sockets[0], self->fd));
	ASSERT_EQ(1, read(sockets[0], &byte, 1));
	EXPECT_EQ(0, use_session(&self->s));
	/* The session lives as long as the file does. */
	close(self->fd);
	EXPECT_EQ(1, next_id());
	ASSERT_EQ(1, write(sockets[0], "e", 1));
	EXPECT_EQ(0, exit_code(pid));
	EXPECT_EQ(0, next_id_soon(0));
}

/* SES-8, SES-12: a file in a message that nobody receives. */
TEST_F(session_share, never_received)
{
	int sockets[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	ASSERT_EQ(0, hsm_open_session(self->fd, &self->s));
	ASSERT_TRUE(send_fd(sockets[0], self->fd));
	close(self->fd);
	EXPECT_EQ(1, next_id());
	close(sockets[0]);
	close(sockets[1]);
	EXPECT_EQ(0, next_id());
}

/* ALL-10: the program after execve() is still the process that opened. */
TEST_F(session_share, kept_through_exec)
{
	char fd_text[16], id_text[16];
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		int fd = hsm_open();

		if (fd < 0 || hsm_open_session(fd, &self->s) ||
		    fcntl(fd, F_SETFD, 0))
			_exit(100);
		snprintf(fd_text, sizeof(fd_text), "%d", fd);
		snprintf(id_text, sizeof(id_text), "%u", self->s.id);
		execl("/proc/self/exe", "session_share", IN_SESSION, fd_text,
		      id_text, NULL);
		_exit(101);
	}
	EXPECT_EQ(0, exit_code(pid));
	EXPECT_EQ(0, next_id_soon(0));
}

/* SES-8: a file that is closed on execve() takes its session along. */
TEST_F(session_share, closed_by_exec)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		int fd = hsm_open();

		if (fd < 0 || hsm_open_session(fd, &self->s))
			_exit(100);
		execl("/proc/self/exe", "session_share", IN_SESSION, "-1", "0",
		      NULL);
		_exit(101);
	}
	/* No such file. */
	EXPECT_EQ(EBADF, exit_code(pid));
	EXPECT_EQ(0, next_id_soon(0));
}

static void *open_in_thread(void *arg)
{
	struct hsm_session *s = arg;

	s->fd = hsm_open();
	if (s->fd < 0 || hsm_open_session(s->fd, s))
		return "failed";
	return NULL;
}

/* ALL-9: threads share what any of them opened, even when it is gone. */
TEST_F(session_share, opened_by_a_thread)
{
	pthread_t thread;
	void *why;

	ASSERT_EQ(0, pthread_create(&thread, NULL, open_in_thread, &self->s));
	ASSERT_EQ(0, pthread_join(thread, &why));
	ASSERT_EQ(NULL, why);
	EXPECT_EQ(0, use_session(&self->s));
	close(self->s.fd);
	EXPECT_EQ(0, next_id());
}

/* ALL-13: a process that gave up all privileges after it opened. */
TEST_F(session_share, without_privileges)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		struct azihsm_dev_info info;
		int fd = hsm_open();

		if (fd < 0 || setgroups(0, NULL) || setgid(65534) ||
		    setuid(65534))
			_exit(100);
		if (hsm_open() >= 0)
			_exit(1);
		if (hsm_dev_info(fd, &info))
			_exit(2);
		if (hsm_reset(fd, AZIHSM_RESET_CTRL))
			_exit(3);
		if (hsm_establish(fd, &self->part) ||
		    hsm_open_session(fd, &self->s))
			_exit(4);
		_exit(use_session(&self->s) ? 5 : 0);
	}
	EXPECT_EQ(0, exit_code(pid));
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], IN_SESSION)) {
		struct hsm_session s = {
			.fd = atoi(argv[2]),
			.id = atoi(argv[3]),
		};
		int ret = use_session(&s);

		return ret < 0 ? -ret : !!ret;
	}
	skip_without_device();
	return test_harness_run(argc, argv);
}
