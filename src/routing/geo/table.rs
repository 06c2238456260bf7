//! Prefixes and places as comma-separated values.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::routing::schedule::bundled_zone;
use crate::suggest::suggestion;

use super::Place;
use super::states::{country, state};

const COLUMNS: [&str; 5] = ["prefix", "state", "time_zone", "zip", "country"];

/// What a table says, read line by line.
#[derive(Debug, Default)]
pub(in crate::routing) struct Rows {
    /// What stands in each column, as a place in [`COLUMNS`]; empty before the first line.
    columns: Vec<usize>,
    /// By area code, or by area code and exchange.
    places: BTreeMap<u32, Place>,
}

/// Whether faults repeat what a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    Shown,
    /// What stands there may be somebody's number.
    Hidden,
}

/// Why a line is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::routing) struct RowFault {
    pub(in crate::routing) problem: String,
    pub(in crate::routing) remedy: String,
}

impl Rows {
    /// Takes the next line; the first one names the columns.
    pub(in crate::routing) fn take(&mut self, line: &str) -> Result<(), RowFault> {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        if self.columns.is_empty() {
            let first = "prefix,state,time_zone and, if wanted, zip and country";
            self.columns = columns(&cells, &COLUMNS, 3, first, Values::Shown)?;
            return Ok(());
        }
        if cells.len() != self.columns.len() {
            let problem = format!("has {} columns", cells.len());
            return Err(fault(problem, format!("write {}, as above", self.columns.len())));
        }
        let mut row = [""; COLUMNS.len()];
        for (column, cell) in self.columns.iter().zip(cells) {
            row[*column] = cell;
        }
        let [prefix, state, time_zone, zip, country] = row;
        let prefix = self::prefix(prefix)?;
        let place = place(state, time_zone, zip, country, Values::Shown)?;
        match self.places.insert(prefix, place) {
            None => Ok(()),
            Some(_) => Err(fault(format!("has the prefix {prefix} again"), "keep one row for it")),
        }
    }

    /// Whether there was a line at all.
    pub(in crate::routing) fn is_begun(&self) -> bool {
        !self.columns.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Place)> {
        self.places.iter().map(|(prefix, place)| (*prefix, place))
    }

    pub(super) fn replaced_by(mut self, rows: Self) -> Self {
        for npa in rows.places.keys().filter(|prefix| **prefix < 1_000) {
            self.places.retain(|prefix, _| prefix / 1_000 != *npa);
        }
        self.places.extend(rows.places);
        self
    }
}

