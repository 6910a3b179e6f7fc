// SPDX-License-Identifier: GPL-2.0-or-later

//! The emulated HSM of a run: its processes, what they say at the end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::child::{Child, Event, describe};
use crate::layout::Layout;
use crate::qemu::Device;
use crate::statistics::Statistics;

/// Name of the emulator's process in messages.
pub const EMULATOR: &str = "emulator";
/// Name of the firmware server's process in messages.
pub const FIRMWARE: &str = "firmware server";

/// Exit code of the emulator for protocol violations by the host.
const VIOLATIONS: i32 = 3;

/// How long a server may take until its socket is there.
const START_LIMIT: Duration = Duration::from_secs(10);

/// The well-known key of the test device. Whoever has the emulator has it: it protects nothing.
const TEST_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Who answers the commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// The emulator's own model.
    #[default]
    Model,
    /// The same model in another process, over a socket.
    Remote,
}

/// How the emulator of a run is started.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Who answers the commands.
    pub firmware: Firmware,
    /// How many virtual functions there are; with any, the first function is a physical one.
    pub vfs: usize,
    /// Further arguments.
    pub args: Vec<String>,
    /// Whether a test has the emulator end while the guest runs, as if the device were pulled out.
    pub ends: bool,
}

/// A started emulator, with its firmware server if it has one.
pub struct Emulator {
    process: Child,
    firmware: Option<Child>,
    functions: Vec<PathBuf>,
    control: PathBuf,
    stats: PathBuf,
    log: PathBuf,
    ends: bool,
}

/// What an emulator said at its end.
pub struct Verdict {
    /// How the process ended; `None` if it had to be killed.
    pub status: Option<ExitStatus>,
    /// Its counters.
    pub statistics: Option<Statistics>,
    /// Where its log is.
    pub log: PathBuf,
}

impl Emulator {
    /// Starts the emulator with sockets in `sockets` and logs in `dir`; returns when QEMU can
    /// connect.
    pub fn start(
        layout: &Layout,
        setup: &Setup,
        sockets: &Path,
        dir: &Path,
        events: &Sender<Event>,
    ) -> Result<Self> {
        let firmware = match setup.firmware {
            Firmware::Model => None,
            Firmware::Remote => Some(start_firmware(layout, sockets, dir, events)?),
        };

        let functions = function_sockets(&sockets.join("device"), setup.vfs);
        let control = sockets.join("control");
        let stats = dir.join("stats.json");
        let log = dir.join("emulator.log");
        let mut command = Command::new(layout.program("azihsm-emulator"));
        command.arg("--socket").arg(&functions[0]);
        if setup.vfs > 0 {
            command.arg("--vfs").arg(setup.vfs.to_string());
        }
        command.arg("--control").arg(&control);
        command.arg("--stats").arg(&stats);
        command.args(["--strict", "--test-key", TEST_KEY]);
        if let Some((_, path)) = &firmware {
            command
                .arg("--firmware")
                .arg(format!("unix:{}", path.display()));
        }
        command.args(&setup.args);
        log_to(&mut command, &log)?;
        let process = Child::spawn(EMULATOR, &mut command, events.clone())?;
        for socket in functions.iter().chain([&control]) {
            wait_for_socket(EMULATOR, &process, socket, &log)?;
        }
        Ok(Self {
            process,
            firmware: firmware.map(|(child, _)| child),
            functions,
            control,
            stats,
            log,
            ends: setup.ends,
        })
    }

    /// The sockets for QEMU.
    pub fn device(&self) -> Device<'_> {
        Device {
            functions: &self.functions,
            control: &self.control,
        }
    }

    /// Why the emulator cannot serve the guest any more, if so.
    pub fn failure(&self) -> Option<String> {
        if let Some(status) = self.process.status() {
            if self.ends {
                return None;
            }
            return Some(format!(
                "the {EMULATOR} ended while the guest ran: {}",
                describe(status)
            ));
        }
        let status = self.firmware.as_ref()?.status()?;
        Some(format!(
            "the {FIRMWARE} ended while the guest ran: {}",
            describe(status)
        ))
    }

    /// Waits for the emulator's end after the guest's, and collects what it says.
    pub fn finish(self) -> Verdict {
        let status = self.process.wait(Duration::from_secs(5));
        self.process.end();
        if let Some(firmware) = &self.firmware {
            firmware.end();
        }
        let statistics = fs::read_to_string(&self.stats)
            .ok()
            .and_then(|text| Statistics::parse(&text).ok());
        Verdict {
            status,
            statistics,
            log: self.log,
        }
    }
}

impl Verdict {
    /// What was wrong, in lines for the report; empty if nothing was.
    pub fn complaints(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match self.status {
            None => lines.push("the emulator did not end after the guest did".to_owned()),
            Some(status) if status.code() == Some(VIOLATIONS) => {
                lines.push("the emulator saw protocol violations by the driver".to_owned());
            }
            Some(status) if !status.success() => {
                lines.push(format!("the emulator failed: {}", describe(status)));
            }
            Some(_) => {}
        }
        match &self.statistics {
            None => lines.push("the emulator left no statistics".to_owned()),
            Some(statistics) => lines.extend(statistics.complaints()),
        }
        if !lines.is_empty() {
            lines.extend(tail(&self.log, 15));
        }
        lines
    }
}

/// The sockets of all functions, as the emulator names them.
fn function_sockets(first: &Path, vfs: usize) -> Vec<PathBuf> {
    let mut sockets = vec![first.to_owned()];
    for index in 0..vfs {
        let mut name = first.as_os_str().to_owned();
        name.push(format!(".vf{index}"));
        sockets.push(PathBuf::from(name));
    }
    sockets
}

fn start_firmware(
    layout: &Layout,
    sockets: &Path,
    dir: &Path,
    events: &Sender<Event>,
) -> Result<(Child, PathBuf)> {
    let socket = sockets.join("firmware");
    let log = dir.join("firmware.log");
    let mut command = Command::new(layout.program("firmware-server"));
    command
        .arg("--socket")
        .arg(&socket)
        .args(["--test-key", TEST_KEY]);
    log_to(&mut command, &log)?;
    let child = Child::spawn(FIRMWARE, &mut command, events.clone())?;
    wait_for_socket(FIRMWARE, &child, &socket, &log)?;
    Ok((child, socket))
}

fn log_to(command: &mut Command, log: &Path) -> Result<()> {
    let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    Ok(())
}

fn wait_for_socket(name: &str, child: &Child, socket: &Path, log: &Path) -> Result<()> {
    let until = Instant::now() + START_LIMIT;
    while !socket.exists() {
        if let Some(status) = child.status() {
            bail!(
                "the {name} did not start: {}\n{}",
                describe(status),
                tail(log, 15).join("\n")
            );
        }
        if Instant::now() >= until {
            bail!(
                "the {name} made no socket within {} s",
                START_LIMIT.as_secs()
            );
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The last lines of a log.
pub fn tail(log: &Path, count: usize) -> Vec<String> {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..]
        .iter()
        .map(|line| format!("  {line}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_has_its_socket() {
        assert_eq!(
            function_sockets(Path::new("/s/device"), 2),
            ["/s/device", "/s/device.vf0", "/s/device.vf1"].map(PathBuf::from)
        );
    }
}
