//! The values of a file and where each was written.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Finding, Origin, is_secret, without_secrets};

#[derive(Clone)]
pub(super) struct Tree {
    pub(super) root: Value,
    file: Origin,
    /// By path such as `targets[2].dial.uri`, for every value of the file and every override.
    origins: BTreeMap<String, Origin>,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", without_secrets(&self.root))
    }
}

impl Tree {
    pub(super) fn from_toml(name: &str, text: &str) -> Result<Self, Fault> {
        let lines = Lines::of(name, text);
        let table = DeTable::parse(text).map_err(|error| Fault {
            origin: match error.span() {
                Some(span) => lines.at(span.start),
                None => Origin::File { file: name.to_owned() },
            },
            path: "".into(),
            value: None,
            problem: format!("is no TOML: {}", error.message()).into(),
            remedy: "".into(),
        })?;
        let mut tree = Self::empty(name);
        tree.root = tree.take_table(Place { lines: &lines, path: "" }, table.into_inner())?;
        Ok(tree)
    }

    pub(super) fn from_json(name: &str, text: &str) -> Result<Self, Fault> {
        let mut tree = Self::empty(name);
        let raw: &RawValue =
            serde_json::from_str(text).map_err(|error| not_json(name, error.line(), &error))?;
        let lines = Lines::of(name, text);
        let place = Place { lines: &lines, path: "" };
        tree.root = tree.take_json(place, raw)?.unwrap_or_default();
        if tree.root.is_object() {
            return Ok(tree);
        }
        Err(Fault {
            origin: tree.file,
            path: "".into(),
            value: None,
            problem: "is not a JSON object".into(),
            remedy: "write { \"sip\": { … }, … }".into(),
        })
    }

    fn empty(name: &str) -> Self {
        Self {
            root: Value::Object(serde_json::Map::new()),
            file: Origin::File { file: name.to_owned() },
            origins: BTreeMap::new(),
        }
    }

    /// The origin of the value at `path`, or of the nearest thing around it that has one.
    pub(super) fn origin(&self, path: &str) -> &Origin {
        let mut path = path;
        loop {
            if let Some(origin) = self.origins.get(path) {
                return origin;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return &self.file,
            }
        }
    }

    /// What was at `path` and below it now comes from `origin`.
    pub(super) fn set_origin(&mut self, path: String, origin: Origin) {
        let below = |key: &str| {
            key.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        self.origins.retain(|key, _| !below(key));
        self.origins.insert(path, origin);
    }

    pub(super) fn fault(&self, finding: Finding) -> Fault {
        Fault {
            origin: self.origin(&finding.path).clone(),
            value: (!is_secret(&finding.path)).then(|| finding.value.into()),
            path: finding.path.into(),
            problem: finding.problem.into(),
            remedy: finding.remedy.into(),
        }
    }

    fn take_table(&mut self, place: Place<'_>, table: DeTable<'_>) -> Result<Value, Fault> {
        let mut fields = serde_json::Map::new();
        for (key, value) in table {
            let path = place.field(key.get_ref());
            self.origins.insert(path.clone(), place.lines.at(key.span().start));
            let value = self.take_toml(Place { path: &path, ..place }, value.into_inner())?;
            fields.insert(key.into_inner().into_owned(), value);
        }
        Ok(Value::Object(fields))
    }

    fn take_toml(&mut self, place: Place<'_>, value: DeValue<'_>) -> Result<Value, Fault> {
        match value {
            DeValue::Table(table) => self.take_table(place, table),
            DeValue::Array(items) => {
                let mut values = Vec::with_capacity(items.len());
                for (position, item) in items.into_iter().enumerate() {
                    let path = format!("{}[{position}]", place.path);
                    self.origins.insert(path.clone(), place.lines.at(item.span().start));
                    values.push(self.take_toml(Place { path: &path, ..place }, item.into_inner())?);
                }
                Ok(Value::Array(values))
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => scalar(&value).map_err(|problem| Fault {
                origin: self.origin(place.path).clone(),
                path: place.path.into(),
                value: None,
                problem: problem.into(),
                remedy: "write a smaller number".into(),
            }),
        }
    }

    /// `None` for `null`.
    fn take_json(&mut self, place: Place<'_>, raw: &RawValue) -> Result<Option<Value>, Fault> {
        let json = raw.get();
        let origin = place.lines.at_part(json);
        let fault = |error: serde_json::Error| {
            not_json(place.lines.name, origin.line().unwrap_or(1) + error.line().max(1) - 1, &error)
        };
        if !place.path.is_empty() {
            self.origins.insert(place.path.to_owned(), origin.clone());
        }
        if json.starts_with('{') {
            let members: Members<'_> = serde_json::from_str(json).map_err(fault)?;
            let mut fields = serde_json::Map::new();
            for (name, raw) in members.0 {
                let path = place.field(&name);
                if let Some(value) = self.take_json(Place { path: &path, ..place }, raw)? {
                    fields.insert(name.into_owned(), value);
                }
            }
            Ok(Some(Value::Object(fields)))
        } else if json.starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(json).map_err(fault)?;
            let mut values = Vec::with_capacity(items.len());
            for (position, raw) in items.into_iter().enumerate() {
                let path = format!("{}[{position}]", place.path);
                let value = self.take_json(Place { path: &path, ..place }, raw)?;
                values.push(value.unwrap_or_default());
            }
            Ok(Some(Value::Array(values)))
        } else {
            let value: Value = serde_json::from_str(json).map_err(fault)?;
            Ok((!value.is_null()).then_some(value))
        }
    }
}

/// Where in a file we are.
#[derive(Clone, Copy)]
struct Place<'a> {
    lines: &'a Lines<'a>,
    path: &'a str,
}

