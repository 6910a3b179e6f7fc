// SPDX-License-Identifier: GPL-2.0-or-later

//! A report as a picture: commands per second and processor time per command, one row for each load.

use std::fmt::Write as _;

use super::{Measurement, Report};

/// Width of a panel and of the text to its left.
const PANEL: f64 = 330.0;
const LABEL: f64 = 170.0;
/// Height of a bar with the space below.
const BAR: f64 = 16.0;

/// Draws the report as SVG.
pub fn draw(report: &Report) -> String {
    let mut loads: Vec<&str> = Vec::new();
    for measurement in &report.measurements {
        if !loads.contains(&measurement.load.as_str()) {
            loads.push(&measurement.load);
        }
    }
    let mut body = String::new();
    let mut y = 40.0;
    for load in loads {
        let rows: Vec<&Measurement> = report
            .measurements
            .iter()
            .filter(|measurement| measurement.load == load)
            .collect();
        let _ = writeln!(
            body,
            r#"<text x="10" y="{:.0}" font-weight="bold">{load}</text>"#,
            y + 12.0
        );
        y += 20.0;
        let most = |figure: fn(&Measurement) -> f64| {
            rows.iter()
                .map(|row| figure(row))
                .fold(f64::MIN_POSITIVE, f64::max)
        };
        let (speed, cpu) = (most(|row| row.per_second), most(|row| row.cpu_us));
        for row in rows {
            let name = format!("{} {}", row.door.name(), row.depth);
            let _ = writeln!(body, r#"<text x="20" y="{:.0}">{name}</text>"#, y + 11.0);
            bar(
                &mut body,
                LABEL,
                y,
                row.per_second / speed,
                "#4878a8",
                row.per_second,
            );
            bar(
                &mut body,
                LABEL + PANEL,
                y,
                row.cpu_us / cpu,
                "#c86432",
                row.cpu_us,
            );
            y += BAR;
        }
        y += 8.0;
    }
    let width = LABEL + 2.0 * PANEL;
    let second = LABEL + PANEL;
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{y:.0}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="white"/>
<text x="{LABEL:.0}" y="20" font-size="13">commands per second</text>
<text x="{second:.0}" y="20" font-size="13">processor time per command, microseconds</text>
{body}</svg>
"#
    )
}

fn bar(body: &mut String, x: f64, y: f64, part: f64, color: &str, figure: f64) {
    // Room for the figure behind the longest bar.
    let width = part * (PANEL - 80.0);
    let _ = writeln!(
        body,
        r#"<rect x="{x:.0}" y="{y:.0}" width="{width:.1}" height="12" fill="{color}"/><text x="{:.0}" y="{:.0}">{figure:.1}</text>"#,
        x + width + 5.0,
        y + 11.0
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Door;
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
            instructions: None,
            sq_doorbells: None,
            cq_doorbells: None,
            interrupts: None,
            profile: Vec::new(),
        };
        let report = Report {
            measurements: vec![
                measurement("gcm", 1),
                measurement("gcm", 4),
                measurement("xts", 1),
            ],
        };
        let svg = draw(&report);
        assert_eq!(svg.matches("<rect x=").count(), 6);
        assert_eq!(svg.matches(">gcm<").count(), 1);
        assert!(svg.contains("ioctl 4") && svg.trim_end().ends_with("</svg>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
