// SPDX-License-Identifier: GPL-2.0-or-later

//! `azihsm info`: what one HSM says about itself.

use std::io::Write;

use anyhow::Result;
use azihsm_ddi::client::Client;
use azihsm_ddi::{ApiRev, DeviceKind};
use serde::Serialize;

use crate::demo::Control;
use crate::hsm::{Hsm, Info, Limits, Queues};

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
    fips_approved: bool,
    driver: Option<Limits>,
}

/// Asks the driver and the device, and writes what they say.
pub fn run(node: &str, hsm: &dyn Hsm, json: bool, out: &mut dyn Write) -> Result<()> {
    let info = hsm.info()?;
    let driver = hsm.query()?;
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
        fips_approved: device.fips_approved,
        driver,
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
    let mut facts = vec![
        ("Node", answer.node.clone()),
        ("PCI device", info.pci_address.clone()),
        ("Controller", info.controller_id.to_string()),
        ("Driver version", info.driver_version.clone()),
        ("Firmware", info.firmware_revision.clone()),
        ("Serial number", info.serial_number.clone()),
        ("API revision", api),
        ("Kind", answer.kind.into()),
        ("Resources", answer.resources.to_string()),
        (
            "FIPS approved",
            if answer.fips_approved { "yes" } else { "no" }.into(),
        ),
    ];
    if let Some(driver) = &answer.driver {
        facts.extend(limits(driver));
    }
    for (name, value) in facts {
        let value = if value.is_empty() { "-" } else { &value };
        writeln!(out, "{name:<18}{value}")?;
    }
    Ok(())
}

/// What the driver says, line by line.
fn limits(driver: &Limits) -> Vec<(&'static str, String)> {
    let bytes = |limit: Option<u32>| limit.map_or("no limit".into(), |n| format!("{n} bytes"));
    let mut facts = vec![
        ("State", driver.state.into()),
        ("Interface", driver.interface_version.clone()),
        ("Features", driver.features.join(", ")),
        ("Control queues", queues(driver.control_queues)),
        ("Fast-path queues", queues(driver.fast_path_queues)),
        ("Vectors", driver.vectors.to_string()),
        ("Sessions", driver.sessions.to_string()),
        (
            "Control limits",
            format!(
                "request {} bytes, response {} bytes",
                driver.control_max_request, driver.control_max_response
            ),
        ),
        (
            "AES limits",
            format!(
                "GCM {}, XTS {}, copied up to {} bytes",
                bytes(driver.gcm_max_bytes),
                bytes(driver.xts_max_bytes),
                driver.bounce_limit
            ),
        ),
        (
            "Command timeout",
            format!("{} ms", driver.command_timeout_ms),
        ),
    ];
    if let Some(svn) = driver.svn {
        facts.push(("SVN", svn.to_string()));
    }
    if let Some(bound) = driver.recovery_bound_ms {
        facts.push(("Reset bound", format!("{bound} ms")));
    }
    facts
}

fn queues(queues: Queues) -> String {
    let how = match queues.polled {
        0 => "",
        polled if polled == queues.count => ", polled",
        _ => ", some polled",
    };
    format!("{} of {} entries{how}", queues.count, queues.entries)
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
