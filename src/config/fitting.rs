//! Reads a value as a type, and finds all of it that does not fit: what is at fault is left out, and the
//! rest is read again.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::explain::{explain, joined, missing_field, unknown_field};
use super::fault::{ConfigError, Fault};
use super::tree::Tree;

/// Faults that are told at a time.
const FAULTS_MAX: usize = 100;

/// What was read, and what does not fit.
#[derive(Debug)]
pub struct Fitting<T> {
    /// Without what is at fault; absent if an entry of a section is, as a whole, and then all behind it
    /// would be told by another place.
    pub value: Option<T>,
    faults: Vec<Fault>,
    /// Entries that lack something which is at fault, such as `targets[2]`.
    spoilt: BTreeSet<String>,
}

/// A value from which is taken what is at fault.
struct Fitter {
    value: Value,
    /// What was taken out, by the places of the file.
    taken: BTreeSet<String>,
    /// For each entry that is left of a list that has lost some, where it stood.
    places: Vec<(String, Vec<usize>)>,
}

impl<T> Fitting<T> {
    /// # Errors
    /// All that does not fit.
    pub fn whole(self) -> Result<T, ConfigError> {
        match self.value {
            Some(value) if self.faults.is_empty() => Ok(value),
            Some(_) | None => Err(ConfigError::from_faults(self.faults)),
        }
    }

    /// The value as far as it fits, and what does not.
    pub fn apart(self) -> (Option<T>, Misfits) {
        let Self { value, faults, spoilt } = self;
        (value, Misfits { faults, spoilt })
    }
}

/// What does not fit, and where nothing more is to be found wrong for that.
#[derive(Debug)]
pub struct Misfits {
    faults: Vec<Fault>,
    spoilt: BTreeSet<String>,
}

impl Misfits {
    pub fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// Whether a fault may be there only for what was left out.
    pub fn may_cause(&self, fault: &Fault) -> bool {
        self.spoilt.contains(entry_of(&fault.path))
    }
}

/// Reads `value`, which stands at `base`.
pub(super) fn fit<T: DeserializeOwned>(tree: &Tree, base: &str, value: Value) -> Fitting<T> {
    let mut fitter = Fitter { value, taken: BTreeSet::new(), places: Vec::new() };
    let mut faults: Vec<Fault> = Vec::new();
    let mut read = None;
    while faults.len() < FAULTS_MAX {
        let error = match serde_path_to_error::deserialize::<_, T>(&fitter.value) {
            Ok(value) => {
                read = Some(value);
                break;
            }
            Err(error) => error,
        };
        let inner = match error.path().to_string() {
            root if root == "." => String::new(),
            inner => inner,
        };
        let message = error.into_inner().to_string();
        let path = fitter.place_of(&inner);
        let is_taken = missing_field(&message)
            .is_some_and(|field| fitter.taken.contains(&joined(&path, field)));
        if !is_taken {
            let path =
                if path.starts_with('[') { format!("{base}{path}") } else { joined(base, &path) };
            faults.push(explain(tree, path, &message));
        }
        if !fitter.take_out(&inner, &message) {
            break;
        }
    }
    let spoilt = fitter.taken.iter().map(|path| entry_of(&format!("{base}{path}")).to_owned());
    let spoilt = spoilt.collect();
    let is_in_place = fitter.places.is_empty();
    Fitting { value: read.filter(|_| is_in_place), faults, spoilt }
}

impl Fitter {
    /// Takes out what a message is about, or the least around it that can be. False: nothing can.
    fn take_out(&mut self, path: &str, message: &str) -> bool {
        let unknown = unknown_field(message).filter(|field| !path.ends_with(field));
        let path = unknown.map_or_else(|| path.to_owned(), |field| joined(path, field));
        // An entry of a list within an entry goes with its list: it would move those behind it.
        let mut path = path.as_str();
        while path.ends_with(']') && !is_entry(path) {
            let Some((list, _)) = path.rsplit_once('[') else { return false };
            path = list;
        }
        if path.is_empty() {
            return false;
        }
        self.taken.insert(self.place_of(path));
        let (around, last) = match path.strip_suffix(']').and_then(|path| path.rsplit_once('[')) {
            Some(at) => at,
            None => path.rsplit_once('.').unwrap_or(("", path)),
        };
        match self.at(around) {
            Some(Value::Object(fields)) => fields.remove(last).is_some(),
            Some(Value::Array(entries)) => {
                let Ok(at) = last.parse::<usize>() else { return false };
                if at >= entries.len() {
                    return false;
                }
                let all = entries.len();
                entries.remove(at);
                let known = self.places.iter_mut().find(|(list, _)| list == around);
                match known {
                    Some((_, places)) => drop(places.remove(at)),
                    None => {
                        let places = (0..all).filter(|place| *place != at).collect();
                        self.places.push((around.to_owned(), places));
                    }
                }
                true
            }
            Some(_) | None => false,
        }
    }

