// SPDX-License-Identifier: GPL-2.0

//! Interrupt vectors: which queue uses which, and their handlers.
//!
//! Vector 0 is the admin queue's. The device accepts vectors 1 to 15 for control-path queues and
//! 16 to 31 for fast-path queues only. With fewer than 17 vectors the fast-path queues raise no
//! interrupts; those who wait for their commands look for completions themselves.

use kernel::{
    device::Bound,
    irq,
    pci,
    prelude::*, //
};

use crate::{
    controller::Controller,
    kapi::irq::{
        local_spread,
        AffinityHint, //
    },
    log::dev_err,
    moderation::{
        Looked,
        Moderator, //
    }, //
};

/// Fewest vectors the driver can work with: the admin queue's and one for control queues.
pub(crate) const MIN: u32 = 2;
/// Most vectors the device has.
pub(crate) const MAX: u32 = 32;

/// First vector of control-path queues.
const CONTROL_FIRST: u16 = 1;
/// First vector of fast-path queues.
const AES_FIRST: u16 = 16;

/// How the vectors are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    control: u16,
    aes: u16,
}

/// Whose queues a vector serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    /// The admin queue.
    Admin,
    /// Control-path queue `.0` and every further one in steps of the vectors of its kind.
    Control(u16),
    /// The same for fast-path queues.
    Aes(u16),
}

impl Split {
    /// Shares out `granted` vectors.
    ///
    /// Returns [`None`] if they are too few.
    pub(crate) fn new(granted: usize) -> Option<Self> {
        let granted = u16::try_from(granted).unwrap_or(u16::MAX);
        if u32::from(granted) < MIN {
            return None;
        }
        Some(Self {
            control: granted.min(AES_FIRST) - CONTROL_FIRST,
            aes: granted.saturating_sub(AES_FIRST).min(AES_FIRST),
        })
    }

    /// Returns the number of vectors, that of the admin queue included.
    pub(crate) fn vectors(&self) -> u32 {
        u32::from(CONTROL_FIRST + self.control + self.aes)
    }

    /// Returns the vector of control-path queue number `index`.
    pub(crate) fn control_vector(&self, index: u16) -> Option<u16> {
        Some(CONTROL_FIRST + index % self.control)
    }

    /// Returns the vector of fast-path queue number `index`, [`None`] if it is polled.
    pub(crate) fn aes_vector(&self, index: u16) -> Option<u16> {
        Some(AES_FIRST + index.checked_rem(self.aes)?)
    }
}

impl Serves {
    /// Returns what vector number `vector` is for.
    pub(crate) fn of(vector: u16) -> Self {
        match vector {
            0 => Self::Admin,
            CONTROL_FIRST..AES_FIRST => Self::Control(vector - CONTROL_FIRST),
            _ => Self::Aes(vector - AES_FIRST),
        }
    }

    /// Takes what the device put into the completion queues. Callable in any context.
    pub(crate) fn look(self, controller: &Controller<'_>, split: Split) -> Looked {
        let mut looked = Looked::default();
        match self {
            Self::Admin => looked = controller.admin.look(controller),
            Self::Control(first) => controller
                .control
                .of_vector(usize::from(first), usize::from(split.control))
                .for_each(|queue| looked += queue.look(controller)),
            Self::Aes(first) => controller
                .fast
                .of_vector(usize::from(first), usize::from(split.aes))
                .for_each(|queue| looked += queue.look(controller)),
        }
        looked
    }
}

/// The handler of one vector.
pub(crate) struct Vector<'bound> {
    controller: &'bound Controller<'bound>,
    number: u16,
    split: Split,
    /// Those who may hold its interrupts back.
    moderator: Option<Moderator<'bound>>,
}

impl irq::Handler for Vector<'_> {
    fn handle(&self) -> irq::IrqReturn {
        let looked = Serves::of(self.number).look(self.controller, self.split);
        if let Some(moderator) = &self.moderator {
            moderator.note(usize::from(self.number), looked);
        }
        // Message-signalled interrupts are not shared: it was for us, whatever we found.
        irq::IrqReturn::Handled
    }
}

/// Names of the vectors in `/proc/interrupts`.
static NAMES: [&CStr; MAX as usize] = [
    c"azihsm-admin",
    c"azihsm-cp1",
    c"azihsm-cp2",
    c"azihsm-cp3",
    c"azihsm-cp4",
    c"azihsm-cp5",
    c"azihsm-cp6",
    c"azihsm-cp7",
    c"azihsm-cp8",
    c"azihsm-cp9",
    c"azihsm-cp10",
    c"azihsm-cp11",
    c"azihsm-cp12",
    c"azihsm-cp13",
    c"azihsm-cp14",
    c"azihsm-cp15",
    c"azihsm-fp16",
    c"azihsm-fp17",
    c"azihsm-fp18",
    c"azihsm-fp19",
    c"azihsm-fp20",
    c"azihsm-fp21",
    c"azihsm-fp22",
    c"azihsm-fp23",
    c"azihsm-fp24",
    c"azihsm-fp25",
    c"azihsm-fp26",
    c"azihsm-fp27",
    c"azihsm-fp28",
    c"azihsm-fp29",
    c"azihsm-fp30",
    c"azihsm-fp31",
];

/// Those who hold back the interrupts of either kind of queues, as long as this exists.
struct Moderators<'bound> {
    control: Moderator<'bound>,
    aes: Moderator<'bound>,
}

