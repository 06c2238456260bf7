//! The demo as a newcomer runs it, and as CI reads it.

use std::process::Command;

use serde_json::Value;

#[test]
fn the_demo_explains_every_choice_and_books_every_call_once() {
    let data = tempfile::tempdir().unwrap();

    let run = Command::new(env!("CARGO_BIN_EXE_tollbridge"))
        .args(["demo", "--once", "--json", "--data"])
        .arg(data.path())
        .output()
        .unwrap();

    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}: {errors}", run.status);
    let told: Value = serde_json::from_slice(&run.stdout).unwrap();
    let count = |name: &str| told[name].as_u64().unwrap_or_else(|| panic!("no {name} in {told}"));
    assert_eq!(count("calls"), count("cdrs"));
    assert_eq!(count("unexplained"), 0);
    assert!(count("answered") >= 2 && count("failed_over") >= 1, "{told}");
}
