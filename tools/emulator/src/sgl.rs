// SPDX-License-Identifier: GPL-2.0-or-later

//! Where the data of a fast-path command lies: SGL and PRP walking (section 7.1).

use crate::fields::{u8_at, u32_at, u64_at};
use crate::function::{DmaFailed, Function};
use crate::queue::Sq;

/// Size of a descriptor.
const DESCRIPTOR: usize = 16;
/// Size of a page, the unit of a PRP.
const PAGE: u64 = 4096;
/// Descriptors that one command may have, so that lists linked in a circle come to an end.
const DESCRIPTORS_MAX: usize = 1 << 20;
/// Bytes of a list that are fetched at once.
const CHUNK: usize = 4096;

const TYPE_DATA: u8 = 0;
const TYPE_SEGMENT: u8 = 2;
const TYPE_LAST_SEGMENT: u8 = 3;

/// The data pointer of a submission entry.
#[derive(Clone, Copy, Debug)]
pub enum Pointer {
    /// Two pages.
    Prp([u64; 2]),
    /// One descriptor.
    Sgl([u8; DESCRIPTOR]),
}

/// Why a data pointer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A PRP is not aligned or does not reach.
    Prp,
    /// A list cannot be read.
    ListFetch,
    /// A descriptor has no business where it is.
    Structure,
    /// The data blocks do not cover the length.
    Short,
}

/// A contiguous piece of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Bus address.
    pub address: u64,
    /// Length in bytes, not 0.
    pub len: usize,
}

#[derive(Clone, Copy)]
struct Descriptor {
    address: u64,
    len: u32,
    kind: u8,
}

impl Descriptor {
    fn decode(raw: &[u8]) -> Result<Self, Fault> {
        let id = u8_at(raw, 15);
        // The only sub-type is "address".
        if id & 0xf != 0 {
            return Err(Fault::Structure);
        }
        Ok(Descriptor {
            address: u64_at(raw, 0),
            len: u32_at(raw, 8),
            kind: id >> 4,
        })
    }
}

/// Finds the blocks that hold the first `len` bytes behind a data pointer; `what` names it in violations.
pub fn resolve(
    function: &Function,
    sq: &Sq,
    sqe: &[u8],
    what: &str,
    pointer: Pointer,
    len: usize,
) -> Result<Vec<Block>, Fault> {
    let mut blocks = Blocks {
        list: Vec::new(),
        missing: len,
    };
    if len == 0 {
        return Ok(blocks.list);
    }
    match pointer {
        Pointer::Prp(prps) => prp(prps, &mut blocks)?,
        Pointer::Sgl(raw) => {
            let first = Descriptor::decode(&raw)?;
            match first.kind {
                TYPE_DATA => blocks.add(first),
                TYPE_SEGMENT | TYPE_LAST_SEGMENT => {
                    let what = format!("{what} SGL");
                    walk(first, &mut blocks, |address, list| {
                        function.dma_read(sq, sqe, &what, address, list)
                    })?;
                }
                _ => return Err(Fault::Structure),
            }
        }
    }
    if blocks.missing > 0 {
        Err(Fault::Short)
    } else {
        Ok(blocks.list)
    }
}

/// Collects blocks until the length is covered.
struct Blocks {
    list: Vec<Block>,
    missing: usize,
}

impl Blocks {
    fn add(&mut self, descriptor: Descriptor) {
        let len = (descriptor.len as usize).min(self.missing);
        if len > 0 {
            self.list.push(Block {
                address: descriptor.address,
                len,
            });
            self.missing -= len;
        }
    }
}

/// PRP1 may start anywhere in its page, PRP2 is a whole page; the transfer limit of 8 KiB leaves no room for lists.
fn prp(prps: [u64; 2], blocks: &mut Blocks) -> Result<(), Fault> {
    let first = PAGE - prps[0] % PAGE;
    blocks.add(Descriptor {
        address: prps[0],
        len: first as u32,
        kind: TYPE_DATA,
    });
    if blocks.missing > 0 {
        if prps[1] % PAGE != 0 {
            return Err(Fault::Prp);
        }
        blocks.add(Descriptor {
            address: prps[1],
            len: PAGE as u32,
            kind: TYPE_DATA,
        });
    }
    if blocks.missing > 0 {
        Err(Fault::Prp)
    } else {
        Ok(())
    }
}

