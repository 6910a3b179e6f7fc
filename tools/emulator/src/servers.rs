// SPDX-License-Identifier: GPL-2.0-or-later

//! The sockets of the program: one for each function, each served by a thread of its own.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use azihsm_emulator::device::Device;
use azihsm_emulator::quiet::{Counted, Traffic};
use azihsm_emulator::transport::{self, Backend};

/// What a client does, for the main thread.
pub enum News {
    /// The client of the function with this index has made its first request.
    Connected(usize),
    /// The client of the function with this index is gone, or its connection failed.
    Gone(usize, Result<()>),
}

/// How long clients must have asked for nothing when they are disconnected. Drivers look at an idle device a few
/// times in a second at most.
const QUIET: Duration = Duration::from_millis(100);
/// How long to wait for that.
const QUIET_LIMIT: Duration = Duration::from_secs(5);

/// The sockets, which are removed when this is dropped.
#[derive(Default)]
pub struct Sockets {
    paths: Vec<Remove>,
    traffic: Arc<Traffic>,
}

impl Sockets {
    /// Disconnects all clients in a moment in which none of them waits for an answer: QEMU does not survive another.
    pub fn disconnect(&self) {
        self.traffic.when_quiet(QUIET, QUIET_LIMIT, || {
            self.paths
                .iter()
                .for_each(|Remove(path)| transport::disconnect(path));
        });
    }
}

/// Returns the path of the socket of the function with that index: the first has the path itself, VF i of a PF has
/// it with `.vf<i>`.
fn path_of(path: &Path, index: usize) -> PathBuf {
    match index.checked_sub(1) {
        None => path.to_owned(),
        Some(vf) => {
            let mut name = OsString::from(path);
            name.push(format!(".vf{vf}"));
            name.into()
        }
    }
}

/// Makes the sockets of all functions and serves one client on each. When the first function's socket is there, all are.
///
/// # Errors
///
/// A socket cannot be made, or a thread.
pub fn start<N>(device: &Arc<Device>, path: &Path, news: &Sender<N>) -> Result<Sockets>
where
    N: From<News> + Send + 'static,
{
    let mut sockets = Sockets::default();
    for (index, function) in device.functions().iter().enumerate().rev() {
        let path = path_of(path, index);
        let server = transport::listen(&path, function)?;
        sockets.paths.push(Remove(path));
        let connected = news.clone();
        let backend = Backend::new(Arc::clone(device), Arc::clone(function), move || {
            let _ = connected.send(News::Connected(index).into());
        });
        let mut backend = Counted::new(backend, Arc::clone(&sockets.traffic));
        let (news, function) = (news.clone(), Arc::clone(function));
        thread::Builder::new()
            .name(format!("vfio-user{}", function.id().0))
            .spawn(move || {
                let result = transport::serve(&server, &mut backend)
                    .with_context(|| format!("controller {}", function.id().0));
                function.disconnect();
                let _ = news.send(News::Gone(index, result).into());
            })?;
    }
    Ok(sockets)
}

/// The functions whose clients are there.
#[derive(Debug, Default)]
pub struct Clients(BTreeSet<usize>);

impl Clients {
    /// Takes news; returns how it went if the program comes to its end: with the first function's client, with the
    /// last one, or with a connection that failed.
    pub fn take(&mut self, news: News) -> Option<Result<()>> {
        match news {
            News::Connected(index) => {
                self.0.insert(index);
            }
            News::Gone(index, result) => {
                self.0.remove(&index);
                if index == 0 || result.is_err() || self.0.is_empty() {
                    return Some(result);
                }
            }
        }
        None
    }
}

/// Removes a socket at the end.
pub struct Remove(pub PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let path = Path::new("/run/hsm");
        assert_eq!(path_of(path, 0), Path::new("/run/hsm"));
        assert_eq!(path_of(path, 1), Path::new("/run/hsm.vf0"));
        assert_eq!(path_of(path, 12), Path::new("/run/hsm.vf11"));
    }

    #[test]
    fn ends_with_the_first_function_or_the_last_client() {
        let mut clients = Clients::default();
        for index in 0..3 {
            assert!(clients.take(News::Connected(index)).is_none());
        }
        assert!(clients.take(News::Gone(2, Ok(()))).is_none());
        assert!(clients.take(News::Gone(0, Ok(()))).is_some());

        let mut clients = Clients::default();
        assert!(clients.take(News::Connected(1)).is_none());
        assert!(clients.take(News::Connected(2)).is_none());
        assert!(clients.take(News::Gone(1, Ok(()))).is_none());
        assert!(matches!(clients.take(News::Gone(2, Ok(()))), Some(Ok(()))));

        let mut clients = Clients::default();
        assert!(clients.take(News::Connected(0)).is_none());
        assert!(clients.take(News::Connected(1)).is_none());
        let failed = Err(anyhow::anyhow!("garbage"));
        assert!(matches!(clients.take(News::Gone(1, failed)), Some(Err(_))));
    }
}
