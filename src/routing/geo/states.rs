//! States of the US, its districts and territories, and provinces of Canada.

/// Two letters, name, country. Ascending.
const STATES: [(&str, &str, &str); 69] = [
    ("AB", "Alberta", "CA"),
    ("AK", "Alaska", "US"),
    ("AL", "Alabama", "US"),
    ("AR", "Arkansas", "US"),
    ("AS", "American Samoa", "US"),
    ("AZ", "Arizona", "US"),
    ("BC", "British Columbia", "CA"),
    ("CA", "California", "US"),
    ("CO", "Colorado", "US"),
    ("CT", "Connecticut", "US"),
    ("DC", "District of Columbia", "US"),
    ("DE", "Delaware", "US"),
    ("FL", "Florida", "US"),
    ("GA", "Georgia", "US"),
    ("GU", "Guam", "US"),
    ("HI", "Hawaii", "US"),
    ("IA", "Iowa", "US"),
    ("ID", "Idaho", "US"),
    ("IL", "Illinois", "US"),
    ("IN", "Indiana", "US"),
    ("KS", "Kansas", "US"),
    ("KY", "Kentucky", "US"),
    ("LA", "Louisiana", "US"),
    ("MA", "Massachusetts", "US"),
    ("MB", "Manitoba", "CA"),
    ("MD", "Maryland", "US"),
    ("ME", "Maine", "US"),
    ("MI", "Michigan", "US"),
    ("MN", "Minnesota", "US"),
    ("MO", "Missouri", "US"),
    ("MP", "Northern Mariana Islands", "US"),
    ("MS", "Mississippi", "US"),
    ("MT", "Montana", "US"),
    ("NB", "New Brunswick", "CA"),
    ("NC", "North Carolina", "US"),
    ("ND", "North Dakota", "US"),
    ("NE", "Nebraska", "US"),
    ("NH", "New Hampshire", "US"),
    ("NJ", "New Jersey", "US"),
    ("NL", "Newfoundland and Labrador", "CA"),
    ("NM", "New Mexico", "US"),
    ("NS", "Nova Scotia", "CA"),
    ("NT", "Northwest Territories", "CA"),
    ("NU", "Nunavut", "CA"),
    ("NV", "Nevada", "US"),
    ("NY", "New York", "US"),
    ("OH", "Ohio", "US"),
    ("OK", "Oklahoma", "US"),
    ("ON", "Ontario", "CA"),
    ("OR", "Oregon", "US"),
    ("PA", "Pennsylvania", "US"),
    ("PE", "Prince Edward Island", "CA"),
    ("PR", "Puerto Rico", "US"),
    ("QC", "Quebec", "CA"),
    ("RI", "Rhode Island", "US"),
    ("SC", "South Carolina", "US"),
    ("SD", "South Dakota", "US"),
    ("SK", "Saskatchewan", "CA"),
    ("TN", "Tennessee", "US"),
    ("TX", "Texas", "US"),
    ("UT", "Utah", "US"),
    ("VA", "Virginia", "US"),
    ("VI", "US Virgin Islands", "US"),
    ("VT", "Vermont", "US"),
    ("WA", "Washington", "US"),
    ("WI", "Wisconsin", "US"),
    ("WV", "West Virginia", "US"),
    ("WY", "Wyoming", "US"),
    ("YT", "Yukon", "CA"),
];

/// The two letters of a state that is written as such, in any case, or by its name.
pub(crate) fn state(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let is_meant = |(code, name, _): &&(&str, &str, &str)| {
        code.eq_ignore_ascii_case(text) || name.eq_ignore_ascii_case(text)
    };
    STATES.iter().find(is_meant).map(|(code, ..)| *code)
}

/// The country of a state, by its two letters.
pub(crate) fn country(state: &str) -> Option<&'static str> {
    let place = STATES.binary_search_by(|(code, ..)| (*code).cmp(state)).ok()?;
    Some(STATES[place].2)
}

/// Letters and names.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    STATES.iter().map(|(code, name, _)| (*code, *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_known_by_its_letters_and_its_name() {
        assert!(STATES.is_sorted());
        assert_eq!(state("oh"), Some("OH"));
        assert_eq!(state(" West virginia "), Some("WV"));
        assert_eq!(state("XX"), None);
        assert_eq!((country("OH"), country("YT"), country("XX")), (Some("US"), Some("CA"), None));
    }
}
