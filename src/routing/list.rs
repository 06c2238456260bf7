//! Who is on which list of callers (spec/domain §2.4).
//!
//! A list holds numbers, or what became of them under a hash of its owner. Eight bytes of a hash are
//! kept: that another caller has the same, out of a million entries, happens once in 10^13 looks.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::time::Wall;

use super::config::{ListCategory, ListHash, ListKind, NumberForm, SecretKey};
use super::decision::Finding;
use super::request::UsageReader;

/// Callers who are treated alike.
#[derive(Clone, Debug, PartialEq)]
pub struct CallerList {
    pub id: SmolStr,
    pub kind: ListKind,
    pub category: ListCategory,
    /// Place in [`Lists::forms`].
    form: usize,
    /// Absent: who is on it is not known. Configurations that are kept do not say.
    entries: Option<Entries>,
}

/// All lists of a configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lists {
    pub(super) all: Vec<CallerList>,
    /// How callers are named in them, each once.
    forms: Vec<Form>,
    /// Those that hold for every call.
    pub(super) blocking: Vec<usize>,
}

/// How a list names a caller.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Form {
    Number,
    Hashed { hash: ListHash, key: Option<SecretKey>, form: NumberForm },
}

/// Names of callers in eight bytes each.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Entries {
    /// Ascending.
    lasting: Vec<u64>,
    /// Ascending, with the instant from which on they hold no more.
    dated: Vec<(u64, Wall)>,
}

/// Which callers are not taken, and which alone are; places in [`Lists::all`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ListRules {
    pub(super) suppress: Vec<usize>,
    /// Of each group the caller has to be on one.
    pub(super) accept: Vec<Vec<usize>>,
}

/// The lists, asked about one caller. Hashed at most once in each way, and only when asked.
#[derive(Debug)]
pub(super) struct Listed<'a, U: ?Sized> {
    lists: &'a Lists,
    usage: &'a U,
    caller: Option<PhoneNumber>,
    at: Wall,
    names: SmallVec<[(usize, Option<u64>); 2]>,
    /// On which it was found.
    pub(super) found: Vec<SmolStr>,
}

impl Lists {
    /// Adds a list; `None` of `entries`: whom it holds is not known.
    pub(super) fn add(
        &mut self,
        id: SmolStr,
        kind: ListKind,
        category: ListCategory,
        form: Form,
        entries: Option<Entries>,
    ) {
        let form = self.forms.iter().position(|known| *known == form).unwrap_or_else(|| {
            self.forms.push(form);
            self.forms.len() - 1
        });
        if kind == ListKind::Block {
            self.blocking.push(self.all.len());
        }
        self.all.push(CallerList { id, kind, category, form, entries });
    }

    /// How many callers each list holds, by its name.
    pub fn sizes(&self) -> impl Iterator<Item = (&SmolStr, usize)> {
        self.all.iter().map(|it| {
            let size = it.entries.as_ref().map(|it| it.lasting.len() + it.dated.len());
            (&it.id, size.unwrap_or(0))
        })
    }
}

impl Entries {
    /// `until`: the instant from which on the entry holds no more.
    pub(super) fn add(&mut self, name: u64, until: Option<Wall>) {
        match until {
            None => self.lasting.push(name),
            Some(until) => self.dated.push((name, until)),
        }
    }

    /// To be said once all are added.
    pub(super) fn sort(&mut self) {
        self.lasting.sort_unstable();
        self.lasting.dedup();
        self.lasting.shrink_to_fit();
        self.dated.sort_unstable();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lasting.is_empty() && self.dated.is_empty()
    }

    fn contains(&self, name: u64, at: Wall) -> bool {
        if self.lasting.binary_search(&name).is_ok() {
            return true;
        }
        // Of several entries for one caller the one that holds longest is the last.
        let after = self.dated.partition_point(|(known, _)| *known <= name);
        let last = after.checked_sub(1).map(|place| self.dated[place]);
        last.is_some_and(|(known, until)| known == name && at < until)
    }
}

