//! Reads a value as a type, and finds all of it that does not fit: what is at fault is left out, and the
//! rest is read again.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::explain::{explain, joined, meant_field, missing_field, unknown_field};
use super::fault::{ConfigError, Fault};
use super::tree::Tree;

/// Faults that are told at a time.
const FAULTS_MAX: usize = 100;

/// What was read, and what does not fit.
#[derive(Debug)]
pub struct Fitting<T> {
    /// Without what is at fault; absent if nothing could be read.
    pub value: Option<T>,
    misfits: Misfits,
}

/// What does not fit, and what may look wrong only for that.
#[derive(Debug, Default)]
pub struct Misfits {
    faults: Vec<Fault>,
    /// What was left out, by the places of the file.
    taken: BTreeSet<String>,
    places: Places,
    lost: Vec<Lost>,
}

/// An entry of a section that could not be read.
#[derive(Debug)]
struct Lost {
    /// Such as `targets`; `None`: nobody knows which is meant.
    section: Option<String>,
    /// `None`: it is not known either.
    id: Option<String>,
}

/// For each entry that is left of a list that has lost some, where it stood.
#[derive(Clone, Debug, Default)]
struct Places(Vec<(String, Vec<usize>)>);

/// A value from which is taken what is at fault.
struct Fitter {
    value: Value,
    /// By the places of the file.
    taken: BTreeSet<String>,
    places: Places,
    lost: Vec<Lost>,
    /// Lists within entries of which one does not fit: they go as a whole, once what stands behind that one
    /// was looked at.
    halved: Vec<String>,
}

impl<T> Fitting<T> {
    /// What fits, all of it.
    pub(super) fn all_of(value: T) -> Self {
        Self { value: Some(value), misfits: Misfits::default() }
    }

    pub(super) fn map<U>(self, to: impl FnOnce(T) -> U) -> Fitting<U> {
        Fitting { value: self.value.map(to), misfits: self.misfits }
    }

    /// # Errors
    /// All that does not fit.
    pub fn whole(self) -> Result<T, ConfigError> {
        match self.value {
            Some(value) if self.misfits.is_empty() => Ok(value),
            Some(_) | None => Err(ConfigError::from_faults(self.misfits.faults)),
        }
    }

    /// The value as far as it fits, and what does not.
    pub fn apart(self) -> (Option<T>, Misfits) {
        (self.value, self.misfits)
    }
}

impl Misfits {
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    pub fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// With what else is wrong.
    pub(super) fn between(self, before: Vec<Fault>, behind: Vec<Fault>) -> Self {
        let faults = before.into_iter().chain(self.faults).chain(behind).collect();
        Self { faults, ..self }
    }

    /// With what was read all the same.
    pub(super) fn beside<T>(self, value: T) -> Fitting<T> {
        Fitting { value: Some(value), misfits: self }
    }

    /// With a section that nobody knows, and the one that may be meant: what it names is not there.
    pub(super) fn without_section(&mut self, meant: Option<&str>) {
        self.lost.push(Lost { section: meant.map(str::to_owned), id: None });
    }

    /// Whether a fault may be there only for what was left out: it lies there, or speaks of it.
    pub fn may_cause(&self, fault: &Fault) -> bool {
        let texts = [&fault.problem, &fault.remedy];
        self.taken.iter().any(|taken| {
            let field = taken.rsplit('.').next().unwrap_or(taken);
            let is_near = entry_of(taken) == entry_of(&fault.path);
            lies_in(&fault.path, taken)
                || lies_in(taken, &fault.path)
                || texts.iter().any(|text| text.contains(taken.as_str()))
                || (is_near && texts.iter().any(|text| has_word(text, field)))
        })
    }

    /// Whether something of a section was left out.
    pub fn are_in(&self, section: &str) -> bool {
        let of_section = |path: &str| path.split(['.', '[']).next() == Some(section);
        self.faults.iter().any(|fault| of_section(&fault.path))
            || self.lost.iter().any(|lost| lost.section.as_deref() == Some(section))
    }

