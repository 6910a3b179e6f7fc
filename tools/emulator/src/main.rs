// SPDX-License-Identifier: GPL-2.0-or-later

//! `azihsm-emulator`: an emulated Azure Integrated HSM for vfio-user clients, one for each function.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use azihsm_emulator::config::Config;
use azihsm_emulator::control_socket;
use azihsm_emulator::device::{Device, FunctionConfig};
use azihsm_emulator::faults::chaos::{Chaos, Settings};
use azihsm_emulator::faults::rule;
use azihsm_emulator::function::Role;
use azihsm_emulator::interrupts::VECTORS;
use azihsm_emulator::resources::{LAST_CONTROLLER, RESOURCES};
use azihsm_emulator::stats::{SessionSnapshot, Snapshot, Stats};
use azihsm_firmware::{Firmware, FunctionId};
use clap::Parser;
use parking_lot::Mutex;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;

use servers::{Clients, News, Remove};

mod choice;
mod servers;

/// Resources of a function that stands alone.
const RESOURCES_ALONE: u8 = 4;
/// Exit code when the host violated the protocol and `--strict` was given.
const EXIT_VIOLATIONS: u8 = 3;
/// How long the firmware may take to tell its sessions for the counters.
const FIRMWARE_PATIENCE: Duration = Duration::from_millis(500);
/// How often the counters are written.
const STATS_PERIOD: Duration = Duration::from_secs(1);

/// Emulates the Azure Integrated HSM as a vfio-user device.
///
/// Serves one client (QEMU with -device vfio-user-pci and shared guest memory) and ends when the client disconnects;
/// with --vfs one client for each function, which may all be one QEMU.
/// Exit codes: 0 all well, 1 error, 3 the host violated the protocol and --strict was given.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// UNIX socket to make for the vfio-user client; VF i of --vfs gets PATH.vf<i>
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,

    /// Serve a PF with SR-IOV and so many VFs, 1 to 64, which have no resources at power-up; 0: one function without
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=i64::from(LAST_CONTROLLER)))]
    vfs: u16,

    /// Resources assigned at power-up; each is one control queue, two fast-path queues and seven bulk keys
    /// [default: 4, and 0 with --vfs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=RESOURCES as i64))]
    resources: Option<u8>,

    /// Size of the MSI-X table of each function
    #[arg(long, value_name = "N", default_value_t = VECTORS as u16, value_parser = clap::value_parser!(u16).range(1..=VECTORS as i64))]
    vectors: u16,

    /// For measurements: the client maps the doorbells, and threads poll them. Fewer violations are noticed
    #[arg(long)]
    fast: bool,

    /// End with exit code 3 if the host violated the protocol
    #[arg(long)]
    strict: bool,

    /// File for the counters in JSON, rewritten every second and at the end
    #[arg(long, value_name = "FILE")]
    stats: Option<PathBuf>,

    /// UNIX socket to make for control requests, one JSON object per line
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    /// Firmware behind the queues: "model", or "unix:PATH" for another process
    #[arg(long, value_name = "model|unix:PATH", default_value = "model")]
    firmware: choice::Choice,

    /// INSECURE, for tests only: 32 bytes in hexadecimal; every AES key the model makes is these bytes XOR its label
    #[arg(long, value_name = "HEX", value_parser = choice::parse_test_key, overrides_with = "test_key")]
    test_key: Option<choice::TestKey>,

    /// Time from CC.EN = 1 to CSTS.RDY = 1, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 3)]
    ready_delay: u64,

    /// Time from CC.EN = 0 to CSTS.RDY = 0, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 3)]
    disable_delay: u64,

    /// Minimum time a control or fast-path command takes, in microseconds
    #[arg(long, value_name = "US", default_value_t = 0)]
    service_time: u64,

    /// The same for fast-path commands only, if it differs
    #[arg(long, value_name = "US")]
    fp_service_time: Option<u64>,

    /// A subsystem reset clears CC.EN
    #[arg(long)]
    nssr_clears_enable: bool,

    /// File of faults: TOML, or a log that --fault-log wrote (FILE.jsonl)
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,

    /// Spoil what the device says at random, reproducibly; RATE is the share of the events, 0.001 if not given
    #[arg(long, value_name = "SEED[,RATE]")]
    chaos: Option<Settings>,

    /// File for a log of the faults that hit, one JSON object per line; --faults takes it again
    #[arg(long, value_name = "FILE.jsonl")]
    fault_log: Option<PathBuf>,

    /// Claim that many queues of each class, whatever there are
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    grant: Option<u32>,

    /// What to log, for instance "debug" or "azihsm_emulator=trace"
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    log: String,
}

