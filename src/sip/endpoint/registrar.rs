//! Our registrations on the wire (spec/sip C9): REGISTER and what comes back of it. When to
//! register where, [`Registration`] says.

use bytes::Bytes;

use crate::id::TrunkId;
use crate::sip::auth::client::ROUNDS_MAX;
use crate::sip::auth::register::{Ask, Ending};
use crate::sip::auth::{Registration, RegistrationConfig};
use crate::sip::call::plan::Destination;
use crate::sip::flow::{Flow, ListenerId};
use crate::sip::message::{HeaderName, Method, NameAddr, Response, Uri, Writer};
use crate::sip::trunk::Trunk;
use crate::time::Mono;

use super::asking::{Head, Row};
use super::wire::{Due, Owner};
use super::{Endpoint, Output};

/// One account at one carrier.
pub(super) struct Registrar {
    pub(super) machine: Registration,
    trunk: TrunkId,
    config: RegistrationConfig,
    pub(super) row: Row,
    /// What waits for the server's address.
    asked: Option<Ask>,
    /// The Contact last registered.
    contact: Bytes,
    /// Whether it was said that it is registered.
    told: bool,
    /// When no answer to it can come any more, once it was taken back.
    gone_at: Option<Mono>,
}

impl Endpoint {
    /// Begins to register wherever a trunk says so and it is not done yet. Of several endpoints one
    /// does.
    pub(super) fn begin_registrations(&mut self, now: Mono) {
        for (_, trunk) in self.trunks.clone().iter() {
            let (Some(config), Some(account)) = (&trunk.register, &trunk.account) else { continue };
            let free = (0..u16::MAX).find(|it| !self.registrars.contains_key(it));
            let Some(index) = free.filter(|_| !self.registers(trunk)) else { continue };
            let servers = config.servers.iter().map(|it| Bytes::copy_from_slice(it.as_bytes()));
            let (account, servers) = (account.clone(), servers.collect());
            let chance = self.wire.ids.random();
            let machine = Registration::new(account, servers, config.expires_s, chance, now);
            let registrar = Registrar {
                machine,
                trunk: trunk.id.clone(),
                config: config.clone(),
                row: Row::new(&mut self.wire.ids),
                asked: None,
                contact: Bytes::new(),
                told: false,
                gone_at: None,
            };
            self.registrars.insert(index, registrar);
            self.arm_registration(index);
        }
    }

    /// Whether the trunk's registration is looked after.
    fn registers(&self, trunk: &Trunk) -> bool {
        self.registrars.values().any(|it| !it.machine.is_stopped() && it.is_of(trunk))
    }

    /// The trunks are others: registrations that are not wanted any more are taken back, and new
    /// ones begun. The old ones stay for a while, so that a late answer finds whom it is for.
    pub(super) fn register_anew(&mut self, now: Mono) {
        self.registrars.retain(|_, it| it.gone_at.is_none_or(|gone_at| now < gone_at));
        let trunks = self.trunks.clone();
        let wanted = |it: &Registrar| trunks.iter().any(|(_, trunk)| it.is_of(trunk));
        let unwanted = self.registrars.iter().filter(|(_, it)| !wanted(it));
        let unwanted: Vec<u16> = unwanted.map(|(index, _)| *index).collect();
        for index in unwanted {
            self.end_registration(index, now);
        }
        if !self.draining {
            self.begin_registrations(now);
        }
    }

    pub(super) fn registration_timeout(&mut self, index: u16, now: Mono) {
        let registrar = self.registrars.get_mut(&index);
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
        let Some(registrar) = self.registrars.get_mut(&index) else { return };
        let Some(ask) = registrar.asked.take() else { return };
        let flow = destination.and_then(|destination| {
            let Destination { transport, peer, tls, .. } = destination;
            let listener = ListenerId(0);
            self.wire.settings.reach(Flow { tls, ..Flow::new(listener, transport, peer) })
        });
        match flow {
            Some(flow) => self.register(index, &ask, flow, now),
            None => self.registration_ended(index, Ending::Failed, now),
        }
    }

    pub(super) fn registration_answered(&mut self, index: u16, response: &Response, now: Mono) {
        let Some(registrar) = self.registrars.get(&index) else { return };
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
        let Some(registrar) = self.registrars.get_mut(&index) else { return };
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
    pub(super) fn end_registrations(&mut self, now: Mono) {
        let indexes: Vec<u16> = self.registrars.keys().copied().collect();
        for index in indexes {
            self.end_registration(index, now);
        }
    }

    fn end_registration(&mut self, index: u16, now: Mono) {
        // Longer than a request and its repetitions after challenges can last.
        let patience = self.wire.settings.timers.patience() * (u32::from(ROUNDS_MAX) + 2);
        let Some(registrar) = self.registrars.get_mut(&index) else { return };
        registrar.gone_at.get_or_insert(now + patience);
        let ask = registrar.machine.stop();
        self.ask_registrar(index, ask);
    }

    fn ask_registrar(&mut self, index: u16, ask: Option<Ask>) {
        if let Some(ask) = ask
            && let Some(registrar) = self.registrars.get_mut(&index)
        {
            let server = ask.server.clone();
            registrar.asked = Some(ask);
            self.wire.out.push(Output::Locate { registration: index, server });
        }
        self.arm_registration(index);
    }

    fn arm_registration(&mut self, index: u16) {
        let deadline = self.registrars.get(&index).and_then(|it| it.machine.deadline());
        if let Some(deadline) = deadline {
            self.wire.deadlines.arm(deadline, Due::Registration(index));
        }
    }

    fn register(&mut self, index: u16, ask: &Ask, flow: Flow, now: Mono) {
        let Some(registrar) = self.registrars.get_mut(&index) else { return };
        let wire = &mut self.wire;
        let account = registrar.machine.account.clone();
        let user = escaped(account.username.as_bytes());
        let contact = wire.contact(flow, false);
        // `<sip:host>` becomes `<sip:user@host>`: the carrier's INVITE comes to it.
        let host = contact.strip_prefix(b"<sip:").unwrap_or_default();
        registrar.contact = Bytes::from([b"<sip:", &user[..], b"@", host].concat());
        let domain = Uri::parse(&ask.server).map(|uri| uri.host().to_vec()).unwrap_or_default();
        let aor = [b"<sip:", &user[..], b"@", &domain[..], b">"].concat();
        let proofs = wire.proofs(Some(&account), Method::Register, &ask.server);
        let (method, uri, contact) = (Method::Register, &ask.server[..], &registrar.contact[..]);
        let head = Head { method, uri, from: &aor, to: &aor, contact };
        let more = |writer: &mut Writer| {
            writer.header_number(HeaderName::Expires, u64::from(ask.expires_s));
            for (name, proof) in &proofs {
                writer.header(*name, proof);
            }
        };
        let owner = Owner::Registration(index);
        let request = wire.ask(flow, owner, &mut registrar.row, &head, more, now);
        wire.challenges.entrust(request, Some(&account));
    }
}

impl Registrar {
    /// Whether the trunk still wants this registration.
    fn is_of(&self, trunk: &Trunk) -> bool {
        self.trunk == trunk.id
            && trunk.register.as_ref() == Some(&self.config)
            && trunk.account.as_ref() == Some(&self.machine.account)
    }

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
