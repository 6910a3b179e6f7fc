// SPDX-License-Identifier: GPL-2.0
/*
 * Makes virtual functions out of plain ones. For tests only.
 *
 * A hypervisor that passes a physical function through may show the SR-IOV
 * capability of it in no list, although its registers are there, and the
 * virtual functions as plain functions of the same slot that are always
 * present. This module stands between the PCI core and the configuration
 * space of that bus and shows what the hardware would:
 *
 * - the capability is linked to the end of the physical function's list;
 * - a virtual function is absent while VF Enable is clear or its number is not
 *   less than NumVFs, and its configuration space is that of a virtual
 *   function: no vendor, no BARs, no memory enable;
 * - on VF Enable and VF MSE, the BARs of the plain functions are set to where
 *   the VF BARs of the capability say.
 *
 * Load it before the driver of the physical function, with its address:
 * modprobe sriov_shim pf=0000:01:00.0
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/pci.h>

static char *pf = "0000:01:00.0";
module_param(pf, charp, 0444);
MODULE_PARM_DESC(pf, "Address of the physical function (default 0000:01:00.0)");

/**
 * struct shim - a physical function and its virtual functions
 * @bus: the bus they are on
 * @real: accessors of the bus as they were
 * @shown: accessors that the PCI core uses instead
 * @pf: the physical function
 * @cap: position of its SR-IOV capability
 * @last: position of the last capability of its list
 * @first: the first virtual function
 * @stride: distance of virtual functions
 * @total: number of virtual functions that there can be
 * @bar_size: size of each VF BAR, 0 if there is none
 * @bar_64: whether a VF BAR has 64 bits, and so takes the next register as well
 * @msix: position of the MSI-X capability of virtual functions, or 0
 * @lock: protects the rest, and the functions' BARs
 * @control: SR-IOV control register as it was acted on last
 * @enabled: number of virtual functions that are present
 */
struct shim {
	struct pci_bus *bus;
	struct pci_ops *real;
	struct pci_ops shown;
	unsigned int pf;
	int cap;
	int last;
	unsigned int first;
	unsigned int stride;
	unsigned int total;
	u32 bar_size[PCI_SRIOV_NUM_BARS];
	bool bar_64[PCI_SRIOV_NUM_BARS];
	int msix;
	raw_spinlock_t lock;
	u16 control;
	unsigned int enabled;
};

static struct shim shim;

static u32 real_read(unsigned int devfn, int where, int size)
{
	u32 value = ~0;

	shim.real->read(shim.bus, devfn, where, size, &value);
	return value;
}

static void real_write(unsigned int devfn, int where, int size, u32 value)
{
	shim.real->write(shim.bus, devfn, where, size, value);
}

static unsigned int vf_devfn(unsigned int i)
{
	return shim.first + i * shim.stride;
}

/* Number of the virtual function, or -1. */
static int vf_number(unsigned int devfn)
{
	unsigned int i;

	for (i = 0; i < shim.total; i++)
		if (vf_devfn(i) == devfn)
			return i;
	return -1;
}

static bool vf_present(unsigned int i)
{
	return i < READ_ONCE(shim.enabled);
}

/* Address of VF BAR @bar of the first virtual function. */
static u64 vf_bar_address(int bar)
{
	int where = shim.cap + PCI_SRIOV_BAR + 4 * bar;
	u64 address;

	address = real_read(shim.pf, where, 4) & PCI_BASE_ADDRESS_MEM_MASK;
	if (shim.bar_64[bar])
		address |= (u64)real_read(shim.pf, where + 4, 4) << 32;
	return address;
}

/* Puts a virtual function where the VF BARs say. */
static void place_vf(unsigned int i)
{
	unsigned int devfn = vf_devfn(i);
	int bar;

	for (bar = 0; bar < PCI_SRIOV_NUM_BARS; bar++) {
		int where = PCI_BASE_ADDRESS_0 + 4 * bar;
		u64 address;

		if (!shim.bar_size[bar])
			continue;
		address = vf_bar_address(bar) + (u64)i * shim.bar_size[bar];
		real_write(devfn, where, 4, lower_32_bits(address));
		if (shim.bar_64[bar])
			real_write(devfn, where + 4, 4, upper_32_bits(address));
	}
}

