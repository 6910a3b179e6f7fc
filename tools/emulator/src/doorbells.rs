// SPDX-License-Identifier: GPL-2.0-or-later

//! Doorbells (section 1.2).
//!
//! Usually the client sends each write. In the fast mode BAR2 is a page that the client maps into the guest: a write is a
//! store to that page, and a thread looks whether something has changed. Two writes between two looks are one: what is lost
//! is only the chance to notice some violations.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};
use std::{hint, io};

use nix::sys::memfd::{MFdFlags, memfd_create};
use parking_lot::Mutex;
use vm_memory::mmap::MmapRegion;
use vm_memory::{Bytes, FileOffset, VolatileMemory};

use crate::cq::Cq;
use crate::faults::hooks;
use crate::function::{Function, Queues};
use crate::pci::BAR_SIZE;
use crate::queue::Sq;

/// Doorbells in the page.
const SLOTS: usize = BAR_SIZE / 4;
/// How long the thread looks without a pause after a change.
const SPIN: Duration = Duration::from_micros(200);
/// Pause after that, and how long a function must be idle for the long one.
const PAUSE: Duration = Duration::from_micros(50);
const IDLE: Duration = Duration::from_millis(20);
const LONG_PAUSE: Duration = Duration::from_millis(1);

/// Which doorbell of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doorbell {
    /// Tail of a submission queue.
    Sq(u16),
    /// Head of a completion queue.
    Cq(u16),
}

impl Doorbell {
    /// Returns the offset in BAR2 (section 1.2).
    pub fn offset(self) -> usize {
        match self {
            Doorbell::Sq(id) => 8 * usize::from(id),
            Doorbell::Cq(id) => 8 * usize::from(id) + 4,
        }
    }
}

/// The doorbells of a function as a page of memory.
pub struct Doorbells {
    file: File,
    page: MmapRegion,
    /// What was seen last in each slot.
    seen: Mutex<Box<[u32; SLOTS]>>,
}