impl Form {
    /// What stands for the number; `None`: it cannot be written so.
    pub(super) fn name(&self, number: PhoneNumber) -> Option<u64> {
        let Self::Hashed { hash, key, form } = self else { return Some(number.digits()) };
        let written = match form {
            NumberForm::E164 => number.to_e164(),
            NumberForm::Digits => number.digits().to_string(),
            NumberForm::National => {
                number.nanp_area_code()?;
                format!("{:010}", number.digits() % 10_000_000_000)
            }
        };
        let key = key.as_ref().map(SecretKey::bytes).unwrap_or_default();
        let hashed: [u8; 32] = match hash {
            ListHash::Sha256 => {
                Sha256::new().chain_update(key).chain_update(written).finalize().into()
            }
            ListHash::HmacSha256 => {
                let mac =
                    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
                mac.chain_update(written).finalize().into_bytes().into()
            }
        };
        Some(u64::from_be_bytes(*hashed.first_chunk().expect("it has 32 bytes")))
    }

    /// What an entry says; `None`: it is no entry of such a list.
    pub(super) fn read(&self, entry: &str) -> Option<u64> {
        match self {
            Self::Number => entry.parse().ok().map(PhoneNumber::digits),
            Self::Hashed { .. } => {
                let is_hash = entry.len() == 64 && entry.bytes().all(|it| it.is_ascii_hexdigit());
                is_hash.then(|| u64::from_str_radix(&entry[..16], 16).ok()).flatten()
            }
        }
    }
}

impl ListRules {
    pub(super) fn is_empty(&self) -> bool {
        self.suppress.is_empty() && self.accept.is_empty()
    }
}

impl<'a, U: UsageReader + ?Sized> Listed<'a, U> {
    pub(super) fn new(
        lists: &'a Lists,
        usage: &'a U,
        caller: Option<PhoneNumber>,
        at: Wall,
    ) -> Self {
        Self { lists, usage, caller, at, names: SmallVec::new(), found: vec![] }
    }

    /// Whether any list holds for every call.
    pub(super) fn blocks(&self) -> bool {
        !self.lists.blocking.is_empty()
    }

    /// What blocks the caller from all calls.
    pub(super) fn block(&mut self) -> Result<(), (Reason, Finding)> {
        let lists = self.lists;
        for place in &lists.blocking {
            if self.holds(*place) {
                let list = &lists.all[*place];
                let reason = match list.category {
                    ListCategory::Blocked => Reason::BlockedCaller,
                    ListCategory::Litigator => Reason::Litigator,
                };
                return Err((reason, finding(&list.id, "listed", "not listed")));
            }
        }
        Ok(())
    }

    /// Whether the rules take the caller. One without a number is on no list.
    pub(super) fn check(&mut self, rules: &ListRules) -> Result<(), (Reason, Finding)> {
        self.spares(rules)?;
        self.accepts(rules)
    }

    /// Whether no list leaves the caller out.
    pub(super) fn spares(&mut self, rules: &ListRules) -> Result<(), (Reason, Finding)> {
        let lists = self.lists;
        let reason = Reason::SuppressionList;
        if let Some(place) = rules.suppress.iter().find(|place| self.holds(**place)) {
            return Err((reason, finding(&lists.all[*place].id, "listed", "not listed")));
        }
        Ok(())
    }

    /// Whether the caller is on those lists whose callers alone are taken.
    pub(super) fn accepts(&mut self, rules: &ListRules) -> Result<(), (Reason, Finding)> {
        let lists = self.lists;
        let reason = Reason::SuppressionList;
        for group in &rules.accept {
            if !group.iter().any(|place| self.holds(*place)) {
                let names: Vec<_> = group.iter().map(|it| lists.all[*it].id.as_str()).collect();
                return Err((reason, finding(&names.join(" or "), "not listed", "listed")));
            }
        }
        Ok(())
    }

    fn holds(&mut self, place: usize) -> bool {
        let list = &self.lists.all[place];
        let found = list.entries.as_ref().map(|entries| {
            let name = self.name(list.form);
            name.is_some_and(|name| entries.contains(name, self.at))
        });
        let holds = self.usage.lists(&list.id, found);
        if holds && !self.found.contains(&list.id) {
            self.found.push(list.id.clone());
        }
        holds
    }

    fn name(&mut self, form: usize) -> Option<u64> {
        if let Some((_, name)) = self.names.iter().find(|(known, _)| *known == form) {
            return *name;
        }
        let name = self.caller.and_then(|caller| self.lists.forms[form].name(caller));
        self.names.push((form, name));
        name
    }
}

