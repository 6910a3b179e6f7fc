// SPDX-License-Identifier: GPL-2.0-or-later

//! An open node of the driver: the only place where ioctls are issued.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use azihsm_ddi::SessionKind;
use nix::errno::Errno;

use crate::hsm::{Aes, AesDone, Cipher, Direction, Error, Hsm, Info, Limits, Queues, RESPONSE_MAX};
use crate::uapi;

/// Safe only by their callers in this file, who give a structure of the right type whose addresses are valid.
mod ioctl {
    use crate::uapi;

    nix::ioctl_readwrite_bad!(cp_cmd, uapi::NR_AZIHSM_IOC_CP_CMD, uapi::azihsm_cp_cmd);
    nix::ioctl_readwrite_bad!(
        dev_info,
        uapi::NR_AZIHSM_IOC_DEV_INFO,
        uapi::azihsm_dev_info
    );
    nix::ioctl_readwrite_bad!(reset, uapi::NR_AZIHSM_IOC_RESET, uapi::azihsm_reset);
    nix::ioctl_readwrite_bad!(aes_xts, uapi::NR_AZIHSM_IOC_AES_XTS, uapi::azihsm_aes);
    nix::ioctl_none!(unknown, b'B', 0xff);
    nix::ioctl_readwrite_bad!(aes_gcm, uapi::NR_AZIHSM_IOC_AES_GCM, uapi::azihsm_aes);
    nix::ioctl_readwrite_bad!(query, uapi::NR_AZIHSM_IOC_QUERY, uapi::azihsm_query);
}

/// An open node. A session opened through it ends with it at the latest.
#[derive(Debug)]
pub struct Device {
    file: File,
    path: PathBuf,
}

impl Device {
    /// Opens the node at `path`.
    ///
    /// # Errors
    ///
    /// The error of open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
        })
    }

    /// Issues an ioctl that no driver knows: what is left is the way to the driver and back.
    ///
    /// # Errors
    ///
    /// [`Errno::ENOTTY`] is what is expected, and no error; any other is.
    pub fn unknown_ioctl(&self) -> Result<(), Error> {
        // SAFETY: the number is not one of the driver's, and the argument no address.
        match unsafe { ioctl::unknown(self.file.as_raw_fd()) } {
            Ok(_) => Err(Error::Impossible("success for an unknown ioctl")),
            Err(Errno::ENOTTY) => Ok(()),
            Err(errno) => Err(Error::Ioctl {
                what: "unknown ioctl",
                errno,
                extended: 0,
            }),
        }
    }

    /// Returns the path the node was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsRawFd for Device {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Hsm for Device {
    fn info(&self) -> Result<Info, Error> {
        let mut arg = uapi::azihsm_dev_info {
            argsz: size_u32::<uapi::azihsm_dev_info>(),
            ..Default::default()
        };
        // SAFETY: the ioctl reads and writes one `azihsm_dev_info`, which `arg` is, and holds no address.
        unsafe { ioctl::dev_info(self.file.as_raw_fd(), &mut arg) }.map_err(|errno| {
            Error::Ioctl {
                what: "device information",
                errno,
                extended: 0,
            }
        })?;
        Ok(Info {
            controller_id: arg.ctrl_id,
            pci_address: text(&arg.pci_info),
            serial_number: text(&arg.serial_num),
            firmware_revision: text(&arg.firmware_rev),
            driver_version: text(&arg.driver_rev),
        })
    }

    fn query(&self) -> Result<Option<Limits>, Error> {
        let mut arg = uapi::azihsm_query {
            size: size_u32::<uapi::azihsm_query>(),
            ..Default::default()
        };
        // SAFETY: the ioctl reads and writes one `azihsm_query`, which `arg` is, and holds no address.
        match unsafe { ioctl::query(self.file.as_raw_fd(), &mut arg) } {
            Ok(_) => Ok(Some(limits(&arg))),
            Err(Errno::ENOTTY) => Ok(None),
            Err(errno) => Err(Error::Ioctl {
                what: "query",
                errno,
                extended: 0,
            }),
        }
    }

    fn control(
        &self,
        kind: SessionKind,
        session_id: Option<u16>,
        request: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let mut response = vec![0; RESPONSE_MAX];
        let mut arg = uapi::azihsm_cp_cmd {
            hdr: header::<uapi::azihsm_cp_cmd>(),
            src_len: len_u32(request.len())?,
            src: request.as_ptr().expose_provenance() as u64,
            dst_len: len_u32(response.len())?,
            dst: response.as_mut_ptr().expose_provenance() as u64,
            session_flags: kind as u8,
            ..Default::default()
        };
        if let Some(id) = session_id {
            arg.session_flags |= uapi::AZIHSM_SESSION_ID_VALID as u8;
            arg.session_id = id;
        }
        // SAFETY: the ioctl reads and writes one `azihsm_cp_cmd`, which `arg` is. It reads `src_len` bytes at `src`
        // and writes at most `dst_len` bytes at `dst`; these are the extents of `request` and `response`, which
        // outlive the call, and `response` is borrowed by nobody else.
        unsafe { ioctl::cp_cmd(self.file.as_raw_fd(), &mut arg) }.map_err(|errno| {
            Error::Ioctl {
                what: "control command",
                errno,
                extended: arg.extended_status,
            }
        })?;
        if arg.status != 0 {
            return Err(Error::Control(arg.status));
        }
        let count = arg.byte_count as usize;
        if count > response.len() {
            return Err(Error::Impossible("more bytes than the response buffer has"));
        }
        response.truncate(count);
        Ok(response)
    }

    fn aes(&self, command: &Aes, src: &[u8], dst: &mut [u8]) -> Result<AesDone, Error> {
        let mut arg = aes_arg(command)?;
        arg.src = src.as_ptr().expose_provenance() as u64;
        arg.src_len = len_u32(src.len())?;
        arg.dst = dst.as_mut_ptr().expose_provenance() as u64;
        arg.dst_len = len_u32(dst.len())?;

        let fd = self.file.as_raw_fd();
        let done = match command.cipher {
            // SAFETY: the ioctl reads and writes one `azihsm_aes`, which `arg` is. It reads `src_len` bytes at `src`
            // and writes at most `dst_len` bytes at `dst`; these are the extents of `src` and `dst`, which outlive
            // the call, and `dst` is borrowed by nobody else.
            Cipher::Gcm { .. } => unsafe { ioctl::aes_gcm(fd, &mut arg) },
            // SAFETY: as above.
            Cipher::Xts { .. } => unsafe { ioctl::aes_xts(fd, &mut arg) },
        };
        done.map_err(|errno| Error::Ioctl {
            what: "AES command",
            errno,
            extended: arg.extended_status,
        })?;
        if arg.result != 0 || arg.extended_status != 0 {
            return Err(Error::Aes {
                status: arg.result,
                code: arg.extended_status,
            });
        }
        let bytes = arg.byte_count as usize;
        if bytes > dst.len() {
            return Err(Error::Impossible("more bytes than the destination has"));
        }
        Ok(AesDone {
            bytes,
            tag: arg.tag,
            iv: arg.iv,
            fips_approved: arg.fips_approved != 0,
        })
    }

    fn reset(&self) -> Result<(), Error> {
        let mut arg = uapi::azihsm_reset {
            hdr: header::<uapi::azihsm_reset>(),
            ctxt: 0,
            abort_type: uapi::AZIHSM_RESET_NSSR,
            rsvd0: [0; 80],
            abort_sts: 0,
            rsvd1: [0; 160],
        };
        // SAFETY: the ioctl reads and writes one `azihsm_reset`, which `arg` is, and holds no address.
        let done = unsafe { ioctl::reset(self.file.as_raw_fd(), &mut arg) };
        match (done, arg.abort_sts) {
            (Ok(_), uapi::AZIHSM_RESET_OK) => Ok(()),
            (Err(errno), uapi::AZIHSM_RESET_OK) => Err(Error::Ioctl {
                what: "reset",
                errno,
                extended: 0,
            }),
            (_, status) => Err(Error::Reset(status)),
        }
    }
}

