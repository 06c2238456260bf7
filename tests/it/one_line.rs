//! A line end in a configured text is refused, whatever the text is for: written into a message it
//! would forge a header field, into a log a line (spec/sip P10).

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use tollbridge::config::{Config, Format};
use tollbridge::sip::trunk::Carriers;

/// What would forge a header field wherever it is written as it stands.
const FORGED: &str = "\r\nX-Forged: 1";

#[test]
fn a_line_end_in_any_configured_text_is_refused() {
    let mut taken = BTreeSet::new();
    for example in ["examples/loopback.toml", "examples/demo.toml", "examples/dni/tollbridge.toml"]
    {
        let text = std::fs::read_to_string(root().join(example)).unwrap();
        let whole: Value = toml::from_str(&with_what_is_shown(&text)).unwrap();
        assert!(!is_broken(&whole), "{example}");
        for path in texts(&whole, String::new()) {
            if !is_broken(&forged(&whole, &path)) {
                taken.insert(pattern(&path));
            }
        }
    }
    assert_eq!(taken, BTreeSet::new());
}

#[test]
fn a_line_end_in_any_text_of_a_carrier_file_is_refused() {
    let mut taken = BTreeSet::new();
    for carrier in Carriers::built_in().iter() {
        let name = &carrier.name;
        let file = root().join("carrier-configs").join(format!("{name}.toml"));
        let whole: Value = toml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let insert = |file: &Value| {
            Carriers::built_in().insert(name, &toml::to_string(file).unwrap()).is_ok()
        };
        assert!(insert(&whole), "{name}");
        let texts = texts(&whole, String::new());
        taken.extend(
            texts.iter().filter(|path| insert(&forged(&whole, path))).map(|it| pattern(it)),
        );
    }
    assert_eq!(taken, BTreeSet::new());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An example with the settings it shows behind a `#`.
fn with_what_is_shown(text: &str) -> String {
    let shown = |line: &str| {
        let setting = line.strip_prefix('#').filter(|rest| rest.contains(" = "));
        setting
            .filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '"'))
            .unwrap_or(line)
            .to_owned()
    };
    text.lines().map(shown).collect::<Vec<_>>().join("\n")
}

/// JSON pointers of all texts.
fn texts(value: &Value, path: String) -> Vec<String> {
    match value {
        Value::String(_) => vec![path],
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.flat_map(|(n, item)| texts(item, format!("{path}/{n}"))).collect()
        }
        Value::Object(fields) => {
            let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
            let fields = fields.iter();
            fields.flat_map(|(name, it)| texts(it, format!("{path}/{}", escaped(name)))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => vec![],
    }
}

fn forged(whole: &Value, path: &str) -> Value {
    let mut whole = whole.clone();
    let text = whole.pointer_mut(path).unwrap();
    *text = Value::String(text.as_str().unwrap().to_owned() + FORGED);
    whole
}

/// The path without the numbers in it.
fn pattern(path: &str) -> String {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
    let parts = path.split('/').map(|part| if is_number(part) { "*" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// Whether a start finds a line end in it. What is shown behind a `#` may have other faults.
fn is_broken(whole: &Value) -> bool {
    let text = whole.to_string();
    let config = Config::parse("test.json", &text, Format::Json, std::iter::empty(), &[]);
    config.is_err_and(|error| error.to_string().contains("holds a line end"))
}
