// SPDX-License-Identifier: GPL-2.0-or-later

//! QEMU's command line.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;
use clap::ValueEnum;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{setsockopt, sockopt};
use serde::Deserialize;
use serde_json::json;

/// Name of QEMU's process in messages.
pub const QEMU: &str = "guest";

/// The runner's ends of the guest's two serial ports.
pub struct Ports {
    /// Kernel messages.
    pub kernel: UnixStream,
    /// The job's terminal.
    pub job: UnixStream,
}

/// An IOMMU in the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Iommu {
    /// Intel's. The device sees each mapping when it is made and when it is taken back.
    Intel,
}

/// How the device is connected to the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// The IOMMU; none for a machine without one.
    pub iommu: Option<Iommu>,
    /// Whether the device can neither be pulled out nor plugged in.
    pub fixed: bool,
}

/// The emulated device's ends.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// One socket for each function: the first is function 0 of the slot.
    pub functions: &'a [PathBuf],
    /// Socket for control requests; the guest reaches it over its third serial port.
    pub control: &'a Path,
}

/// Counts the instructions that the guest executes in its modules; the guest reads the counts from its fourth serial
/// port.
#[derive(Clone, Copy)]
pub struct Counter<'a> {
    /// QEMU's plugin.
    pub plugin: &'a Path,
    /// Socket between QEMU and the plugin, which QEMU makes.
    pub socket: &'a Path,
}

/// Bytes that may be on their way from a serial port to the runner, with all that the host keeps
/// for them.
const ROOM: usize = 8 << 20;

/// Where kernel modules are, on x86-64.
const MODULES: &str = "from=ffffffffc0000000,to=ffffffffff000000";

/// A machine that can be started.
pub struct Machine<'a> {
    /// Kernel image.
    pub kernel: &'a Path,
    /// Initial file system.
    pub initramfs: &'a Path,
    /// Words added to the kernel's command line.
    pub append: &'a [String],
    /// Size of the memory in QEMU's notation.
    pub memory: &'a str,
    /// How the device is connected.
    pub topology: Topology,
    /// The emulated device; none for a machine without it.
    pub device: Option<Device<'a>>,
    /// Counts instructions, if wanted.
    pub counter: Option<Counter<'a>>,
}

impl Machine<'_> {
    /// The command that starts the machine, and the other ends of its serial ports.
    pub fn command(&self) -> Result<(Command, Ports)> {
        let (kernel, kernel_far) = port()?;
        let (job, job_far) = port()?;

        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
        // The emulator maps the guest's memory: it must be a shared memfd.
        qemu.arg("-object").arg(format!(
            "memory-backend-memfd,id=ram,size={},share=on",
            self.memory
        ));
        qemu.args(["-machine", "q35,memory-backend=ram"]);
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]);
        // Hot-plug of the device goes through its root port, as on real machines.
        qemu.args([
            "-global",
            "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
        ]);
        if self.topology.iommu.is_some() {
            // Before the devices that it serves. Without caching mode the guest need not tell of
            // new mappings, and the device would not learn of them.
            qemu.args(["-device", "intel-iommu,caching-mode=on"]);
        }
        // With a switch of its own for the slot's power QEMU would take the device out when the guest
        // turns it off, which it cannot do with a device of another process.
        let hotplug = if self.topology.fixed {
            ",hotplug=off"
        } else {
            ""
        };
        qemu.arg("-device").arg(format!(
            "pcie-root-port,id=rp0,chassis=1,slot=1,power_controller_present=off{hotplug}"
        ));
        for (id, port) in [("kernel", &kernel_far), ("job", &job_far)] {
            qemu.arg("-chardev")
                .arg(format!("socket,id={id},fd={}", port.as_raw_fd()));
            qemu.arg("-serial").arg(format!("chardev:{id}"));
        }
        if let Some(counter) = self.counter {
            let (plugin, socket) = (counter.plugin.display(), counter.socket.display());
            qemu.arg("-chardev").arg(format!(
                "socket,id=counter,path={socket},server=on,wait=off"
            ));
            qemu.args(["-device", "isa-serial,chardev=counter,index=3,irq=7"]);
            qemu.arg("-plugin")
                .arg(format!("{plugin},{MODULES},socket={socket}"));
        }
        qemu.arg("-kernel").arg(self.kernel);
        qemu.arg("-initrd").arg(self.initramfs);
        qemu.arg("-append").arg(self.command_line());
        if let Some(device) = &self.device {
            device.attach(&mut qemu);
        }
        qemu.stdin(Stdio::null());
        pass(&mut qemu, vec![kernel_far.into(), job_far.into()]);
        Ok((qemu, Ports { kernel, job }))
    }

    fn command_line(&self) -> String {
        // An oops is followed by a panic and that by QEMU's end: no waiting for timeouts.
        let mut words = vec!["console=ttyS0", "panic=-1", "oops=panic", "loglevel=7"];
        // Whether the timer ticks as fast as the processor is no question of hardware here, and a
        // busy machine fails that check: a panic where interrupts are remapped.
        words.push("no_timer_check");
        if self.topology.iommu.is_some() {
            // Strict: a mapping is gone for the device as soon as the driver took it back.
            words.extend(["intel_iommu=on", "iommu.strict=1"]);
        }
        words.extend(self.append.iter().map(String::as_str));
        words.join(" ")
    }
}

