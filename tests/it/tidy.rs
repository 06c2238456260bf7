//! What the compiler cannot check: who may import whom, and that pure files stay pure.

use std::fs;
use std::path::{Path, PathBuf};

const VOCABULARY: &[&str] =
    &["codec", "id", "money", "network", "phone", "reason", "rolling", "suggest", "time"];
const DOMAINS: &[&str] = &["sip", "routing", "cdr"];

/// Only these may touch sockets, files, the clock, or a database.
const SHELL: &[&str] = &[
    "src/main.rs",
    "src/cli",
    "src/config",
    "src/server",
    "src/sim",
    "src/api",
    "src/sip/transport",
    "src/cdr/export",
    "src/cdr/journal/file",
    "src/cdr/store",
];

/// `HashMap` and `HashSet` are here because their order differs from run to run.
const IMPURE: &[&str] = &[
    "tokio::",
    "redis::",
    "sqlx::",
    "reqwest::",
    "std::fs",
    "std::env",
    "std::net::Tcp",
    "std::net::Udp",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "fastrand::",
    "HashMap",
    "HashSet",
];

#[test]
fn folders_import_only_what_they_may() {
    let mut offences = vec![];
    for file in sources(Path::new("src")) {
        let importer = folder(&file);
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            if !may_import(&importer, &import) {
                offences.push(format!("{} imports crate::{import}", file.display()));
            }
        }
    }
    assert_eq!(offences, Vec::<String>::new());
}

#[test]
fn pure_files_do_no_io() {
    let mut offences = vec![];
    for file in sources(Path::new("src")) {
        let mut steps = file.components().map(|step| step.as_os_str());
        let is_test = steps.any(|step| step == "tests" || step == "tests.rs");
        if is_test || within(&file, SHELL) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            if let Some(word) = IMPURE.iter().find(|word| !is_comment && line.contains(**word)) {
                offences.push(format!("{}:{} mentions {word}", file.display(), number + 1));
            }
        }
    }
    assert_eq!(offences, Vec::<String>::new());
}

#[test]
fn time_and_chance_enter_in_one_place_each() {
    for file in sources(Path::new("src")) {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (word, home) in
            [("clock_gettime(", "src/server/clock.rs"), ("/dev/urandom\")", "src/server/ids.rs")]
        {
            assert!(
                !code.contains(word) || file == Path::new(home),
                "{} reads what only {home} may read",
                file.display()
            );
        }
    }
}

#[test]
fn nothing_is_left_undone() {
    let marks = ["todo!(", "unimplemented!(", "FIXME", "XXX:", "TODO:"];
    for file in sources(Path::new("src")).into_iter().chain(sources(Path::new("tests"))) {
        if file.ends_with("tidy.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for mark in marks {
            assert!(!text.contains(mark), "{} holds {mark}", file.display());
        }
    }
}

fn within(file: &Path, places: &[&str]) -> bool {
    places.iter().any(|place| file.starts_with(place))
}

fn may_import(importer: &str, import: &str) -> bool {
    importer == import
        || VOCABULARY.contains(&import)
        || match importer {
            "lib" | "main" => true,
            "server" => DOMAINS.contains(&import) || ["api", "config"].contains(&import),
            "api" => ["routing", "cdr", "config"].contains(&import),
            "sim" => DOMAINS.contains(&import) || ["config", "server"].contains(&import),
            "cli" => ["config", "server", "sim", "cli"].contains(&import),
            _ => false,
        }
}

/// The folder right below `src`, or the file's own name without its ending.
fn folder(file: &Path) -> String {
    let name = file.components().nth(1).unwrap().as_os_str().to_str().unwrap();
    name.trim_end_matches(".rs").to_owned()
}

fn imports(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .filter(|name: &String| !name.is_empty())
        .collect()
}

pub(crate) fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files = vec![];
    for path in entries {
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
