//! Fields of a ping that are not known here (spec/data §2.9): kept beside its session for whoever reads it,
//! or refused where that is asked for. Nothing goes by them.

use serde_json::Value;
use smol_str::{SmolStr, ToSmolStr};

use crate::routing::request::Tags;
use crate::suggest::suggestion;

use super::request::{DEPTH_MAX, PingRefusal, PingRefusals, PingRequest, RefusalCode};

/// Fields that are not known and may be in a ping.
pub const EXTRA_MAX: usize = 32;
/// Bytes of them in all, names and values.
pub const EXTRA_BYTES_MAX: usize = 4_096;

/// The fields of a ping's body that are known.
pub const PING_FIELDS: [&str; 17] = [
    "request_id",
    "publisher",
    "campaign",
    "pool",
    "number",
    "caller_id",
    "ttl_s",
    "sip_ok",
    "sub_id",
    "source_type",
    "zip",
    "state",
    "lead",
    "consent",
    "tags",
    "test",
    "strict",
];

impl PingRequest {
    /// What it says in fields that are not known here: texts as they are, anything else as JSON, and null
    /// is nothing. Else each of them, if they are refused, or what there is too much of.
    pub(super) fn to_extra(&self, are_refused: bool) -> Result<Tags, PingRefusals> {
        if are_refused {
            let refusals = self.extra.keys().take(EXTRA_MAX).map(|name| unexpected(name));
            return PingRefusals::of(refusals.collect()).map_or_else(|| Ok(Tags::new()), Err);
        }
        let said = self.extra.iter().filter(|(_, value)| !value.is_null());
        let mut bytes = 0;
        for (nth, (name, value)) in said.clone().enumerate() {
            if depth(value) > DEPTH_MAX {
                let detail = format!("nested more than {DEPTH_MAX} deep");
                return Err(
                    PingRefusal::new(shown(name), RefusalCode::ExtraTooLarge, detail).into()
                );
            }
            bytes += name.len() + text(value).len();
            let limit = match (nth < EXTRA_MAX, bytes <= EXTRA_BYTES_MAX) {
                (true, true) => continue,
                (false, _) => format!("more than {EXTRA_MAX} fields"),
                (true, false) => format!("more than {EXTRA_BYTES_MAX} bytes in fields"),
            };
            let detail = format!("{limit} that are not known here; leave some out");
            return Err(PingRefusal::new(shown(name), RefusalCode::ExtraTooLarge, detail).into());
        }
        Ok(said.map(|(name, value)| (name.to_smolstr(), text(value))).collect())
    }
}

/// Of lists and objects in each other.
fn depth(value: &Value) -> usize {
    let deepest = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return 0,
    };
    deepest.unwrap_or(0) + 1
}

fn text(value: &Value) -> SmolStr {
    match value {
        Value::String(text) => text.into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_smolstr()
        }
    }
}

fn unexpected(name: &str) -> PingRefusal {
    let meant = suggestion(name, PING_FIELDS.into_iter());
    let detail = format!("is no field of a ping that is known here; {meant}");
    PingRefusal::new(shown(name), RefusalCode::Unexpected, detail)
}

fn shown(name: &str) -> &str {
    &name[..name.floor_char_boundary(64)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping(json: &str) -> PingRequest {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_not_known_is_kept_as_it_was_sent() {
        let json =
            r#"{ "pool": "a", "colour": "red", "odd": null, "n": 7, "deep": { "a": [1, "x"] } }"#;

        let extra: Vec<_> = ping(json).to_extra(false).unwrap().into_iter().collect();

        let kept = [("colour", "red"), ("deep", r#"{"a":[1,"x"]}"#), ("n", "7")];
        assert_eq!(extra, kept.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(ping(json).to_tags(None).unwrap(), Tags::new());
    }

    #[test]
    fn what_is_not_known_is_refused_where_that_is_asked_for() {
        let refused = ping(r#"{ "pool": "a", "caler_id": "x", "b": null }"#).to_extra(true);

        let refused = refused.unwrap_err();
        let refused: Vec<_> = refused.iter().map(|it| (it.field.as_str(), it.code)).collect();
        assert_eq!(
            refused,
            [("b", RefusalCode::Unexpected), ("caler_id", RefusalCode::Unexpected)]
        );
        assert!(unexpected("caler_id").detail.contains("did you mean `caller_id`?"));
        assert_eq!(ping(r#"{ "pool": "a" }"#).to_extra(true), Ok(Tags::new()));
    }

    #[test]
    fn as_much_is_kept_as_may_be_and_no_more() {
        let fields = |count: usize| {
            let extra = (0..count).map(|n| (format!("f{n:03}"), Value::from("x"))).collect();
            PingRequest { extra, ..PingRequest::default() }.to_extra(false)
        };
        assert_eq!(fields(EXTRA_MAX).map(|it| it.len()), Ok(EXTRA_MAX));
        let many = fields(EXTRA_MAX + 1).unwrap_err();
        let first = many.first();
        assert_eq!((first.field.as_str(), first.code), ("f032", RefusalCode::ExtraTooLarge));

        let sized = |bytes: usize| {
            let long = Value::from("x".repeat(bytes - "long".len()));
            let extra = [(String::from("long"), long)].into();
            PingRequest { extra, ..PingRequest::default() }.to_extra(false)
        };
        assert_eq!(sized(EXTRA_BYTES_MAX).map(|it| it["long"].len()), Ok(EXTRA_BYTES_MAX - 4));
        let large = sized(EXTRA_BYTES_MAX + 1).unwrap_err();
        assert_eq!(large.first().code, RefusalCode::ExtraTooLarge);
    }
}
