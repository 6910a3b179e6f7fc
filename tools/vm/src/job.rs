// SPDX-License-Identifier: GPL-2.0-or-later

//! The shell script that the guest's init runs: the job.

use crate::layout::Kernel;

/// What comes of the device when the module is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The driver binds to it.
    Bound,
    /// The driver looks at it and refuses it.
    Refused,
    /// The machine has none.
    Absent,
}

/// How the job ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The module is unloaded.
    #[default]
    Unload,
    /// So it is, and before that a test has had the emulator end.
    PullOut,
    /// The machine is turned off with the module loaded and at work.
    TurnOff,
    /// Another kernel is started, without a reset and with the module at work; the tests run there.
    NextKernel,
}

/// A job under construction.
#[derive(Default)]
pub struct Job(String);

impl Job {
    fn new() -> Self {
        Self(". /functions\n".to_owned())
    }

    /// A job that loads the module first, and expects this of the device.
    pub fn with_module(device: Device, parameters: &[String]) -> Self {
        let mut job = Self::new();
        job.load_module(device, parameters);
        job
    }

    /// A job for the kernel that another one has started; see [`Ending::NextKernel`].
    pub fn in_next_kernel(device: Device, parameters: &[String]) -> Self {
        let mut job = Self::new();
        job.command("next_kernel_started");
        job.load_module(device, parameters);
        job
    }

    fn load_module(&mut self, device: Device, parameters: &[String]) {
        if device != Device::Absent {
            self.command("connect_emulator");
        }
        let device = match device {
            Device::Bound => "bound",
            Device::Refused => "refused",
            Device::Absent => "absent",
        };
        let parameters: Vec<String> = parameters.iter().map(|word| quote(word)).collect();
        self.command(&format!("load_module {device} {}", parameters.join(" ")));
    }

    /// Adds a shell command.
    pub fn command(&mut self, line: &str) {
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    /// Adds a test program.
    pub fn test(&mut self, name: &str, seconds: u64) {
        let name = quote(name);
        self.command(&format!("run_test {name} {seconds} /selftests/{name}"));
    }

    /// Ends the job. Where the module is unloaded and the kernel can tell, nothing may have leaked.
    pub fn end(&mut self, kernel: Kernel, ending: Ending) {
        match ending {
            Ending::Unload | Ending::PullOut => {}
            Ending::TurnOff => return self.command("leave_at_work"),
            Ending::NextKernel => return self.command("start_next_kernel"),
        }
        self.command("unload_module");
        if kernel == Kernel::Debug {
            self.command("check_leaks module");
        }
    }

    /// The script.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Quotes a word for the shell.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_needed() {
        assert_eq!(quote("timeout=3"), "timeout=3");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn a_module_at_work_is_not_unloaded() {
        let mut job = Job::with_module(Device::Bound, &[]);
        job.end(Kernel::Debug, Ending::TurnOff);
        assert!(job.text().ends_with("leave_at_work\n"));
        assert!(!job.text().contains("unload_module"));
    }

    #[test]
    fn the_next_kernel_loads_the_module_too() {
        let mut job = Job::with_module(Device::Bound, &[]);
        job.end(Kernel::Stock, Ending::NextKernel);
        assert!(
            job.text()
                .ends_with("load_module bound\nstart_next_kernel\n")
        );
        let next = Job::in_next_kernel(Device::Bound, &[]);
        let lines: Vec<&str> = next.text().lines().collect();
        assert_eq!(
            lines[1..],
            [
                "next_kernel_started",
                "connect_emulator",
                "load_module bound"
            ]
        );
    }

    #[test]
    fn tests_run_after_the_module_is_loaded() {
        let mut job = Job::with_module(Device::Bound, &["debug=1".to_owned()]);
        job.test("probe", 60);
        let lines: Vec<&str> = job.text().lines().collect();
        assert_eq!(
            lines,
            [
                ". /functions",
                "connect_emulator",
                "load_module bound debug=1",
                "run_test probe 60 /selftests/probe"
            ]
        );
    }
}
