/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C helpers for what the Rust bindings cannot reach: macros, static inline
 * functions and fields of anonymous unions.
 */
#ifndef _AZIHSM_HELPERS_H
#define _AZIHSM_HELPERS_H

#include <linux/types.h>

struct bio_vec;
struct blk_plug_cb;
struct cdev;
struct completion;
struct cpumask;
struct device;
struct file;
struct ida;
struct inode;
struct io_uring_cmd;
struct iov_iter;
struct page;
struct pci_dev;
struct pid;
struct scatterlist;

/* kapi/chrdev.rs */
struct cdev *azihsm_inode_cdev(const struct inode *inode);
void azihsm_ida_init(struct ida *ida);

/* kapi/wait.rs */
void azihsm_reinit_completion(struct completion *x);
bool azihsm_fatal_signal_pending(void);

/* kapi/task.rs */
struct pid *azihsm_current_tgid(void);
bool azihsm_current_unkillable(void);

/* kapi/mm.rs */
size_t azihsm_num_pages_contiguous(struct page **pages, size_t count);
bool azihsm_page_follows_sg(const struct page *page, struct scatterlist *sg);
struct page *azihsm_sg_page(struct scatterlist *sg);
void azihsm_sg_set_page(struct scatterlist *sg, struct page *page,
			unsigned int len, unsigned int offset);
void azihsm_sg_mark_end(struct scatterlist *sg);
bool azihsm_iov_iter_next(struct iov_iter *iter, unsigned int max,
			  struct bio_vec *next);

/* kapi/mm/bytes.rs */
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

/* kapi/uring.rs */
#define AZIHSM_URING_PDU_SIZE	32

u32 azihsm_uring_cmd_op(const struct io_uring_cmd *cmd);
u32 azihsm_uring_cmd_flags(const struct io_uring_cmd *cmd);
struct file *azihsm_uring_cmd_file(const struct io_uring_cmd *cmd);
const void *azihsm_uring_cmd_payload(const struct io_uring_cmd *cmd);
void *azihsm_uring_cmd_pdu(struct io_uring_cmd *cmd);
bool azihsm_uring_cmd_is_foreign(struct io_uring_cmd *cmd);
unsigned int azihsm_uring_task_flags(void);
void azihsm_uring_cmd_done(struct io_uring_cmd *cmd, s32 ret, u64 res2,
			   bool is_cqe32, unsigned int issue_flags);
int azihsm_uring_cmd_import_fixed(struct io_uring_cmd *cmd, u64 ubuf,
				  unsigned long len, bool write,
				  struct iov_iter *iter,
				  unsigned int issue_flags);
void azihsm_uring_cmd_complete_in_task(struct io_uring_cmd *cmd, bool lazy);

/* Defined in kapi/uring.rs. */
void azihsm_uring_cmd_run(struct io_uring_cmd *cmd, unsigned int issue_flags,
			  bool cancelled);

/* kapi/plug.rs */
bool azihsm_plug_is_open(void);
bool azihsm_plug_add(struct blk_plug_cb *cb);

/* kapi/params.rs */
int azihsm_param_abort_timeout_in_sec(void);
int azihsm_param_num_hsm_slots(void);
int azihsm_param_num_aes_slots(void);
unsigned int azihsm_param_bounce_limit(void);
int azihsm_param_poll_queues(void);
u8 azihsm_param_pf_res_cnt(void);
bool azihsm_param_pf_lvl2_abort_enabled(void);
unsigned int azihsm_param_log_mask(void);

#endif /* _AZIHSM_HELPERS_H */