/// Converts the answer to a query.
fn limits(arg: &uapi::azihsm_query) -> Limits {
    let features = [
        (uapi::AZIHSM_FEATURE_GCM_WORKAROUND, "gcm-workaround"),
        (uapi::AZIHSM_FEATURE_LIVE_MIGRATION, "live-migration"),
        (uapi::AZIHSM_FEATURE_SVN, "svn"),
        (uapi::AZIHSM_FEATURE_URING, "io_uring"),
    ];
    let has = |feature| arg.features & feature != 0;
    let known = |value| (value != 0).then_some(value);
    let version = arg.interface_version;
    Limits {
        state: match arg.state {
            uapi::AZIHSM_STATE_READY => "ready",
            uapi::AZIHSM_STATE_RECOVERING => "recovering",
            uapi::AZIHSM_STATE_DEAD => "dead",
            _ => "unknown",
        },
        features: features
            .iter()
            .filter(|(bit, _)| has(*bit))
            .map(|(_, name)| *name)
            .collect(),
        interface_version: format!(
            "{}.{}.{}",
            version >> 16,
            (version >> 8) & 0xff,
            version & 0xff
        ),
        svn: has(uapi::AZIHSM_FEATURE_SVN).then_some(arg.svn),
        resources: arg.resources,
        sessions: arg.sessions,
        control_max_request: arg.cp_max_request,
        control_max_response: arg.cp_max_response,
        gcm_max_bytes: known(arg.gcm_max_len),
        xts_max_bytes: known(arg.xts_max_len),
        bounce_limit: arg.bounce_limit,
        vectors: arg.vectors,
        control_queues: Queues {
            count: arg.cp_queues,
            polled: arg.cp_queues_polled,
            entries: arg.cp_ring_entries,
        },
        fast_path_queues: Queues {
            count: arg.fp_queues,
            polled: arg.fp_queues_polled,
            entries: arg.fp_ring_entries,
        },
        command_timeout_ms: arg.command_timeout_ms,
        recovery_bound_ms: known(arg.recovery_bound_ms),
    }
}

