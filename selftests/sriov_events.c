// SPDX-License-Identifier: GPL-2.0
/*
 * What happens to virtual functions, and to their neighbours: they are shrunk
 * at work, unbound, and their physical function is reset and unbound.
 */
#include <pthread.h>
#include <stdio.h>

#include "lib/aer.h"
#include "lib/fault.h"
#include "lib/gone.h"
#include "lib/harness.h"
#include "lib/rungs.h"
#include "lib/vf.h"

#define VFS	2

FIXTURE(sriov_events) {
	int mgmt;
	struct vf vf[VFS];
};

FIXTURE_SETUP(sriov_events)
{
	self->mgmt = vf_topology_begin(self->vf, VFS);
	ASSERT_LE(0, self->mgmt);
}

FIXTURE_TEARDOWN(sriov_events)
{
	vf_topology_end(self->mgmt, self->vf, VFS);
}

/* What a thread does on a function until it is told to stop. */
struct load {
	const struct vf *vf;
	bool stop;
	unsigned long good;
	const char *why;
};

static void *load(void *arg)
{
	struct load *l = arg;

	while (!__atomic_load_n(&l->stop, __ATOMIC_RELAXED) && !l->why) {
		l->why = vf_encrypt(l->vf, 2048);
		if (!l->why)
			__atomic_add_fetch(&l->good, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static unsigned long load_good(struct load *l)
{
	return __atomic_load_n(&l->good, __ATOMIC_RELAXED);
}

/* Waits until the load did some more. */
static bool load_goes_on(struct load *l)
{
	unsigned long before = load_good(l);

	for (int ms = 0; ms < PF_PATIENCE_MS; ms += 20) {
		if (load_good(l) > before + 2)
			return true;
		usleep(20000);
	}
	return false;
}

TEST_F_TIMEOUT(sriov_events, shrunk_at_work, 120)
{
	struct vf *a = &self->vf[0], *b = &self->vf[1];
	struct load loads[VFS] = { { .vf = a }, { .vf = b } };
	pthread_t threads[VFS];

	ASSERT_EQ(0, vf_start(a, 0, 4));
	ASSERT_EQ(0, vf_start(b, 1, 2));
	for (unsigned int i = 0; i < VFS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, load,
					    &loads[i]));
	EXPECT_TRUE(load_goes_on(&loads[0]));
	EXPECT_TRUE(load_goes_on(&loads[1]));

	ASSERT_EQ(0, mgmt_set_resources(self->mgmt, 0, 1, NULL));
	/* Whoever used the function is told, soon. */
	pthread_join(threads[0], NULL);
	EXPECT_NE(NULL, loads[0].why);
	EXPECT_TRUE(load_goes_on(&loads[1]));
	/* It is back with what it was left. */
	ASSERT_EQ(0, vf_use(0));
	ASSERT_EQ(0, vf_wait_usable());
	EXPECT_EQ(1, mgmt_get_resources(self->mgmt, 0, NULL));
	ASSERT_EQ(0, vf_restart(a, 0));
	EXPECT_NO_COMPLAINT(vf_encrypt(a, 65536));
	/* And grows again. */
	ASSERT_EQ(0, vf_give(0, 4));
	ASSERT_EQ(0, vf_restart(a, 0));
	EXPECT_NO_COMPLAINT(vf_encrypt(a, 65536));

	EXPECT_TRUE(load_goes_on(&loads[1]));
	__atomic_store_n(&loads[1].stop, true, __ATOMIC_RELAXED);
	pthread_join(threads[1], NULL);
	EXPECT_EQ(NULL, loads[1].why) {
		TH_LOG("%s", loads[1].why);
	}
}

/* The device says late who it is, while it is given other resources again. */
#define IDENTIFIED_LATE	\
	"{\"function\":1,\"class\":\"admin\",\"opcode\":6,\"count\":1,\"what\":{\"delay\":{\"ms\":1000}}}"

/*
 * The device disables a function that is just being brought up: whatever the
 * driver writes to its registers then, that does not bring it to life halfway.
 */
TEST_F_TIMEOUT(sriov_events, changed_while_it_starts, 60)
{
	struct vf *vf = &self->vf[0];
	long id;

	if (!emulator_present())
		SKIP(return, "no channel to the emulator");
	ASSERT_EQ(0, vf_start(vf, 0, 1));
	id = fault_arm(IDENTIFIED_LATE);
	ASSERT_LE(0, id);
	ASSERT_EQ(0, mgmt_set_resources(self->mgmt, 0, 2, NULL));
	for (int ms = 0; ms < PF_PATIENCE_MS && fault_hits(id) < 1; ms += 10)
		usleep(10000);
	ASSERT_EQ(1, fault_hits(id));
	ASSERT_EQ(0, mgmt_set_resources(self->mgmt, 0, 3, NULL));
	ASSERT_TRUE(fault_clear());

	ASSERT_EQ(0, vf_wait_usable());
	EXPECT_EQ(3, mgmt_get_resources(self->mgmt, 0, NULL));
	ASSERT_EQ(0, vf_restart(vf, 0));
	EXPECT_NO_COMPLAINT(vf_encrypt(vf, 4096));
	EXPECT_AT_REST();
}

/* The controller of the physical function is reset: no other's business. */
TEST_F_TIMEOUT(sriov_events, pf_controller_reset, 120)
{
	static const __u32 kinds[] = { AZIHSM_RESET_NSSR, AZIHSM_RESET_CTRL };
	struct vf *a = &self->vf[0], *b = &self->vf[1];
	int fd;

	ASSERT_EQ(0, vf_start(a, 0, 3));
	ASSERT_EQ(0, vf_start(b, 1, 2));
	ASSERT_EQ(0, pf_use_node(pf_address()));
	fd = hsm_open();
	ASSERT_LE(0, fd);
	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++) {
		EXPECT_EQ(0, hsm_reset(fd, kinds[i]));
		EXPECT_EQ(3, mgmt_get_resources(self->mgmt, 0, NULL));
		EXPECT_EQ(2, mgmt_get_resources(self->mgmt, 1, NULL));
		EXPECT_NO_COMPLAINT(vf_encrypt(a, 4096));
		EXPECT_NO_COMPLAINT(vf_encrypt(b, 4096));
	}
	close(fd);
}

/* Waits until virtual functions have so many resources each. */
static const char *resources_are_back(int mgmt, const int resources[VFS])
{
	static char why[64];

	/* The driver may find out a little later that they were lost. */
	for (unsigned int i = 0; i < VFS; i++) {
		int ret = mgmt_get_resources(mgmt, i, NULL);

		for (int ms = 0; ret != resources[i] && ms < PF_PATIENCE_MS;
		     ms += 50) {
			usleep(50000);
			ret = mgmt_get_resources(mgmt, i, NULL);
		}
		if (ret != resources[i]) {
			snprintf(why, sizeof(why), "resources of %u: %d", i,
				 ret);
			return why;
		}
	}
	return NULL;
}

/* The virtual function is back, under its old node, and without its session. */
static const char *starts_over(struct vf *vf, unsigned int index)
{
	const char *why;

	if (vf_use(index) || vf_wait_usable())
		return "not usable";
	why = session_gone(&vf->s);
	vf->fd = -1;
	if (!why && vf_restart(vf, index))
		why = "nothing can be made anew";
	return why ? why : vf_encrypt(vf, 4096);
}

/*
 * SES-16: the physical function is reset through PCI, which takes everything
 * from everybody. The driver gives the virtual functions back what they had.
 */
TEST_F_TIMEOUT(sriov_events, pf_function_reset, 120)
{
	static const int resources[VFS] = { 3, 2 };
	char path[128];

	for (unsigned int i = 0; i < VFS; i++)
		ASSERT_EQ(0, vf_start(&self->vf[i], i, resources[i]));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/reset",
		 pf_address());
	ASSERT_EQ(0, hsm_write_file(path, "1"));
	EXPECT_NO_COMPLAINT(resources_are_back(self->mgmt, resources));

	/* The virtual functions are back, under their old nodes. */
	for (unsigned int i = 0; i < VFS; i++)
		EXPECT_NO_COMPLAINT(starts_over(&self->vf[i], i));
	/* And those that are made anew have what they had, too. */
	ASSERT_EQ(0, pf_set_vfs(0));
	ASSERT_EQ(0, pf_set_vfs(VFS));
	EXPECT_EQ(3, mgmt_get_resources(self->mgmt, 0, NULL));
	EXPECT_EQ(2, mgmt_get_resources(self->mgmt, 1, NULL));
}

