//! Dialled numbers and caller ids, from the forms carriers write to E.164 (C3, C4).

use crate::phone::{ParseNumberError, PhoneNumber};

use super::profile::{CountryCode, DidFrom, Inbound, NumberFormat};

pub use super::profile::CliHeader as IdentityHeader;

/// How one trunk writes numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberRules {
    did_from: DidFrom,
    format: NumberFormat,
    country: CountryCode,
    tech_prefix: Option<Box<[u8]>>,
    cli_order: Vec<IdentityHeader>,
}

/// Why no telephone number could be read. Does not repeat the text: it may be a caller's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberFault {
    #[error("the URI has no user part")]
    Missing,
    #[error("the user part is longer than any telephone number")]
    TooLong,
    #[error("the user part {0}")]
    NotANumber(#[from] ParseNumberError),
}

/// A header that may name the caller. `user` is the user part of its URI, or what follows `tel:`.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    pub header: IdentityHeader,
    pub user: &'a [u8],
}

/// Who calls, as far as the carrier says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Absent if no header holds a number.
    pub number: Option<PhoneNumber>,
    /// The caller does not want to be named: the number is for routing and billing only and goes
    /// to nobody (RFC 3323, RFC 3325 §7).
    pub withheld: bool,
}

impl NumberRules {
    pub fn new(inbound: &Inbound) -> Self {
        Self {
            did_from: inbound.did_from,
            format: inbound.did_format,
            country: inbound.country_code,
            tech_prefix: inbound.tech_prefix.as_ref().map(|prefix| prefix.as_bytes().into()),
            cli_order: inbound.cli_order.clone(),
        }
    }

    /// The dialled number, out of the user parts of Request-URI and To as they stand on the wire
    /// (for a `tel:` URI, what follows the scheme).
    ///
    /// # Errors
    /// The user part that the trunk's rule names is no telephone number.
    pub fn dialed_number(
        &self,
        request_uri_user: &[u8],
        to_user: &[u8],
    ) -> Result<PhoneNumber, NumberFault> {
        let user = match self.did_from {
            DidFrom::Ruri => request_uri_user,
            DidFrom::To => to_user,
        };
        self.e164(user, self.tech_prefix.as_deref().unwrap_or_default())
    }

