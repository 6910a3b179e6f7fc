// SPDX-License-Identifier: GPL-2.0-or-later

//! One function as a vfio-user device: regions, interrupts, DMA mappings, reset.

use std::fs::{self, File};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use nix::sys::socket::{Shutdown, UnixAddr, getpeername, getsockname, shutdown};
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_INFO_NORESIZE, VFIO_IRQ_SET_ACTION_TRIGGER,
    VFIO_IRQ_SET_ACTION_TYPE_MASK, VFIO_IRQ_SET_DATA_EVENTFD, VFIO_PCI_BAR0_REGION_INDEX,
    VFIO_PCI_BAR2_REGION_INDEX, VFIO_PCI_BAR4_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_NUM_IRQS, VFIO_PCI_NUM_REGIONS, VFIO_REGION_INFO_FLAG_MMAP,
    VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE, vfio_region_info,
    vfio_region_sparse_mmap_area,
};
use vfio_user::{
    DmaMapFlags, DmaUnmapFlags, IrqInfo, Server, ServerBackend, ServerRegion, SparseArea,
};

use crate::device::Device;
use crate::doorbells::Doorbells;
use crate::function::Function;
use crate::pci::{BAR_SIZE, CONFIG_SIZE};

/// Makes the socket and returns the server behind it; clients can connect when this returns.
///
/// # Errors
///
/// The socket cannot be made, for instance because there is a file of that name.
pub fn listen(path: &Path, function: &Function) -> Result<Server> {
    if path.exists() {
        bail!(
            "{} exists already: another emulator may be listening there (choose another path); if none is, a previous \
             one was killed (remove the file)",
            path.display()
        );
    }
    let listener = UnixListener::bind(path).with_context(|| {
        format!(
            "cannot make the socket {}: its folder must exist and be writable",
            path.display()
        )
    })?;
    Ok(Server::from_owned_fd(
        listener.into(),
        true,
        irqs(function.config().vectors),
        regions(function.doorbells().map(Doorbells::descriptor)),
    ))
}

/// Disconnects the clients of the socket made at `path`. The server keeps their connections to itself, but they are
/// among the files of the process.
pub fn disconnect(path: &Path) {
    let files = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten();
    let numbers = files.filter_map(|file| file.file_name().to_str()?.parse().ok());
    for fd in numbers {
        // The listener is none: it has no peer.
        let is_client = getsockname::<UnixAddr>(fd).is_ok_and(|own| own.path() == Some(path))
            && getpeername::<UnixAddr>(fd).is_ok();
        if is_client {
            // One that is gone by itself is no error.
            let _ = shutdown(fd, Shutdown::Both);
        }
    }
}

/// Serves one client until it disconnects.
///
/// # Errors
///
/// The client breaks the vfio-user protocol, or the connection fails. That the client goes away, however it does, is
/// no error.
pub fn serve(server: &Server, backend: &mut dyn ServerBackend) -> Result<()> {
    // The crate trusts the client in places, and panics if it should not have.
    match catch_unwind(AssertUnwindSafe(|| server.run(backend))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if is_disconnect(&error) => {
            tracing::info!("the client is gone: {error}");
            Ok(())
        }
        Ok(Err(error)) => Err(error).context("the vfio-user connection failed"),
        Err(_) => bail!("the vfio-user client does not follow the protocol"),
    }
}

fn is_disconnect(error: &vfio_user::Error) -> bool {
    let kind = match error {
        vfio_user::Error::StreamRead(error) | vfio_user::Error::StreamWrite(error) => error.kind(),
        vfio_user::Error::ReceiveWithFd(errno) | vfio_user::Error::SendWithFd(errno) => {
            io::Error::from_raw_os_error(errno.errno()).kind()
        }
        _ => return false,
    };
    matches!(
        kind,
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::UnexpectedEof
    )
}

fn irqs(vectors: u16) -> Vec<IrqInfo> {
    (0..VFIO_PCI_NUM_IRQS)
        .map(|index| {
            let msix = index == VFIO_PCI_MSIX_IRQ_INDEX;
            IrqInfo {
                index,
                flags: if msix {
                    VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE
                } else {
                    0
                },
                count: if msix { vectors.into() } else { 0 },
            }
        })
        .collect()
}

fn region_size(index: u32) -> usize {
    match index {
        VFIO_PCI_BAR0_REGION_INDEX | VFIO_PCI_BAR2_REGION_INDEX | VFIO_PCI_BAR4_REGION_INDEX => {
            BAR_SIZE
        }
        VFIO_PCI_CONFIG_REGION_INDEX => CONFIG_SIZE,
        _ => 0,
    }
}

