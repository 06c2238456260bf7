//! The scripts of holds.

use crate::server::redis;

/// A script, kept as a file beside this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Script {
    Reserve,
    Change,
    Renew,
    Look,
    Restore,
    Announce,
    Join,
    Gate,
    Leave,
    Deposit,
    Parts,
    Reset,
    Resets,
    TakeOver,
    Ready,
    Changed,
}

impl redis::Script for Script {
    const ALL: &'static [Self] = &[
        Self::Reserve,
        Self::Change,
        Self::Renew,
        Self::Look,
        Self::Restore,
        Self::Announce,
        Self::Join,
        Self::Gate,
        Self::Leave,
        Self::Deposit,
        Self::Parts,
        Self::Reset,
        Self::Resets,
        Self::TakeOver,
        Self::Ready,
        Self::Changed,
    ];

    fn body(self) -> &'static str {
        macro_rules! body {
            ($name:literal) => {
                concat!(include_str!("common.lua"), include_str!($name))
            };
        }
        match self {
            Self::Reserve => body!("reserve.lua"),
            Self::Change => body!("change.lua"),
            Self::Renew => body!("renew.lua"),
            Self::Look => body!("look.lua"),
            Self::Restore => body!("restore.lua"),
            Self::Announce => body!("announce.lua"),
            Self::Join => body!("join.lua"),
            Self::Gate => body!("gate.lua"),
            Self::Leave => body!("leave.lua"),
            Self::Deposit => body!("deposit.lua"),
            Self::Parts => body!("parts.lua"),
            Self::Reset => body!("reset.lua"),
            Self::Resets => body!("resets.lua"),
            Self::TakeOver => body!("take_over.lua"),
            Self::Ready => body!("ready.lua"),
            Self::Changed => body!("changed.lua"),
        }
    }
}