    /// Whether something was left out of the entry in which a path lies.
    pub fn are_beside(&self, path: &str) -> bool {
        self.taken.iter().any(|taken| entry_of(taken) == entry_of(path))
    }

    /// Whether some entry could not be read, so that those behind it stand elsewhere in the value.
    pub fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Whether an entry may have that name that could not be read, of a section that `is_meant`.
    pub fn may_have_lost(&self, name: &str, is_meant: impl Fn(&str) -> bool) -> bool {
        self.lost.iter().any(|lost| {
            lost.id.as_ref().is_none_or(|id| id == name)
                && lost.section.as_deref().is_none_or(&is_meant)
        })
    }

    /// The same, whatever its name.
    pub fn has_lost_any(&self, is_meant: impl Fn(&str) -> bool) -> bool {
        self.lost.iter().any(|lost| lost.section.as_deref().is_none_or(&is_meant))
    }

    /// A text about the value that was read, such as a path, with the places of the file.
    pub fn placed(&self, text: &str) -> String {
        self.places.placed(text)
    }
}

/// Reads `value`, which stands at `base`.
pub(super) fn fit<T: DeserializeOwned>(tree: &Tree, base: &str, value: Value) -> Fitting<T> {
    let mut fitter = Fitter {
        value,
        taken: BTreeSet::new(),
        places: Places::default(),
        lost: vec![],
        halved: vec![],
    };
    let mut faults: Vec<Fault> = Vec::new();
    let mut read = None;
    while faults.len() < FAULTS_MAX {
        let error = match serde_path_to_error::deserialize::<_, T>(&fitter.value) {
            Ok(_) if fitter.take_halved() => continue,
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
        let path = fitter.places.placed(&inner);
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
    let Fitter { taken, places, lost, .. } = fitter;
    let placed = |path: String| match path.starts_with('[') {
        true => format!("{base}{path}"),
        false => joined(base, &path),
    };
    let taken = taken.into_iter().map(placed).collect();
    Fitting { value: read, misfits: Misfits { faults, taken, places, lost } }
}

impl Fitter {
    /// Takes out what a message is about, or the least around it that can be. False: nothing can.
    fn take_out(&mut self, path: &str, message: &str) -> bool {
        let unknown = unknown_field(message).filter(|field| !path.ends_with(field));
        let path = unknown.map_or_else(|| path.to_owned(), |field| joined(path, field));
        // An entry of a list within an entry goes with its list: it would move those behind it.
        let (mut path, mut within) = (path.as_str(), None);
        while path.ends_with(']') && !is_entry(path) {
            let Some((list, at)) = path.rsplit_once('[') else { return false };
            (path, within) = (list, at.trim_end_matches(']').parse().ok());
        }
        if path.is_empty() {
            return false;
        }
        self.taken.insert(self.places.placed(path));
        // What is not known was meant for what it looks like, or else for anything there.
        let around = path.rsplit_once('.').map_or("", |(around, _)| around);
        let meant = unknown_field(message).map(|_| meant_field(message).unwrap_or_default());
        let meant = meant.map(|field| self.places.placed(&joined(around, &field)));
        self.taken.extend(meant.filter(|path| !path.is_empty()));
        if let Some(at) = within {
            return self.halve(path, at);
        }
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
                let entry = entries.remove(at);
                let id = entry.get("id").and_then(Value::as_str).map(str::to_owned);
                let section = Some(around.to_owned()).filter(|section| !section.is_empty());
                self.lost.push(Lost { section, id });
                self.halved.retain(|list| !lies_in(list, path));
                self.places.remove(around, at, all);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Leaves of a list what stands behind an entry.
    fn halve(&mut self, list: &str, at: usize) -> bool {
        let Some(Value::Array(entries)) = self.at(list) else { return false };
        let all = entries.len();
        if at >= all {
            return false;
        }
        entries.drain(..=at);
        self.places.begin_behind(list, at, all);
        if !self.halved.iter().any(|it| it == list) {
            self.halved.push(list.to_owned());
        }
        true
    }

    /// Takes out the lists that were halved. False: there is none.
    fn take_halved(&mut self) -> bool {
        let halved = std::mem::take(&mut self.halved);
        for list in &halved {
            self.places.forget(list);
            let (around, last) = list.rsplit_once('.').unwrap_or(("", list));
            if let Some(Value::Object(fields)) = self.at(around) {
                fields.remove(last);
            }
        }
        !halved.is_empty()
    }

    fn at(&mut self, path: &str) -> Option<&mut Value> {
        let mut steps = path.split(['.', '[']).filter(|step| !step.is_empty());
        steps.try_fold(&mut self.value, |value, step| match step.strip_suffix(']') {
            Some(place) => value.get_mut(place.parse::<usize>().ok()?),
            None => value.get_mut(step),
        })
    }
}

impl Places {
    /// The entry `at` is no longer in the list, which had `all`.
    fn remove(&mut self, list: &str, at: usize, all: usize) {
        match self.0.iter_mut().find(|(known, _)| known == list) {
            Some((_, places)) => drop(places.remove(at)),
            None => {
                let places = (0..all).filter(|place| *place != at).collect();
                self.0.push((list.to_owned(), places));
            }
        }
    }

    /// Of the list, which had `all`, those up to `at` are no longer there.
    fn begin_behind(&mut self, list: &str, at: usize, all: usize) {
        match self.0.iter_mut().find(|(known, _)| known == list) {
            Some((_, places)) => drop(places.drain(..=at)),
            // What is within others is placed before these are.
            None => self.0.insert(0, (list.to_owned(), (at + 1..all).collect())),
        }
    }

    fn forget(&mut self, list: &str) {
        self.0.retain(|(known, _)| known != list);
    }

    /// The same text with every entry of such a list as it stands in the file.
    fn placed(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (list, places)| {
            // A section that is read by itself, where a path begins with the entry.
            if list.is_empty() && !text.starts_with('[') {
                return text;
            }
            let (mut placed, mut rest) = (String::with_capacity(text.len()), text.as_str());
            let opening = format!("{list}[");
            while let Some((before, behind)) = rest.split_once(&opening) {
                let is_past = list.is_empty() && !placed.is_empty();
                placed.push_str(before);
                placed.push_str(&opening);
                let is_other =
                    before.ends_with(|it: char| it.is_alphanumeric() || "_.".contains(it));
                let digits = behind.split_once(']').map_or("", |(digits, _)| digits);
                let place = digits.parse().ok().and_then(|at: usize| places.get(at));
                rest = behind;
                if let Some(place) = place.filter(|_| !is_other && !is_past) {
                    placed.push_str(&place.to_string());
                    rest = &behind[digits.len()..];
                }
            }
            placed + rest
        })
    }
}

/// Whether a path is the other, or that of something in it.
fn lies_in(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|it: char| !it.is_alphanumeric() && it != '_').any(|it| it == word)
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
        let told = fitting
            .misfits
            .faults
            .iter()
            .map(|it| format!("{}: {}", it.path, it.problem))
            .collect();
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
                { id = "b", caps = [
                    { limit = 1 }, { window = "day" }, { limit = "many" }, { limit = 2 }, { limit = -1 },
                ] },
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
            "targets[1].caps[2].limit: is not a whole number from 0 up that fits",
            "targets[1].caps[4].limit: is negative",
            "targets[2].caps[0].window: is none of the words that are known here",
        ];
        assert_eq!(told, expected.into());
        let (value, misfits) = fitting.apart();
        let read = value.unwrap();
        assert_eq!((read.targets[2].weight, read.targets[1].caps.len()), (2, 0));
        let at = |path: &str| Fault { path: path.into(), ..misfits.faults[0].clone() };
        for caused in ["targets[1].caps", "targets[1].caps[1].limit", "targets[1]", "limits.x"] {
            assert!(misfits.may_cause(&at(caused)), "{caused}");
        }
        for other in ["targets[1].dial.uri", "limits.z", "campaigns[0].id", "targets[12].caps"] {
            assert!(!misfits.may_cause(&at(other)), "{other}");
        }
        let says = |path, problem: &str| Fault { problem: problem.into(), ..at(path) };
        assert!(misfits.may_cause(&says("targets[1].weight", "is more than `caps` say")));
        assert!(!misfits.may_cause(&says("targets[1].weight", "is more than `cap` says")));
        assert!(!misfits.may_cause(&says("targets[3].weight", "is more than `caps` say")));
        // Nobody knows what its colour was meant for.
        assert!(misfits.may_cause(&says("targets[0].caps", "is wrong")));
        assert!(misfits.may_cause(&says("pools[0]", "is more than targets[2].caps[0].window")));
        assert!(!misfits.has_lost());
    }

    #[test]
    fn lists_within_entries_are_told_by_where_they_stand_behind_entries_that_are_lost() {
        let (fitting, told) = read(
            r#"
            targets = [
                7,
                { id = "a", caps = [{ limit = 1 }, { limit = -1 }, { limit = -2 }] },
                { caps = [{ limit = -3 }, { limit = -4 }] },
                { id = "c", caps = [{ limit = 1 }] },
            ]
            "#,
        );
        let expected = [
            "targets[0]: is not a table",
            "targets[1].caps[1].limit: is negative",
            "targets[1].caps[2].limit: is negative",
            "targets[2].caps[0].limit: is negative",
            "targets[2].caps[1].limit: is negative",
            "targets[2]: lacks `id`",
        ];
        assert_eq!(told, expected);
        let read = fitting.value.unwrap().targets;
        let caps: Vec<_> = read.iter().map(|it| (it.id.as_str(), it.caps.len())).collect();
        assert_eq!(caps, [("a", 0), ("c", 1)]);
        assert_eq!(fitting.misfits.placed("targets[1].caps[0]"), "targets[3].caps[0]");
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
        let (value, misfits) = fitting.apart();
        let ids: Vec<_> = value.unwrap().targets.into_iter().map(|it| it.id).collect();
        assert_eq!(ids, ["d"]);
        let placed =
            misfits.placed("targets[0].caps[1]: as subtargets[0], other.targets[0], targets[9]");
        assert_eq!(placed, "targets[3].caps[1]: as subtargets[0], other.targets[0], targets[9]");
        assert!(misfits.may_have_lost("any", |section| section == "targets"));
        assert!(!misfits.may_have_lost("any", |section| section == "pools"));
    }

    #[test]
    fn an_entry_that_is_lost_may_be_the_one_that_is_named() {
        let (fitting, told) =
            read("targets = [{ id = \"a\", caps = [] }, { id = \"b\" }, 7]\n[limits]\nx = 1\n");
        assert_eq!(told, ["targets[2]: is not a table"]);
        let (_, misfits) = fitting.apart();
        assert!(misfits.has_lost() && misfits.may_have_lost("c", |_| true));
        let mut misfits = Misfits::default();
        assert!(!misfits.may_have_lost("c", |_| true));
        misfits.lost.push(Lost { section: Some(String::from("targets")), id: Some("c".into()) });
        assert!(misfits.may_have_lost("c", |it| it == "targets"));
        assert!(!misfits.may_have_lost("d", |it| it == "targets"));
        misfits.without_section(None);
        assert!(misfits.may_have_lost("d", |it| it == "pools"));
    }

    #[test]
    fn no_more_is_told_than_anybody_reads() {
        let many = (0..300).map(|n| format!("x{n} = -1\n")).collect::<String>();
        let (fitting, told) = read(&format!("[limits]\n{many}"));
        assert_eq!((told.len(), fitting.value.is_none()), (FAULTS_MAX, true));
    }
}
