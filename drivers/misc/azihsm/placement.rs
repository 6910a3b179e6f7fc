// SPDX-License-Identifier: GPL-2.0

//! Where the data of a fast-path command lies: in the slot's bounce areas if it fits, else in the
//! caller's own pages, pinned and mapped for as long as the device may use them.
//!
//! Either way the device sees a scatter-gather list. Its first segment belongs to the slot; a
//! command with more data descriptors than that holds brings further segments of its own.
//!
//! The tail of a GCM text (the last bytes, fewer than a block) goes through the destination area
//! of the slot, behind the bounced text if there is any.

use kernel::{
    alloc::flags::__GFP_NOWARN,
    device::{
        Bound,
        Device, //
    },
    dma::{
        Coherent,
        DataDirection, //
    },
    io::{
        io_project,
        Io, //
    },
    prelude::*,
    uaccess::UserPtr, //
};

use crate::{
    aes::Fast,
    command::Slot,
    dma::{
        Area,
        Lists,
        Piece,
        SlotMemory, //
    },
    kapi::{
        dma::UserMapping,
        mm::{
            Access,
            PinnedPages, //
        },
        uaccess::fault_in_readable, //
    },
    params,
    queue::Host,
    request::aes::{
        Data,
        Request, //
    },
    stats::Usage,
    uapi::{
        Ext,
        Refusal, //
    },
    wire::{
        aes::{
            Sqe,
            Success, //
        },
        sgl::{
            segments_needed,
            Descriptor,
            Plan,
            PER_SEGMENT,
            SEGMENT_LEN, //
        },
    },
};

/// One direction of a command's data in the caller's pages.
struct Mapped {
    mapping: UserMapping,
    /// List segments behind the one of the slot.
    more: Option<Coherent<[Descriptor]>>,
}

/// Data of a command in the caller's pages. Dropping it may sleep.
pub(crate) struct Pinned {
    source: Option<Mapped>,
    destination: Option<Mapped>,
}

fn no_memory(errno: Error) -> Refusal {
    Refusal::new(errno, Ext::AES_NO_MEMORY)
}

fn user(address: u64, offset: u32) -> UserPtr {
    // CAST: User addresses of a 64-bit kernel.
    UserPtr::from_addr(address as usize).wrapping_byte_add(offset as usize)
}

impl Mapped {
    /// Maps the `len` bytes at `address` that `pin` pins, [`None`] if there are none.
    fn new(
        dev: &Device<Bound>,
        address: u64,
        len: u32,
        direction: DataDirection,
        pin: &impl Fn(u64, usize, Access) -> Result<PinnedPages>,
    ) -> Result<Option<Self>> {
        if len == 0 {
            return Ok(None);
        }
        let access = match direction {
            DataDirection::ToDevice => Access::Read,
            _ => Access::Write,
        };
        // CAST: 32-bit lengths.
        let pages = pin(address, len as usize, access)?;
        let mut mapping = UserMapping::new(dev, pages, direction)?;
        if access == Access::Write {
            // From now on the device may write, whatever becomes of the command.
            mapping.mark_written();
        }
        // CAST: The kernel has 64 bits.
        let segments = segments_needed(mapping.segment_count() as usize);
        let more = match segments {
            0 | 1 => None,
            _ => Some(Coherent::zeroed_slice(
                dev,
                (segments - 1) * PER_SEGMENT,
                // The caller chooses how much that is: more than there can be is no bug.
                GFP_KERNEL | __GFP_NOWARN,
            )?),
        };
        Ok(Some(Self { mapping, more }))
    }

