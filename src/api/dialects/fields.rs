//! What a request says, whether in its query or in a form, JSON or XML.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use axum::extract::Request;
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::super::{json, request};
use super::refusal::Refusal;
use crate::routing::door::Door;
use crate::routing::ping::PingRequest;

/// What parameters become whose names are the same wherever publishers have them.
const KNOWN: [(&str, &str); 11] = [
    ("zip", "zip"),
    ("zipcode", "zip"),
    ("zip_code", "zip"),
    ("caller_zip", "zip"),
    ("inboundzipcode", "zip"),
    ("state", "state"),
    ("caller_state", "state"),
    ("inboundstatecode", "state"),
    ("subid", "sub_id"),
    ("sub_id", "sub_id"),
    ("source_type", "source_type"),
];

/// The parameters of a request that nobody took yet, by their names in lower case. Those that are empty
/// are left out: they say nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fields(BTreeMap<String, (String, Value)>);

impl Fields {
    /// Reads the query, then the body, which goes before it. In each of them a parameter stands once, or says
    /// the same again.
    pub(super) async fn read(request: Request) -> Result<Self, Refusal> {
        let (mut in_query, mut fields) = (Self::default(), Self::default());
        in_query.read_query(request.uri())?;
        let media_type = request.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
        let media_type = media_type.unwrap_or_default().to_ascii_lowercase();
        let bytes = request::read(request, &())
            .await
            .map_err(|problem| Refusal::Unreadable(problem.detail().to_owned()))?;
        fields.read_body(&media_type, &bytes)?;
        for (lower, parameter) in in_query.0 {
            fields.0.entry(lower).or_insert(parameter);
        }
        Ok(fields)
    }

    fn read_query(&mut self, uri: &Uri) -> Result<(), Refusal> {
        self.read_form(uri.query().unwrap_or_default().as_bytes())
    }

    fn read_form(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        url::form_urlencoded::parse(bytes)
            .try_for_each(|(name, value)| self.add(&name, Value::from(value.as_ref())))
    }

    /// Where its type does not say what it is, it is what it looks like.
    fn read_body(&mut self, media_type: &str, bytes: &[u8]) -> Result<(), Refusal> {
        let bytes = bytes.trim_ascii();
        let has = |name: &str| media_type.contains(name);
        match bytes.first() {
            None => Ok(()),
            Some(b'{') => self.read_json(bytes),
            Some(b'<') => self.read_xml(bytes),
            Some(_) if has("json") || has("xml") || has("multipart") => Err(unreadable(
                "the body is neither an object of JSON, nor an element of XML, nor a form",
            )),
            Some(_) => self.read_form(bytes),
        }
    }

    /// Numbers are as they were sent, if need be as texts.
    fn read_json(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let not_json = |e| unreadable(format!("the body is not JSON: {e}"));
        let Pairs(pairs) = serde_json::from_slice::<Pairs<Value>>(bytes).map_err(not_json)?;
        let look = json::look(bytes);
        if let Some(pointer) = look.repeated {
            return Err(unreadable(format!(
                "`{pointer}` stands twice in its object; send it once"
            )));
        }
        let pairs = match look.quoted(bytes) {
            None => pairs,
            Some(quoted) => serde_json::from_slice::<Pairs<Value>>(&quoted).map_err(not_json)?.0,
        };
        pairs.into_iter().try_for_each(|(name, value)| self.add(&name, value))
    }

    /// An element with one element in it for each parameter. Its own name does not matter.
    fn read_xml(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let text = str::from_utf8(bytes).map_err(|_| unreadable("the body is not UTF-8"))?;
        let Pairs(elements) = quick_xml::de::from_str::<Pairs<String>>(text)
            .map_err(|e| unreadable(format!("the body is not flat XML: {e}")))?;
        let of_elements = |name: &String| !name.starts_with(['@', '$']);
        let mut elements = elements.into_iter().filter(|(name, _)| of_elements(name));
        elements.try_for_each(|(name, value)| self.add(&name, Value::from(value)))
    }

    fn add(&mut self, name: &str, value: Value) -> Result<(), Refusal> {
        let name = name.trim();
        let says_nothing = match &value {
            Value::Null => true,
            Value::String(text) => text.trim().is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
        };
        if says_nothing || name.is_empty() {
            return Ok(());
        }
        match self.0.entry(name.to_ascii_lowercase()) {
            Entry::Occupied(before) if before.get().1 != value => {
                let shown = &name[..name.floor_char_boundary(64)];
                Err(unreadable(format!("`{shown}` is given twice with two values; send one")))
            }
            Entry::Occupied(_) => Ok(()),
            Entry::Vacant(entry) => {
                entry.insert((name.to_owned(), value));
                Ok(())
            }
        }
    }

