//! The one way in which each kind of tag is kept.

use jiff::civil::Date;
use smol_str::{SmolStr, ToSmolStr};

use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::routing::config::TagKind;
use crate::routing::geo::states::state;

impl TagKind {
    /// As it is written.
    pub(in crate::routing) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Enum => "enum",
            Self::State => "state",
            Self::Zip => "zip",
            Self::Phone => "phone",
            Self::Date => "date",
            Self::Money => "money",
        }
    }

    /// Whether its values have an order that filters can ask about.
    pub(in crate::routing) fn has_order(self) -> bool {
        match self {
            Self::Number | Self::Integer | Self::Date | Self::Money => true,
            Self::Text | Self::Boolean | Self::Enum | Self::State | Self::Zip | Self::Phone => {
                false
            }
        }
    }

    /// Whether filters can ask about parts of it.
    pub(in crate::routing) fn has_parts(self) -> bool {
        match self {
            Self::Text | Self::Enum | Self::State | Self::Zip | Self::Phone | Self::Date => true,
            Self::Number | Self::Integer | Self::Boolean | Self::Money => false,
        }
    }

    /// What it says, written in the one way; else what it would have to be. Of an `enum` and a
    /// `text` it is what was given.
    pub(super) fn kept(self, text: &str) -> Result<SmolStr, &'static str> {
        let trimmed = text.trim();
        match self {
            Self::Text => Ok(text.into()),
            Self::Enum => Ok(trimmed.into()),
            Self::Number => {
                let scaled = trimmed.parse::<Money>().ok().filter(|_| has_digits(trimmed));
                scaled.map(number).ok_or("must be a decimal number with at most six places")
            }
            Self::Integer => trimmed
                .parse::<i64>()
                .map(|it| it.to_smolstr())
                .map_err(|_| "must be a whole number"),
            Self::Boolean => match trimmed.to_ascii_lowercase().as_str() {
                "true" | "yes" | "y" | "1" | "on" => Ok("true".into()),
                "false" | "no" | "n" | "0" | "off" => Ok("false".into()),
                _ => Err("must be true or false"),
            },
            Self::State => state(trimmed)
                .map(SmolStr::new_static)
                .ok_or("must be a state of the US or a province of Canada, such as OH"),
            Self::Zip => zip(trimmed).ok_or("must be a ZIP code of five digits, sent as a text"),
            Self::Phone => phone(trimmed).ok_or("must be a telephone number such as +16145550163"),
            Self::Date => trimmed
                .parse::<Date>()
                .ok()
                .filter(|_| trimmed.len() == "2026-03-17".len())
                .map(|date| date.to_smolstr())
                .ok_or("must be a date such as 2026-03-17"),
            Self::Money => {
                let amount = trimmed.strip_prefix('$').unwrap_or(trimmed);
                let amount = amount.parse::<Money>().ok().filter(|_| has_digits(amount));
                amount.map(|it| it.to_smolstr()).ok_or("must be an amount such as 1200.00")
            }
        }
    }
}

/// An empty text and a lone sign are no numbers, whatever reads them.
fn has_digits(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

/// Without zeros that say nothing: amounts are written with two places, and 41 is no amount.
fn number(scaled: Money) -> SmolStr {
    let text = scaled.to_string();
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').into(),
        false => text.into(),
    }
}

fn zip(text: &str) -> Option<SmolStr> {
    let is_digits =
        |text: &str, count| text.len() == count && text.bytes().all(|it| it.is_ascii_digit());
    let zip = match text.split_once('-') {
        Some((zip, plus_four)) => is_digits(plus_four, 4).then_some(zip)?,
        None if is_digits(text, 9) => &text[..5],
        None => text,
    };
    is_digits(zip, 5).then(|| zip.into())
}

fn phone(text: &str) -> Option<SmolStr> {
    Some(PhoneNumber::from_text(text).ok()?.to_e164().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_kept_in_one_way_or_says_what_it_must_be() {
        for (kind, taken, refused) in [
            (TagKind::Text, vec![(" as is ", " as is ")], vec![]),
            (
                TagKind::Number,
                vec![("41", "41"), (" 41.50 ", "41.5"), ("-0.25", "-0.25"), ("100", "100")],
                vec!["", "-", "many", "1e3", "1.1234567", "1,000"],
            ),
            (TagKind::Integer, vec![("041", "41"), ("-3", "-3")], vec!["4.5", "", "x"]),
            (
                TagKind::Boolean,
                vec![("Yes", "true"), ("0", "false"), ("true", "true")],
                vec!["maybe", "", "2"],
            ),
            (TagKind::State, vec![("oh", "OH"), ("Ontario", "ON")], vec!["XX", "O", ""]),
            (
                TagKind::Zip,
                vec![("43215", "43215"), ("43215-1234", "43215"), ("432151234", "43215")],
                vec!["2134", "43215-12", "4321a", "K1A 0B1", ""],
            ),
            (
                TagKind::Phone,
                vec![
                    ("+16145550163", "+16145550163"),
                    ("(614) 555-0163", "+16145550163"),
                    ("1 614 555 0163", "+16145550163"),
                    ("+442079460163", "+442079460163"),
                ],
                vec!["555-01", "0145550163", "call me", ""],
            ),
            (
                TagKind::Date,
                vec![("2026-03-17", "2026-03-17")],
                vec!["2026-02-30", "17.03.2026", "2026-03-17T10:00", ""],
            ),
            (
                TagKind::Money,
                vec![("$1200", "1200.00"), ("41.5", "41.50")],
                vec!["$", "1,200.00", "12 USD", ""],
            ),
        ] {
            for (sent, kept) in taken {
                assert_eq!(kind.kept(sent).as_deref(), Ok(kept), "{kind:?} {sent}");
                assert_eq!(kind.kept(kept).as_deref(), Ok(kept), "{kind:?} {kept}");
            }
            for sent in refused {
                assert!(kind.kept(sent).unwrap_err().starts_with("must be "), "{kind:?} {sent}");
            }
        }
    }
}
