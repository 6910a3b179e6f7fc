// SPDX-License-Identifier: GPL-2.0-or-later

//! Chaos: faults drawn at random from a seed.
//!
//! Each draw depends on the seed, the site, the function, the queue or register, and the number of the event there, and
//! on nothing else: the same sequence of events at one queue meets the same faults, whatever other queues do meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use anyhow::{Result, anyhow, bail};
use rand::Rng;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::Moment;
use super::field::{Change, Field, IdentifyField, Register};
use super::rule::{Buffers, Fault, Site, What};
use crate::fields::put;
use crate::interrupts::VECTORS;
use crate::queue::Class;

/// Share of the events that chaos spoils if nothing else is said.
pub const RATE: f64 = 0.001;

/// Seed and rate as given on the command line, `SEED[,RATE]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The seed.
    pub seed: u64,
    /// Share of the events that are spoiled, 0 to 1.
    pub rate: f64,
    /// Whether nothing is drawn that may deceive a correct host.
    pub honest: bool,
}

impl Settings {
    /// Checks the rate.
    ///
    /// # Errors
    ///
    /// It is not within 0 and 1.
    pub fn check(self) -> Result<Self> {
        if !(0.0..=1.0).contains(&self.rate) {
            bail!("a rate is a number from 0 to 1, not {}", self.rate);
        }
        Ok(self)
    }
}

impl FromStr for Settings {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (seed, rate) = match text.split_once(',') {
            Some((seed, rate)) => (seed, rate.parse().map_err(|_| anyhow!("no rate: {rate}"))?),
            None => (text, RATE),
        };
        let seed = seed.parse().map_err(|_| anyhow!("no seed: {seed}"))?;
        let honest = false;
        Settings { seed, rate, honest }.check()
    }
}

/// A place where events are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    site: u8,
    function: u16,
    /// Queue id, or offset of a register.
    place: usize,
}

impl Key {
    fn seed(&self, seed: u64, number: u64) -> [u8; 32] {
        let mut bytes = [0; 32];
        put(&mut bytes, 0, &seed.to_le_bytes());
        put(&mut bytes, 8, &number.to_le_bytes());
        put(&mut bytes, 16, &(self.place as u64).to_le_bytes());
        put(&mut bytes, 24, &self.function.to_le_bytes());
        bytes[26] = self.site;
        bytes
    }
}

/// A running chaos.
#[derive(Debug)]
pub struct Chaos {
    settings: Settings,
    events: HashMap<Key, u64>,
    mutations: u64,
}

impl Chaos {
    /// Starts at the first event.
    pub fn new(settings: Settings) -> Self {
        Chaos {
            settings,
            events: HashMap::new(),
            mutations: 0,
        }
    }

    /// Describes what happened.
    pub fn report(&self) -> Value {
        let events: u64 = self.events.values().sum();
        json!({
            "seed": self.settings.seed, "rate": self.settings.rate, "honest": self.settings.honest, "events": events, "mutations": self.mutations,
        })
    }

    /// Draws what goes wrong at an event, as a fault that hits this event and no other.
    pub(super) fn draw(&mut self, site: Site, moment: &Moment) -> Option<Fault> {
        let word = match moment.read {
            Some((offset, len)) => Register::ALL
                .into_iter()
                .find(|word| word.is_read_by(offset, len)),
            None => None,
        };
        let queue = moment.queue;
        let key = Key {
            site: site as u8,
            function: moment.function,
            place: match (word, queue) {
                (Some(word), _) => word.offset(),
                (None, Some((_, id))) => id.into(),
                (None, None) => 0,
            },
        };
        let events = self.events.entry(key).or_default();
        let number = *events;
        *events += 1;
        let mut rng = ChaCha8Rng::from_seed(key.seed(self.settings.seed, number));
        if !rng.random_bool(self.settings.rate) {
            return None;
        }
        let class = queue.map(|(class, _)| class);
        let what = mutation(&mut rng, site, class, moment, word)?;
        if self.settings.honest && what.deceives(class) {
            return None;
        }
        self.mutations += 1;
        Some(Fault {
            function: Some(moment.function),
            class,
            queue: queue.map(|(_, id)| id),
            after: number,
            count: Some(1),
            ..Fault::new(what)
        })
    }
}

