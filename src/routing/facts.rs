//! What is known of a call, how, and how sure.
//!
//! What a ping or the trunk told goes before what enrichers did, that before what is on record of the
//! caller's line, and that before what the caller's number tells. The latter is looked up when something
//! first asks for it, so that a call nobody asks about costs nothing.

use std::cell::OnceCell;

use smol_str::{SmolStr, format_smolstr};

use crate::phone::PhoneNumber;

use super::geo::{Basis, Geo, LineRecord, Place, exchange};
use super::request::{SessionReading, Tags};

/// Tags that the caller's number may tell: `geo.` and these names.
pub(super) const DERIVED: [&str; 7] =
    ["state", "zip", "zip3", "npa", "npa_nxx", "time_zone", "country"];
/// The tag that says how the places are known which a session tells, where that is not by the caller.
pub(super) const GEO_BASIS: &str = "geo.basis";
/// The tag of what kind of line the caller has.
pub(super) const LINE_TYPE: &str = "line_type";

/// All that is known of one call.
#[derive(Debug)]
pub struct Facts<'a> {
    tags: &'a Tags,
    /// What enrichers told; absent: nothing.
    enriched: Option<&'a Tags>,
    /// What is on record of the caller's line.
    line: Option<LineRecord>,
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

/// Whether the tag is one that the caller's number may tell.
pub(super) fn is_place(tag: &str) -> bool {
    tag.strip_prefix("geo.").is_some_and(|name| DERIVED.contains(&name))
}

impl<'a> Facts<'a> {
    pub(super) fn new(tags: &'a Tags, caller: Option<PhoneNumber>, geo: &'a Geo) -> Self {
        Self { tags, enriched: None, line: None, caller, geo, derived: OnceCell::new() }
    }

    /// The same, with what enrichers told of the call's session.
    pub(super) fn enriched(self, session: Option<&'a SessionReading>) -> Self {
        Self { enriched: session.map(|session| &session.enriched), ..self }
    }

    /// The same, with what is on record of the caller's line.
    pub(super) fn on_record(self, line: Option<LineRecord>) -> Self {
        Self { line, ..self }
    }

    pub fn get(&self, tag: &str) -> Option<Fact<'_>> {
        if let Some(value) = self.tags.get(tag) {
            return Some(Fact { value, basis: self.told_by(tag) });
        }
        if let Some(value) = self.enriched.and_then(|told| told.get(tag)) {
            return Some(Fact { value, basis: Basis::Enriched });
        }
        if tag == LINE_TYPE {
            let value = self.line.as_ref()?.line_type.as_ref()?;
            return Some(Fact { value, basis: Basis::LineRecord });
        }
        let name = tag.strip_prefix("geo.").filter(|name| DERIVED.contains(name))?;
        self.derived.get_or_init(|| self.derive()).get(name, self.line.as_ref())
    }

    /// How what the tags say is known.
    fn told_by(&self, tag: &str) -> Basis {
        let is_heard_of = self.tags.get(GEO_BASIS).is_some_and(|it| it == Basis::Ping.name());
        if is_heard_of && is_place(tag) { Basis::Ping } else { Basis::Declared }
    }

    fn derive(&self) -> Derived<'a> {
        let north_american =
            self.caller.and_then(|caller| Some((caller, caller.nanp_area_code()?)));
        let place = self.caller.and_then(|caller| self.geo.place(caller));
        let told = self.tags.get("geo.zip").map(|zip| (zip, self.told_by("geo.zip")));
        let on_record =
            || self.line.as_ref().and_then(|it| Some((it.zip.as_ref()?, Basis::LineRecord)));
        let by_prefix = || place.and_then(|(it, by)| Some((it.zip.as_ref()?, by)));
        let zip = told.or_else(on_record).or_else(by_prefix);
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
    /// `name` is one of [`DERIVED`]. What the record of the line leaves open the prefix may tell.
    fn get<'f>(&'f self, name: &str, line: Option<&'f LineRecord>) -> Option<Fact<'f>> {
        let fact = |value, basis| Some(Fact { value, basis });
        match name {
            "npa" => return fact(self.npa.as_ref()?, Basis::Npa),
            "npa_nxx" => return fact(self.npa_nxx.as_ref()?, Basis::NpaNxx),
            "zip3" => return self.zip3.as_ref().and_then(|(zip3, by)| fact(zip3, *by)),
            _ => {}
        }
        let on_record = line.and_then(|line| match name {
            "state" => line.state.as_ref(),
            "zip" => line.zip.as_ref(),
            "time_zone" => line.time_zone.as_ref(),
            _ => line.country.as_ref(),
        });
        if let Some(value) = on_record {
            return fact(value, Basis::LineRecord);
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
    fn what_is_on_record_of_the_line_goes_before_what_its_digits_tell() {
        let geo = Geo::built_in();
        let line = LineRecord {
            state: Some("KY".into()),
            zip: Some("40202".into()),
            line_type: Some("mobile".into()),
            ..LineRecord::default()
        };
        let (none, caller) = (Tags::new(), "+16145550163".parse().ok());
        let facts = Facts::new(&none, caller, &geo).on_record(Some(line.clone()));
        let known = |tag| facts.get(tag).map(|fact| (fact.value.as_str(), fact.basis));
        assert_eq!(known("geo.state"), Some(("KY", Basis::LineRecord)));
        assert_eq!(known("geo.zip3"), Some(("402", Basis::LineRecord)));
        assert_eq!(known("line_type"), Some(("mobile", Basis::LineRecord)));
        assert_eq!(known("geo.time_zone"), Some(("America/New_York", Basis::Npa)));
        assert_eq!(known("geo.npa"), Some(("614", Basis::Npa)));

        let told = tags(&[("geo.state", "PA"), ("geo.basis", "ping"), ("line_type", "voip")]);
        let facts = Facts::new(&told, caller, &geo).on_record(Some(line));
        let known = |tag| facts.get(tag).map(|fact| (fact.value.as_str(), fact.basis));
        assert_eq!(known("geo.state"), Some(("PA", Basis::Ping)));
        assert_eq!(known("geo.zip"), Some(("40202", Basis::LineRecord)));
        assert_eq!(known("line_type"), Some(("voip", Basis::Declared)), "it is no place");
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
