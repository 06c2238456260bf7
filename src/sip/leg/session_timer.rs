//! Session timers, RFC 4028: a session that nobody refreshes in time is over.
//!
//! Each leg has its own timer, or none, whatever the other leg agreed on. The interval and who
//! refreshes are read from headers; both methods and both directions of a refresh set the clock
//! back. Due is a refresh at half the interval, and the end `min(32 s, interval / 3)` before its
//! end (§10), whoever should have refreshed.
//!
//! ```text
//! headers ─► Terms ─► start, renewed ─► deadline ─► Due::Refresh ─► refreshing ─► renewed
//!                                               └─► Due::Expired            └──► retry
//! ```

use std::time::Duration;

use crate::sip::leg::event::Body;
use crate::sip::message::{HeaderName, Headers, Refresher, Response, Writer};
use crate::time::Mono;

/// The shortest interval there may be, seconds (RFC 4028 §4).
pub const INTERVAL_MIN_S: u32 = 90;

/// Less than this is not believed of a peer that breaks the rule: it would have us send all day.
const INTERVAL_FLOOR_S: u32 = 30;

/// What a leg wants of its timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether there may be one at all.
    pub supported: bool,
    /// The interval to ask for, seconds; absent: only what the peer asks for.
    pub interval_s: Option<u32>,
    /// The shortest interval to take, seconds, at least [`INTERVAL_MIN_S`].
    pub min_s: u32,
    /// Who refreshes where we may choose, as seen from the INVITE that opens the leg.
    pub refresher: Option<Refresher>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { supported: true, interval_s: None, min_s: INTERVAL_MIN_S, refresher: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    Us,
    Peer,
}

/// What two parties agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub interval_s: u32,
    pub refresher: Party,
}

/// The interval asked for is too short; answered by 422 with this Min-SE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooShort {
    pub min_s: u32,
}

/// The timer of one leg.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionTimer {
    terms: Terms,
    policy: Policy,
    /// The largest Min-SE the peer has named, which our requests repeat (RFC 4028 §7.4).
    peer_min_s: u32,
    /// When to refresh, if that is ours to do and not under way.
    refresh_at: Option<Mono>,
    expires_at: Mono,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Refresh,
    Expired,
}

/// A timer and what a refresh repeats.
#[derive(Clone, Debug)]
pub struct Session {
    pub timer: SessionTimer,
    /// The description that is in force on this leg as we sent it.
    pub sent: Option<Body>,
    /// Digest of the one the peer sent, see [`digest`](super::offer_answer::digest).
    pub heard: Option<u64>,
}

impl Policy {
    /// What to answer a request of the peer that opens or refreshes the session. `current` is what
    /// is agreed on so far. `None`: no timer.
    ///
    /// # Errors
    /// The peer asks for less than we take, and knows what a 422 means.
    pub fn answer(
        &self,
        request: &Headers,
        current: Option<&SessionTimer>,
    ) -> Result<Option<Terms>, TooShort> {
        // Most requests and most policies know nothing of timers.
        let asks = request.has(HeaderName::SessionExpires);
        if !self.supported || !asks && current.is_none() && self.interval_s.is_none() {
            return Ok(None);
        }
        let asked = request.session_expires().ok().flatten();
        let peer_min_s = request.min_se().ok().flatten().unwrap_or(INTERVAL_MIN_S);
        let peer_can = request.has_option(HeaderName::Supported, b"timer")
            || request.has_option(HeaderName::Require, b"timer");
        if let Some(asked) = asked
            && asked.delta < self.min_s
            && peer_can
        {
            return Err(TooShort { min_s: self.min_s });
        }
        let ours = self.interval_s.map(|ours| ours.max(peer_min_s));
        let known = current.map(|timer| timer.terms);
        let interval_s = match (asked, ours, known) {
            (Some(asked), Some(ours), _) => asked.delta.min(ours),
            (Some(asked), None, _) => asked.delta,
            (None, _, Some(known)) => known.interval_s.max(peer_min_s),
            (None, Some(ours), None) => ours,
            (None, None, None) => return Ok(None),
        };
        // RFC 4028 §9, table 2: without the extension the peer cannot refresh on purpose.
        let refresher = match asked.and_then(|asked| asked.refresher) {
            _ if !peer_can => Party::Us,
            Some(Refresher::Uac) => Party::Peer,
            Some(Refresher::Uas) => Party::Us,
            None => match (known, self.refresher) {
                (Some(known), _) => known.refresher,
                (None, Some(Refresher::Uas)) => Party::Us,
                (None, Some(Refresher::Uac) | None) => Party::Peer,
            },
        };
        Ok(Some(Terms { interval_s: interval_s.max(INTERVAL_FLOOR_S), refresher }))
    }

