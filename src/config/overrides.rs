//! Values set by the environment or on the command line.
//!
//! A value is read as TOML where that is possible and as text otherwise, except that what replaces
//! a text is text, and what replaces a list may be written without brackets, with commas.

use serde_json::Value;
use toml::de::DeValue;

use super::fault::{Fault, Origin};
use super::tree::{Tree, free_standing};
use super::{ENTITIES, SETTINGS, TABLES};
use crate::suggest::suggestion;

/// `TOLLBRIDGE_SIP__T1_MS=500` or `--set sip.t1_ms=500`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Override {
    origin: Origin,
    /// Names of fields, ids or positions.
    steps: Vec<String>,
    text: String,
}

const PREFIX: &str = "TOLLBRIDGE_";

impl Override {
    /// Variables without a double underscore are not ours, unless they look like a mistake.
    pub(super) fn from_env(
        env: impl Iterator<Item = (String, String)>,
        faults: &mut Vec<Fault>,
    ) -> Vec<Self> {
        let mut overrides = Vec::new();
        for (name, text) in env {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let rest = rest.strip_prefix('_').unwrap_or(rest).to_lowercase();
            let origin = Origin::Environment { name: name.clone() };
            if rest.contains("__") {
                let steps = rest.split("__").map(str::to_owned).collect();
                overrides.push(Self { origin, steps, text });
            } else if let Some((section, field)) = rest.split_once('_')
                && known_sections().any(|known| known == section)
            {
                let (section, field) = (section.to_uppercase(), field.to_uppercase());
                faults.push(Fault {
                    origin,
                    path: "".into(),
                    value: None,
                    problem: "sets nothing".into(),
                    remedy: format!("did you mean {PREFIX}{section}__{field}?").into(),
                });
            }
        }
        // The order of the environment is an accident; with two spellings of one key, the later
        // name wins every time.
        overrides.sort_by_key(|change| change.origin.to_string());
        overrides
    }

    pub(super) fn from_sets(sets: &[String], faults: &mut Vec<Fault>) -> Vec<Self> {
        let mut overrides = Vec::new();
        for set in sets {
            match set.split_once('=') {
                Some((key, text)) if !key.trim().is_empty() => overrides.push(Self {
                    origin: Origin::Set { key: key.trim().to_owned() },
                    steps: steps_of(key.trim()),
                    text: text.trim().to_owned(),
                }),
                Some(_) | None => faults.push(Fault {
                    origin: Origin::Set { key: set.clone() },
                    path: "".into(),
                    value: None,
                    problem: "has no key or no value".into(),
                    remedy: "write --set key.path=value".into(),
                }),
            }
        }
        overrides
    }

    /// Writes the value into the tree. `defaults` are the settings' own: they tell the kind of a
    /// value the file leaves out.
    pub(super) fn apply(&self, tree: &mut Tree, defaults: &Value) -> Result<(), Fault> {
        let section = self.section()?;
        let mut path = section.to_owned();
        let mut default = defaults.get(section);
        let is_entity = ENTITIES.contains(&section) || default.is_some_and(Value::is_array);
        let root = tree.root.as_object_mut().expect("the root is a table");
        let mut value = root.entry(section).or_insert_with(|| {
            if is_entity { Value::Array(Vec::new()) } else { Value::Object(serde_json::Map::new()) }
        });
        for (position, step) in self.steps.iter().enumerate().skip(1) {
            let is_last = position + 1 == self.steps.len();
            match value {
                Value::Array(items) => {
                    let index = self.index(items, step, &path)?;
                    path = format!("{path}[{index}]");
                    default = None;
                    value = &mut items[index];
                }
                Value::Object(fields) => {
                    let name = self.field(fields, default, step);
                    default = default.and_then(|default| default.get(&name));
                    path = format!("{path}.{name}");
                    let is_table = default.is_none_or(|it| it.is_object() || it.is_array());
                    if !is_last && !is_table {
                        let below = &self.steps[position + 1];
                        return Err(self.no_table(path, below));
                    }
                    value = fields.entry(name).or_insert_with(|| match default {
                        Some(default @ Value::Array(_)) => default.clone(),
                        Some(Value::Object(_)) => Value::Object(serde_json::Map::new()),
                        Some(_) | None if is_last => Value::Null,
                        Some(_) | None => Value::Object(serde_json::Map::new()),
                    });
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    return Err(self.no_table(path, step));
                }
            }
        }
        if self.steps.len() == 1 {
            let kind = if is_entity { "list" } else { "table" };
            return Err(self.fault(path, format!("is a whole {kind}"), "set one field of it"));
        }
        let known = if value.is_null() { default } else { Some(&*value) };
        *value = self.value(known);
        tree.set_origin(path, self.origin.clone());
        Ok(())
    }

