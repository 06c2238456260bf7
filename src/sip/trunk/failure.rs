//! What a carrier is answered when its call fails (B5). The code decides whether the carrier
//! tries another route, so every trunk may have its own.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::reason::Reason;

/// From why a call failed to the status its caller is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailureMap {
    /// By exact status of the target.
    statuses: BTreeMap<u16, u16>,
    /// By hundreds of the target's status.
    classes: BTreeMap<u16, u16>,
    reasons: BTreeMap<Reason, u16>,
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The last target that was tried answered with this status, 300 to 699.
    Target(u16),
    /// We refused it, or gave up.
    Own(Reason),
}

/// An entry of the map that says nothing that can be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapFault {
    #[error("is neither a code from 300 to 699, a class such as \"5xx\", nor a reason")]
    Key,
    #[error("is no code from 400 to 699")]
    Status,
    #[error("would ask the carrier for credentials it has nobody to send to")]
    Challenge,
}

impl FailureMap {
    /// `map` as in a carrier file.
    ///
    /// # Errors
    /// The keys of all entries that cannot be.
    pub fn compile(map: &BTreeMap<SmolStr, u16>) -> Result<Self, Vec<(SmolStr, MapFault)>> {
        let mut compiled = Self::default();
        let mut faults = Vec::new();
        for (key, status) in map {
            if let Err(fault) = compiled.insert(key, *status) {
                faults.push((key.clone(), fault));
            }
        }
        if faults.is_empty() { Ok(compiled) } else { Err(faults) }
    }

    /// The final status for the caller's INVITE, 400 to 699. `said`: what it is unless the map names
    /// the cause.
    pub fn carrier_status(&self, cause: Cause, said: Option<u16>) -> u16 {
        self.mapped(cause).or(said).unwrap_or_else(|| match cause {
            Cause::Target(status) => relayed(status),
            Cause::Own(reason) => failing(reason.status()),
        })
    }

    fn mapped(&self, cause: Cause) -> Option<u16> {
        match cause {
            Cause::Target(status) => {
                self.statuses.get(&status).or_else(|| self.classes.get(&(status / 100)))
            }
            Cause::Own(reason) => self.reasons.get(&reason),
        }
        .copied()
    }

    fn insert(&mut self, key: &str, status: u16) -> Result<(), MapFault> {
        match status {
            401 | 407 => return Err(MapFault::Challenge),
            400..=699 => {}
            _ => return Err(MapFault::Status),
        }
        if let Some(reason) = Reason::from_code(key) {
            self.reasons.insert(reason, status);
        } else if let Some(class @ ("3" | "4" | "5" | "6")) = key.strip_suffix("xx") {
            self.classes.insert(class.parse().map_err(|_| MapFault::Key)?, status);
        } else {
            let code = key.parse().ok().filter(|code| (300..=699).contains(code));
            self.statuses.insert(code.ok_or(MapFault::Key)?, status);
        }
        Ok(())
    }
}

/// A target's status as the caller may see it: its challenges are ours to answer, its overload is
/// not ours (RFC 3261 §16.7 item 6), and its redirections were for us.
pub(crate) fn relayed(status: u16) -> u16 {
    match status {
        401 | 407 | 422 | 503 => 500,
        300..=399 => 480,
        400..=699 => status,
        _ => 500,
    }
}

/// A reason's status where that is no failure: a call that ended well before it was answered
/// cannot be, so it is our fault.
fn failing(status: u16) -> u16 {
    if (400..=699).contains(&status) { status } else { 500 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_s_refusal_is_relayed_unless_it_was_meant_for_us() {
        let map = FailureMap::default();
        for (target, carrier) in [
            (302, 480),
            (400, 400),
            (401, 500),
            (404, 404),
            (407, 500),
            (408, 408),
            (422, 500),
            (480, 480),
            (486, 486),
            (487, 487),
            (488, 488),
            (500, 500),
            (502, 502),
            (503, 500),
            (504, 504),
            (600, 600),
            (603, 603),
            (200, 500),
            (700, 500),
        ] {
            assert_eq!(map.carrier_status(Cause::Target(target), None), carrier, "{target}");
        }
    }

    #[test]
    fn no_carrier_ever_sees_a_challenge_or_an_answer() {
        let map = compile(&[("4xx", 480), ("603", 486)]).unwrap();
        for status in 0..=999 {
            let shown = map.carrier_status(Cause::Target(status), None);
            assert!((400..=699).contains(&shown) && shown != 401 && shown != 407, "{status}");
        }
        for reason in Reason::ALL {
            let shown = map.carrier_status(Cause::Own(*reason), None);
            assert!((400..=699).contains(&shown), "{}", reason.code());
        }
    }

    #[test]
    fn a_trunk_s_own_map_goes_first_and_the_exact_code_before_its_class() {
        let map = compile(&[("486", 600), ("4xx", 404), ("503", 503), ("cap.full", 404)]).unwrap();

        assert_eq!(map.carrier_status(Cause::Target(486), None), 600);
        assert_eq!(map.carrier_status(Cause::Target(480), None), 404);
        assert_eq!(map.carrier_status(Cause::Target(401), None), 404);
        assert_eq!(map.carrier_status(Cause::Target(503), None), 503);
        assert_eq!(map.carrier_status(Cause::Target(500), None), 500);
        assert_eq!(map.carrier_status(Cause::Own(Reason::CapFull), None), 404);
        assert_eq!(map.carrier_status(Cause::Own(Reason::ConcurrencyFull), None), 486);
        assert_eq!(map.carrier_status(Cause::Own(Reason::Draining), None), 503);
    }

    #[test]
    fn what_a_campaign_says_goes_before_what_is_usual_and_behind_what_the_trunk_says() {
        let map = compile(&[("486", 600), ("cap.full", 404)]).unwrap();

        assert_eq!(map.carrier_status(Cause::Target(486), Some(404)), 600);
        assert_eq!(map.carrier_status(Cause::Target(480), Some(404)), 404);
        assert_eq!(map.carrier_status(Cause::Own(Reason::CapFull), Some(480)), 404);
        assert_eq!(map.carrier_status(Cause::Own(Reason::ScheduleClosed), Some(404)), 404);
    }

    #[test]
    fn an_entry_that_cannot_be_is_named() {
        let entries = [("2xx", 480), ("200", 480), ("cap.foo", 480), ("486", 200), ("488", 407)];
        let faults = compile(&entries).unwrap_err();
        assert_eq!(
            faults,
            vec![
                ("200".into(), MapFault::Key),
                ("2xx".into(), MapFault::Key),
                ("486".into(), MapFault::Status),
                ("488".into(), MapFault::Challenge),
                ("cap.foo".into(), MapFault::Key),
            ]
        );
    }

    fn compile(entries: &[(&str, u16)]) -> Result<FailureMap, Vec<(SmolStr, MapFault)>> {
        FailureMap::compile(
            &entries.iter().map(|(key, status)| (SmolStr::new(key), *status)).collect(),
        )
    }
}
