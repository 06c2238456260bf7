//! What the simulator owes whoever believes it.

use crate::sim::{Course, Faults, Sabotage, run};

#[test]
fn a_rule_that_is_broken_is_noticed() {
    for sabotage in Sabotage::ALL {
        let course = Course { sabotage: Some(sabotage), ..Course::default() };
        let violation = run(&course, 1..100, 1).expect_err(sabotage.name());
        let rule = &violation.rule;
        assert!(sabotage.is_told_by(rule), "{sabotage}: {violation}");
    }
}

#[test]
fn a_failure_is_told_by_one_call_without_the_faults_that_do_not_matter() {
    let course = Course { minutes: 2, sabotage: Some(Sabotage::LostAck), ..Course::default() };

    let violation = run(&course, 1..30, 2).unwrap_err();

    assert_eq!(violation.course.only.as_ref().map(Vec::len), Some(1), "{violation}");
    assert_eq!(violation.course.faults, Faults::NONE, "{violation}");
    assert!(!violation.ladder.is_empty());
    assert_eq!(
        run(&violation.course, violation.course.seed..violation.course.seed + 1, 1)
            .unwrap_err()
            .rule,
        violation.rule
    );
}

#[test]
fn a_world_is_the_same_every_time_however_many_live_beside_it() {
    let course = Course::default();

    let alone = run(&course, 7..17, 1).unwrap();
    let beside = run(&course, 7..17, 3).unwrap();
    let other = run(&course, 8..18, 2).unwrap();

    assert_eq!(alone, beside);
    assert_ne!(alone.digest, other.digest);
}
