//! What a leg does that its peer has a say in: session timers and reliable provisional responses.
//!
//! Read from the `dialog` table of a carrier file or of a target. What is absent there is what
//! every peer can live with: a timer is taken but not asked for, and a response is made reliable
//! where the peer insists.

use super::session_timer::{self, INTERVAL_MIN_S};
use crate::sip::message::Refresher;
use crate::sip::transaction::Timers;
use crate::sip::trunk::profile::{self, Dialog, InfoPassage, Passage, Support};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LegPolicy {
    pub session: session_timer::Policy,
    /// RFC 3262. Towards a caller: `No` refuses an INVITE that requires it, `Supported` uses it
    /// where the INVITE offers it, `Required` refuses one that does not; absent uses it where the
    /// INVITE requires it. Towards a target: whether our INVITE offers or requires it; absent is
    /// `No`.
    pub reliable: Option<Support>,
    /// Of transactions with the peer; absent: those of the process.
    pub timers: Option<PeerTimers>,
    pub passages: Passages,
}

/// What becomes of what one party tells the other beside the call (spec/sip B18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passages {
    pub info: InfoPassage,
    pub message: Passage,
    /// Of NOTIFYs that are no REFER's.
    pub notify: Passage,
}

impl Default for Passages {
    fn default() -> Self {
        Self { info: InfoPassage::Pass, message: Passage::Pass, notify: Passage::Refuse }
    }
}

impl Passages {
    fn compile(wanted: &profile::Relay) -> Self {
        let default = Self::default();
        Self {
            info: wanted.info.unwrap_or(default.info),
            message: wanted.message.unwrap_or(default.message),
            notify: wanted.notify.unwrap_or(default.notify),
        }
    }
}

/// T1, T2 and T4 of RFC 3261 §17 for a peer that is nearer or farther than most (spec/sip X1), in
/// milliseconds; absent: those of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerTimers {
    pub t1_ms: Option<u16>,
    pub t2_ms: Option<u16>,
    pub t4_ms: Option<u16>,
}

impl PeerTimers {
    /// These, and `own` where nothing was agreed.
    pub fn over(self, own: Timers) -> Timers {
        Timers {
            t1_ms: self.t1_ms.map_or(own.t1_ms, u32::from),
            t2_ms: self.t2_ms.map_or(own.t2_ms, u32::from),
            t4_ms: self.t4_ms.map_or(own.t4_ms, u32::from),
            reliable: own.reliable,
        }
    }

    fn compile(wanted: &profile::Timers) -> Result<Self, PolicyFault> {
        let most = |field, value: Option<u32>, most: u16| {
            let Some(value) = value else { return Ok(None) };
            match u16::try_from(value).ok().filter(|ms| (T_MIN_MS..=most).contains(ms)) {
                Some(ms) => Ok(Some(ms)),
                None => Err(PolicyFault {
                    field,
                    value,
                    problem: String::from("is out of range"),
                    remedy: format!("use {T_MIN_MS} to {most} milliseconds"),
                }),
            }
        };
        Ok(Self {
            t1_ms: most("timers.t1_ms", wanted.t1_ms, T1_MAX_MS)?,
            t2_ms: most("timers.t2_ms", wanted.t2_ms, T2_MAX_MS)?,
            t4_ms: most("timers.t4_ms", wanted.t4_ms, T2_MAX_MS)?,
        })
    }
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

/// Bounds of T1, and of T2 and T4, as for those of the process.
const T_MIN_MS: u16 = 10;
const T1_MAX_MS: u16 = 5_000;
const T2_MAX_MS: u16 = 60_000;

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
        let timers = dialog.timers.as_ref().map(PeerTimers::compile).transpose()?;
        let passages = dialog.relay.as_ref().map(Passages::compile).unwrap_or_default();
        Ok(Self { session, reliable: dialog.reliable_provisionals, timers, passages })
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
        let passages =
            Passages { info: InfoPassage::Pass, message: Passage::Pass, notify: Passage::Refuse };
        assert_eq!(policy, LegPolicy { session, reliable: None, timers: None, passages });
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

    #[test]
    fn timers_of_a_peer_replace_those_of_the_process_one_by_one() {
        let dialog: Dialog = toml::from_str("timers = { t1_ms = 100, t2_ms = 800 }").unwrap();
        let timers = LegPolicy::compile(&dialog).unwrap().timers.unwrap();

        let expected = Timers { t1_ms: 100, t2_ms: 800, ..Timers::default() };
        assert_eq!(timers.over(Timers::default()), expected);
        let dialog: Dialog = toml::from_str("timers = { t1_ms = 5001 }").unwrap();
        let fault = LegPolicy::compile(&dialog).unwrap_err();
        assert_eq!(fault.to_string(), "timers.t1_ms = 5001 is out of range");
        assert_eq!(fault.remedy, "use 10 to 5000 milliseconds");
    }
}
