//! The name that was probably meant by one that is not known.

/// `did you mean …?` or, if nothing known is near, what there is.
pub(crate) fn suggestion<'k>(unknown: &str, known: impl Iterator<Item = &'k str>) -> String {
    let known: Vec<&str> = known.collect();
    match nearest(unknown, &known, (unknown.chars().count() / 3).max(2)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => String::from("remove it"),
        None => format!("there are {}", known.join(", ")),
    }
}

/// The known name that is one slip of the finger away from a name which is none of them, or has other
/// capitals: so near that hardly anybody chose it.
pub(crate) fn slip_of<'k>(unknown: &str, known: &[&'k str]) -> Option<&'k str> {
    if known.contains(&unknown) { None } else { nearest(unknown, known, 1) }
}

/// The known name that is at most so many slips of the finger away from `unknown`; of two that are as
/// near, the one with the same letters.
fn nearest<'k>(unknown: &str, known: &[&'k str], limit: usize) -> Option<&'k str> {
    let unknown = unknown.to_lowercase();
    let letters = |name: &str| {
        let mut letters: Vec<char> = name.chars().collect();
        letters.sort_unstable();
        letters
    };
    known
        .iter()
        .map(|name| (edits(&unknown, name), letters(name) != letters(&unknown), *name))
        .min()
        .filter(|(edits, ..)| *edits <= limit)
        .map(|(.., name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours between two names.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let changed = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            let is_swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            row.push(if is_swap { changed.min(rows[i - 2][j - 2] + 1) } else { changed });
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_name_that_was_meant() {
        let known = ["api", "sip", "store", "t1_ms"];
        for (slip, meant) in [
            ("spi", Some("sip")),
            ("stores", Some("store")),
            ("T1_MS", Some("t1_ms")),
            ("t1ms", Some("t1_ms")),
            ("campaign", None),
        ] {
            let told = suggestion(slip, known.into_iter());
            match meant {
                Some(meant) => assert_eq!(told, format!("did you mean `{meant}`?"), "{slip}"),
                None => assert_eq!(told, "there are api, sip, store, t1_ms", "{slip}"),
            }
        }
    }

    #[test]
    fn one_slip_is_no_choice_and_two_may_be() {
        let known = ["geo.npa", "geo.state"];
        for (name, meant) in [
            ("geo.stat", Some("geo.state")),
            ("Geo.STATE", Some("geo.state")),
            ("geo.sttae", Some("geo.state")),
            ("geo.state", None),
            ("geo.dma", None),
        ] {
            assert_eq!(slip_of(name, &known), meant, "{name}");
        }
    }
}
