//! What is asked of DNS, and what it answers.

use std::net::IpAddr;
use std::time::Duration;

use smol_str::SmolStr;

/// A name and the records that are wanted of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// In lower case, without a dot at its end.
    pub name: SmolStr,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// RFC 3403.
    Naptr,
    /// RFC 2782.
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

/// Records of one name; empty if it has none of the kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    Naptr(Vec<Naptr>),
    Srv(Vec<Srv>),
    Addresses(Vec<IpAddr>),
}

/// As much of a NAPTR record as SIP uses (RFC 3263 §4.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Naptr {
    pub order: u16,
    pub preference: u16,
    /// Such as `s`: the replacement has SRV records.
    pub flags: SmolStr,
    /// Such as `SIP+D2U`.
    pub services: SmolStr,
    pub replacement: SmolStr,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    /// `.` or empty: the service is decidedly not there.
    pub target: SmolStr,
}

/// How a question was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Found {
        records: Records,
        ttl: Duration,
    },
    /// There is no such name, or it has no such records. `ttl` says for how long, if it was said.
    Nothing {
        ttl: Option<Duration>,
    },
    /// Nobody answered, or nobody could.
    Failed,
}

/// Most records of one answer that are kept.
const RECORDS_MAX: usize = 64;

impl Question {
    pub fn new(name: &str, kind: Kind) -> Self {
        Self { name: lower(name), kind }
    }
}

impl Kind {
    /// No records.
    pub fn none(self) -> Records {
        match self {
            Self::Naptr => Records::Naptr(Vec::new()),
            Self::Srv => Records::Srv(Vec::new()),
            Self::A | Self::Aaaa => Records::Addresses(Vec::new()),
        }
    }
}

impl Records {
    /// In an order of their own, because DNS deals its records in ever another one; no more than
    /// can be put to use.
    pub(super) fn settled(mut self) -> Self {
        match &mut self {
            Self::Naptr(records) => settle(records),
            Self::Srv(records) => settle(records),
            Self::Addresses(records) => settle(records),
        }
        self
    }
}

fn settle<T: Ord>(records: &mut Vec<T>) {
    records.sort_unstable();
    records.dedup();
    records.truncate(RECORDS_MAX);
}

/// Names are compared in lower case (RFC 4343) and without the dot of the root.
pub(super) fn lower(name: &str) -> SmolStr {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.chars().map(|letter| letter.to_ascii_lowercase()).collect()
}
