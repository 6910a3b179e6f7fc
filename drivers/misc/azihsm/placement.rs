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
            PinnedPages,
            ROOM, //
        },
        uaccess::fault_in_readable, //
    },
    params,
    queue::Host,
    request::aes::{
        Data,
        Request, //
    },
    spares::{
        Limit,
        Spare,
        Spares, //
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

/// What is kept of commands that ended; see [`Pinned`].
///
/// A command of 4 MiB, with all pages apart, takes 96 KiB. This is for 80 of these, or for as many
/// small ones as there are slots.
pub(crate) const KEPT: Limit = Limit {
    count: 1024,
    size: 8 << 20,
};

/// One direction of a command's data in the caller's pages.
struct Mapped {
    mapping: UserMapping,
    /// Room for list segments behind the one of the slot.
    more: Option<Coherent<[Descriptor]>>,
}

/// Data of a command in the caller's pages, and all that it takes to tell the device where they are.
/// Dropping it may sleep.
///
/// That is needed before there is a slot, so no slot has it. When a command ended, what it took is
/// kept for another, so that usually nothing has to be allocated.
pub(crate) struct Pinned {
    source: Mapped,
    destination: Mapped,
}

fn no_memory(errno: Error) -> Refusal {
    Refusal::new(errno, Ext::AES_NO_MEMORY)
}

fn user(address: u64, offset: u32) -> UserPtr {
    // CAST: User addresses of a 64-bit kernel.
    UserPtr::from_addr(address as usize).wrapping_byte_add(offset as usize)
}

impl Mapped {
    fn new(dev: &Device<Bound>) -> Self {
        Self {
            mapping: UserMapping::new(dev),
            more: None,
        }
    }

    /// Maps the `len` bytes at `address` that `pin` pins, nothing if there are none.
    fn map(
        &mut self,
        dev: &Device<Bound>,
        (address, len): (u64, u32),
        direction: DataDirection,
        pin: &impl Fn(&mut PinnedPages, u64, usize, Access, u32) -> Result,
    ) -> Result {
        if len == 0 {
            return Ok(());
        }
        let access = match direction {
            DataDirection::ToDevice => Access::Read,
            _ => Access::Write,
        };
        self.mapping.map(dev, direction, |pages, max| {
            // CAST: 32-bit lengths.
            pin(pages, address, len as usize, access, max)
        })?;
        if access == Access::Write {
            // From now on the device may write, whatever becomes of the command.
            self.mapping.mark_written();
        }
        // CAST: The kernel has 64 bits.
        let count = self.mapping.segment_count() as usize;
        // Of this length the next command may have more.
        let count = count.max(self.mapping.page_count().min(ROOM));
        let needed = segments_needed(count).saturating_sub(1) * PER_SEGMENT;
        if self.more.as_ref().map_or(0, |more| more.len()) < needed {
            self.more = None;
            // The caller chooses how much that is: more than there can be is no bug.
            let flags = GFP_KERNEL | __GFP_NOWARN;
            self.more = Some(Coherent::zeroed_slice(dev, needed, flags)?);
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.mapping.list_size() + self.more.as_ref().map_or(0, |more| more.size())
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
    pub(crate) fn new(
        dev: &Device<Bound>,
        spares: &Spares<Self>,
        data: &Data,
    ) -> Result<KBox<Self>, Refusal> {
        Self::with(dev, spares, data, PinnedPages::pin)
    }

    /// Maps the data of a command, which `pin` pins, with what `spares` has.
    pub(crate) fn with(
        dev: &Device<Bound>,
        spares: &Spares<Self>,
        data: &Data,
        pin: impl Fn(&mut PinnedPages, u64, usize, Access, u32) -> Result,
    ) -> Result<KBox<Self>, Refusal> {
        let mut pinned = match spares.take() {
            Some(pinned) => pinned,
            None => Self::unused(dev).map_err(no_memory)?,
        };
        match pinned.map(dev, data, &pin) {
            Ok(()) => Ok(pinned),
            Err(e) => {
                Self::keep(pinned, spares);
                Err(no_memory(e))
            }
        }
    }

    fn unused(dev: &Device<Bound>) -> Result<KBox<Self>> {
        let unused = Self {
            source: Mapped::new(dev),
            destination: Mapped::new(dev),
        };
        Ok(KBox::new(unused, GFP_KERNEL)?)
    }

    fn map(
        &mut self,
        dev: &Device<Bound>,
        data: &Data,
        pin: &impl Fn(&mut PinnedPages, u64, usize, Access, u32) -> Result,
    ) -> Result {
        let (to, from) = (DataDirection::ToDevice, DataDirection::FromDevice);
        self.source.map(dev, (data.src, data.src_len), to, pin)?;
        self.destination
            .map(dev, (data.dst, data.dst_len), from, pin)
    }

    /// Unmaps and unpins the data, and keeps what that took for other commands. May sleep.
    pub(crate) fn keep(mut pinned: KBox<Self>, spares: &Spares<Self>) {
        pinned.source.mapping.release();
        pinned.destination.mapping.release();
        spares.keep(pinned);
    }

    /// Writes the lists and returns the descriptors that point to them.
    fn write_lists(&self, lists: Lists<'_>, usage: &mut Usage) -> Result<(Descriptor, Descriptor)> {
        let mut list = |mapped: &Mapped, area| -> Result<Descriptor> {
            if mapped.mapping.segment_count() == 0 {
                return Ok(Descriptor::NONE);
            }
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

impl Spare for Pinned {
    fn size(&self) -> usize {
        size_of::<Self>() + self.source.size() + self.destination.size()
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
    spares: &Spares<Pinned>,
) -> Result<(), Refusal> {
    let bounced = pinned.is_none();
    if let Some(pinned) = pinned {
        Pinned::keep(pinned, spares);
    }
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
pub(crate) fn discard(pinned: Option<KBox<Pinned>>, spares: &Spares<Pinned>) {
    // Bounced output is not copied, and wiped with the slot.
    let Some(mut pinned) = pinned else {
        return;
    };
    // The pages are cleared after they are unmapped: unmapping may copy output to them.
    let pages = pinned.destination.mapping.unmap();
    if pages.len() != 0 {
        // The whole range is in range.
        let _ = pages.zero_range(0, pages.len());
    }
    Pinned::keep(pinned, spares);
}
