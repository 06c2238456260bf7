//! A table of scores: the first row that fits counts.

use smol_str::SmolStr;

use super::{Features, Misread, Scorer, millionths};

/// A model read from a file of comma-separated values. The first line names the features, and
/// `score` last; in a row `*` stands for any value, also for one that is not known.
///
/// ```text
/// geo.state, target.id, score
/// OH, tgt_summit, 0.31
/// *, tgt_summit, 0.22
/// *, *, 0.1
/// ```
///
/// Where no row fits the score is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    features: Vec<SmolStr>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    /// As many as there are features; `None` fits any.
    values: Vec<Option<SmolStr>>,
    score: i64,
}

impl Table {
    /// Takes one line, of those that are neither empty nor a comment.
    pub(in crate::routing) fn read(&mut self, line: &str) -> Result<(), Misread> {
        let mut parts: Vec<_> = line.split(',').map(str::trim).collect();
        let score = parts.pop().unwrap_or_default();
        if self.features.is_empty() {
            if score != "score" || parts.is_empty() || parts.contains(&"") {
                return misread("does not name the features, and `score` last");
            }
            self.features = parts.into_iter().map(SmolStr::new).collect();
            return Ok(());
        }
        if parts.len() != self.features.len() {
            return misread("has not as many values as the first line names features");
        }
        let Some(score) = millionths(score) else {
            return misread("has no score with at most six decimal places");
        };
        let value = |part: &str| (part != "*").then(|| SmolStr::new(part));
        self.rows.push(Row { values: parts.into_iter().map(value).collect(), score });
        Ok(())
    }

    /// What it asks for.
    pub(in crate::routing) fn features(&self) -> impl Iterator<Item = &SmolStr> {
        self.features.iter()
    }

    pub(in crate::routing) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl Scorer for Table {
    fn score(&self, features: &dyn Features) -> i64 {
        let known: Vec<_> = self.features.iter().map(|name| features.feature(name)).collect();
        let fits = |row: &&Row| {
            let mut both = row.values.iter().zip(&known);
            both.all(|(wanted, known)| wanted.is_none() || wanted == known)
        };
        self.rows.iter().find(fits).map_or(0, |row| row.score)
    }
}

fn misread(problem: &str) -> Result<(), Misread> {
    let remedy = "begin with a line such as `geo.state, target.id, score`, then `OH, *, 0.31`";
    Err((problem.to_owned(), remedy.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_first_row_that_fits_counts() {
        let mut table = Table::default();
        for line in ["geo.state, target.id, score", "OH, a, 0.31", "*, a, 0.2", "OH, *, -1"] {
            table.read(line).unwrap();
        }
        let score = |features: &[(&'static str, &'static str)]| {
            let features: BTreeMap<_, _> = features.iter().copied().collect();
            table.score(&features)
        };
        assert_eq!(score(&[("geo.state", "OH"), ("target.id", "a")]), 310_000);
        assert_eq!(score(&[("target.id", "a")]), 200_000);
        assert_eq!(score(&[("geo.state", "OH"), ("target.id", "b")]), -1_000_000);
        assert_eq!(score(&[("target.id", "b")]), 0);
    }

    #[test]
    fn a_line_that_is_no_row_says_what_is_wrong() {
        let mut table = Table::default();
        assert!(table.read("OH, 0.31").unwrap_err().0.contains("`score` last"));
        table.read("geo.state, score").unwrap();
        assert!(table.read("OH, a, 0.31").unwrap_err().0.contains("as many values"));
        assert!(table.read("OH, high").unwrap_err().0.contains("no score"));
        assert!(table.is_empty());
    }
}