/* Has the function at this PCI address given up. */
static const char *give_up(const char *address)
{
	const char *why;
	int fd;

	if (pf_use_node(address))
		return "no node";
	fd = hsm_open();
	why = controller_give_up(fd);
	close(fd);
	return why;
}

/* Waits until the function at this PCI address works. */
static const char *comes_back(const char *address)
{
	static char why[64];
	struct azihsm_dev_info info;
	int fd, ret = pf_use_node(address);

	if (ret)
		return "no node";
	fd = hsm_open();
	for (int ms = 0; ms < PF_PATIENCE_MS; ms += 20) {
		ret = hsm_dev_info(fd, &info);
		if (!ret)
			break;
		usleep(20000);
	}
	close(fd);
	if (!ret)
		return NULL;
	snprintf(why, sizeof(why), "%s does not come back: %d", address, ret);
	return why;
}

/* What the kernel says about the link, and when it is done with an error. */
#define LINK_RESET	"link has been reset"
#define RECOVERED	"device recovery"

/*
 * The first virtual function crashes, and the link has an error that is not
 * fatal: so it is reset. False if the watchdog was faster, or nothing happens.
 */
static bool crash_resets_the_link(void)
{
	int reset = log_open(), recovered = log_open();
	bool was_reset = false;

	if (fault_arm("{\"function\":1,\"what\":\"crash\"}") < 0 ||
	    aer_inject(pf_address(), 0, AER_COMPLETION_TIMEOUT))
		goto out;
	for (int ms = 0; ms < PF_PATIENCE_MS; ms += 20) {
		if (log_count(recovered, RECOVERED)) {
			was_reset = log_count(reset, LINK_RESET);
			break;
		}
		usleep(20000);
	}
out:
	close(reset);
	close(recovered);
	return fault_clear() && was_reset;
}

