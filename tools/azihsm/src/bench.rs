// SPDX-License-Identifier: GPL-2.0-or-later

//! Measures what commands cost: throughput, latency, processor time, and what can be counted exactly.
//!
//! Times depend on the machine and on what else it does: they are to be read as ratios within one run. That is why
//! each run measures the ceilings too, what a system call costs that does nothing.

mod counters;
mod ioctls;
mod load;
mod plot;
mod ratios;
mod rings;
mod sample;
mod stopwatch;

use std::io::Write;
use std::thread;
use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::demo::Partition;
use crate::device::Device;
use crate::hsm::Hsm;
use counters::{Counters, Snapshot};
use load::Keys;
use load::Op;
pub use load::{ALL, Load, QUICK, parse};
pub use plot::draw;
use rings::Way;
use sample::{Percentiles, Samples};
use stopwatch::{Stopwatch, Taken};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Loads.
    pub loads: Vec<Load>,
    /// Numbers of threads for ioctls.
    pub threads: Vec<usize>,
    /// Numbers of commands at a time for io_uring.
    pub depths: Vec<usize>,
    /// Commands for each measurement; fewer for large ones.
    pub commands: u64,
    /// Whether to tell which functions of the driver the instructions were executed in.
    pub profile: bool,
}

/// How commands get to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// One ioctl after the other in each of some threads.
    Ioctl,
    /// An ioctl that the driver does not know.
    BadIoctl,
    /// From one thread through io_uring.
    Uring,
    /// The same, with registered buffers.
    UringFixed,
    /// The same, with a ring that looks for completions itself.
    UringIopoll,
    /// Operations of io_uring that do nothing.
    UringNop,
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measurement {
    /// Name of the load; "ceiling" for what is not a command.
    pub load: String,
    /// How commands got to the driver.
    pub door: Door,
    /// Commands that were under way at a time.
    pub depth: usize,
    /// Commands.
    pub commands: u64,
    /// Time from the first to the last, in seconds.
    pub seconds: f64,
    /// Commands per second.
    pub per_second: f64,
    /// Latency of a command.
    pub latency_us: Percentiles,
    /// Processor time of the process for each command, in microseconds.
    pub cpu_us: f64,
    /// Time that the device took for each command, from fetch to completion, in microseconds: no more than the rest of
    /// the latency is the driver's and the transport's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_us: Option<f64>,
    /// Guest instructions executed in the driver for each command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<f64>,
    /// Writes to submission queue doorbells for each command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sq_doorbells: Option<f64>,
    /// Writes to completion queue doorbells for each command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cq_doorbells: Option<f64>,
    /// Interrupts of the device that the guest handled for each command.
    pub interrupts: f64,
    /// Interrupts of the processors' timers for each command, those of the kernel included.
    pub timer_interrupts: f64,
    /// Interrupt messages that the device sent for each command, masked or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<f64>,
    /// Functions of the driver with the instructions executed in them for each command, most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<(String, f64)>,
}

/// All measurements of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Processors of the machine.
    pub processors: usize,
    /// The measurements, in the order they were made.
    pub measurements: Vec<Measurement>,
}

/// Runs the bench on `device` and tells each figure to `out` when it is known.
pub fn run(device: &Device, options: &Options, out: &mut dyn Write) -> Result<Report> {
    let mut partition = Partition::provision(device)?;
    let result = measure(device, &mut partition, options, out);
    // The partition is given back also after an error, which is then what is to be told.
    let given_back = partition.unprovision();
    let report = result?;
    given_back?;
    Ok(report)
}

