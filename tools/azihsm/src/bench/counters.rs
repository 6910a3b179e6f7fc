// SPDX-License-Identifier: GPL-2.0-or-later

//! What is counted beside the clock: by the emulator, by QEMU, by the kernel.
//!
//! Each source is there or not; what is not there is left out of the report. Counts do not depend on what else the
//! machine does, which is why they matter more here than times.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Environment variable with the path of the emulator's control channel.
const EMULATOR: &str = "AZIHSM_EMULATOR";
/// Environment variable with the path of the channel to the plugin that counts instructions.
const COUNTER: &str = "AZIHSM_COUNTER";

/// A channel on which each line that is sent is answered with one line.
struct Channel {
    writer: File,
    reader: BufReader<File>,
    name: &'static str,
}

impl Channel {
    /// Opens the channel that the environment variable `name` says; `None` if it says none.
    fn open(name: &'static str) -> Result<Option<Self>> {
        let Some(path) = env::var_os(name).filter(|path: &OsString| !path.is_empty()) else {
            return Ok(None);
        };
        let path = PathBuf::from(path);
        let writer = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {} ({name})", path.display()))?;
        make_raw(&writer)?;
        let reader = BufReader::new(writer.try_clone()?);
        Ok(Some(Self {
            writer,
            reader,
            name,
        }))
    }

    fn ask(&mut self, request: &str) -> Result<String> {
        self.writer.write_all(format!("{request}\n").as_bytes())?;
        let mut answer = String::new();
        self.reader.read_line(&mut answer)?;
        if !answer.ends_with('\n') {
            bail!("the channel of {} was closed", self.name);
        }
        Ok(answer)
    }
}

/// Has a terminal pass bytes on as they are; anything else does so anyway.
fn make_raw(file: &File) -> Result<()> {
    use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

    if let Ok(mut termios) = tcgetattr(file) {
        cfmakeraw(&mut termios);
        tcsetattr(file, SetArg::TCSANOW, &termios)?;
    }
    Ok(())
}

/// What the emulator has counted so far.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Device {
    /// Writes to doorbells of submission queues.
    pub doorbell_writes_sq: u64,
    /// Writes to doorbells of completion queues.
    pub doorbell_writes_cq: u64,
    /// Nanoseconds that control commands took from fetch to completion, summed up.
    pub service_ns_cp: u64,
    /// The same for fast-path commands.
    pub service_ns_fp: u64,
    /// Interrupt messages sent. Some of them find their vector masked, of which the emulator is not told, and are kept
    /// back until it is unmasked, all of them as one.
    pub interrupts: u64,
}

impl Device {
    /// Returns the nanoseconds that commands took in the device.
    pub fn service_ns(&self) -> u64 {
        self.service_ns_cp + self.service_ns_fp
    }
}

/// Interrupts that the guest has handled so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupts {
    /// Those of HSMs.
    pub device: u64,
    /// Those of the processors' timers: the driver looks for completions from a timer instead of an interrupt for each,
    /// when there are many. The kernel's own are among them, some hundred in a second.
    pub timer: u64,
}

impl Interrupts {
    fn read() -> Result<Self> {
        let table =
            fs::read_to_string("/proc/interrupts").context("cannot read /proc/interrupts")?;
        Ok(Self::parse(&table))
    }

    fn parse(table: &str) -> Self {
        let sum = |line: &str| -> u64 {
            let counts = line.split_whitespace().skip(1);
            counts.map_while(|word| word.parse::<u64>().ok()).sum()
        };
        let mut all = Self::default();
        for line in table.lines() {
            if line.contains(" azihsm-") {
                all.device += sum(line);
            } else if line.trim_start().starts_with("LOC:") {
                all.timer += sum(line);
            }
        }
        all
    }
}

/// All counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// The emulator's.
    pub device: Option<Device>,
    /// Instructions executed in the driver.
    pub instructions: Option<u64>,
    /// What reading the others changes.
    pub usage: Usage,
}

/// What the guest has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Interrupts.
    pub interrupts: Interrupts,
}

impl Usage {
    fn read() -> Result<Self> {
        Ok(Self {
            interrupts: Interrupts::read()?,
        })
    }
}

/// The sources of counters.
pub struct Counters {
    emulator: Option<Channel>,
    counter: Option<(Channel, Module)>,
}

/// Where the code of the driver is.
#[derive(Clone, Copy, Debug)]
struct Module {
    from: u64,
    to: u64,
}

impl Module {
    /// Finds the driver in `/proc/modules`, which tells addresses only to root.
    fn find() -> Result<Self> {
        let modules = fs::read_to_string("/proc/modules").context("cannot read /proc/modules")?;
        Self::parse(&modules).context("/proc/modules does not tell where the driver is")
    }

    fn parse(modules: &str) -> Option<Self> {
        let line = modules.lines().find(|line| line.starts_with("azihsm "))?;
        let mut words = line.split_whitespace().skip(1);
        let len: u64 = words.next()?.parse().ok()?;
        let from = words.find_map(|word| {
            let digits = word.strip_prefix("0x")?;
            u64::from_str_radix(digits, 16).ok()
        })?;
        (from != 0).then_some(Self {
            from,
            to: from + len,
        })
    }
}