/// What the main thread waits for.
enum Event {
    Client(News),
    Signal(i32),
    Request,
}

impl From<News> for Event {
    fn from(news: News) -> Self {
        Event::Client(news)
    }
}

/// Why the emulator comes to its end.
enum End {
    Disconnected(Result<()>),
    Signal(i32),
    Request,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("azihsm-emulator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let filter = EnvFilter::try_new(&arguments.log).with_context(|| {
        format!(
            "--log {}: not a filter; try \"info\" or \"debug\"",
            arguments.log
        )
    })?;
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .init();
    if arguments.test_key.is_some() {
        eprintln!(
            "azihsm-emulator: WARNING: --test-key makes every key known. INSECURE, for tests only."
        );
    }
    let firmware = arguments.firmware.start(arguments.test_key)?;
    let stats = Arc::new(Stats::default());
    let device = start_device(arguments, firmware, &stats)?;
    arm_faults(arguments, &device)?;
    let snapshot = snapshots(arguments, &device);
    // Before the socket is there: whoever sees it may take the file for granted.
    if let Some(path) = &arguments.stats {
        write_stats(&snapshot(), path)?;
    }
    let (news, events) = mpsc::channel();
    let _control = arguments
        .control
        .as_deref()
        .map(|path| start_control(path, &device, snapshots(arguments, &device), &news));
    let _control = _control.transpose()?;
    watch_signals(news.clone())?;
    let sockets = servers::start(&device, &arguments.socket, &news)?;
    let mut clients = Clients::default();

    let end = loop {
        match events.recv_timeout(STATS_PERIOD) {
            Ok(Event::Signal(signal)) => break End::Signal(signal),
            Ok(Event::Request) => {
                sockets.disconnect();
                break End::Request;
            }
            Ok(Event::Client(news)) => match clients.take(news) {
                Some(result) => break End::Disconnected(result),
                None => continue,
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break End::Disconnected(Ok(())),
        }
        if let Some(path) = &arguments.stats {
            write_stats(&snapshot(), path)?;
        }
    };
    finish(arguments, end, &snapshot())
}

fn start_device(
    arguments: &Arguments,
    firmware: Arc<dyn Firmware>,
    stats: &Arc<Stats>,
) -> Result<Arc<Device>> {
    let config = Config {
        ready_delay: Duration::from_millis(arguments.ready_delay),
        disable_delay: Duration::from_millis(arguments.disable_delay),
        service_time: Duration::from_micros(arguments.service_time),
        fp_service_time: Duration::from_micros(
            arguments.fp_service_time.unwrap_or(arguments.service_time),
        ),
        strict: arguments.strict,
        nssr_clears_enable: arguments.nssr_clears_enable,
        grant: arguments.grant,
        vectors: arguments.vectors,
        fast: arguments.fast,
        ..Config::default()
    };
    let functions = functions(arguments)?;
    let device = Device::new(config, firmware, Arc::clone(stats), &functions)
        .context("cannot start the device")?;
    Ok(Arc::new(device))
}

fn arm_faults(arguments: &Arguments, device: &Device) -> Result<()> {
    if let Some(path) = &arguments.fault_log {
        device.faults().log_to(path)?;
    }
    if let Some(path) = &arguments.faults {
        device.arm(rule::load(path)?)?;
    }
    if let Some(settings) = arguments.chaos {
        device.faults().start_chaos(Chaos::new(settings));
    }
    Ok(())
}

