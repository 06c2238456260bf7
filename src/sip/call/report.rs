//! What a call tells about itself. The server turns each report into a fact.

use std::fmt;

use bytes::Bytes;

use crate::reason::Reason;
use crate::sip::message::Uri;

use super::plan::Destination;

/// Attempts are numbered from 1 in the order they are made; the number is also the leg's.
pub type AttemptNumber = u8;

#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// Our INVITE left for this attempt.
    AttemptStarted { attempt: AttemptNumber },
    /// Its first response beyond 100.
    AttemptProgress { attempt: AttemptNumber, status: u16 },
    /// The attempt is over without an answer. `status` is the target's, if it gave one. One that did
    /// not start was denied its hold, or nobody said in time whether it has it.
    AttemptFailed {
        attempt: AttemptNumber,
        status: Option<u16>,
        /// Cause of ITU-T Q.850, if the target gave one (RFC 3326).
        q850: Option<u8>,
        reason: Reason,
    },
    /// The attempt is over, and never reached its target. The next one goes to the same target another
    /// way, with what this one occupies; the rest is as for [`Report::AttemptFailed`].
    WayFailed { attempt: AttemptNumber, status: Option<u16>, q850: Option<u8>, reason: Reason },
    /// The target could not be reached there; the attempt goes on at its next address. `status` is
    /// what was answered, if anything was.
    AddressFailed { attempt: AttemptNumber, at: Destination, status: Option<u16>, reason: Reason },
    /// The target of attempt `after` named other places. They are attempts of the same target
    /// from now on, in this order, numbered from `after + 1`; what was planned comes behind them.
    Extended { after: AttemptNumber, uris: Vec<Place> },
    /// We answered the caller ourselves, and it confirmed.
    Taken,
    /// The carrier accepted our REFER.
    Referred { attempt: AttemptNumber },
    /// The carrier has the call. `status` is what the target answered it, if it said so; without
    /// it the outcome is not known, and never will be.
    HandedOver { attempt: AttemptNumber, by: Means, status: Option<u16> },
    /// The target asked to be replaced, and the new party at `uri` is called, as an attempt of its
    /// own behind all that were planned.
    TransferStarted { attempt: AttemptNumber, uri: Place },
    /// It did not take the call, which goes on as it was.
    TransferFailed { attempt: AttemptNumber, status: u16, reason: Reason },
    /// It has taken the target's place.
    Transferred { attempt: AttemptNumber },
    /// The target answered. Durable before the caller learns of it (spec/data §1.2).
    Answered { attempt: AttemptNumber },
    /// The target that had answered hung up so soon that the call goes on to the next one.
    EndedEarly { attempt: AttemptNumber, q850: Option<u8> },
    /// The caller acknowledged the answer.
    Confirmed,
    /// The call is over; nothing follows. `status` is what the caller's INVITE was answered.
    Ended { party: Party, reason: Reason, status: u16, q850: Option<u8> },
}

/// A URI that a party has named. `Debug` hides whom: it may be a caller.
#[derive(Clone, PartialEq, Eq)]
pub struct Place(pub Bytes);

impl Place {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Uri::parse(&self.0) {
            Ok(uri) => uri.fmt(f),
            Err(_) => f.write_str("Place(…)"),
        }
    }
}

/// How a carrier was told whom to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    Refer,
    Redirect,
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    Caller,
    Target,
    System,
}

/// The value of a Reason header field that goes along to the other leg (RFC 3326, spec/sip B6).
pub type ReasonValue = Option<Bytes>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_a_place_does_not_print_who_is_called() {
        let place = |text: &'static str| Place(Bytes::from_static(text.as_bytes()));
        let uris = vec![place("sip:+12125550111@buyer.example"), place("+12125550111")];
        let started = Report::TransferStarted { attempt: 2, uri: uris[0].clone() };

        let printed = format!("{:?} {started:?}", Report::Extended { after: 1, uris });

        assert!(!printed.contains("5550111") && printed.contains("buyer.example"), "{printed}");
    }
}
