// SPDX-License-Identifier: GPL-2.0-or-later

//! Guest memory: the only place that touches it.
//!
//! The map holds exactly the regions that the client has mapped and not yet unmapped. An access outside of them, or
//! against the direction they were mapped for, fails without touching anything, as it would behind an IOMMU; so does
//! any access while the function may not master the bus. A copy holds the map's lock, so that nothing is read or
//! written any more once an unmap has been answered.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;
use thiserror::Error;
use vm_memory::mmap::MmapRegion;
use vm_memory::{Bytes, FileOffset, VolatileMemory};

/// Why a transfer was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{verb} of {len} bytes at {address:#x}: {reason}", verb = if *.write { "write" } else { "read" })]
pub struct DmaError {
    /// Whether the device wanted to write.
    pub write: bool,
    /// First address of the transfer.
    pub address: u64,
    /// Length of the transfer.
    pub len: usize,
    /// What is wrong with it.
    pub reason: Refusal,
}

/// What is wrong with a refused transfer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// No live mapping covers the address.
    #[error("address {0:#x} is not mapped for DMA")]
    Unmapped(u64),
    /// The mapping does not allow the direction.
    #[error("the mapping at {0:#x} does not permit it")]
    Direction(u64),
    /// The client mapped the range without giving a file to map.
    #[error("the memory at {0:#x} cannot be mapped into the emulator")]
    Inaccessible(u64),
    /// The range runs past the end of the address space.
    #[error("the range wraps around")]
    Wraps,
    /// The function may not master the bus.
    #[error("Bus Master Enable of the function is not set")]
    NotMaster,
}

/// A failure to establish or remove a mapping.
#[derive(Debug, Error)]
pub enum MapError {
    /// The range is empty or runs past the end of the address space.
    #[error("invalid range {address:#x} + {size:#x}")]
    Range {
        /// First address.
        address: u64,
        /// Size in bytes.
        size: u64,
    },
    /// A range to unmap ends inside of a mapping.
    #[error("range {address:#x} + {size:#x} cuts a mapping")]
    Cut {
        /// First address.
        address: u64,
        /// Size in bytes.
        size: u64,
    },
    /// A live mapping overlaps the range.
    #[error("range {address:#x} + {size:#x} overlaps a live mapping")]
    Overlap {
        /// First address.
        address: u64,
        /// Size in bytes.
        size: u64,
    },
    /// The file ends before the mapping does: touching the rest would be fatal.
    #[error("the file of {length:#x} bytes does not hold {size:#x} bytes from {offset:#x} on")]
    ShortFile {
        /// Length of the file.
        length: u64,
        /// Where the mapping begins in it.
        offset: u64,
        /// Size in bytes.
        size: u64,
    },
    /// The file cannot be examined.
    #[error("cannot examine the file behind guest memory")]
    Metadata(#[source] std::io::Error),
    /// The file cannot be mapped.
    #[error("cannot map guest memory")]
    Mmap(#[from] vm_memory::mmap::MmapRegionError),
}

struct Mapping {
    size: u64,
    readable: bool,
    writable: bool,
    /// `None` if the client gave no file (ROMs and the like).
    region: Option<MmapRegion>,
}

/// The part of the guest's physical memory that the function may reach.
#[derive(Default)]
pub struct GuestMemory {
    bus: RwLock<Bus>,
}

#[derive(Default)]
struct Bus {
    /// Bus Master Enable.
    master: bool,
    mappings: BTreeMap<u64, Mapping>,
}

impl GuestMemory {
    /// Sets Bus Master Enable; when it is taken away nothing is read or written any more once this returns.
    pub fn set_master(&self, master: bool) {
        self.bus.write().master = master;
    }

    /// Returns Bus Master Enable.
    pub fn is_master(&self) -> bool {
        self.bus.read().master
    }

    /// Adds a mapping of `size` bytes at `address`, backed by `file` from `offset` on.
    pub fn map(
        &self,
        address: u64,
        size: u64,
        readable: bool,
        writable: bool,
        file: Option<(File, u64)>,
    ) -> Result<(), MapError> {
        let end = address
            .checked_add(size)
            .filter(|_| size > 0)
            .ok_or(MapError::Range { address, size })?;
        let length = usize::try_from(size).map_err(|_| MapError::Range { address, size })?;
        if let Some((file, offset)) = &file {
            let metadata = file.metadata().map_err(MapError::Metadata)?;
            let (length, offset) = (metadata.len(), *offset);
            if metadata.is_file() && offset.checked_add(size).is_none_or(|end| end > length) {
                return Err(MapError::ShortFile {
                    length,
                    offset,
                    size,
                });
            }
        }
        let mappings = &mut self.bus.write().mappings;
        let overlaps = mappings
            .range(..end)
            .next_back()
            .is_some_and(|(&start, m)| start + m.size > address);
        if overlaps {
            return Err(MapError::Overlap { address, size });
        }
        let prot = if readable { libc::PROT_READ } else { 0 }
            | if writable {
                libc::PROT_READ | libc::PROT_WRITE
            } else {
                0
            };
        let region = match file {
            Some((file, offset)) if prot != 0 => Some(MmapRegion::build(
                Some(FileOffset::new(file, offset)),
                length,
                prot,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
            )?),
            _ => None,
        };
        mappings.insert(
            address,
            Mapping {
                size,
                readable,
                writable,
                region,
            },
        );
        Ok(())
    }

    /// Removes the mappings within `size` bytes from `address`, and returns how many those were.
    pub fn unmap(&self, address: u64, size: u64) -> Result<usize, MapError> {
        let end = address.saturating_add(size);
        let mappings = &mut self.bus.write().mappings;
        let first = Self::find(mappings, address).map_or(address, |(start, _)| start);
        let touched: Vec<u64> = mappings
            .range(first..end)
            .map(|(&start, _)| start)
            .collect();
        let cut = |start: &u64| *start < address || start + mappings[start].size > end;
        if touched.iter().any(cut) {
            return Err(MapError::Cut { address, size });
        }
        for start in &touched {
            mappings.remove(start);
        }
        Ok(touched.len())
    }

    /// Removes all mappings.
    pub fn unmap_all(&self) {
        self.bus.write().mappings.clear();
    }

    /// Reads `buffer.len()` bytes at `address`.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), DmaError> {
        let len = buffer.len();
        let bus = self.bus.read();
        Self::check(&bus, address, len, false)?;
        Self::for_each_part(&bus.mappings, address, len, |region, offset, range| {
            region
                .as_volatile_slice()
                .read_slice(&mut buffer[range], offset)
        })
    }

    /// Writes `data` at `address`.
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), DmaError> {
        let bus = self.bus.read();
        Self::check(&bus, address, data.len(), true)?;
        Self::for_each_part(
            &bus.mappings,
            address,
            data.len(),
            |region, offset, range| region.as_volatile_slice().write_slice(&data[range], offset),
        )
    }

