// SPDX-License-Identifier: GPL-2.0-or-later

//! QEMU's command line.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
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

/// Counts the instructions that the guest executes in its modules; the guest reads the counts from its fourth serial
/// port.
#[derive(Clone, Copy)]
pub struct Counter<'a> {
    /// QEMU's plugin.
    pub plugin: &'a Path,
    /// Socket between QEMU and the plugin, which QEMU makes.
    pub socket: &'a Path,
}

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
    /// Socket of the emulated device; none for a machine without it.
    pub device: Option<&'a Path>,
    /// Counts instructions, if wanted.
    pub counter: Option<Counter<'a>>,
}

impl Machine<'_> {
    /// The command that starts the machine, and the other ends of its serial ports.
    pub fn command(&self) -> Result<(Command, Ports)> {
        let (kernel, kernel_far) = UnixStream::pair()?;
        let (job, job_far) = UnixStream::pair()?;

        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
        // The emulator maps the guest's memory: it must be a shared memfd.
        qemu.args(["-object", "memory-backend-memfd,id=ram,size=512M,share=on"]);
        qemu.args(["-machine", "q35,memory-backend=ram"]);
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]);
        // Hot-plug of the device goes through its root port, as on real machines.
        qemu.args([
            "-global",
            "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
        ]);
        qemu.args(["-device", "pcie-root-port,id=rp0,chassis=1,slot=1"]);
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
            qemu.args(["-serial", "null", "-serial", "chardev:counter"]);
            qemu.arg("-plugin")
                .arg(format!("{plugin},{MODULES},socket={socket}"));
        }
        qemu.arg("-kernel").arg(self.kernel);
        qemu.arg("-initrd").arg(self.initramfs);
        qemu.arg("-append").arg(self.command_line());
        if let Some(socket) = self.device {
            let device = json!({
                "driver": "vfio-user-pci",
                "bus": "rp0",
                "socket": { "type": "unix", "path": socket },
            });
            qemu.arg("-device").arg(device.to_string());
        }
        qemu.stdin(Stdio::null());
        pass(&mut qemu, vec![kernel_far.into(), job_far.into()]);
        Ok((qemu, Ports { kernel, job }))
    }

    fn command_line(&self) -> String {
        // An oops is followed by a panic and that by QEMU's end: no waiting for timeouts.
        let mut words = vec!["console=ttyS0", "panic=-1", "oops=panic", "loglevel=7"];
        words.extend(self.append.iter().map(String::as_str));
        words.join(" ")
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
    use super::*;

    fn arguments(device: Option<&Path>) -> Vec<String> {
        let append = ["azihsm.timeout=3".to_owned()];
        let machine = Machine {
            kernel: Path::new("/k"),
            initramfs: Path::new("/i"),
            append: &append,
            device,
            counter: None,
        };
        let (command, _ports) = machine.command().unwrap();
        command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn device_is_json_behind_the_root_port() {
        let arguments = arguments(Some(Path::new("/tmp/a \"b\"")));
        let device = arguments.last().unwrap();
        let device: serde_json::Value = serde_json::from_str(device).unwrap();
        assert_eq!(device["bus"], "rp0");
        assert_eq!(device["socket"]["path"], "/tmp/a \"b\"");
    }

    #[test]
    fn no_device_without_a_socket() {
        assert!(!arguments(None).iter().any(|arg| arg.contains("vfio-user")));
    }

    #[test]
    fn the_kernel_gets_the_extra_words() {
        let arguments = arguments(None);
        let at = arguments.iter().position(|arg| arg == "-append").unwrap();
        assert!(arguments[at + 1].ends_with(" azihsm.timeout=3"));
    }
}
