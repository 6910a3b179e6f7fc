// SPDX-License-Identifier: GPL-2.0-or-later

//! The command line.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};

use crate::bench;
use crate::demo;
use crate::exit;
use crate::hsm::Hsm;
use crate::{info, list, open, vf};

/// Talk to an Azure Integrated HSM through its Linux driver.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = exit::HELP,
    after_long_help = exit::HELP,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List HSMs: nodes, PCI devices and drivers
    #[command(
        after_help = "Examples:\n  azihsm list\n  azihsm list --json | jq -r '.functions[].nodes[].path'"
    )]
    List {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what an HSM says about itself
    #[command(after_help = "Examples:\n  azihsm info\n  azihsm info 0000:01:00.0 --json")]
    Info {
        #[command(flatten)]
        device: DeviceArg,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Encrypt and decrypt a file with keys that never leave the HSM
    ///
    /// Provisions the partition with a random credential, opens a session, makes keys, encrypts and decrypts a file
    /// with AES-GCM and AES-XTS, compares, and tells all of it. In the end the credential is removed again. (A
    /// partition that never had a boot key, BK3, gets one, which stays.)
    ///
    /// A partition that is provisioned already is not touched, unless --reset is given.
    #[command(
        after_help = "Examples:\n  azihsm demo\n  azihsm demo --size 64MiB --jobs 8\n  \
        azihsm demo --file /boot/vmlinuz --keep /tmp --json"
    )]
    Demo(DemoArgs),
    /// Measure what commands cost
    ///
    /// Provisions the partition as the demo does, and repeats commands: by ioctls from one and
    /// from several threads, and from one thread through io_uring. Shows
    /// commands per second, latency, processor time; and, if the environment offers it (AZIHSM_EMULATOR,
    /// AZIHSM_COUNTER), doorbell writes, interrupts and instructions executed in the driver, for each command.
    #[command(
        after_help = "Examples:\n  azihsm bench\n  azihsm bench --full --json > report.json\n  \
        azihsm bench --load gcm-4KiB --threads 1,4 --depth 64\n  \
        azihsm bench --draw report.json > report.svg"
    )]
    Bench(BenchArgs),
    /// Look at the virtual functions of a physical one, and give them resources
    ///
    /// How many virtual functions there are is set in sysfs: the file sriov_numvfs of the PCI device.
    #[command(
        after_help = "Examples:\n  azihsm vf list\n  azihsm vf resources 0 4\n  \
        azihsm vf --pf 0000:01:00.0 list --json"
    )]
    Vf {
        /// Physical function: its management node or PCI address [default: the first one]
        #[arg(long, value_name = "PF")]
        pf: Option<String>,
        #[command(subcommand)]
        verb: VfCommand,
    },
}