    /// Writes the list and returns the number of its data descriptors.
    fn write_list(&self, lists: Lists<'_>, area: Area) -> Result<usize> {
        // CAST: The kernel has 64 bits.
        let count = self.mapping.segment_count() as usize;
        let first = lists.address(area);
        let further = self.more.as_ref().map_or(0, |more| more.dma_address());
        let address = |segment: usize| match segment {
            0 => first,
            // CAST: A list has fewer bytes than the data.
            _ => further + (segment as u64 - 1) * u64::from(SEGMENT_LEN),
        };
        let data = self.mapping.segments().map(|s| (s.address, s.len));
        Plan::new(count, address).write(data, |segment, place, descriptor| {
            match (segment.checked_sub(1), &self.more) {
                (None, _) => lists.write(area, place, descriptor),
                (Some(further), Some(more)) => {
                    io_project!(more, [try: further * PER_SEGMENT + place]).copy_write(descriptor);
                    Ok(())
                }
                (Some(_), None) => Err(EINVAL),
            }
        })?;
        Ok(count)
    }
}

impl Pinned {
    /// Returns whether data is too large for a slot, so that it has to be pinned.
    #[inline]
    pub(crate) fn is_needed(data: &Data) -> bool {
        let tail = usize::from(data.tail);
        // CAST: 32-bit lengths.
        data.src_len.max(data.dst_len) as usize + tail > params::bounce_limit()
    }

    /// Pins and maps the data of a command.
    ///
    /// May sleep for as long as the caller's memory takes to become present, so no slot may be
    /// held.
    pub(crate) fn new(dev: &Device<Bound>, data: &Data) -> Result<KBox<Self>, Refusal> {
        Self::with(dev, data, PinnedPages::new)
    }

    /// Maps the data of a command, which `pin` pins.
    pub(crate) fn with(
        dev: &Device<Bound>,
        data: &Data,
        pin: impl Fn(u64, usize, Access) -> Result<PinnedPages>,
    ) -> Result<KBox<Self>, Refusal> {
        let (to, from) = (DataDirection::ToDevice, DataDirection::FromDevice);
        let mapped = || -> Result<KBox<Self>> {
            let source = Mapped::new(dev, data.src, data.src_len, to, &pin)?;
            let destination = Mapped::new(dev, data.dst, data.dst_len, from, &pin)?;
            Ok(KBox::new(
                Self {
                    source,
                    destination,
                },
                GFP_KERNEL,
            )?)
        };
        mapped().map_err(no_memory)
    }

    /// Writes the lists and returns the descriptors that point to them.
    fn write_lists(&self, lists: Lists<'_>, usage: &mut Usage) -> Result<(Descriptor, Descriptor)> {
        let mut list = |mapped: &Option<Mapped>, area| -> Result<Descriptor> {
            let Some(mapped) = mapped else {
                return Ok(Descriptor::NONE);
            };
            // CAST: A transfer has less than 4 GiB.
            usage.pages_pinned += mapped.mapping.page_count() as u32;
            usage.descriptors += mapped.mapping.segment_count();
            usage.mappings += 1;
            let count = mapped.write_list(lists, area)?;
            Ok(Descriptor::list(lists.address(area), count))
        };
        Ok((
            list(&self.source, Area::Source)?,
            list(&self.destination, Area::Destination)?,
        ))
    }
}

/// Offset of the tail in the slot's destination area.
fn tail_offset(data: &Data, pinned: bool) -> usize {
    if pinned {
        0
    } else {
        // CAST: Bounced data fits the area.
        data.src_len as usize
    }
}

/// Makes what is going to be copied to a slot present. May sleep for long, so no slot may be held.
pub(crate) fn fault_in(data: &Data, pinned: bool) -> Result<(), Refusal> {
    let first = if pinned { data.src_len } else { 0 };
    // CAST: 32-bit lengths.
    let len = (data.src_len - first) as usize + usize::from(data.tail);
    fault_in_readable(user(data.src, first), len).map_err(no_memory)
}