/// Returns the functions of the device.
fn functions(arguments: &Arguments) -> Result<Vec<FunctionConfig>> {
    let function = |id, role, resources| FunctionConfig {
        id: FunctionId(id),
        role,
        resources,
    };
    if arguments.vfs == 0 {
        // Without an SR-IOV capability a driver takes the function for a VF: so it is one, with resources from the
        // start.
        let resources = arguments.resources.unwrap_or(RESOURCES_ALONE);
        return Ok(vec![function(1, Role::Vf, resources.into())]);
    }
    if arguments.resources.is_some_and(|resources| resources > 0) {
        bail!(
            "--resources: with --vfs no function has resources at power-up, the PF's driver distributes them; leave it out"
        );
    }
    let vfs = (1..=arguments.vfs).map(|id| function(id, Role::Vf, 0));
    Ok([function(0, Role::Pf, 0)].into_iter().chain(vfs).collect())
}

/// Returns what takes a snapshot of the counters.
fn snapshots(
    arguments: &Arguments,
    device: &Arc<Device>,
) -> impl Fn() -> Snapshot + Send + Sync + use<> {
    let device = Arc::clone(device);
    let firmware = arguments.firmware.to_string();
    let insecure = arguments.test_key.is_some();
    let last = Mutex::new(Vec::new());
    move || {
        let mut sessions = last.lock();
        if let Some(now) = ask_sessions(&device) {
            *sessions = now;
        }
        device.snapshot(&sessions, &firmware, insecure)
    }
}

/// Asks the firmware for its sessions, but does not wait for firmware that hangs.
fn ask_sessions(device: &Arc<Device>) -> Option<Vec<Vec<SessionSnapshot>>> {
    let (sender, receiver) = mpsc::channel();
    let device = Arc::clone(device);
    thread::Builder::new()
        .name("sessions".to_owned())
        .spawn(move || {
            let _ = sender.send(device.sessions());
        })
        .ok()?;
    receiver.recv_timeout(FIRMWARE_PATIENCE).ok()
}

fn start_control(
    path: &Path,
    device: &Arc<Device>,
    snapshot: impl Fn() -> Snapshot + Send + Sync + 'static,
    news: &mpsc::Sender<Event>,
) -> Result<Remove> {
    let news = news.clone();
    let source = control_socket::Source {
        device: Arc::clone(device),
        snapshot: Box::new(snapshot),
        end: Box::new(move || {
            let _ = news.send(Event::Request);
        }),
    };
    control_socket::serve(path, Arc::new(source))?;
    Ok(Remove(path.to_owned()))
}

fn watch_signals(news: mpsc::Sender<Event>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot handle signals")?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                let _ = news.send(Event::Signal(signal));
            }
        })?;
    Ok(())
}

fn write_stats(snapshot: &Snapshot, path: &Path) -> Result<()> {
    snapshot.write(path).with_context(|| {
        format!(
            "cannot write the counters to {}: its folder must exist and be writable",
            path.display()
        )
    })
}

/// Reports how the run went.
fn finish(arguments: &Arguments, end: End, snapshot: &Snapshot) -> Result<ExitCode> {
    if let Some(path) = &arguments.stats {
        write_stats(snapshot, path)?;
    }
    match end {
        End::Disconnected(result) => result?,
        End::Signal(signal) => tracing::info!("ended by signal {signal}"),
        End::Request => tracing::info!("ended on request"),
    }
    for text in &snapshot.internal_errors {
        eprintln!("azihsm-emulator: internal error: {text}");
    }
    if snapshot.private_guest_memory {
        eprintln!(
            "azihsm-emulator: error: guest memory seems not to be shared: give QEMU's memory backend share=on"
        );
    }
    if !snapshot.internal_errors.is_empty() || snapshot.private_guest_memory {
        return Ok(ExitCode::FAILURE);
    }
    if snapshot.counts.violations > 0 {
        let what = if arguments.strict { "error" } else { "note" };
        eprintln!(
            "azihsm-emulator: {what}: the host violated the protocol {} times",
            snapshot.counts.violations
        );
        for text in &snapshot.violation_list {
            eprintln!("  {text}");
        }
        if arguments.strict {
            return Ok(ExitCode::from(EXIT_VIOLATIONS));
        }
    }
    Ok(ExitCode::SUCCESS)
}
