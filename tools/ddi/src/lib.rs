// SPDX-License-Identifier: MIT OR Apache-2.0

//! The control-path protocol (DDI) of the Azure Integrated HSM.
//!
//! A request and its response are byte strings in the MBOR encoding, carried in the buffers of a control
//! command. This crate has both sides of it: a host encodes requests and decodes responses
//! ([`encode_request`], [`decode_response`]), a device does the opposite ([`Request::parse`],
//! [`encode_response`], [`encode_error`]).
//!
//! - [`mbor`]: the encoding, nothing else.
//! - [`frame`]: headers and the envelope.
//! - [`message`]: requests and responses of the operations.
//! - [`client`] (feature `client`): the flow from a reset device to an open session, with its cryptography.
//!
//! ```
//! use azihsm_ddi::{encode_request, RequestHeader, message::GetApiRev};
//!
//! let request = encode_request(&RequestHeader::without_revision::<GetApiRev>(), &GetApiRev {})?;
//! assert_eq!(request, [0xa2, 0x18, 0, 0xa1, 0x18, 2, 0x1a, 0, 0, 3, 0xea, 0x18, 1, 0xa0]);
//! # Ok::<(), azihsm_ddi::mbor::EncodeError>(())
//! ```

#[cfg(feature = "client")]
pub mod client;
mod enums;
pub mod frame;
pub mod mbor;
pub mod message;
mod op;
mod status;

pub use enums::{AesKeySize, AesOp, DeviceKind, KeyKind};
pub use frame::{
    ApiRev, Request, RequestHeader, ResponseError, ResponseHeader, decode_response, encode_error,
    encode_request, encode_response,
};
pub use mbor::Bytes;
pub use op::{Op, Operation, SessionKind};
pub use status::Status;
