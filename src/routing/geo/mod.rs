//! Where a number is, as far as its first digits tell, or what is on record of its line.
//!
//! What is built in (`nanp.csv`) can be corrected and extended by a file. A prefix is no place:
//! numbers move with their owners, so what it tells has a basis and a confidence of its own. Records of
//! single lines know better ([`lines`]), and those who talk to the caller best.

mod lines;
pub(crate) mod states;
mod table;

use std::sync::{Arc, LazyLock};

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::phone::PhoneNumber;

use super::config::Confidence;

pub(super) use lines::LineRows;
pub use lines::{LineRecord, Lines};
pub(super) use table::Rows;

/// How something is known about a call, from the least trusted on (spec/domain §1E, feature 37).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Basis {
    /// By the area code of the caller's number. Confidence 0.50.
    #[n(0)]
    Npa,
    /// By area code and exchange of the caller's number. Confidence 0.60.
    #[n(1)]
    NpaNxx,
    /// It is on record of the caller's line, or of the thousand numbers around it. Confidence 0.75.
    #[n(3)]
    LineRecord,
    /// An enricher said so, of anything but a place. Confidence 0.80.
    #[n(2)]
    Enriched,
    /// A ping or a page said so of a place, from whatever its publisher knows it. Confidence 0.85.
    #[n(5)]
    Ping,
    /// The caller said so to the publisher, or it is no place and a ping said so; or the trunk said so.
    /// Confidence 0.95.
    #[n(4)]
    Declared,
}

impl Basis {
    /// Each of them.
    pub const ALL: &[Self] =
        &[Self::Declared, Self::Ping, Self::Enriched, Self::LineRecord, Self::NpaNxx, Self::Npa];
}

/// How something is known, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ground {
    #[n(0)]
    pub basis: Basis,
    #[n(1)]
    pub confidence: Confidence,
}

/// What is known of the numbers that begin alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Two letters.
    pub(super) state: Option<SmolStr>,
    /// IANA name.
    pub(super) time_zone: Option<SmolStr>,
    pub(super) zip: Option<SmolStr>,
    /// Two letters, ISO 3166.
    pub(super) country: Option<SmolStr>,
}

/// Places by the first digits of North American numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Geo {
    places: Vec<Place>,
    /// For each area code the place and whether exchanges of it have places of their own.
    by_npa: Vec<Option<(u16, bool)>>,
    /// By area code and exchange, ascending.
    by_exchange: Vec<(u32, u16)>,
}

static BUILT_IN: LazyLock<Arc<Geo>> = LazyLock::new(|| Arc::new(Geo::new(&built_in_rows())));

fn built_in_rows() -> Rows {
    let mut rows = Rows::default();
    for line in include_str!("nanp.csv").lines() {
        if !line.starts_with('#') {
            rows.take(line).expect("the built-in table is sound");
        }
    }
    rows
}

impl Basis {
    pub fn confidence(self) -> Confidence {
        Confidence(match self {
            Self::Npa => 50,
            Self::NpaNxx => 60,
            Self::LineRecord => 75,
            Self::Enriched => 80,
            Self::Ping => 85,
            Self::Declared => 95,
        })
    }

    pub fn ground(self) -> Ground {
        Ground { basis: self, confidence: self.confidence() }
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Npa => "npa",
            Self::NpaNxx => "npa_nxx",
            Self::LineRecord => "line_record",
            Self::Enriched => "enriched",
            Self::Ping => "ping",
            Self::Declared => "declared",
        }
    }
}

impl Geo {
    pub(super) fn built_in() -> Arc<Self> {
        Arc::clone(&BUILT_IN)
    }

    /// What is built in, with these rows before it: one for an area code replaces all that is built
    /// in about that area code, one for an exchange that exchange.
    pub(super) fn with(rows: Rows) -> Self {
        Self::new(&built_in_rows().replaced_by(rows))
    }

    fn new(rows: &Rows) -> Self {
        let mut geo = Self { places: vec![], by_npa: vec![None; 1_000], by_exchange: vec![] };
        for (prefix, place) in rows.iter() {
            // Few differ, and the same ones stand beside each other.
            let known = geo.places.iter().rposition(|known| known == place);
            let index = known.unwrap_or_else(|| {
                geo.places.push(place.clone());
                geo.places.len() - 1
            });
            let index = u16::try_from(index).expect("there are fewer prefixes of six digits");
            if prefix < 1_000 {
                geo.by_npa[prefix as usize] = Some((index, false));
            } else {
                geo.by_exchange.push((prefix, index));
            }
        }
        for &(prefix, index) in &geo.by_exchange {
            // Of an area code that is not known itself, most exchanges have no place.
            let npa = &mut geo.by_npa[(prefix / 1_000) as usize];
            *npa = Some((npa.map_or(u16::MAX, |(place, _)| place), true));
            debug_assert!(usize::from(index) < geo.places.len());
        }
        geo
    }

