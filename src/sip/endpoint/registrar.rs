//! Our registrations on the wire (spec/sip C9): REGISTER and what comes back of it. When to
//! register where, [`Registration`] says.

use bytes::Bytes;

use crate::id::TrunkId;
use crate::sip::auth::Registration;
use crate::sip::auth::register::{Ask, Ending};
use crate::sip::call::plan::Destination;
use crate::sip::flow::{Flow, ListenerId};
use crate::sip::message::{HeaderName, Method, NameAddr, Response, Uri};
use crate::sip::transaction::Client;
use crate::sip::trunk::{Trunk, Trunks};
use crate::time::Mono;

use super::wire::{Due, Machine, Owner};
use super::{Endpoint, Output};

/// One account at one carrier.
pub(super) struct Registrar {
    pub(super) machine: Registration,
    trunk: TrunkId,
    call_id: Bytes,
    tag: Bytes,
    pub(super) cseq: u32,
    /// What waits for the server's address.
    asked: Option<Ask>,
    /// The Contact last registered.
    contact: Bytes,
    /// Whether it was said that it is registered.
    told: bool,
}

impl Endpoint {
    /// Begins to register wherever a trunk says so. Of several endpoints one does.
    pub(super) fn begin_registrations(&mut self, now: Mono) {
        for (_, trunk) in self.trunks.clone().iter() {
            let (Some(config), Some(account)) = (&trunk.register, &trunk.account) else { continue };
            let servers = config.servers.iter().map(|it| Bytes::copy_from_slice(it.as_bytes()));
            let (account, servers) = (account.clone(), servers.collect());
            let chance = self.wire.ids.random();
            let machine = Registration::new(account, servers, config.expires_s, chance, now);
            let tag = Bytes::from(format!("{:016x}", self.wire.ids.random()));
            self.registrars.push(Registrar {
                machine,
                trunk: trunk.id.clone(),
                call_id: self.wire.ids.sip_call_id(),
                tag,
                cseq: 0,
                asked: None,
                contact: Bytes::new(),
                told: false,
            });
            self.arm_registration(self.registrars.len() - 1);
        }
    }

    /// The trunks are others: where a registration is, what there was is taken back and begun anew.
    /// The old ones stay in their places, so that a late answer finds whom it is for.
    pub(super) fn register_anew(&mut self, before: &Trunks, now: Mono) {
        let wanted = |trunks: &Trunks| -> Vec<_> {
            let of = |trunk: &Trunk| Some((trunk.register.clone()?, trunk.account.clone()));
            trunks.iter().filter_map(|(_, trunk)| of(trunk)).collect()
        };
        if wanted(before) != wanted(&self.trunks) {
            self.end_registrations();
            self.begin_registrations(now);
        }
    }

    pub(super) fn registration_timeout(&mut self, index: u16, now: Mono) {
        let registrar = self.registrars.get_mut(usize::from(index));
        let ask = registrar.and_then(|it| it.machine.handle_timeout(now));
        self.ask_registrar(index, ask);
    }

    /// The address of the server to be asked is known, or there is none.
    pub(super) fn registrar_located(
        &mut self,
        index: u16,
        destination: Option<Destination>,
        now: Mono,
    ) {
        let Some(registrar) = self.registrars.get_mut(usize::from(index)) else { return };
        let Some(ask) = registrar.asked.take() else { return };
        let flow = destination.and_then(|destination| {
            let Destination { transport, peer, tls } = destination;
            let listener = ListenerId(0);
            self.wire.settings.reach(Flow { tls, ..Flow::new(listener, transport, peer) })
        });
        match flow {
            Some(flow) => self.register(index, &ask, flow, now),
            None => self.registration_ended(index, Ending::Failed, now),
        }
    }

    pub(super) fn registration_answered(&mut self, index: u16, response: &Response, now: Mono) {
        let Some(registrar) = self.registrars.get(usize::from(index)) else { return };
        let ending = match response.status() {
            ..200 => return,
            200..300 => Ending::Accepted { expires_s: registrar.granted(response) },
            423 => {
                let least_s = response.seconds(HeaderName::MinExpires).ok().flatten();
                Ending::TooBrief { least_s: least_s.unwrap_or(0).min(86_400) }
            }
            300.. => Ending::Failed,
        };
        self.registration_ended(index, ending, now);
    }

