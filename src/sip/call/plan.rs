//! What a decision asks of the call: the targets in the order they are tried, and when to move on.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::reason::Reason;
use crate::sip::auth::Account;
use crate::sip::flow::{TlsPeer, Transport};
use crate::sip::leg::policy::LegPolicy;
use crate::sip::message::Uri;
use crate::sip::policy::{Destinations, ProgressRules, TargetPolicy, Variables, number_of};
use crate::sip::target::TargetRules;

/// An ordered hunt. Empty plans do not exist: a decision without a target is a [`Refusal`].
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub attempts: SmallVec<[Attempt; 2]>,
    /// Final statuses of a target after which the next one is tried; every other one ends the
    /// hunt. A ring time-out or a dead target always moves on.
    pub advance_on: Arc<[u16]>,
    /// How long all attempts together may ring.
    pub ring_budget: Duration,
    /// What templates of the attempts' policies may say of the call; absent: none of them asks.
    pub variables: Option<Box<Variables>>,
    /// Names that targets may send their calls on to, as far as they could be resolved.
    pub known: Vec<(SmolStr, IpAddr)>,
    /// Redirections followed so far.
    pub redirects: u8,
    /// How many targets may yet hang up at once before that ends the call.
    pub recoveries: u8,
    pub failed: FailedAs,
}

/// What the caller is answered when the hunt gets to nobody, 400 to 699; absent: as the failure says.
/// The trunk's failure map goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailedAs {
    /// At least one attempt was begun.
    pub tried: Option<u16>,
    /// All of them were denied their holds.
    pub denied: Option<u16>,
}

/// One target to try.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// The Request-URI.
    pub uri: Bytes,
    /// Where that is; `None` when its name could not be resolved (spec/sip B11).
    pub destination: Option<Destination>,
    /// Where it is besides, the next one last (RFC 3263 §4.3). Absent where there is one address
    /// only: then nobody need know how well it does.
    pub further: Option<Vec<Destination>>,
    /// From our INVITE to the answer.
    pub ring_timeout: Duration,
    /// From our INVITE to any response at all.
    pub first_response: Duration,
    /// From our INVITE to a response that says it rings, or goes on otherwise.
    pub max_pdd: Duration,
    /// From the answer to the end.
    pub max_duration: Duration,
    /// If the target hangs up sooner after its answer, the next one is called; zero: never.
    pub recovers_within: Duration,
    /// Session timer and reliable provisional responses on the target's leg.
    pub dialog: LegPolicy,
    pub manner: Manner,
    /// What is agreed with the target; absent for the defaults.
    pub rules: Option<Arc<TargetRules>>,
    /// Set where the carrier is told whom to call; absent where we call.
    pub handover: Option<Box<Handover>>,
}

/// What of an attempt is not plain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manner {
    pub policy: Option<Arc<TargetPolicy>>,
    /// What the caller hears of its provisional responses.
    pub progress: ProgressRules,
    /// The number it would call may not be called (spec/sip S10).
    pub barred: bool,
    /// Which numbers may be called at all: what the target says, and the caller's trunk. Absent
    /// where that is all of them.
    pub destinations: [Option<Arc<Destinations>>; 2],
    /// Its ring time also ends an attempt that has shown progress (183, or early media). Else
    /// such a one rings on as long as all attempts together may (spec/sip B8).
    pub leaves_progress: bool,
    /// It rings at the same time as the attempt before it (spec/sip B22).
    pub beside: bool,
    /// A place that a target has named, and not a target of its own.
    pub named: bool,
    /// Another way to the target of the attempt before it: it is made only if that one failed on its
    /// way.
    pub instead: bool,
    /// What final statuses mean; absent: the usual.
    pub failover: Option<Box<Failover>>,
}

/// What final statuses of one attempt lead to where that is not the usual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// Those after which the target is tried at its next address or another way, unless it has rung.
    pub next_way_on: Arc<[u16]>,
    /// Those after which the next target is tried, in place of the plan's; absent: the plan's.
    pub advance_on: Option<Arc<[u16]>>,
}

impl Manner {
    /// Whether a final status speaks of the way to the target, and not of who was called.
    pub fn is_of_the_way(&self, status: u16) -> bool {
        match &self.failover {
            Some(codes) => codes.next_way_on.contains(&status),
            None => matches!(status, 408 | 500 | 502..=504),
        }
    }

    /// Whether the number in this URI, if it has one, may be called.
    pub fn permits(&self, uri: &[u8]) -> bool {
        let mut lists = self.destinations.iter().flatten().peekable();
        // Most calls may go anywhere, and nobody has to look for a number.
        lists.peek().is_none()
            || number_of(uri).is_none_or(|number| lists.all(|list| list.permit(number)))
    }

    /// The same of a URI that a party has named.
    pub fn permits_named(&self, uri: &Uri<'_>) -> bool {
        self.destinations.iter().flatten().all(|list| list.permit_named(uri))
    }
}

/// How the carrier is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Handover {
    /// By 302.
    Redirect {
        /// Caps or limits count its calls, so that it needs a hold to be named.
        counted: bool,
    },
    Refer(Referral),
}

/// A REFER to the carrier.
#[derive(Clone, Debug, PartialEq)]
pub struct Referral {
    /// The URI of Refer-To.
    pub refer_to: Bytes,
    /// Whether Referred-By names us (RFC 3892).
    pub referred_by: bool,
    /// How long the first NOTIFY may take after the REFER was accepted.
    pub first_notify: Duration,
    /// How long the outcome may take after a NOTIFY that was not the last.
    pub final_notify: Duration,
}

impl Attempt {
    /// What the target's challenges are answered with.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.rules.as_ref()?.account.as_ref()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    pub transport: Transport,
    pub peer: SocketAddr,
    /// Who must be there, if the transport is TLS.
    pub tls: Option<TlsPeer>,
    /// Where the same host takes TCP, if the transport is UDP and it does (RFC 3261 §18.1.1).
    pub tcp_port: Option<u16>,
}

/// The call is not routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// What the caller is answered unless the trunk's failure map says otherwise, 400 to 699; absent: as
    /// the reason says.
    pub status: Option<u16>,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, status: None }
    }
}
