// SPDX-License-Identifier: MIT OR Apache-2.0

//! Serves the firmware model on a UNIX socket, for an emulator that is started with `--firmware unix:PATH`.
//!
//! This is a starting point for other firmware: implement `Firmware`, hand it to `serve`.

use std::{
    fs,
    io::{self, IsTerminal},
    os::unix::net::UnixListener,
    path::PathBuf,
};

use anyhow::{Context, bail};
use azihsm_firmware::{Model, serve};
use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

/// Serves the firmware model of the emulated HSM on a UNIX socket.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Socket to listen on; it must not exist.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,

    /// INSECURE, for tests: makes AES keys predictable; each is this key (64 hex digits) XOR the key's label.
    #[arg(long, value_name = "HEX", value_parser = parse_key)]
    test_key: Option<[u8; 32]>,

    /// Reports FIPS approval.
    #[arg(long)]
    fips_approved: bool,

    /// Logs state changes and commands that fail.
    #[arg(short, long)]
    verbose: bool,
}

fn parse_key(text: &str) -> Result<[u8; 32], String> {
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key)
        .map_err(|error| format!("{error}; give the key as 64 hex digits"))?;
    Ok(key)
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let level = if args.verbose {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();

    let mut builder = Model::builder().fips_approved(args.fips_approved);
    if let Some(key) = args.test_key {
        builder = builder.test_key(key);
    }
    let listener = match UnixListener::bind(&args.socket) {
        Ok(listener) => listener,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => bail!(
            "{path} exists; remove it if no other server uses it: rm {path}",
            path = args.socket.display()
        ),
        Err(error) => {
            return Err(error).context(format!("cannot listen on {}", args.socket.display()));
        }
    };
    tracing::info!("listening on {}", args.socket.display());
    let result = serve(listener, builder.build());
    let _ = fs::remove_file(&args.socket);
    result.context("cannot accept connections")
}
