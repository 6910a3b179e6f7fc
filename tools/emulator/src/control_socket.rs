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
}

/// What the control socket tells about.
pub struct Source {
    /// The device.
    pub device: Arc<Device>,
    /// Takes a snapshot of the counters.
    pub snapshot: Box<dyn Fn() -> Snapshot + Send + Sync>,
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
    }
}

fn answer(line: &str, source: &Source) -> Value {
    match serde_json::from_str::<Request>(line) {
        Ok(Request::Stats {}) => json!((source.snapshot)()),
        Ok(Request::State {}) => state(&source.device),
        Err(error) => json!({
            "error": format!("{error}; requests are {{\"cmd\":\"stats\"}} and {{\"cmd\":\"state\"}}, one per line")
        }),
    }
}

fn state(device: &Device) -> Value {
    let functions: Vec<Value> = device.functions().iter().map(|f| f.describe()).collect();
    json!({ "functions": functions })
}