/// Walks a list, from link to link, until the length is covered.
fn walk(
    first: Descriptor,
    blocks: &mut Blocks,
    mut fetch: impl FnMut(u64, &mut [u8]) -> Result<(), DmaFailed>,
) -> Result<(), Fault> {
    let mut link = first;
    let mut budget = DESCRIPTORS_MAX;
    loop {
        let size = link.len as usize;
        let entries = size / DESCRIPTOR;
        if entries == 0 || size % DESCRIPTOR != 0 || entries > budget {
            return Err(Fault::Structure);
        }
        budget -= entries;
        let mut next = None;
        let mut chunk = [0; CHUNK];
        for start in (0..size).step_by(CHUNK) {
            let part = &mut chunk[..CHUNK.min(size - start)];
            fetch(link.address.wrapping_add(start as u64), part)
                .map_err(|DmaFailed| Fault::ListFetch)?;
            for (index, raw) in part.chunks_exact(DESCRIPTOR).enumerate() {
                let descriptor = Descriptor::decode(raw)?;
                let is_last = start + (index + 1) * DESCRIPTOR == size;
                match descriptor.kind {
                    // The last entry of a segment is the link to the next one.
                    TYPE_DATA if !(is_last && link.kind == TYPE_SEGMENT) => blocks.add(descriptor),
                    TYPE_SEGMENT | TYPE_LAST_SEGMENT if is_last && link.kind == TYPE_SEGMENT => {
                        next = Some(descriptor);
                    }
                    _ => return Err(Fault::Structure),
                }
                if blocks.missing == 0 {
                    return Ok(());
                }
            }
        }
        match next {
            Some(descriptor) => link = descriptor,
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn raw(address: u64, len: u32, kind: u8) -> [u8; 16] {
        let mut d = [0; 16];
        d[..8].copy_from_slice(&address.to_le_bytes());
        d[8..12].copy_from_slice(&len.to_le_bytes());
        d[15] = kind << 4;
        d
    }

    /// Walks lists given as (address, descriptors), for `len` bytes.
    fn run(
        first: [u8; 16],
        lists: &[(u64, &[[u8; 16]])],
        len: usize,
    ) -> Result<Vec<(u64, usize)>, Fault> {
        let memory: HashMap<u64, Vec<u8>> = lists.iter().map(|(a, d)| (*a, d.concat())).collect();
        let mut blocks = Blocks {
            list: Vec::new(),
            missing: len,
        };
        walk(
            Descriptor::decode(&first)?,
            &mut blocks,
            |address, buffer| {
                let list = memory
                    .get(&address)
                    .filter(|l| l.len() >= buffer.len())
                    .ok_or(DmaFailed)?;
                buffer.copy_from_slice(&list[..buffer.len()]);
                Ok(())
            },
        )?;
        if blocks.missing > 0 {
            return Err(Fault::Short);
        }
        Ok(blocks
            .list
            .into_iter()
            .map(|b| (b.address, b.len))
            .collect())
    }

    #[test]
    fn last_segment() {
        let list = [raw(0x1800, 0x800, 0), raw(0x5000, 0x10, 0)];
        assert_eq!(
            run(raw(0x100, 32, 3), &[(0x100, &list)], 0x810),
            Ok(vec![(0x1800, 0x800), (0x5000, 0x10)])
        );
        // A block longer than needed is used as far as needed.
        assert_eq!(
            run(raw(0x100, 32, 3), &[(0x100, &list)], 0x7ff),
            Ok(vec![(0x1800, 0x7ff)])
        );
        assert_eq!(
            run(raw(0x100, 32, 3), &[(0x100, &list)], 0x811),
            Err(Fault::Short)
        );
    }

    #[test]
    fn chain_of_segments() {
        let a = [raw(0x1000, 16, 0), raw(0x200, 32, 2)];
        let b = [raw(0x2000, 16, 0), raw(0x300, 16, 3)];
        let c = [raw(0x3000, 16, 0)];
        let lists: &[(u64, &[[u8; 16]])] = &[(0x100, &a), (0x200, &b), (0x300, &c)];
        assert_eq!(
            run(raw(0x100, 32, 2), lists, 48),
            Ok(vec![(0x1000, 16), (0x2000, 16), (0x3000, 16)])
        );
    }

    #[test]
    fn malformed() {
        let data = [raw(0x1000, 16, 0), raw(0x2000, 16, 0)];
        // A segment that ends in a data block instead of a link.
        assert_eq!(
            run(raw(0x100, 32, 2), &[(0x100, &data)], 32),
            Err(Fault::Structure)
        );
        // A link inside of a last segment, and before the end of a segment.
        let link = [raw(0x200, 16, 3), raw(0x1000, 16, 0)];
        assert_eq!(
            run(raw(0x100, 32, 3), &[(0x100, &link)], 32),
            Err(Fault::Structure)
        );
        assert_eq!(
            run(raw(0x100, 32, 2), &[(0x100, &link)], 32),
            Err(Fault::Structure)
        );
        // Lengths that are no list.
        assert_eq!(
            run(raw(0x100, 0, 3), &[(0x100, &data)], 32),
            Err(Fault::Structure)
        );
        assert_eq!(
            run(raw(0x100, 24, 3), &[(0x100, &data)], 32),
            Err(Fault::Structure)
        );
        // Unknown type, unknown sub-type.
        assert_eq!(
            run(raw(0x100, 16, 3), &[(0x100, &[raw(0x1000, 16, 1)])], 16),
            Err(Fault::Structure)
        );
        let mut sub = raw(0x1000, 16, 0);
        sub[15] = 1;
        assert_eq!(
            run(raw(0x100, 16, 3), &[(0x100, &[sub])], 16),
            Err(Fault::Structure)
        );
        // A list that is not there.
        assert_eq!(
            run(raw(0x900, 32, 3), &[(0x100, &data)], 32),
            Err(Fault::ListFetch)
        );
    }

    #[test]
    fn a_circle_comes_to_an_end() {
        let circle = [raw(0x1000, 0, 0), raw(0x100, 32, 2)];
        assert_eq!(
            run(raw(0x100, 32, 2), &[(0x100, &circle)], 1),
            Err(Fault::Structure)
        );
    }

    #[test]
    fn prps() {
        let blocks = |prps, missing| {
            let mut blocks = Blocks {
                list: Vec::new(),
                missing,
            };
            prp(prps, &mut blocks).map(|()| {
                blocks
                    .list
                    .iter()
                    .map(|b| (b.address, b.len))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(
            blocks([0x1f00, 0x3000], 0x200),
            Ok(vec![(0x1f00, 0x100), (0x3000, 0x100)])
        );
        assert_eq!(blocks([0x1000, 1], 0x1000), Ok(vec![(0x1000, 0x1000)]));
        assert_eq!(
            blocks([0x1000, 0x3000], 0x2000),
            Ok(vec![(0x1000, 0x1000), (0x3000, 0x1000)])
        );
        assert_eq!(blocks([0x1010, 0x3000], 0x2000), Err(Fault::Prp));
        assert_eq!(blocks([0x1000, 0x3010], 0x1010), Err(Fault::Prp));
    }
}
