//! Which telephone numbers may be called (spec/sip S10). The longest beginning that is listed
//! decides; what no list names may be called if nothing is listed as allowed.

use crate::phone::{ParseNumberError, PhoneNumber};
use crate::sip::message::{Uri, unescape};

use super::PolicyFault;
use super::config::DestinationPolicy;

/// Beginnings of numbers and whether they may be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations {
    /// Digits of a beginning; the longest first.
    prefixes: Vec<(Box<str>, bool)>,
    /// Something is listed as allowed, so what is not listed is not.
    closed: bool,
}

/// Beginnings of numbers that cost more than a call: premium rate services of the countries whose
/// plans reserve a range for them, and the international one (ITU-T E.164, +979).
const PREMIUM: [&str; 12] = [
    "1900", "979", "449", "3389", "34803", "34806", "34807", "39899", "49900", "41900", "43900",
    "32900",
];

/// Satellite systems and international networks (ITU-T E.164 shared codes).
const SATELLITE: [&str; 5] = ["870", "878", "881", "882", "883"];

/// Area codes of the North American plan outside the United States and Canada (the Caribbean and
/// Bermuda), dialled like a domestic call and charged like an international one.
const NANP_OFFSHORE: [u16; 21] = [
    242, 246, 264, 268, 284, 345, 441, 473, 649, 658, 664, 721, 758, 767, 784, 809, 829, 849, 868,
    869, 876,
];

