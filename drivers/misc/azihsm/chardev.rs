// SPDX-License-Identifier: GPL-2.0

//! The character device `/dev/azihsm<N>`: open, ioctl, close.
//!
//! Each ioctl copies its structure from the caller once, acts on the copy and writes the whole
//! copy back, whatever happened. The checks common to all come first: a file may be used only by
//! the process that opened it.

use kernel::{
    prelude::*,
    sync::Arc,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

use crate::{
    controller::Controller,
    devinfo,
    files::FileSession,
    kapi::{
        chrdev,
        plug,
        task::ProcessId,
        uaccess, //
    },
    lifecycle::State,
    recovery::ResetError,
    request::aes::{
        Ioctl,
        Mode, //
    },
    uapi::{
        self,
        uring::UringResult,
        Aes,
        CpCmd,
        Ext,
        Hdr,
        Query,
        Refusal,
        Reset,
        ResetStatus, //
    },
    uring, //
};

/// The class of the device nodes, and their names.
pub(crate) static NODES: chrdev::Class = chrdev::Class::new(c"azihsm-hsm", c"azihsm", 1040);

/// The character device of a function.
pub(crate) struct Node;

/// An open file.
pub(crate) struct File {
    /// The process that opened the file; nobody else may use it.
    owner: ProcessId,
    session: Arc<FileSession>,
}

#[vtable]
impl chrdev::CharDevice for Node {
    type Data<'a> = Controller<'a>;
    type File = File;

    fn open(controller: &Controller<'_>) -> Result<Pin<KBox<File>>> {
        let owner = ProcessId::current()?;
        let file = KBox::new_uninit(GFP_KERNEL)?;
        let session = controller.open_file()?;
        Ok(KBox::write(file, File { owner, session }).into())
    }

    fn ioctl(
        controller: Option<&Controller<'_>>,
        file: Pin<&File>,
        cmd: u32,
        arg: usize,
    ) -> Result<isize> {
        if !file.owner.is_current() {
            return Err(EACCES);
        }
        let file = file.get_ref();
        let user = UserPtr::from_addr(arg);
        match cmd {
            uapi::IOC_CP_CMD => control(controller, file, user),
            uapi::IOC_DEV_INFO => dev_info(controller, user),
            uapi::IOC_RESET => reset(controller, user),
            uapi::IOC_AES_XTS => aes(controller, file, Mode::Xts, user),
            uapi::IOC_AES_GCM => aes(controller, file, Mode::Gcm, user),
            _ if uapi::is_query(cmd) => query(controller, user),
            _ => Err(ENOTTY),
        }
        .map(|()| 0)
    }

    fn uring_cmd(
        controller: Option<&Controller<'_>>,
        file: Pin<&File>,
        issue: uring::Issue<'_>,
    ) -> uring::Issued {
        if !file.owner.is_current() {
            return uring::refuse(issue, Refusal::new(EACCES, Ext::OK));
        }
        uring::issue(controller, &file.get_ref().session, issue)
    }

    fn uring_cmd_iopoll(controller: Option<&Controller<'_>>, _file: Pin<&File>) -> usize {
        controller.map_or(0, Controller::poll_rings)
    }

    fn uring_unplug(controller: Option<&Controller<'_>>, file: Pin<&File>, marks: &plug::Marks) {
        file.get_ref().session.run.end();
        if let Some(controller) = controller {
            controller.flush_rings(marks);
        }
    }

    fn release(controller: Option<&Controller<'_>>, file: Pin<KBox<File>>) {
        if let Some(controller) = controller {
            controller.close_file(&file.session);
        }
    }
}

/// Copies a command structure from the caller.
///
/// The header, whose size decides how much there is, counts as it was when it was looked at.
///
/// # Errors
///
/// [`EFAULT`], and [`EINVAL`] if the header says that the structure is too small.
fn read<T: kernel::transmute::FromBytes + AsMut<Hdr>>(user: UserPtr) -> Result<T> {
    let header: Hdr = UserSlice::new(user, size_of::<Hdr>()).reader().read()?;
    // CAST: The structures are small.
    if header.size < size_of::<T>() as u32 {
        return Err(EINVAL);
    }
    let mut value: T = UserSlice::new(user, size_of::<T>()).reader().read()?;
    *value.as_mut() = header;
    Ok(value)
}

/// Copies a command structure back to the caller.
fn write<T: kernel::transmute::AsBytes>(user: UserPtr, value: &T) -> Result {
    UserSlice::new(user, size_of::<T>()).writer().write(value)
}

/// Returns the controller unless the function is gone.
fn present<'a, 'b>(controller: Option<&'a Controller<'b>>) -> Result<&'a Controller<'b>, Refusal> {
    controller.ok_or(Refusal::new(ENODEV, Ext::NOT_READY))
}

fn control(controller: Option<&Controller<'_>>, file: &File, user: UserPtr) -> Result {
    let mut cmd: CpCmd = read(user)?;
    cmd.clear_output();
    let result = present(controller).and_then(|c| c.control_command(&file.session, &mut cmd));
    if let Err(refusal) = &result {
        cmd.refuse(refusal);
    }
    let written = write(user, &cmd);
    let result = result.map(|answered| answered.end(written.is_ok()));
    written?;
    result.map_err(|refusal| refusal.errno)
}

fn aes(controller: Option<&Controller<'_>>, file: &File, mode: Mode, user: UserPtr) -> Result {
    let mut cmd: Aes = read(user)?;
    cmd.clear_output();
    let mut answer = UringResult::default();
    let result = present(controller).and_then(|c| {
        let asked = Ioctl { mode, cmd: &cmd };
        c.aes_command(&file.session, &asked, &mut answer)
    });
    match &result {
        Ok(()) => cmd.answer(&answer),
        Err(refusal) => cmd.refuse(refusal),
    }
    write(user, &cmd)?;
    result.map_err(|refusal| refusal.errno)
}

fn dev_info(controller: Option<&Controller<'_>>, user: UserPtr) -> Result {
    let controller = present(controller)
        .and_then(|c| c.refusal().map(|()| c))
        .map_err(|refusal| refusal.errno)?;
    let mut info = devinfo::read(user)?;
    devinfo::fill(&mut info, controller)?;
    devinfo::write(user, info)
}

fn query(controller: Option<&Controller<'_>>, user: UserPtr) -> Result {
    let controller = controller.ok_or(ENODEV)?;
    let size: u32 = UserSlice::new(user, size_of::<u32>()).reader().read()?;
    if size < Query::SIZE_VER0 {
        return Err(EINVAL);
    }
    if size > Query::SIZE_MAX {
        return Err(E2BIG);
    }
    // CAST: At most a page.
    let len = size as usize;
    let asked: Query = uaccess::read_struct(user, len)?;
    if asked.flags != 0 {
        return Err(EINVAL);
    }
    uaccess::write_struct(user, len, controller.query()?)
}

fn reset(controller: Option<&Controller<'_>>, user: UserPtr) -> Result {
    let mut cmd: Reset = read(user)?;
    let (status, result) = run_reset(controller, &cmd);
    // CAST: The enum is `repr(u32)`.
    cmd.abort_sts = status as u32;
    write(user, &cmd)?;
    result
}

fn run_reset(controller: Option<&Controller<'_>>, cmd: &Reset) -> (ResetStatus, Result) {
    let Some(controller) = controller else {
        return (ResetStatus::BadState, Err(ENODEV));
    };
    let refused = |state| match state {
        State::Dead => (ResetStatus::BadState, Err(EIO)),
        State::Removed => (ResetStatus::BadState, Err(ENODEV)),
        _ => (ResetStatus::InProgress, Err(EINVAL)),
    };
    let state = controller.life.get();
    if matches!(state, State::Dead | State::Removed) {
        return refused(state);
    }
    let Some(kind) = cmd.kind() else {
        return (ResetStatus::BadType, Err(EINVAL));
    };
    if !controller.may_reset() {
        return (ResetStatus::NotSupported, Err(EOPNOTSUPP));
    }
    match controller.reset_and_wait(kind) {
        Ok(()) => (ResetStatus::Done, Ok(())),
        Err(ResetError::State(state)) => refused(state),
        Err(ResetError::Failed) => (ResetStatus::Failed, Err(EIO)),
        Err(ResetError::Errno(e)) => (ResetStatus::Failed, Err(e)),
    }
}