    /// Writes an entry so that its last two bytes, at an even address, become visible after all others.
    pub fn write_entry(&self, address: u64, entry: &[u8]) -> Result<(), DmaError> {
        let (body, last) = entry.split_at(entry.len() - 2);
        let last_address = address.wrapping_add(body.len() as u64);
        let bus = self.bus.read();
        Self::check(&bus, address, entry.len(), true)?;
        Self::for_each_part(
            &bus.mappings,
            address,
            body.len(),
            |region, offset, range| region.as_volatile_slice().write_slice(&body[range], offset),
        )?;
        Self::for_each_part(
            &bus.mappings,
            last_address,
            last.len(),
            |region, offset, range| {
                if range.len() == 2 && offset % 2 == 0 {
                    let value = u16::from_le_bytes([last[0], last[1]]).to_le();
                    region
                        .as_volatile_slice()
                        .store(value, offset, Ordering::Release)
                } else {
                    region.as_volatile_slice().write_slice(&last[range], offset)
                }
            },
        )
    }

    fn find(mappings: &BTreeMap<u64, Mapping>, address: u64) -> Option<(u64, &Mapping)> {
        let (&start, mapping) = mappings.range(..=address).next_back()?;
        (address - start < mapping.size).then_some((start, mapping))
    }

    /// Checks a whole transfer before any of it is done.
    fn check(bus: &Bus, address: u64, len: usize, write: bool) -> Result<(), DmaError> {
        let refuse = |reason| DmaError {
            write,
            address,
            len,
            reason,
        };
        let end = address
            .checked_add(len as u64)
            .ok_or_else(|| refuse(Refusal::Wraps))?;
        if !bus.master {
            return Err(refuse(Refusal::NotMaster));
        }
        let mut at = address;
        while at < end {
            let (start, mapping) =
                Self::find(&bus.mappings, at).ok_or_else(|| refuse(Refusal::Unmapped(at)))?;
            if !(if write {
                mapping.writable
            } else {
                mapping.readable
            }) {
                return Err(refuse(Refusal::Direction(at)));
            }
            if mapping.region.is_none() {
                return Err(refuse(Refusal::Inaccessible(at)));
            }
            at = start + mapping.size;
        }
        Ok(())
    }