fn measure(
    device: &Device,
    partition: &mut Partition<'_>,
    options: &Options,
    out: &mut dyn Write,
) -> Result<Report> {
    let keys = Keys::make(device, partition)?;
    let mut bench = Bench {
        counters: Counters::open()?,
        profile: options.profile,
        measurements: Vec::new(),
        out,
    };
    writeln!(bench.out, "{}", Measurement::heading())?;
    let small = options.commands;
    bench.one("ceiling", Door::BadIoctl, 1, small, |commands| {
        bad_ioctls(device, commands)
    })?;
    for &depth in &options.depths {
        bench.one("ceiling", Door::UringNop, depth, small, |commands| {
            rings::run_nops(depth, commands)
        })?;
    }
    for load in &options.loads {
        let commands = load.commands(options.commands);
        for &threads in &options.threads {
            let hsm: &dyn Hsm = device;
            let name = load.to_string();
            bench.one(&name, Door::Ioctl, threads, commands, |commands| {
                ioctls::run(hsm, &keys, *load, threads, commands)
            })?;
        }
        for (door, way) in [
            (Door::Uring, Way::Plain),
            (Door::UringFixed, Way::Fixed),
            (Door::UringIopoll, Way::Iopoll),
        ] {
            if load.op == Op::Control && way == Way::Fixed {
                continue;
            }
            for &depth in &options.depths {
                bench.one(&load.to_string(), door, depth, commands, |commands| {
                    rings::run(device, &keys, *load, depth, way, commands)
                })?;
            }
        }
    }
    let report = Report {
        processors: thread::available_parallelism().map_or(1, usize::from),
        measurements: bench.measurements,
    };
    for ratio in ratios::all(&report) {
        writeln!(bench.out, "{ratio}")?;
    }
    Ok(report)
}

fn bad_ioctls(device: &Device, commands: u64) -> Result<Taken> {
    let mut samples = Samples::default();
    let watch = Stopwatch::start()?;
    for _ in 0..commands {
        let began = Instant::now();
        device.unknown_ioctl()?;
        samples.push(began.elapsed());
    }
    watch.stop(samples)
}

/// A run under way.
struct Bench<'a> {
    counters: Counters,
    profile: bool,
    measurements: Vec<Measurement>,
    out: &'a mut dyn Write,
}

impl Bench<'_> {
    fn one(
        &mut self,
        load: &str,
        door: Door,
        depth: usize,
        commands: u64,
        run: impl Fn(u64) -> Result<Taken>,
    ) -> Result<()> {
        // What happens only the first time is not what is to be measured.
        run(commands / 4 + 1)?;
        let profile = self.profile_now()?;
        let before = self.counters.before()?;
        let taken = run(commands)?;
        let after = self.counters.after()?;
        let mut measurement = Measurement::new(load, door, depth, taken, &before, &after);
        let commands = measurement.commands as f64;
        measurement.profile = difference(&profile, self.profile_now()?, commands);
        writeln!(self.out, "{measurement}")?;
        for (name, instructions) in measurement.profile.iter().take(20) {
            writeln!(self.out, "{instructions:>60.1}  {name}")?;
        }
        self.measurements.push(measurement);
        Ok(())
    }

    fn profile_now(&mut self) -> Result<Vec<(String, u64)>> {
        if self.profile {
            self.counters.profile()
        } else {
            Ok(Vec::new())
        }
    }
}

/// Returns what was added to a profile, for each command, most first.
fn difference(
    before: &[(String, u64)],
    after: Vec<(String, u64)>,
    commands: f64,
) -> Vec<(String, f64)> {
    let mut added: Vec<(String, f64)> = after
        .into_iter()
        .map(|(name, sum)| {
            let known = before
                .iter()
                .find(|(other, _)| *other == name)
                .map_or(0, |b| b.1);
            (name, (sum - known) as f64 / commands)
        })
        .filter(|(_, sum)| *sum >= 0.05)
        .collect();
    added.sort_by(|a, b| b.1.total_cmp(&a.1));
    added
}

impl Measurement {
    fn new(
        load: &str,
        door: Door,
        depth: usize,
        taken: Taken,
        before: &Snapshot,
        after: &Snapshot,
    ) -> Self {
        let Taken { time, cpu, samples } = taken;
        let commands = samples.len().max(1) as f64;
        let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / commands;
        let (used, unused) = (after.usage.interrupts, before.usage.interrupts);
        let devices = after.device.zip(before.device);
        Self {
            load: load.to_owned(),
            door,
            depth,
            commands: samples.len() as u64,
            seconds: time.as_secs_f64(),
            per_second: commands / time.as_secs_f64(),
            latency_us: samples.percentiles(),
            cpu_us: cpu.as_secs_f64() * 1e6 / commands,
            instructions: after
                .instructions
                .zip(before.instructions)
                .map(|(a, b)| each(a, b)),
            device_us: devices
                .map(|(a, b)| each(a.service_ns(), b.service_ns()) / 1000.0)
                .filter(|us| *us > 0.0),
            sq_doorbells: devices.map(|(a, b)| each(a.doorbell_writes_sq, b.doorbell_writes_sq)),
            cq_doorbells: devices.map(|(a, b)| each(a.doorbell_writes_cq, b.doorbell_writes_cq)),
            interrupts: each(used.device, unused.device),
            timer_interrupts: each(used.timer, unused.timer),
            messages: devices.map(|(a, b)| each(a.interrupts, b.interrupts)),
            profile: Vec::new(),
        }
    }

