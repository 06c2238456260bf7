//! How sure the carrier says it is of a caller's number (STIR/SHAKEN; spec/domain §2.16). Read from
//! what the trunk's carrier file keeps of an INVITE, so only what a trunk is trusted to say.

use smol_str::SmolStr;

use super::config::Attestation;
use super::request::Tags;

/// What a carrier says of a caller's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attested {
    As(Attestation),
    /// The signature is wrong.
    Failed,
    Nothing,
}

/// Tags that hold a `verstat` value, the first that is there counts: the parameter of the caller's
/// URI, and the header of a carrier that has it there.
const VERSTAT_TAGS: [&str; 2] = ["caller.verstat", "header.x-twilio-verstat"];
/// A tag that holds a bare letter.
const LEVEL_TAG: &str = "header.p-attestation-indicator";

/// All of them.
pub const ATTESTATION_TAGS: [&str; 3] = [VERSTAT_TAGS[0], VERSTAT_TAGS[1], LEVEL_TAG];

impl Attested {
    pub fn of(tags: &Tags) -> Self {
        let verstat = VERSTAT_TAGS.iter().find_map(|tag| tags.get(*tag));
        let level = tags.get(LEVEL_TAG).and_then(|text| level(text));
        match verstat.map(|text| verified(text)) {
            Some(Self::Failed) => Self::Failed,
            // Where the level is said apart, `verstat` says only that there is one.
            Some(Self::As(said)) => Self::As(level.unwrap_or(said)),
            Some(Self::Nothing) | None => level.map_or(Self::Nothing, Self::As),
        }
    }

    /// For people.
    pub(super) fn name(self) -> SmolStr {
        SmolStr::new_static(match self {
            Self::As(level) => level.name(),
            Self::Failed => "failed",
            Self::Nothing => "absent",
        })
    }
}

/// A `verstat` (3GPP TS 24.229 §7.2A.20) with the level that carriers add. Passed alone is A.
fn verified(verstat: &str) -> Attested {
    let verstat = verstat.trim().to_ascii_lowercase();
    match verstat.strip_prefix("tn-validation-") {
        Some(result) if result.starts_with("failed") => Attested::Failed,
        Some("passed") => Attested::As(Attestation::A),
        Some(result) => match result.strip_prefix("passed-").and_then(level) {
            Some(level) => Attested::As(level),
            None => Attested::Nothing,
        },
        None => Attested::Nothing,
    }
}

fn level(text: &str) -> Option<Attestation> {
    match text.trim() {
        "A" | "a" => Some(Attestation::A),
        "B" | "b" => Some(Attestation::B),
        "C" | "c" => Some(Attestation::C),
        _ => None,
    }
}

impl Attestation {
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carriers_write_is_understood() {
        let (a, b, c) = (Attestation::A, Attestation::B, Attestation::C);
        let cases = [
            (vec![("caller.verstat", "TN-Validation-Passed")], Attested::As(a)),
            (vec![("caller.verstat", "TN-Validation-Passed-B")], Attested::As(b)),
            (vec![("header.x-twilio-verstat", "TN-Validation-Passed-C")], Attested::As(c)),
            (vec![("caller.verstat", "TN-Validation-Failed-A")], Attested::Failed),
            (vec![("caller.verstat", "No-TN-Validation")], Attested::Nothing),
            (vec![("caller.verstat", "TN-Validation-Passed-Z")], Attested::Nothing),
            (vec![("header.p-attestation-indicator", "B")], Attested::As(b)),
            (
                vec![
                    ("caller.verstat", "TN-Validation-Passed"),
                    ("header.p-attestation-indicator", "C"),
                ],
                Attested::As(c),
            ),
            (
                vec![
                    ("caller.verstat", "TN-Validation-Failed"),
                    ("header.p-attestation-indicator", "A"),
                ],
                Attested::Failed,
            ),
            (vec![], Attested::Nothing),
        ];
        for (tags, attested) in cases {
            let tags: Tags = tags.into_iter().map(|(t, v)| (t.into(), v.into())).collect();
            assert_eq!(Attested::of(&tags), attested, "{tags:?}");
        }
    }
}
