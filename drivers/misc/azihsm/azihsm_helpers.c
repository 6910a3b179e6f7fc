// SPDX-License-Identifier: GPL-2.0
/*
 * C helpers for what the Rust bindings cannot reach: macros, static inline
 * functions and fields of anonymous unions.
 */
#include <linux/bvec.h>
#include <linux/cdev.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/msi.h>
#include <linux/pci.h>
#include <linux/pid.h>
#include <linux/scatterlist.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "azihsm_helpers.h"

struct cdev *azihsm_inode_cdev(const struct inode *inode)
{
	return inode->i_cdev;
}

void azihsm_ida_init(struct ida *ida)
{
	ida_init(ida);
}

void azihsm_reinit_completion(struct completion *x)
{
	reinit_completion(x);
}

bool azihsm_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

struct pid *azihsm_current_tgid(void)
{
	return task_tgid(current);
}

bool azihsm_current_unkillable(void)
{
	return current->flags & (PF_EXITING | PF_KTHREAD);
}

/* The page that @offset of contiguous memory from @page on lies in. */
static struct page *page_at(struct page *page, size_t offset)
{
	return pfn_to_page(page_to_pfn(page) + (offset >> PAGE_SHIFT));
}

void azihsm_memzero_page(struct page *page, size_t offset, size_t len)
{
	memzero_page(page_at(page, offset), offset_in_page(offset), len);
}

void azihsm_memcpy_from_page(void *to, struct page *page, size_t offset,
			     size_t len)
{
	memcpy_from_page(to, page_at(page, offset), offset_in_page(offset), len);
}

void azihsm_memcpy_to_page(struct page *page, size_t offset, const void *from,
			   size_t len)
{
	memcpy_to_page(page_at(page, offset), offset_in_page(offset), from, len);
}

size_t azihsm_num_pages_contiguous(struct page **pages, size_t count)
{
	size_t same;

	count = num_pages_contiguous(pages, count);
	for (same = 1; same < count; same++)
		if (!zone_device_pages_have_same_pgmap(pages[same], pages[0]))
			break;
	return same;
}

/* Whether @page is the one behind @last, in memory that can be one piece. */
static bool page_follows(const struct page *page, const struct page *last)
{
	return page_to_pfn(page) == page_to_pfn(last) + 1 &&
	       zone_device_pages_have_same_pgmap(page, last);
}

/* Whether @page comes behind the page that an entry of a list ends in. */
bool azihsm_page_follows_sg(const struct page *page, struct scatterlist *sg)
{
	size_t end = (size_t)sg->offset + sg->length;

	return page_follows(page, page_at(sg_page(sg), end - 1));
}

struct page *azihsm_sg_page(struct scatterlist *sg)
{
	return sg_page(sg);
}

void azihsm_sg_set_page(struct scatterlist *sg, struct page *page,
			unsigned int len, unsigned int offset)
{
	sg_set_page(sg, page, len, offset);
}

void azihsm_sg_mark_end(struct scatterlist *sg)
{
	sg_mark_end(sg);
}

/*
 * The next bytes of an iterator over bio_vecs, which is moved behind them: as many
 * as are contiguous, up to the end of @max bytes of pages. False if there are none.
 */
bool azihsm_iov_iter_next(struct iov_iter *iter, unsigned int max,
			  struct bio_vec *next)
{
	size_t skip = iter->iov_offset, left = iov_iter_count(iter), len = 0;
	const struct page *last;
	const struct bio_vec *bvec;

	if (!iov_iter_is_bvec(iter) || !left)
		return false;
	/* An iterator may stand at the end of an entry, and entries be empty. */
	for (bvec = iter->bvec; skip >= bvec->bv_len; bvec++)
		skip -= bvec->bv_len;
	skip += bvec->bv_offset;
	bvec_set_page(next, page_at(bvec->bv_page, skip), 0,
		      offset_in_page(skip));
	left = min_t(size_t, left, max - next->bv_offset);

	for (;;) {
		size_t end = bvec->bv_offset + bvec->bv_len;
		size_t here = min(end - skip, left - len);

		len += here;
		last = page_at(bvec->bv_page, skip + here - 1);
		if (len == left || !PAGE_ALIGNED(end))
			break;
		do
			bvec++;
		while (!bvec->bv_len);
		skip = bvec->bv_offset;
		if (offset_in_page(skip) ||
		    !page_follows(page_at(bvec->bv_page, skip), last))
			break;
	}
	next->bv_len = len;
	iov_iter_advance(iter, len);
	return true;
}