    fn heading() -> String {
        format!(
            "{:<12} {:<12} {:>5} {:>10} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7} {:>6} {:>6} {:>6} {:>6} {:>6}",
            "load",
            "door",
            "depth",
            "commands/s",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "CPU us",
            "dev. us",
            "instr.",
            "SQ db",
            "CQ db",
            "msgs",
            "irqs",
            "timer"
        )
    }
}

impl std::fmt::Display for Measurement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counted = |count: Option<f64>, digits: usize| {
            count.map_or_else(|| "-".to_owned(), |n| format!("{n:.digits$}"))
        };
        write!(
            f,
            "{:<12} {:<12} {:>5} {:>10.0} {:>9.1} {:>9.1} {:>9.1} {:>8.1} {:>8} {:>7} {:>6} {:>6} {:>6} {:>6.3} {:>6.3}",
            self.load,
            self.door.name(),
            self.depth,
            self.per_second,
            self.latency_us.p50,
            self.latency_us.p99,
            self.latency_us.p99_9,
            self.cpu_us,
            counted(self.device_us, 1),
            counted(self.instructions, 0),
            counted(self.sq_doorbells, 3),
            counted(self.cq_doorbells, 3),
            counted(self.messages, 3),
            self.interrupts,
            self.timer_interrupts
        )
    }
}

impl Door {
    /// Returns whether commands get to the driver through io_uring.
    pub fn is_ring(self) -> bool {
        matches!(self, Self::Uring | Self::UringFixed | Self::UringIopoll)
    }

    /// Returns the name, as it is in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ioctl => "ioctl",
            Self::BadIoctl => "bad-ioctl",
            Self::Uring => "uring",
            Self::UringFixed => "uring-fixed",
            Self::UringIopoll => "uring-iopoll",
            Self::UringNop => "uring-nop",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn profiles_are_subtracted() {
        let before = [("a".to_owned(), 10), ("b".to_owned(), 5)];
        let after = vec![
            ("a".to_owned(), 30),
            ("b".to_owned(), 5),
            ("c".to_owned(), 100),
        ];
        assert_eq!(
            difference(&before, after, 10.0),
            [("c".to_owned(), 10.0), ("a".to_owned(), 2.0)]
        );
    }

    #[test]
    fn figures_are_for_each_command() {
        let mut samples = Samples::default();
        for _ in 0..4 {
            samples.push(Duration::from_micros(5));
        }
        let device = |n| {
            Some(counters::Device {
                doorbell_writes_sq: n,
                doorbell_writes_cq: 2 * n,
                service_ns_cp: 1000 * n,
                service_ns_fp: 5000 * n,
                interrupts: n,
            })
        };
        let before = Snapshot::default();
        let after = Snapshot {
            device: device(2),
            instructions: Some(4000),
            usage: counters::Usage {
                interrupts: counters::Interrupts {
                    device: 4,
                    timer: 2,
                },
            },
        };
        let measure = |before: &Snapshot, samples| {
            let taken = Taken {
                time: Duration::from_secs(1),
                cpu: Duration::from_micros(40),
                samples,
            };
            Measurement::new("gcm", Door::Ioctl, 1, taken, before, &after)
        };
        let without = measure(&before, Samples::default());
        assert!(without.sq_doorbells.is_none());
        let before = Snapshot {
            device: device(0),
            instructions: Some(0),
            ..before
        };
        let with = measure(&before, samples);
        assert_eq!(with.per_second, 4.0);
        assert_eq!(with.cpu_us, 10.0);
        assert_eq!(with.instructions, Some(1000.0));
        assert_eq!(
            (with.sq_doorbells, with.cq_doorbells),
            (Some(0.5), Some(1.0))
        );
        assert_eq!((with.interrupts, with.timer_interrupts), (1.0, 0.5));
        assert_eq!((with.messages, with.device_us), (Some(0.5), Some(3.0)));
    }
}
