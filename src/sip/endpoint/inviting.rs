//! A caller's INVITE becomes a call.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::id::CallId;
use crate::phone::PhoneNumber;
use crate::sip::auth::Account;
use crate::sip::call::Call;
use crate::sip::flow::Flow;
use crate::sip::ids::{self, CallKey};
use crate::sip::leg::event::Body;
use crate::sip::leg::offer_answer::SdpOrigin;
use crate::sip::leg::policy::LegPolicy;
use crate::sip::leg::{Leg, takes_update};
use crate::sip::message::{HeaderName, NameAddr, Request, Scheme, Uri};
use crate::sip::policy::AnswerPolicy;
use crate::sip::transaction::ServerKey;
use crate::sip::trunk::{
    Caller, FailureMap, Identity, IdentityHeader, NumberFault, Trunk, TrunkIndex,
};
use crate::time::{Mono, Wall};

use super::rare::Rare;
use super::requests::body_of;
use super::screening::{screen_content, with_loop_token};
use super::wire::Owner;
use super::{Admission, CallEntry, Endpoint, Origin, Output};

/// A call that its own rules have not ended so long after they should have is stuck.
pub(super) const REAP_AFTER_END: Duration = Duration::from_secs(40);

/// The same before the answer, when nobody knows yet how long it may ring.
const REAP_AFTER_ADMISSION: Duration = Duration::from_secs(3600);

/// What goes on from the caller's INVITE to the targets'.
pub(super) struct Onward {
    /// Of the caller's leg.
    pub(super) policy: LegPolicy,
    /// When the call is taken away whatever state it is in (spec/sip D16).
    pub(super) reap_at: Mono,
    /// What the caller was told though its call was answered: the answer waited for its PRACK.
    pub(super) failed: Option<u16>,
    pub(super) max_forwards: u8,
    pub(super) caller: Caller,
    /// Display name of From as written, with its quotes.
    pub(super) display: Bytes,
    pub(super) offer: Option<Body>,
    /// Value of the loop header with our token at its end.
    pub(super) loop_tokens: Bytes,
    /// Whose call it is.
    pub(super) trunk: TrunkIndex,
    /// Where the call came from, until its caller has confirmed the answer.
    pub(super) half_open: Option<IpAddr>,
    /// What the carrier's challenges are answered with.
    pub(super) account: Option<Arc<Account>>,
}

/// A caller's INVITE that is let in.
pub(super) struct Arrival {
    pub(super) request: Request,
    pub(super) key: ServerKey,
    pub(super) flow: Flow,
    pub(super) wall: Wall,
    pub(super) trunk: TrunkIndex,
    pub(super) caller: Caller,
}

/// What the trunk's agreement means for its call.
#[derive(Default)]
pub(super) struct OfTrunk {
    pub(super) policy: LegPolicy,
    pub(super) answers: Option<Arc<AnswerPolicy>>,
    pub(super) account: Option<Arc<Account>>,
    pub(super) failures: Arc<FailureMap>,
}

impl OfTrunk {
    pub(super) fn of(trunk: &Trunk, failures: &Arc<FailureMap>) -> Self {
        Self {
            policy: trunk.dialog,
            answers: trunk.answers.clone(),
            account: trunk.account.clone(),
            failures: Arc::clone(failures),
        }
    }
}

impl Endpoint {
    pub(super) fn invite(
        &mut self,
        request: Request,
        key: ServerKey,
        flow: Flow,
        origin: Origin,
        wall: Wall,
        now: Mono,
    ) {
        let trunk = match self.screen(&request, origin) {
            Ok(trunk) => trunk,
            Err(rejection) => {
                self.wire.reject(&request, flow, &rejection);
                return;
            }
        };
        let source = flow.peer.ip();
        if let Err(busy) = self.room_for_call(source, now) {
            self.refuse_busy(&request, flow, busy);
            return;
        }
        // Whose call it is comes before what they may ask for.
        let trunk = self.trunks.claimed(trunk, flow, &request);
        let Some(rules) = self.trunks.get(trunk) else { return };
        if let Some(users) = &rules.users
            && let Err(unauthorized) = self.doorkeeper.admit(users, &request, now)
        {
            self.wire.respond_stateless(&request, flow, 401, "Unauthorized", |writer| {
                for challenge in &unauthorized.challenges {
                    writer.header(HeaderName::WwwAuthenticate, challenge);
                }
            });
            return;
        }
        if let Err(rejection) = screen_content(&request, &rules.dialog) {
            self.wire.reject(&request, flow, &rejection);
            return;
        }
        let flow = Flow { pace: self.wire.paces.of(rules.dialog.timers), ..flow };
        let caller = caller_of(&request, rules);
        let captured = super::capture::capture(&request, caller, &rules.profile.inbound);
        let (dialed, number) = dialed_of(&request, rules);
        let of_trunk = OfTrunk::of(rules, &self.failures[usize::from(trunk.0)]);
        self.gate.opened(source, now);
        let sip_call_id = Bytes::copy_from_slice(request.call_id());
        let arrival = Arrival { request, key, flow, wall, trunk, caller };
        let (call, id) = self.open_call(arrival, of_trunk, now);
        self.current = Some(call);
        self.wire.out.push(Output::Admitted(Box::new(Admission {
            call,
            id,
            at: now,
            wall,
            trunk,
            sip_call_id,
            dialed,
            number,
            caller,
            flow,
            captured,
        })));
        self.settle(call, now);
    }

