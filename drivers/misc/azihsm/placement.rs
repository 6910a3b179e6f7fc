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
    request::aes::Request,
    uapi::{
        Ext,
        Refusal, //
    },
    wire::sgl::{
        segments_needed,
        Descriptor,
        Plan,
        PER_SEGMENT,
        SEGMENT_LEN, //
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

/// What a submission entry says of the data.
pub(crate) struct Placed {
    /// Points to the source list.
    pub(crate) source: Descriptor,
    /// Points to the destination list.
    pub(crate) destination: Descriptor,
    /// DMA address of the tail.
    pub(crate) tail: u64,
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

    /// Writes the list and returns the descriptor that points to it.
    fn write_list(&self, memory: &SlotMemory, area: Area) -> Result<Descriptor> {
        // CAST: The kernel has 64 bits.
        let count = self.mapping.segment_count() as usize;
        let mut segments = KVec::with_capacity(segments_needed(count), GFP_KERNEL)?;
        segments.push(memory.list_address(area)?, GFP_KERNEL)?;
        if let Some(more) = &self.more {
            let first = more.dma_address();
            for further in (0..).take(more.len() / PER_SEGMENT) {
                segments.push(first + further * u64::from(SEGMENT_LEN), GFP_KERNEL)?;
            }
        }
        let plan = Plan::new(count, &segments).ok_or(EINVAL)?;
        let data = self.mapping.segments().map(|s| (s.address, s.len));
        plan.write(data, |segment, place, descriptor| {
            match (segment.checked_sub(1), &self.more) {
                (None, _) => memory.write_list(area, place, descriptor),
                (Some(further), Some(more)) => {
                    io_project!(more, [try: further * PER_SEGMENT + place]).copy_write(descriptor);
                    Ok(())
                }
                (Some(_), None) => Err(EINVAL),
            }
        })?;
        Ok(plan.head())
    }
}

impl Pinned {
    /// Pins and maps the data of a command that is too large for a slot; [`None`] if it is not.
    ///
    /// May sleep for as long as the caller's memory takes to become present, so no slot may be
    /// held.
    pub(crate) fn new(
        dev: &Device<Bound>,
        request: &Request,
    ) -> Result<Option<KBox<Self>>, Refusal> {
        let tail = usize::from(request.tail);
        // CAST: 32-bit lengths.
        let largest = request.src_len.max(request.dst_len) as usize + tail;
        if largest <= params::bounce_limit() {
            return Ok(None);
        }
        Self::with(dev, request, PinnedPages::new).map(Some)
    }

    /// Maps the data of a command, which `pin` pins.
    pub(crate) fn with(
        dev: &Device<Bound>,
        request: &Request,
        pin: impl Fn(u64, usize, Access) -> Result<PinnedPages>,
    ) -> Result<KBox<Self>, Refusal> {
        let (to, from) = (DataDirection::ToDevice, DataDirection::FromDevice);
        let mapped = || -> Result<KBox<Self>> {
            let source = Mapped::new(dev, request.src, request.src_len, to, &pin)?;
            let destination = Mapped::new(dev, request.dst, request.dst_len, from, &pin)?;
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
    fn write_lists<H: Host>(
        &self,
        slot: &mut Slot<'_, Fast, H>,
    ) -> Result<(Descriptor, Descriptor)> {
        let memory = slot.memory()?;
        let usage = slot.usage();
        let mut list = |mapped: &Option<Mapped>, area| match mapped {
            Some(mapped) => {
                // CAST: A transfer has less than 4 GiB.
                usage.pages_pinned += mapped.mapping.page_count() as u32;
                usage.descriptors += mapped.mapping.segment_count();
                usage.mappings += 1;
                mapped.write_list(memory, area)
            }
            None => Ok(Descriptor::NONE),
        };
        Ok((
            list(&self.source, Area::Source)?,
            list(&self.destination, Area::Destination)?,
        ))
    }
}

/// Offset of the tail in the slot's destination area.
fn tail_offset(request: &Request, pinned: bool) -> usize {
    if pinned {
        0
    } else {
        // CAST: Bounced data fits the area.
        request.src_len as usize
    }
}

/// Makes what is going to be copied to a slot present. May sleep for long, so no slot may be held.
pub(crate) fn fault_in(request: &Request, pinned: bool) -> Result<(), Refusal> {
    let first = if pinned { request.src_len } else { 0 };
    // CAST: 32-bit lengths.
    let len = (request.src_len - first) as usize + usize::from(request.tail);
    fault_in_readable(user(request.src, first), len).map_err(no_memory)
}

/// Copies in what the device reads from the slot, and writes the lists.
///
/// Returns [`None`] if the caller's memory is not there (any more).
pub(crate) fn place<H: Host>(
    slot: &mut Slot<'_, Fast, H>,
    request: &Request,
    pinned: Option<&Pinned>,
) -> Result<Option<Placed>, Refusal> {
    match try_place(slot, request, pinned) {
        Ok(placed) => Ok(Some(placed)),
        Err(e) if e == EFAULT => Ok(None),
        Err(e) => Err(no_memory(e)),
    }
}

fn try_place<H: Host>(
    slot: &mut Slot<'_, Fast, H>,
    request: &Request,
    pinned: Option<&Pinned>,
) -> Result<Placed> {
    let tail = tail_offset(request, pinned.is_some());
    if request.tail != 0 {
        slot.copy_in(
            Area::Destination,
            tail,
            user(request.src, request.src_len),
            usize::from(request.tail),
        )?;
    }
    let (source, destination) = match pinned {
        None => bounce(slot, request)?,
        Some(pinned) => pinned.write_lists(slot)?,
    };
    Ok(Placed {
        source,
        destination,
        tail: slot.memory()?.address(Area::Destination) + tail as u64,
    })
}

fn bounce<H: Host>(
    slot: &mut Slot<'_, Fast, H>,
    request: &Request,
) -> Result<(Descriptor, Descriptor)> {
    // CAST: Bounced data fits the area.
    let (src_len, dst_len) = (request.src_len as usize, request.dst_len as usize);
    slot.copy_in(Area::Source, 0, user(request.src, 0), src_len)?;
    slot.claim(Area::Destination, dst_len);
    let memory = slot.memory()?;
    let mut list = |area, len| -> Result<Descriptor> {
        if len == 0 {
            return Ok(Descriptor::NONE);
        }
        slot.usage().descriptors += 1;
        memory.write_list(area, 0, Descriptor::data(memory.address(area), len))?;
        Ok(Descriptor::list_of_one(memory.list_address(area)?))
    };
    Ok((
        list(Area::Source, request.src_len)?,
        list(Area::Destination, request.dst_len)?,
    ))
}

/// Brings the output of a successful command to the caller: `len` bytes through the list, `tail`
/// bytes behind them.
///
/// The slot is given back. The caller's pages are given back first: that is when the output gets there if the DMA layer
/// bounces it.
pub(crate) fn deliver<H: Host>(
    slot: Slot<'_, Fast, H>,
    request: &Request,
    pinned: Option<KBox<Pinned>>,
    len: u32,
    tail: u8,
) -> Result<(), Refusal> {
    let bounced = pinned.is_none();
    drop(pinned);
    let text = Piece {
        offset: 0,
        // CAST: Bounced data fits the area.
        len: if bounced { len as usize } else { 0 },
        to: user(request.dst, 0),
    };
    let tail = Piece {
        offset: tail_offset(request, !bounced),
        len: usize::from(tail),
        to: user(request.dst, request.src_len),
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
