// SPDX-License-Identifier: GPL-2.0

//! Admin queue entries: 64-byte commands, 16-byte completions.

use kernel::prelude::*;
use zerocopy::little_endian::{
    U16,
    U32,
    U64, //
};

use super::{
    Cid,
    Class,
    CtrlId,
    QueueId,
    Route, //
};
use crate::ring;

/// Opcodes of the commands that the driver sends.
mod opcode {
    pub(super) const DELETE_SQ: u8 = 0x00;
    pub(super) const CREATE_SQ: u8 = 0x01;
    pub(super) const DELETE_CQ: u8 = 0x04;
    pub(super) const CREATE_CQ: u8 = 0x05;
    pub(super) const IDENTIFY: u8 = 0x06;
    pub(super) const SET_FEATURE: u8 = 0x09;
    pub(super) const GET_FEATURE: u8 = 0x0a;
    pub(super) const SET_RESOURCE_COUNT: u8 = 0xc3;
    pub(super) const GET_RESOURCE_COUNT: u8 = 0xc4;
}

/// Identify: controller data structure.
const CNS_CONTROLLER: u32 = 0x01;

/// Create CQ/SQ: the ring is physically contiguous.
const RING_CONTIGUOUS: u32 = 1 << 0;
/// Create CQ: completions raise an interrupt.
const CQ_INTERRUPT: u32 = 1 << 1;

/// Features of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    /// Number of control-path queues.
    ControlQueues,
    /// Number of fast-path queues.
    AesQueues,
    /// Firmware capabilities, read-only.
    Capabilities,
}

impl Feature {
    fn id(self) -> u32 {
        match self {
            Self::ControlQueues => 0x07,
            Self::AesQueues => 0xc1,
            Self::Capabilities => 0xc2,
        }
    }
}

/// An admin command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Deletes a submission queue.
    DeleteSq {
        /// Queue to delete.
        id: QueueId,
    },
    /// Creates a submission queue on the completion queue with the same id.
    CreateSq {
        /// Queue to create.
        id: QueueId,
        /// Number of entries.
        size: ring::Size,
        /// Bus address of the ring, page-aligned.
        ring: u64,
    },
    /// Deletes a completion queue.
    DeleteCq {
        /// Queue to delete.
        id: QueueId,
    },
    /// Creates a completion queue.
    CreateCq {
        /// Queue to create.
        id: QueueId,
        /// Number of entries.
        size: ring::Size,
        /// Bus address of the ring, page-aligned.
        ring: u64,
        /// Interrupt vector, none for a queue that is polled.
        vector: Option<u16>,
    },
    /// Reads the controller's identity.
    Identify {
        /// Bus address of a page that receives [`identify::LEN`](super::identify::LEN) bytes.
        page: u64,
    },
    /// Sets a feature.
    SetFeature {
        /// Feature to set.
        feature: Feature,
        /// New value.
        value: u32,
    },
    /// Reads a feature.
    GetFeature {
        /// Feature to read.
        feature: Feature,
    },
    /// Sets the number of resources that a function owns.
    SetResourceCount {
        /// Function.
        ctrl: CtrlId,
        /// Number of resources.
        count: u16,
    },
    /// Reads the number of resources that a function owns.
    GetResourceCount {
        /// Function.
        ctrl: CtrlId,
    },
}

impl Command {
    /// Returns a command that asks for `count` queues of `class`.
    ///
    /// The device ignores the number and answers with what it has, see
    /// [`QueueCount`](super::identify::QueueCount). Returns [`None`] for the admin queue.
    pub(crate) fn queue_count(class: Class, count: u16) -> Option<Self> {
        let feature = match class {
            Class::Admin => return None,
            Class::Control => Feature::ControlQueues,
            Class::Aes => Feature::AesQueues,
        };
        let count = u32::from(count);
        Some(Self::SetFeature {
            feature,
            value: count << 16 | count,
        })
    }

    /// Returns the submission entry of this command.
    pub(crate) fn sqe(&self, cid: Cid) -> Sqe {
        let (opcode, prp1, dw10, dw11) = match *self {
            Self::DeleteSq { id } => (opcode::DELETE_SQ, 0, u32::from(id.raw()), 0),
            Self::CreateSq { id, size, ring } => (
                opcode::CREATE_SQ,
                ring,
                Self::ring_dword(id, size),
                u32::from(id.raw()) << 16 | Self::priority(id) << 1 | RING_CONTIGUOUS,
            ),
            Self::DeleteCq { id } => (opcode::DELETE_CQ, 0, u32::from(id.raw()), 0),
            Self::CreateCq {
                id,
                size,
                ring,
                vector,
            } => (
                opcode::CREATE_CQ,
                ring,
                Self::ring_dword(id, size),
                match vector {
                    Some(vector) => u32::from(vector) << 16 | CQ_INTERRUPT | RING_CONTIGUOUS,
                    None => RING_CONTIGUOUS,
                },
            ),
            Self::Identify { page } => (opcode::IDENTIFY, page, CNS_CONTROLLER, 0),
            Self::SetFeature { feature, value } => (opcode::SET_FEATURE, 0, feature.id(), value),
            Self::GetFeature { feature } => (opcode::GET_FEATURE, 0, feature.id(), 0),
            Self::SetResourceCount { ctrl, count } => (
                opcode::SET_RESOURCE_COUNT,
                0,
                u32::from(ctrl.0),
                u32::from(count),
            ),
            Self::GetResourceCount { ctrl } => {
                (opcode::GET_RESOURCE_COUNT, 0, u32::from(ctrl.0), 0)
            }
        };
        Sqe {
            opcode,
            flags: 0,
            cid: U16::new(cid.0),
            rsvd: [0; 12],
            mptr: U64::new(0),
            prp1: U64::new(prp1),
            prp2: U64::new(0),
            dw10: U32::new(dw10),
            dw11: U32::new(dw11),
            dw12_15: [U32::new(0); 4],
        }
    }