    /// Where in the file that stands which is now at `path`.
    fn place_of(&self, path: &str) -> String {
        let Some((list, rest)) = path.split_once('[') else { return path.to_owned() };
        let Some((_, places)) = self.places.iter().find(|(name, _)| name == list) else {
            return path.to_owned();
        };
        let Some((at, behind)) = rest.split_once(']') else { return path.to_owned() };
        let place = at.parse().ok().and_then(|at: usize| places.get(at));
        place.map_or_else(|| path.to_owned(), |place| format!("{list}[{place}]{behind}"))
    }

    fn at(&mut self, path: &str) -> Option<&mut Value> {
        let mut steps = path.split(['.', '[']).filter(|step| !step.is_empty());
        steps.try_fold(&mut self.value, |value, step| match step.strip_suffix(']') {
            Some(place) => value.get_mut(place.parse::<usize>().ok()?),
            None => value.get_mut(step),
        })
    }
}

/// Whether a path is that of an entry of a section, such as `targets[2]`, or `[2]` of one that is read by
/// itself.
fn is_entry(path: &str) -> bool {
    path.matches('[').count() == 1 && !path.contains('.') && path.ends_with(']')
}

/// The entry of a section, or the section, in which a path lies.
fn entry_of(path: &str) -> &str {
    let end = path.find(']').map_or(path.len(), |at| at + 1);
    let is_list = path.find('[').is_some_and(|at| path.find('.').is_none_or(|dot| at < dot));
    if is_list { &path[..end] } else { path.split('.').next().unwrap_or(path) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Business {
        #[serde(default)]
        targets: Vec<Target>,
        #[serde(default)]
        limits: BTreeMap<String, u32>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Target {
        id: String,
        #[serde(default)]
        weight: u32,
        #[serde(default)]
        caps: Vec<Cap>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Cap {
        #[serde(rename = "limit")]
        _limit: u32,
        #[serde(default, rename = "window")]
        _window: Option<Window>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Window {
        Day,
    }

    fn read(text: &str) -> (Fitting<Business>, Vec<String>) {
        let tree = Tree::from_toml("test.toml", text).unwrap();
        let fitting = fit::<Business>(&tree, "", tree.root.clone());
        let told = fitting.faults.iter().map(|it| format!("{}: {}", it.path, it.problem)).collect();
        (fitting, told)
    }

    #[test]
    fn what_fits_is_read() {
        let (fitting, told) = read("[[targets]]\nid = \"a\"\nweight = 3\n[limits]\nx = 4\n");
        assert_eq!(told, Vec::<String>::new());
        let read = fitting.whole().unwrap();
        assert_eq!((read.targets[0].id.as_str(), read.targets[0].weight), ("a", 3));
        assert_eq!(read.limits["x"], 4);
    }

    #[test]
    fn all_that_does_not_fit_is_told_by_its_place_and_the_rest_is_read() {
        let (fitting, told) = read(
            r#"
            targets = [
                { id = "a", weight = -5, colour = "red" },
                { id = "b", caps = [{ limit = 1 }, { window = "day" }, { limit = "many" }] },
                { id = "c", weight = 2, caps = [{ limit = 1, window = "week" }] },
            ]
            limits = { x = "y", z = 1 }
            "#,
        );
        let told: BTreeSet<_> = told.iter().map(String::as_str).collect();
        let expected = [
            "limits.x: is not a whole number from 0 up that fits",
            "targets[0].colour: is no field that is known here",
            "targets[0].weight: is negative",
            "targets[1].caps[1]: lacks `limit`",
            "targets[2].caps[0].window: is none of the words that are known here",
        ];
        assert_eq!(told, expected.into());
        let (value, misfits) = fitting.apart();
        let read = value.unwrap();
        assert_eq!((read.targets[2].weight, read.targets[1].caps.len()), (2, 0));
        let at = |path: &str| Fault { path: path.into(), ..misfits.faults[0].clone() };
        assert!(
            misfits.may_cause(&at("targets[1].dial.uri")) && misfits.may_cause(&at("limits.z"))
        );
        assert!(
            !misfits.may_cause(&at("campaigns[0]")) && !misfits.may_cause(&at("targets[3].id"))
        );
    }

    #[test]
    fn an_entry_that_is_none_is_told_and_those_behind_it_by_where_they_stand() {
        let (fitting, told) =
            read("targets = [{ weight = 1 }, { id = 5 }, 7, { id = \"d\", weight = true }]");
        let expected = [
            "targets[0]: lacks `id`",
            "targets[1].id: is not a text",
            "targets[2]: is not a table",
            "targets[3].weight: is not a whole number from 0 up that fits",
        ];
        assert_eq!(told, expected);
        assert!(fitting.value.is_none(), "the fourth would be taken for the first");
        assert!(fitting.whole().is_err());
    }

    #[test]
    fn no_more_is_told_than_anybody_reads() {
        let many = (0..300).map(|n| format!("x{n} = -1\n")).collect::<String>();
        let (fitting, told) = read(&format!("[limits]\n{many}"));
        assert_eq!((told.len(), fitting.value.is_none()), (FAULTS_MAX, true));
    }
}
