//! What the parties of the simulation are like: drawn by chance once, when a party appears.

use std::time::Duration;

use crate::sip::message::Method;
use fastrand::Rng;

use super::moves::{Elsewhere, Referral};

/// How a party behaves once its INVITE, sent or received, is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Habits {
    /// From the INVITE; the caller's CANCEL, whether or not it is still of use.
    pub(crate) cancel: Option<Duration>,
    /// From the first response that rings: the caller's CANCEL.
    pub(crate) cancel_when_ringing: Option<Duration>,
    /// From the first response that rings: the caller's BYE.
    pub(crate) bye_when_ringing: Option<Duration>,
    /// The CANCEL comes through another NAT binding than its INVITE.
    pub(crate) cancels_through_nat: bool,
    pub(crate) late_offer: bool,
    /// The caller sends its INVITE a second time on another branch.
    pub(crate) forked_upstream: bool,
    /// How many proxies on the way want to stay on it.
    pub(crate) proxies: u8,
    /// From the success to the ACK; `None`: never.
    pub(crate) ack: Option<Duration>,
    /// From the answer (caller) or its ACK (target) to the BYE; `None`: the other side's business.
    pub(crate) talk: Option<Duration>,
    /// Requests within the call, from the answer.
    pub(crate) says: Vec<(Duration, Method)>,
    /// From the INVITE to the moment it falls silent for ever.
    pub(crate) vanish: Option<Duration>,
    /// Responses to the INVITE by the time since it, until a final one (target).
    pub(crate) steps: Vec<(Duration, u16)>,
    pub(crate) on_cancel: OnCancel,
    /// From the answer to a second one with another tag (target).
    pub(crate) second_answer: Option<Duration>,
    /// The answer carries another tag than the ringing (target).
    pub(crate) changes_tag: bool,
    /// How often the answer is sent again although it was acknowledged (target).
    pub(crate) repeats_answer: u8,
    /// It uses reliable provisional responses (RFC 3262): the caller says so in its INVITE and sends
    /// its PRACK after so long, the target makes its responses reliable where it may.
    pub(crate) reliable: Option<Duration>,
    /// The caller takes no provisional responses but reliable ones.
    pub(crate) insists_on_reliable: bool,
    /// What the caller's INVITE, or a target's answer to one that knows session timers, says of the
    /// session (RFC 4028): header lines.
    pub(crate) session: &'static str,
    /// What a target names in a 3xx, with tenths of preference; nothing: its own Contact.
    pub(crate) elsewhere: Vec<(Elsewhere, Option<u8>)>,
    /// What a caller's carrier makes of our REFER.
    pub(crate) referral: Referral,
    pub(crate) on_bye: Reply,
    pub(crate) on_reinvite: Reply,
    pub(crate) on_request: Reply,
}

/// What a target does about a CANCEL.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum OnCancel {
    /// 200 and, after a while, 487.
    Obey(Duration),
    /// 200 and, after a while, an answer all the same.
    Answer(Duration),
    /// 200 and no more.
    Acknowledge,
    /// 481, and on as before.
    Deny,
    #[default]
    Ignore,
}

/// What a party answers to a request within the call.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Silence,
    /// Each after the one before.
    With(Vec<(Duration, u16)>),
}

impl Default for Reply {
    fn default() -> Self {
        Self::With(vec![(Duration::ZERO, 200)])
    }
}

/// The first three are followed.
const REDIRECTIONS: [u16; 5] = [302, 301, 300, 305, 380];

impl Habits {
    pub(crate) fn of_a_caller(rng: &mut Rng) -> Self {
        let mut habits = Self {
            cancels_through_nat: one_in(rng, 4),
            late_offer: one_in(rng, 12),
            forked_upstream: one_in(rng, 40),
            proxies: if one_in(rng, 4) { rng.u8(1..3) } else { 0 },
            ack: Some(Duration::ZERO),
            ..Self::in_a_call(rng)
        };
        match rng.u8(..20) {
            0..2 => habits.cancel = Some(Duration::from_micros(rng.u64(..5_000))),
            2..5 => habits.cancel = Some(ms(rng, 0, 8_000)),
            5 => habits.cancel_when_ringing = Some(ms(rng, 0, 3_000)),
            6 => habits.bye_when_ringing = Some(ms(rng, 0, 1_000)),
            _ => {}
        }
        if one_in(rng, 3) {
            habits.reliable = Some(if one_in(rng, 4) { ms(rng, 0, 3_000) } else { Duration::ZERO });
            habits.insists_on_reliable = one_in(rng, 4);
        }
        habits.session = match rng.u8(..12) {
            0 => "Supported: timer\r\n",
            1 => "Supported: timer\r\nSession-Expires: 1800\r\n",
            2 => "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\nMin-SE: 90\r\n",
            3 => "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n",
            4 => "Supported: timer\r\nSession-Expires: 60\r\n",
            _ => "",
        };
        match rng.u8(..20) {
            0..2 => habits.ack = None,
            2..5 => habits.ack = Some(ms(rng, 0, 12_000)),
            _ => {}
        }
        habits.referral = Referral::draw(rng);
        habits
    }