#[derive(Debug, Subcommand)]
enum VfCommand {
    /// List virtual functions and their resources
    List {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Set the number of resources of a virtual function
    ///
    /// With N resources a function has N control-path queues, 2N fast-path queues and 7N bulk keys. Setting the number
    /// resets the function's controller: keys are lost. With 0 the device forgets everything about the function.
    Resources {
        /// Number of the virtual function, from 0
        index: u16,
        /// Number of resources; the device has 65 for all functions
        count: u16,
    },
}

#[derive(Debug, Args)]
struct DeviceArg {
    /// Node, number or PCI address: /dev/azihsm0, azihsm0, 0, 0000:01:00.0 [default: the first HSM]
    device: Option<String>,
}

#[derive(Debug, Args)]
struct DemoArgs {
    #[command(flatten)]
    device: DeviceArg,
    /// Size of the file that is made
    #[arg(long, default_value = "16MiB", value_parser = parse_size, conflicts_with = "file")]
    size: u64,
    /// Encrypt this file instead of making one; it is only read
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Bytes per command, a multiple of 4KiB
    #[arg(long, default_value = "1MiB", value_parser = parse_chunk)]
    chunk: usize,
    /// Number of threads [default: one per CPU, at most 8]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Keep the encrypted and decrypted files in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Reset the partition first: ends all sessions, deletes all keys and the credential
    #[arg(long)]
    reset: bool,
    /// Write a report in JSON instead of the story
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct BenchArgs {
    #[command(flatten)]
    device: DeviceArg,
    /// Measure everything there is, not only what tells most in a short time
    #[arg(long)]
    full: bool,
    /// What to repeat [default: control, gcm-4KiB, gcm-1MiB; with --full everything]
    #[arg(long, value_name = "LOAD", value_delimiter = ',', value_parser = bench::parse)]
    load: Vec<bench::Load>,
    /// Numbers of threads that issue ioctls [default: 1,4,16; with --full 1,2,4,8,16]
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    threads: Vec<u16>,
    /// Numbers of commands that io_uring has under way, from one thread [default: 1,64; with --full 1,4,16,64,256]
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    depth: Vec<u16>,
    /// Small commands for each measurement; large ones are fewer
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    commands: u32,
    /// Show in which functions of the driver instructions were executed
    #[arg(long)]
    profile: bool,
    /// Write a report in JSON, in one line, behind the table
    #[arg(long)]
    json: bool,
    /// Measure nothing, but draw the report in FILE as SVG
    #[arg(long, value_name = "FILE")]
    draw: Option<PathBuf>,
}

impl Arguments {
    /// Does what the arguments say.
    pub fn run(self) -> Result<()> {
        let out = &mut io::stdout();
        match self.command {
            Command::List { json } => list::run(json, out),
            Command::Info { device, json } => {
                let device = open::open(device.device.as_deref())?;
                info::run(&device.path().display().to_string(), &device, json, out)
            }
            Command::Vf { pf, verb } => {
                let pf = vf::Pf::open(pf.as_deref())?;
                match verb {
                    VfCommand::List { json } => pf.list(json, out),
                    VfCommand::Resources { index, count } => pf.set_resources(index, count, out),
                }
            }
            Command::Demo(args) => {
                let device = open::open(args.device.device.as_deref())?;
                args.run(&device.path().display().to_string(), &device, out)
            }
            Command::Bench(args) => args.run(out),
        }
    }
}

impl BenchArgs {
    fn run(self, out: &mut dyn Write) -> Result<()> {
        if let Some(path) = &self.draw {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let report = serde_json::from_str(&text)
                .with_context(|| format!("{} is not a report", path.display()))?;
            return Ok(write!(out, "{}", bench::draw(&report))?);
        }
        let device = open::open(self.device.device.as_deref())?;
        let (loads, threads, depths): (&[bench::Load], &[u16], &[u16]) = if self.full {
            (&bench::ALL, &[1, 2, 4, 8, 16], &[1, 4, 16, 64, 256])
        } else {
            (&bench::QUICK, &[1, 4, 16], &[1, 64])
        };
        let sizes = |given: Vec<u16>, default: &[u16]| -> Vec<usize> {
            let chosen = if given.is_empty() { default } else { &given };
            chosen.iter().copied().map(usize::from).collect()
        };
        let options = bench::Options {
            loads: if self.load.is_empty() {
                loads.to_vec()
            } else {
                self.load
            },
            threads: sizes(self.threads, threads),
            depths: sizes(self.depth, depths),
            commands: u64::from(self.commands),
            profile: self.profile,
        };
        let report = bench::run(&device, &options, out)?;
        if self.json {
            serde_json::to_writer(&mut *out, &report)?;
            writeln!(out)?;
        }
        Ok(())
    }
}

impl DemoArgs {
    fn run(self, name: &str, hsm: &dyn Hsm, out: &mut dyn Write) -> Result<()> {
        if let Some(folder) = &self.keep {
            ensure!(folder.is_dir(), "{} is not a folder", folder.display());
        }
        let options = demo::Options {
            file: self.file,
            size: self.size,
            chunk: self.chunk,
            jobs: self.jobs.map_or_else(default_jobs, usize::from),
            keep: self.keep,
            reset: self.reset,
        };
        let stop = &demo::Stop::on_signals()?;
        if !self.json {
            demo::run(name, hsm, &options, stop, out)?;
            return Ok(());
        }
        let report = demo::run(name, hsm, &options, stop, &mut io::sink())?;
        serde_json::to_writer_pretty(&mut *out, &report)?;
        Ok(writeln!(out)?)
    }
}

/// One thread per CPU, at most 8: a queue runs four commands at a time.
fn default_jobs() -> usize {
    thread::available_parallelism().map_or(1, |cpus| cpus.get().min(8))
}

/// Reads a size: a number with an optional unit.
fn parse_size(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        unit => anyhow::bail!("unknown unit '{unit}', use KiB, MiB or GiB"),
    };
    let number: u64 = digits
        .trim()
        .parse()
        .context("a size is a number with a unit, like 16MiB")?;
    let size = number.checked_mul(unit).context("too large")?;
    ensure!(size > 0, "has to be at least 1 byte");
    Ok(size)
}

/// Reads a chunk size.
fn parse_chunk(text: &str) -> Result<usize> {
    let size = parse_size(text)?;
    ensure!(
        size % demo::UNIT == 0 && size <= MAX_CHUNK,
        "has to be a multiple of 4KiB, at most 8MiB"
    );
    Ok(usize::try_from(size)?)
}

/// Largest chunk: the device takes transfers up to 16 MiB.
const MAX_CHUNK: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes() {
        for (text, size) in [
            ("1", 1),
            ("512B", 512),
            ("4K", 4096),
            ("16MiB", 16 << 20),
            ("2 GiB", 2 << 30),
        ] {
            assert_eq!(parse_size(text).unwrap(), size, "{text}");
        }
        for text in ["", "0", "MiB", "1.5MiB", "-1", "1MB", "99999999999GiB", "é"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(parse_chunk("64KiB").unwrap(), 65536);
        assert!(parse_chunk("1000").is_err());
        assert!(parse_chunk("16MiB").is_err());
    }

    #[test]
    fn size_and_file_exclude_each_other() {
        let parse = |args: &str| Arguments::try_parse_from(args.split(' '));
        assert!(parse("azihsm demo --file x").is_ok());
        assert!(parse("azihsm demo --size 1 --file x").is_err());
        assert!(parse("azihsm demo --jobs 0").is_err());
        assert!(parse("azihsm demo azihsm1 --reset --json").is_ok());
        assert!(parse("azihsm vf list").is_ok());
        assert!(parse("azihsm vf").is_err());
        assert!(parse("azihsm vf resources 0").is_err());
        assert!(parse("azihsm vf resources 0 65536").is_err());
        assert!(parse("azihsm vf --pf azihsm-mgmt0 resources 1 4").is_ok());
    }
}