impl<'bound> Moderators<'bound> {
    /// Prepares to hold back all interrupts but that of the admin queue.
    ///
    /// # Safety
    ///
    /// The result must not be leaked.
    unsafe fn new(
        allocated: &'bound pci::IrqVectorRegistration<'bound>,
        controller: &'bound Controller<'bound>,
        split: Split,
    ) -> Result<Self> {
        let make = |first: u16, count: u16| {
            let vectors = usize::from(first)..usize::from(first + count);
            let requests = vectors.filter_map(|i| allocated.index(i).ok().map(Into::into));
            // SAFETY: The caller does not leak `Self`, which owns the moderators; clones are in
            // handlers, which must not be leaked either.
            unsafe { Moderator::new(controller, split, usize::from(first), requests) }
        };
        Ok(Self {
            control: make(CONTROL_FIRST, split.control)?,
            aes: make(AES_FIRST, split.aes)?,
        })
    }

    fn of(&self, serves: Serves) -> Option<Moderator<'bound>> {
        match serves {
            Serves::Admin => None,
            Serves::Control(_) => Some(self.control.clone()),
            Serves::Aes(_) => Some(self.aes.clone()),
        }
    }
}

impl Drop for Moderators<'_> {
    fn drop(&mut self) {
        self.control.close();
        self.aes.close();
    }
}

/// The registered handlers of a function.
///
/// Fields are dropped in this order: interrupts are let through before they go, hints before the
/// interrupts they belong to, handlers before the vectors they use.
pub(crate) struct Vectors<'bound> {
    _moderators: Moderators<'bound>,
    _hints: KVec<AffinityHint<'bound>>,
    _handlers: KVec<Pin<KBox<irq::Registration<'bound, Vector<'bound>>>>>,
}

impl<'bound> Vectors<'bound> {
    /// Allocates as many vectors as the device and the system allow.
    pub(crate) fn allocate(
        pdev: &'bound pci::Device<Bound>,
    ) -> Result<pci::IrqVectorRegistration<'bound>> {
        let types = pci::IrqTypes::default().with(pci::IrqType::MsiX);
        pdev.alloc_irq_vectors(MIN, MAX, types).inspect_err(|e| {
            dev_err!(
                pdev,
                "fewer than {} MSI-X vectors to be had: {:?}\n",
                MIN,
                e
            )
        })
    }

    /// Registers a handler for each vector and spreads them over the CPUs.
    ///
    /// # Safety
    ///
    /// The result must not be leaked.
    pub(crate) unsafe fn register(
        allocated: &'bound pci::IrqVectorRegistration<'bound>,
        controller: &'bound Controller<'bound>,
    ) -> Result<Self> {
        let split = Split::new(allocated.len()).ok_or(ENOSPC)?;
        controller.vectors.populate(split);
        // SAFETY: As for `Self`.
        let moderators = unsafe { Moderators::new(allocated, controller, split)? };
        // In this order, so that a failure drops the hints first, as `Self` does.
        let mut handlers = KVec::with_capacity(allocated.len(), GFP_KERNEL)?;
        let mut hints = KVec::with_capacity(allocated.len(), GFP_KERNEL)?;
        for (i, name) in NAMES.iter().enumerate().take(allocated.len()) {
            let request: irq::IrqRequest<'_> = allocated.index(i)?.into();
            // CAST: At most 31.
            let cpu = local_spread(controller.pdev.as_ref(), i as u32);
            // The interrupt works as well where it is.
            if let Some(Ok(hint)) = cpu.map(|cpu| AffinityHint::new(&request, cpu)) {
                hints.push(hint, GFP_KERNEL)?;
            }
            let vector = Vector {
                controller,
                // CAST: At most 31.
                number: i as u16,
                split,
                // CAST: At most 31.
                moderator: moderators.of(Serves::of(i as u16)),
            };
            // SAFETY: The caller does not leak `Self`, which owns the registration.
            let handler = unsafe {
                irq::Registration::new(request, irq::Flags::TRIGGER_NONE, name, Ok(vector))
            };
            handlers.push(KBox::pin_init(handler, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(Self {
            _moderators: moderators,
            _hints: hints,
            _handlers: handlers,
        })
    }
}

#[kunit_tests(azihsm_vectors)]
mod tests {
    use super::*;

    #[test]
    fn one_vector_is_too_few() {
        assert!(Split::new(0).is_none());
        assert!(Split::new(1).is_none());
    }

    #[test]
    fn every_queue_gets_a_vector_that_the_device_accepts() -> Result {
        for granted in 2..=32usize {
            let split = Split::new(granted).ok_or(EINVAL)?;
            // CAST: At most 32.
            assert_eq!(split.vectors(), granted as u32);
            for queue in 0..130 {
                let vector = split.control_vector(queue).ok_or(EINVAL)?;
                assert!((1..16).contains(&vector) && usize::from(vector) < granted);
                match split.aes_vector(queue) {
                    None => assert!(granted < 17),
                    Some(v) => assert!((16..32).contains(&v) && usize::from(v) < granted),
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_handler_serves_the_queues_of_its_vector() -> Result {
        let split = Split::new(20).ok_or(EINVAL)?;
        for queue in 0..65 {
            let vector = split.control_vector(queue).ok_or(EINVAL)?;
            assert!(Serves::of(vector) == Serves::Control(queue % split.control));
        }
        for queue in 0..130 {
            let vector = split.aes_vector(queue).ok_or(EINVAL)?;
            assert!(Serves::of(vector) == Serves::Aes(queue % split.aes));
        }
        assert!(Serves::of(0) == Serves::Admin);
        Ok(())
    }
}
