// SPDX-License-Identifier: MIT OR Apache-2.0

//! Headers, and the envelope that holds a header and a body.

use crate::{
    Op, Operation, Status,
    mbor::{Decode, DecodeError, Decoder, Encode, EncodeError, Encoder, message},
};

/// Field ids of the envelope.
const HEADER: u8 = 0;
const BODY: u8 = 1;

message! {
    /// An API revision.
    #[derive(Copy, PartialOrd, Ord)]
    pub struct ApiRev {
        /// Major number.
        1 required major: u32,
        /// Minor number.
        2 required minor: u32,
    }
}

impl ApiRev {
    /// The only revision there is.
    pub const V1: Self = Self { major: 1, minor: 0 };
}

message! {
    /// Header of a request.
    #[derive(Copy)]
    pub struct RequestHeader {
        /// Revision of the body; GetApiRev has none.
        1 optional revision: ApiRev,
        /// The operation.
        2 required op: Op,
        /// Session of operations that close a session or run in one.
        3 optional session_id: u16,
    }
}

impl RequestHeader {
    /// Header of `O` in revision 1.0.
    pub const fn new<O: Operation>(session_id: Option<u16>) -> Self {
        Self {
            revision: Some(ApiRev::V1),
            op: O::OP,
            session_id,
        }
    }

    /// Header of `O` without revision, for GetApiRev.
    pub const fn without_revision<O: Operation>() -> Self {
        Self {
            revision: None,
            op: O::OP,
            session_id: None,
        }
    }
}

message! {
    /// Header of a response.
    #[derive(Copy)]
    pub struct ResponseHeader {
        /// Revision of the request.
        1 optional revision: ApiRev,
        /// Operation of the request.
        2 required op: Op,
        /// The session.
        3 optional session_id: u16,
        /// Outcome.
        4 required status: Status,
        /// Whether the operation is FIPS approved.
        5 required fips_approved: bool,
    }
}

message! {
    /// Body without fields.
    #[derive(Copy, Default)]
    pub struct Empty {
    }
}

fn envelope(header: &impl Encode, body: &impl Encode) -> Result<Vec<u8>, EncodeError> {
    let mut encoder = Encoder::new();
    encoder.map(2)?;
    encoder.field(HEADER, header)?;
    encoder.field(BODY, body)?;
    Ok(encoder.finish())
}

/// Takes the header and returns the decoder at the body.
fn open<H: Decode>(message: &[u8]) -> Result<(H, Decoder<'_>), DecodeError> {
    let mut decoder = Decoder::new(message);
    let mut map = decoder.map()?;
    let header = map.required(HEADER)?;
    let body = map.enter(BODY)?.clone();
    map.finish()?;
    Ok((header, body))
}

/// Encodes a request.
///
/// # Errors
///
/// [`EncodeError`] if the body has no encoding.
pub fn encode_request(header: &RequestHeader, body: &impl Encode) -> Result<Vec<u8>, EncodeError> {
    envelope(header, body)
}

/// Encodes a response.
///
/// # Errors
///
/// [`EncodeError`] if the body has no encoding.
pub fn encode_response(
    header: &ResponseHeader,
    body: &impl Encode,
) -> Result<Vec<u8>, EncodeError> {
    envelope(header, body)
}

/// Encodes a response without body, as errors are.
///
/// # Errors
///
/// Never in practice; the signature is that of [`encode_response`].
pub fn encode_error(header: &ResponseHeader) -> Result<Vec<u8>, EncodeError> {
    envelope(header, &Empty {})
}

/// A request whose header is decoded.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The header.
    pub header: RequestHeader,
    body: Decoder<'a>,
}

impl<'a> Request<'a> {
    /// Decodes the header of `message`.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it does not decode.
    pub fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        open(message).map(|(header, body)| Self { header, body })
    }

    /// Decodes the body, which has to be all of the rest.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it does not decode.
    pub fn body<T: Decode>(&self) -> Result<T, DecodeError> {
        self.body.clone().all()
    }
}

/// A response is not the success that was hoped for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The device refused or failed the operation.
    #[error("the device answers {:?} with {}", .0.op, .0.status)]
    Status(ResponseHeader),
    /// The response does not decode.
    #[error("the response of the device does not decode: {0}")]
    Decode(#[from] DecodeError),
    /// The response is to another operation.
    #[error("the device answers {found:?} instead of {expected:?}")]
    Op {
        /// Operation of the request.
        expected: Op,
        /// Operation in the response.
        found: Op,
    },
}

/// Decodes the response to a request `O`.
///
/// # Errors
///
/// [`ResponseError`] if the device reports an error or the response is not one to `O`.
pub fn decode_response<O: Operation>(
    message: &[u8],
) -> Result<(ResponseHeader, O::Response), ResponseError> {
    let (header, body) = open::<ResponseHeader>(message)?;
    if !header.status.is_success() {
        return Err(ResponseError::Status(header));
    }
    if header.op != O::OP {
        return Err(ResponseError::Op {
            expected: O::OP,
            found: header.op,
        });
    }
    Ok((header, body.all()?))
}
