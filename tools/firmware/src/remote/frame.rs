// SPDX-License-Identifier: MIT OR Apache-2.0

//! Frames: what a message is wrapped in, and how it gets in and out of a stream.

use std::io::{self, Read, Write};

use crate::FunctionId;

/// Bytes of a header behind the length.
const HEADER_LEN: usize = 8;

/// Highest length of what follows the length field.
///
/// A fast-path command carries 16 MiB and a little at most; the device has to see longer ones to refuse them.
pub(super) const MAX_LEN: usize = 64 << 20;

/// Capacity that a frame is given before its bytes have arrived.
const INITIAL_CAPACITY: usize = 64 << 10;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Matches a reply with its request.
    pub(super) tag: u32,
    /// Type of message.
    pub(super) kind: u8,
    /// Function that the message is about.
    pub(super) function: FunctionId,
    /// The message.
    pub(super) body: Vec<u8>,
}

impl Frame {
    /// Whether a message with a body of `len` bytes can be sent.
    pub(super) fn fits(len: usize) -> bool {
        len <= MAX_LEN - HEADER_LEN
    }

    /// Writes the frame, at once if the stream takes it.
    pub(super) fn write(&self, stream: &mut impl Write) -> io::Result<()> {
        let len = u32::try_from(HEADER_LEN + self.body.len())
            .ok()
            .filter(|_| Self::fits(self.body.len()))
            .ok_or_else(|| {
                let len = self.body.len();
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("frame of {len} bytes is too long"),
                )
            })?;
        let mut bytes = Vec::with_capacity(4 + HEADER_LEN + self.body.len());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&self.tag.to_le_bytes());
        bytes.extend_from_slice(&[self.kind, 0]);
        bytes.extend_from_slice(&self.function.0.to_le_bytes());
        bytes.extend_from_slice(&self.body);
        stream.write_all(&bytes)
    }

    /// Reads a frame; `None` if the stream ends in front of one.
    pub(super) fn read(stream: &mut impl Read) -> io::Result<Option<Self>> {
        let mut len = [0; 4];
        if !read_or_end(stream, &mut len)? {
            return Ok(None);
        }
        let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
        if !(HEADER_LEN..=MAX_LEN).contains(&len) {
            return Err(invalid(format!(
                "frame length {len} is not in {HEADER_LEN}..={MAX_LEN}"
            )));
        }
        let mut header = [0; HEADER_LEN];
        stream.read_exact(&mut header)?;
        let [t0, t1, t2, t3, kind, reserved, f0, f1] = header;
        if reserved != 0 {
            return Err(invalid(format!(
                "reserved byte of a frame is {reserved:#04x}, not 0"
            )));
        }
        // The other side's word is not enough to allocate memory on.
        let body_len = len - HEADER_LEN;
        let mut body = Vec::with_capacity(body_len.min(INITIAL_CAPACITY));
        let limit = u64::try_from(body_len).unwrap_or(u64::MAX);
        if stream.take(limit).read_to_end(&mut body)? != body_len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let function = FunctionId(u16::from_le_bytes([f0, f1]));
        Ok(Some(Self {
            tag: u32::from_le_bytes([t0, t1, t2, t3]),
            kind,
            function,
            body,
        }))
    }
}

/// Makes an error about what the other side sent.
pub(super) fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// Fills `buffer`; returns false if the stream ends in front of it.
fn read_or_end(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    let (first, rest) = buffer.split_at_mut(1);
    loop {
        match stream.read(first) {
            Ok(0) => return Ok(false),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    stream.read_exact(rest)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Frame {
        Frame {
            tag: 0x0102_0304,
            kind: 5,
            function: FunctionId(0x0607),
            body: body.to_vec(),
        }
    }

    #[test]
    fn round_trip() {
        let mut bytes = Vec::new();
        frame(b"one").write(&mut bytes).unwrap();
        assert_eq!(bytes, *b"\x0b\0\0\0\x04\x03\x02\x01\x05\0\x07\x06one");
        frame(b"").write(&mut bytes).unwrap();
        let stream = &mut &*bytes;
        assert_eq!(Frame::read(stream).unwrap(), Some(frame(b"one")));
        assert_eq!(Frame::read(stream).unwrap(), Some(frame(b"")));
        assert_eq!(Frame::read(stream).unwrap(), None);
    }

    #[test]
    fn bad_frames_are_errors() {
        let mut good = Vec::new();
        frame(b"one").write(&mut good).unwrap();
        for len in 1..good.len() {
            let error = Frame::read(&mut &good[..len]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        for len in [0, 7, MAX_LEN + 1, u32::MAX as usize] {
            good[..4].copy_from_slice(&(len as u32).to_le_bytes());
            assert_eq!(
                Frame::read(&mut &*good).unwrap_err().kind(),
                io::ErrorKind::InvalidData
            );
        }
        good[..4].copy_from_slice(&11u32.to_le_bytes());
        good[9] = 1;
        assert_eq!(
            Frame::read(&mut &*good).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn too_long_a_frame_is_not_written() {
        let frame = frame(&vec![0; MAX_LEN]);
        let mut bytes = Vec::new();
        assert_eq!(
            frame.write(&mut bytes).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert!(bytes.is_empty());
    }
}
