// SPDX-License-Identifier: MIT OR Apache-2.0

//! Requests and responses of the operations.
//!
//! Each request implements [`Operation`](crate::Operation), which names its response.

mod credential;
mod information;
mod key;

pub use credential::*;
pub use information::*;
pub use key::*;

pub use crate::frame::Empty;

use crate::{KeyKind, mbor::message};

message! {
    /// A public key in DER (SubjectPublicKeyInfo on a virtual device).
    pub struct DerPublicKey {
        /// The key.
        1 required der: crate::Bytes<768>,
        /// What it is.
        2 required kind: KeyKind,
    }
}

/// Says which operation a request is and what answers it.
macro_rules! operations {
    ($($request:ident -> $response:ident,)*) => {$(
        impl $crate::Operation for $request {
            const OP: $crate::Op = $crate::Op::$request;
            type Response = $response;
        }
    )*};
}

use operations;