/// Copies in what the device reads from the slot, writes the lists, and fills in the submission
/// entry, which is zeroed or was filled in for the same command before.
///
/// Returns whether the caller's memory is there (still).
pub(crate) fn place<H: Host>(
    slot: &mut Slot<'_, Fast, H>,
    request: &Request<'_>,
    pinned: Option<&Pinned>,
    sqe: &mut Sqe,
) -> Result<bool, Refusal> {
    match try_place(slot, request, pinned, sqe) {
        Ok(()) => Ok(true),
        Err(e) if e == EFAULT => Ok(false),
        Err(e) => Err(no_memory(e)),
    }
}

#[inline]
fn try_place<H: Host>(
    slot: &mut Slot<'_, Fast, H>,
    request: &Request<'_>,
    pinned: Option<&Pinned>,
    sqe: &mut Sqe,
) -> Result {
    let data = &request.data;
    let tail = tail_offset(data, pinned.is_some());
    if data.tail != 0 {
        slot.copy_in(
            Area::Destination,
            tail,
            user(data.src, data.src_len),
            usize::from(data.tail),
        )?;
    }
    let memory = slot.memory()?;
    let lists = memory.lists()?;
    let (source, destination) = match pinned {
        None => bounce(slot, memory, data)?,
        Some(pinned) => pinned.write_lists(lists, slot.usage())?,
    };
    let tail = memory.address(Area::Destination) + tail as u64;
    request
        .command(source, destination, tail)
        .write(slot.cid(), sqe);
    Ok(())
}

/// Copies in the source, writes the lists, and returns the descriptors that point to them.
#[inline]
fn bounce<H: Host>(
    slot: &mut Slot<'_, Fast, H>,
    memory: &SlotMemory,
    data: &Data,
) -> Result<(Descriptor, Descriptor)> {
    // CAST: Bounced data fits the area.
    let (src_len, dst_len) = (data.src_len as usize, data.dst_len as usize);
    let lists = memory.lists()?;
    let list = |area, len| -> Result<Descriptor> {
        lists.write(area, 0, Descriptor::data(memory.address(area), len))?;
        Ok(Descriptor::list(lists.address(area), 1))
    };
    let (mut source, mut destination) = (Descriptor::NONE, Descriptor::NONE);
    if src_len != 0 {
        slot.copy_in(Area::Source, 0, user(data.src, 0), src_len)?;
        source = list(Area::Source, data.src_len)?;
        slot.usage().descriptors += 1;
    }
    if dst_len != 0 {
        slot.claim(Area::Destination, dst_len);
        destination = list(Area::Destination, data.dst_len)?;
        slot.usage().descriptors += 1;
    }
    Ok((source, destination))
}

/// Brings the output of a successful command to the caller.
///
/// The slot is given back. The caller's pages are given back first: that is when the output gets
/// there if the DMA layer bounces it.
#[inline]
pub(crate) fn deliver<H: Host>(
    slot: Slot<'_, Fast, H>,
    data: &Data,
    pinned: Option<KBox<Pinned>>,
    success: Success,
) -> Result<(), Refusal> {
    let bounced = pinned.is_none();
    drop(pinned);
    let text = Piece {
        offset: 0,
        // CAST: Bounced data fits the area.
        len: if bounced { success.len as usize } else { 0 },
        to: user(data.dst, 0),
    };
    if success.tail == 0 {
        return slot.deliver(&[text]).map_err(no_memory);
    }
    let tail = Piece {
        offset: tail_offset(data, !bounced),
        len: usize::from(success.tail),
        to: user(data.dst, data.src_len),
    };
    slot.deliver(&[text, tail]).map_err(no_memory)
}

/// Makes sure that nothing of a failed command reaches the caller.
pub(crate) fn discard(pinned: Option<KBox<Pinned>>) {
    // Bounced output is not copied, and wiped with the slot.
    let Some(pinned) = pinned else {
        return;
    };
    if let Some(destination) = KBox::into_inner(pinned).destination {
        // The pages are cleared after they are unmapped: unmapping may copy output to them.
        let mut pages = destination.mapping.unmap();
        // The whole range is in range.
        let _ = pages.zero_range(0, pages.len());
    }
}