impl Counters {
    /// Opens what the environment offers.
    pub fn open() -> Result<Self> {
        let counter = match Channel::open(COUNTER)? {
            Some(channel) => Some((channel, Module::find()?)),
            None => None,
        };
        Ok(Self {
            emulator: Channel::open(EMULATOR)?,
            counter,
        })
    }

    /// Reads all counters before something is measured.
    pub fn before(&mut self) -> Result<Snapshot> {
        let snapshot = self.read()?;
        Ok(Snapshot {
            usage: Usage::read()?,
            ..snapshot
        })
    }

    /// Reads all counters after something was measured.
    pub fn after(&mut self) -> Result<Snapshot> {
        let usage = Usage::read()?;
        Ok(Snapshot {
            usage,
            ..self.read()?
        })
    }

    fn read(&mut self) -> Result<Snapshot> {
        let device = match &mut self.emulator {
            Some(channel) => {
                let answer = channel.ask(r#"{"cmd":"stats"}"#)?;
                Some(serde_json::from_str(&answer).context("strange answer of the emulator")?)
            }
            None => None,
        };
        let instructions = match &mut self.counter {
            Some((channel, module)) => {
                let answer = channel.ask(&format!("count {:x} {:x}", module.from, module.to))?;
                Some(answer.trim().parse().context("strange answer of QEMU")?)
            }
            None => None,
        };
        Ok(Snapshot {
            device,
            instructions,
            usage: Usage::default(),
        })
    }

    /// Returns the functions of the driver with the instructions executed in each so far; none without the plugin.
    pub fn profile(&mut self) -> Result<Vec<(String, u64)>> {
        let Some((channel, module)) = &mut self.counter else {
            return Ok(Vec::new());
        };
        let answer = channel.ask(&format!("profile {:x} {:x}", module.from, module.to))?;
        let blocks: Vec<(u64, u64, u64)> =
            serde_json::from_str(&answer).context("strange answer of QEMU")?;
        let symbols = fs::read_to_string("/proc/kallsyms").context("cannot read /proc/kallsyms")?;
        Ok(by_function(&blocks, &symbols))
    }
}

/// Sums up the instructions of `blocks` by the functions that `symbols`, the text of `/proc/kallsyms`, says.
fn by_function(blocks: &[(u64, u64, u64)], symbols: &str) -> Vec<(String, u64)> {
    let mut functions: Vec<(u64, String)> = symbols
        .lines()
        .filter(|line| line.ends_with("[azihsm]"))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let kind = words.next()?;
            matches!(kind, "t" | "T").then_some((address, words.next()?.to_owned()))
        })
        .collect();
    functions.sort();
    let mut sums = std::collections::BTreeMap::<&str, u64>::new();
    for (address, instructions, entered) in blocks {
        let after = functions.partition_point(|(start, _)| start <= address);
        let name = after.checked_sub(1).map_or("?", |i| &functions[i].1);
        *sums.entry(name).or_default() += instructions * entered;
    }
    sums.into_iter()
        // Without the hash that tells versions of a crate apart.
        .map(|(name, sum)| (format!("{:#}", rustc_demangle::demangle(name)), sum))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_found() {
        let text = "ext4 1000 0 - Live 0xffffffffc0000000\n\
                    azihsm 65536 1 - Live 0xffffffffc0100000 (OE)\n";
        let module = Module::parse(text).unwrap();
        assert_eq!(module.from, 0xffff_ffff_c010_0000);
        assert_eq!(module.to, 0xffff_ffff_c011_0000);
        assert!(Module::parse("azihsm 65536 1 - Live 0x0000000000000000\n").is_none());
        assert!(Module::parse("").is_none());
    }

    #[test]
    fn interrupts_are_summed_up() {
        let table = "            CPU0       CPU1\n  24:          3         40  PCI-MSIX-0000:01:00.0   0-edge      \
                     azihsm-admin\n  40:          0        100  PCI-MSIX-0000:01:00.0  16-edge      azihsm-fp16\n  \
                     41:          9          9  PCI-MSIX-0000:00:1f.2   0-edge      ahci\n LOC:       1000       2000   \
                     Local timer interrupts\n";
        let expected = Interrupts {
            device: 143,
            timer: 3000,
        };
        assert_eq!(Interrupts::parse(table), expected);
    }

    #[test]
    fn blocks_belong_to_functions() {
        let symbols = "0000000000000100 t a\t[azihsm]\n0000000000000200 T b\t[azihsm]\n\
                       0000000000000180 d data\t[azihsm]\n0000000000000110 t other\n";
        let blocks = [(0x100, 3, 2), (0x1ff, 1, 1), (0x200, 5, 10), (0x10, 1, 1)];
        let sums = by_function(&blocks, symbols);
        assert_eq!(
            sums,
            [("?".into(), 1), ("a".into(), 7), ("b".into(), 50)] as [(String, u64); 3]
        );
    }
}
