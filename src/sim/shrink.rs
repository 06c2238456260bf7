//! Makes a failing course as short as it can be: fewer calls, fewer faults, less time.

use super::world::{Breach, World};
use super::{Course, Fault, Faults};

/// Worlds that are tried at most.
const TRIES: usize = 200;

/// The shortest course found that still breaks a rule, and how.
pub(crate) fn shrink(course: Course, breach: Breach) -> (Course, Breach) {
    let mut shortest = Shortest { course, breach, tries: 0 };
    let all: Vec<usize> =
        (0..shortest.course.calls()).filter(|n| shortest.course.has(*n)).collect();
    // Nothing makes a failure plainer than that nothing else has to go wrong for it: that is tried
    // while there are many calls to fail.
    shortest.attempt(Course { faults: Faults::NONE, ..shortest.course.clone() });
    if let Some(blamed) = shortest.breach.call {
        shortest.try_only(vec![blamed]);
    }
    shortest.leave_out_calls(all);
    for fault in Fault::ALL {
        if shortest.course.faults.has(fault) {
            let faults = shortest.course.faults.without(fault);
            shortest.attempt(Course { faults, ..shortest.course.clone() });
        }
    }
    while shortest.course.minutes > 1 {
        let minutes = shortest.course.minutes / 2;
        if !shortest.attempt(Course { minutes, ..shortest.course.clone() }) {
            break;
        }
    }
    (shortest.course, shortest.breach)
}

struct Shortest {
    course: Course,
    breach: Breach,
    tries: usize,
}

impl Shortest {
    /// Leaves out as many calls as will go: halves first, then smaller portions.
    fn leave_out_calls(&mut self, all: Vec<usize>) {
        let mut kept = self.course.only.clone().unwrap_or(all);
        let mut portion = kept.len().div_ceil(2);
        while kept.len() > 1 && portion > 0 {
            let rests = (0..kept.len()).step_by(portion).map(|from| {
                let to = (from + portion).min(kept.len());
                [&kept[..from], &kept[to..]].concat()
            });
            match rests.collect::<Vec<_>>().into_iter().find(|rest| self.try_only(rest.clone())) {
                Some(rest) => kept = rest,
                None if portion == 1 => return,
                None => {}
            }
            portion = portion.div_ceil(2).min(kept.len() / 2).max(1);
        }
    }

    fn try_only(&mut self, calls: Vec<usize>) -> bool {
        !calls.is_empty() && self.attempt(Course { only: Some(calls), ..self.course.clone() })
    }

    /// Takes this course if it breaks a rule too.
    fn attempt(&mut self, course: Course) -> bool {
        self.tries += 1;
        if self.tries > TRIES {
            return false;
        }
        let Err(breach) = World::new(course.clone()).live() else { return false };
        (self.course, self.breach) = (course, breach);
        true
    }
}
