// SPDX-License-Identifier: GPL-2.0
/*
 * One mistake each, made on purpose in the debug kernel, to show that its
 * checkers are alive. Never to be loaded anywhere else.
 */

#include <linux/compiler.h>
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

static char *fault = "";
module_param(fault, charp, 0);
MODULE_PARM_DESC(fault, "which mistake to make");

/* KASAN: reads the byte after an allocation. */
static int read_out_of_bounds(void)
{
	const u8 *bytes = kmalloc(16, GFP_KERNEL);

	if (!bytes)
		return -ENOMEM;
	OPTIMIZER_HIDE_VAR(bytes);
	READ_ONCE(bytes[16]);
	kfree(bytes);
	return 0;
}

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);

/* lockdep: takes two locks in both orders, at times when nobody else does. */
static int take_in_both_orders(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);

	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
	return 0;
}

static DEFINE_SPINLOCK(spinning);

/* DEBUG_ATOMIC_SLEEP: could sleep with a spinlock held. */
static int sleep_in_atomic_context(void)
{
	spin_lock(&spinning);
	might_sleep();
	spin_unlock(&spinning);
	return 0;
}

/* DMA_API_DEBUG: gives half of a mapping back. */
static int unmap_a_part(void)
{
	struct platform_device *pdev;
	dma_addr_t address;
	void *bytes;
	int ret;

	pdev = platform_device_register_simple("azihsm_faults", -1, NULL, 0);
	if (IS_ERR(pdev))
		return PTR_ERR(pdev);
	ret = dma_coerce_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		goto unregister;

	bytes = kmalloc(128, GFP_KERNEL);
	if (!bytes) {
		ret = -ENOMEM;
		goto unregister;
	}
	address = dma_map_single(&pdev->dev, bytes, 128, DMA_TO_DEVICE);
	ret = dma_mapping_error(&pdev->dev, address);
	if (!ret)
		dma_unmap_single(&pdev->dev, address, 64, DMA_TO_DEVICE);
	kfree(bytes);
unregister:
	platform_device_unregister(pdev);
	return ret;
}

/* kmemleak: forgets allocations; a single one may be found on an old stack. */
static int forget_memory(void)
{
	int i;

	for (i = 0; i < 256; i++) {
		void *bytes = kmalloc(96, GFP_KERNEL);

		if (!bytes)
			return -ENOMEM;
		OPTIMIZER_HIDE_VAR(bytes);
	}
	return 0;
}

static void *kept[256];

/* kmemleak: keeps allocations that are lost when the module goes. */
static int keep_memory(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kept); i++) {
		kept[i] = kmalloc(96, GFP_KERNEL);
		if (!kept[i])
			return -ENOMEM;
	}
	return 0;
}

static const struct {
	const char *name;
	int (*make)(void);
} faults[] = {
	{ "kasan", read_out_of_bounds },
	{ "lockdep", take_in_both_orders },
	{ "atomic-sleep", sleep_in_atomic_context },
	{ "dma-api", unmap_a_part },
	{ "kmemleak", forget_memory },
	{ "kmemleak-kept", keep_memory },
};

static int __init azihsm_faults_init(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(faults); i++) {
		if (!strcmp(fault, faults[i].name))
			return faults[i].make();
	}
	return -EINVAL;
}
module_init(azihsm_faults_init);

static void __exit azihsm_faults_exit(void)
{
}
module_exit(azihsm_faults_exit);

MODULE_DESCRIPTION("Deliberate mistakes for the debug kernel's checkers");
MODULE_LICENSE("GPL");
