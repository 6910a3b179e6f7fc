// SPDX-License-Identifier: GPL-2.0
/*
 * A device that fails the driver when it is bound: it is refused, or taken as
 * far as it goes, and the next bind finds everything in order.
 */
#include <stdio.h>
#include <unistd.h>

#include "kselftest.h"

#include "lib/emulator.h"
#include "lib/fault.h"
#include "lib/fault_case.h"

/* Longest time for a bind that fails, in milliseconds: twice CAP.TO, and some. */
#define BIND_MS		25000
/* Longest time for a case, in seconds. */
#define CASE_S		100

/* A refusal of all admin commands of an opcode. */
#define REFUSED(opcode)						\
	"{\"class\":\"admin\",\"opcode\":" opcode		\
	",\"what\":{\"refuse\":{\"status\":16391}}}"

/**
 * struct probe_case - a fault and what is expected
 * @name: name of the case
 * @fails: whether the driver must refuse the device
 * @fault: the fault, a JSON object
 */
struct probe_case {
	const char *name;
	bool fails;
	const char *fault;
};

static const struct probe_case cases[] = {
	{ "Identify refused", true, REFUSED("6") },
	{ "Create CQ refused", true, REFUSED("5") },
	{ "Create SQ refused", true, REFUSED("1") },
	{ "Set Features refused", true, REFUSED("9") },
	{ "Get Features refused", false, REFUSED("10") },
	{ "Identify of zeros", false, "{\"what\":{\"identify-fill\":0}}" },
	{ "Identify of ones", false, "{\"what\":{\"identify-fill\":255}}" },
	{ "smallest transfers", false,
	  "{\"what\":{\"identify\":{\"cp-mdts\":{\"set\":0},\"fp-mdts\":{\"set\":0}}}}" },
	{ "impossible entries", false,
	  "{\"what\":{\"identify\":{\"cp-sqes\":{\"set\":255},\"fp-cqes\":{\"set\":0}}}}" },
	{ "more queues than there are", false,
	  "{\"class\":\"admin\",\"opcode\":9,\"what\":"
	  FAULT_FIELD("result", "\"set\":4294967295") "}" },
	{ "capabilities of zeros", true,
	  "{\"what\":{\"registers\":{\"cap-low\":{\"set\":0},\"cap-high\":{\"set\":0}}}}" },
	/* The doorbells are where they are, whatever is said of them. */
	{ "wider doorbells", false,
	  "{\"what\":{\"registers\":{\"cap-high\":{\"add\":1}}}}" },
	{ "gone", true, "{\"what\":\"registers-gone\"}" },
	{ "never ready", true, "{\"what\":{\"ignore-enable\":{}}}" },
	{ "slow to be ready", false,
	  "{\"count\":1,\"what\":{\"ignore-enable\":{\"ms\":3000}}}" },
	{ "fatal status", true,
	  "{\"what\":{\"registers\":{\"csts\":{\"xor\":2}}}}" },
	{ "completions twice", false,
	  "{\"class\":\"admin\",\"what\":{\"duplicate\":{}}}" },
};

static char address[64];
static char why[160];

static int unbind_driver(void)
{
	return hsm_write_file(HSM_DRIVER "/unbind", address);
}

static int bind_driver(void)
{
	return hsm_write_file(HSM_DRIVER "/bind", address);
}

static bool has_node(void)
{
	hsm_rescan();
	return hsm_name();
}

/* Binds the driver to a device with a fault, and removes it again. */
static const char *bad_probe(const struct probe_case *c)
{
	long id = fault_arm(c->fault);
	long long start = now_ms();
	int ret = bind_driver();
	long hits = fault_hits(id);

	if (now_ms() - start > BIND_MS) {
		snprintf(why, sizeof(why), "it took %lld ms", now_ms() - start);
		return why;
	}
	if (has_node() != !ret) {
		snprintf(why, sizeof(why), "bind returned %d, %s node", ret,
			 ret ? "but there is a" : "but there is no");
		return why;
	}
	if (!fault_clear() || (!ret && unbind_driver()))
		return "the device cannot be unbound";
	if (hits < 1)
		return "the fault did not hit";
	if (!ret && c->fails)
		return "the device was taken";
	return NULL;
}

static const char *run(const struct probe_case *c)
{
	static struct world world;
	const char *complaint, *later;
	int ret;

	if (unbind_driver())
		return "the device cannot be unbound";
	complaint = bad_probe(c);
	fault_clear();
	ret = has_node() ? 0 : bind_driver();
	if (ret || !has_node()) {
		snprintf(why, sizeof(why), "the next bind returned %d", ret);
		return why;
	}
	ret = world_init(&world);
	if (ret)
		snprintf(why, sizeof(why), "afterwards: %d (%#x)", ret, ret);
	later = ret ? why : works_again(&world);
	world_close(&world);
	return complaint ? complaint : later;
}

int main(void)
{
	const char *complaint;

	ksft_print_header();
	if (!hsm_name())
		ksft_exit_skip("no azihsm device\n");
	if (!emulator_present())
		ksft_exit_skip("no channel to the emulator\n");
	if (!fault_slow())
		ksft_exit_skip("takes minutes: set AZIHSM_SLOW=1\n");
	snprintf(address, sizeof(address), "%s", hsm_pci_address());
	ksft_set_plan(ARRAY_SIZE(cases) + 1);
	for (int i = 0; i < ARRAY_SIZE(cases); i++) {
		alarm(CASE_S);
		complaint = run(&cases[i]);
		if (complaint)
			ksft_print_msg("%s\n", complaint);
		ksft_test_result(!complaint, "%s\n", cases[i].name);
	}
	complaint = device_at_rest();
	if (complaint)
		ksft_print_msg("%s\n", complaint);
	ksft_test_result(!complaint, "at rest\n");
	ksft_finished();
}
