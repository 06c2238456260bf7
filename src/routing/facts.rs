//! What is known of a call, how, and how sure.
//!
//! What a ping or the trunk declared goes before what enrichers told, and that before what the caller's
//! number tells. The latter is looked up when something first asks for it, so that a call nobody asks
//! about costs nothing.

use std::cell::OnceCell;

use smol_str::{SmolStr, format_smolstr};

use crate::phone::PhoneNumber;

use super::geo::{Basis, Geo, Place, exchange};
use super::request::{SessionReading, Tags};

/// Tags that the caller's number may tell: `geo.` and these names.
pub(super) const DERIVED: [&str; 7] =
    ["state", "zip", "zip3", "npa", "npa_nxx", "time_zone", "country"];

/// All that is known of one call.
#[derive(Debug)]
pub struct Facts<'a> {
    tags: &'a Tags,
    /// What enrichers told; absent: nothing.
    enriched: Option<&'a Tags>,
    caller: Option<PhoneNumber>,
    geo: &'a Geo,
    derived: OnceCell<Derived<'a>>,
}

/// One thing that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact<'f> {
    pub value: &'f SmolStr,
    pub basis: Basis,
}

#[derive(Debug, Default)]
struct Derived<'a> {
    place: Option<(&'a Place, Basis)>,
    npa: Option<SmolStr>,
    npa_nxx: Option<SmolStr>,
    zip3: Option<(SmolStr, Basis)>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(tags: &'a Tags, caller: Option<PhoneNumber>, geo: &'a Geo) -> Self {
        Self { tags, enriched: None, caller, geo, derived: OnceCell::new() }
    }

    /// The same, with what enrichers told of the call's session.
    pub(super) fn enriched(self, session: Option<&'a SessionReading>) -> Self {
        Self { enriched: session.map(|session| &session.enriched), ..self }
    }

    pub fn get(&self, tag: &str) -> Option<Fact<'_>> {
        if let Some(value) = self.tags.get(tag) {
            return Some(Fact { value, basis: Basis::Declared });
        }
        if let Some(value) = self.enriched.and_then(|told| told.get(tag)) {
            return Some(Fact { value, basis: Basis::Enriched });
        }
        let name = tag.strip_prefix("geo.").filter(|name| DERIVED.contains(name))?;
        self.derived.get_or_init(|| self.derive()).get(name)
    }

    fn derive(&self) -> Derived<'a> {
        let north_american =
            self.caller.and_then(|caller| Some((caller, caller.nanp_area_code()?)));
        let place = self.caller.and_then(|caller| self.geo.place(caller));
        let declared = self.tags.get("geo.zip").map(|zip| (zip, Basis::Declared));
        let zip = declared.or_else(|| place.and_then(|(it, by)| Some((it.zip.as_ref()?, by))));
        Derived {
            place,
            npa: north_american.map(|(_, npa)| format_smolstr!("{npa:03}")),
            npa_nxx: north_american
                .map(|(caller, npa)| format_smolstr!("{npa:03}{:03}", exchange(caller))),
            zip3: zip.and_then(|(zip, by)| Some((zip.get(..3)?.into(), by))),
        }
    }
}

impl Derived<'_> {
    /// `name` is one of [`DERIVED`].
    fn get(&self, name: &str) -> Option<Fact<'_>> {
        let fact = |value, basis| Some(Fact { value, basis });
        match name {
            "npa" => return fact(self.npa.as_ref()?, Basis::Npa),
            "npa_nxx" => return fact(self.npa_nxx.as_ref()?, Basis::NpaNxx),
            "zip3" => return self.zip3.as_ref().and_then(|(zip3, by)| fact(zip3, *by)),
            _ => {}
        }
        let (place, basis) = self.place?;
        let value = match name {
            "state" => &place.state,
            "zip" => &place.zip,
            "time_zone" => &place.time_zone,
            _ => &place.country,
        };
        fact(value.as_ref()?, basis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_declared_goes_before_what_the_number_tells() {
        let geo = Geo::built_in();
        let tags = tags(&[("geo.state", "PA"), ("geo.zip", "15213")]);
        let facts = Facts::new(&tags, "+16145550163".parse().ok(), &geo);
        let known = |tag| facts.get(tag).map(|fact| (fact.value.as_str(), fact.basis));
        assert_eq!(known("geo.state"), Some(("PA", Basis::Declared)));
        assert_eq!(known("geo.zip3"), Some(("152", Basis::Declared)));
        assert_eq!(known("geo.time_zone"), Some(("America/New_York", Basis::Npa)));
        assert_eq!(known("geo.country"), Some(("US", Basis::Npa)));
        assert_eq!(known("geo.npa"), Some(("614", Basis::Npa)));
        assert_eq!(known("geo.npa_nxx"), Some(("614555", Basis::NpaNxx)));
        assert_eq!(known("geo.county"), None);
        assert_eq!(known("lead.age"), None);
    }

    #[test]
    fn without_a_number_of_the_plan_nothing_is_told() {
        let geo = Geo::built_in();
        let tags = Tags::new();
        for caller in [None, "+442079460163".parse().ok()] {
            let facts = Facts::new(&tags, caller, &geo);
            for name in DERIVED {
                assert_eq!(facts.get(&format!("geo.{name}")), None, "{name}");
            }
        }
        let facts = Facts::new(&tags, "+18005550163".parse().ok(), &geo);
        assert_eq!(facts.get("geo.state"), None);
        assert_eq!(facts.get("geo.npa").map(|fact| fact.value.as_str()), Some("800"));
    }

    fn tags(of: &[(&str, &str)]) -> Tags {
        of.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }
}
