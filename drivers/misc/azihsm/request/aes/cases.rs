// SPDX-License-Identifier: GPL-2.0

//! Fast-path AES commands that are valid, and what is wrong with those that are not.

use kernel::prelude::*;

#[kunit_tests(azihsm_request_aes)]
mod tests {
    use super::super::{
        Context as Known,
        Data,
        Ioctl,
        Mode,
        Request, //
    };
    use kernel::prelude::*;
    use zerocopy::transmute;

    use crate::{
        session::Session,
        uapi::{
            Aes,
            Refusal, //
        },
        wire::{
            aes::{
                Cipher,
                Expectation,
                Op,
                Tail,
                Transfer, //
            },
            identify::Capabilities,
            sgl::Descriptor,
            KeyId,
            SessionId,
            ShortAppId, //
        },
    };

    /// What the validation of a command depends on besides the command.
    #[derive(Clone, Copy)]
    struct Context {
        mode: Mode,
        session: Option<Session>,
        capabilities: Capabilities,
        has_queues: bool,
    }

    const WORKAROUND: Capabilities = Capabilities {
        gcm_workaround: true,
    };

    fn context(mode: Mode) -> Context {
        Context {
            mode,
            session: Some(Session {
                id: SessionId(2),
                app: Some(ShortAppId(9)),
            }),
            capabilities: WORKAROUND,
            has_queues: true,
        }
    }

    fn base(mode: Mode, src_len: u32) -> Aes {
        let mut cmd: Aes = transmute!([0u8; 400]);
        cmd.cipher = match mode {
            Mode::Gcm => 0,
            Mode::Xts => 1,
        };
        cmd.src = 0x1000;
        cmd.src_len = src_len;
        cmd.dst = 0x2_0000_0000;
        cmd.dst_len = src_len;
        cmd.frame_type = 1;
        cmd.session_id = 2;
        cmd.short_app_id = 9;
        cmd
    }

    fn gcm(src_len: u32, aad_len: u32, padded_aad_len: u32, workaround: bool) -> Aes {
        let mut bytes: [u8; 400] = transmute!(base(Mode::Gcm, src_len));
        bytes[72] = 7;
        bytes[76..92].fill(0x11);
        bytes[92..104].fill(0x22);
        bytes[104..108].copy_from_slice(&aad_len.to_le_bytes());
        bytes[108..112].copy_from_slice(&padded_aad_len.to_le_bytes());
        bytes[112] = u8::from(workaround);
        transmute!(bytes)
    }

    fn xts(src_len: u32, unit: u16) -> Aes {
        let mut bytes: [u8; 400] = transmute!(base(Mode::Xts, src_len));
        bytes[72..74].copy_from_slice(&unit.to_le_bytes());
        bytes[76] = 7;
        bytes[80] = 8;
        bytes[84..100].fill(0x33);
        transmute!(bytes)
    }

    fn all(_: u64, _: u32) -> bool {
        true
    }