    pub(super) fn registration_ended(&mut self, index: u16, ending: Ending, now: Mono) {
        let chance = self.wire.ids.random();
        let Some(registrar) = self.registrars.get_mut(usize::from(index)) else { return };
        let ask = registrar.machine.ended(ending, chance, now);
        let registered = registrar.machine.is_registered();
        let is_news = std::mem::replace(&mut registrar.told, registered) != registered;
        if (is_news || !registered) && !registrar.machine.is_stopped() {
            let trunk = registrar.trunk.clone();
            self.wire.out.push(Output::Registration { trunk, registered });
        }
        self.ask_registrar(index, ask);
    }

    /// New calls are not wanted any more.
    pub(super) fn end_registrations(&mut self) {
        for index in 0..u16::try_from(self.registrars.len()).unwrap_or(u16::MAX) {
            let ask = self.registrars[usize::from(index)].machine.stop();
            self.ask_registrar(index, ask);
        }
    }

    fn ask_registrar(&mut self, index: u16, ask: Option<Ask>) {
        if let Some(ask) = ask {
            let server = ask.server.clone();
            self.registrars[usize::from(index)].asked = Some(ask);
            self.wire.out.push(Output::Locate { registration: index, server });
        }
        self.arm_registration(usize::from(index));
    }

    fn arm_registration(&mut self, index: usize) {
        let deadline = self.registrars.get(index).and_then(|it| it.machine.deadline());
        if let (Some(deadline), Ok(index)) = (deadline, u16::try_from(index)) {
            self.wire.deadlines.arm(deadline, Due::Registration(index));
        }
    }

    fn register(&mut self, index: u16, ask: &Ask, flow: Flow, now: Mono) {
        let Some(registrar) = self.registrars.get_mut(usize::from(index)) else { return };
        let wire = &mut self.wire;
        registrar.cseq += 1;
        let account = registrar.machine.account.clone();
        let user = escaped(account.username.as_bytes());
        let contact = wire.contact(flow, false);
        // `<sip:host>` becomes `<sip:user@host>`: the carrier's INVITE comes to it.
        let host = contact.strip_prefix(b"<sip:").unwrap_or_default();
        registrar.contact = Bytes::from([b"<sip:", &user[..], b"@", host].concat());
        let domain = Uri::parse(&ask.server).map(|uri| uri.host().to_vec()).unwrap_or_default();
        let aor = [b"<sip:", &user[..], b"@", &domain[..], b">"].concat();
        let proofs = wire.proofs(Some(&account), Method::Register, &ask.server);
        let timers = wire.paces.timers_for(flow);
        let owner = Owner::Registration(index);
        wire.open(flow, owner, now, |wire, via, effects| {
            let writer = &mut wire.writer;
            writer.request(Method::Register.name().as_bytes(), &ask.server);
            writer.header(HeaderName::Via, &via);
            writer.header(HeaderName::MaxForwards, b"70");
            writer.header_parts(HeaderName::From, &[&aor, b";tag=", &registrar.tag]);
            writer.header(HeaderName::To, &aor);
            writer.header(HeaderName::CallId, &registrar.call_id);
            let mut number = itoa::Buffer::new();
            let number = number.format(registrar.cseq).as_bytes();
            writer.header_parts(HeaderName::CSeq, &[number, b" REGISTER"]);
            writer.header(HeaderName::Contact, &registrar.contact);
            writer.header_number(HeaderName::Expires, u64::from(ask.expires_s));
            for (name, proof) in &proofs {
                writer.header(*name, proof);
            }
            let request = writer.finish();
            Machine::Client(Client::new(request, timers, now, effects))
        });
    }
}

impl Registrar {
    /// How long the registration lasts: what the server says of our Contact, else of all.
    fn granted(&self, response: &Response) -> Option<u32> {
        let ours = NameAddr::parse(&self.contact).ok()?;
        let ours = ours.parsed_uri().ok()?;
        let named = response
            .addresses(HeaderName::Contact)
            .filter_map(Result::ok)
            .find(|it| it.parsed_uri().is_ok_and(|uri| uri.equivalent(&ours)));
        let expires = named.and_then(|it| it.params().value(b"expires").map(<[u8]>::to_vec));
        let expires = expires.and_then(|it| std::str::from_utf8(&it).ok()?.parse().ok());
        expires.or_else(|| response.seconds(HeaderName::Expires).ok().flatten())
    }
}

/// A text as the user part of a URI (RFC 3261 §25.1).
fn escaped(text: &[u8]) -> Vec<u8> {
    let mut user = Vec::with_capacity(text.len());
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(byte) {
            user.push(*byte);
        } else {
            user.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    user
}