    /// The longest prefix wins.
    pub(super) fn place(&self, number: PhoneNumber) -> Option<(&Place, Basis)> {
        let npa = number.nanp_area_code()?;
        let (place, has_longer) = self.by_npa[usize::from(npa)]?;
        if has_longer {
            let exchange = u32::from(npa) * 1_000 + exchange(number);
            if let Ok(found) = self.by_exchange.binary_search_by_key(&exchange, |it| it.0) {
                let place = &self.places[usize::from(self.by_exchange[found].1)];
                return Some((place, Basis::NpaNxx));
            }
        }
        self.places.get(usize::from(place)).map(|place| (place, Basis::Npa))
    }
}

/// The three digits behind the area code.
pub(super) fn exchange(number: PhoneNumber) -> u32 {
    u32::try_from(number.digits() / 10_000 % 1_000).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::CallId;
    use crate::reason::Reason;
    use crate::routing::config::RoutingConfig;
    use crate::routing::decision::Step;
    use crate::routing::replay::{DecisionRecord, record_bytes, replay};
    use crate::routing::request::{RouteRequest, Tags};
    use crate::routing::revision;
    use crate::routing::{Decision, Known, Rotation, RoutingSnapshot, decide};
    use crate::time::Wall;

    /// A target that wants callers from Ohio, and one that wants to be told so.
    const CONFIG: &str = r#"
        publishers = [{ id = "pub" }]
        buyers = [{ id = "buy" }]
        [[targets]]
        id = "any"
        buyer = "buy"
        dial = { kind = "sip", uri = "sip:192.0.2.1" }
        filters.all = [{ tag = "geo.state", op = "in", value = ["OH", "PA"] }]
        [[targets]]
        id = "told"
        buyer = "buy"
        dial = { kind = "sip", uri = "sip:192.0.2.2" }
        filters.all = [{ tag = "geo.state", op = "eq", value = "OH", min_basis = "declared" }]
        [[campaigns]]
        id = "cmp"
        publisher = "pub"
        numbers = ["+18005550100"]
        routing = { tiers = [{ targets = [{ target = "any" }, { target = "told" }] }] }
    "#;

    #[test]
    fn a_decision_says_how_a_place_was_known_and_is_made_again_from_its_record() {
        let snapshot = snapshot(CONFIG);
        let columbus = request("+16145550163", &[]);
        let decision = decide_on(&snapshot, &columbus);

        let plan: Vec<_> = decision.plan.iter().map(|it| it.target.as_str()).collect();
        assert_eq!(plan, ["any"]);
        let passed = filter_step(&decision, "any");
        assert_eq!(passed.ground, Some(Basis::Npa.ground()));
        let refused = filter_step(&decision, "told");
        assert_eq!(refused.reason, Some(Reason::FilterBasis));
        assert_eq!(refused.ground, Some(Basis::Npa.ground()));
        assert_eq!(
            decision.explain_first(0)[1],
            "told: not dialled; what the target asks for is not known surely enough \
             (filter.basis_below): geo.state is OH by npa (0.50), wanted eq OH, known by declared \
             or better"
        );

        let bytes = record_bytes(&columbus, Known::default(), &decision);
        let record = DecisionRecord::from_bytes(&bytes).unwrap();
        assert_eq!(record.decision, decision);
        assert_eq!(replay(&snapshot, &record).difference, None);
        // With other places the decision is another, and it is shown where.
        let mut config: RoutingConfig = toml::from_str(CONFIG).unwrap();
        config.geo.file = Some("geo.csv".into());
        let moved = "prefix,state,time_zone\n614,KY,America/New_York\n".to_owned();
        config.texts.insert("geo.csv".into(), Ok(moved));
        let moved = RoutingSnapshot::compile(config, 2).unwrap();
        assert!(replay(&moved, &record).difference.is_some());
    }

    #[test]
    fn what_is_declared_is_recorded_as_before_there_were_places() {
        let decision =
            decide_on(&snapshot(CONFIG), &request("+16145550163", &[("geo.state", "KY")]));
        for target in ["any", "told"] {
            let step = filter_step(&decision, target);
            assert_eq!((step.reason, step.ground), (Some(Reason::FilterMismatch), None));
            assert_eq!(step.known_by(), Some(Basis::Declared.ground()));
            // A list of seven, as ever.
            assert_eq!(minicbor::to_vec(step).unwrap()[0], 0x87);
        }
        assert!(decision.explain_first(0)[1].ends_with(": geo.state is KY, wanted in OH, PA"));
    }

    #[test]
    fn a_decision_by_the_record_of_a_line_is_made_again_when_the_records_are_gone() {
        let rule = "op = \"eq\", value = \"OH\", min_basis = \"declared\"";
        let config = CONFIG.replace(
            rule,
            "op = \"eq\", value = \"KY\", min_basis = \"line_record\", on_missing = \"pass\"",
        );
        assert_ne!(config, CONFIG);
        let mut config: RoutingConfig = toml::from_str(&config).unwrap();
        config.geo.line_records = Some("lines.csv".into());
        let lines = "number,state,line_type\n6145550163,KY,mobile\n".to_owned();
        config.texts.insert("lines.csv".into(), Ok(lines));
        let kept = revision::compile(&revision::pack(&config), 1).unwrap();
        let snapshot = RoutingSnapshot::compile(config.clone(), 1).unwrap();
        let moved = request("+16145550163", &[]);

        let decision = decide_on(&snapshot, &moved);

        let plan: Vec<_> = decision.plan.iter().map(|it| it.target.as_str()).collect();
        assert_eq!(plan, ["told"], "the area code says Ohio");
        assert_eq!(filter_step(&decision, "told").ground, Some(Basis::LineRecord.ground()));
        assert_eq!(filter_step(&decision, "any").have.as_deref(), Some("KY"));
        let words = &decision.explain_first(0)[1];
        assert!(
            words.ends_with("geo.state is KY by line_record (0.75), wanted in OH, PA"),
            "{words}"
        );
        assert_eq!(
            decide_on(&snapshot, &request("+16145550164", &[])).plan[0].target,
            "any".into()
        );

        let record = record_bytes(&moved, Known::default(), &decision);
        let record = DecisionRecord::from_bytes(&record).unwrap();
        for snapshot in [&snapshot, &kept] {
            assert_eq!(replay(snapshot, &record).difference, None);
        }
        // The revision names no line, and others make another.
        let bytes = revision::pack(&config);
        let text = lz4_flex::decompress_size_prepended(&bytes).unwrap();
        assert!(!String::from_utf8(text).unwrap().contains("6145550163"));
        config.texts.insert("lines.csv".into(), Ok("number,state\n6145550163,PA\n".into()));
        assert_ne!(revision::pack(&config), bytes);
        let other = RoutingSnapshot::compile(config, 2).unwrap();
        assert!(replay(&other, &record).difference.is_some());
    }

    #[test]
    fn what_is_wrong_with_records_of_lines_is_told_by_line_without_the_number() {
        let faults = |text: &str| {
            let mut config: RoutingConfig = toml::from_str(CONFIG).unwrap();
            config.geo.line_records = Some("lines.csv".into());
            config.texts.insert("lines.csv".into(), Ok(text.to_owned()));
            let faults = RoutingSnapshot::compile(config, 1).unwrap_err();
            faults.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let at = "geo.line_records = lines.csv: ";
        for (text, says) in [
            ("", "is empty; begin with number,state,zip or the like, or leave the file out"),
            (
                "# none\nnumber,state\n\n6145550163,Ohio\n",
                "line 4 has something in the column `state` that is no state",
            ),
            ("6145550163,OH\n", "line 1 names none that is known here as its column 1"),
            ("number,state\nOH,6145550163\n", "line 2 has something in the column `state` that"),
            (
                "number,state\n6145550163,OH\n6145550163,PA\n",
                "has a number again on line 3; keep one row for each number",
            ),
            ("state\n6145550163\n", "line 1 lacks the column `number`"),
        ] {
            let told = faults(text);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].starts_with(&format!("{at}{says}")), "{told:?}");
            assert!(!told[0].contains("614"), "{told:?}");
        }
        let many = format!("number,state\n{}", "x,OH\n".repeat(12));
        assert_eq!(
            faults(&many).last().unwrap(),
            &format!("{at}has 2 more such lines; correct them too")
        );
    }

    fn filter_step<'a>(decision: &'a Decision, target: &str) -> &'a Step {
        let is_meant = |step: &&Step| {
            step.target.as_ref().is_some_and(|it| it.as_str() == target) && step.subject.is_some()
        };
        decision.steps.iter().find(is_meant).unwrap()
    }

    fn decide_on(snapshot: &RoutingSnapshot, request: &RouteRequest) -> Decision {
        let nothing_used = std::collections::BTreeMap::new();
        decide(snapshot, request, Known::default(), &nothing_used, &mut Rotation::default())
    }

    fn request(caller: &str, tags: &[(&str, &str)]) -> RouteRequest {
        RouteRequest {
            call: CallId::from_bytes([1; 16]),
            at: Wall(1_773_759_852_318),
            dialed: "+18005550100".parse().unwrap(),
            caller: caller.parse().ok(),
            trunk: "trk".into(),
            named: None,
            tags: tags
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect::<Tags>(),
            announced: false,
        }
    }

    fn snapshot(config: &str) -> RoutingSnapshot {
        RoutingSnapshot::compile(toml::from_str(config).unwrap(), 1).unwrap()
    }

    #[test]
    fn the_built_in_table_knows_the_area_codes_of_the_plan() {
        for (number, state, zone, country, basis) in [
            ("+16145550163", "OH", "America/New_York", "US", Basis::Npa),
            ("+12125550163", "NY", "America/New_York", "US", Basis::Npa),
            ("+14805550163", "AZ", "America/Phoenix", "US", Basis::Npa),
            ("+14165550163", "ON", "America/Toronto", "CA", Basis::Npa),
            ("+16395550163", "SK", "America/Regina", "CA", Basis::Npa),
            ("+18797550163", "NL", "America/St_Johns", "CA", Basis::Npa),
            // Pensacola's code, and Tallahassee's exchange of it.
            ("+18504345016", "FL", "America/Chicago", "US", Basis::Npa),
            ("+18502225016", "FL", "America/New_York", "US", Basis::NpaNxx),
            ("+12087465016", "ID", "America/Los_Angeles", "US", Basis::NpaNxx),
            ("+18676675016", "YT", "America/Whitehorse", "CA", Basis::NpaNxx),
        ] {
            let geo = Geo::built_in();
            let (place, by) = geo.place(number.parse().unwrap()).unwrap();
            let texts = [&place.state, &place.time_zone, &place.country];
            let texts = texts.map(|text| text.as_deref().unwrap_or_default());
            assert_eq!((texts, by), ([state, zone, country], basis), "{number}");
        }
    }

    #[test]
    fn toll_free_and_personal_numbers_have_no_place_and_others_are_not_known() {
        let geo = Geo::built_in();
        for number in ["+18005550163", "+15005550163", "+19005550163"] {
            let (place, _) = geo.place(number.parse().unwrap()).unwrap();
            assert_eq!(place, &Place::default(), "{number}");
        }
        for number in ["+442079460163", "+12995550163"] {
            assert_eq!(geo.place(number.parse().unwrap()), None, "{number}");
        }
    }

    #[test]
    fn every_state_has_an_area_code() {
        let geo = Geo::built_in();
        for (code, name) in states::all() {
            let is_there = geo.places.iter().any(|place| place.state.as_deref() == Some(code));
            assert!(is_there, "{name}");
        }
        let countries = |of: &str| {
            let places = geo.by_npa.iter().flatten();
            let places = places.filter_map(|(place, _)| geo.places.get(usize::from(*place)));
            places.filter(|place| place.country.as_deref() == Some(of)).count()
        };
        assert_eq!((countries("US"), countries("CA")), (377, 56));
    }

    #[test]
    fn rows_of_a_file_go_before_what_is_built_in() {
        let mut rows = Rows::default();
        for line in [
            "prefix,state,time_zone,zip",
            "850,FL,America/Chicago,32301",
            "614555,PA,America/New_York,",
            "299777,NT,America/Edmonton,",
        ] {
            rows.take(line).unwrap();
        }
        let geo = Geo::with(rows);
        let of = |number: &str| {
            let (place, basis) = geo.place(number.parse().unwrap())?;
            Some((place.state.as_deref()?, place.zip.as_deref(), basis))
        };
        // The exchanges that are built in for the area code are gone.
        assert_eq!(of("+18502225016"), Some(("FL", Some("32301"), Basis::Npa)));
        assert_eq!(of("+16145550163"), Some(("PA", None, Basis::NpaNxx)));
        assert_eq!(of("+16145560163"), Some(("OH", None, Basis::Npa)));
        assert_eq!(of("+12997770163"), Some(("NT", None, Basis::NpaNxx)));
        assert_eq!(of("+12997780163"), None);
    }
}