/// Describes the regions; the client may map BAR2 if there is a descriptor for it.
fn regions(doorbells: Option<RawFd>) -> Vec<ServerRegion> {
    (0..VFIO_PCI_NUM_REGIONS)
        .map(|index| {
            let size = region_size(index) as u64;
            let mut flags = if size > 0 {
                VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE
            } else {
                0
            };
            let mmap_fd = doorbells.filter(|_| index == VFIO_PCI_BAR2_REGION_INDEX);
            let mut sparse_areas = Vec::new();
            if mmap_fd.is_some() {
                flags |= VFIO_REGION_INFO_FLAG_MMAP;
                let area = vfio_region_sparse_mmap_area { offset: 0, size };
                sparse_areas.push(SparseArea { area });
            }
            ServerRegion {
                region_info: vfio_region_info {
                    argsz: size_of::<vfio_region_info>() as u32,
                    flags,
                    index,
                    size,
                    ..Default::default()
                },
                sparse_areas,
                mmap_fd,
            }
        })
        .collect()
}

/// The client's requests, carried out on one function.
pub struct Backend {
    device: Arc<Device>,
    function: Arc<Function>,
    connected: Option<Box<dyn FnOnce() + Send>>,
}

impl Backend {
    /// Serves `function` of `device`; `connected` is called when the client first looks at it.
    pub fn new(
        device: Arc<Device>,
        function: Arc<Function>,
        connected: impl FnOnce() + Send + 'static,
    ) -> Self {
        Backend {
            device,
            function,
            connected: Some(Box::new(connected)),
        }
    }

    fn seen(&mut self) {
        if let Some(connected) = self.connected.take() {
            connected();
        }
    }
}

/// Checks an access and returns its offset.
fn checked(region: u32, offset: u64, len: usize) -> io::Result<usize> {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    match offset.checked_add(len) {
        Some(end) if end <= region_size(region) => Ok(offset),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("access of {len} bytes at {offset:#x} is outside of region {region}"),
        )),
    }
}

impl ServerBackend for Backend {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.seen();
        let offset = checked(region, offset, data.len())?;
        match region {
            VFIO_PCI_BAR0_REGION_INDEX => self.function.register_read(offset, data),
            VFIO_PCI_BAR4_REGION_INDEX => self.function.msix_read(offset, data),
            VFIO_PCI_CONFIG_REGION_INDEX => self.function.config_read(offset, data),
            VFIO_PCI_BAR2_REGION_INDEX => self.function.doorbell_read(data),
            _ => data.fill(0),
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        self.seen();
        let offset = checked(region, offset, data.len())?;
        match region {
            VFIO_PCI_BAR0_REGION_INDEX => self.function.register_write(offset, data),
            VFIO_PCI_BAR2_REGION_INDEX => self.function.doorbell_write(offset, data),
            VFIO_PCI_BAR4_REGION_INDEX => self.function.msix_write(offset, data),
            VFIO_PCI_CONFIG_REGION_INDEX => self.function.config_write(offset, data),
            _ => {}
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        fd: Option<File>,
    ) -> io::Result<()> {
        let (readable, writable) = (
            flags.contains(DmaMapFlags::READ),
            flags.contains(DmaMapFlags::WRITE),
        );
        tracing::debug!(
            "map {address:#x} + {size:#x} read {readable} write {writable} file {}",
            fd.is_some()
        );
        self.function
            .memory
            .map(
                address,
                size,
                readable,
                writable,
                fd.map(|file| (file, offset)),
            )
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        tracing::debug!("unmap {address:#x} + {size:#x}");
        if flags.contains(DmaUnmapFlags::UNMAP_ALL) {
            self.function.memory.unmap_all();
            return Ok(());
        }
        // A range without mappings is none of the client's faults: the kernel's VFIO takes it, too.
        self.function
            .memory
            .unmap(address, size)
            .map(|_| ())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    fn reset(&mut self) -> io::Result<()> {
        tracing::info!(function = self.function.id().0, "reset by the client");
        self.device.reset(&self.function)
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        fds: Vec<File>,
    ) -> io::Result<()> {
        tracing::debug!(
            "set_irqs index {index} flags {flags:#x} start {start} count {count} fds {}",
            fds.len()
        );
        if index != VFIO_PCI_MSIX_IRQ_INDEX
            || flags & VFIO_IRQ_SET_ACTION_TYPE_MASK != VFIO_IRQ_SET_ACTION_TRIGGER
        {
            return Ok(());
        }
        if count == 0 {
            self.function.interrupts.clear();
            return Ok(());
        }
        let end = start
            .checked_add(count)
            .filter(|&end| end <= self.function.config().vectors.into());
        let end = end.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "no such interrupt vector")
        })?;
        let mut fds = fds.into_iter();
        for vector in start..end {
            let event = if flags & VFIO_IRQ_SET_DATA_EVENTFD != 0 {
                fds.next()
            } else {
                None
            };
            if self.function.interrupts.set(vector as usize, event) {
                self.function.counters().interrupts.inc();
            }
        }
        Ok(())
    }
}