fn mutation(
    rng: &mut ChaCha8Rng,
    site: Site,
    class: Option<Class>,
    moment: &Moment,
    word: Option<Register>,
) -> Option<What> {
    Some(match site {
        Site::Command => command(rng),
        Site::Completion => completion(rng, class?),
        Site::Data if moment.is_identify() => identify(rng),
        // Nobody can tell wrong ciphertext from right one: that would only hide what this is to find.
        Site::Data if class != Some(Class::Cp) => return None,
        Site::Data => What::Data {
            byte: rng.random_range(0..256),
            change: Change::Xor(rng.random_range(1..256)),
        },
        // A fault of this word alone: its events are counted like those of the draw.
        Site::Register => What::Registers(BTreeMap::from([(word?, change(rng, 32))])),
        Site::Interrupt if rng.random_bool(0.5) => What::LostInterrupt,
        Site::Interrupt => What::RepeatInterrupt {
            times: rng.random_range(1..20),
        },
        Site::Doorbell => What::LostDoorbell,
        Site::Enable => What::IgnoreEnable {
            ms: Some(rng.random_range(1..3000)),
        },
        Site::Disable => What::IgnoreDisable {
            ms: Some(rng.random_range(1..3000)),
        },
        Site::Disabled => What::FatalDisabled,
    })
}

fn command(rng: &mut ChaCha8Rng) -> What {
    match rng.random_range(0..100) {
        0..40 => What::Ignore,
        40..75 => What::Refuse {
            status: rng.random_range(0..=0x7fff),
            error: rng.random(),
        },
        75..90 => What::Interrupt {
            vector: rng.random_range(0..VECTORS as u16),
            times: rng.random_range(1..200),
            every_us: rng.random_range(0..100),
        },
        90..94 => What::ClearEnable,
        94..97 => What::Fatal,
        _ => What::Crash,
    }
}

fn completion(rng: &mut ChaCha8Rng, class: Class) -> What {
    match rng.random_range(0..100) {
        0..10 => What::Drop,
        10..20 => What::Delay {
            ms: rng.random_range(1..3000),
        },
        20..30 => What::Duplicate {
            times: rng.random_range(1..4),
        },
        30..40 => What::Hold {
            commands: rng.random_range(1..6),
            ms: rng.random_range(1..2000),
        },
        40..45 => What::Stale {
            ms: rng.random_range(0..200),
        },
        45..55 => What::LateWrite {
            ms: rng.random_range(0..100),
            byte: rng.random(),
            buffers: if rng.random_bool(0.8) {
                Buffers::Destination
            } else {
                Buffers::Source
            },
        },
        _ => {
            let fields: Vec<Field> = Field::ALL
                .into_iter()
                .filter(|field| field.bits(class).is_some())
                .collect();
            let number = if rng.random_bool(0.2) { 2 } else { 1 };
            let changes = fields
                .choose_multiple(rng, number)
                .copied()
                .collect::<Vec<_>>();
            let change = |field: Field| {
                let width = field.bits(class).map_or(1, |bits| bits.width);
                (field, change(rng, width))
            };
            What::Completion(changes.into_iter().map(change).collect())
        }
    }
}

fn identify(rng: &mut ChaCha8Rng) -> What {
    if rng.random_bool(0.2) {
        return What::IdentifyFill(*[0, 0xff, rng.random()].choose(rng).unwrap_or(&0));
    }
    let field = *IdentifyField::ALL
        .choose(rng)
        .unwrap_or(&IdentifyField::Vendor);
    What::Identify(BTreeMap::from([(field, change(rng, field.bits().width))]))
}