    fn ioctl(mode: Mode, cmd: &Aes) -> Ioctl<'_> {
        Ioctl { mode, cmd }
    }

    fn validate<'a>(
        asked: &'a Ioctl<'_>,
        context: &Context,
        access: impl Fn(u64, u32) -> bool,
    ) -> Result<Request<'a>, Refusal> {
        let known = Known {
            session: context.session,
            capabilities: context.capabilities,
        };
        let checked = Request::check(asked, &known, access);
        Request::accepted(&checked, context.has_queues).copied()
    }

    /// Returns the extended status that `cmd` is refused with, 0 if it passes.
    fn ext(cmd: &Aes, context: &Context) -> u32 {
        match validate(&ioctl(context.mode, cmd), context, all) {
            Ok(_) => 0,
            Err(refusal) if refusal.errno == EINVAL => refusal.ext.0,
            Err(_) => u32::MAX,
        }
    }

    /// Returns the extended status for a command of `mode` after `edit`.
    fn edited(mode: Mode, edit: impl FnOnce(&mut Aes, &mut Context)) -> u32 {
        let mut cmd = match mode {
            Mode::Gcm => gcm(64, 0, 0, true),
            Mode::Xts => xts(512, 1),
        };
        let mut context = context(mode);
        edit(&mut cmd, &mut context);
        ext(&cmd, &context)
    }

    #[test]
    fn gcm_request_is_split() -> Result {
        let cmd = gcm(32 + 37, 20, 32, true);
        let asked = ioctl(Mode::Gcm, &cmd);
        let request =
            validate(&asked, &context(Mode::Gcm), all).map_err(|refusal| refusal.errno)?;
        assert_eq!(
            request,
            Request {
                session: SessionId(2),
                app: ShortAppId(9),
                cipher: Cipher::Gcm {
                    key: KeyId(7),
                    iv: &[0x22; 12],
                    tag: &[0x11; 16],
                    aad_len: 20,
                    padded_aad_len: 32,
                },
                data: Data {
                    src: 0x1000,
                    dst: 0x2_0000_0000,
                    src_len: 64,
                    dst_len: 64,
                    tail: 5,
                    op: Op::Encrypt,
                    mode: Mode::Gcm,
                },
            }
        );
        assert_eq!(request.data.expectation(), Expectation { len: 64, tail: 5 });
        Ok(())
    }

    #[test]
    fn tail_needs_firmware_and_caller() {
        let tail = |workaround, capable| {
            let mut context = context(Mode::Gcm);
            context.capabilities.gcm_workaround = capable;
            let cmd = gcm(69, 0, 0, workaround);
            validate(&ioctl(Mode::Gcm, &cmd), &context, all).map(|request| {
                (
                    request.data.src_len,
                    request.data.dst_len,
                    request.data.tail,
                )
            })
        };
        assert_eq!(tail(true, true), Ok((64, 64, 5)));
        assert_eq!(tail(false, true), Ok((69, 69, 0)));
        assert_eq!(tail(true, false), Ok((69, 69, 0)));
    }

    #[test]
    fn everything_may_be_tail() -> Result {
        let cmd = gcm(5, 0, 0, true);
        let asked = ioctl(Mode::Gcm, &cmd);
        let request =
            validate(&asked, &context(Mode::Gcm), all).map_err(|refusal| refusal.errno)?;
        let data = &request.data;
        assert_eq!((data.src_len, data.dst_len, data.tail), (0, 0, 5));
        let command = request.command(Descriptor::NONE, Descriptor::NONE, 0x3000);
        let none = Transfer {
            len: 0,
            sgl: Descriptor::NONE,
        };
        assert_eq!(command.source, none);
        assert_eq!(command.destination, none);
        assert_eq!(
            command.tail,
            Some(Tail {
                len: 5,
                addr: 0x3000
            })
        );
        Ok(())
    }

    #[test]
    fn device_sees_no_more_room_than_it_needs() -> Result {
        let mut cmd = xts(512, 1);
        cmd.dst_len = 100_000;
        let asked = ioctl(Mode::Xts, &cmd);
        let request =
            validate(&asked, &context(Mode::Xts), all).map_err(|refusal| refusal.errno)?;
        assert_eq!(request.data.dst_len, 512);
        let sgl = Descriptor::data(0x4000, 512);
        let command = request.command(sgl, sgl, 0x3000);
        assert_eq!(command.destination, Transfer { len: 512, sgl });
        assert_eq!(command.tail, None);
        Ok(())
    }

    #[test]
    fn gcm_lengths_are_checked() {
        let context = context(Mode::Gcm);
        let plain = Context {
            capabilities: Capabilities::default(),
            ..context
        };
        // The text must not be empty, whatever the padding says.
        assert_eq!(ext(&gcm(20, 20, 32, true), &context), 117);
        assert_eq!(ext(&gcm(64, u32::MAX, 0, true), &context), 117);
        // The padded AAD holds the AAD, has whole granules and lies in the source.
        assert_eq!(ext(&gcm(96, 33, 32, true), &context), 117);
        assert_eq!(ext(&gcm(96, 20, 48, true), &context), 117);
        assert_eq!(ext(&gcm(96, 20, 128, true), &context), 117);
        assert_eq!(ext(&gcm(96, 20, 96, true), &context), 0);
        // Without the work-around only the AAD counts.
        assert_eq!(ext(&gcm(96, 20, 48, true), &plain), 0);
        assert_eq!(ext(&gcm(96, 20, 48, false), &context), 0);
        assert_eq!(ext(&gcm(96, 96, 0, true), &plain), 117);
    }

    #[test]
    fn gcm_destination_is_checked() {
        let room = |mut cmd: Aes, dst_len, context: &Context| {
            cmd.dst_len = dst_len;
            ext(&cmd, context)
        };
        let context = context(Mode::Gcm);
        let plain = Context {
            capabilities: Capabilities::default(),
            ..context
        };
        // The destination has the layout of the source.
        let cmd = gcm(69, 20, 32, true);
        assert_eq!(room(cmd, 69, &context), 0);
        assert_eq!(room(cmd, 68, &context), 117);
        // Without the work-around room for the text is enough.
        assert_eq!(room(cmd, 49, &plain), 0);
        assert_eq!(room(cmd, 48, &plain), 117);
    }

    #[test]
    fn xts_lengths_are_checked() {
        let context = context(Mode::Xts);
        for (src_len, unit, want) in [
            (512, 1, 0),
            (1024, 1, 0),
            (513, 1, 118),
            (511, 1, 118),
            (4096, 2, 0),
            (4096 + 512, 2, 118),
            (8192, 3, 0),
            (4096, 3, 118),
            (48, 0, 0),
            (17, 0, 0),
            (512, 4, 118),
            (512, u16::MAX, 118),
            // One unit of nothing comes before the empty source.
            (0, 0, 118),
            (0, 1, 101),
        ] {
            assert_eq!(ext(&xts(src_len, unit), &context), want);
        }
        let mut short = xts(512, 1);
        short.dst_len = 511;
        assert_eq!(ext(&short, &context), 118);
    }

    // FP-8, FP-9, FP-10, FP-11
    #[test]
    fn session_must_be_that_of_the_file() {
        for mode in [Mode::Gcm, Mode::Xts] {
            let no_app = Some(Session {
                id: SessionId(2),
                app: None,
            });
            assert_eq!(edited(mode, |_, _| ()), 0);
            assert_eq!(edited(mode, |_, context| context.session = None), 109);
            assert_eq!(edited(mode, |_, context| context.session = no_app), 110);
            assert_eq!(edited(mode, |cmd, _| cmd.session_id = 3), 107);
            assert_eq!(edited(mode, |cmd, _| cmd.short_app_id = 8), 108);
        }
    }

    #[test]
    fn bad_fields_are_refused() {
        for mode in [Mode::Gcm, Mode::Xts] {
            assert_eq!(edited(mode, |cmd, _| cmd.op = 1), 0);
            assert_eq!(edited(mode, |cmd, _| cmd.op = 2), 114);
            assert_eq!(edited(mode, |cmd, _| cmd.cipher ^= 1), 112);
            assert_eq!(edited(mode, |cmd, _| cmd.cipher = 2), 112);
            assert_eq!(edited(mode, |cmd, _| cmd.frame_type = 0), 113);
            assert_eq!(edited(mode, |cmd, _| cmd.src = 0), 101);
            assert_eq!(edited(mode, |cmd, _| cmd.dst = 0), 103);
        }
    }

    // FP-20
    #[test]
    fn overlap_is_refused() {
        let with = |dst: u64, dst_len| {
            edited(Mode::Xts, |cmd, _| {
                (cmd.src, cmd.src_len) = (0x10000, 512);
                (cmd.dst, cmd.dst_len) = (dst, dst_len);
            })
        };
        // In place, and next to each other.
        assert_eq!(with(0x10000, 512), 0);
        assert_eq!(with(0x10200, 512), 0);
        assert_eq!(with(0x0fe00, 512), 0);
        assert_eq!(with(0x10001, 512), 103);
        assert_eq!(with(0x101ff, 512), 103);
        assert_eq!(with(0x0ffff, 512), 103);
        assert_eq!(with(0x0fe01, 512), 103);
        // Room that is not written does not count.
        assert_eq!(with(0x0fe00, 4096), 0);
        // The end of the address space.
        assert_eq!(with(u64::MAX - 511, 512), 0);
    }

    #[test]
    fn first_reason_counts() {
        let mut context = Context {
            session: None,
            ..context(Mode::Xts)
        };
        // Everything is wrong; then one thing after the other is not.
        let mut cmd = xts(513, 9);
        cmd.session_id = 77;
        cmd.short_app_id = 77;
        cmd.op = 77;
        cmd.cipher = 77;
        cmd.frame_type = 77;
        (cmd.src, cmd.dst) = (0, 0);
        assert_eq!(ext(&cmd, &context), 109);
        context.session = Some(Session {
            id: SessionId(2),
            app: None,
        });
        assert_eq!(ext(&cmd, &context), 110);
        context.session = Some(Session {
            id: SessionId(2),
            app: Some(ShortAppId(9)),
        });
        assert_eq!(ext(&cmd, &context), 107);
        cmd.session_id = 2;
        assert_eq!(ext(&cmd, &context), 108);
        cmd.short_app_id = 9;
        assert_eq!(ext(&cmd, &context), 114);
        cmd.op = 1;
        assert_eq!(ext(&cmd, &context), 112);
        cmd.cipher = 1;
        assert_eq!(ext(&cmd, &context), 118);
        cmd.params[0] = 0;
        assert_eq!(ext(&cmd, &context), 113);
        cmd.frame_type = 1;
        assert_eq!(ext(&cmd, &context), 101);
        cmd.src = 1;
        assert_eq!(ext(&cmd, &context), 103);
        cmd.dst = 1;
        assert_eq!(ext(&cmd, &context), 0);
    }

    #[test]
    fn bad_ranges_take_precedence() {
        let refused = |edit: fn(&mut Aes), access: fn(u64, u32) -> bool| {
            let mut cmd = xts(512, 1);
            edit(&mut cmd);
            validate(&ioctl(Mode::Xts, &cmd), &context(Mode::Xts), access)
                .err()
                .map(|refusal| refusal.ext.0)
        };
        let frame = |cmd: &mut Aes| cmd.frame_type = 0;
        let no_dst = |cmd: &mut Aes| cmd.dst = 0;
        let unit = |cmd: &mut Aes| cmd.params[0] = 9;
        assert_eq!(refused(|_| (), |addr, _| addr != 0x1000), Some(101));
        assert_eq!(refused(|_| (), |addr, _| addr != 0x2_0000_0000), Some(103));
        assert_eq!(refused(|_| (), |_, _| false), Some(103));
        assert_eq!(refused(frame, |addr, _| addr != 0x1000), Some(101));
        assert_eq!(refused(no_dst, |addr, _| addr != 0x1000), Some(101));
        assert_eq!(refused(frame, |addr, _| addr != 0x2_0000_0000), Some(103));
        // But not over the rows before.
        assert_eq!(refused(unit, |_, _| false), Some(118));
    }

    // FP-7
    #[test]
    fn lack_of_queues_gives_way_to_some() {
        let lacking = |edit: fn(&mut Aes, &mut Context)| {
            edited(Mode::Xts, |cmd, context| {
                context.has_queues = false;
                edit(cmd, context);
            })
        };
        assert_eq!(lacking(|_, _| ()), 111);
        assert_eq!(lacking(|_, context| context.session = None), 109);
        assert_eq!(lacking(|cmd, _| cmd.op = 2), 114);
        assert_eq!(lacking(|cmd, _| cmd.frame_type = 2), 113);
        assert_eq!(lacking(|cmd, _| cmd.params[0] = 9), 111);
        assert_eq!(lacking(|cmd, _| cmd.src = 0), 111);
    }
}
