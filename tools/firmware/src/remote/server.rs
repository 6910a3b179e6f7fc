// SPDX-License-Identifier: MIT OR Apache-2.0

//! The side of the firmware.

use std::{
    io,
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use super::{
    VERSION,
    frame::{Frame, invalid},
    message::{Reply, Request},
};
use crate::{Firmware, FunctionId};

/// Requests of one connection that run at once. More of them wait in the socket.
const WORKERS: usize = 16;

/// How long a reply may take to be taken by the other side.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves `firmware` to everyone who connects to `listener`, one thread per connection, until accepting fails.
///
/// A connection that sends nonsense is closed; the firmware and the other connections go on. The state of the
/// firmware does not depend on connections.
///
/// # Errors
///
/// That of accepting a connection.
pub fn serve<F: Firmware + 'static>(listener: UnixListener, firmware: F) -> io::Result<()> {
    let firmware = Arc::new(firmware);
    for stream in listener.incoming() {
        let (stream, firmware) = (stream?, firmware.clone());
        thread::Builder::new()
            .name("firmware connection".into())
            .spawn(move || {
                tracing::info!("connected");
                match connection(&stream, &*firmware) {
                    Ok(()) => tracing::info!("disconnected"),
                    Err(error) => tracing::error!(%error, "connection ends"),
                }
                // Clones of the stream may be left in workers that are still busy.
                let _ = stream.shutdown(Shutdown::Both);
            })?;
    }
    Ok(())
}

/// Serves one connection until it ends.
fn connection(stream: &UnixStream, firmware: &impl Firmware) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let writer = Mutex::new(stream.try_clone()?);
    greet(stream, &writer)?;
    let (queue, requests) = mpsc::sync_channel::<(Frame, Request)>(0);
    let requests = Mutex::new(requests);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            let (requests, writer) = (&requests, &writer);
            thread::Builder::new()
                .name("firmware worker".into())
                .spawn_scoped(scope, move || work(requests, writer, firmware))?;
        }
        let mut stream = stream;
        while let Some(mut frame) = Frame::read(&mut stream)? {
            let request = Request::decode(frame.kind, std::mem::take(&mut frame.body))
                .map_err(|error| invalid(format!("request {}: {error}", frame.tag)))?;
            queue
                .send((frame, request))
                .map_err(|_| io::Error::other("no worker is left"))?;
        }
        // The workers end when the queue does.
        drop(queue);
        Ok(())
    })
}

/// Answers the hello, which has to come first.
fn greet(mut stream: &UnixStream, writer: &Mutex<UnixStream>) -> io::Result<()> {
    let Some(frame) = Frame::read(&mut stream)? else {
        return Ok(());
    };
    match Request::decode(frame.kind, frame.body) {
        Ok(Request::Hello(version)) => {
            send(writer, frame.tag, &Reply::Hello(VERSION))?;
            if version == VERSION {
                Ok(())
            } else {
                Err(invalid(format!(
                    "the other side speaks version {version}, we {VERSION}"
                )))
            }
        }
        Ok(_) => Err(invalid("the first message is not a hello")),
        Err(error) => Err(invalid(format!("hello: {error}"))),
    }
}

/// Carries requests out until there are no more.
fn work(
    requests: &Mutex<Receiver<(Frame, Request)>>,
    writer: &Mutex<UnixStream>,
    firmware: &impl Firmware,
) {
    loop {
        let next = lock(requests).recv();
        let Ok((frame, request)) = next else {
            return;
        };
        let carry_out = AssertUnwindSafe(|| carry_out(firmware, frame.function, request));
        let sent = panic::catch_unwind(carry_out)
            .map_err(|_| io::Error::other("the firmware has panicked"))
            .and_then(|reply| send(writer, frame.tag, &reply));
        if let Err(error) = sent {
            tracing::error!(%error, tag = frame.tag, "a request gets no reply");
            // No reply may follow, one may be out in part; nor does any have to: the other side is told.
            let _ = lock(writer).shutdown(Shutdown::Both);
        }
    }
}

fn carry_out(firmware: &impl Firmware, function: FunctionId, request: Request) -> Reply {
    match request {
        Request::Hello(_) => Reply::Hello(VERSION),
        Request::Control(command) => Reply::Control(firmware.control(function, command)),
        Request::Undo(undo) => {
            firmware.undo(function, undo);
            Reply::Undo
        }
        Request::Flush(session_id) => {
            let (status, session) = firmware.flush(function, session_id);
            Reply::Flush(status, session)
        }
        Request::Fast(command) => Reply::Fast(firmware.fast(function, command)),
        Request::State(change) => {
            firmware.state(function, change);
            Reply::State
        }
        Request::Sessions => Reply::Sessions(firmware.sessions(function)),
        Request::Save => Reply::Save(firmware.save(function)),
        Request::Restore(context) => Reply::Restore(firmware.restore(function, &context)),
    }
}

fn send(writer: &Mutex<UnixStream>, tag: u32, reply: &Reply) -> io::Result<()> {
    let (kind, body) = reply.encode();
    let frame = Frame {
        tag,
        kind,
        function: FunctionId(0),
        body,
    };
    frame.write(&mut *lock(writer))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
