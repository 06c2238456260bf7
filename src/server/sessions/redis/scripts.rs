//! The scripts of sessions and numbers.

use crate::server::redis;

/// A script, kept as a file beside this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Script {
    Lend,
    TakeBack,
    Pin,
    Unpin,
    Stock,
    Leave,
    Announce,
    Register,
    Spare,
    Count,
    Asked,
    Put,
    Mark,
    Name,
    Unname,
    Answer,
    Calls,
    Gate,
}

impl redis::Script for Script {
    const ALL: &'static [Self] = &[
        Self::Lend,
        Self::TakeBack,
        Self::Pin,
        Self::Unpin,
        Self::Stock,
        Self::Leave,
        Self::Announce,
        Self::Register,
        Self::Spare,
        Self::Count,
        Self::Asked,
        Self::Put,
        Self::Mark,
        Self::Name,
        Self::Unname,
        Self::Answer,
        Self::Calls,
        Self::Gate,
    ];

    fn body(self) -> &'static str {
        macro_rules! of_pool {
            ($name:literal) => {
                concat!(include_str!("numbers.lua"), include_str!($name))
            };
        }
        match self {
            Self::Lend => of_pool!("lend.lua"),
            Self::TakeBack => of_pool!("take_back.lua"),
            Self::Pin => of_pool!("pin.lua"),
            Self::Unpin => of_pool!("unpin.lua"),
            Self::Stock => of_pool!("stock.lua"),
            Self::Leave => of_pool!("leave.lua"),
            Self::Announce => of_pool!("announce.lua"),
            Self::Register => of_pool!("register.lua"),
            Self::Spare => of_pool!("spare.lua"),
            Self::Count => of_pool!("count.lua"),
            Self::Asked => of_pool!("asked.lua"),
            Self::Put => include_str!("put.lua"),
            Self::Mark => include_str!("mark.lua"),
            Self::Name => include_str!("name.lua"),
            Self::Unname => include_str!("unname.lua"),
            Self::Answer => include_str!("answer.lua"),
            Self::Calls => include_str!("calls.lua"),
            Self::Gate => include_str!("gate.lua"),
        }
    }
}
