// SPDX-License-Identifier: MIT OR Apache-2.0

//! Fast-path commands: checks in the order of section 8.2, then the cipher.

use std::sync::{Arc, PoisonError};

use subtle::ConstantTimeEq;

use super::{
    Shared,
    access::random,
    bulk::{BulkKey, BulkKind, Slot},
    gcm, xts,
};
use crate::{Cipher, FastRequest, FastResponse, FunctionId};

/// Status values (section 7.3).
mod status {
    pub(super) const XTS: u16 = 1;
    pub(super) const GCM: u16 = 2;
    pub(super) const ENGINE: u16 = 3;
    pub(super) const FETCH: u16 = 4;
}

/// Error codes with status [`status::XTS`].
mod xts_error {
    pub(super) const KEY1_INDEX: u16 = 1;
    pub(super) const KEY2_INDEX: u16 = 2;
    pub(super) const OWNER: u16 = 3;
    pub(super) const SESSION_ONLY: u16 = 4;
    pub(super) const SAME_KEY: u16 = 5;
    pub(super) const SAME_BYTES: u16 = 6;
    pub(super) const KEY1_SESSION: u16 = 7;
    pub(super) const KEY2_SESSION: u16 = 8;
    pub(super) const KEY1_APP: u16 = 9;
    pub(super) const KEY2_APP: u16 = 0xa;
    pub(super) const TOO_LONG: u16 = 0xb;
    pub(super) const LENGTH: u16 = 0xc;
    pub(super) const KEY1_TYPE: u16 = 0xe;
    pub(super) const KEY2_TYPE: u16 = 0xf;
}

/// Error codes with status [`status::GCM`].
mod gcm_error {
    pub(super) const KEY_INDEX: u16 = 1;
    pub(super) const OWNER: u16 = 2;
    pub(super) const SESSION: u16 = 3;
    pub(super) const APP: u16 = 4;
    pub(super) const PADDED_AAD: u16 = 5;
    pub(super) const LENGTH: u16 = 6;
    pub(super) const TYPE: u16 = 8;
    pub(super) const CORRECTED_TAG: u16 = 0x2a;
    pub(super) const TAIL_LENGTH: u16 = 0x2c;
}

/// Error code with status [`status::ENGINE`].
const TAG_MISMATCH: u16 = 9;

/// Error code with status [`status::FETCH`].
const UNDERRUN: u16 = 0xa;

const BLOCK: usize = 16;
const AAD_UNIT: u32 = 32;
const XTS_MAX: usize = 16 << 20;

/// A status that is not 0, and its error code.
type Failure = (u16, u16);

/// Runs a command.
pub(super) fn run(shared: &Shared, function: FunctionId, request: FastRequest) -> FastResponse {
    let result = match request.cipher {
        Cipher::Xts { .. } => run_xts(shared, function, request),
        Cipher::Gcm { .. } => run_gcm(shared, function, request),
    };
    result.unwrap_or_else(|(status, error)| {
        tracing::debug!(
            function = function.0,
            status,
            error,
            "fast-path command fails"
        );
        FastResponse {
            status,
            error,
            ..FastResponse::default()
        }
    })
}

/// Looks a slot up. The copy keeps the key alive, so that a running command finishes when it is deleted.
fn slot(shared: &Shared, id: u32) -> Option<Slot> {
    shared
        .slots
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(id)
        .cloned()
}

fn run_xts(
    shared: &Shared,
    function: FunctionId,
    request: FastRequest,
) -> Result<FastResponse, Failure> {
    let Cipher::Xts {
        key1,
        key2,
        tweak,
        data_unit,
    } = request.cipher
    else {
        return Err((status::XTS, 0));
    };
    let keys = xts_keys(shared, function, &request, key1, key2);
    // The length is checked first, but the result of the key checks takes precedence.
    let (data_key, tweak_key) = keys.map_err(|error| (status::XTS, error))?;
    let mut data = request.data;
    if data.len() % BLOCK != 0 {
        return Err((status::XTS, xts_error::LENGTH));
    }
    if data.len() > XTS_MAX {
        return Err((status::XTS, xts_error::TOO_LONG));
    }
    let unit = data_unit
        .and_then(|unit| usize::try_from(unit).ok())
        .unwrap_or(data.len());
    xts::run(
        &data_key.cipher,
        &tweak_key.cipher,
        request.decrypt,
        tweak,
        unit,
        &mut data,
    );
    let fips = u32::from(shared.config.fips_approved);
    Ok(FastResponse {
        fips,
        data,
        ..FastResponse::default()
    })
}

