// SPDX-License-Identifier: GPL-2.0

//! Admin queue entries: 64-byte commands, 16-byte completions.

use kernel::prelude::*;
use zerocopy::little_endian::{
    U16,
    U32,
    U64, //
};
use zerocopy_derive::Immutable;

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
    pub(super) const SET_RESOURCES: u8 = 0xc3;
    pub(super) const GET_RESOURCES: u8 = 0xc4;
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
        /// Bus address of a page that receives [`identify::Data`](super::identify::Data).
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
    /// Sets the number of resources that a function owns. Only the physical function may do so.
    SetResources {
        /// The function. An enabled virtual function is disabled by it.
        ctrl: CtrlId,
        /// New number.
        count: u16,
    },
    /// Reads the number of resources that a function owns; see [`resource_count`].
    GetResources {
        /// The function.
        ctrl: CtrlId,
    },
}

/// Returns the number of resources in the reply `value` to [`Command::GetResources`].
pub(crate) fn resource_count(value: u32) -> u16 {
    // CAST: The upper half is not part of the number.
    value as u16
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
            Self::SetResources { ctrl, count } => (
                opcode::SET_RESOURCES,
                0,
                u32::from(ctrl.0),
                u32::from(count),
            ),
            Self::GetResources { ctrl } => (opcode::GET_RESOURCES, 0, u32::from(ctrl.0), 0),
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
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
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
    type Words = [u64; 2];

    fn from_words(words: &Self::Words) -> &Self {
        zerocopy::transmute_ref!(words)
    }

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

#[kunit_tests(azihsm_wire_admin)]
mod tests {
    use super::*;

    use crate::wire;

    fn bytes(sqe: Sqe) -> [u8; 64] {
        zerocopy::transmute!(sqe)
    }

    /// Expects `command` with command id 0x0807 to be these fields and zeros everywhere else.
    fn is(command: Command, opcode: u8, prp1: u64, dw10: u32, dw11: u32) -> bool {
        let mut want = [0u8; 64];
        want[0] = opcode;
        want[2..4].copy_from_slice(&[0x07, 0x08]);
        want[24..32].copy_from_slice(&prp1.to_le_bytes());
        want[40..44].copy_from_slice(&dw10.to_le_bytes());
        want[44..48].copy_from_slice(&dw11.to_le_bytes());
        bytes(command.sqe(Cid(0x0807))) == want
    }

    #[test]
    fn queues_are_created() -> Result {
        let size = ring::Size::new(16).ok_or(EINVAL)?;
        let ring = 0x1122_3344_5566_7000;
        let control = QueueId::control(0).ok_or(EINVAL)?;
        let aes = QueueId::aes(0).ok_or(EINVAL)?;
        let create_cq = |id, vector| Command::CreateCq {
            id,
            size,
            ring,
            vector,
        };
        assert!(is(
            create_cq(control, Some(1)),
            0x05,
            ring,
            0x000f_0001,
            0x0001_0003
        ));
        assert!(is(
            create_cq(aes, Some(16)),
            0x05,
            ring,
            0x000f_0100,
            0x0010_0003
        ));
        // Polled.
        assert!(is(
            create_cq(aes, None),
            0x05,
            ring,
            0x000f_0100,
            0x0000_0001
        ));
        let create_sq = |id| Command::CreateSq { id, size, ring };
        assert!(is(create_sq(control), 0x01, ring, 0x000f_0001, 0x0001_0003));
        assert!(is(create_sq(aes), 0x01, ring, 0x000f_0100, 0x0100_0007));
        Ok(())
    }

    #[test]
    fn queues_are_deleted() -> Result {
        let id = QueueId::aes(129).ok_or(EINVAL)?;
        assert!(is(Command::DeleteSq { id }, 0x00, 0, 385, 0));
        assert!(is(Command::DeleteCq { id }, 0x04, 0, 385, 0));
        Ok(())
    }

    #[test]
    fn controller_is_asked() {
        let page = 0xffff_ffff_ffff_f000;
        assert!(is(Command::Identify { page }, 0x06, page, 1, 0));
        let get = |feature| Command::GetFeature { feature };
        assert!(is(get(Feature::ControlQueues), 0x0a, 0, 0x07, 0));
        assert!(is(get(Feature::AesQueues), 0x0a, 0, 0xc1, 0));
        assert!(is(get(Feature::Capabilities), 0x0a, 0, 0xc2, 0));
    }

    #[test]
    fn queue_counts_are_requested() -> Result {
        let control = Command::queue_count(Class::Control, 128).ok_or(EINVAL)?;
        assert!(is(control, 0x09, 0, 0x07, 0x0080_0080));
        let aes = Command::queue_count(Class::Aes, 128).ok_or(EINVAL)?;
        assert!(is(aes, 0x09, 0, 0xc1, 0x0080_0080));
        assert!(Command::queue_count(Class::Admin, 1).is_none());
        Ok(())
    }

    #[test]
    fn resources_are_counted() {
        let ctrl = CtrlId(64);
        assert!(is(Command::GetResources { ctrl }, 0xc4, 0, 64, 0));
        let set = |count| Command::SetResources { ctrl, count };
        assert!(is(set(0), 0xc3, 0, 64, 0));
        assert!(is(set(65), 0xc3, 0, 64, 65));
        // The number is not checked here, but it does not spill into other fields either.
        assert!(is(set(u16::MAX), 0xc3, 0, 64, 0xffff));
        assert_eq!(resource_count(65), 65);
        assert_eq!(resource_count(0xffff_0000), 0);
    }

    fn cqe(bytes: [u8; 16]) -> Cqe {
        zerocopy::transmute!(bytes)
    }

    #[test]
    fn completion_is_parsed() {
        let cqe = cqe([
            0x03, 0x01, 2, 4, 9, 9, 9, 9, 0x11, 0, 0x22, 0, 0x33, 0, 0x01, 0,
        ]);
        let route = Route {
            cid: Cid(0x33),
            sq_head: 0x11,
            sq_id: 0x22,
            phase: true,
        };
        assert_eq!(wire::Cqe::route(&cqe), route);
        assert_eq!(cqe.value(), Ok(0x0402_0103));
        assert!(!wire::Cqe::failed(&cqe));
    }

    #[test]
    fn failure_has_a_name_and_an_errno() {
        // Internal error with Do Not Retry, phase 0.
        let cqe = cqe([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0e, 0x80]);
        assert_eq!(cqe.value(), Err(Status(0x4007)));
        assert!(wire::Cqe::failed(&cqe));
        assert!(!wire::Cqe::route(&cqe).phase);
        assert_eq!(Status(0x4007).name(), "internal error");
        assert_eq!(Error::from(Status(0x4007)), EIO);
        assert_eq!(Error::from(Status(0x4001)), EOPNOTSUPP);
        assert_eq!(Error::from(Status(0x4002)), EINVAL);
        assert_eq!(Status(0x4108).name(), "invalid interrupt vector");
        assert_eq!(Status(0x7fff).name(), "unknown error");
        // Bits above the code are no success.
        assert_eq!(Error::from(Status(0x4000)), EIO);
    }
}
