// SPDX-License-Identifier: GPL-2.0-or-later

//! The control socket: one JSON request per line, one JSON answer per line (described in README.md).

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::device::Device;
use crate::faults::chaos::{self, Chaos, Settings};
use crate::faults::rule::Fault;
use crate::stats::Snapshot;

/// Longest request line.
const LINE_MAX: u64 = 64 * 1024;

/// A request.
#[derive(Debug, Deserialize)]
#[serde(tag = "cmd", rename_all = "kebab-case", deny_unknown_fields)]
enum Request {
    // With braces, since serde lets unit variants pass with members it does not know.
    Stats {},
    State {},
    Faults {},
    Arm {
        faults: Vec<Fault>,
    },
    Clear {
        id: Option<u64>,
    },
    Chaos {
        seed: u64,
        #[serde(default = "rate")]
        rate: f64,
        #[serde(default)]
        honest: bool,
    },
    ChaosStop {},
    End {},
}

fn rate() -> f64 {
    chaos::RATE
}

/// What the control socket tells about.
pub struct Source {
    /// The device.
    pub device: Arc<Device>,
    /// Takes a snapshot of the counters.
    pub snapshot: Box<dyn Fn() -> Snapshot + Send + Sync>,
    /// Brings the program to its end, soon.
    pub end: Box<dyn Fn() + Send + Sync>,
}

/// Makes the socket and answers on it, in threads of its own.
///
/// # Errors
///
/// The socket cannot be made.
pub fn serve(path: &Path, source: Arc<Source>) -> Result<()> {
    if path.exists() {
        bail!(
            "{} exists already: remove it or choose another control socket",
            path.display()
        );
    }
    let listener = UnixListener::bind(path).with_context(|| {
        format!(
            "cannot make the control socket {}: its folder must exist and be writable",
            path.display()
        )
    })?;
    thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                let source = Arc::clone(&source);
                let spawned = thread::Builder::new()
                    .name("control".to_owned())
                    .spawn(move || {
                        if let Err(error) = converse(&stream, &source) {
                            tracing::debug!("control connection: {error}");
                        }
                    });
                if let Err(error) = spawned {
                    tracing::warn!("cannot serve a control connection: {error}");
                }
            }
        })?;
    Ok(())
}

fn converse(stream: &UnixStream, source: &Source) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if io::Read::take(&mut reader, LINE_MAX).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut reply = answer(&line, source).to_string();
        reply.push('\n');
        writer.write_all(reply.as_bytes())?;
        if matches!(serde_json::from_str(&line), Ok(Request::End {})) {
            (source.end)();
        }
    }
}

fn answer(line: &str, source: &Source) -> Value {
    match serde_json::from_str::<Request>(line) {
        Ok(Request::Stats {}) => json!((source.snapshot)()),
        Ok(Request::State {}) => state(&source.device),
        Ok(Request::Faults {}) => source.device.faults().report(),
        Ok(Request::Arm { faults }) => match source.device.arm(faults) {
            Ok(ids) => json!({ "armed": ids }),
            Err(error) => json!({ "error": format!("{error:#}; nothing was armed") }),
        },
        Ok(Request::Clear { id }) => json!({ "cleared": source.device.clear_faults(id) }),
        Ok(Request::Chaos { seed, rate, honest }) => {
            start_chaos(&source.device, Settings { seed, rate, honest })
        }
        Ok(Request::ChaosStop {}) => json!({ "stopped": source.device.stop_chaos() }),
        // That follows the answer.
        Ok(Request::End {}) => json!({ "ending": true }),
        Err(error) => json!({
            "error": format!("{error}; requests are JSON objects like {{\"cmd\":\"stats\"}}, one per line")
        }),
    }
}

fn start_chaos(device: &Device, settings: Settings) -> Value {
    match settings.check() {
        Ok(settings) => {
            device.faults().start_chaos(Chaos::new(settings));
            json!({ "started": settings.seed, "rate": settings.rate })
        }
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn state(device: &Device) -> Value {
    let functions: Vec<Value> = device.functions().iter().map(|f| f.describe()).collect();
    json!({ "functions": functions })
}
