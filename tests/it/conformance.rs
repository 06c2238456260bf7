//! docs/sip-conformance.md and docs/degraded.md cannot drift: every row of the specification is there once, every test
//! it names exists, and what it counts is counted again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::support::server::repository;
use crate::tidy::sources;

/// Groups of rows in spec/sip §1.1 to 1.6 and 1.8 to 1.10, and how many each has.
const GROUPS: &[(char, u32)] = &[
    ('P', 18),
    ('T', 22),
    ('X', 18),
    ('D', 17),
    ('B', 25),
    ('R', 15),
    ('C', 16),
    ('S', 14),
    ('O', 15),
];

/// Rows that should be there; those in neither list must.
const SHOULD: &[&str] = &[
    "P3", "P16", "T10", "T13", "T14", "X12", "X14", "X17", "D5", "B16", "B18", "B22", "B23", "B25",
    "R8", "R9", "R10", "R11", "C9", "C12", "S6", "S7", "S12", "O3", "O14",
];
const LATER: &[&str] = &["T21", "D17", "R13", "R14", "O4", "O6", "O9"];

/// The bugs of spec/sip §3 that have a number.
const BUGS: u32 = 36;

/// A line of one of the two kinds of tables.
#[derive(Debug)]
struct Row {
    id: String,
    /// `M`, `S` or `L`; a bug has none.
    priority: Option<String>,
    status: Status,
    /// Test functions, and folders of sipp-scenarios.
    proof: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Works,
    Partly,
    Open,
    Later,
    Media,
}

