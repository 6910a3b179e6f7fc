// SPDX-License-Identifier: GPL-2.0

//! The end of a batch of submissions.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)
//!
//! Who submits many requests at a time, as io_uring does, opens a *plug* (`blk_start_plug()`) and
//! closes it after the last one. It is closed also when the task goes to sleep in between. A driver
//! that puts off work has it done then, by a callback.
//!
//! [`blk_check_plugged()`] allocates a callback for each batch. Here the callback is part of what it
//! is for, and belongs to one task at a time.
//!
//! [`blk_check_plugged()`]: srctree/include/linux/blkdev.h

use core::ptr::NonNull;

use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
    task::Task,
    types::Opaque, //
};

#[allow(
    improper_ctypes,
    reason = "some of the types have members that are empty in this kernel"
)]
mod ffi {
    use kernel::bindings;

    unsafe extern "C" {
        pub(super) safe fn azihsm_plug_is_open() -> bool;
        pub(super) fn azihsm_plug_add(cb: *mut bindings::blk_plug_cb) -> bool;
    }
}

/// Number of marks.
pub(crate) const MARKS: usize = 512;

/// Marks that a task sets during a batch, and the callback that deals with them at its end.
///
/// # Invariants
///
/// - `cb` is on a list only while `owner` is not 0: on that of the plug of this task.
/// - `marks` are accessed only by the owner.
pub(crate) struct Plug {
    cb: Opaque<bindings::blk_plug_cb>,
    /// Address of the task in whose batch it is, 0 if it is in none.
    owner: Atomic<usize>,
    marks: [Atomic<u64>; MARKS / 64],
}

// SAFETY: Between batches a plug is not tied to a task.
unsafe impl Send for Plug {}

// SAFETY: Tasks other than the owner access only `owner`, an atomic.
unsafe impl Sync for Plug {}

/// Returns whether the current task is in a batch.
pub(crate) fn is_open() -> bool {
    ffi::azihsm_plug_is_open()
}

fn me() -> usize {
    Task::current_raw().addr()
}

impl Plug {
    /// Returns a plug that is in no batch.
    ///
    /// # Safety
    ///
    /// `callback` must be safe to call with the address of the `cb` of this plug, see
    /// [`Plug::from_callback`]. From the first [`mark`](Self::mark) of a batch to its end the plug
    /// must neither move nor go.
    pub(super) unsafe fn new(
        callback: unsafe extern "C" fn(*mut bindings::blk_plug_cb, bool),
    ) -> Self {
        // INVARIANT: It is on no list.
        Self {
            cb: Opaque::new(bindings::blk_plug_cb {
                callback: Some(callback),
                ..pin_init::zeroed()
            }),
            owner: Atomic::new(0),
            marks: [const { Atomic::new(0) }; MARKS / 64],
        }
    }

    /// Sets mark number `mark`, to be dealt with at the end of the present batch.
    ///
    /// Returns `false`, and does nothing, if there is no batch, or if another task has the plug.
    pub(crate) fn mark(&self, mark: usize) -> bool {
        let Some(word) = self.marks.get(mark / 64) else {
            return false;
        };
        let me = me();
        if self.owner.load(Relaxed) != me && !self.join(me) {
            return false;
        }
        word.store(word.load(Relaxed) | 1 << (mark % 64), Relaxed);
        true
    }

    fn join(&self, me: usize) -> bool {
        // ORDERING: Pairs with the `Release` of the owner before, which has left the marks clear
        // and the callback off its list.
        if !is_open() || self.owner.cmpxchg(0, me, Acquire).is_err() {
            return false;
        }
        // INVARIANT: The current task is the owner now.
        // SAFETY: By the type invariants the callback is on no list, and by the contract of `new` it
        // stays where it is until the plug is closed.
        let added = unsafe { ffi::azihsm_plug_add(self.cb.get()) };
        if !added {
            self.owner.store(0, Release);
        }
        added
    }

    /// Returns the plug that a callback was called for.
    ///
    /// # Safety
    ///
    /// `cb` must be what the callback given to [`Plug::new`] was called with.
    pub(super) unsafe fn from_callback(cb: NonNull<bindings::blk_plug_cb>) -> *const Self {
        let cb = Opaque::cast_from(cb.as_ptr());
        // SAFETY: By the safety requirements it is the `cb` of a plug.
        unsafe { kernel::container_of!(cb, Self, cb) }
    }

    /// Ends the batch, in the callback, and returns the marks that were set.
    pub(super) fn take(&self) -> Marks {
        let mut taken = [0; MARKS / 64];
        for (to, word) in taken.iter_mut().zip(&self.marks) {
            *to = word.load(Relaxed);
            word.store(0, Relaxed);
        }
        // INVARIANT: The callback was taken off the list before it was called.
        self.owner.store(0, Release);
        Marks(taken)
    }
}

/// Marks that were set in a batch.
pub(crate) struct Marks([u64; MARKS / 64]);

impl Marks {
    /// Calls `f` with the number of each mark.
    pub(crate) fn for_each(&self, mut f: impl FnMut(usize)) {
        for (i, word) in self.0.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                // CAST: At most 63.
                f(i * 64 + rest.trailing_zeros() as usize);
                rest &= rest - 1;
            }
        }
    }
}

#[kunit_tests(azihsm_kapi_plug)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found() {
        let mut marks = Marks([0; MARKS / 64]);
        marks.0[0] = 1 << 63 | 1;
        marks.0[4] = 1 << 2;
        let mut found = [usize::MAX; 4];
        let mut count = 0;
        marks.for_each(|mark| {
            found[count] = mark;
            count += 1;
        });
        assert_eq!(count, 3);
        assert_eq!(found, [0, 63, 258, usize::MAX]);
    }
}