    fn section(&self) -> Result<&'static str, Fault> {
        let first = self.steps.first().map(String::as_str).unwrap_or_default();
        known_sections()
            .find(|known| self.names(first, known))
            .ok_or_else(|| self.fault(first, "is no section", suggestion(first, known_sections())))
    }

    /// The element with that id, or at that position.
    fn index(&self, items: &[Value], step: &str, path: &str) -> Result<usize, Fault> {
        let id = |item: &Value| item.get("id").and_then(Value::as_str).map(str::to_owned);
        let ids: Vec<Option<String>> = items.iter().map(id).collect();
        let exact = ids.iter().position(|id| id.as_deref() == Some(step));
        exact
            .or_else(|| {
                ids.iter().position(|id| id.as_ref().is_some_and(|id| self.names(step, id)))
            })
            .or_else(|| step.parse().ok().filter(|index| *index < items.len()))
            .ok_or_else(|| {
                let known = ids.iter().flatten().map(String::as_str);
                self.fault(path, format!("has no entry `{step}`"), suggestion(step, known))
            })
    }

    /// The field's name as it is known, or as it was written.
    fn field(
        &self,
        fields: &serde_json::Map<String, Value>,
        default: Option<&Value>,
        step: &str,
    ) -> String {
        let defaults = default.and_then(Value::as_object).into_iter().flat_map(|it| it.keys());
        let known = fields.keys().chain(defaults).find(|known| self.names(step, known));
        known.map_or_else(|| step.to_owned(), String::clone)
    }

    /// Whether `step` means `name`. Environment variables know neither case nor hyphens.
    fn names(&self, step: &str, name: &str) -> bool {
        match self.origin {
            Origin::Environment { .. } => {
                step.len() == name.len()
                    && step.bytes().zip(name.bytes()).all(|(step, name)| {
                        step.eq_ignore_ascii_case(&name) || (step == b'_' && name == b'-')
                    })
            }
            Origin::Set { .. } | Origin::File { .. } | Origin::Line { .. } => step == name,
        }
    }

    fn value(&self, known: Option<&Value>) -> Value {
        let text = self.text.as_str();
        match known {
            Some(Value::String(_)) => match toml_value(text) {
                Some(quoted @ Value::String(_)) => quoted,
                Some(_) | None => Value::from(text),
            },
            Some(Value::Array(_)) if !text.starts_with('[') => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.map(|item| toml_value(item).unwrap_or_else(|| Value::from(item))).collect()
            }
            Some(_) | None => toml_value(text).unwrap_or_else(|| Value::from(text)),
        }
    }

    fn no_table(&self, path: String, below: &str) -> Fault {
        let remedy = format!("set {path} itself");
        self.fault(path, format!("is no table, it has no `{below}`"), remedy)
    }

    fn fault(
        &self,
        path: impl Into<Box<str>>,
        problem: impl Into<Box<str>>,
        remedy: impl Into<Box<str>>,
    ) -> Fault {
        Fault {
            origin: self.origin.clone(),
            path: path.into(),
            value: None,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

fn known_sections() -> impl Iterator<Item = &'static str> {
    SETTINGS.into_iter().chain(ENTITIES).chain(TABLES)
}

fn toml_value(text: &str) -> Option<Value> {
    free_standing(DeValue::parse(text).ok()?.into_inner()).ok()
}

/// `targets[0].dial."a.b"` is `targets`, `0`, `dial`, `a.b`.
fn steps_of(key: &str) -> Vec<String> {
    let mut steps = vec![String::new()];
    let mut quote = None;
    for character in key.chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, '.' | '[') => steps.push(String::new()),
            (None, ']') => {}
            (Some(_) | None, other) => {
                steps.last_mut().expect("there is always a last step").push(other);
            }
        }
    }
    steps
}