    /// A call that waits for its decision.
    pub(super) fn open_call(
        &mut self,
        arrival: Arrival,
        of_trunk: OfTrunk,
        now: Mono,
    ) -> (CallKey, CallId) {
        let Arrival { request, key, flow, wall, trunk, caller } = arrival;
        let OfTrunk { policy, answers, account, failures } = of_trunk;
        let rare =
            answers.map(|answers| Box::new(Rare { answers: Some(answers), ..Rare::default() }));
        let id = self.wire.ids.call_id(wall);
        let merged = self.wire.keys.of_merged(&request);
        let limits = self.wire.settings.call;
        let onward = Box::new(Onward {
            policy,
            reap_at: now + limits.max_call + REAP_AFTER_ADMISSION,
            failed: None,
            max_forwards: request.max_forwards().unwrap_or(70) - 1,
            caller,
            display: Bytes::copy_from_slice(request.from().display()),
            offer: body_of(&request),
            loop_tokens: with_loop_token(&request, &self.wire.settings.loop_token),
            trunk,
            half_open: Some(flow.peer.ip()),
            account,
        });
        let (invite_cseq, takes_update) = (request.cseq().number, takes_update(&request));

        let wire = &mut self.wire;
        let call = self.calls.insert_with_key(|call| {
            let keys = [Some(key), Some(merged)];
            let transaction = wire.accept_invite(request, flow, Owner::Call(call), keys, now);
            let tag = ids::tag(call, 0, wire.ids.random());
            let sdp = SdpOrigin::new(wire.ids.random());
            let mut caller = Leg::new(0, (transaction, invite_cseq), tag, sdp);
            caller.takes_update = takes_update;
            CallEntry {
                id,
                call: Call::new(limits, failures, now),
                caller,
                target: None,
                onward,
                rare,
                armed: None,
            }
        });
        (call, id)
    }
}

/// The dialled user part, and the number the trunk's rules read out of it.
fn dialed_of(request: &Request, trunk: &Trunk) -> (Bytes, Result<PhoneNumber, NumberFault>) {
    let ruri = request.parsed_uri().ok().and_then(|uri| uri.user()).unwrap_or_default();
    let to = request.to();
    let to = to.parsed_uri().ok().and_then(|uri| uri.user()).unwrap_or_default();
    (Bytes::copy_from_slice(ruri), trunk.numbers.dialed_number(ruri, to))
}

fn caller_of(request: &Request, trunk: &Trunk) -> Caller {
    let from = request.from();
    let mut identities: smallvec::SmallVec<[Identity<'_>; 4]> = smallvec::SmallVec::new();
    let headers = [
        (HeaderName::PAssertedIdentity, IdentityHeader::Pai),
        (HeaderName::RemotePartyId, IdentityHeader::Rpid),
    ];
    for (name, header) in headers {
        for value in request.values(name) {
            if let Some(user) = NameAddr::parse(value).ok().and_then(|it| user_of(it.uri())) {
                identities.push(Identity { header, user });
            }
        }
    }
    if let Some(user) = user_of(from.uri()) {
        identities.push(Identity { header: IdentityHeader::From, user });
    }
    trunk.numbers.caller_number(&identities, request.line(HeaderName::Privacy))
}

fn user_of(uri: &[u8]) -> Option<&[u8]> {
    let uri = Uri::parse(uri).ok()?;
    match uri.scheme() {
        Scheme::Sip | Scheme::Sips | Scheme::Tel => uri.user(),
        Scheme::Other => None,
    }
}