impl Destinations {
    /// # Errors
    /// All entries that are neither digits nor a set, or stand in both lists.
    pub fn compile(policy: &DestinationPolicy) -> Result<Self, Vec<PolicyFault>> {
        let mut faults = Vec::new();
        let mut prefixes: Vec<(Box<str>, bool)> = Vec::new();
        for (list, entries, allowed) in
            [("allow", &policy.allow, true), ("deny", &policy.deny, false)]
        {
            for (position, entry) in entries.iter().enumerate() {
                let field = format!("destinations.{list}[{position}]");
                let Some(beginnings) = beginnings(entry) else {
                    faults.push(PolicyFault::new(
                        field,
                        entry.as_str(),
                        "is neither the beginning of a number nor a set of them",
                        "write +1 or +4420, or premium, satellite or nanp-offshore",
                    ));
                    continue;
                };
                for beginning in beginnings {
                    match prefixes.iter().find(|(known, _)| **known == *beginning) {
                        Some((_, known)) if *known != allowed => faults.push(PolicyFault::new(
                            field.clone(),
                            entry.as_str(),
                            "is allowed and denied",
                            "keep it in one of the two lists",
                        )),
                        Some(_) => {}
                        None => prefixes.push((beginning.into_boxed_str(), allowed)),
                    }
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(Self { prefixes, closed: !policy.allow.is_empty() })
    }

    /// Whether every number may be called.
    pub fn is_open(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// Whether the number may be called.
    pub fn permit(&self, number: PhoneNumber) -> bool {
        if self.prefixes.is_empty() {
            return true;
        }
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number.digits());
        let listed = self.prefixes.iter().find(|(prefix, _)| digits.starts_with(&**prefix));
        listed.map_or(!self.closed, |(_, allowed)| *allowed)
    }

    /// The same of a URI that a party has named, and may have spelt so that its number passes for
    /// something else: what looks like a number and is none is not permitted.
    pub fn permit_named(&self, uri: &Uri<'_>) -> bool {
        let Some(user) = uri.user_part().filter(|_| !self.is_open()) else { return true };
        let params = uri.user_params();
        if params.has(b"phone-context") || params.has(b"rn") {
            return false;
        }
        let user = unescape(user);
        let is_like_a_number =
            user.iter().all(|byte| byte.is_ascii_digit() || b"+-.() *#".contains(byte));
        match PhoneNumber::from_bytes(&user) {
            Ok(number) => {
                // Ten digits are a number of the North American plan to those who dial like that.
                let national = Some(number.digits())
                    .filter(|digits| user.first() != Some(&b'+') && *digits < 10_000_000_000)
                    .and_then(|digits| PhoneNumber::from_digits(10_000_000_000 + digits));
                self.permit(number) && national.is_none_or(|number| self.permit(number))
            }
            Err(ParseNumberError::Length(digits)) if digits < 7 => true,
            Err(_) => !is_like_a_number,
        }
    }
}

fn beginnings(entry: &str) -> Option<Vec<String>> {
    let owned = |set: &[&str]| set.iter().map(|prefix| (*prefix).to_owned()).collect();
    match entry {
        "premium" => Some(owned(&PREMIUM)),
        "satellite" => Some(owned(&SATELLITE)),
        "nanp-offshore" => Some(NANP_OFFSHORE.iter().map(|code| format!("1{code}")).collect()),
        _ => {
            let digits = entry.strip_prefix('+')?;
            let valid = (1..=15).contains(&digits.len())
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && !digits.starts_with('0');
            valid.then(|| vec![digits.to_owned()])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_listed_permits_everything() {
        let all = compile(&[], &[]).unwrap();
        assert!(all.permit(number("+18005550100")) && all.permit(number("+9791234567")));
    }

    #[test]
    fn a_number_that_somebody_names_does_not_pass_by_its_spelling() {
        let lists = compile(&["+1"], &["premium"]).unwrap();
        let named = |user: &str| {
            let uri = format!("sip:{user}@buyer.example");
            lists.permit_named(&Uri::parse(uri.as_bytes()).unwrap())
        };

        for user in ["+16145550163", "16145550163", "queue", "5001", "a19005550163"] {
            assert!(named(user), "{user}");
        }
        for user in [
            "+19005550163",
            "19005550163",
            "9005550163",
            // Of Ohio or of Australia?
            "6145550163",
            "%2B19005550163",
            "+1-900-555-0163",
            "+447911123456",
            "011447911123456",
            "*67+19005550163",
            "5550163;phone-context=+1900",
            "+16145550163;rn=+19005550163",
        ] {
            assert!(!named(user), "{user}");
        }
        assert!(compile(&[], &[]).unwrap().permit_named(&Uri::parse(b"sip:*67@a").unwrap()));
    }

    #[test]
    fn the_longest_beginning_decides() {
        let rules = compile(&["+1", "+44207"], &["+1900", "+44", "nanp-offshore", "premium"]);
        let rules = rules.unwrap();
        for (callee, may) in [
            ("+18005550100", true),
            ("+19005550100", false),
            ("+18095550100", false),
            ("+18765550100", false),
            ("+442071838750", true),
            ("+441632960001", false),
            ("+447700900000", false),
            ("+9791234567", false),
            ("+4930123456", false),
        ] {
            assert_eq!(rules.permit(number(callee)), may, "{callee}");
        }
    }

    #[test]
    fn without_an_allowed_list_only_what_is_denied_is_barred() {
        let rules = compile(&[], &["satellite", "+1900"]).unwrap();
        assert!(rules.permit(number("+4930123456")));
        assert!(!rules.permit(number("+881612345678")));
    }

    #[test]
    fn an_entry_that_cannot_be_is_named() {
        let faults = compile(&["1", "+0", "+1"], &["+1", "expensive", ""]).unwrap_err();
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "destinations.allow[0]",
                "destinations.allow[1]",
                "destinations.deny[0]",
                "destinations.deny[1]",
                "destinations.deny[2]",
            ]
        );
    }

    fn compile(allow: &[&str], deny: &[&str]) -> Result<Destinations, Vec<PolicyFault>> {
        let list = |entries: &[&str]| entries.iter().map(smol_str::SmolStr::new).collect();
        Destinations::compile(&DestinationPolicy { allow: list(allow), deny: list(deny) })
    }

    fn number(text: &str) -> PhoneNumber {
        text.parse().unwrap()
    }
}