#[test]
fn every_row_of_the_specification_is_there_once_with_its_priority() {
    let (requirements, bugs) = tables();

    let expected: BTreeMap<String, &str> = GROUPS
        .iter()
        .flat_map(|(group, count)| (1..=*count).map(move |n| format!("{group}{n}")))
        .map(|id| {
            let priority = match id.as_str() {
                id if SHOULD.contains(&id) => "S",
                id if LATER.contains(&id) => "L",
                _ => "M",
            };
            (id, priority)
        })
        .collect();
    let found: BTreeMap<String, &str> = requirements
        .iter()
        .map(|row| (row.id.clone(), row.priority.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(found.len(), requirements.len(), "a row is there twice");
    assert_eq!(found, expected);

    let numbers: Vec<String> = bugs.iter().map(|row| row.id.clone()).collect();
    assert_eq!(numbers, (1..=BUGS).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn every_test_that_is_named_exists() {
    let (requirements, bugs) = tables();
    let known = known_tests();

    let missing: Vec<String> = requirements
        .iter()
        .chain(&bugs)
        .flat_map(|row| row.proof.iter().map(move |name| (row, name)))
        .filter(|(_, name)| !known.contains(*name))
        .map(|(row, name)| format!("{}: {name}", row.id))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn every_row_of_what_goes_on_when_something_is_broken_names_tests_that_exist() {
    let text = fs::read_to_string(repository("docs/degraded.md")).unwrap();
    let known = known_tests();
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(2);
    let mut count = 0;
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [broken, .., proof] = cells[..] else { panic!("{row}") };
        assert_eq!(cells.len(), 7, "{broken}");
        let proof: Vec<_> = proof.split('`').skip(1).step_by(2).collect();
        assert!(!proof.is_empty(), "{broken} names no test");
        let missing: Vec<_> = proof.iter().filter(|name| !known.contains(**name)).collect();
        assert!(missing.is_empty(), "{broken}: {missing:?}");
        count += 1;
    }
    assert!(count >= 9, "{count} rows");
}

#[test]
fn what_works_names_its_tests_and_only_what_may_wait_is_put_off() {
    let (requirements, bugs) = tables();

    for row in requirements.iter().chain(&bugs) {
        let Row { id, status, proof, .. } = row;
        let needs_proof = matches!(status, Status::Works | Status::Partly);
        assert!(!needs_proof || !proof.is_empty(), "{id} names no test");
        let may_wait = row.priority.as_deref() == Some("L");
        assert!(*status != Status::Later || may_wait, "{id} may not be put off");
        assert!(*status != Status::Media || row.priority.is_none(), "{id} is no bug of media");
    }
}

#[test]
fn the_counts_at_the_head_are_true() {
    let (requirements, bugs) = tables();
    let count = |rows: &[Row], status| rows.iter().filter(|row| row.status == status).count();

    let head = format!(
        "**{} requirements: {} work, {} partly, {} open, {} later. \
         {} bugs: {} caught, {} partly, {} open, {} of media.**",
        requirements.len(),
        count(&requirements, Status::Works),
        count(&requirements, Status::Partly),
        count(&requirements, Status::Open),
        count(&requirements, Status::Later),
        bugs.len(),
        count(&bugs, Status::Works),
        count(&bugs, Status::Partly),
        count(&bugs, Status::Open),
        count(&bugs, Status::Media),
    );
    let text = document();
    assert!(text.lines().any(|line| line == head), "the document should say:\n{head}");
}

#[test]
fn a_scenario_is_named_in_every_row_that_it_shows() {
    #[derive(Deserialize)]
    struct Expect {
        shows: Vec<String>,
    }
    let (requirements, _) = tables();

    let mut missing = vec![];
    for folder in scenarios() {
        let expect = repository("sipp-scenarios").join(&folder).join("expect.toml");
        let expect: Expect = toml::from_str(&fs::read_to_string(expect).unwrap()).unwrap();
        let proof = format!("sipp-scenarios/{folder}");
        for id in expect.shows.iter().filter_map(|row| row.strip_prefix("spec/sip ")) {
            let named = requirements.iter().any(|row| row.id == id && row.proof.contains(&proof));
            if !named {
                missing.push(format!("{id}: {proof}"));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

fn document() -> String {
    fs::read_to_string(repository("docs/sip-conformance.md")).unwrap()
}

/// The rows about requirements, and those about bugs.
fn tables() -> (Vec<Row>, Vec<Row>) {
    let text = document();
    let cells = text
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let mut tables = (vec![], vec![]);
    for cells in cells {
        match cells[..] {
            ["Row" | "Bug", ..] => {}
            [line, ..] if line.chars().all(|c| c == '-') => {}
            [id, requirement, priority, status, proof] => {
                assert!(!requirement.is_empty(), "{id} says nothing");
                let priority = Some(priority.to_owned());
                tables.0.push(Row::new(id, priority, status, proof));
            }
            [id, bug, status, proof] => {
                assert!(!bug.is_empty(), "{id} says nothing");
                tables.1.push(Row::new(id, None, status, proof));
            }
            _ => panic!("a row with {} cells: {cells:?}", cells.len()),
        }
    }
    tables
}

impl Row {
    fn new(id: &str, priority: Option<String>, status: &str, proof: &str) -> Self {
        let status = match status.split_once(": ").unwrap_or((status, "")) {
            ("works" | "caught", "") => Status::Works,
            ("later", _) => Status::Later,
            ("media", "not yet") => Status::Media,
            ("partly", lacks) if !lacks.is_empty() => Status::Partly,
            ("open", lacks) if !lacks.is_empty() => Status::Open,
            _ => panic!("{id}: `{status}` is no status, or does not say what lacks"),
        };
        // Every other piece stands between backticks.
        let proof = proof.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Self { id: id.to_owned(), priority, status, proof }
    }
}

/// Functions that are tests, and the folders of the scenarios.
fn known_tests() -> BTreeSet<String> {
    let mut known: BTreeSet<String> =
        scenarios().into_iter().map(|folder| format!("sipp-scenarios/{folder}")).collect();
    for file in sources(Path::new("src")).into_iter().chain(sources(Path::new("tests"))) {
        let text = fs::read_to_string(file).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim_start) {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if let Some(rest) = function
                && std::mem::take(&mut is_test)
            {
                known.extend(rest.split('(').next().map(str::to_owned));
            }
        }
    }
    known
}

fn scenarios() -> Vec<String> {
    fs::read_dir(repository("sipp-scenarios"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}
