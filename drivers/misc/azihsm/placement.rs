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
    dma::{
        Area,
        SlotMemory,
        AREA, //
    },
    kapi::{
        dma::UserMapping,
        mm::{
            Access,
            PinnedPages, //
        }, //
    },
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
    /// Pins and maps `len` bytes, [`None`] if there are none.
    fn new(
        dev: &Device<Bound>,
        address: u64,
        len: u32,
        direction: DataDirection,
    ) -> Result<Option<Self>> {
        if len == 0 {
            return Ok(None);
        }
        let access = match direction {
            DataDirection::ToDevice => Access::Read,
            _ => Access::Write,
        };
        // CAST: 32-bit lengths.
        let pages = PinnedPages::new(address, len as usize, access)?;
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
                GFP_KERNEL,
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
        if largest <= AREA {
            return Ok(None);
        }
        let pinned = || -> Result<KBox<Self>> {
            let source = Mapped::new(dev, request.src, request.src_len, DataDirection::ToDevice)?;
            let destination =
                Mapped::new(dev, request.dst, request.dst_len, DataDirection::FromDevice)?;
            Ok(KBox::new(
                Self {
                    source,
                    destination,
                },
                GFP_KERNEL,
            )?)
        };
        pinned().map(Some).map_err(no_memory)
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

/// Copies in what the device reads from the slot, and writes the lists.
pub(crate) fn place(
    memory: &SlotMemory,
    request: &Request,
    pinned: Option<&Pinned>,
) -> Result<Placed, Refusal> {
    let tail = tail_offset(request, pinned.is_some());
    memory
        .copy_from_user(
            Area::Destination,
            tail,
            user(request.src, request.src_len),
            usize::from(request.tail),
        )
        .map_err(no_memory)?;
    let (source, destination) = match pinned {
        None => bounce(memory, request).map_err(no_memory)?,
        Some(pinned) => {
            let list = |mapped: &Option<Mapped>, area| match mapped {
                Some(mapped) => mapped.write_list(memory, area).map_err(no_memory),
                None => Ok(Descriptor::NONE),
            };
            (
                list(&pinned.source, Area::Source)?,
                list(&pinned.destination, Area::Destination)?,
            )
        }
    };
    Ok(Placed {
        source,
        destination,
        tail: memory.address(Area::Destination) + tail as u64,
    })
}

fn bounce(memory: &SlotMemory, request: &Request) -> Result<(Descriptor, Descriptor)> {
    // CAST: Bounced data fits the area.
    let (src_len, dst_len) = (request.src_len as usize, request.dst_len as usize);
    memory.copy_from_user(Area::Source, 0, user(request.src, 0), src_len)?;
    memory.claim(Area::Destination, dst_len);
    let list = |area, len| -> Result<Descriptor> {
        if len == 0 {
            return Ok(Descriptor::NONE);
        }
        let segments = [memory.list_address(area)?];
        let plan = Plan::new(1, &segments).ok_or(EINVAL)?;
        plan.write([(memory.address(area), len)], |_, place, descriptor| {
            memory.write_list(area, place, descriptor)
        })?;
        Ok(plan.head())
    };
    Ok((
        list(Area::Source, request.src_len)?,
        list(Area::Destination, request.dst_len)?,
    ))
}

/// Brings the output of a successful command to the caller: `len` bytes through the list, `tail`
/// bytes behind them.
///
/// The caller's pages are given back first: that is when the output gets there if the DMA layer
/// bounces it.
pub(crate) fn deliver(
    memory: &SlotMemory,
    request: &Request,
    pinned: Option<KBox<Pinned>>,
    len: u32,
    tail: u8,
) -> Result<(), Refusal> {
    let bounced = pinned.is_none();
    drop(pinned);
    let copy = || -> Result {
        if bounced {
            // CAST: Bounced data fits the area.
            memory.copy_to_user(0, user(request.dst, 0), len as usize)?;
        }
        memory.copy_to_user(
            tail_offset(request, !bounced),
            user(request.dst, request.src_len),
            usize::from(tail),
        )
    };
    copy().map_err(no_memory)
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
