// SPDX-License-Identifier: GPL-2.0-or-later

//! What times are good for: ratios within one run.

use std::fmt;

use super::{Door, Measurement, Report};

/// Number of commands under way that stands for "many".
const MANY: usize = 64;

/// One load through io_uring, compared with the same through ioctls.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    load: String,
    door: Door,
    /// Commands per second, divided by those of one thread with ioctls.
    one: Option<f64>,
    /// Number of threads with which ioctls are fastest, commands per second divided by theirs, and processor time of a
    /// command divided by theirs.
    best: Option<(usize, f64, f64)>,
    /// For registered buffers: commands per second, divided by those without.
    plain: Option<f64>,
}

/// Returns the ratios of a report.
pub fn all(report: &Report) -> Vec<Ratio> {
    let many = |m: &&Measurement| m.depth == MANY && m.door.is_ring();
    report
        .measurements
        .iter()
        .filter(many)
        .map(|m| ratio(report, m))
        .collect()
}

fn ratio(report: &Report, m: &Measurement) -> Ratio {
    let of = |door| {
        let rows = report.measurements.iter();
        rows.filter(move |other| other.load == m.load && other.door == door)
    };
    let speed = |other: &Measurement| m.per_second / other.per_second;
    let best = of(Door::Ioctl).max_by(|a, b| a.per_second.total_cmp(&b.per_second));
    Ratio {
        load: m.load.clone(),
        door: m.door,
        one: of(Door::Ioctl).find(|other| other.depth == 1).map(speed),
        best: best.map(|other| (other.depth, speed(other), m.cpu_us / other.cpu_us)),
        plain: of(Door::Uring)
            .find(|other| m.door == Door::UringFixed && other.depth == m.depth)
            .map(speed),
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.door.name();
        write!(f, "{:<12} {name:<12} {MANY:>5}", self.load)?;
        if let Some(one) = self.one {
            write!(f, "  {one:.2} x one ioctl thread")?;
        }
        if let Some((threads, speed, cpu)) = self.best {
            write!(f, ", {speed:.2} x {threads} of them, the best,")?;
            write!(f, " with {cpu:.2} of the CPU time")?;
        }
        if let Some(plain) = self.plain {
            write!(f, ", {plain:.2} x plain buffers")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::sample::Percentiles;

    fn measured(door: Door, depth: usize, per_second: f64, cpu_us: f64) -> Measurement {
        Measurement {
            load: "gcm".to_owned(),
            door,
            depth,
            commands: 10,
            seconds: 1.0,
            per_second,
            latency_us: Percentiles::default(),
            cpu_us,
            device_us: None,
            instructions: None,
            sq_doorbells: None,
            cq_doorbells: None,
            interrupts: 0.0,
            timer_interrupts: 0.0,
            messages: None,
            profile: Vec::new(),
        }
    }

    #[test]
    fn rings_are_compared_with_ioctls() {
        let measurements = vec![
            measured(Door::Ioctl, 1, 100.0, 10.0),
            measured(Door::Ioctl, 4, 200.0, 20.0),
            measured(Door::Ioctl, 16, 150.0, 30.0),
            measured(Door::Uring, 1, 90.0, 10.0),
            measured(Door::Uring, 64, 300.0, 5.0),
            measured(Door::UringFixed, 64, 450.0, 5.0),
            measured(Door::UringNop, 64, 450.0, 5.0),
        ];
        let report = Report {
            processors: 2,
            measurements,
        };
        let ratios = all(&report);
        assert_eq!(ratios.len(), 2);
        assert_eq!(ratios[0].one, Some(3.0));
        assert_eq!(ratios[0].best, Some((4, 1.5, 0.25)));
        assert_eq!((ratios[0].plain, ratios[1].plain), (None, Some(1.5)));
        assert!(ratios[0].to_string().ends_with("with 0.25 of the CPU time"));
    }

    #[test]
    fn what_was_not_measured_is_not_compared() {
        let report = Report {
            processors: 2,
            measurements: vec![measured(Door::Uring, 64, 300.0, 5.0)],
        };
        let ratios = all(&report);
        assert_eq!((ratios[0].one, ratios[0].best), (None, None));
    }
}