    /// What a success to our request agreed on. `None`: no timer.
    pub fn agreed(&self, response: &Response) -> Option<Terms> {
        if !self.supported {
            return None;
        }
        let agreed = response.session_expires().ok().flatten()?;
        // The refresher must be named; who forgets it will not refresh either.
        let refresher = match agreed.refresher {
            Some(Refresher::Uas) => Party::Peer,
            Some(Refresher::Uac) | None => Party::Us,
        };
        Some(Terms { interval_s: agreed.delta.max(INTERVAL_FLOOR_S), refresher })
    }

    /// What an INVITE that opens a leg asks for. `peer_min_s` is what a 422 has asked for, else 0.
    pub fn write_ask(&self, peer_min_s: u32, writer: &mut Writer) {
        if let Some(interval_s) = self.interval_s.or_else(|| (peer_min_s > 0).then_some(peer_min_s))
        {
            let refresher = self.refresher.map(name_of);
            write_interval(interval_s.max(peer_min_s), refresher, writer);
        }
        write_min(self.min_s.max(peer_min_s), writer);
    }
}

impl Terms {
    /// Header fields of a success to a request of the peer.
    pub fn write_answer(self, writer: &mut Writer) {
        let refresher = match self.refresher {
            Party::Us => Refresher::Uas,
            Party::Peer => Refresher::Uac,
        };
        write_interval(self.interval_s, Some(name_of(refresher)), writer);
        if self.refresher == Party::Peer {
            writer.header(HeaderName::Require, b"timer");
        }
    }

    fn interval(self) -> Duration {
        Duration::from_secs(self.interval_s.into())
    }
}

impl SessionTimer {
    /// The session has begun.
    pub fn new(terms: Terms, policy: Policy, now: Mono) -> Self {
        let mut timer = Self { terms, policy, peer_min_s: 0, refresh_at: None, expires_at: now };
        timer.renew(terms, now);
        timer
    }

    /// The session was refreshed, by whoever and however.
    pub fn renew(&mut self, terms: Terms, now: Mono) {
        let interval = terms.interval();
        let margin = (interval / 3).min(Duration::from_secs(32));
        self.terms = terms;
        self.refresh_at = (terms.refresher == Party::Us).then(|| now + interval / 2);
        self.expires_at = now + (interval - margin);
    }

    pub fn terms(&self) -> Terms {
        self.terms
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    pub fn deadline(&self) -> Mono {
        self.refresh_at.map_or(self.expires_at, |at| at.min(self.expires_at))
    }

    /// After [`Due::Refresh`] nothing is due before the end, until [`SessionTimer::renew`] or
    /// [`SessionTimer::retry`].
    pub fn handle_timeout(&mut self, now: Mono) -> Option<Due> {
        if now >= self.expires_at {
            return Some(Due::Expired);
        }
        self.refresh_at.take_if(|at| *at <= now).map(|_| Due::Refresh)
    }

    /// The refresh could not be sent or was refused for now.
    pub fn retry(&mut self, at: Mono) {
        self.refresh_at = Some(at);
    }

    /// The peer named a shortest interval, in a request or in a 422.
    pub fn peer_wants_at_least(&mut self, min_s: u32) {
        self.peer_min_s = self.peer_min_s.max(min_s);
        self.terms.interval_s = self.terms.interval_s.max(min_s);
    }

    /// Whether a 422 with this Min-SE is news: otherwise the same would be refused again.
    pub fn is_news(&self, min_s: u32) -> bool {
        min_s > self.terms.interval_s
    }

    /// Header fields of a request of ours that refreshes the session.
    pub fn write_request(&self, writer: &mut Writer) {
        let refresher = match self.terms.refresher {
            Party::Us => Refresher::Uac,
            Party::Peer => Refresher::Uas,
        };
        writer.header(HeaderName::Supported, b"timer");
        write_interval(self.terms.interval_s, Some(name_of(refresher)), writer);
        write_min(self.policy.min_s.max(self.peer_min_s), writer);
    }
}

fn name_of(refresher: Refresher) -> &'static [u8] {
    match refresher {
        Refresher::Uac => b"uac",
        Refresher::Uas => b"uas",
    }
}

