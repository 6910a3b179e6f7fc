// SPDX-License-Identifier: GPL-2.0-or-later

//! A report as a picture: a row for each measurement, with panels for throughput, latency, processor time, and what was
//! counted.

use std::fmt::Write as _;

use super::{Door, Measurement, Report};

/// Width of the names of rows, of a panel, and of the figures behind its bars.
const LABEL: f64 = 130.0;
const PANEL: f64 = 270.0;
const FIGURE: f64 = 115.0;
/// Height of a row, of a bar in it, and of the space around a load.
const ROW: f64 = 15.0;
const BAR: f64 = 10.0;
const SPACE: f64 = 14.0;
/// Height of the heading.
const HEADING: f64 = 62.0;

/// A panel: what it shows, and how.
struct Panel {
    title: &'static str,
    draw: fn(&mut String, Scale<'_>, &Measurement, f64, f64),
}

const PANELS: [Panel; 4] = [
    Panel {
        title: "commands per second",
        draw: throughput,
    },
    Panel {
        title: "latency, µs: median, thin to p99 (log. scale)",
        draw: latency,
    },
    Panel {
        title: "processor time per command, µs",
        draw: processor_time,
    },
    Panel {
        title: "doorbells | interrupts per command",
        draw: counts,
    },
];

/// The measurements that are drawn to the same scale.
#[derive(Clone, Copy)]
struct Scale<'a>(&'a [&'a Measurement]);

impl Scale<'_> {
    /// Returns the part that `value` is of the largest figure.
    fn part(self, value: f64, figure: impl Fn(&Measurement) -> f64) -> f64 {
        let figures = self.0.iter().map(|row| figure(row));
        value / figures.fold(f64::MIN_POSITIVE, f64::max)
    }
}

/// Draws the report as SVG.
pub fn draw(report: &Report) -> String {
    let mut loads: Vec<&str> = Vec::new();
    for measurement in &report.measurements {
        if !loads.contains(&measurement.load.as_str()) {
            loads.push(&measurement.load);
        }
    }
    let mut body = String::new();
    let mut y = HEADING;
    for load in loads {
        let rows: Vec<&Measurement> = report
            .measurements
            .iter()
            .filter(|measurement| measurement.load == load)
            .collect();
        text(&mut body, 10.0, y + 11.0, "bold", load);
        y += ROW + 3.0;
        let mut door = None;
        for row in &rows {
            // A little room between the ways in which commands get to the driver.
            if door.replace(row.door).is_some_and(|door| door != row.door) {
                y += 4.0;
            }
            let name = format!("{} {}", row.door.name(), row.depth);
            text(&mut body, 20.0, y + BAR - 1.0, "normal", &name);
            for (x, panel) in (0u8..).map(panel_x).zip(&PANELS) {
                (panel.draw)(&mut body, Scale(&rows), row, x, y);
            }
            y += ROW;
        }
        y += SPACE;
    }
    let width = panel_x(4);
    let mut head = String::new();
    let title = format!(
        "azihsm bench on {} processors: threads for ioctls, commands under way for io_uring",
        report.processors
    );
    text(&mut head, 10.0, 22.0, "bold", &title);
    for (x, panel) in (0u8..).map(panel_x).zip(&PANELS) {
        text(&mut head, x, 48.0, "normal", panel.title);
    }
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{y:.0}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="white"/>
{head}{body}</svg>
"#
    )
}

fn panel_x(number: u8) -> f64 {
    LABEL + f64::from(number) * PANEL
}

fn color(door: Door) -> &'static str {
    match door {
        Door::Ioctl => "#4878a8",
        Door::Uring => "#c86432",
        Door::UringFixed => "#d9a03c",
        Door::UringIopoll => "#5a9a5a",
        Door::BadIoctl | Door::UringNop => "#909090",
    }
}

fn throughput(body: &mut String, scale: Scale<'_>, row: &Measurement, x: f64, y: f64) {
    let part = scale.part(row.per_second, |row| row.per_second);
    let figure = format!("{:.0}", row.per_second);
    bar(body, (x, y), part, color(row.door), &figure);
}

