// SPDX-License-Identifier: GPL-2.0-or-later

//! `azihsm info`: what one HSM says about itself.

use std::io::Write;

use anyhow::Result;
use azihsm_ddi::client::Client;
use azihsm_ddi::{ApiRev, DeviceKind};
use serde::Serialize;

use crate::demo::Control;
use crate::hsm::{Hsm, Info};

/// All that is told.
#[derive(Debug, Serialize)]
struct Answer {
    node: String,
    #[serde(flatten)]
    info: Info,
    api_min: String,
    api_max: String,
    kind: &'static str,
    resources: u8,
    control_queues: u16,
    fast_path_queues: u16,
    fips_approved: bool,
}

/// Asks the driver and the device, and writes what they say.
pub fn run(node: &str, hsm: &dyn Hsm, json: bool, out: &mut dyn Write) -> Result<()> {
    let info = hsm.info()?;
    let mut client = Client::new(Control(hsm));
    let revisions = client.api_revisions()?;
    let device = client.device_info()?;
    let answer = Answer {
        node: node.into(),
        info,
        api_min: revision(revisions.min),
        api_max: revision(revisions.max),
        kind: kind(device.kind),
        resources: device.tables,
        control_queues: u16::from(device.tables),
        fast_path_queues: 2 * u16::from(device.tables),
        fips_approved: device.fips_approved,
    };
    if json {
        serde_json::to_writer_pretty(&mut *out, &answer)?;
        Ok(writeln!(out)?)
    } else {
        text(&answer, out)
    }
}

fn text(answer: &Answer, out: &mut dyn Write) -> Result<()> {
    let api = if answer.api_min == answer.api_max {
        answer.api_max.clone()
    } else {
        format!("{} to {}", answer.api_min, answer.api_max)
    };
    let info = &answer.info;
    let facts: [(&str, &str); 10] = [
        ("Node", &answer.node),
        ("PCI device", &info.pci_address),
        ("Controller", &info.controller_id.to_string()),
        ("Driver version", &info.driver_version),
        ("Firmware", &info.firmware_revision),
        ("Serial number", &info.serial_number),
        ("API revision", &api),
        ("Kind", answer.kind),
        (
            "Resources",
            &format!(
                "{} ({} control queues, {} fast-path queues)",
                answer.resources, answer.control_queues, answer.fast_path_queues
            ),
        ),
        (
            "FIPS approved",
            if answer.fips_approved { "yes" } else { "no" },
        ),
    ];
    for (name, value) in facts {
        let value = if value.is_empty() { "-" } else { value };
        writeln!(out, "{name:<16}{value}")?;
    }
    Ok(())
}

fn revision(revision: ApiRev) -> String {
    format!("{}.{}", revision.major, revision.minor)
}

fn kind(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Virtual => "virtual",
        DeviceKind::Physical => "physical",
        _ => "unknown",
    }
}
