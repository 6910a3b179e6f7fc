// SPDX-License-Identifier: GPL-2.0-or-later

//! MSI-X messages: one event descriptor per vector, kept by index.
//!
//! The client emulates the MSI-X table. A vector for which it has given no descriptor is as good as masked: its message
//! stays pending and is sent when the descriptor comes.

use std::fs::File;
use std::io::Write;

use parking_lot::Mutex;

/// MSI-X vectors of a function of the device (section 1); a smaller table can be configured.
pub const VECTORS: usize = 32;

#[derive(Default)]
struct Vector {
    event: Option<File>,
    pending: bool,
}

/// The interrupt vectors of a function.
pub struct Interrupts {
    vectors: [Mutex<Vector>; VECTORS],
}

impl Default for Interrupts {
    fn default() -> Self {
        Interrupts {
            vectors: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Interrupts {
    /// Sets or removes the event descriptor of a vector; returns whether a pending message was sent.
    pub fn set(&self, vector: usize, event: Option<File>) -> bool {
        let Some(slot) = self.vectors.get(vector) else {
            return false;
        };
        let mut slot = slot.lock();
        slot.event = event;
        if slot.pending && slot.event.is_some() {
            slot.pending = false;
            return signal(slot.event.as_mut());
        }
        false
    }

    /// Removes all descriptors and forgets pending messages.
    pub fn clear(&self) {
        for slot in &self.vectors {
            *slot.lock() = Vector::default();
        }
    }

    /// Forgets pending messages, as a reset of the function does.
    pub fn forget_pending(&self) {
        for slot in &self.vectors {
            slot.lock().pending = false;
        }
    }

    /// Sends the message of a vector, now or when it becomes possible; returns whether it was sent.
    pub fn fire(&self, vector: u16) -> bool {
        let Some(slot) = self.vectors.get(usize::from(vector)) else {
            return false;
        };
        let mut slot = slot.lock();
        let sent = signal(slot.event.as_mut());
        slot.pending = !sent;
        sent
    }
}

fn signal(event: Option<&mut File>) -> bool {
    event.is_some_and(|e| e.write_all(&1u64.to_ne_bytes()).is_ok())
}
