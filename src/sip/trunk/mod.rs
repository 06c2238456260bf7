//! Whose packet is this, and what its carrier means by it.
//!
//! Owns the carrier files, the table from source address to trunk, and the rules of each trunk
//! for numbers, caller ids and failure codes. Does not own connections, calls or counters: whoever
//! admits calls compares them with [`Trunk::channels_max`] and [`Trunk::cps_max`].
//!
//! Invariants: an address names at most one trunk on a listener, and so does a name in a
//! certificate, or the configuration is refused (C1); an address that names none is a stranger, and gets no answer (S1); a challenge or a raw
//! 503 of a target never reaches a carrier (B5).
//!
//! ```text
//! carrier file ─► Profile ─┐
//!  [[trunks]] ─► overrides ┴► Trunk { NumberRules, FailureMap, limits } ─► Trunks { Sources }
//! ```

pub mod carriers;
pub mod certified;
pub mod failure;
pub mod number;
pub mod profile;
pub mod source;

mod compile;
mod shared;
mod succession;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use smol_str::SmolStr;

use super::admission::Rate;
use super::auth::{Account, AccountConfig, DigestConfig, RegistrationConfig, Users};
use super::flow::{ListenerId, Transport};
use super::leg::policy::LegPolicy;
use super::policy::{AnswerPolicy, Destinations};
use super::target::Delivery;
use crate::id::TrunkId;

pub use carriers::Carriers;
pub use certified::Certified;
pub use failure::{Cause, FailureMap};
pub use number::{Caller, Identity, IdentityHeader, NumberFault, NumberRules};
pub use profile::Profile;
pub use source::Sources;

pub(crate) use compile::outbound_of;

/// A `[[trunks]]` entry: a carrier's file and what differs from it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrunkConfig {
    pub id: TrunkId,
    /// For people; the id if absent.
    #[serde(default)]
    pub name: Option<SmolStr>,
    /// Name of a carrier file without `.toml`; absent if the tables below say everything.
    #[serde(default)]
    pub carrier: Option<SmolStr>,
    /// Entries of `sip.listen` on which the carrier may call; empty for all of them.
    #[serde(default)]
    pub listeners: Vec<SmolStr>,
    /// Calls at a time; absent for what the carrier file says.
    #[serde(default)]
    pub max_channels: Option<u32>,
    /// New calls per second; absent for what the carrier file says.
    #[serde(default)]
    pub max_cps: Option<u32>,
    /// What the carrier's challenges are answered with, and its registrar's.
    #[serde(default)]
    pub credentials: Option<AccountConfig>,
    /// Who may call, for `inbound.auth = "digest"`.
    #[serde(default)]
    pub digest: Option<DigestConfig>,
    /// Where to register, so that the carrier finds us; needs `credentials`.
    #[serde(default)]
    pub register: Option<RegistrationConfig>,
    /// How its calls come to targets that do not say it themselves. Default `bridge`.
    #[serde(default)]
    pub delivery: Delivery,
    /// These tables replace the fields of the same name in the carrier file, one by one.
    #[serde(default)]
    pub inbound: Overrides,
    #[serde(default)]
    pub outbound: Overrides,
    #[serde(default)]
    pub media: Overrides,
    #[serde(default)]
    pub dialog: Overrides,
    #[serde(default)]
    pub failover: Overrides,
    #[serde(default)]
    pub limits: Overrides,
    /// Caps on its calls; of no interest here, and read elsewhere.
    #[serde(default)]
    pub caps: serde::de::IgnoredAny,
    /// When calls to targets go another way first; the same.
    #[serde(default)]
    pub circuit: serde::de::IgnoredAny,
    /// What a failure of such a call leads to; the same.
    #[serde(default)]
    pub next_way_on: serde::de::IgnoredAny,
    #[serde(default)]
    pub advance_on: serde::de::IgnoredAny,
    /// Whose it is; the same.
    #[serde(default)]
    pub publisher: serde::de::IgnoredAny,
    /// What calls dial whose session nobody can tell; the same.
    #[serde(default)]
    pub stand_in_number: serde::de::IgnoredAny,
    /// The header of its INVITEs that names a session: it is kept as those of
    /// `inbound.headers_capture`. Absent: none does.
    #[serde(default)]
    pub session_header: Option<SmolStr>,
}

/// Fields that replace those of a carrier file.
pub type Overrides = serde_json::Map<String, serde_json::Value>;

/// A listener as trunks refer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkListener {
    pub id: ListenerId,
    pub transport: Transport,
    /// As written in `sip.listen`.
    pub name: SmolStr,
}

/// Position of a trunk in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrunkIndex(pub u16);