    pub(crate) fn of_a_target(rng: &mut Rng) -> Self {
        let mut habits = Self {
            proxies: if one_in(rng, 4) { rng.u8(1..3) } else { 0 },
            second_answer: one_in(rng, 20).then(|| ms(rng, 0, 600)),
            changes_tag: one_in(rng, 10),
            repeats_answer: if one_in(rng, 8) { rng.u8(1..6) } else { 0 },
            on_cancel: match rng.u8(..10) {
                0..5 => OnCancel::Obey(ms(rng, 0, 40)),
                5 => OnCancel::Obey(ms(rng, 0, 3_000)),
                6 => OnCancel::Answer(ms(rng, 0, 1_500)),
                7 => OnCancel::Acknowledge,
                8 => OnCancel::Deny,
                _ => OnCancel::Ignore,
            },
            ..Self::in_a_call(rng)
        };
        habits.reliable = (!one_in(rng, 3)).then_some(Duration::ZERO);
        habits.session = match rng.u8(..3) {
            0 => "Require: timer\r\nSession-Expires: 90;refresher=uac\r\n",
            1 => "Session-Expires: 90;refresher=uas\r\n",
            _ => "",
        };
        if one_in(rng, 12) {
            return Self { vanish: Some(Duration::ZERO), ..habits };
        }
        let mut at = if one_in(rng, 8) { ms(rng, 0, 3_500) } else { ms(rng, 0, 20) };
        for status in [100, 180, 183] {
            for _ in 0..rng.u8(..8) / 5 {
                habits.steps.push((at, status));
                at += if one_in(rng, 3) { Duration::ZERO } else { ms(rng, 0, 800) };
            }
        }
        at += match rng.u8(..8) {
            0..2 => Duration::ZERO,
            2..6 => ms(rng, 0, 3_000),
            _ => ms(rng, 0, 12_000),
        };
        let refusals =
            [300, 302, 400, 401, 403, 404, 407, 408, 480, 484, 486, 487, 488, 500, 503, 600, 603];
        habits.elsewhere = Elsewhere::draw(rng);
        match rng.u8(..20) {
            0 => {}
            5 => habits.steps.push((at, REDIRECTIONS[rng.usize(..REDIRECTIONS.len())])),
            1..5 => habits.steps.push((at, refusals[rng.usize(..refusals.len())])),
            _ => habits.steps.push((at, 200)),
        }
        habits
    }

    /// At one of so many addresses: there may be nobody at that one, or somebody who is slow or has
    /// no room.
    pub(crate) fn at_one_of(self, addresses: usize, rng: &mut Rng) -> Self {
        if addresses < 2 {
            return self;
        }
        match rng.u8(..8) {
            0 => Self { vanish: Some(Duration::ZERO), ..self },
            1..3 => Self { steps: vec![(ms(rng, 0, 400), 503)], ..self },
            // Nobody waits that long for a first response.
            3 => Self { steps: vec![(ms(rng, 3_000, 6_000), 200)], ..self },
            4 => Self {
                steps: vec![(ms(rng, 3_000, 4_000), 180), (ms(rng, 4_000, 6_000), 200)],
                ..self
            },
            _ => self,
        }
    }

    /// At a place that was named in a 3xx: it may name others.
    pub(crate) fn named(self, is_named: bool, rng: &mut Rng) -> Self {
        if !is_named || one_in(rng, 2) {
            return self;
        }
        let status = REDIRECTIONS[rng.usize(..3)];
        Self { steps: vec![(ms(rng, 0, 200), status)], ..self }
    }

    fn in_a_call(rng: &mut Rng) -> Self {
        let reply = |rng: &mut Rng, refusals: &[u16]| match rng.u8(..12) {
            0 => Reply::Silence,
            1..3 => Reply::With(vec![(ms(rng, 0, 2_500), refusals[rng.usize(..refusals.len())])]),
            3..5 => Reply::With(vec![(ms(rng, 0, 200), 100), (ms(rng, 0, 6_000), 200)]),
            5 => Reply::With(vec![(ms(rng, 0, 200), 180), (ms(rng, 0, 6_000), 200)]),
            6 => Reply::With(vec![(ms(rng, 0, 200), 100)]),
            _ => Reply::default(),
        };
        let mut habits = Self {
            talk: match rng.u8(..10) {
                0 => Some(Duration::ZERO),
                1..3 => Some(ms(rng, 0, 300)),
                3..6 => Some(ms(rng, 0, 12_000)),
                _ => None,
            },
            vanish: one_in(rng, 25).then(|| ms(rng, 0, 15_000)),
            on_bye: match rng.u8(..12) {
                0 => Reply::Silence,
                1 => Reply::With(vec![(Duration::ZERO, 481)]),
                2 => Reply::With(vec![(ms(rng, 0, 100), 100), (ms(rng, 0, 3_000), 200)]),
                _ => Reply::default(),
            },
            on_reinvite: reply(rng, &[488, 491, 481, 408, 500]),
            on_request: reply(rng, &[405, 415, 481, 408, 500]),
            ..Self::default()
        };
        if one_in(rng, 3) {
            for _ in 0..rng.u8(1..5) {
                let methods = [
                    Method::Invite,
                    Method::Invite,
                    Method::Info,
                    Method::Info,
                    Method::Update,
                    Method::Options,
                ];
                habits.says.push((ms(rng, 0, 8_000), methods[rng.usize(..methods.len())]));
            }
        }
        habits
    }
}

pub(crate) fn one_in(rng: &mut Rng, n: u32) -> bool {
    rng.u32(..n) == 0
}

pub(crate) fn ms(rng: &mut Rng, least: u64, most: u64) -> Duration {
    Duration::from_micros(rng.u64(least * 1000..=most * 1000))
}