/// What stands in each column, as a place in `known`, of which the first `needed` have to be there.
/// `first`: how the first line may look.
pub(super) fn columns(
    cells: &[&str],
    known: &[&'static str],
    needed: usize,
    first: &str,
    values: Values,
) -> Result<Vec<usize>, RowFault> {
    let mut columns = vec![];
    for (number, cell) in (1..).zip(cells) {
        let Some(column) = known.iter().position(|known| known == cell) else {
            let problem = match values {
                Values::Shown => format!("names no column that is known here: `{cell}`"),
                Values::Hidden => format!("names none that is known here as its column {number}"),
            };
            return Err(fault(problem, suggestion(cell, known.iter().copied())));
        };
        if columns.contains(&column) {
            return Err(fault(format!("names the column `{cell}` twice"), "keep one of them"));
        }
        columns.push(column);
    }
    if let Some(missing) = (0..needed).find(|column| !columns.contains(column)) {
        let problem = format!("lacks the column `{}`", known[missing]);
        return Err(fault(problem, format!("let the first line be {first}")));
    }
    Ok(columns)
}

fn prefix(text: &str) -> Result<u32, RowFault> {
    let is_code = |part: &[u8]| part[0] >= b'2' && part.iter().all(u8::is_ascii_digit);
    let digits = text.as_bytes();
    match (digits.len(), text.parse()) {
        (3, Ok(prefix)) if is_code(digits) => Ok(prefix),
        (6, Ok(prefix)) if is_code(&digits[..3]) && is_code(&digits[3..]) => Ok(prefix),
        _ => Err(fault(
            "begins with no prefix",
            "write an area code such as 614, or with its exchange, such as 614555",
        )),
    }
}

pub(super) fn place(
    state_text: &str,
    time_zone: &str,
    zip: &str,
    country_text: &str,
    values: Values,
) -> Result<Place, RowFault> {
    let said = |column, text| match values {
        Values::Shown => format!("says `{text}`, which"),
        Values::Hidden => format!("has something in the column `{column}` that"),
    };
    let known = state(state_text).filter(|known| *known == state_text);
    if known.is_none() && !state_text.is_empty() {
        let problem = format!("{} is no state or province", said("state", state_text));
        return Err(fault(problem, "write its two letters in capitals, such as OH, or nothing"));
    }
    if !time_zone.is_empty() && bundled_zone(time_zone).is_none() {
        let problem = format!("{} is no known time zone", said("time_zone", time_zone));
        return Err(fault(problem, "write an IANA name such as America/New_York, or nothing"));
    }
    let is_zip = zip.len() == 5 && zip.bytes().all(|byte| byte.is_ascii_digit());
    if !zip.is_empty() && !is_zip {
        let problem = format!("{} is no ZIP code", said("zip", zip));
        return Err(fault(problem, "write five digits, or nothing"));
    }
    let of_state = known.and_then(country);
    let is_country =
        country_text.len() == 2 && country_text.bytes().all(|it| it.is_ascii_uppercase());
    if !country_text.is_empty() && (!is_country || of_state.is_some_and(|it| it != country_text)) {
        let problem = match values {
            Values::Shown => format!("says the country `{country_text}`"),
            Values::Hidden => format!("{} cannot be", said("country", country_text)),
        };
        let remedy = match of_state {
            Some(country) => format!("write {country}, where {state_text} is, or nothing"),
            None => "write two letters in capitals, such as US, or nothing".to_owned(),
        };
        return Err(fault(problem, remedy));
    }
    let text = |text: &str| (!text.is_empty()).then(|| SmolStr::new(text));
    Ok(Place {
        state: text(state_text),
        time_zone: text(time_zone),
        zip: text(zip),
        country: text(country_text).or_else(|| of_state.map(SmolStr::new_static)),
    })
}

pub(super) fn fault(problem: impl Into<String>, remedy: impl Into<String>) -> RowFault {
    RowFault { problem: problem.into(), remedy: remedy.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_cannot_be_meant_is_refused_with_problem_and_remedy() {
        for (header, line, says) in [
            ("prefix,state", "", "lacks the column `time_zone`; let the first line be prefix,s"),
            (
                "prefix,stat,time_zone",
                "",
                "names no column that is known here: `stat`; did you mean `state`?",
            ),
            ("prefix,state,state,time_zone", "", "names the column `state` twice; keep one"),
            (HEADER, "614,OH", "has 2 columns; write 5, as above"),
            (HEADER, "6145,OH,,,", "begins with no prefix; write an area code such as 614"),
            (HEADER, "114,OH,,,", "begins with no prefix"),
            (HEADER, "614155,OH,,,", "begins with no prefix"),
            (
                HEADER,
                "614,oh,,,",
                "says `oh`, which is no state or province; write its two letters",
            ),
            (HEADER, "614,OH,New York,,", "says `New York`, which is no known time zone; write an"),
            (HEADER, "614,OH,,4321,", "says `4321`, which is no ZIP code; write five digits"),
            (HEADER, "614,OH,,,CA", "says the country `CA`; write US, where OH is, or nothing"),
            (HEADER, "242,,,,Bahamas", "says the country `Bahamas`; write two letters in capitals"),
            (HEADER, "740,OH,,,", "has the prefix 740 again; keep one row for it"),
        ] {
            let mut rows = Rows::default();
            let header = rows.take(header).and_then(|()| rows.take("740,OH,America/New_York,,US"));
            let RowFault { problem, remedy } = header.and_then(|()| rows.take(line)).unwrap_err();
            let told = format!("{problem}; {remedy}");
            assert!(told.starts_with(says), "{told}");
        }
    }

    const HEADER: &str = "prefix,state,time_zone,zip,country";
}
