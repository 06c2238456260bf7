//! What a leg does that its peer has a say in: session timers and reliable provisional responses.
//!
//! Read from the `dialog` table of a carrier file or of a target. What is absent there is what
//! every peer can live with: a timer is taken but not asked for, and a response is made reliable
//! where the peer insists.

use super::session_timer::{self, INTERVAL_MIN_S};
use crate::sip::message::Refresher;
use crate::sip::trunk::profile::{self, Dialog, Support};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LegPolicy {
    pub session: session_timer::Policy,
    /// RFC 3262. Towards a caller: `No` refuses an INVITE that requires it, `Supported` uses it
    /// where the INVITE offers it, `Required` refuses one that does not; absent uses it where the
    /// INVITE requires it. Towards a target: whether our INVITE offers or requires it; absent is
    /// `No`.
    pub reliable: Option<Support>,
}

/// A field of a `dialog` table that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value} {problem}")]
pub struct PolicyFault {
    /// Below `dialog`, such as `session_timer.se_s`.
    pub field: &'static str,
    pub value: u32,
    pub problem: String,
    pub remedy: String,
}

/// Longer sessions than a day need no timer.
const INTERVAL_MAX_S: u32 = 86_400;

impl LegPolicy {
    /// # Errors
    /// The first number that RFC 4028 does not allow.
    pub fn compile(dialog: &Dialog) -> Result<Self, PolicyFault> {
        let mut session = session_timer::Policy::default();
        if let Some(timer) = &dialog.session_timer {
            let min_s = timer.min_se_s.unwrap_or(INTERVAL_MIN_S);
            in_range("session_timer.min_se_s", min_s)?;
            if let Some(interval_s) = timer.se_s {
                in_range("session_timer.se_s", interval_s)?;
                if interval_s < min_s {
                    return Err(PolicyFault {
                        field: "session_timer.se_s",
                        value: interval_s,
                        problem: format!("is below min_se_s, {min_s}"),
                        remedy: format!("use {min_s} or more"),
                    });
                }
            }
            session = session_timer::Policy {
                supported: timer.supported.unwrap_or(true),
                interval_s: timer.se_s,
                min_s,
                refresher: timer.refresher.map(|refresher| match refresher {
                    profile::Refresher::Uac => Refresher::Uac,
                    profile::Refresher::Uas => Refresher::Uas,
                }),
            };
        }
        Ok(Self { session, reliable: dialog.reliable_provisionals })
    }
}

fn in_range(field: &'static str, value: u32) -> Result<(), PolicyFault> {
    if (INTERVAL_MIN_S..=INTERVAL_MAX_S).contains(&value) {
        return Ok(());
    }
    Err(PolicyFault {
        field,
        value,
        problem: String::from("is out of range"),
        remedy: format!("use {INTERVAL_MIN_S} to {INTERVAL_MAX_S} seconds"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_does_not_say_is_what_every_peer_can_live_with() {
        let policy = LegPolicy::compile(&Dialog::default()).unwrap();

        let session =
            session_timer::Policy { supported: true, interval_s: None, min_s: 90, refresher: None };
        assert_eq!(policy, LegPolicy { session, reliable: None });
    }

    #[test]
    fn intervals_that_the_rfc_does_not_allow_are_named() {
        for (text, fault) in [
            ("se_s = 89", "session_timer.se_s = 89 is out of range"),
            ("min_se_s = 5", "session_timer.min_se_s = 5 is out of range"),
            ("se_s = 90000", "session_timer.se_s = 90000 is out of range"),
            ("se_s = 600\nmin_se_s = 900", "session_timer.se_s = 600 is below min_se_s, 900"),
        ] {
            let dialog: Dialog = toml::from_str(&format!("[session_timer]\n{text}")).unwrap();
            assert_eq!(LegPolicy::compile(&dialog).unwrap_err().to_string(), fault);
        }
    }
}