    /// Takes a parameter as a text, which is JSON if it is no single value; `None`: it is not there.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        match self.0.remove(name)?.1 {
            Value::String(text) => Some(text),
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_)) => Some(other.to_string()),
        }
    }

    /// Takes a parameter that is true, false or something else.
    pub(super) fn take_flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "1" => Some(true),
            "false" | "no" | "n" | "0" => Some(false),
            _ => None,
        }
    }

    /// Leaves out what only the platform it was for has a use of, unless the door has.
    pub(super) fn drop_platforms_own(&mut self, door: &Door, names: &[&str]) {
        self.0.retain(|name, _| {
            !names.contains(&name.as_str()) || door.parameters.contains_key(name.as_str())
        });
    }

    /// What was known before goes behind what is said now.
    pub(super) fn behind(&mut self, earlier: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in earlier {
            let lower = name.to_ascii_lowercase();
            self.0.entry(lower).or_insert_with(|| (name, Value::from(value)));
        }
    }

    /// Becomes what a ping says of its caller: fields of it, and tags by the names that the door has
    /// for them or else their own.
    pub(super) fn tell(self, door: &Door, ping: &mut PingRequest) {
        for (lower, (name, value)) in self.0 {
            let of_all = || KNOWN.iter().find(|(known, _)| *known == lower).map(|(_, tag)| *tag);
            let of_door = door.parameters.get(lower.as_str()).map(|tag| tag.as_str());
            let tag = of_door.or_else(of_all).unwrap_or(&name).to_owned();
            let field = match tag.as_str() {
                "zip" => &mut ping.zip,
                "state" => &mut ping.state,
                "sub_id" => &mut ping.sub_id,
                "source_type" => &mut ping.source_type,
                _ => {
                    ping.tags.insert(tag, value);
                    continue;
                }
            };
            match value {
                Value::String(text) => *field = Some(text),
                Value::Number(number) => *field = Some(number.to_string()),
                other @ (Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                    ping.tags.insert(tag, other);
                }
            }
        }
    }
}

/// Names and values in the order in which they stand, also one that stands twice.
struct Pairs<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

struct PairsVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for PairsVisitor<V> {
    type Value = Pairs<V>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("names with values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<V>, A::Error> {
        let mut pairs = vec![];
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

fn unreadable(detail: impl Into<String>) -> Refusal {
    Refusal::Unreadable(detail.into())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_forms_say_the_same() {
        let form = "CID=%2B16145550188&zipcode=43215&age=41&empty=&note=a%26b";
        let forms = [
            ("application/x-www-form-urlencoded", form.to_owned()),
            ("", form.to_owned()),
            (
                "application/json; charset=utf-8",
                r#"{"CID": "+16145550188", "zipcode": "43215", "age": "41", "note": "a&b", "no": null}"#
                    .to_owned(),
            ),
            (
                "text/xml",
                "<?xml version=\"1.0\"?><any><CID>+16145550188</CID><zipcode>43215</zipcode>\
                 <age>41</age><empty/><note>a&amp;b</note></any>"
                    .to_owned(),
            ),
        ];
        let mut by_query = Fields::default();
        by_query.read_query(&format!("/?{form}").parse().unwrap()).unwrap();
        for (media_type, body) in forms {
            let mut fields = Fields::default();
            fields.read_body(media_type, body.as_bytes()).unwrap();
            assert_eq!(fields, by_query, "{body}");
        }
        assert_eq!(by_query.take("cid").as_deref(), Some("+16145550188"));
        assert_eq!(by_query.take("cid"), None);
        assert_eq!(by_query.take("empty"), None);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_a_reason() {
        for (media_type, body) in [
            ("application/json", "CID=1"),
            ("application/json", "{\"CID\": "),
            ("", "{\"CID\": 1} {}"),
            ("application/xml", "<a><CID>1</a>"),
            ("application/xml", "<a><CID><b>1</b></CID></a>"),
            ("multipart/form-data; boundary=x", "--x"),
            ("application/x-www-form-urlencoded", "CID=1&age=41&cid=2"),
            ("application/json", r#"{"CID": "1", "cid": "2"}"#),
            ("application/json", r#"{"CID": "1", "CID": "1"}"#),
            ("application/json", r#"{"CID": "1", "lead": {"age": 1, "age": 2}}"#),
            ("application/xml", "<a><CID>1</CID><age>41</age><cid>2</cid></a>"),
            ("application/xml", "<a><CID>1</CID><CID>2</CID></a>"),
        ] {
            let refused = Fields::default().read_body(media_type, body.as_bytes()).unwrap_err();
            assert!(matches!(refused, Refusal::Unreadable(_)), "{body}");
        }
    }

    #[test]
    fn what_says_the_same_twice_is_taken_once() {
        for (media_type, body) in [
            ("", "CID=1&cid=1&empty=&empty=2&empty="),
            ("application/json", r#"{"CID": "1", "cid": "1", "empty": 2, "EMPTY": ""}"#),
            ("application/xml", "<a><CID>1</CID><CID>1</CID><empty>2</empty></a>"),
        ] {
            let mut fields = Fields::default();
            fields.read_body(media_type, body.as_bytes()).unwrap();
            assert_eq!(fields.take("cid").as_deref(), Some("1"), "{body}");
            assert_eq!(fields.take("empty").as_deref(), Some("2"), "{body}");
        }
    }

    #[tokio::test]
    async fn the_body_goes_before_the_query() {
        let request =
            axum::http::Request::post("/?CID=1&age=41").body(Body::from("cid=2")).unwrap();
        let mut fields = Fields::read(request).await.unwrap();
        assert_eq!(fields.take("cid").as_deref(), Some("2"));
        assert_eq!(fields.take("age").as_deref(), Some("41"));

        let request = axum::http::Request::get("/?CID=1&cid=2").body(Body::empty()).unwrap();
        assert!(matches!(Fields::read(request).await, Err(Refusal::Unreadable(_))));
    }

    #[test]
    fn numbers_are_as_they_were_sent() {
        let mut fields = Fields::default();
        let body = r#"{"CID": 6145550188, "click": 18446744073709551616, "price": 1.10}"#;
        fields.read_body("application/json", body.as_bytes()).unwrap();
        for (name, text) in
            [("cid", "6145550188"), ("click", "18446744073709551616"), ("price", "1.10")]
        {
            assert_eq!(fields.take(name).as_deref(), Some(text));
        }
    }

    proptest! {
        #[test]
        fn no_body_is_too_odd_to_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Fields::default().read_body("application/xml", &bytes);
            let xml = [b"<a>".as_slice(), &bytes, b"</a>"].concat();
            let _ = Fields::default().read_body("", &xml);
        }
    }
}