impl Doorbells {
    /// Makes a page of zeros.
    ///
    /// # Errors
    ///
    /// There is no memory for it.
    pub fn new() -> io::Result<Self> {
        let file = File::from(memfd_create("azihsm-doorbells", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(BAR_SIZE as u64)?;
        let page = MmapRegion::from_file(FileOffset::new(file.try_clone()?, 0), BAR_SIZE)
            .map_err(io::Error::other)?;
        Ok(Doorbells {
            file,
            page,
            seen: Mutex::new(Box::new([0; SLOTS])),
        })
    }

    /// Returns the descriptor for the client to map.
    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Stores a value that the client sent instead of writing it itself.
    pub fn store(&self, offset: usize, value: u32) {
        self.set(offset, value);
    }

    /// Prepares a doorbell for a queue with this index: what it holds is of a queue that is gone.
    pub fn prepare(&self, doorbell: Doorbell, index: u32) {
        let mut seen = self.seen.lock();
        self.set(doorbell.offset(), index);
        if let Some(seen) = seen.get_mut(doorbell.offset() / 4) {
            *seen = index;
        }
    }

    /// Returns the value of a doorbell if it has changed.
    pub fn look(&self, doorbell: Doorbell) -> Option<u32> {
        let offset = doorbell.offset();
        let mut seen = self.seen.lock();
        // Acquire: the entries that the host wrote before are to be seen.
        let value = self
            .page
            .as_volatile_slice()
            .load::<u32>(offset, Ordering::Acquire)
            .ok()?;
        let value = u32::from_le(value);
        let seen = seen.get_mut(offset / 4)?;
        (std::mem::replace(seen, value) != value).then_some(value)
    }

    fn set(&self, offset: usize, value: u32) {
        // An offset outside of the page, or one that is not aligned, is no doorbell.
        let slice = self.page.as_volatile_slice();
        let _ = slice.store(value.to_le(), offset, Ordering::Release);
    }
}

/// A doorbell that was written, with its queue.
enum Rung {
    Sq(Arc<Sq>, u32),
    Cq(Arc<Cq>, u32),
}

impl Function {
    /// Reads BAR2: doorbells cannot be read back.
    pub fn doorbell_read(&self, data: &mut [u8]) {
        data.fill(if self.is_visible() { 0 } else { 0xff });
    }

    /// Writes BAR2, the doorbells.
    pub fn doorbell_write(&self, offset: usize, data: &[u8]) {
        if !self.is_visible() {
            return;
        }
        let Ok(value) = <[u8; 4]>::try_from(data).map(u32::from_le_bytes) else {
            let text = format!("access of {} bytes, not 4", data.len());
            return self.doorbell_violation(offset, text);
        };
        if let Some(doorbells) = self.doorbells() {
            return doorbells.store(offset, value);
        }
        let id = (offset / 8) as u16;
        match offset % 8 {
            0 => {
                self.counters.doorbell_writes_sq.inc();
                match self.sq(id) {
                    Some(sq) => self.ring_sq(&sq, value),
                    None => self.useless(offset, format!("SQ {id} does not exist (value {value})")),
                }
            }
            4 => {
                self.counters.doorbell_writes_cq.inc();
                match self.cq(id) {
                    Some(cq) => self.ring_cq(&cq, value),
                    None => self.useless(offset, format!("CQ {id} does not exist (value {value})")),
                }
            }
            _ => self.doorbell_violation(offset, "not aligned to 4 bytes".to_owned()),
        }
    }

    fn ring_sq(&self, sq: &Sq, value: u32) {
        if hooks::loses_doorbell(self, sq) {
            return;
        }
        let (id, offset) = (sq.id(), Doorbell::Sq(sq.id()).offset());
        match sq.ring(value) {
            Ok(()) if self.memory.is_master() => {}
            Ok(()) => self.useless(
                offset,
                format!("SQ {id}: Bus Master Enable is not set, the command cannot be fetched"),
            ),
            Err(error) => self.doorbell_violation(offset, format!("SQ {id}: {error}")),
        }
    }

    fn ring_cq(&self, cq: &Cq, value: u32) {
        if let Err(error) = cq.ring(value) {
            let id = cq.id();
            self.doorbell_violation(Doorbell::Cq(id).offset(), format!("CQ {id}: {error}"));
        }
    }

    /// A doorbell that nothing comes of, since the function does not work: a violation, unless the host cannot know yet.
    fn useless(&self, offset: usize, text: String) {
        if self.lost_queues.load(Ordering::SeqCst) {
            self.consequence(format!("doorbell {offset:#x}: {text}"));
        } else {
            self.doorbell_violation(offset, text);
        }
    }

    fn doorbell_violation(&self, offset: usize, text: String) {
        let sq = self.sq((offset / 8) as u16);
        self.violation(sq.as_deref(), format!("doorbell {offset:#x}: {text}"));
    }

    /// Looks for new values in doorbells that the client maps; returns whether there were any.
    fn look_at_doorbells(&self) -> bool {
        let Some(doorbells) = self.doorbells().filter(|_| self.is_visible()) else {
            return false;
        };
        let rung: Vec<Rung> = {
            let queues = self.queues.read();
            let cqs = queues.cqs.values().filter_map(|cq| {
                let value = doorbells.look(Doorbell::Cq(cq.id()))?;
                Some(Rung::Cq(Arc::clone(cq), value))
            });
            let sqs = queues.sqs.values().filter_map(|sq| {
                let value = doorbells.look(Doorbell::Sq(sq.id()))?;
                Some(Rung::Sq(Arc::clone(sq), value))
            });
            // Completions first: that makes room.
            cqs.chain(sqs).collect()
        };
        for rung in &rung {
            match rung {
                Rung::Sq(sq, value) => {
                    self.counters.doorbell_writes_sq.inc();
                    self.ring_sq(sq, *value);
                }
                Rung::Cq(cq, value) => {
                    self.counters.doorbell_writes_cq.inc();
                    self.ring_cq(cq, *value);
                }
            }
        }
        !rung.is_empty()
    }

    /// Adds a queue, and prepares its doorbell if the client maps that.
    pub(crate) fn add_cq(&self, queues: &mut Queues, cq: Cq) {
        if let Some(doorbells) = self.doorbells() {
            doorbells.prepare(Doorbell::Cq(cq.id()), cq.state().head);
        }
        queues.cqs.insert(cq.id(), Arc::new(cq));
    }

    /// Adds a queue like [`Function::add_cq`].
    pub(crate) fn add_sq(&self, queues: &mut Queues, sq: &Arc<Sq>) {
        if let Some(doorbells) = self.doorbells() {
            doorbells.prepare(Doorbell::Sq(sq.id()), sq.state().tail);
        }
        queues.sqs.insert(sq.id(), Arc::clone(sq));
    }
}

/// Starts the thread that looks after the doorbells of a function, until that is gone.
///
/// # Errors
///
/// The thread cannot be made.
pub(crate) fn watch(function: &Arc<Function>) -> io::Result<()> {
    let name = format!("doorbells{}", function.id().0);
    let function = Arc::downgrade(function);
    thread::Builder::new()
        .name(name)
        .spawn(move || look_around(&function))?;
    Ok(())
}

fn look_around(function: &Weak<Function>) {
    let mut last = Instant::now();
    while let Some(function) = function.upgrade() {
        if function.look_at_doorbells() {
            last = Instant::now();
        }
        drop(function);
        match last.elapsed() {
            idle if idle < SPIN => {
                hint::spin_loop();
                // Guest and emulator may share few processors.
                thread::yield_now();
            }
            idle if idle < IDLE => thread::sleep(PAUSE),
            _ => thread::sleep(LONG_PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn changes_are_seen_once() {
        let doorbells = Doorbells::new().expect("page");
        let (sq, cq) = (Doorbell::Sq(257), Doorbell::Cq(257));
        assert_eq!((doorbells.look(sq), doorbells.look(cq)), (None, None));
        // As the guest does.
        doorbells
            .file
            .write_all_at(&5u32.to_le_bytes(), 0x80c)
            .expect("write");
        doorbells.store(0x808, 7);
        assert_eq!((doorbells.look(sq), doorbells.look(cq)), (Some(7), Some(5)));
        assert_eq!((doorbells.look(sq), doorbells.look(cq)), (None, None));
        doorbells.prepare(sq, 0);
        assert_eq!(doorbells.look(sq), None);
        doorbells.store(0x808, 7);
        assert_eq!(
            doorbells.look(sq),
            Some(7),
            "the same value for a new queue"
        );
        doorbells.prepare(sq, 3);
        assert_eq!(doorbells.look(sq), None);
        doorbells.store(0x808, 0);
        assert_eq!(doorbells.look(sq), Some(0), "round the ring");
        // Neither is there.
        doorbells.store(0x1000, 1);
        doorbells.store(0x801, 1);
        assert_eq!(doorbells.look(sq), None);
    }
}
