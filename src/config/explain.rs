//! From what serde says about a value to what helps the person who wrote it.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fault::{Fault, is_secret, without_secrets};
use super::fitting::{Fitting, fit};
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
pub(super) fn read<T: DeserializeOwned>(tree: &Tree, names: &[&str]) -> Fitting<T> {
    let field = |name: &&str| {
        let value = tree.root.get(*name).cloned();
        let empty_list = || ENTITIES.contains(name).then(|| Value::Array(Vec::new()));
        value.or_else(empty_list).map(|value| ((*name).to_owned(), value))
    };
    fit(tree, "", Value::Object(names.iter().filter_map(field).collect()))
}

/// One section by itself.
pub(super) fn read_list<T: DeserializeOwned>(tree: &Tree, name: &str) -> Fitting<T> {
    let empty = || Value::Array(Vec::new());
    fit(tree, name, tree.root.get(name).cloned().unwrap_or_else(empty))
}

/// What serde says of the value at `path`, for the person who wrote it.
pub(super) fn explain(tree: &Tree, path: String, message: &str) -> Fault {
    let (problem, remedy) = reworded(message);
    let path = match unknown_field(message) {
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
    if let Some(field) = missing_field(message) {
        return (format!("lacks `{field}`"), String::from("add it"));
    }
    let is_misfit = ["invalid type: ", "invalid value: "].iter().any(|it| message.starts_with(it));
    if let Some((_, expected)) = message.rsplit_once(", expected ").filter(|_| is_misfit) {
        if expected.starts_with('u') && message.contains(": integer `-") {
            return (String::from("is negative"), String::from("write 0 or more"));
        }
        let (kind, example) = kind(expected);
        return (format!("is not {kind}"), example.to_owned());
    }
    let (problem, remedy) = message.split_once("; ").unwrap_or((message, ""));
    (problem.to_owned(), remedy.to_owned())
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

/// The field a message says is not known.
pub(super) fn unknown_field(message: &str) -> Option<&str> {
    quoted(message, "unknown field").next()
}

/// The known field that one of which a message says it is not known looks like.
pub(super) fn meant_field(message: &str) -> Option<String> {
    let mut names = quoted(message, "unknown field");
    let unknown = names.next()?;
    meant(&suggestion(unknown, names)).map(str::to_owned)
}

/// The name that a suggestion makes.
pub(super) fn meant(suggestion: &str) -> Option<&str> {
    suggestion.strip_prefix("did you mean `")?.split('`').next()
}

/// The field a message says is not there.
pub(super) fn missing_field(message: &str) -> Option<&str> {
    quoted(message, "missing field").next()
}

/// The path of a field of what is at `path`; either may be empty.
pub(super) fn joined(path: &str, field: &str) -> String {
    match (path, field) {
        ("", only) | (only, "") => only.to_owned(),
        _ => format!("{path}.{field}"),
    }
}

/// The value at a path such as `targets[2].dial.uri`.
fn lookup<'v>(root: &'v Value, path: &str) -> Option<&'v Value> {
    path.split(['.', '[']).try_fold(root, |value, step| match step.strip_suffix(']') {
        Some(position) => value.get(position.parse::<usize>().ok()?),
        None => value.get(step),
    })
}