FIXTURE(link_reset) {
	int mgmt;
	struct vf vf[VFS];
};

/* Which function was given up before, if any. */
FIXTURE_VARIANT(link_reset) {
	bool pf;
	bool vf;
};

FIXTURE_VARIANT_ADD(link_reset, all_live) {
};

FIXTURE_VARIANT_ADD(link_reset, pf_given_up) {
	.pf = true,
};

FIXTURE_VARIANT_ADD(link_reset, vf_given_up) {
	.vf = true,
};

FIXTURE_SETUP(link_reset)
{
	self->mgmt = vf_topology_begin(self->vf, VFS);
	ASSERT_LE(0, self->mgmt);
}

/* Functions that are given up until they are bound anew are not left behind. */
FIXTURE_TEARDOWN(link_reset)
{
	vf_topology_end(self->mgmt, self->vf, VFS);
	hsm_write_file(HSM_DRIVER "/unbind", pf_address());
	EXPECT_EQ(0, hsm_write_file(HSM_DRIVER "/bind", pf_address()));
}

/*
 * SES-16: one function asks for a reset of the link, and all are told that it was
 * reset. Those that asked for nothing, and those that were given up, come back,
 * too.
 */
TEST_F_TIMEOUT(link_reset, of_all_functions, 180)
{
	static const int resources[VFS] = { 3, 2 };
	bool reset = false;

	if (!emulator_present() || !aer_present())
		SKIP(return, "no channel to the emulator, or no aer_inject");
	for (unsigned int i = 0; i < VFS; i++)
		ASSERT_EQ(0, vf_start(&self->vf[i], i, resources[i]));
	if (variant->pf)
		ASSERT_NO_COMPLAINT(give_up(pf_address()));
	if (variant->vf)
		ASSERT_NO_COMPLAINT(give_up(self->vf[VFS - 1].address));
	for (int i = 0; i < 5 && !reset; i++)
		reset = crash_resets_the_link();
	ASSERT_TRUE(reset);

	EXPECT_NO_COMPLAINT(comes_back(pf_address()));
	EXPECT_NO_COMPLAINT(resources_are_back(self->mgmt, resources));
	for (unsigned int i = 0; i < VFS; i++) {
		EXPECT_NO_COMPLAINT(comes_back(self->vf[i].address));
		EXPECT_NO_COMPLAINT(starts_over(&self->vf[i], i));
	}
	EXPECT_AT_REST();
}

TEST_F_TIMEOUT(sriov_events, pf_unbound, 120)
{
	struct vf *a = &self->vf[0];
	struct azihsm_dev_info info;

	ASSERT_EQ(0, vf_start(a, 0, 3));
	close(self->mgmt);
	ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/unbind", pf_address()));
	/* Nobody may have virtual functions without a physical one. */
	EXPECT_EQ(0, pf_num_vfs());
	EXPECT_EQ(-ENODEV, hsm_dev_info(a->fd, &info));
	vf_close(a);

	ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/bind", pf_address()));
	ASSERT_EQ(0, pf_set_vfs(VFS));
	self->mgmt = pf_mgmt_open();
	ASSERT_LE(0, self->mgmt);
	/* The device has kept what it was given. */
	EXPECT_EQ(3, mgmt_get_resources(self->mgmt, 0, NULL));
	ASSERT_EQ(0, vf_start(a, 0, 3));
	EXPECT_NO_COMPLAINT(vf_encrypt(a, 4096));
}

/* Only one of the functions is unbound. */
TEST_F_TIMEOUT(sriov_events, vf_unbound, 120)
{
	struct vf *a = &self->vf[0], *b = &self->vf[1];

	ASSERT_EQ(0, vf_start(a, 0, 1));
	ASSERT_EQ(0, vf_start(b, 1, 1));
	for (int i = 0; i < 3; i++) {
		vf_close(a);
		ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/unbind", a->address));
		EXPECT_NO_COMPLAINT(vf_encrypt(b, 4096));
		ASSERT_EQ(0, hsm_write_file(HSM_DRIVER "/bind", a->address));
		ASSERT_EQ(0, vf_restart(a, 0));
		EXPECT_NO_COMPLAINT(vf_encrypt(a, 4096));
	}
}

int main(int argc, char **argv)
{
	int fd = pf_mgmt_open();

	if (fd < 0 || pf_total_vfs() < VFS) {
		ksft_print_header();
		ksft_exit_skip("no physical function with %u virtual ones\n",
			       VFS);
	}
	close(fd);
	/* For whoever comes next. */
	pf_no_vfs_at_exit();
	return test_harness_run(argc, argv);
}
