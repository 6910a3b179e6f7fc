// SPDX-License-Identifier: MIT OR Apache-2.0

//! The side of the queue hardware.

use std::{
    collections::HashMap,
    io,
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, SyncSender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    VERSION,
    frame::{Frame, invalid},
    message::{Reply, Request},
};
use crate::{
    ControlRequest, ControlResponse, FastRequest, FastResponse, Firmware, FunctionId, SessionInfo,
    SessionResult, StateChange, Undo,
};

/// How long a reply may take, and a request to be taken by the other side.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Transport status of a control command without reply: "everything else" (section 6.3).
const INTERNAL: u16 = 0x007;

/// Status and error of a fast-path command without reply: an engine error (sections 7.3 and 7.4).
const ENGINE: u16 = 3;
const ENGINE_LOST: u16 = 0xa;

/// Firmware in another process.
///
/// If that process cannot be reached any more, commands fail as they do when an engine of the device does, state
/// changes and rollbacks are lost, and there are no sessions. Nothing waits longer than 30 seconds.
#[derive(Debug)]
pub struct Remote {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
    timeout: Duration,
}

/// The firmware cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket cannot be connected or used.
    #[error("cannot talk to the firmware: {0}; is a server listening on this socket?")]
    Io(#[from] io::Error),
    /// The other side speaks another version.
    #[error("the firmware speaks version {0} of the protocol, this program version {VERSION}")]
    Version(u16),
    /// The other side answers something else.
    #[error("the other side does not speak the firmware protocol")]
    Protocol,
}

#[derive(Debug)]
struct Shared {
    /// The stream, to end it whatever goes on.
    stream: UnixStream,
    /// The stream, for requests.
    writer: Mutex<UnixStream>,
    pending: Mutex<Pending>,
}

/// Requests without reply; `None` in `waiting` once the connection is lost.
#[derive(Debug)]
struct Pending {
    next_tag: u32,
    waiting: Option<HashMap<u32, SyncSender<Reply>>>,
}

impl Remote {
    /// Connects to the firmware that listens on the socket `path`.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] if nothing listens there, or something else.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ConnectError> {
        Self::with_stream(UnixStream::connect(path)?, TIMEOUT)
    }

    /// Uses a stream that is connected to the firmware, and gives each reply `timeout`.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] if the other side does not answer as firmware does.
    pub fn with_stream(stream: UnixStream, timeout: Duration) -> Result<Self, ConnectError> {
        // Reads wait for as long as nothing happens; a write that gets stuck means that the other side is.
        stream.set_write_timeout(Some(timeout))?;
        let mut incoming = stream.try_clone()?;
        let pending = Pending {
            next_tag: 0,
            waiting: Some(HashMap::new()),
        };
        let shared = Arc::new(Shared {
            writer: Mutex::new(stream.try_clone()?),
            stream,
            pending: Mutex::new(pending),
        });
        let reader = thread::Builder::new()
            .name("firmware replies".into())
            .spawn({
                let shared = shared.clone();
                move || {
                    match shared.receive(&mut incoming) {
                        Ok(()) => tracing::warn!("the firmware has closed the connection"),
                        Err(error) => {
                            tracing::error!(%error, "the connection to the firmware is lost")
                        }
                    }
                    shared.disconnect();
                }
            })?;
        let remote = Self {
            shared,
            reader: Some(reader),
            timeout,
        };
        match remote.call(FunctionId(0), &Request::Hello(VERSION)) {
            Some(Reply::Hello(VERSION)) => Ok(remote),
            Some(Reply::Hello(version)) => Err(ConnectError::Version(version)),
            _ => Err(ConnectError::Protocol),
        }
    }

    /// Whether the firmware can still be reached.
    pub fn is_connected(&self) -> bool {
        lock(&self.shared.pending).waiting.is_some()
    }

    /// Sends a request and waits for its reply; `None` if there is none.
    fn call(&self, function: FunctionId, request: &Request) -> Option<Reply> {
        let (kind, body) = request.encode();
        if !Frame::fits(body.len()) {
            tracing::error!(
                len = body.len(),
                "command is too long for the firmware protocol"
            );
            return None;
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        let tag = self.shared.register(sender)?;
        let frame = Frame {
            tag,
            kind,
            function,
            body,
        };
        let sent = frame.write(&mut *lock(&self.shared.writer));
        if let Err(error) = sent {
            // A part of the frame may be out, so nothing can follow it.
            tracing::error!(%error, "cannot send to the firmware");
            self.shared.disconnect();
            return None;
        }
        let reply = receiver.recv_timeout(self.timeout);
        if let Err(mpsc::RecvTimeoutError::Timeout) = reply {
            tracing::error!(tag, timeout = ?self.timeout, "the firmware does not reply");
            self.shared.give_up(tag);
        }
        reply.ok()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.shared.disconnect();
        if let Some(reader) = self.reader.take() {
            // A panic of the thread was reported when it happened.
            let _ = reader.join();
        }
    }
}