fn write_interval(interval_s: u32, refresher: Option<&[u8]>, writer: &mut Writer) {
    let mut number = itoa::Buffer::new();
    let number = number.format(interval_s).as_bytes();
    match refresher {
        Some(refresher) => {
            let parts = [number, b";refresher=", refresher];
            writer.header_parts(HeaderName::SessionExpires, &parts);
        }
        None => writer.header(HeaderName::SessionExpires, number),
    }
}

/// The default need not be said.
fn write_min(min_s: u32, writer: &mut Writer) {
    if min_s > INTERVAL_MIN_S {
        writer.header_number(HeaderName::MinSe, u64::from(min_s));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sip::message::{Limits, Message};

    const SUPPORTED: &str = "Supported: timer\r\n";

    #[test]
    fn a_request_without_a_word_of_timers_gets_none() {
        assert_eq!(Policy::default().answer(&request(SUPPORTED), None), Ok(None));
    }

    #[test]
    fn the_peer_s_interval_is_taken_and_shortened_to_ours_but_not_below_its_minimum() {
        let ours = Policy { interval_s: Some(600), ..Policy::default() };
        for (policy, fields, interval_s) in [
            (Policy::default(), "Session-Expires: 1800\r\n", 1800),
            (ours, "Session-Expires: 1800\r\n", 600),
            (ours, "Session-Expires: 300\r\n", 300),
            (ours, "Session-Expires: 1800\r\nMin-SE: 900\r\n", 900),
            (ours, "", 600),
        ] {
            let terms = policy.answer(&request(&format!("{SUPPORTED}{fields}")), None);
            assert_eq!(terms.unwrap().unwrap().interval_s, interval_s, "{fields}");
        }
    }

    #[test]
    fn the_refresher_is_whom_the_request_names_else_whom_we_choose() {
        let choosing = |refresher| Policy { refresher, ..Policy::default() };
        let (any, uas) = (choosing(None), choosing(Some(Refresher::Uas)));
        for (policy, fields, refresher) in [
            (any, "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n", Party::Peer),
            (any, "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\n", Party::Us),
            (any, "Supported: timer\r\nSession-Expires: 90\r\n", Party::Peer),
            (uas, "Supported: timer\r\nSession-Expires: 90\r\n", Party::Us),
            (any, "Session-Expires: 90\r\n", Party::Us),
            (any, "Session-Expires: 90;refresher=uac\r\n", Party::Us),
        ] {
            let terms = policy.answer(&request(fields), None).unwrap().unwrap();
            assert_eq!(terms.refresher, refresher, "{fields}");
        }
    }

    #[test]
    fn a_refresh_that_names_nobody_leaves_the_refresher_as_it_is() {
        for refresher in [Party::Us, Party::Peer] {
            let terms = Terms { interval_s: 180, refresher };
            let timer = SessionTimer::new(terms, Policy::default(), Mono(0));
            let asked = request("Supported: timer\r\nSession-Expires: 180\r\n");
            let silent = request(SUPPORTED);

            assert_eq!(Policy::default().answer(&asked, Some(&timer)), Ok(Some(terms)));
            assert_eq!(Policy::default().answer(&silent, Some(&timer)), Ok(Some(terms)));
        }
    }

    #[test]
    fn too_short_an_interval_is_refused_only_if_the_peer_knows_what_that_means() {
        let policy = Policy { min_s: 600, ..Policy::default() };
        let too_short = "Session-Expires: 300\r\n";

        let refused = policy.answer(&request(&format!("{SUPPORTED}{too_short}")), None);
        assert_eq!(refused, Err(TooShort { min_s: 600 }));
        let taken = policy.answer(&request(too_short), None);
        assert_eq!(taken, Ok(Some(Terms { interval_s: 300, refresher: Party::Us })));
    }

    #[test]
    fn a_success_says_who_refreshes_and_we_do_if_it_forgets() {
        for (fields, terms) in [
            ("", None),
            ("Session-Expires: 90;refresher=uas\r\n", Some(Party::Peer)),
            ("Session-Expires: 90;refresher=uac\r\n", Some(Party::Us)),
            ("Session-Expires: 90\r\n", Some(Party::Us)),
        ] {
            let agreed = Policy::default().agreed(&response(fields));
            assert_eq!(agreed.map(|terms| terms.refresher), terms, "{fields}");
        }
    }

    #[test]
    fn a_refresh_is_due_at_half_and_the_end_a_third_or_32_seconds_before_the_end() {
        for (interval_s, refresher, refresh_s, end_s) in [
            (90, Party::Us, Some(45), 60),
            (90, Party::Peer, None, 60),
            (1800, Party::Us, Some(900), 1768),
            (1800, Party::Peer, None, 1768),
        ] {
            let terms = Terms { interval_s, refresher };
            let mut timer = SessionTimer::new(terms, Policy::default(), Mono(0));

            if let Some(refresh_s) = refresh_s {
                assert_eq!(timer.deadline(), at(refresh_s));
                assert_eq!(timer.handle_timeout(at(refresh_s)), Some(Due::Refresh));
            }
            assert_eq!(timer.deadline(), at(end_s));
            assert_eq!(timer.handle_timeout(at(end_s)), Some(Due::Expired));
        }
    }

    #[test]
    fn every_refresh_sets_the_clock_back() {
        let terms = Terms { interval_s: 90, refresher: Party::Peer };
        let mut timer = SessionTimer::new(terms, Policy::default(), Mono(0));

        timer.renew(terms, at(50));

        assert_eq!(timer.deadline(), at(110));
    }

    #[test]
    fn a_422_raises_what_we_ask_for_and_is_told_again_in_every_request() {
        let terms = Terms { interval_s: 90, refresher: Party::Us };
        let mut timer = SessionTimer::new(terms, Policy::default(), Mono(0));
        assert!(timer.is_news(600));

        timer.peer_wants_at_least(600);

        assert!(!timer.is_news(600));
        let written = written(|writer| timer.write_request(writer));
        assert_eq!(
            written,
            "Supported: timer\r\nSession-Expires: 600;refresher=uac\r\nMin-SE: 600\r\n"
        );
    }

    #[test]
    fn an_invite_asks_for_what_the_policy_says() {
        let none = Policy::default();
        let all =
            Policy { interval_s: Some(1800), min_s: 900, refresher: Some(Refresher::Uas), ..none };
        for (policy, peer_min_s, fields) in [
            (none, 0, ""),
            (none, 300, "Session-Expires: 300\r\nMin-SE: 300\r\n"),
            (all, 0, "Session-Expires: 1800;refresher=uas\r\nMin-SE: 900\r\n"),
            (all, 2000, "Session-Expires: 2000;refresher=uas\r\nMin-SE: 2000\r\n"),
        ] {
            assert_eq!(written(|writer| policy.write_ask(peer_min_s, writer)), fields);
        }
    }

    fn at(s: u64) -> Mono {
        Mono(0) + Duration::from_secs(s)
    }

    fn written(write: impl FnOnce(&mut Writer)) -> String {
        let mut writer = Writer::new();
        writer.response(200, b"OK");
        write(&mut writer);
        let text = String::from_utf8(writer.finish().to_vec()).unwrap();
        let fields = text.strip_prefix("SIP/2.0 200 OK\r\n").unwrap();
        fields.strip_suffix("Content-Length: 0\r\n\r\n").unwrap().to_owned()
    }

    fn request(fields: &str) -> Headers {
        parse(&format!("INVITE sip:a@b SIP/2.0\r\n{}{fields}\r\n", COMMON)).headers().clone()
    }

    fn response(fields: &str) -> Response {
        match parse(&format!("SIP/2.0 200 OK\r\n{}{fields}\r\n", COMMON)) {
            Message::Response(response) => response,
            Message::Request(_) => unreachable!(),
        }
    }

    const COMMON: &str = "Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
                          To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\
                          Content-Length: 0\r\n";

    fn parse(text: &str) -> Message {
        Message::parse(Bytes::from(text.to_owned()), &Limits::default()).unwrap()
    }
}
