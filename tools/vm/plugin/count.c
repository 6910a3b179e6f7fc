// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin for QEMU's TCG: counts the guest instructions that are executed in a
 * range of addresses, for example in one kernel module.
 *
 *   -plugin count.so,from=HEX,to=HEX,socket=PATH
 *
 * Only blocks of code that begin in [from, to) are counted, the rest runs at
 * full speed. A block is counted when it is entered; one that an exception
 * leaves early counts in full. That is rare in kernel code, and figures repeat.
 *
 * PATH is a socket that QEMU makes, for example the other end of a serial port
 * of the guest. Requests and answers are lines:
 *
 *   count FROM TO     executed instructions, in decimal
 *   profile FROM TO   JSON: an array of [address, instructions, times entered],
 *                     one for each block that ran
 *
 * Addresses are hexadecimal. The header of the plugin interface is not packaged
 * by distributions; what is used of it is declared here.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* Version of the plugin interface these declarations belong to. */
EXPORT int qemu_plugin_version = 7;

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;

typedef uint64_t qemu_plugin_id_t;

struct qemu_plugin_u64 {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
};

#define QEMU_PLUGIN_INLINE_ADD_U64 0

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
						  void (*cb)(struct qemu_plugin_tb *, void *),
						  void *userdata);
extern void
qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *tb, int op,
						  struct qemu_plugin_u64 entry, uint64_t imm);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t element_size);
extern uint64_t qemu_plugin_u64_sum(struct qemu_plugin_u64 entry);

/* A power of 2, several times what the code in the range translates to. */
#define BLOCKS (1u << 16)

/* A block of code; its counter is the one with the same index. */
struct block {
	uint64_t address;
	uint64_t instructions;
};

static uint64_t from;
static uint64_t to = UINT64_MAX;
static char socket_path[sizeof(((struct sockaddr_un *)0)->sun_path)];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block blocks[BLOCKS];
static unsigned int used;
static struct qemu_plugin_scoreboard *counters;

static struct qemu_plugin_u64 counter(unsigned int index)
{
	return (struct qemu_plugin_u64) { counters, index * sizeof(uint64_t) };
}

/* Returns the index of a block, the same each time it is translated. */
static int find(uint64_t address, uint64_t instructions)
{
	unsigned int i = (address * 0x9e3779b97f4a7c15u ^ instructions) % BLOCKS;

	while (blocks[i].instructions &&
	       (blocks[i].address != address || blocks[i].instructions != instructions))
		i = (i + 1) % BLOCKS;
	if (!blocks[i].instructions) {
		/* Never full, or the search would not end. */
		if (used >= BLOCKS / 4 * 3)
			return -1;
		used++;
		blocks[i].address = address;
		blocks[i].instructions = instructions;
	}
	return i;
}

static void translated(struct qemu_plugin_tb *tb, void *userdata)
{
	uint64_t address = qemu_plugin_tb_vaddr(tb);
	int index;

	(void)userdata;
	if (address < from || address >= to)
		return;
	pthread_mutex_lock(&lock);
	index = find(address, qemu_plugin_tb_n_insns(tb));
	pthread_mutex_unlock(&lock);
	if (index < 0) {
		fprintf(stderr, "count: too many blocks, figures are wrong\n");
		return;
	}
	qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, QEMU_PLUGIN_INLINE_ADD_U64,
							  counter(index), 1);
}

static void answer(FILE *stream, uint64_t low, uint64_t high, bool profile)
{
	const char *separator = "[";
	uint64_t sum = 0;
	unsigned int i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < BLOCKS; i++) {
		uint64_t entered;

		if (!blocks[i].instructions || blocks[i].address < low ||
		    blocks[i].address >= high)
			continue;
		entered = qemu_plugin_u64_sum(counter(i));
		sum += entered * blocks[i].instructions;
		if (profile && entered) {
			fprintf(stream, "%s[%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]", separator,
				blocks[i].address, blocks[i].instructions, entered);
			separator = ",";
		}
	}
	pthread_mutex_unlock(&lock);
	if (profile)
		fprintf(stream, "%s]\n", *separator == '[' ? "[" : "");
	else
		fprintf(stream, "%" PRIu64 "\n", sum);
	fflush(stream);
}

static void serve(FILE *stream)
{
	char line[128];

	while (fgets(line, sizeof(line), stream)) {
		uint64_t low, high;

		if (sscanf(line, "count %" SCNx64 " %" SCNx64, &low, &high) == 2)
			answer(stream, low, high, false);
		else if (sscanf(line, "profile %" SCNx64 " %" SCNx64, &low, &high) == 2)
			answer(stream, low, high, true);
		else
			fprintf(stream, "unknown request\n");
		fflush(stream);
	}
}

/* QEMU makes the socket after it has loaded its plugins. */
static void *connect_and_serve(void *arg)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(address.sun_path, socket_path);
	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		FILE *stream;

		if (fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof(address))) {
			stream = fdopen(fd, "r+");
			if (stream) {
				serve(stream);
				fclose(stream);
				return arg;
			}
		}
		if (fd >= 0)
			close(fd);
		usleep(20000);
	}
}

static bool option(const char *arg, const char *name, const char **value)
{
	size_t len = strlen(name);

	if (strncmp(arg, name, len) || arg[len] != '=')
		return false;
	*value = arg + len + 1;
	return true;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	pthread_t thread;
	const char *value;
	int i;

	(void)info;
	for (i = 0; i < argc; i++) {
		if (option(argv[i], "from", &value)) {
			from = strtoull(value, NULL, 16);
		} else if (option(argv[i], "to", &value)) {
			to = strtoull(value, NULL, 16);
		} else if (option(argv[i], "socket", &value) &&
			   strlen(value) < sizeof(socket_path)) {
			strcpy(socket_path, value);
		} else {
			fprintf(stderr, "count: bad argument %s\n", argv[i]);
			return -1;
		}
	}
	counters = qemu_plugin_scoreboard_new(BLOCKS * sizeof(uint64_t));
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated, NULL);
	if (*socket_path && pthread_create(&thread, NULL, connect_and_serve, NULL))
		return -1;
	return 0;
}
