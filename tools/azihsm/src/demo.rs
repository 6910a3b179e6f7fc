// SPDX-License-Identifier: GPL-2.0-or-later

//! The demo: from a fresh HSM to a file that was encrypted and decrypted, told while it happens.

mod aad;
mod bulk;
mod ciphers;
mod files;
mod gcm;
mod interrupts;
mod partition;
mod story;
#[cfg(test)]
mod tests;
mod xts;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use azihsm_ddi::DeviceKind;
use azihsm_ddi::client::Client;
use azihsm_ddi::message::DeviceInfo;
use serde::Serialize;

use crate::hsm::{Hsm, Info};
use bulk::Layout;
use ciphers::{CipherReport, Ciphers};
use files::Place;
use partition::Partition;
pub use partition::{Control, InUse};
use story::{Size, Story, count};

/// Granule of a chunk in bytes.
pub const UNIT: u64 = xts::UNIT as u64;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// File to encrypt; one is made if there is none.
    pub file: Option<PathBuf>,
    /// Size of the file that is made, in bytes.
    pub size: u64,
    /// Bytes per command, a multiple of the XTS data unit.
    pub chunk: usize,
    /// Number of threads.
    pub jobs: usize,
    /// Folder in which the files are kept.
    pub keep: Option<PathBuf>,
    /// Whether to reset the partition first.
    pub reset: bool,
}

/// What came out, for scripts.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The function.
    pub device: Info,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// Bytes per command.
    pub chunk_bytes: usize,
    /// Number of threads.
    pub jobs: usize,
    /// AES-GCM.
    pub gcm: CipherReport,
    /// AES-XTS.
    pub xts: CipherReport,
    /// What was changed, one at a time, each refused.
    pub tampering_refused: Vec<&'static str>,
    /// AES commands issued.
    pub aes_commands: u64,
    /// Interrupts by purpose, if they can be told.
    pub interrupts: Option<BTreeMap<String, u64>>,
}

/// Runs the demo on `hsm`, which was opened as `name`, and tells it to `out`.
pub fn run(name: &str, hsm: &dyn Hsm, options: &Options, out: &mut dyn Write) -> Result<Report> {
    let mut story = Story::new(out);
    let device = tell_device(name, hsm, &mut story)?;
    let (plain, layout) = input(options, &mut story)?;
    let interrupts_before = interrupts::Counts::read(&device.pci_address);

    story.part("Provisioning")?;
    if options.reset {
        hsm.reset()?;
        story.fact("reset", "done: no credential, no keys, no open session")?;
    }
    let mut partition = Partition::provision(hsm)?;
    story.fact("credential", "established; its id and PIN are random")?;
    let ciphers = Ciphers {
        hsm,
        options,
        plain: &plain,
        layout,
    };
    let result = ciphers.run(&mut partition, &mut story);
    // The partition is given back also after an error, which is then what is to be told.
    let given_back = partition.unprovision();
    let outcome = result?;
    given_back?;

    story.part("End")?;
    story.fact(
        "partition",
        "session closed, keys deleted, credential removed",
    )?;
    let interrupts = interrupts_before.and_then(|before| {
        interrupts::Counts::read(&device.pci_address).map(|after| after.since(&before))
    });
    match &interrupts {
        Some(delta) => {
            let list: Vec<_> = delta
                .iter()
                .map(|(name, n)| format!("{n} {name}"))
                .collect();
            story.fact(
                "interrupts",
                format_args!(
                    "{} for {}",
                    list.join(", "),
                    count(outcome.commands, "AES command", "AES commands")
                ),
            )?;
        }
        None => story.fact("interrupts", "cannot be read from /proc and /sys")?,
    }
    story.fact(
        "result",
        "everything that was encrypted came back unchanged",
    )?;

    Ok(Report {
        device,
        file_bytes: layout.size,
        chunk_bytes: layout.chunk,
        jobs: options.jobs,
        gcm: outcome.gcm,
        xts: outcome.xts,
        tampering_refused: outcome.refused,
        aes_commands: outcome.commands,
        interrupts,
    })
}

/// Says what the device is.
fn tell_device(name: &str, hsm: &dyn Hsm, story: &mut Story<'_>) -> Result<Info> {
    let info = hsm.info()?;
    let mut client = Client::new(Control(hsm));
    let revisions = client.api_revisions()?;
    let device = client.device_info()?;

    story.part(format_args!("Device {name}"))?;
    story.fact(
        "function",
        format_args!(
            "{}, controller {}, driver version {}",
            info.pci_address, info.controller_id, info.driver_version
        ),
    )?;
    story.fact(
        "firmware",
        format_args!(
            "{}, serial number {}",
            or_none(&info.firmware_revision),
            or_none(&info.serial_number)
        ),
    )?;
    story.fact(
        "protocol",
        format_args!(
            "revision {}.{}, {} device",
            revisions.max.major,
            revisions.max.minor,
            kind_name(device.kind)
        ),
    )?;
    story.fact("queues", queues(&device))?;
    Ok(info)
}

/// What the resources of a function give it.
pub fn queues(device: &DeviceInfo) -> String {
    let resources = u64::from(device.tables);
    format!(
        "{} control, {} fast-path ({})",
        resources,
        2 * resources,
        count(resources, "resource", "resources")
    )
}

/// Name of a device kind.
pub fn kind_name(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Virtual => "virtual",
        DeviceKind::Physical => "physical",
        _ => "unknown kind of",
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "(none)" } else { text }
}

/// Opens or makes the file to encrypt.
fn input(options: &Options, story: &mut Story<'_>) -> Result<(File, Layout)> {
    let layout = |size| Layout {
        size,
        chunk: options.chunk,
    };
    let (file, layout, whence) = match &options.file {
        Some(path) => {
            let (file, size) = files::open_input(path)?;
            (file, layout(size), path.display().to_string())
        }
        None => {
            ensure!(options.size > 0, "a file of 0 bytes cannot be encrypted");
            let file = place(options).create("demo.plain")?;
            files::fill(&file, layout(options.size))?;
            let whence = "made of one random chunk, repeated".to_owned();
            (file, layout(options.size), whence)
        }
    };
    story.part("File")?;
    story.fact("content", whence)?;
    story.fact(
        "size",
        format_args!(
            "{}: {} of up to {}, on {}",
            Size(layout.size),
            count(layout.count(), "chunk", "chunks"),
            Size(layout.chunk as u64),
            count(options.jobs as u64, "thread", "threads")
        ),
    )?;
    Ok((file, layout))
}

fn place(options: &Options) -> Place {
    match &options.keep {
        Some(folder) => Place::Keep(folder.clone()),
        None => Place::Temporary,
    }
}