    /// Returns dword 10 of the Create commands.
    fn ring_dword(id: QueueId, size: ring::Size) -> u32 {
        u32::from(size.zero_based()) << 16 | u32::from(id.raw())
    }

    /// Returns the priority field of Create SQ. Firmware ignores it; the value is the one that
    /// existing drivers send.
    fn priority(id: QueueId) -> u32 {
        if id.raw() % 2 == 0 {
            3
        } else {
            1
        }
    }
}

/// Submission entry.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes)]
pub(crate) struct Sqe {
    opcode: u8,
    flags: u8,
    cid: U16,
    rsvd: [u8; 12],
    mptr: U64,
    prp1: U64,
    prp2: U64,
    dw10: U32,
    dw11: U32,
    dw12_15: [U32; 4],
}

static_assert!(core::mem::size_of::<Sqe>() == 64);
static_assert!(core::mem::offset_of!(Sqe, prp1) == 24);
static_assert!(core::mem::offset_of!(Sqe, dw10) == 40);

// SAFETY: All fields are integers or arrays of integers, for which all bit patterns are valid.
unsafe impl kernel::transmute::FromBytes for Sqe {}
// SAFETY: `IntoBytes` is derived, so the structure has no padding.
unsafe impl kernel::transmute::AsBytes for Sqe {}

impl super::Sqe for Sqe {
    fn cid(&self) -> Cid {
        Cid(self.cid.get())
    }
}

/// Completion entry.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes)]
pub(crate) struct Cqe {
    value: U32,
    rsvd: U32,
    sq_head: U16,
    sq_id: U16,
    cid: U16,
    /// Phase in bit 0, status in bits 15:1. Little-endian.
    pub(crate) status: u16,
}

static_assert!(core::mem::size_of::<Cqe>() == 16);

// SAFETY: All fields are integers, for which all bit patterns are valid.
unsafe impl kernel::transmute::FromBytes for Cqe {}
// SAFETY: `IntoBytes` is derived, so the structure has no padding.
unsafe impl kernel::transmute::AsBytes for Cqe {}

impl Cqe {
    /// Returns the status of the command.
    pub(crate) fn status(&self) -> Status {
        Status(u16::from_le(self.status) >> 1)
    }

    /// Returns the command-specific value.
    ///
    /// # Errors
    ///
    /// Returns the status if the command failed.
    pub(crate) fn value(&self) -> Result<u32, Status> {
        match self.status() {
            Status(0) => Ok(self.value.get()),
            status => Err(status),
        }
    }
}

impl super::Cqe for Cqe {
    fn route(&self) -> Route {
        Route {
            cid: Cid(self.cid.get()),
            sq_head: self.sq_head.get(),
            sq_id: self.sq_id.get(),
            phase: u16::from_le(self.status) & 1 != 0,
        }
    }

    fn failed(&self) -> bool {
        self.status() != Status(0)
    }
}

/// Status of an admin command, 15 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u16);

impl Status {
    /// Bits that name the error, without More and Do Not Retry.
    const CODE: u16 = 0x07ff;

    /// Returns a word for log lines.
    pub(crate) fn name(self) -> &'static str {
        match self.0 & Self::CODE {
            0x000 => "success",
            0x001 => "invalid opcode",
            0x002 => "invalid field",
            0x004 => "data transfer error",
            0x007 => "internal error",
            0x100 => "invalid completion queue",
            0x101 => "invalid queue id",
            0x102 => "invalid queue size",
            0x108 => "invalid interrupt vector",
            0x10c => "invalid queue deletion",
            _ => "unknown error",
        }
    }
}

impl From<Status> for Error {
    /// Returns the errno for a failed command.
    fn from(status: Status) -> Self {
        match status.0 & Status::CODE {
            0x001 => EOPNOTSUPP,
            0x002 => EINVAL,
            _ => EIO,
        }
    }
}

/// The entries of the admin queue.
pub(crate) struct Entries;

impl super::Entries for Entries {
    const CLASS: Class = Class::Admin;
    type Sqe = Sqe;
    type Cqe = Cqe;
}