fn latency(body: &mut String, scale: Scale<'_>, row: &Measurement, x: f64, y: f64) {
    let log = |us: f64| (us.max(0.1) * 10.0).ln();
    let most = |row: &Measurement| log(row.latency_us.p99);
    let (median, p99) = (row.latency_us.p50, row.latency_us.p99);
    let length = (PANEL - FIGURE) * scale.part(log(p99), most);
    rectangle(body, (x, y + 4.0), length, 2.0, color(row.door));
    let length = (PANEL - FIGURE) * scale.part(log(median), most);
    rectangle(body, (x, y), length, BAR, color(row.door));
    let figure = format!("{} .. {}", short(median), short(p99));
    let behind = x + PANEL - FIGURE + 4.0;
    text(body, behind, y + BAR - 1.0, "normal", &figure);
}

fn processor_time(body: &mut String, scale: Scale<'_>, row: &Measurement, x: f64, y: f64) {
    let part = scale.part(row.cpu_us, |row| row.cpu_us);
    bar(
        body,
        (x, y),
        part,
        color(row.door),
        &format!("{:.1}", row.cpu_us),
    );
}

/// Two bars, each to the scale that its full length is 1.
fn counts(body: &mut String, _: Scale<'_>, row: &Measurement, x: f64, y: f64) {
    let full = (PANEL - FIGURE) / 2.0 - 4.0;
    let doorbells = row.sq_doorbells.unwrap_or_default();
    let part = |count: f64| count.min(1.0) * full;
    rectangle(body, (x, y), part(doorbells), BAR, "#7a6fa8");
    rectangle(
        body,
        (x + full + 4.0, y),
        part(row.interrupts),
        BAR,
        "#a86f7a",
    );
    let figure = format!("{doorbells:.2} | {:.2}", row.interrupts);
    let behind = x + PANEL - FIGURE;
    text(body, behind, y + BAR - 1.0, "normal", &figure);
}

/// Writes microseconds with as many digits as matter.
fn short(us: f64) -> String {
    match us {
        ms if ms >= 99_500.0 => format!("{:.0} ms", ms / 1000.0),
        ms if ms >= 9_950.0 => format!("{:.1} ms", ms / 1000.0),
        us if us >= 99.5 => format!("{us:.0}"),
        us => format!("{us:.1}"),
    }
}

fn bar(body: &mut String, (x, y): (f64, f64), part: f64, color: &str, figure: &str) {
    let length = part * (PANEL - FIGURE);
    rectangle(body, (x, y), length, BAR, color);
    text(body, x + length + 4.0, y + BAR - 1.0, "normal", figure);
}

fn rectangle(body: &mut String, (x, y): (f64, f64), width: f64, height: f64, color: &str) {
    // A string takes whatever is written.
    let _ = writeln!(
        body,
        r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.0}" fill="{color}"/>"#
    );
}

fn text(body: &mut String, x: f64, y: f64, weight: &str, text: &str) {
    let _ = writeln!(
        body,
        r#"<text x="{x:.1}" y="{y:.1}" font-weight="{weight}">{text}</text>"#
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::sample::Percentiles;

    #[test]
    fn every_measurement_has_its_bars() {
        let measurement = |load: &str, depth| Measurement {
            load: load.to_owned(),
            door: Door::Ioctl,
            depth,
            commands: 10,
            seconds: 1.0,
            per_second: 10.0 * depth as f64,
            latency_us: Percentiles::default(),
            cpu_us: 0.0,
            device_us: None,
            instructions: None,
            sq_doorbells: None,
            cq_doorbells: None,
            interrupts: 0.0,
            timer_interrupts: 0.0,
            messages: None,
            profile: Vec::new(),
        };
        let report = Report {
            processors: 2,
            measurements: vec![
                measurement("gcm", 1),
                measurement("gcm", 4),
                measurement("xts", 1),
            ],
        };
        let svg = draw(&report);
        // Throughput, two for latency, processor time, two for counts.
        assert_eq!(svg.matches("<rect x=").count(), 3 * 6);
        assert_eq!(svg.matches(">gcm<").count(), 1);
        assert!(svg.contains("ioctl 4") && svg.trim_end().ends_with("</svg>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn times_are_short() {
        assert_eq!(short(1.27), "1.3");
        assert_eq!(short(208.2), "208");
        assert_eq!(short(12_345.0), "12.3 ms");
        assert_eq!(short(123_456.0), "123 ms");
    }
}
