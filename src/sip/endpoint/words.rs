//! What an endpoint is told, and what it wants.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use smol_str::SmolStr;

use crate::id::{CallId, TrunkId};
use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::sip::admission::Busy;
use crate::sip::call::plan::{Destination, Plan, Refusal};
use crate::sip::call::report::{AttemptNumber, Party, Report};
use crate::sip::flow::{Flow, Transport};
use crate::sip::ids::CallKey;
use crate::sip::locate::Failing;
use crate::sip::locate::probe::Verdict;
use crate::sip::orphan::{DialogPrint, Farewell};
use crate::sip::trunk::{Caller, NumberFault, TrunkIndex, Trunks};
use crate::time::{Mono, Wall};

use super::prober::ProbeTarget;

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// A datagram or a framed message, from a source that was found worth reading.
    Received { flow: Flow, origin: Origin, wall: Wall, message: Bytes },
    /// A stream lost its bounds at this message; the connection is about to be closed.
    Unframed { flow: Flow, origin: Origin, head: Bytes },
    /// The routing decision of an admitted call.
    Decided { call: CallKey, outcome: Result<Box<Plan>, Refusal> },
    /// Whether the attempt may be made.
    /// Of an attempt that has no need of it any more it changes nothing.
    Held { call: CallKey, attempt: AttemptNumber, outcome: Result<(), Reason> },
    /// What the call reported before it asked is on disk.
    Durable { call: CallKey },
    /// A message could not be sent there, or the connection broke.
    FlowFailed { flow: Flow },
    /// End this call.
    End { call: CallKey, reason: Reason },
    /// Where the registrar is that was asked for with [`Output::Locate`].
    Located { registration: u16, destination: Option<Destination> },
    /// New calls are refused from now on; live ones go on.
    Drain,
    /// New calls are refused for this reason until there is none.
    Strained(Option<Busy>),
    /// The trunks of new calls from now on. Each has the index that its id had before.
    Configure(Arc<Trunks>),
    /// Ask these addresses now and then whether they are there, and no others.
    Probe(Vec<ProbeTarget>),
    /// Send the BYE that a process left behind which died.
    Farewell { flow: Flow, bye: Bytes },
    /// Look for calls that nothing will end; to come every [`super::SWEEP_EVERY`].
    Sweep,
}

/// Something is wanted.
#[derive(Debug)]
pub enum Output {
    Send {
        flow: Flow,
        message: Bytes,
    },
    /// A new call: journal it and answer with [`Input::Decided`].
    Admitted(Box<Admission>),
    /// Answer with [`Input::Held`].
    PlaceHold {
        call: CallKey,
        attempt: AttemptNumber,
    },
    /// Answer with [`Input::Durable`] once all reports so far are on disk.
    AwaitDurable {
        call: CallKey,
    },
    /// Answer with [`Input::Located`]: where this SIP URI leads.
    Locate {
        registration: u16,
        server: Bytes,
    },
    /// A registration has come to stand, or failed.
    Registration {
        trunk: TrunkId,
        registered: bool,
    },
    Report {
        call: CallKey,
        id: CallId,
        at: Mono,
        report: Report,
        /// Of an end that is only inferred: when the party that is gone was last heard.
        last_heard: Option<Mono>,
    },
    /// What was learnt of an address that a target has besides others: a response came from it, or
    /// how it failed.
    Rated {
        transport: Transport,
        peer: SocketAddr,
        how: Result<(), Failing>,
    },
    /// A call is made to an address that a target has besides others.
    Tried {
        transport: Transport,
        peer: SocketAddr,
    },
    /// The INVITE of an attempt left as a datagram that is too long for one.
    Fragmented {
        call: CallKey,
        attempt: AttemptNumber,
        bytes: usize,
    },
    /// What an address that is probed is thought to be from now on.
    Probed {
        transport: Transport,
        peer: SocketAddr,
        verdict: Verdict,
    },
    /// What names the dialogs of a call whose answer is reported next; to be written with it.
    Dialogs {
        call: CallKey,
        caller: DialogPrint,
        target: DialogPrint,
        /// What they speak, if the answer to the caller's offer is known by then.
        codec: Option<SmolStr>,
        /// The caller's and the target's, if [`super::Endpoint::write_farewells`] was called.
        farewells: Option<Box<[Farewell; 2]>>,
    },
    /// What a call speaks whose confirmation is reported next, where the caller's ACK said it.
    Spoken {
        call: CallKey,
        codec: SmolStr,
    },
    /// A party hung up on a call whose process died, or has heard that we do: then `party` is the system.
    /// Told again if it does so again.
    OrphanEnded {
        id: CallId,
        at: Mono,
        party: Party,
        /// Cause of ITU-T Q.850, if the party gave one.
        q850: Option<u8>,
    },
}

/// Who sent a message, judged by its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Trunk(TrunkIndex),
    /// A target: may speak within its calls only.
    Peer,
    /// Anybody else who names a call of ours. Unless it fits that call exactly, it gets no answer.
    Stranger,
}

/// What is known of a call when it is admitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    pub call: CallKey,
    pub id: CallId,
    pub at: Mono,
    pub wall: Wall,
    pub trunk: TrunkIndex,
    pub sip_call_id: Bytes,
    /// User part of the Request-URI as dialled.
    pub dialed: Bytes,
    pub number: Result<PhoneNumber, NumberFault>,
    pub caller: Caller,
    pub flow: Flow,
    /// What the trunk wants kept of the INVITE; absent: nothing.
    pub captured: Option<Box<Captured>>,
}

/// What a trunk wants kept of an INVITE (spec/sip C11, C15).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Captured {
    /// By the name of the tag: `header.x-foo`, `caller.verstat`.
    pub tags: Vec<(SmolStr, SmolStr)>,
    /// The carrier's own id of the call.
    pub carrier_call_id: Option<SmolStr>,
}