    /// Calls `copy` with the region, the offset in it and the range of the buffer for each part of a checked transfer.
    fn for_each_part(
        mappings: &BTreeMap<u64, Mapping>,
        address: u64,
        len: usize,
        mut copy: impl FnMut(
            &MmapRegion,
            usize,
            std::ops::Range<usize>,
        ) -> Result<(), vm_memory::VolatileMemoryError>,
    ) -> Result<(), DmaError> {
        let mut done = 0;
        while done < len {
            let at = address + done as u64;
            let inaccessible = || DmaError {
                write: false,
                address,
                len,
                reason: Refusal::Inaccessible(at),
            };
            let (start, mapping) = Self::find(mappings, at).ok_or_else(inaccessible)?;
            let region = mapping.region.as_ref().ok_or_else(inaccessible)?;
            let offset = (at - start) as usize;
            let part = (region.size() - offset).min(len - done);
            copy(region, offset, done..done + part).map_err(|_| inaccessible())?;
            done += part;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn file(size: u64) -> File {
        let file = tempfile::tempfile().expect("temporary file");
        file.set_len(size).expect("size of it");
        file
    }

    fn memory() -> GuestMemory {
        let memory = GuestMemory::default();
        memory.set_master(true);
        memory
    }

    fn reason(result: Result<(), DmaError>) -> Refusal {
        result.expect_err("refused").reason
    }

    #[test]
    fn outside_of_mappings() {
        let memory = memory();
        assert_eq!(
            reason(memory.read(0x1000, &mut [0; 4])),
            Refusal::Unmapped(0x1000)
        );
        memory
            .map(0x1000, 0x1000, true, true, Some((file(0x1000), 0)))
            .expect("map");
        assert_eq!(memory.read(0x1000, &mut [0; 0x1000]), Ok(()));
        assert_eq!(
            reason(memory.read(0xfff, &mut [0; 4])),
            Refusal::Unmapped(0xfff)
        );
        assert_eq!(
            reason(memory.write(0x1ffe, &[0; 4])),
            Refusal::Unmapped(0x2000)
        );
        assert_eq!(reason(memory.write(u64::MAX, &[0; 4])), Refusal::Wraps);
        assert!(matches!(memory.unmap(0x1000, 0x1000), Ok(1)));
        assert_eq!(
            reason(memory.read(0x1000, &mut [0; 4])),
            Refusal::Unmapped(0x1000)
        );
    }

    #[test]
    fn only_a_bus_master_transfers() {
        let memory = memory();
        memory
            .map(0x1000, 0x1000, true, true, Some((file(0x1000), 0)))
            .expect("map");
        memory.set_master(false);
        assert_eq!(reason(memory.read(0x1000, &mut [0; 4])), Refusal::NotMaster);
        assert_eq!(reason(memory.write(0x1000, &[0; 4])), Refusal::NotMaster);
        assert_eq!(
            reason(memory.write_entry(0x1000, &[0; 16])),
            Refusal::NotMaster
        );
        memory.set_master(true);
        assert_eq!(memory.read(0x1000, &mut [0; 4]), Ok(()));
    }

    #[test]
    fn a_refused_write_changes_nothing() {
        let memory = memory();
        let backing = file(0x1000);
        memory
            .map(
                0,
                0x1000,
                true,
                true,
                Some((backing.try_clone().expect("clone"), 0)),
            )
            .expect("map");
        assert!(memory.write(0xfff, &[0xaa; 2]).is_err());
        let mut byte = [0];
        backing.read_exact_at(&mut byte, 0xfff).expect("read");
        assert_eq!(byte, [0]);
    }

    #[test]
    fn directions() {
        let memory = memory();
        memory
            .map(0x1000, 0x1000, true, false, Some((file(0x1000), 0)))
            .expect("map");
        memory
            .map(0x2000, 0x1000, false, true, Some((file(0x1000), 0)))
            .expect("map");
        assert_eq!(memory.read(0x1000, &mut [0; 4]), Ok(()));
        assert_eq!(
            reason(memory.write(0x1000, &[0; 4])),
            Refusal::Direction(0x1000)
        );
        assert_eq!(memory.write(0x2000, &[0; 4]), Ok(()));
        assert_eq!(
            reason(memory.read(0x2000, &mut [0; 4])),
            Refusal::Direction(0x2000)
        );
        assert_eq!(
            reason(memory.write_entry(0x1ff0, &[0; 32])),
            Refusal::Direction(0x1ff0)
        );
        // Rooms that the client cannot share.
        memory.map(0x3000, 0x1000, true, true, None).expect("map");
        assert_eq!(
            reason(memory.read(0x3000, &mut [0; 4])),
            Refusal::Inaccessible(0x3000)
        );
    }

    #[test]
    fn across_neighbours_and_file_offsets() {
        let memory = memory();
        let backing = file(0x3000);
        backing
            .write_all_at(b"page two", 0x2000 - 4)
            .expect("write");
        // The two pages change places on the bus.
        for (address, offset) in [(0x2000, 0x1000), (0x1000, 0x2000)] {
            let file = backing.try_clone().expect("clone");
            memory
                .map(address, 0x1000, true, true, Some((file, offset)))
                .expect("map");
        }
        let mut end = [0; 4];
        assert_eq!(memory.read(0x3000 - 4, &mut end), Ok(()));
        assert_eq!(&end, b"page");
        assert_eq!(memory.read(0x1000, &mut end), Ok(()));
        assert_eq!(&end, b" two");
        assert_eq!(memory.write(0x2000 - 2, b"over"), Ok(()));
        let mut both = [[0; 2]; 2];
        backing.read_exact_at(&mut both[0], 0x2ffe).expect("read");
        backing.read_exact_at(&mut both[1], 0x1000).expect("read");
        assert_eq!(both, [*b"ov", *b"er"]);
    }

    #[test]
    fn entries_end_at_any_mapping_boundary() {
        let memory = memory();
        let backing = file(0x2000);
        for page in [0, 0x1000] {
            let file = backing.try_clone().expect("clone");
            memory
                .map(page, 0x1000, true, true, Some((file, page)))
                .expect("map");
        }
        let entry: Vec<u8> = (1..=16).collect();
        for address in [0x100, 0xff0, 0xff1, 0xff8] {
            assert_eq!(memory.write_entry(address, &entry), Ok(()));
            let mut read = [0; 16];
            backing.read_exact_at(&mut read, address).expect("read");
            assert_eq!(read[..], entry[..], "{address:#x}");
        }
    }

    #[test]
    fn bad_mappings() {
        let memory = memory();
        memory
            .map(0x2000, 0x1000, true, true, Some((file(0x1000), 0)))
            .expect("map");
        for (address, size) in [
            (0x2000, 0x1000),
            (0x1000, 0x1001),
            (0x2fff, 1),
            (0, 0x10000),
        ] {
            let result = memory.map(address, size, true, true, None);
            assert!(
                matches!(result, Err(MapError::Overlap { .. })),
                "{address:#x}"
            );
        }
        assert!(matches!(
            memory.map(0, 0, true, true, None),
            Err(MapError::Range { .. })
        ));
        assert!(matches!(
            memory.map(u64::MAX, 2, true, true, None),
            Err(MapError::Range { .. })
        ));
        // A file that is too short.
        assert!(matches!(
            memory.map(0x8000, 0x2000, true, true, Some((file(0x1000), 0))),
            Err(MapError::ShortFile { .. })
        ));
        for (address, size) in [
            (0x2000, 0xfff),
            (0x2001, 0x1000),
            (0, 0x2001),
            (0x2800, 0x100),
        ] {
            let result = memory.unmap(address, size);
            assert!(matches!(result, Err(MapError::Cut { .. })), "{address:#x}");
        }
        assert!(
            matches!(memory.unmap(0x3000, 0x1000), Ok(0)),
            "nothing is mapped there"
        );
        assert!(matches!(memory.unmap(0, 0x10000), Ok(1)));
    }
}
