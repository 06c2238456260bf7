//! Reading a 3xx: whom to call instead.

use crate::sip::call::Call;
use crate::sip::call::redirect::{CONTACTS_MAX, Moved};
use crate::sip::call::report::AttemptNumber;
use crate::sip::leg::event::LegEvent;
use crate::sip::message::{HeaderName, NameAddr, Response};

use super::Settings;

/// What the 3xx of a target means to its call. 305 and 380 are refusals: what their Contacts are
/// is not an address of the target (RFC 3261 §21.3.4, §21.3.5).
pub(super) fn redirection(
    call: &Call,
    attempt: AttemptNumber,
    response: &Response,
    settings: &Settings,
) -> Option<LegEvent> {
    let status = response.status();
    if !matches!(status, 300..=302) {
        return None;
    }
    let planned = call.attempt(attempt)?;
    let (max, hosts) = planned.redirects();
    if max == 0 {
        return None;
    }
    let mut contacts: Vec<NameAddr<'_>> =
        response.addresses(HeaderName::Contact).filter_map(Result::ok).collect();
    // The sort is stable: of two that are liked equally the first comes first.
    contacts.sort_by_key(|contact| std::cmp::Reverse(preference(contact)));
    // A target on this machine may not send its call back to us.
    let allowed = |contact: &NameAddr<'_>| {
        let moved = call.admits(attempt, contact.uri(), hosts)?;
        (!settings.is_ours(&moved.destination)).then_some(moved)
    };
    let contacts: Vec<Moved> = contacts.iter().filter_map(allowed).take(CONTACTS_MAX).collect();
    Some(LegEvent::Redirected { status, contacts })
}

/// The `q` parameter in thousandths, 1000 without one (RFC 3261 §20.10).
fn preference(contact: &NameAddr<'_>) -> u16 {
    let Some(text) = contact.params().value(b"q") else { return 1000 };
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &text[..0]),
    };
    if whole == b"1" {
        return 1000;
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(3);
    digits.fold(0, |value, digit| value * 10 + u16::from(digit.saturating_sub(b'0').min(9)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_thousandths() {
        for (text, expected) in [
            ("<sip:a>", 1000),
            ("<sip:a>;q=1", 1000),
            ("<sip:a>;q=1.0", 1000),
            ("<sip:a>;q=0.7", 700),
            ("<sip:a>;q=0.725", 725),
            ("<sip:a>;q=0", 0),
            ("<sip:a>;q=.5", 500),
            ("<sip:a>;q=x", 0),
        ] {
            assert_eq!(preference(&NameAddr::parse(text.as_bytes()).unwrap()), expected, "{text}");
        }
    }
}