/// Builds the argument of an AES ioctl, without the addresses.
fn aes_arg(command: &Aes) -> Result<uapi::azihsm_aes, Error> {
    let (cipher, parameters) = match command.cipher {
        Cipher::Gcm {
            key,
            iv,
            tag,
            aad_len,
            padded_aad_len,
        } => (
            uapi::AZIHSM_AES_GCM,
            uapi::azihsm_aes__bindgen_ty_1 {
                gcm: uapi::azihsm_gcm_params {
                    key_id: key,
                    tag,
                    iv,
                    aad_len,
                    padded_aad_len,
                    workaround: 1,
                    rsvd: [0; 3],
                },
            },
        ),
        Cipher::Xts {
            data_key,
            tweak_key,
            unit,
        } => {
            let mut tweak = [0; 16];
            tweak[..8].copy_from_slice(&unit.to_le_bytes());
            let xts = uapi::azihsm_xts_params {
                data_unit: u16::try_from(uapi::AZIHSM_XTS_UNIT_4096)
                    .map_err(|_| Error::Impossible("a data unit code of more than 16 bits"))?,
                rsvd0: 0,
                key_id1: data_key,
                key_id2: tweak_key,
                tweak,
                rsvd1: [0; 16],
            };
            (uapi::AZIHSM_AES_XTS, uapi::azihsm_aes__bindgen_ty_1 { xts })
        }
    };
    let op = match command.direction {
        Direction::Encrypt => uapi::AZIHSM_AES_ENCRYPT,
        Direction::Decrypt => uapi::AZIHSM_AES_DECRYPT,
    };
    Ok(uapi::azihsm_aes {
        hdr: header::<uapi::azihsm_aes>(),
        op: op as u8,
        cipher: cipher as u8,
        frame_type: uapi::AZIHSM_FRAME_AES as u8,
        session_id: command.session_id,
        short_app_id: command.short_app_id,
        __bindgen_anon_1: parameters,
        ..Default::default()
    })
}

/// Size of a structure as the header wants it.
const fn size_u32<T>() -> u32 {
    size_of::<T>() as u32
}

/// Header of the argument structure `T`.
fn header<T>() -> uapi::azihsm_hdr {
    uapi::azihsm_hdr {
        size: size_u32::<T>(),
        ..Default::default()
    }
}

/// Length of a buffer as an ioctl wants it.
fn len_u32(len: usize) -> Result<u32, Error> {
    u32::try_from(len).map_err(|_| Error::Ioctl {
        what: "buffer of more than 4 GiB",
        errno: Errno::EINVAL,
        extended: 0,
    })
}

/// Text of a NUL-padded field.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0);
    String::from_utf8_lossy(&field[..end.unwrap_or(field.len())])
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_end_at_nul() {
        assert_eq!(text(b"1.2.3\0rest"), "1.2.3");
        assert_eq!(text(b"full"), "full");
        assert_eq!(text(b"padded   \0"), "padded");
        assert_eq!(text(b"\0\0"), "");
    }

    #[test]
    fn gcm_argument() {
        let arg = aes_arg(&Aes {
            direction: Direction::Decrypt,
            session_id: 3,
            short_app_id: 7,
            cipher: Cipher::Gcm {
                key: 9,
                iv: [1; 12],
                tag: [2; 16],
                aad_len: 20,
                padded_aad_len: 32,
            },
        })
        .unwrap();
        assert_eq!((arg.hdr.size, arg.op, arg.cipher), (400, 1, 0));
        assert_eq!(
            (arg.frame_type, arg.session_id, arg.short_app_id),
            (1, 3, 7)
        );
        // SAFETY: `aes_arg` initialised this member of the union.
        let gcm = unsafe { arg.__bindgen_anon_1.gcm };
        assert_eq!((gcm.key_id, gcm.iv, gcm.tag), (9, [1; 12], [2; 16]));
        assert_eq!(
            (gcm.aad_len, gcm.padded_aad_len, gcm.workaround),
            (20, 32, 1)
        );
    }

    #[test]
    fn xts_argument() {
        let arg = aes_arg(&Aes {
            direction: Direction::Encrypt,
            session_id: 0,
            short_app_id: 0,
            cipher: Cipher::Xts {
                data_key: 4,
                tweak_key: 5,
                unit: 0x0102,
            },
        })
        .unwrap();
        assert_eq!((arg.op, arg.cipher), (0, 1));
        // SAFETY: `aes_arg` initialised this member of the union.
        let xts = unsafe { arg.__bindgen_anon_1.xts };
        assert_eq!((xts.data_unit, xts.key_id1, xts.key_id2), (2, 4, 5));
        assert_eq!(xts.tweak[..3], [2, 1, 0]);
    }

    #[test]
    fn wrong_node_is_not_an_hsm() {
        let device = Device::open(Path::new("/dev/null")).unwrap();
        let error = device.info().unwrap_err();
        assert!(
            matches!(
                error,
                Error::Ioctl {
                    errno: Errno::ENOTTY,
                    ..
                }
            ),
            "{error}"
        );
        assert!(device.reset().is_err());
        assert!(device.control(SessionKind::None, None, &[0]).is_err());
    }
}