unsigned int azihsm_dma_get_max_seg_size(struct device *dev)
{
	return dma_get_max_seg_size(dev);
}

bool azihsm_access_ok(unsigned long addr, unsigned long len)
{
	return access_ok((void __user *)addr, len);
}

void azihsm_memzero_explicit(void *bytes, size_t len)
{
	memzero_explicit(bytes, len);
}

unsigned int azihsm_num_online_cpus(void)
{
	return num_online_cpus();
}

const struct cpumask *azihsm_cpumask_of(unsigned int cpu)
{
	return cpumask_of(cpu);
}

int azihsm_dev_to_node(struct device *dev)
{
	return dev_to_node(dev);
}

bool azihsm_pci_restore_msix(struct pci_dev *pdev)
{
	u16 flags;

	if (!pdev->msix_enabled ||
	    pci_read_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS,
				 &flags) ||
	    PCI_POSSIBLE_ERROR(flags) || flags & PCI_MSIX_FLAGS_ENABLE)
		return false;
	pci_restore_msi_state(pdev);
	return true;
}

int azihsm_pci_enable_sriov(struct pci_dev *pdev, int num)
{
	return pci_enable_sriov(pdev, num);
}

void azihsm_pci_disable_sriov(struct pci_dev *pdev)
{
	pci_disable_sriov(pdev);
}

int azihsm_pci_num_vf(struct pci_dev *pdev)
{
	return pci_num_vf(pdev);
}

int azihsm_pci_vfs_assigned(struct pci_dev *pdev)
{
	return pci_vfs_assigned(pdev);
}

/*
 * Module parameters. The Rust module! macro can only make parameters that
 * sysfs does not show, so they live here and Rust reads them through the
 * functions below. Clamping to the documented range is the reader's business:
 * sysfs shows what was asked for.
 */
static int abort_timeout_in_sec = 6;
module_param(abort_timeout_in_sec, int, 0444);
MODULE_PARM_DESC(abort_timeout_in_sec,
		 "Seconds to wait for a command before it is aborted (default and minimum 6)");

static int num_hsm_slots = 16;
module_param(num_hsm_slots, int, 0444);
MODULE_PARM_DESC(num_hsm_slots,
		 "Entries of a control-path queue (default 16, minimum 2)");

static int num_aes_slots = 16;
module_param(num_aes_slots, int, 0444);
MODULE_PARM_DESC(num_aes_slots,
		 "Entries of a fast-path queue (default 16, minimum 2)");

static unsigned int bounce_limit = 4096;
module_param(bounce_limit, uint, 0644);
MODULE_PARM_DESC(bounce_limit,
		 "Largest AES data in bytes that is copied; pages of the caller are pinned for more (default 4096, maximum 8192)");

static int poll_queues;
module_param(poll_queues, int, 0444);
MODULE_PARM_DESC(poll_queues,
		 "Fast-path queues without interrupts, for io_uring rings with IORING_SETUP_IOPOLL (default 0; at least one queue has interrupts)");

static u8 pf_res_cnt = 1;
module_param(pf_res_cnt, byte, 0444);
MODULE_PARM_DESC(pf_res_cnt,
		 "Resources the physical function asks for (default 1, maximum 64, 0 leaves the device's setting)");

static bool pf_lvl2_abort_enabled = true;
module_param(pf_lvl2_abort_enabled, bool, 0444);
MODULE_PARM_DESC(pf_lvl2_abort_enabled,
		 "Let the driver reset the controller of the physical function (default Y)");

static unsigned int log_mask = 7;
module_param(log_mask, uint, 0644);
MODULE_PARM_DESC(log_mask,
		 "What to log, a sum of: 1 errors, 2 warnings, 4 information, 8 debugging (default 7)");

int azihsm_param_abort_timeout_in_sec(void)
{
	return abort_timeout_in_sec;
}

int azihsm_param_num_hsm_slots(void)
{
	return num_hsm_slots;
}

int azihsm_param_num_aes_slots(void)
{
	return num_aes_slots;
}

unsigned int azihsm_param_bounce_limit(void)
{
	return READ_ONCE(bounce_limit);
}

int azihsm_param_poll_queues(void)
{
	return poll_queues;
}

u8 azihsm_param_pf_res_cnt(void)
{
	return pf_res_cnt;
}

bool azihsm_param_pf_lvl2_abort_enabled(void)
{
	return pf_lvl2_abort_enabled;
}

unsigned int azihsm_param_log_mask(void)
{
	return READ_ONCE(log_mask);
}
