/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C helpers for what the Rust bindings cannot reach: macros, static inline
 * functions and fields of anonymous unions.
 */
#ifndef _AZIHSM_HELPERS_H
#define _AZIHSM_HELPERS_H

#include <linux/types.h>

struct cdev;
struct completion;
struct cpumask;
struct device;
struct ida;
struct inode;
struct page;
struct pci_dev;
struct pid;

/* kapi/chrdev.rs */
struct cdev *azihsm_inode_cdev(const struct inode *inode);
void azihsm_ida_init(struct ida *ida);

/* kapi/wait.rs */
void azihsm_reinit_completion(struct completion *x);
bool azihsm_fatal_signal_pending(void);

/* kapi/task.rs */
struct pid *azihsm_current_tgid(void);
bool azihsm_current_exiting(void);

/* kapi/mm.rs */
void azihsm_memzero_page(struct page *page, size_t offset, size_t len);
void azihsm_memcpy_from_page(void *to, struct page *page, size_t offset,
			     size_t len);
void azihsm_memcpy_to_page(struct page *page, size_t offset, const void *from,
			   size_t len);

/* kapi/dma.rs */
unsigned int azihsm_dma_get_max_seg_size(struct device *dev);

/* kapi/uaccess.rs */
bool azihsm_access_ok(unsigned long addr, unsigned long len);
void azihsm_memzero_explicit(void *bytes, size_t len);

/* kapi/irq.rs */
unsigned int azihsm_num_online_cpus(void);
const struct cpumask *azihsm_cpumask_of(unsigned int cpu);
int azihsm_dev_to_node(struct device *dev);

/* kapi/pci.rs */
bool azihsm_pci_restore_msix(struct pci_dev *pdev);

/* kapi/pci/sriov.rs */
int azihsm_pci_enable_sriov(struct pci_dev *pdev, int num);
void azihsm_pci_disable_sriov(struct pci_dev *pdev);
int azihsm_pci_num_vf(struct pci_dev *pdev);
int azihsm_pci_vfs_assigned(struct pci_dev *pdev);

/* kapi/params.rs */
int azihsm_param_abort_timeout_in_sec(void);
int azihsm_param_num_hsm_slots(void);
int azihsm_param_num_aes_slots(void);
unsigned int azihsm_param_bounce_limit(void);
u8 azihsm_param_pf_res_cnt(void);
bool azihsm_param_pf_lvl2_abort_enabled(void);
unsigned int azihsm_param_log_mask(void);

#endif /* _AZIHSM_HELPERS_H */
