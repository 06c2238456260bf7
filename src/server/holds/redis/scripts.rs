//! What runs in Redis. Each script is one step that nothing else can come between.

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
}

impl Script {
    pub(super) const ALL: [Self; 10] = [
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
    ];

    pub(super) fn body(self) -> &'static str {
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
        }
    }
}
