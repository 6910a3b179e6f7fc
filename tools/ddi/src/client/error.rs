// SPDX-License-Identifier: MIT OR Apache-2.0

//! What goes wrong for a client.

use crate::{ResponseError, Status, mbor::EncodeError, mbor::TooLong};

/// A command of a client failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError<E> {
    /// The device gave no response.
    #[error(transparent)]
    Transport(E),
    /// The device refused the command, or its response does not decode.
    #[error(transparent)]
    Response(#[from] ResponseError),
    /// The device gave an answer that decodes but makes no sense: what it did.
    #[error("the device {0}")]
    Device(&'static str),
    /// Data of the caller does not fit in the request.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The request cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl<E> ClientError<E> {
    /// Returns the status with which the device refused the command.
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Response(ResponseError::Status(header)) => Some(header.status),
            _ => None,
        }
    }
}