/* Brings the plain functions in line with the physical function's registers. */
static void follow_control(void)
{
	unsigned int i, num;
	u16 control;

	control = real_read(shim.pf, shim.cap + PCI_SRIOV_CTRL, 2);
	if (control == U16_MAX)
		control = 0;
	if (!((control ^ shim.control) &
	      (PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE)))
		return;
	shim.control = control;
	num = real_read(shim.pf, shim.cap + PCI_SRIOV_NUM_VF, 2);
	if (!(control & PCI_SRIOV_CTRL_VFE))
		num = 0;
	WRITE_ONCE(shim.enabled, min(num, shim.total));

	for (i = 0; i < shim.total; i++) {
		u16 command = PCI_COMMAND_INTX_DISABLE;

		real_write(vf_devfn(i), PCI_COMMAND, 2, command);
		if (!vf_present(i)) {
			/* As after a reset. */
			if (shim.msix)
				real_write(vf_devfn(i),
					   shim.msix + PCI_MSIX_FLAGS, 2, 0);
			continue;
		}
		place_vf(i);
		if (control & PCI_SRIOV_CTRL_MSE)
			command |= PCI_COMMAND_MEMORY;
		real_write(vf_devfn(i), PCI_COMMAND, 2, command);
	}
}

/* Registers that a virtual function does not have. */
static bool vf_lacks(int where)
{
	where &= ~3;
	return (where >= PCI_BASE_ADDRESS_0 && where <= PCI_BASE_ADDRESS_5) ||
	       where == PCI_ROM_ADDRESS || where == PCI_INTERRUPT_LINE;
}

/* What the physical function shows at the end of its list of capabilities. */
static u32 linked(u32 header)
{
	/* Nothing is there if the capability is the only one. */
	if (!header)
		header = 1 << 16;
	return (header & 0x000fffff) | (u32)shim.cap << 20;
}

static int shown_read(struct pci_bus *bus, unsigned int devfn, int where,
		      int size, u32 *value)
{
	int vf = vf_number(devfn), shift = (where & 3) * 8;
	u32 dword;

	if (vf < 0 && devfn != shim.pf)
		return shim.real->read(bus, devfn, where, size, value);
	if (vf >= 0 && !vf_present(vf)) {
		*value = ~0;
		return PCIBIOS_DEVICE_NOT_FOUND;
	}

	dword = real_read(devfn, where & ~3, 4);
	if (vf < 0) {
		if ((where & ~3) == shim.last)
			dword = linked(dword);
	} else if ((where & ~3) == PCI_VENDOR_ID) {
		dword = ~0;
	} else if ((where & ~3) == PCI_COMMAND) {
		dword &= ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY |
			   PCI_COMMAND_INTX_DISABLE);
	} else if (vf_lacks(where)) {
		dword = 0;
	}
	dword >>= shift;
	*value = size == 4 ? dword : dword & (BIT(size * 8) - 1);
	return PCIBIOS_SUCCESSFUL;
}

static int shown_write(struct pci_bus *bus, unsigned int devfn, int where,
		       int size, u32 value)
{
	int vf = vf_number(devfn), ret;
	unsigned long flags;

	if (vf >= 0) {
		if (!vf_present(vf) || vf_lacks(where))
			return PCIBIOS_SUCCESSFUL;
		if (where == PCI_COMMAND) {
			value &= ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
			value |= PCI_COMMAND_INTX_DISABLE;
			if (shim.control & PCI_SRIOV_CTRL_MSE)
				value |= PCI_COMMAND_MEMORY;
		}
		return shim.real->write(bus, devfn, where, size, value);
	}

	ret = shim.real->write(bus, devfn, where, size, value);
	if (devfn == shim.pf) {
		/* The control register, or a reset that clears it. */
		raw_spin_lock_irqsave(&shim.lock, flags);
		follow_control();
		raw_spin_unlock_irqrestore(&shim.lock, flags);
	}
	return ret;
}

/* Finds the capability, which no list leads to, and the end of the list. */
static int find_capability(void)
{
	int where;
	u32 header;

	shim.last = PCI_CFG_SPACE_SIZE;
	header = real_read(shim.pf, shim.last, 4);
	while (header && header != ~0 && PCI_EXT_CAP_NEXT(header)) {
		if (PCI_EXT_CAP_ID(header) == PCI_EXT_CAP_ID_SRIOV)
			return -EEXIST;
		shim.last = PCI_EXT_CAP_NEXT(header);
		header = real_read(shim.pf, shim.last, 4);
	}

	for (where = PCI_CFG_SPACE_SIZE + 4; where < PCI_CFG_SPACE_EXP_SIZE;
	     where += 4) {
		header = real_read(shim.pf, where, 4);
		if (PCI_EXT_CAP_ID(header) == PCI_EXT_CAP_ID_SRIOV &&
		    PCI_EXT_CAP_VER(header) == 1) {
			shim.cap = where;
			return 0;
		}
	}
	return -ENODEV;
}

