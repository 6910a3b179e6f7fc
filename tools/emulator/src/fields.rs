// SPDX-License-Identifier: GPL-2.0-or-later

//! Little-endian fields at fixed offsets of queue entries.
//!
//! Offsets are constants of the entry layouts, so an offset outside the entry is a mistake in this program and panics.

/// Reads the byte at `offset`.
pub fn u8_at(entry: &[u8], offset: usize) -> u8 {
    entry[offset]
}

/// Reads the 16-bit field at `offset`.
pub fn u16_at(entry: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(bytes_at(entry, offset))
}

/// Reads the 32-bit field at `offset`.
pub fn u32_at(entry: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes_at(entry, offset))
}

/// Reads the 64-bit field at `offset`.
pub fn u64_at(entry: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes_at(entry, offset))
}

/// Reads the `N` bytes at `offset`.
pub fn bytes_at<const N: usize>(entry: &[u8], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&entry[offset..offset + N]);
    bytes
}

/// Writes `bytes` at `offset`.
pub fn put(entry: &mut [u8], offset: usize, bytes: &[u8]) {
    entry[offset..offset + bytes.len()].copy_from_slice(bytes);
}
