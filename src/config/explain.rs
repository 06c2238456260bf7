//! From what serde says about a value to what helps the person who wrote it.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fault::{Fault, is_secret, without_secrets};
use super::tree::Tree;
use super::{ENTITIES, SETTINGS, TABLES};
use crate::suggest::suggestion;

/// Sections of the file that nobody knows.
pub(super) fn unknown_sections(tree: &Tree) -> Vec<Fault> {
    let known = || SETTINGS.into_iter().chain(ENTITIES).chain(TABLES);
    let fields = tree.root.as_object().into_iter().flatten();
    fields
        .filter(|(name, _)| !known().any(|known| known == *name))
        .map(|(name, _)| Fault {
            origin: tree.origin(name).clone(),
            path: name.as_str().into(),
            value: None,
            problem: "is no section".into(),
            remedy: suggestion(name, known()).into(),
        })
        .collect()
}

/// The sections `names` as one value with a field for each.
pub(super) fn read<T: DeserializeOwned>(tree: &Tree, names: &[&str]) -> Result<T, Fault> {
    let field = |name: &&str| {
        let value = tree.root.get(*name).cloned();
        let empty_list = || ENTITIES.contains(name).then(|| Value::Array(Vec::new()));
        value.or_else(empty_list).map(|value| ((*name).to_owned(), value))
    };
    let value = Value::Object(names.iter().filter_map(field).collect());
    deserialize(tree, "", &value)
}

/// One section by itself.
pub(super) fn read_list<T: DeserializeOwned>(tree: &Tree, name: &str) -> Result<T, Fault> {
    let empty = Value::Array(Vec::new());
    deserialize(tree, name, tree.root.get(name).unwrap_or(&empty))
}

fn deserialize<T: DeserializeOwned>(tree: &Tree, base: &str, value: &Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = error.path().to_string();
        let path = match inner.as_str() {
            "." => base.to_owned(),
            inner if base.is_empty() || inner.starts_with('[') => format!("{base}{inner}"),
            inner => format!("{base}.{inner}"),
        };
        explain(tree, path, &error.into_inner().to_string())
    })
}

fn explain(tree: &Tree, path: String, message: &str) -> Fault {
    let (problem, remedy) = reworded(message);
    let path = match quoted(message, "unknown field").next() {
        Some(unknown) if !path.ends_with(unknown) => joined(&path, unknown),
        Some(_) | None => path,
    };
    let value = lookup(&tree.root, &path).filter(|value| !value.is_object() && !is_secret(&path));
    Fault {
        origin: tree.origin(&path).clone(),
        value: value.map(|value| without_secrets(value).to_string().into()),
        path: path.into(),
        problem: problem.into(),
        remedy: remedy.into(),
    }
}

/// Problem and remedy.
fn reworded(message: &str) -> (String, String) {
    if message.starts_with("unknown field") {
        let mut names = quoted(message, "unknown field");
        let unknown = names.next().unwrap_or_default();
        return (String::from("is no field that is known here"), suggestion(unknown, names));
    }
    if message.starts_with("unknown variant") {
        let mut names = quoted(message, "unknown variant");
        let unknown = names.next().unwrap_or_default();
        return (
            String::from("is none of the words that are known here"),
            suggestion(unknown, names),
        );
    }
    if let Some(field) = quoted(message, "missing field").next() {
        return (format!("lacks `{field}`"), String::from("add it"));
    }
    let is_misfit = ["invalid type: ", "invalid value: "].iter().any(|it| message.starts_with(it));
    if let Some((_, expected)) = message.rsplit_once(", expected ").filter(|_| is_misfit) {
        let (kind, example) = kind(expected);
        return (format!("is not {kind}"), example.to_owned());
    }
    (message.to_owned(), String::new())
}

/// What serde expects, in words, and how to write it.
fn kind(expected: &str) -> (&str, &'static str) {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => {
            ("a whole number from 0 up that fits", "write digits without quotes, such as 500")
        }
        "i8" | "i16" | "i32" | "i64" | "isize" => ("a whole number", "write digits without quotes"),
        "f32" | "f64" => ("a number", "write digits without quotes"),
        "a boolean" => ("true or false", "write true or false without quotes"),
        "a string" | "a borrowed string" | "str" => ("a text", "put it in quotes"),
        "a sequence" => ("a list", "put it in brackets, such as [\"a\", \"b\"]"),
        "a map" => ("a table", "write { field = value }"),
        table if table.starts_with("struct ") => ("a table", "write { field = value }"),
        other => (other, ""),
    }
}

/// The names in backticks of a message that begins with `start`.
fn quoted<'m>(message: &'m str, start: &str) -> impl Iterator<Item = &'m str> {
    let rest = message.strip_prefix(start).unwrap_or_default();
    rest.split('`').skip(1).step_by(2)
}

fn joined(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// The value at a path such as `targets[2].dial.uri`.
fn lookup<'v>(root: &'v Value, path: &str) -> Option<&'v Value> {
    path.split(['.', '[']).try_fold(root, |value, step| match step.strip_suffix(']') {
        Some(position) => value.get(position.parse::<usize>().ok()?),
        None => value.get(step),
    })
}