/* Sizes the VF BARs, which have no address yet. */
static void size_bars(void)
{
	int bar;

	for (bar = 0; bar < PCI_SRIOV_NUM_BARS; bar++) {
		int where = shim.cap + PCI_SRIOV_BAR + 4 * bar;
		u32 old = real_read(shim.pf, where, 4), mask;

		real_write(shim.pf, where, 4, ~0);
		mask = real_read(shim.pf, where, 4);
		real_write(shim.pf, where, 4, old);
		if (!(mask & PCI_BASE_ADDRESS_MEM_MASK))
			continue;
		/* Less than 4 GiB. */
		shim.bar_size[bar] = ~(mask & PCI_BASE_ADDRESS_MEM_MASK) + 1;
		shim.bar_64[bar] = (mask & PCI_BASE_ADDRESS_MEM_TYPE_MASK) ==
				   PCI_BASE_ADDRESS_MEM_TYPE_64;
		if (shim.bar_64[bar])
			bar++;
	}
}

static int find_msix(unsigned int devfn)
{
	int where = real_read(devfn, PCI_CAPABILITY_LIST, 1), left = 48;

	while (where >= PCI_STD_HEADER_SIZEOF && where != 0xff && left--) {
		if (real_read(devfn, where, 1) == PCI_CAP_ID_MSIX)
			return where;
		where = real_read(devfn, where + PCI_CAP_LIST_NEXT, 1);
	}
	return 0;
}

/* Removes the functions, and has the bus scanned with other accessors. */
static void rescan(struct pci_ops *ops)
{
	int i;

	pci_lock_rescan_remove();
	/* The physical function last: it may have to remove virtual ones. */
	for (i = shim.total - 1; i >= -1; i--) {
		unsigned int devfn = i < 0 ? shim.pf : vf_devfn(i);
		struct pci_dev *dev = pci_get_slot(shim.bus, devfn);

		if (dev && (i < 0 || !dev->is_virtfn))
			pci_stop_and_remove_bus_device(dev);
		pci_dev_put(dev);
	}
	pci_bus_set_ops(shim.bus, ops);
	pci_rescan_bus(shim.bus);
	pci_unlock_rescan_remove();
}

static int __init shim_init(void)
{
	unsigned int domain, bus, slot, function;
	int ret;

	if (sscanf(pf, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4)
		return -EINVAL;
	shim.bus = pci_find_bus(domain, bus);
	if (!shim.bus)
		return -ENODEV;
	shim.pf = PCI_DEVFN(slot, function);
	shim.real = shim.bus->ops;
	raw_spin_lock_init(&shim.lock);
	ret = find_capability();
	if (ret)
		return ret;

	shim.first = shim.pf +
		real_read(shim.pf, shim.cap + PCI_SRIOV_VF_OFFSET, 2);
	shim.stride = real_read(shim.pf, shim.cap + PCI_SRIOV_VF_STRIDE, 2);
	shim.total = real_read(shim.pf, shim.cap + PCI_SRIOV_TOTAL_VF, 2);
	if (shim.first == shim.pf || !shim.stride || !shim.total ||
	    vf_devfn(shim.total - 1) > U8_MAX)
		return -EINVAL;
	size_bars();
	shim.msix = find_msix(shim.first);

	shim.shown = *shim.real;
	shim.shown.read = shown_read;
	shim.shown.write = shown_write;
	pr_info("%s: SR-IOV capability at %#x, %u virtual functions\n", pf,
		shim.cap, shim.total);
	get_device(&shim.bus->dev);
	rescan(&shim.shown);
	return 0;
}

static void __exit shim_exit(void)
{
	rescan(shim.real);
	put_device(&shim.bus->dev);
}

module_init(shim_init);
module_exit(shim_exit);

MODULE_DESCRIPTION("Virtual functions out of plain ones, for tests");
MODULE_AUTHOR("azihsm developers");
MODULE_LICENSE("GPL");
