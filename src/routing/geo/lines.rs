//! What is on record of single lines, as comma-separated values.
//!
//! A file may have millions of rows, which differ in little but the number: a row takes eight bytes, and
//! what several say alike is kept once. The numbers are those of people, so no fault and no log repeats
//! one.

use std::collections::BTreeMap;
use std::fmt;

use minicbor::{Decode, Encode};
use smol_str::SmolStr;

use crate::codec;
use crate::phone::PhoneNumber;

use super::Place;
use super::table::{RowFault, Values, columns, fault, place};

const COLUMNS: [&str; 6] = ["number", "state", "zip", "time_zone", "country", "line_type"];
const LINE_TYPE_BYTES_MAX: usize = 32;
/// Of a row: a national number has 34 bits, and these are left for what is said of it.
const INDEX_BITS: u32 = 30;
const RECORDS_MAX: usize = 1 << INDEX_BITS;

/// What is on record of one line, or of the block of a thousand numbers that it is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct LineRecord {
    /// Two letters.
    #[cbor(n(0), with = "codec::optional_text", has_nil)]
    pub state: Option<SmolStr>,
    #[cbor(n(1), with = "codec::optional_text", has_nil)]
    pub zip: Option<SmolStr>,
    /// IANA name.
    #[cbor(n(2), with = "codec::optional_text", has_nil)]
    pub time_zone: Option<SmolStr>,
    /// Two letters, ISO 3166.
    #[cbor(n(3), with = "codec::optional_text", has_nil)]
    pub country: Option<SmolStr>,
    /// Such as `mobile`.
    #[cbor(n(4), with = "codec::optional_text", has_nil)]
    pub line_type: Option<SmolStr>,
}

/// All that is on record.
#[derive(Clone, Default, PartialEq)]
pub struct Lines {
    records: Vec<LineRecord>,
    /// National numbers of ten digits, and behind each its place in `records`. Ascending.
    numbers: Vec<u64>,
    /// The same of seven digits: a thousand numbers each.
    blocks: Vec<u64>,
}

/// What a file says, read line by line.
#[derive(Debug, Default)]
pub(in crate::routing) struct LineRows {
    /// What stands in each column, as a place in [`COLUMNS`]; empty before the first line.
    columns: Vec<usize>,
    known: BTreeMap<LineRecord, u32>,
    /// With the line each stands on.
    numbers: Vec<(u64, u32)>,
    blocks: Vec<(u64, u32)>,
}

impl Lines {
    /// What is on record of the number itself, else of its block.
    pub fn of(&self, number: PhoneNumber) -> Option<&LineRecord> {
        number.nanp_area_code()?;
        let national = number.digits() % 10_000_000_000;
        let own = find(&self.numbers, national);
        self.records.get(own.or_else(|| find(&self.blocks, national / 1_000))?)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.numbers.len() + self.blocks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.blocks.is_empty()
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lines", self.len())
    }
}