/// Draws a change of a field: a bit, a limit, a neighbour, anything.
fn change(rng: &mut ChaCha8Rng, width: u32) -> Change {
    let max = u64::MAX >> (64 - width);
    match rng.random_range(0..6) {
        0 | 1 => Change::Xor(1 << rng.random_range(0..width)),
        2 => Change::Set(0),
        3 => Change::Set(max),
        4 => Change::Add(if rng.random_bool(0.5) { 1 } else { -1 }),
        _ => Change::Set(rng.random_range(0..=max)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(seed: u64, rate: f64) -> Settings {
        let honest = false;
        Settings { seed, rate, honest }
    }

    fn faults(seed: u64, events: usize) -> Vec<Fault> {
        faults_of(settings(seed, 0.5), events)
    }

    fn faults_of(settings: Settings, events: usize) -> Vec<Fault> {
        let seed = settings.seed;
        let mut chaos = Chaos::new(settings);
        let moment = Moment::queue(1, Class::Fp, 256);
        let other = Moment::queue(1, Class::Fp, 257);
        let mut drawn = Vec::new();
        for i in 0..events {
            drawn.extend(chaos.draw(Site::Completion, &moment));
            if seed % 2 == i as u64 % 2 {
                chaos.draw(Site::Completion, &other);
            }
        }
        drawn
    }

    #[test]
    fn a_seed_says_what_goes_wrong() {
        assert_eq!(faults(1, 200), faults(1, 200));
        assert_ne!(faults(1, 200), faults(2, 200));
        let drawn = faults(1, 200).len();
        assert!(
            (60..140).contains(&drawn),
            "{drawn} of 200 at a rate of 0.5"
        );
    }

    #[test]
    fn other_queues_change_nothing() {
        let (settings, moment) = ("7,0.5".parse().unwrap(), Moment::queue(1, Class::Cp, 1));
        let (mut alone, mut among) = (Chaos::new(settings), Chaos::new(settings));
        for i in 0..100 {
            for _ in 0..i % 3 {
                among.draw(Site::Completion, &Moment::queue(1, Class::Cp, 2));
                among.draw(Site::Command, &moment);
            }
            assert_eq!(
                alone.draw(Site::Completion, &moment),
                among.draw(Site::Completion, &moment)
            );
        }
    }

    #[test]
    fn what_is_drawn_can_be_armed() {
        let mut chaos = Chaos::new("3,1".parse().unwrap());
        let sqe = [6u8; 128];
        let moments = [
            (Site::Command, Moment::command(1, Class::Cp, 1, &sqe)),
            (Site::Completion, Moment::command(1, Class::Admin, 0, &sqe)),
            (Site::Completion, Moment::command(1, Class::Cp, 1, &sqe)),
            (Site::Completion, Moment::command(1, Class::Fp, 256, &sqe)),
            (Site::Data, Moment::command(1, Class::Admin, 0, &sqe)),
            (Site::Data, Moment::command(1, Class::Cp, 1, &sqe)),
            (Site::Register, Moment::read(1, 0x1c, 4)),
            (Site::Interrupt, Moment::queue(1, Class::Fp, 256)),
            (Site::Doorbell, Moment::queue(1, Class::Fp, 256)),
            (Site::Enable, Moment::function(1)),
            (Site::Disable, Moment::function(1)),
        ];
        for (site, moment) in moments {
            for number in 0..200 {
                let fault = chaos.draw(site, &moment).expect("a rate of 1");
                assert_eq!(fault.what.site(), site);
                assert_eq!(fault.after, number);
                assert!(moment.fits(&fault), "{fault:?}");
                fault.check().unwrap_or_else(|e| panic!("{fault:?}: {e}"));
                let json = serde_json::to_string(&fault).unwrap();
                assert_eq!(serde_json::from_str::<Fault>(&json).unwrap(), fault);
            }
        }
        let moment = Moment::command(1, Class::Fp, 256, &sqe);
        assert_eq!(chaos.draw(Site::Data, &moment), None);
    }

    #[test]
    fn honest_chaos_is_the_rest_of_it() {
        let all = settings(5, 0.5);
        let honest = faults_of(
            Settings {
                honest: true,
                ..all
            },
            400,
        );
        let mut drawn = faults_of(all, 400);
        drawn.retain(|fault| !fault.what.deceives(fault.class));
        assert!(!honest.is_empty() && honest.len() < faults_of(all, 400).len());
        assert_eq!(honest, drawn);
    }

    #[test]
    fn settings_are_read() {
        assert_eq!("5".parse::<Settings>().unwrap(), settings(5, RATE));
        for text in ["", "x", "1,", "1,2", "1,-0.1", "1,NaN", "-1"] {
            assert!(text.parse::<Settings>().is_err(), "{text}");
        }
    }
}