/// Finds the two keys of an XTS command, or the code of the first check that fails.
fn xts_keys(
    shared: &Shared,
    function: FunctionId,
    request: &FastRequest,
    id1: u32,
    id2: u32,
) -> Result<(Arc<BulkKey>, Arc<BulkKey>), u16> {
    let (slot1, slot2) = (slot(shared, id1), slot(shared, id2));
    // A slot that does not exist has no type; it is refused for its index.
    if slot1
        .as_ref()
        .is_some_and(|slot| slot.kind != BulkKind::Xts)
    {
        return Err(xts_error::KEY1_TYPE);
    }
    if slot2
        .as_ref()
        .is_some_and(|slot| slot.kind != BulkKind::Xts)
    {
        return Err(xts_error::KEY2_TYPE);
    }
    let slot1 = slot1.ok_or(xts_error::KEY1_INDEX)?;
    let slot2 = slot2.ok_or(xts_error::KEY2_INDEX)?;
    if id1 == id2 {
        return Err(xts_error::SAME_KEY);
    }
    let owned = |slot: Slot| {
        slot.key
            .filter(|key| key.owner == function)
            .ok_or(xts_error::OWNER)
    };
    let (key1, key2) = (owned(slot1)?, owned(slot2)?);
    let checks = [
        (
            key1.session_only == key2.session_only,
            xts_error::SESSION_ONLY,
        ),
        (!key1.same_bytes(&key2), xts_error::SAME_BYTES),
        (
            key1.short_app_id == request.short_app_id,
            xts_error::KEY1_APP,
        ),
        (
            key2.short_app_id == request.short_app_id,
            xts_error::KEY2_APP,
        ),
        (in_session(&key1, request), xts_error::KEY1_SESSION),
        (in_session(&key2, request), xts_error::KEY2_SESSION),
    ];
    first_failure(&checks)?;
    Ok((key1, key2))
}

fn run_gcm(
    shared: &Shared,
    function: FunctionId,
    request: FastRequest,
) -> Result<FastResponse, Failure> {
    let Cipher::Gcm {
        key,
        iv,
        tag: expected,
        aad_len,
        padded_aad_len,
        tail_len,
    } = request.cipher
    else {
        return Err((status::GCM, 0));
    };
    let (kind, key) = gcm_key(shared, function, &request, key, padded_aad_len)
        .map_err(|error| (status::GCM, error))?;
    let tail = usize::from(tail_len);
    let source = request
        .data
        .len()
        .checked_sub(tail)
        .ok_or((status::FETCH, UNDERRUN))?;
    if source % BLOCK != 0 {
        return Err((status::GCM, gcm_error::LENGTH));
    }
    if tail >= BLOCK {
        return Err((status::GCM, gcm_error::TAIL_LENGTH));
    }
    // Without a source the whole computation is done in software, with no AAD.
    let (aad_len, padded_aad_len) = if source == 0 {
        (0, 0)
    } else {
        (aad_len, padded_aad_len)
    };
    let padded_aad = usize::try_from(padded_aad_len).unwrap_or(usize::MAX);
    if padded_aad > source {
        return Err((status::FETCH, UNDERRUN));
    }
    let iv = match kind {
        BulkKind::GcmApproved if !request.decrypt => random(),
        _ => iv,
    };
    let corrected = aad_len < padded_aad_len || tail > 0 || source == 0;
    // Left alone, the hardware counts what it is given.
    let counted_aad = if corrected { aad_len } else { padded_aad_len };
    let mut data = request.data;
    let (aad, text) = data.split_at_mut(padded_aad);
    let tag = gcm::run(
        &key.cipher,
        request.decrypt,
        &iv,
        aad,
        counted_aad.into(),
        text,
    );
    let approved = kind == BulkKind::GcmApproved && shared.config.fips_approved;
    let mut response = FastResponse {
        tag,
        iv,
        fips: approved.into(),
        data,
        ..FastResponse::default()
    };
    if request.decrypt && !bool::from(tag.ct_eq(&expected)) {
        // The text has been written to the host by then, so it stays in the response.
        (response.status, response.error) = if corrected {
            (status::GCM, gcm_error::CORRECTED_TAG)
        } else {
            (status::ENGINE, TAG_MISMATCH)
        };
    }
    Ok(response)
}

/// Finds the key of a GCM command, or the code of the first check that fails.
fn gcm_key(
    shared: &Shared,
    function: FunctionId,
    request: &FastRequest,
    id: u32,
    padded_aad_len: u32,
) -> Result<(BulkKind, Arc<BulkKey>), u16> {
    let slot = slot(shared, id);
    // A slot that does not exist has no type; it is refused for its index.
    if slot.as_ref().is_some_and(|slot| slot.kind == BulkKind::Xts) {
        return Err(gcm_error::TYPE);
    }
    if padded_aad_len % AAD_UNIT != 0 {
        return Err(gcm_error::PADDED_AAD);
    }
    let Slot { kind, key } = slot.ok_or(gcm_error::KEY_INDEX)?;
    let key = key
        .filter(|key| key.owner == function)
        .ok_or(gcm_error::OWNER)?;
    first_failure(&[
        (key.short_app_id == request.short_app_id, gcm_error::APP),
        (in_session(&key, request), gcm_error::SESSION),
    ])?;
    Ok((kind, key))
}

/// Whether the session of the command may use `key`.
fn in_session(key: &BulkKey, request: &FastRequest) -> bool {
    !key.session_only || key.session_id == request.session_id
}

fn first_failure(checks: &[(bool, u16)]) -> Result<(), u16> {
    match checks.iter().find(|(ok, _)| !ok) {
        Some((_, code)) => Err(*code),
        None => Ok(()),
    }
}
