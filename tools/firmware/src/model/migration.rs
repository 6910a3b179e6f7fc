// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a function takes along when it moves to another device (section 4.9): which sessions there are, the key that
//! wraps its BK3, and the sealed BK3.
//!
//! Keys and credential stay behind, as in a reset; its clients renegotiate their sessions on the other device. The
//! identity is that of the partition it arrives in.

use azihsm_ddi::{ApiRev, Bytes, Status};
use zeroize::Zeroizing;

use super::{
    blob::{self, Kind},
    function::Function,
    session::SESSIONS,
};

/// Protects contexts on their way. Devices of one fleet share such a key; that of emulated ones is well known.
const FLEET_KEY: &[u8; 32] = b"azihsm emulated devices, fleet 0";

/// What of a partition moves.
pub(super) struct Carried {
    pub(super) root: Zeroizing<[u8; 32]>,
    pub(super) bk3_initialized: bool,
    pub(super) sealed_bk3: Option<Bytes<1024>>,
}

/// Returns the context of a function, encrypted.
pub(super) fn save(function: &Function) -> Result<Vec<u8>, Status> {
    let partition = function
        .partition
        .as_ref()
        .ok_or(Status::PartitionNotProvisioned)?;
    let carried = partition.carry();
    let mut plain = Zeroizing::new(Vec::new());
    for revision in function.sessions.revisions() {
        plain.push(u8::from(revision.is_some()));
        let revision = revision.unwrap_or(ApiRev { major: 0, minor: 0 });
        plain.extend(revision.major.to_le_bytes());
        plain.extend(revision.minor.to_le_bytes());
    }
    plain.extend(*carried.root);
    plain.push(u8::from(carried.bk3_initialized));
    plain.push(u8::from(carried.sealed_bk3.is_some()));
    if let Some(sealed) = &carried.sealed_bk3 {
        plain.extend(&sealed[..]);
    }
    blob::seal(FLEET_KEY, Kind::Context, &plain)
}

/// Gives a function the context that [`save`] made, on this device or another one.
pub(super) fn restore(function: &mut Function, context: &[u8]) -> Result<(), Status> {
    let partition = function
        .partition
        .as_mut()
        .filter(|_| !function.enabled)
        .ok_or(Status::PartitionNotProvisioned)?;
    let plain = blob::open(FLEET_KEY, Kind::Context, context)?;
    let mut rest = &plain[..];
    let mut revisions = [None; SESSIONS];
    for revision in &mut revisions {
        let [present] = take(&mut rest)?;
        let major = u32::from_le_bytes(take(&mut rest)?);
        let minor = u32::from_le_bytes(take(&mut rest)?);
        *revision = (present != 0).then_some(ApiRev { major, minor });
    }
    let root = Zeroizing::new(take(&mut rest)?);
    let [bk3_initialized, has_sealed_bk3] = take(&mut rest)?;
    let sealed_bk3 = match has_sealed_bk3 {
        0 if rest.is_empty() => None,
        0 => return Err(Status::InvalidArg),
        _ => Some(Bytes::try_from(rest).map_err(|_| Status::InvalidArg)?),
    };
    partition.take_over(Carried {
        root,
        bk3_initialized: bk3_initialized != 0,
        sealed_bk3,
    });
    function.sessions.reserve(revisions);
    Ok(())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Status> {
    let (bytes, after) = rest.split_first_chunk().ok_or(Status::InvalidArg)?;
    *rest = after;
    Ok(*bytes)
}
