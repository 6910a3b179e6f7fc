// SPDX-License-Identifier: GPL-2.0

//! The character device `/dev/azihsm-mgmt<N>` of a physical function: resources of its virtual
//! functions.
//!
//! The node exists as long as the driver is bound to the physical function, whether it has virtual
//! functions at the moment or not. Any process may use an open file, and none of the HSM node's
//! ioctls is accepted here.

use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

use crate::{
    controller::Controller,
    devinfo,
    kapi::chrdev,
    uapi::mgmt::{
        self,
        ResCnt,
        Status,
        VfCount, //
    }, //
};

/// The class of the management nodes, and their names.
pub(crate) static NODES: chrdev::Class = chrdev::Class::new(c"azihsm-mgmt", c"azihsm-mgmt", 1040);

/// The management node of a physical function.
pub(crate) struct Node;

#[vtable]
impl chrdev::CharDevice for Node {
    type Data<'a> = Controller<'a>;
    type File = ();

    fn open(_controller: &Controller<'_>) -> Result<Pin<KBox<()>>> {
        Ok(KBox::pin((), GFP_KERNEL)?)
    }

    fn ioctl(
        controller: Option<&Controller<'_>>,
        _file: Pin<&()>,
        cmd: u32,
        arg: usize,
    ) -> Result<isize> {
        let user = UserPtr::from_addr(arg);
        match cmd {
            mgmt::IOC_SET_RES_CNT => resources(controller, user, set),
            mgmt::IOC_GET_RES_CNT => resources(controller, user, get),
            mgmt::IOC_VF_COUNT => vf_count(controller, user),
            mgmt::IOC_DEV_INFO => dev_info(controller, user),
            _ => Err(ENOTTY),
        }
        .map(|()| 0)
    }

    fn release(_controller: Option<&Controller<'_>>, _file: Pin<KBox<()>>) {}
}

/// Why an ioctl failed: what it returns, and what it writes back.
type Failure = (Status, Error);

/// Answers an ioctl about the resources of a virtual function.
fn resources(
    controller: Option<&Controller<'_>>,
    user: UserPtr,
    run: impl Fn(&Controller<'_>, &mut ResCnt) -> Result<(), Failure>,
) -> Result {
    let mut cmd: ResCnt = UserSlice::new(user, size_of::<ResCnt>()).reader().read()?;
    // CAST: The structure is small.
    if cmd.argsz < size_of::<ResCnt>() as u32 {
        return Err(EINVAL);
    }
    let result = match controller {
        Some(controller) => run(controller, &mut cmd),
        None => Err((Status::NoVfs, ENODEV)),
    };
    let (status, result) = match result {
        Ok(()) => (Status::Ok, Ok(())),
        Err((status, errno)) => (status, Err(errno)),
    };
    // CAST: The enum is `repr(u32)`.
    cmd.status = status as u32;
    UserSlice::new(user, size_of::<ResCnt>())
        .writer()
        .write(&cmd)?;
    result
}

/// Checks that there is a virtual function number `index`.
fn check_index(controller: &Controller<'_>, index: u16) -> Result<(), Failure> {
    match controller.vf_count() {
        0 => Err((Status::NoVfs, EINVAL)),
        count if index >= count => Err((Status::VfIndex, EINVAL)),
        _ => Ok(()),
    }
}

/// Checks that the controller takes commands.
fn taken(controller: &Controller<'_>, status: Status) -> Result<(), Failure> {
    controller
        .refusal()
        .map_err(|refusal| (status, refusal.errno))
}

fn set(controller: &Controller<'_>, cmd: &mut ResCnt) -> Result<(), Failure> {
    check_index(controller, cmd.vf_idx)?;
    taken(controller, Status::SetFailed)?;
    controller
        .set_vf_resources(cmd.vf_idx, cmd.res_cnt)
        .map_err(|e| (Status::SetFailed, errno(e)))
}

fn get(controller: &Controller<'_>, cmd: &mut ResCnt) -> Result<(), Failure> {
    cmd.res_cnt = 0;
    check_index(controller, cmd.vf_idx)?;
    taken(controller, Status::GetFailed)?;
    cmd.res_cnt = controller
        .vf_resources(cmd.vf_idx)
        .map_err(|e| (Status::GetFailed, errno(e)))?;
    Ok(())
}

/// Returns what the caller gets for the error `e` of an admin command.
fn errno(e: Error) -> Error {
    match e {
        // The controller takes no commands now or any more, or the caller was killed.
        EAGAIN | EINTR | ENODEV => e,
        ETIMEDOUT => EAGAIN,
        // The device refused.
        _ => EFAULT,
    }
}

fn vf_count(controller: Option<&Controller<'_>>, user: UserPtr) -> Result {
    let mut bytes = [0; size_of::<VfCount>()];
    let (transferred, _) = bytes.split_at_mut(VfCount::LEN);
    UserSlice::new(user, VfCount::LEN)
        .reader()
        .read_slice(transferred)?;
    let mut cmd: VfCount = zerocopy::transmute!(bytes);
    // CAST: The structure is small.
    if cmd.argsz < size_of::<VfCount>() as u32 {
        return Err(EINVAL);
    }
    cmd.vf_count = controller.ok_or(ENODEV)?.vf_count();
    let bytes: [u8; size_of::<VfCount>()] = zerocopy::transmute!(cmd);
    let (transferred, _) = bytes.split_at(VfCount::LEN);
    UserSlice::new(user, VfCount::LEN)
        .writer()
        .write_slice(transferred)
}

/// Answers with what is known, whatever state the controller is in.
fn dev_info(controller: Option<&Controller<'_>>, user: UserPtr) -> Result {
    let mut info = devinfo::read(user)?;
    devinfo::fill(&mut info, controller.ok_or(ENODEV)?)?;
    devinfo::write(user, info)
}

#[kunit_tests(azihsm_mgmt)]
mod tests {
    use super::*;

    #[test]
    fn admin_errors_become_those_of_the_interface() {
        for (admin, caller) in [
            (EAGAIN, EAGAIN),
            (ETIMEDOUT, EAGAIN),
            (EINTR, EINTR),
            (ENODEV, ENODEV),
            (EINVAL, EFAULT),
            (EOPNOTSUPP, EFAULT),
            (EIO, EFAULT),
        ] {
            assert!(errno(admin) == caller);
        }
    }
}