impl Shared {
    /// Enters a request and returns its tag; `None` if the connection is lost.
    fn register(&self, sender: SyncSender<Reply>) -> Option<u32> {
        let mut pending = lock(&self.pending);
        let Pending { next_tag, waiting } = &mut *pending;
        let waiting = waiting.as_mut()?;
        // Tags come round again; those that still wait are left out.
        while waiting.contains_key(next_tag) {
            *next_tag = next_tag.wrapping_add(1);
        }
        let tag = *next_tag;
        *next_tag = tag.wrapping_add(1);
        waiting.insert(tag, sender);
        Some(tag)
    }

    fn give_up(&self, tag: u32) {
        if let Some(waiting) = &mut lock(&self.pending).waiting {
            waiting.remove(&tag);
        }
    }

    /// Hands replies out until the stream ends.
    fn receive(&self, stream: &mut UnixStream) -> io::Result<()> {
        while let Some(frame) = Frame::read(stream)? {
            let reply = Reply::decode(frame.kind, frame.body)
                .map_err(|error| invalid(format!("reply {}: {error}", frame.tag)))?;
            let sender = lock(&self.pending)
                .waiting
                .as_mut()
                .and_then(|waiting| waiting.remove(&frame.tag));
            match sender {
                // Nobody may wait any more.
                Some(sender) => drop(sender.try_send(reply)),
                None => tracing::warn!(tag = frame.tag, "reply to no request, or too late"),
            }
        }
        Ok(())
    }

    /// Ends the connection and wakes all who wait.
    fn disconnect(&self) {
        lock(&self.pending).waiting = None;
        // It may be closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reports a reply of the wrong type.
fn unexpected(reply: &Reply) {
    tracing::error!(?reply, "the firmware replies to something else");
}

impl Firmware for Remote {
    fn control(&self, function: FunctionId, request: ControlRequest) -> ControlResponse {
        match self.call(function, &Request::Control(request)) {
            Some(Reply::Control(response)) => return response,
            Some(reply) => unexpected(&reply),
            None => {}
        }
        ControlResponse {
            status: INTERNAL,
            ..ControlResponse::default()
        }
    }

    fn undo(&self, function: FunctionId, undo: Undo) {
        match self.call(function, &Request::Undo(undo)) {
            Some(Reply::Undo) => {}
            Some(reply) => unexpected(&reply),
            None => tracing::error!(?undo, "a command is not rolled back"),
        }
    }

    fn flush(&self, function: FunctionId, session_id: u16) -> (u16, SessionResult) {
        match self.call(function, &Request::Flush(session_id)) {
            Some(Reply::Flush(status, session)) => return (status, session),
            Some(reply) => unexpected(&reply),
            None => {}
        }
        (INTERNAL, SessionResult::default())
    }

    fn fast(&self, function: FunctionId, request: FastRequest) -> FastResponse {
        match self.call(function, &Request::Fast(request)) {
            Some(Reply::Fast(response)) => return response,
            Some(reply) => unexpected(&reply),
            None => {}
        }
        FastResponse {
            status: ENGINE,
            error: ENGINE_LOST,
            ..FastResponse::default()
        }
    }

    fn state(&self, function: FunctionId, change: StateChange) {
        match self.call(function, &Request::State(change)) {
            Some(Reply::State) => {}
            Some(reply) => unexpected(&reply),
            None => tracing::error!(?change, "a state change does not reach the firmware"),
        }
    }

    fn sessions(&self, function: FunctionId) -> Vec<SessionInfo> {
        match self.call(function, &Request::Sessions) {
            Some(Reply::Sessions(sessions)) => return sessions,
            Some(reply) => unexpected(&reply),
            None => {}
        }
        Vec::new()
    }

    fn save(&self, function: FunctionId) -> Option<Vec<u8>> {
        match self.call(function, &Request::Save) {
            Some(Reply::Save(context)) => return context,
            Some(reply) => unexpected(&reply),
            None => {}
        }
        None
    }

    fn restore(&self, function: FunctionId, context: &[u8]) -> bool {
        match self.call(function, &Request::Restore(context.to_vec())) {
            Some(Reply::Restore(taken)) => return taken,
            Some(reply) => unexpected(&reply),
            None => {}
        }
        false
    }
}
