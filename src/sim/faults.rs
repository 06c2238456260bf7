//! What may go wrong around the edge, by name.

use std::fmt;
use std::str::FromStr;

/// One kind of misfortune.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The network loses messages.
    Loss,
    /// The network delivers messages twice.
    Dup,
    /// The network lets messages overtake each other.
    Reorder,
    /// The network is slow.
    Delay,
    /// The journal's disk is full, fails to sync, is slow, or loses what was not synced.
    Disk,
    /// The edge is killed at any instant and started again.
    Crash,
    /// The book refuses what it is to write.
    Store,
    /// The wall clock is set while calls are up.
    Clock,
}

impl Fault {
    /// All there are.
    pub const ALL: [Self; 8] = [
        Self::Loss,
        Self::Dup,
        Self::Reorder,
        Self::Delay,
        Self::Disk,
        Self::Crash,
        Self::Store,
        Self::Clock,
    ];

    /// As a person types it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Dup => "dup",
            Self::Reorder => "reorder",
            Self::Delay => "delay",
            Self::Disk => "disk",
            Self::Crash => "crash",
            Self::Store => "store",
            Self::Clock => "clock",
        }
    }
}

/// A set of [`Fault`]s; as text `all`, `none`, or names with commas between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults(u8);

impl Faults {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(u8::MAX);

    pub fn has(self, fault: Fault) -> bool {
        self.0 & bit(fault) != 0
    }

    pub fn without(self, fault: Fault) -> Self {
        Self(self.0 & !bit(fault))
    }

    pub fn with(self, fault: Fault) -> Self {
        Self(self.0 | bit(fault))
    }

    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |fault| self.has(*fault))
    }
}

fn bit(fault: Fault) -> u8 {
    1 << fault as u8
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ALL => f.write_str("all"),
            Self::NONE => f.write_str("none"),
            Self(_) => {
                let names: Vec<_> = self.iter().map(Fault::name).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

/// The name that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no fault; there are loss, dup, reorder, delay, disk, crash, store, clock, and all or \
     none"
)]
pub struct UnknownFault(String);

impl FromStr for Faults {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        match text {
            "all" => return Ok(Self::ALL),
            "none" => return Ok(Self::NONE),
            _ => {}
        }
        text.split(',').try_fold(Self::NONE, |faults, name| {
            let known = Fault::ALL.into_iter().find(|fault| fault.name() == name.trim());
            known.map(|fault| faults.with(fault)).ok_or_else(|| UnknownFault(name.to_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_written() {
        for text in ["all", "none", "loss", "loss,dup,clock"] {
            assert_eq!(text.parse::<Faults>().unwrap().to_string(), text);
        }
        assert_eq!("crash, disk".parse::<Faults>().unwrap().to_string(), "disk,crash");
        let refused = "loss,fire".parse::<Faults>().unwrap_err().to_string();
        assert!(refused.starts_with("`fire` is no fault; there are loss, dup"), "{refused}");
    }
}
