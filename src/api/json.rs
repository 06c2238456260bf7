//! What JSON says that those who read it would take for something else: a name that stands twice in one
//! object, of which they keep the last, and numbers that they have no room for.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Number;

use super::request::escape;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Where a name stands for the second time in its object, RFC 6901.
    pub(super) repeated: Option<String>,
    /// Numbers that would be written otherwise once they are read, such as `18446744073709551616` and `1.10`.
    altered: Vec<Range<usize>>,
}

enum Within<'j> {
    /// The name whose value is being read, and those that stand in it.
    Object {
        name: Cow<'j, str>,
        names: BTreeSet<Cow<'j, str>>,
    },
    List {
        index: usize,
    },
}

/// Looks at JSON that was read before, and so is none that nobody could read.
pub(super) fn look(json: &[u8]) -> Look {
    let mut found = Look::default();
    let mut within: Vec<Within<'_>> = vec![];
    let (mut at, mut is_name) = (0, false);
    while let Some(byte) = json.get(at) {
        let end = match byte {
            b'"' => at + text_length(&json[at..]),
            b'-' | b'0'..=b'9' => at + number_length(&json[at..]),
            _ => at + 1,
        };
        let token = &json[at..end];
        match byte {
            b'{' => {
                within.push(Within::Object { name: Cow::Borrowed(""), names: BTreeSet::new() });
                is_name = true;
            }
            b'[' => {
                within.push(Within::List { index: 0 });
                is_name = false;
            }
            b'}' | b']' => {
                within.pop();
                is_name = false;
            }
            b',' => match within.last_mut() {
                Some(Within::List { index }) => *index += 1,
                Some(Within::Object { .. }) => is_name = true,
                None => {}
            },
            b'"' if is_name => {
                is_name = false;
                if let Some(Within::Object { name, names }) = within.last_mut() {
                    *name = read_name(token);
                    if !names.insert(name.clone()) && found.repeated.is_none() {
                        found.repeated = Some(pointer(&within));
                    }
                }
            }
            b'-' | b'0'..=b'9' if is_altered(token) => found.altered.push(at..end),
            _ => {}
        }
        at = end;
    }
    found
}

impl Look {
    /// The same JSON with each such number as a text; absent: there is none.
    pub(super) fn quoted(&self, json: &[u8]) -> Option<Vec<u8>> {
        let last = self.altered.last()?;
        let mut quoted = Vec::with_capacity(json.len() + 2 * self.altered.len());
        let mut from = 0;
        for number in &self.altered {
            quoted.extend_from_slice(&json[from..number.start]);
            quoted.push(b'"');
            quoted.extend_from_slice(&json[number.clone()]);
            quoted.push(b'"');
            from = number.end;
        }
        quoted.extend_from_slice(&json[last.end..]);
        Some(quoted)
    }
}

/// Of the text that begins here, with its quotes.
fn text_length(json: &[u8]) -> usize {
    let mut at = 1;
    loop {
        match json.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return json.len(),
        }
    }
}

fn number_length(json: &[u8]) -> usize {
    let is_of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    json.iter().position(|byte| !is_of_number(byte)).unwrap_or(json.len())
}

/// What has an exponent is a measure and no name of anything: it is read, and written without where that is short.
fn is_altered(number: &[u8]) -> bool {
    let is_scaled = number.iter().any(|byte| matches!(byte, b'e' | b'E'));
    !is_scaled
        && serde_json::from_slice::<Number>(number)
            .is_ok_and(|read| read.to_string().as_bytes() != number)
}

fn read_name(token: &[u8]) -> Cow<'_, str> {
    let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
    match str::from_utf8(inner) {
        Ok(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
        _ => Cow::Owned(serde_json::from_slice(token).unwrap_or_default()),
    }
}

fn pointer(within: &[Within<'_>]) -> String {
    within
        .iter()
        .map(|it| match it {
            Within::Object { name, .. } => format!("/{}", escape(name)),
            Within::List { index } => format!("/{index}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn repeated(json: &str) -> Option<String> {
        look(json.as_bytes()).repeated
    }

    fn quoted(json: &str) -> Option<String> {
        look(json.as_bytes()).quoted(json.as_bytes()).map(|it| String::from_utf8(it).unwrap())
    }

    #[test]
    fn a_name_that_stands_twice_in_one_object_is_found() {
        for (json, at) in [
            (r#"{"a": 1, "b": {"a": 1}, "c": [{"a": 1}, {"a": 1}], "d": "a"}"#, None),
            (r#"{"a": 1, "a": 1}"#, Some("/a")),
            (r#"{"a": 1, "\u0061": 1}"#, Some("/a")),
            (r#"{"lead": {"x": {}, "a/b": [1, 2], "a/b": 3}}"#, Some("/lead/a~1b")),
            (r#"{"a": [0, [], {"b": "}", "c": ",\"b\":", "b": 1}]}"#, Some("/a/2/b")),
            (r#"[{"a": "\\"}, {"a": "\\", "a": 2, "a": 3}]"#, Some("/1/a")),
        ] {
            assert_eq!(repeated(json).as_deref(), at, "{json}");
        }
    }

    #[test]
    fn a_number_that_would_be_altered_becomes_a_text() {
        let kept =
            r#"{"a": [0, -1, 18446744073709551615, -9223372036854775808, 1.1, 90.0, 1e5, 25E-1]}"#;
        assert_eq!(quoted(kept), None);
        assert_eq!(quoted(r#"{"18446744073709551616": "1.10"}"#), None);
        for number in ["18446744073709551616", "1.10", "-0", "0.12345678901234567890"] {
            let json = format!(r#"{{"a": [7, {number}], "b":{number}, "c": 1}}"#);
            let text = format!(r#"{{"a": [7, "{number}"], "b":"{number}", "c": 1}}"#);
            assert_eq!(quoted(&json), Some(text));
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i32>().prop_map(|n| Value::from(f64::from(n) / 4.0)),
            r#"[a-c"\\{},:\[\]0-9é\n]{0,6}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(r#"[a-c"\\,é]{0,3}"#, inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn in_what_was_written_from_values_nothing_is_found(value in any_json()) {
            for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                prop_assert_eq!(look(json.as_bytes()), Look::default(), "{}", json);
            }
        }

        #[test]
        fn nothing_is_too_odd_to_be_looked_at(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            look(&bytes).quoted(&bytes);
        }
    }
}
