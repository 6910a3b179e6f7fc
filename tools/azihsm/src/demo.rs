// SPDX-License-Identifier: GPL-2.0-or-later

//! The demo: from a fresh HSM to a file that was encrypted and decrypted, told while it happens.

mod aad;
mod bulk;
mod ciphers;
mod counted;
mod files;
mod gcm;
mod interrupts;
mod partition;
mod stop;
mod story;
#[cfg(test)]
mod tests;
mod xts;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};
use azihsm_ddi::DeviceKind;
use azihsm_ddi::client::Client;
use azihsm_ddi::message::DeviceInfo;
use serde::Serialize;

use crate::hsm::{Hsm, Info};
use bulk::Layout;
use ciphers::{CipherReport, Ciphers};
use counted::{Commands, Counted};
use files::Place;
pub use partition::{Control, InUse, Partition};
pub use stop::Stop;
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
    /// Commands issued since the device was asked what it is.
    pub commands: Commands,
    /// Interrupts by purpose, if they can be told.
    pub interrupts: Option<BTreeMap<String, u64>>,
}

/// Runs the demo on `hsm`, which was opened as `name`, and tells it to `out`.
pub fn run(
    name: &str,
    hsm: &dyn Hsm,
    options: &Options,
    stop: &Stop,
    out: &mut dyn Write,
) -> Result<Report> {
    let start = Instant::now();
    let mut story = Story::new(out);
    let device = tell_device(name, hsm, &mut story)?;
    let (plain, layout) = input(options, &mut story)?;
    let interrupts_before = interrupts::Counts::read(&device.pci_address);
    let counted = Counted::new(hsm);
    let hsm: &dyn Hsm = &counted;

    story.part("Provisioning")?;
    if options.reset {
        hsm.reset()?;
        story.fact("reset", "done: no credential, no keys, no open session")?;
    }
    stop.check()?;
    let mut partition = Partition::provision(hsm)?;
    story.fact("credential", "established; its id and PIN are random")?;
    let ciphers = Ciphers {
        hsm,
        options,
        plain: &plain,
        layout,
        stop,
    };
    let result = ciphers.run(&mut partition, &mut story);
    // The partition is given back also after an error, which is then what is to be told.
    let given_back = partition.unprovision();
    let outcome = result?;
    given_back?;

    let commands = counted.commands();
    let interrupts = interrupts_before.and_then(|before| {
        interrupts::Counts::read(&device.pci_address).map(|after| after.since(&before))
    });

    story.part("End")?;
    story.fact(
        "partition",
        "session closed; credential and keys removed by a reset",
    )?;
    story.fact(
        "commands",
        format_args!(
            "{} on the fast path, {} on the control path",
            commands.aes, commands.control
        ),
    )?;
    story.fact("interrupts", tell_interrupts(interrupts.as_ref()))?;
    story.fact(
        "result",
        format_args!(
            "everything that was encrypted came back unchanged, in {:.1} s",
            start.elapsed().as_secs_f64()
        ),
    )?;

    Ok(Report {
        device,
        file_bytes: layout.size,
        chunk_bytes: layout.chunk,
        jobs: options.jobs,
        gcm: outcome.gcm,
        xts: outcome.xts,
        tampering_refused: outcome.refused,
        commands,
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
            "revision {}.{}, {}",
            revisions.max.major,
            revisions.max.minor,
            match device.kind {
                DeviceKind::Virtual => "virtual device: speeds are those of an emulation",
                DeviceKind::Physical => "physical device",
                _ => "unknown kind of device",
            }
        ),
    )?;
    story.fact("queues", queues(&device))?;
    Ok(info)
}

/// What the resources of a function give it.
fn queues(device: &DeviceInfo) -> String {
    let resources = u64::from(device.tables);
    format!(
        "{} control, {} fast-path ({})",
        resources,
        2 * resources,
        count(resources, "resource", "resources")
    )
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "(none)" } else { text }
}

/// Says how many interrupts there were, by what they were for.
fn tell_interrupts(interrupts: Option<&BTreeMap<String, u64>>) -> String {
    let Some(interrupts) = interrupts else {
        return "cannot be read from /proc and /sys".into();
    };
    let name = |purpose: &str| match purpose {
        "fp" => "on the fast path".to_owned(),
        "cp" => "on the control path".to_owned(),
        "admin" => "for admin commands".to_owned(),
        other => format!("for {other}"),
    };
    // The fast path comes first: names are sorted the other way round.
    let list = interrupts.iter().rev();
    let list: Vec<_> = list
        .map(|(purpose, n)| format!("{n} {}", name(purpose)))
        .collect();
    list.join(", ")
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