/// Both ends of a serial port, the runner's and QEMU's.
///
/// The kernel drops what its console does not take for some milliseconds, and each character that is
/// on its way takes up to a thousand bytes: by default there is room for some hundred, and on a busy
/// machine the runner is not always fast enough.
fn port() -> Result<(UnixStream, UnixStream)> {
    let (near, far) = UnixStream::pair()?;
    if setsockopt(&far, sockopt::SndBufForce, &ROOM).is_err() {
        // That takes a right over the machine; without it there is as much as others get.
        setsockopt(&far, sockopt::SndBuf, &ROOM)?;
    }
    Ok((near, far))
}

impl Device<'_> {
    fn attach(&self, qemu: &mut Command) {
        for (index, socket) in self.functions.iter().enumerate() {
            let mut device = json!({
                "driver": "vfio-user-pci",
                "bus": "rp0",
                "addr": format!("{:x}.{:x}", index / 8, index % 8),
                "socket": { "type": "unix", "path": socket },
            });
            if index == 0 && self.functions.len() > 1 {
                device["multifunction"] = true.into();
            }
            qemu.arg("-device").arg(device.to_string());
        }
        qemu.arg("-chardev").arg(format!(
            "socket,id=emulator,path={}",
            self.control.display().to_string().replace(',', ",,")
        ));
        // An interrupt of its own: the third port's usual one is the first port's.
        qemu.args(["-device", "isa-serial,chardev=emulator,index=2,irq=5"]);
    }
}

/// Lets the child keep `fds`, under the same numbers, and the parent close them with `command`.
fn pass(command: &mut Command, fds: Vec<OwnedFd>) {
    // SAFETY: fcntl is async-signal-safe; the closure owns the descriptors, so that they are open
    // when it runs.
    unsafe {
        command.pre_exec(move || {
            for fd in &fds {
                fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn arguments(functions: &[PathBuf], iommu: Option<Iommu>) -> Vec<String> {
        let append = ["azihsm.timeout=3".to_owned()];
        let machine = Machine {
            kernel: Path::new("/k"),
            initramfs: Path::new("/i"),
            append: &append,
            memory: "512M",
            topology: Topology {
                iommu,
                fixed: false,
            },
            device: (!functions.is_empty()).then_some(Device {
                functions,
                control: Path::new("/tmp/a,b"),
            }),
            counter: None,
        };
        let (command, _ports) = machine.command().unwrap();
        command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect()
    }

    /// Characters that a port takes while nobody reads.
    fn room(far: &UnixStream) -> usize {
        far.set_nonblocking(true).unwrap();
        let mut far = far;
        (0..100_000).take_while(|_| far.write(b"x").is_ok()).count()
    }

    #[test]
    fn a_port_takes_more_than_others() {
        let (_near, far) = UnixStream::pair().unwrap();
        let usual = room(&far);
        let (_near, far) = port().unwrap();
        assert!(room(&far) > usual + usual / 2, "{usual}");
    }

    /// The device arguments that are JSON.
    fn functions(arguments: &[String]) -> Vec<serde_json::Value> {
        arguments
            .iter()
            .filter(|arg| arg.starts_with('{'))
            .map(|arg| serde_json::from_str(arg).unwrap())
            .collect()
    }

    #[test]
    fn device_is_json_behind_the_root_port() {
        let arguments = arguments(&[PathBuf::from("/tmp/a \"b\"")], None);
        let functions = functions(&arguments);
        assert_eq!(functions.len(), 1);
        assert_eq!(functions[0]["bus"], "rp0");
        assert_eq!(functions[0]["socket"]["path"], "/tmp/a \"b\"");
        assert_eq!(functions[0].get("multifunction"), None);
    }

    #[test]
    fn functions_share_a_slot() {
        let sockets: Vec<_> = (0..10).map(|i| PathBuf::from(format!("/s{i}"))).collect();
        let functions = functions(&arguments(&sockets, None));
        assert_eq!(functions[0]["addr"], "0.0");
        assert_eq!(functions[0]["multifunction"], true);
        assert_eq!(functions[1]["addr"], "0.1");
        assert_eq!(functions[1].get("multifunction"), None);
        // Eight functions to a slot; the routing id goes on counting.
        assert_eq!(functions[9]["addr"], "1.1");
    }

    #[test]
    fn the_third_serial_port_is_the_control_socket() {
        let arguments = arguments(&[PathBuf::from("/s")], None);
        assert!(arguments.contains(&"socket,id=emulator,path=/tmp/a,,b".to_owned()));
    }

    #[test]
    fn no_device_without_a_socket() {
        let arguments = arguments(&[], None);
        assert!(functions(&arguments).is_empty());
        assert!(!arguments.iter().any(|arg| arg.contains("emulator")));
    }

    #[test]
    fn the_iommu_comes_before_the_devices() {
        let arguments = arguments(&[PathBuf::from("/s")], Some(Iommu::Intel));
        let at = |text: &str| arguments.iter().position(|arg| arg.contains(text)).unwrap();
        assert!(at("intel-iommu,caching-mode=on") < at("pcie-root-port"));
        assert!(arguments.iter().any(|arg| arg.contains("iommu.strict=1")));
    }

    #[test]
    fn the_kernel_gets_the_extra_words() {
        let arguments = arguments(&[], None);
        let at = arguments.iter().position(|arg| arg == "-append").unwrap();
        assert!(arguments[at + 1].ends_with(" azihsm.timeout=3"));
    }
}