    /// The first of `identities` that holds a number, by the trunk's order of headers and then by
    /// their own. `privacy` is the value of the Privacy header.
    pub fn caller_number(&self, identities: &[Identity<'_>], privacy: Option<&[u8]>) -> Caller {
        let number = self
            .cli_order
            .iter()
            .flat_map(|header| identities.iter().filter(move |it| it.header == *header))
            .find_map(|identity| self.e164(identity.user, b"").ok());
        let is_anonymous =
            |it: &Identity<'_>| it.header == IdentityHeader::From && is_placeholder(it.user);
        let withheld = identities.iter().any(is_anonymous) || privacy.is_some_and(asks_for_privacy);
        Caller { number, withheld }
    }

    /// `user` as on the wire; `prefix` is dropped from its front if it is there.
    fn e164(&self, user: &[u8], prefix: &[u8]) -> Result<PhoneNumber, NumberFault> {
        let (user, params) = split_at_byte(user, b';');
        let (user, _password) = split_at_byte(user, b':');
        let mut buffer = [0; USER_BYTES_MAX];
        let user = unescape(user, &mut buffer)?;
        let digits = user.strip_prefix(prefix).unwrap_or(user);
        if digits.is_empty() {
            return Err(NumberFault::Missing);
        }
        if digits.starts_with(b"+") {
            return Ok(PhoneNumber::from_bytes(digits)?);
        }
        match (global_context(params), self.format) {
            (Some(country), _) => Ok(national(digits, country)?),
            (None, NumberFormat::National) => Ok(national(digits, self.country)?),
            (None, NumberFormat::E164) => {
                Ok(PhoneNumber::from_bytes(digits.strip_prefix(b"00").unwrap_or(digits))?)
            }
        }
    }
}

/// A number with separators and a technical prefix is far shorter.
const USER_BYTES_MAX: usize = 64;

/// In North America ten digits, or more with the country code; elsewhere the number with or
/// without its leading 0. In both, what begins with the international prefix is E.164 after it.
fn national(digits: &[u8], country: CountryCode) -> Result<PhoneNumber, ParseNumberError> {
    if country == CountryCode::NORTH_AMERICA {
        if let Some(international) = digits.strip_prefix(b"011") {
            return PhoneNumber::from_bytes(international);
        }
        return match digits.iter().filter(|byte| byte.is_ascii_digit()).count() {
            10 => with_country(digits, country),
            count @ 0..10 => Err(ParseNumberError::Length(count)),
            _ => PhoneNumber::from_bytes(digits),
        };
    }
    if let Some(international) = digits.strip_prefix(b"00") {
        return PhoneNumber::from_bytes(international);
    }
    with_country(digits.strip_prefix(b"0").unwrap_or(digits), country)
}

fn with_country(digits: &[u8], country: CountryCode) -> Result<PhoneNumber, ParseNumberError> {
    let national = PhoneNumber::from_bytes(digits)?.digits();
    let scale = 10_u64.pow(national.ilog10() + 1);
    u64::from(country.get())
        .checked_mul(scale)
        .and_then(|country| PhoneNumber::from_digits(country + national))
        .ok_or(ParseNumberError::Length(16))
}

/// The country of `;phone-context=+1` (RFC 3966 §5.1.5); a domain is no country.
fn global_context(params: &[u8]) -> Option<CountryCode> {
    let digits = params.split(|byte| *byte == b';').find_map(|param| {
        let (name, value) = split_at_byte(param, b'=');
        name.eq_ignore_ascii_case(b"phone-context").then_some(value)?.strip_prefix(b"+")
    })?;
    std::str::from_utf8(digits).ok()?.parse().ok().and_then(CountryCode::new)
}

/// What stands in From in place of a number the caller withholds (RFC 3323 §4.1.1.3 and custom).
fn is_placeholder(user: &[u8]) -> bool {
    const PLACEHOLDERS: [&[u8]; 4] = [b"anonymous", b"restricted", b"private", b"unavailable"];
    let (user, _params) = split_at_byte(user, b';');
    PLACEHOLDERS.iter().any(|word| user.eq_ignore_ascii_case(word))
}

/// Whether a Privacy value asks to hide the identity: `id`, `user` or `header` (RFC 3323 §4.2,
/// RFC 3325 §9.3).
fn asks_for_privacy(value: &[u8]) -> bool {
    value.split(|byte| matches!(byte, b';' | b',')).map(<[u8]>::trim_ascii).any(|word| {
        [b"id".as_slice(), b"user", b"header"].iter().any(|it| word.eq_ignore_ascii_case(it))
    })
}

/// Before and after the first `byte`; after is empty if there is none.
fn split_at_byte(text: &[u8], byte: u8) -> (&[u8], &[u8]) {
    match text.iter().position(|it| *it == byte) {
        Some(position) => (&text[..position], &text[position + 1..]),
        None => (text, &[]),
    }
}

/// `%2B` becomes `+` (RFC 3261 §19.1.2); a broken escape stays as it is.
fn unescape<'a>(
    user: &'a [u8],
    buffer: &'a mut [u8; USER_BYTES_MAX],
) -> Result<&'a [u8], NumberFault> {
    if !user.contains(&b'%') {
        return Ok(user);
    }
    let (mut rest, mut length) = (user, 0);
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, ..] if first == b'%' => hex(*high).zip(hex(*low)).map(|(h, l)| h << 4 | l),
            _ => None,
        };
        *buffer.get_mut(length).ok_or(NumberFault::TooLong)? = escaped.unwrap_or(first);
        length += 1;
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    Ok(&buffer[..length])
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn with_a_plus_every_format_is_e164() {
        for format in [NumberFormat::E164, NumberFormat::National] {
            let rules = rules(format, "1");
            assert_eq!(dialed(&rules, "+18005550100"), Ok(18_005_550_100));
            assert_eq!(dialed(&rules, "+442071838750"), Ok(442_071_838_750));
            assert_eq!(dialed(&rules, "%2B18005550100"), Ok(18_005_550_100));
            assert_eq!(dialed(&rules, "+1-800-555-0100"), Ok(18_005_550_100));
        }
    }

    #[test]
    fn without_a_plus_the_format_decides() {
        let e164 = rules(NumberFormat::E164, "1");
        assert_eq!(dialed(&e164, "18005550100"), Ok(18_005_550_100));
        assert_eq!(dialed(&e164, "0018005550100"), Ok(18_005_550_100));

        let nanp = rules(NumberFormat::National, "1");
        assert_eq!(dialed(&nanp, "8005550100"), Ok(18_005_550_100));
        assert_eq!(dialed(&nanp, "18005550100"), Ok(18_005_550_100));
        assert_eq!(dialed(&nanp, "011442071838750"), Ok(442_071_838_750));
        assert_eq!(dialed(&nanp, "442071838750"), Ok(442_071_838_750));
        assert_eq!(dialed(&nanp, "5550100"), Err(ParseNumberError::Length(7).into()));

        let uk = rules(NumberFormat::National, "44");
        assert_eq!(dialed(&uk, "02071838750"), Ok(442_071_838_750));
        assert_eq!(dialed(&uk, "2071838750"), Ok(442_071_838_750));
        assert_eq!(dialed(&uk, "0018005550100"), Ok(18_005_550_100));
    }

    #[test]
    fn parameters_of_the_user_part_are_cut() {
        let rules = rules(NumberFormat::E164, "1");
        assert_eq!(dialed(&rules, "+18005550100;npdi;rn=+16145550199"), Ok(18_005_550_100));
        assert_eq!(dialed(&rules, "+18005550100:secret"), Ok(18_005_550_100));
        assert_eq!(dialed(&rules, "8005550100;phone-context=+1"), Ok(18_005_550_100));
        assert_eq!(dialed(&rules, "18005550100;phone-context=+1"), Ok(18_005_550_100));
        assert_eq!(dialed(&rules, "18005550100;phone-context=example.com"), Ok(18_005_550_100));
    }

    #[test]
    fn a_technical_prefix_is_dropped_where_it_stands() {
        let inbound = Inbound { tech_prefix: Some("12345678#".into()), ..Inbound::default() };
        let rules = NumberRules::new(&inbound);
        assert_eq!(dialed(&rules, "12345678%2318005550100"), Ok(18_005_550_100));
        assert_eq!(dialed(&rules, "+18005550100"), Ok(18_005_550_100));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let rules = rules(NumberFormat::E164, "1");
        assert_eq!(dialed(&rules, ""), Err(NumberFault::Missing));
        assert_eq!(dialed(&rules, ";npdi"), Err(NumberFault::Missing));
        assert_eq!(dialed(&rules, "alice"), Err(ParseNumberError::NotDigits.into()));
        assert_eq!(dialed(&rules, "%0018005550100"), Err(ParseNumberError::NotDigits.into()));
        assert_eq!(dialed(&rules, "1800555%"), Err(ParseNumberError::NotDigits.into()));
        assert_eq!(dialed(&rules, &"%31".repeat(65)), Err(NumberFault::TooLong));
        assert_eq!(dialed(&rules, &"1".repeat(65)), Err(ParseNumberError::Length(16).into()));
    }

    #[test]
    fn the_dialled_number_may_stand_in_to() {
        let inbound = Inbound { did_from: DidFrom::To, ..Inbound::default() };
        let number = NumberRules::new(&inbound).dialed_number(b"account", b"+18005550100");
        assert_eq!(number.map(PhoneNumber::digits), Ok(18_005_550_100));
    }

    #[test]
    fn the_first_header_with_a_number_names_the_caller() {
        let rules = rules(NumberFormat::National, "1");
        let pai = Identity { header: IdentityHeader::Pai, user: b"+16145550163" };
        let second_pai = Identity { header: IdentityHeader::Pai, user: b"+16145550164" };
        let pai_name = Identity { header: IdentityHeader::Pai, user: b"alice" };
        let rpid = Identity { header: IdentityHeader::Rpid, user: b"6145550165" };
        let from = Identity { header: IdentityHeader::From, user: b"6145550166" };
        let digits = |identities: &[Identity<'_>]| {
            rules.caller_number(identities, None).number.map(PhoneNumber::digits)
        };

        assert_eq!(digits(&[from, rpid, pai, second_pai]), Some(16_145_550_163));
        assert_eq!(digits(&[from, rpid, pai_name]), Some(16_145_550_165));
        assert_eq!(digits(&[from, pai_name]), Some(16_145_550_166));
        assert_eq!(digits(&[pai_name]), None);
    }

    #[test]
    fn a_withheld_number_is_known_and_marked() {
        let rules = rules(NumberFormat::E164, "1");
        let pai = Identity { header: IdentityHeader::Pai, user: b"+16145550163" };
        let from = |user| Identity { header: IdentityHeader::From, user };
        let number = Some(PhoneNumber::from_digits(16_145_550_163).unwrap());
        let caller = |identities: &[Identity<'_>], privacy| {
            let caller = rules.caller_number(identities, privacy);
            (caller.number, caller.withheld)
        };

        assert_eq!(caller(&[pai, from(b"Anonymous")], None), (number, true));
        assert_eq!(caller(&[pai, from(b"+16145550163")], Some(b"id;critical")), (number, true));
        assert_eq!(caller(&[pai, from(b"+16145550163")], Some(b"none")), (number, false));
        assert_eq!(caller(&[from(b"anonymous")], None), (None, true));
        assert_eq!(caller(&[from(b"")], None), (None, false));
    }

    proptest! {
        #[test]
        fn no_user_part_is_too_odd_to_be_read(user in prop::collection::vec(any::<u8>(), 0..100)) {
            for format in [NumberFormat::E164, NumberFormat::National] {
                for country in ["1", "44"] {
                    let _ = rules(format, country).dialed_number(&user, b"");
                }
            }
        }

        #[test]
        fn a_number_is_the_same_with_and_without_escapes(digits in "[1-9][0-9]{6,14}") {
            let rules = rules(NumberFormat::E164, "1");
            let escaped: String = digits.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let plain = dialed(&rules, &digits);

            prop_assert_eq!(&plain, &digits.parse().map_err(|_| NumberFault::Missing));
            prop_assert_eq!(&dialed(&rules, &escaped), &plain);
            prop_assert_eq!(&dialed(&rules, &format!("%2B{digits}")), &plain);
        }
    }

    fn rules(format: NumberFormat, country: &str) -> NumberRules {
        let country_code = CountryCode::new(country.parse().unwrap()).unwrap();
        NumberRules::new(&Inbound { did_format: format, country_code, ..Inbound::default() })
    }

    fn dialed(rules: &NumberRules, user: &str) -> Result<u64, NumberFault> {
        rules.dialed_number(user.as_bytes(), b"").map(PhoneNumber::digits)
    }
}