/// A trunk, ready for use.
#[derive(Clone, Debug, PartialEq)]
pub struct Trunk {
    pub id: TrunkId,
    pub name: SmolStr,
    /// How dialled numbers and caller ids are read.
    pub numbers: NumberRules,
    /// What the carrier is answered when a call fails.
    pub failures: FailureMap,
    /// Session timer and reliable provisional responses on the carrier's legs.
    pub dialog: LegPolicy,
    /// Calls at a time; `None` is no limit.
    pub channels_max: Option<u32>,
    /// New calls per second; `None` is no limit.
    pub cps_max: Option<u32>,
    /// How long a call beyond `cps_max` may wait for its turn.
    pub queue: Duration,
    /// What our responses say besides what SIP needs; absent: nothing.
    pub answers: Option<Arc<AnswerPolicy>>,
    /// Numbers its calls may lead to.
    pub destinations: Arc<Destinations>,
    /// Requests outside calls from each address; `None` is no limit.
    pub requests: Option<Rate>,
    /// What its challenges are answered with.
    pub account: Option<Arc<Account>>,
    /// Who may call; `None` asks nobody for a proof.
    pub users: Option<Arc<Users>>,
    /// Where we register, with the account above.
    pub register: Option<RegistrationConfig>,
    /// How calls come to targets that do not say it themselves.
    pub delivery: Delivery,
    /// The carrier's facts with the overrides of the configuration.
    pub profile: Profile,
    /// What of that is written anywhere, by the names of its fields.
    pub said: Vec<Said>,
}

/// A field of a trunk, and who says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Such as `inbound.did_from`.
    pub field: SmolStr,
    pub value: serde_json::Value,
    /// The trunk itself; else its carrier's file.
    pub is_own: bool,
}

/// All trunks and the table of their sources. Immutable; a new configuration makes a new one.
#[derive(Clone, Debug, Default)]
pub struct Trunks {
    trunks: Vec<Trunk>,
    sources: Sources,
    certified: Certified,
    networks: Vec<source::Source>,
    /// Networks of earlier configurations.
    left: Vec<source::Source>,
    former: Sources,
}

/// What is wrong with a trunk: where, with what, why, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkFault {
    /// Such as `trunks[1].inbound.cidrs[0]`.
    pub path: String,
    pub value: String,
    /// Completes "`value` …", such as "is no network".
    pub problem: String,
    pub remedy: String,
}

impl Trunks {
    /// Reads every trunk against its carrier file.
    ///
    /// # Errors
    /// All faults at once: an unknown carrier or listener, a field of the wrong kind, two trunks
    /// that claim the same network on the same listener.
    pub fn compile(
        configs: &[TrunkConfig],
        listeners: &[TrunkListener],
        carriers: &Carriers,
    ) -> Result<Self, Vec<TrunkFault>> {
        compile::compile(configs, listeners, carriers)
    }

    /// The trunk that may send from `ip` to `listener`; `None` is a stranger, or one who has to
    /// show a certificate.
    pub fn identify(
        &self,
        listener: ListenerId,
        transport: Transport,
        ip: std::net::IpAddr,
    ) -> Option<TrunkIndex> {
        self.sources.identify(listener, transport, ip)
    }

    /// The trunk whose certificate has one of these names; `None` if it is no trunk's, or that of
    /// several.
    pub fn identify_certified<'n>(
        &self,
        listener: ListenerId,
        ip: std::net::IpAddr,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Option<TrunkIndex> {
        self.certified.identify(listener, ip, names)
    }

    /// Whether `ip` may begin to speak to `listener`: it is a trunk's, or could be once it has
    /// shown a certificate.
    pub fn may_connect(
        &self,
        listener: ListenerId,
        transport: Transport,
        ip: std::net::IpAddr,
    ) -> bool {
        self.identify(listener, transport, ip).is_some()
            || (transport == Transport::Tls && self.certified.may_be_at(listener, ip))
    }

    /// Whether `ip` was a trunk's under an earlier configuration: it takes no new calls, and its old
    /// ones go on.
    pub fn knew(&self, listener: ListenerId, transport: Transport, ip: std::net::IpAddr) -> bool {
        self.former.identify(listener, transport, ip).is_some()
    }

    /// `index` comes from [`Trunks::identify`] of the same value.
    pub fn get(&self, index: TrunkIndex) -> Option<&Trunk> {
        self.trunks.get(usize::from(index.0))
    }

    /// The trunk of this name.
    pub fn by_id(&self, id: &TrunkId) -> Option<&Trunk> {
        self.trunks.iter().find(|trunk| trunk.id == *id)
    }

    /// In the order of the indexes. Trunks of earlier configurations are among them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (TrunkIndex, &Trunk)> {
        let index = |position| TrunkIndex(u16::try_from(position).unwrap_or(u16::MAX));
        self.trunks.iter().enumerate().map(move |(position, trunk)| (index(position), trunk))
    }
}