impl LineRows {
    /// Takes the line of this number; the first one names the columns.
    pub(in crate::routing) fn take(&mut self, line: u32, text: &str) -> Result<(), RowFault> {
        let cells: Vec<&str> = text.split(',').map(str::trim).collect();
        if self.columns.is_empty() {
            let first = "number and at least one of state, zip, time_zone, country and line_type";
            self.columns = columns(&cells, &COLUMNS, 1, first, Values::Hidden)?;
            if self.columns.len() == 1 {
                self.columns.clear();
                let remedy = format!("let the first line be {first}");
                return Err(fault("says nothing of a number", remedy));
            }
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
        let [number, state, zip, time_zone, country, kind] = row;
        let record = record((state, time_zone, zip, country), kind)?;
        let (national, is_block) = national(number)?;
        let next = self.known.len();
        if next >= RECORDS_MAX && !self.known.contains_key(&record) {
            return Err(fault("is one more that differs from all others", "leave it out"));
        }
        let next = u32::try_from(next).expect("there are fewer than 2^30");
        let index = u64::from(*self.known.entry(record).or_insert(next));
        let rows = if is_block { &mut self.blocks } else { &mut self.numbers };
        rows.push((national << INDEX_BITS | index, line));
        Ok(())
    }

    /// Whether there was a line at all.
    pub(in crate::routing) fn is_begun(&self) -> bool {
        !self.columns.is_empty()
    }

    /// All rows in order; else the lines whose number stands on an earlier one.
    pub(in crate::routing) fn compiled(self) -> Result<Lines, Vec<u32>> {
        let Self { known, mut numbers, mut blocks, .. } = self;
        let mut again = vec![];
        for rows in [&mut numbers, &mut blocks] {
            rows.sort_unstable_by_key(|(row, line)| (row >> INDEX_BITS, *line));
            let pairs = rows.windows(2);
            let twice = pairs.filter(|it| it[0].0 >> INDEX_BITS == it[1].0 >> INDEX_BITS);
            again.extend(twice.map(|it| it[1].1));
        }
        if !again.is_empty() {
            again.sort_unstable();
            return Err(again);
        }
        let mut records = vec![LineRecord::default(); known.len()];
        for (record, place) in known {
            records[place as usize] = record;
        }
        let rows = |rows: Vec<(u64, u32)>| rows.into_iter().map(|(row, _)| row).collect();
        Ok(Lines { records, numbers: rows(numbers), blocks: rows(blocks) })
    }
}

fn find(rows: &[u64], national: u64) -> Option<usize> {
    let at = rows.partition_point(|row| row >> INDEX_BITS < national);
    let row = rows.get(at).filter(|row| **row >> INDEX_BITS == national)?;
    usize::try_from(row & ((1 << INDEX_BITS) - 1)).ok()
}

fn record(
    (state, time_zone, zip, country): (&str, &str, &str, &str),
    kind: &str,
) -> Result<LineRecord, RowFault> {
    let Place { state, time_zone, zip, country } =
        place(state, time_zone, zip, country, Values::Hidden)?;
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if kind.len() > LINE_TYPE_BYTES_MAX || !kind.bytes().all(is_word) {
        let problem = "says no line type";
        return Err(fault(problem, "write a word of small letters such as mobile, or nothing"));
    }
    let line_type = (!kind.is_empty()).then(|| SmolStr::new(kind));
    let record = LineRecord { state, zip, time_zone, country, line_type };
    if record == LineRecord::default() {
        return Err(fault("says nothing of its number", "leave the line out"));
    }
    Ok(record)
}

/// The digits without the country code, and whether they are those of a block.
fn national(text: &str) -> Result<(u64, bool), RowFault> {
    let digits = text.strip_prefix("+1").unwrap_or(text);
    let digits =
        if digits.len() == 11 { digits.strip_prefix('1').unwrap_or(digits) } else { digits };
    let bytes = digits.as_bytes();
    let is_code = |place: usize| bytes.get(place).is_some_and(|it| *it >= b'2');
    match (bytes.len(), digits.parse()) {
        (10 | 7, Ok(national))
            if bytes.iter().all(u8::is_ascii_digit) && is_code(0) && is_code(3) =>
        {
            Ok((national, bytes.len() == 7))
        }
        _ => {
            let remedy = "write ten digits with the area code, or the first seven of a block of a \
                          thousand numbers";
            Err(fault("begins with no number of North America", remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "number,state,zip,time_zone,country,line_type";

    #[test]
    fn a_number_goes_before_its_block_and_others_are_not_on_record() {
        let lines = compiled(&[
            "number, line_type, zip, state",
            "+16145550163,mobile,43215,OH",
            "16145550164,landline,,",
            "6145550,voip,43004,OH",
            "5025550111,mobile,43215,OH",
        ])
        .unwrap();

        let of = |number: &str| {
            let LineRecord { state, zip, line_type, .. } =
                lines.of(number.parse().unwrap())?.clone();
            Some([state, zip, line_type].map(Option::unwrap_or_default).join(" "))
        };
        assert_eq!(of("+16145550163").as_deref(), Some("OH 43215 mobile"));
        assert_eq!(of("+16145550164").as_deref(), Some("  landline"));
        assert_eq!(of("+16145550999").as_deref(), Some("OH 43004 voip"));
        assert_eq!(of("+15025550111").as_deref(), Some("OH 43215 mobile"));
        for number in ["+16145551163", "+15025550112", "+446145550163", "+6145550163"] {
            assert_eq!(of(number), None, "{number}");
        }
        // What two rows say alike is kept once; a country follows from the state.
        assert_eq!((lines.len(), lines.records.len()), (4, 3));
        assert_eq!(lines.records[0].country.as_deref(), Some("US"));
    }

    #[test]
    fn every_row_of_many_is_found() {
        let seed = fastrand::u64(..);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut rows = BTreeMap::new();
        for _ in 0..2_000 {
            let number = 2_002_000_000 + rng.u64(0..7_000) * 1_000_003 % 7_997_999_999;
            let digits = number.to_string();
            if digits.len() == 10 && digits.as_bytes()[0] >= b'2' && digits.as_bytes()[3] >= b'2' {
                rows.insert(number, format!("{:05}", rng.u32(0..300)));
            }
        }
        let mut texts: Vec<String> =
            rows.iter().map(|(number, zip)| format!("{number},{zip}")).collect();
        rng.shuffle(&mut texts);
        texts.insert(0, "number,zip".to_owned());
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();

        let lines = compiled(&texts).unwrap();

        for (number, zip) in &rows {
            let number = PhoneNumber::from_digits(10_000_000_000 + number).unwrap();
            assert_eq!(lines.of(number).and_then(|it| it.zip.as_deref()), Some(&**zip), "{seed}");
        }
        assert!(rows.len() > 500, "{} rows, seed {seed}", rows.len());
    }

    #[test]
    fn a_line_that_cannot_be_meant_is_refused_without_its_number() {
        for (header, line, says) in [
            (
                "state,zip",
                "",
                "lacks the column `number`; let the first line be number and at least",
            ),
            ("number", "", "says nothing of a number; let the first line be number and at least"),
            (
                "number,sate",
                "",
                "names none that is known here as its column 2; did you mean `state`?",
            ),
            ("6145550163,OH", "", "names none that is known here as its column 1; there are num"),
            (HEADER, "6145550163,OH", "has 2 columns; write 6, as above"),
            (
                HEADER,
                "614555016,OH,,,,",
                "begins with no number of North America; write ten digits",
            ),
            (HEADER, "1145550163,OH,,,,", "begins with no number of North America"),
            (HEADER, "6141550163,OH,,,,", "begins with no number of North America"),
            (HEADER, "+446145550163,OH,,,,", "begins with no number of North America"),
            (
                HEADER,
                "6145550163,oh,,,,",
                "has something in the column `state` that is no state or province; write its two",
            ),
            (HEADER, "OH,6145550163,,,,", "has something in the column `state` that is no state"),
            (HEADER, "OH,,6145550163,,,", "has something in the column `zip` that is no ZIP code"),
            (HEADER, "OH,,,6145550163,,", "has something in the column `time_zone` that is no kn"),
            (HEADER, "OH,,,,6145550163,", "has something in the column `country` that cannot be"),
            (HEADER, "OH,OH,,,6145550163,", "has something in the column `country` that cannot"),
            (HEADER, "OH,,,,,+16145550163", "says no line type"),
            (HEADER, "6145550163,,,,,Mobile!", "says no line type; write a word of small letters"),
            (HEADER, "6145550163,,,,,", "says nothing of its number; leave the line out"),
        ] {
            let mut rows = LineRows::default();
            let refused = rows.take(1, header).and_then(|()| rows.take(2, line)).unwrap_err();
            let told = format!("{}; {}", refused.problem, refused.remedy);
            assert!(told.starts_with(says), "{told}");
            assert!(!told.contains("614"), "{told}");
        }
    }

    #[test]
    fn a_number_that_stands_twice_is_named_by_its_lines() {
        let again = compiled(&[
            "number,state",
            "6145550163,OH",
            "6145550,OH",
            "+16145550163,OH",
            "16145550163,PA",
            "6145550,PA",
        ]);
        assert_eq!(again.unwrap_err(), [4, 5, 6]);
    }

    fn compiled(texts: &[&str]) -> Result<Lines, Vec<u32>> {
        let mut rows = LineRows::default();
        for (number, text) in (1..).zip(texts) {
            rows.take(number, text).unwrap_or_else(|it| panic!("{text}: {it:?}"));
        }
        rows.compiled()
    }
}