impl Place<'_> {
    fn field(self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// The lines of a file. Every value asks for its own, so they are counted once.
struct Lines<'a> {
    name: &'a str,
    text: &'a str,
    /// The byte each line begins with, ascending.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(name: &'a str, text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(end, _)| end + 1)).collect();
        Self { name, text, starts }
    }

    /// The line of the byte at `position`.
    fn at(&self, position: usize) -> Origin {
        let line = self.starts.partition_point(|start| *start <= position);
        Origin::Line { file: self.name.to_owned(), line }
    }

    /// The line that `part` begins on, which is a part of the text: so the difference of their addresses is
    /// its position.
    fn at_part(&self, part: &str) -> Origin {
        self.at(part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr()))
    }
}

fn not_json(name: &str, line: usize, error: &serde_json::Error) -> Fault {
    Fault {
        origin: Origin::Line { file: name.to_owned(), line: line.max(1) },
        path: "".into(),
        value: None,
        problem: format!("is no JSON: {error}").into(),
        remedy: "".into(),
    }
}

/// A TOML value that is no list and no table; a date stays as it is written.
pub(super) fn scalar(value: &DeValue<'_>) -> Result<Value, String> {
    match value {
        DeValue::String(text) => Ok(Value::from(text.as_ref())),
        DeValue::Boolean(flag) => Ok(Value::from(*flag)),
        DeValue::Datetime(time) => Ok(Value::from(time.to_string())),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::from)
            .map_err(|_| format!("{number} is too large")),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| format!("{number} is no finite number")),
        DeValue::Array(_) | DeValue::Table(_) => Err(String::from("is a list or a table")),
    }
}

/// A TOML value by itself, as in an override.
pub(super) fn free_standing(value: DeValue<'_>) -> Result<Value, String> {
    match value {
        DeValue::Table(table) => table
            .into_iter()
            .map(|(key, value)| {
                Ok((key.into_inner().into_owned(), free_standing(value.into_inner())?))
            })
            .collect::<Result<serde_json::Map<_, _>, String>>()
            .map(Value::Object),
        DeValue::Array(items) => items
            .into_iter()
            .map(|item| free_standing(item.into_inner()))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => scalar(&value),
    }
}

/// The members of a JSON object, none named twice.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                let mut names = BTreeSet::new();
                while let Some((name, raw)) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
                    if !names.insert(name.clone()) {
                        let twice = format!("`{name}` is written twice");
                        return Err(serde::de::Error::custom(twice));
                    }
                    members.push((name, raw));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_on_the_line_that_begins_at_or_before_it() {
        let text = "\nab\r\n\n\u{e9}\ncd";
        let lines = Lines::of("test.toml", text);
        assert_eq!(lines.starts, [0, 1, 5, 6, 9]);
        let at = |position| lines.at(position).line().unwrap();
        for position in 0..text.len() {
            let before = &text.as_bytes()[..position];
            let expected = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(at(position), expected, "{position}");
        }
        assert_eq!((at(text.len()), at(text.len() + 9)), (5, 5));
        assert_eq!(lines.at_part(&text[6..8]).line(), Some(4));
        assert_eq!(Lines::of("test.toml", "").at(0).line(), Some(1));
    }

    #[test]
    fn every_value_has_the_line_it_is_written_on_in_either_format() {
        let count = 500;
        let entry = |n| format!("[[targets]]\nid = \"t{n}\"\ncaps = [\n  {{ limit = 1 }},\n]\n");
        let toml: String = (0..count).map(entry).collect();
        let tree = Tree::from_toml("test.toml", &toml).unwrap();
        let line = |path: String| tree.origin(&path).line();
        for n in 0..count {
            let first = 1 + 5 * n;
            assert_eq!(line(format!("targets[{n}]")), Some(first));
            assert_eq!(line(format!("targets[{n}].id")), Some(first + 1));
            assert_eq!(line(format!("targets[{n}].caps")), Some(first + 2));
            assert_eq!(line(format!("targets[{n}].caps[0].limit")), Some(first + 3));
        }
        let entry = |n| format!("{{\n\"id\": \"t{n}\",\n\"caps\": [\n{{ \"limit\": 1 }}] }}");
        let entries: Vec<_> = (0..count).map(entry).collect();
        let json = format!("{{ \"targets\": [\n{}] }}", entries.join(",\n"));
        let tree = Tree::from_json("test.json", &json).unwrap();
        let line = |path: String| tree.origin(&path).line();
        for n in 0..count {
            let first = 2 + 4 * n;
            assert_eq!(line(format!("targets[{n}]")), Some(first));
            assert_eq!(line(format!("targets[{n}].id")), Some(first + 1));
            assert_eq!(line(format!("targets[{n}].caps[0].limit")), Some(first + 3));
        }
    }
}