fn finding(list: &str, have: &'static str, want: &'static str) -> Finding {
    Finding {
        subject: Some(list.into()),
        have: Some(SmolStr::new_static(have)),
        want: Some(SmolStr::new_static(want)),
        ..Finding::default()
    }
}

/// Without the callers.
impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} callers", self.lasting.len() + self.dated.len())
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number => f.write_str("number"),
            Self::Hashed { hash, form, .. } => write!(f, "{hash:?} of {form:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CALLER: &str = "+16145550188";
    const SHA_E164: &str = "39e49c2313b7c931f2a6f1f906160047f346a8655049f8fe6752d19b44de3036";
    const SHA_DIGITS: &str = "07857f499b93607f2c9f78ba49545e5903314f1b7aab373d878b5e64a3872966";
    const SHA_NATIONAL: &str = "d57c8b82f7cfd677a4ec0faae1ee66f7be60b3e4efc4c5338a24521540d35628";
    const SHA_SALTED: &str = "7ac38a463ac77746f2b0128730dfd9561da97dae3f099f28d698f20f12d8748c";
    const HMAC_E164: &str = "6d378ad46d36264c01750da0adaab462e0d7a0915aa48b3184288f25ecaf1ba4";

    /// The hashes are those of `printf %s TEXT | sha256sum` and `openssl dgst -hmac KEY`.
    #[test]
    fn a_caller_is_found_by_what_its_owner_hashed() {
        use ListHash::{HmacSha256, Sha256};
        use NumberForm::{Digits, E164, National};
        for (hash, key, form, entry) in [
            (Sha256, None, E164, SHA_E164),
            (Sha256, None, Digits, SHA_DIGITS),
            (Sha256, None, National, SHA_NATIONAL),
            (Sha256, Some("pepper"), E164, SHA_SALTED),
            (HmacSha256, Some("pepper"), E164, HMAC_E164),
        ] {
            let key = key.map(SecretKey::new);
            let form = Form::Hashed { hash, key, form };
            let number = CALLER.parse().unwrap();
            assert_eq!(form.name(number), form.read(entry), "{form:?}");
            assert_eq!(form.read(&entry.to_uppercase()), form.read(entry));
            assert_eq!(form.read(&entry[1..]), None);
            assert_eq!(form.read(CALLER), None);
        }
    }

    #[test]
    fn a_number_abroad_has_no_national_form() {
        let form = Form::Hashed { hash: ListHash::Sha256, key: None, form: NumberForm::National };
        assert_eq!(form.name("+442079460163".parse().unwrap()), None);
    }

    #[test]
    fn an_entry_with_a_date_holds_until_then() {
        let mut entries = Entries::default();
        for (name, until) in [(7, Some(50)), (7, Some(90)), (7, Some(20)), (8, None), (8, Some(1))]
        {
            entries.add(name, until.map(Wall));
        }
        entries.sort();
        assert!(entries.contains(7, Wall(89)));
        assert!(!entries.contains(7, Wall(90)));
        assert!(entries.contains(8, Wall(90)));
        assert!(!entries.contains(9, Wall(0)));
    }

    #[test]
    fn nothing_of_a_list_is_shown() {
        let mut entries = Entries::default();
        entries.add(16_145_550_188, None);
        let mut lists = Lists::default();
        let key = Some(SecretKey::new("pepper"));
        let form = Form::Hashed { hash: ListHash::HmacSha256, key, form: NumberForm::E164 };
        lists.add("l".into(), ListKind::Block, ListCategory::Blocked, form, Some(entries));
        let shown = format!("{lists:?}");
        assert!(!shown.contains("16145550188") && !shown.contains("pepper"), "{shown}");
        assert!(shown.contains("1 callers"), "{shown}");
    }

    proptest! {
        #[test]
        fn a_list_holds_what_was_added_and_nothing_else(
            added in prop::collection::vec((0_u64..200, prop::option::of(0_i64..100)), 0..100),
            asked in prop::collection::vec((0_u64..200, 0_i64..100), 0..100),
        ) {
            let mut entries = Entries::default();
            for (name, until) in &added {
                entries.add(*name, until.map(Wall));
            }
            entries.sort();
            for (name, at) in asked {
                let holds = added.iter().any(|(known, until)| {
                    *known == name && until.is_none_or(|until| at < until)
                });
                prop_assert_eq!(entries.contains(name, Wall(at)), holds);
            }
        }
    }
}
