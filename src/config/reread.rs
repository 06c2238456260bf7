//! Which settings differ between two readings of a configuration.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::settings::Settings;

/// The path of each setting that is not the same, with its later value.
pub(super) fn differences(earlier: &Settings, later: &Settings) -> Vec<(String, String)> {
    let value = |settings: &Settings| {
        serde_json::to_value(settings).expect("settings are maps with text keys, numbers and texts")
    };
    let mut found = Vec::new();
    compare("", &value(earlier), &value(later), &mut found);
    // A secret looks the same whatever it is.
    if found.is_empty() && earlier != later {
        let path = if earlier.shippers == later.shippers { "api.keys" } else { "shippers" };
        found.push((String::from(path), String::from("…")));
    }
    found
}

fn compare(path: &str, earlier: &Value, later: &Value, found: &mut Vec<(String, String)>) {
    if let (Value::Object(earlier), Value::Object(later)) = (earlier, later) {
        let names: BTreeSet<&String> = earlier.keys().chain(later.keys()).collect();
        for name in names {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let at = |fields: &Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
            compare(&path, &at(earlier), &at(later), found);
        }
    } else if earlier != later {
        found.push((path.to_owned(), later.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{ApiKey, Secret};

    #[test]
    fn what_differs_is_named_and_a_secret_is_not_shown() {
        let earlier = Settings::default();
        let mut later = earlier.clone();
        assert_eq!(differences(&earlier, &later), []);

        later.sip.t1 = Duration::from_millis(250);
        later.node.name = String::from("b");
        let found = differences(&earlier, &later);
        assert_eq!(found, [pair("node.name", "\"b\""), pair("sip.t1_ms", "250")]);

        let with_key = |key: &str| {
            let mut settings = Settings::default();
            settings.api.keys = vec![ApiKey { id: "ops".into(), key: Secret::new(key) }];
            settings
        };
        let found = differences(&with_key("first"), &with_key("second"));
        assert_eq!(found, [pair("api.keys", "…")]);
    }

    fn pair(path: &str, value: &str) -> (String, String) {
        (path.to_owned(), value.to_owned())
    }
}
