//! A ping as it is posted, and what can be wrong with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use smol_str::{SmolStr, ToSmolStr};

use crate::id::{CampaignId, PoolId, PublisherId};
use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::routing::decision::Check;
use crate::routing::facts::{GEO_BASIS, is_place};
use crate::routing::geo::Basis;
use crate::routing::request::Tags;
use crate::routing::vertical::{TagFault, TagFaultKind, Vertical};
use crate::routing::worth::Worthless;

/// Tags a ping may carry.
pub const TAGS_MAX: usize = 64;
/// Bytes of a tag, name and value each.
pub const TAG_BYTES_MAX: usize = 256;
/// Depth of nested objects in `lead`, `consent` and `tags`.
pub(super) const DEPTH_MAX: usize = 8;
/// Targets that a refusal speaks of.
const TOLD_MAX: usize = 20;
const REQUEST_ID_BYTES_MAX: usize = 128;
/// Seconds a session may be asked to live: a week.
const TTL_S_MAX: u32 = 604_800;

/// The body of `POST /v1/pings`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PingRequest {
    /// The publisher's own id of this ping, by which it is known again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<SmolStr>,
    /// Absent: whose pool or campaign it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher: Option<PublisherId>,
    /// May be left out when `pool` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<CampaignId>,
    /// The pool to lend a number from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolId>,
    /// A static number of the campaign at which the call will come in: as long as the session lives,
    /// this caller's calls to it are the session's. Needs `caller_id`, and excludes `pool`. Written as that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// In E.164 or with the usual separators; ten digits without `+` are of North America.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_id: Option<String>,
    /// How long the session lives, 1 to 604,800 s. Absent: as the pool says, or half an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u32>,
    /// The publisher can send the call over SIP. Becomes the tag `sip_ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip_ok: Option<bool>,
    /// Tag `sub_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_id: Option<String>,
    /// Tag `source_type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_type: Option<String>,
    /// Tags `geo.zip` and, from five digits on, `geo.zip3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zip: Option<String>,
    /// Tag `geo.state`, in capitals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Each field becomes a tag `lead.NAME`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lead: BTreeMap<String, Value>,
    /// Each field becomes a tag `consent.NAME`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub consent: BTreeMap<String, Value>,
    /// Each field becomes a tag of its name. Places among them (`geo.state` and the like) are known by
    /// [`Basis::Ping`] alone, unless `geo.basis` says `declared`: the caller told them, as with `zip` and
    /// `state`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, Value>,
    /// A trial: what would come of it is told, and nothing does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
    /// Whether fields that are not known here are refused. Absent: as its publisher has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// Fields that are not known here. They are kept with the session, or refused; nothing goes by them.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// Why a ping was not taken, for the publisher to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{field}: {detail}")]
pub struct PingRefusal {
    /// The field at fault, such as `lead.age`.
    pub field: SmolStr,
    pub code: RefusalCode,
    pub detail: String,
}

/// All that is wrong with a ping: at least one thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct PingRefusals(Vec<PingRefusal>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    Missing,
    Malformed,
    /// A text, a list of tags or a nesting beyond its limit.
    TooLarge,
    /// No campaign, pool, publisher or tag has this name.
    Unknown,
    /// Two fields contradict each other.
    Mismatch,
    Paused,
    Unsupported,
    /// No field has this name, and those that are not known are refused.
    Unexpected,
    /// More fields that are not known than are kept, or longer or deeper ones.
    ExtraTooLarge,
    /// As many sessions are live as may be; try again later.
    Full,
    /// As many pings were accepted in this window as the publisher or the campaign may have.
    Capped,
    /// A target takes no call of it, for this reason.
    Worthless(Reason),
}

impl PingRefusal {
    pub fn new(field: &str, code: RefusalCode, detail: impl Into<String>) -> Self {
        Self { field: field.into(), code, detail: detail.into() }
    }
}

impl PingRefusals {
    /// What to show first.
    pub fn first(&self) -> &PingRefusal {
        self.0.first().expect("something is wrong with a ping that is refused")
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &PingRefusal> {
        self.0.iter()
    }

    /// No target of the campaign takes a call of the ping.
    pub(super) fn worthless(campaign: &CampaignId, found: &Worthless) -> Self {
        let Worthless { reason, steps } = found;
        let summary = match steps.len() {
            1 => format!("no target of `{campaign}` would take a call: {}", reason.text()),
            count => {
                let text = reason.text();
                format!("none of the {count} targets of `{campaign}` would take a call: {text}")
            }
        };
        let told = steps.iter().take(TOLD_MAX).map(|step| {
            let field = match (step.check, &step.subject) {
                (Check::Filter, Some(tag)) => tag.clone(),
                _ => SmolStr::new_static("caller_id"),
            };
            let target = step.target.as_ref().map(|target| format!("target `{target}`: "));
            let why = step.reason.unwrap_or(*reason);
            let mut detail = target.unwrap_or_default() + why.text();
            let (have, want) = step.words();
            if let Some(have) = have {
                detail += &format!("; have {have}");
            }
            if let Some(want) = want {
                detail += &format!("; want {want}");
            }
            PingRefusal { field, code: RefusalCode::Worthless(why), detail }
        });
        let whole = PingRefusal::new("campaign", RefusalCode::Worthless(*reason), summary);
        Self([whole].into_iter().chain(told).collect())
    }

    /// `None` if nothing is wrong.
    pub(super) fn of(refusals: Vec<PingRefusal>) -> Option<Self> {
        (!refusals.is_empty()).then_some(Self(refusals))
    }
}

impl From<PingRefusal> for PingRefusals {
    fn from(refusal: PingRefusal) -> Self {
        Self(vec![refusal])
    }
}

impl From<TagFault> for PingRefusal {
    fn from(TagFault { tag, kind, detail }: TagFault) -> Self {
        let code = match kind {
            TagFaultKind::Missing => RefusalCode::Missing,
            TagFaultKind::Malformed => RefusalCode::Malformed,
            TagFaultKind::Unknown => RefusalCode::Unknown,
            TagFaultKind::Mismatch => RefusalCode::Mismatch,
        };
        Self { field: tag, code, detail }
    }
}

impl PingRequest {
    /// The caller's number, if one was given.
    pub(super) fn caller(&self) -> Result<Option<PhoneNumber>, PingRefusal> {
        let number = self.caller_id.as_deref().map(PhoneNumber::from_text).transpose();
        number.map_err(|e| malformed("caller_id", e.to_string()))
    }

    /// The number the call will come to, if one was given.
    pub(super) fn number(&self) -> Result<Option<PhoneNumber>, PingRefusal> {
        let number = self.number.as_deref().map(PhoneNumber::from_text).transpose();
        number.map_err(|e| malformed("number", e.to_string()))
    }

    pub(super) fn check(&self) -> Result<(), PingRefusal> {
        if self.test {
            let detail =
                "is a trial, which is sent alone; send it to /v1/pings, or leave the field out";
            return Err(PingRefusal::new("test", RefusalCode::Unsupported, detail));
        }
        if let Some(id) = &self.request_id
            && (id.is_empty() || id.len() > REQUEST_ID_BYTES_MAX)
        {
            let detail = format!("must have 1 to {REQUEST_ID_BYTES_MAX} bytes");
            return Err(malformed("request_id", detail));
        }
        if self.ttl_s.is_some_and(|ttl| ttl == 0 || ttl > TTL_S_MAX) {
            return Err(malformed("ttl_s", format!("must be 1 to {TTL_S_MAX} seconds")));
        }
        if self.number.is_some() && self.pool.is_some() {
            let detail = "is given beside a pool, which lends one of its own; keep one of the two";
            return Err(PingRefusal::new("number", RefusalCode::Mismatch, detail));
        }
        if self.caller_id.is_none() && self.number.is_some() {
            let detail = "give the caller's number: the session's calls to `number` are told by it";
            return Err(PingRefusal::new("caller_id", RefusalCode::Missing, detail));
        }
        if self.caller_id.is_none() && self.pool.is_none() && self.sip_ok != Some(true) {
            let detail = "give the caller's number or a pool, or say `sip_ok` and call the session's \
                          own address, or the call cannot be recognised";
            return Err(PingRefusal::new("caller_id", RefusalCode::Missing, detail));
        }
        Ok(())
    }

    /// All that the ping says about the caller, as tags: as it was sent, or in the form that the
    /// campaign's vertical wants. Else everything that is wrong with them.
    pub(super) fn to_tags(&self, vertical: Option<&Vertical>) -> Result<Tags, PingRefusals> {
        self.kept_by(vertical, Vertical::kept)
    }

    /// The same, of which more may be told later: nothing is missed yet.
    pub(super) fn to_tags_so_far(&self, vertical: Option<&Vertical>) -> Result<Tags, PingRefusals> {
        self.kept_by(vertical, Vertical::kept_so_far)
    }

    fn kept_by(
        &self,
        vertical: Option<&Vertical>,
        keep: impl FnOnce(&Vertical, Tags) -> Result<Tags, Vec<TagFault>>,
    ) -> Result<Tags, PingRefusals> {
        let mut tags = TagCollector::default();
        for (group, prefix) in
            [(&self.tags, ""), (&self.lead, "lead."), (&self.consent, "consent.")]
        {
            for (name, value) in group {
                match format!("{prefix}{name}").as_str() {
                    "" => tags.refuse("tags", RefusalCode::Malformed, "a tag has no name"),
                    name => tags.add_value(name, value, 1),
                }
            }
        }
        let basis = tags.take_basis();
        if let Some(sip_ok) = self.sip_ok {
            tags.add("sip_ok", sip_ok.to_smolstr());
        }
        if let Some(state) = &self.state {
            tags.add("geo.state", state.to_ascii_uppercase().into());
        }
        if let Some(zip) = &self.zip {
            tags.add("geo.zip", zip.into());
            if zip.len() >= 5 && zip.bytes().take(5).all(|b| b.is_ascii_digit()) {
                tags.add("geo.zip3", zip[..3].into());
            }
        }
        for (name, text) in [("sub_id", &self.sub_id), ("source_type", &self.source_type)] {
            if let Some(text) = text {
                tags.add(name, text.into());
            }
        }
        let TagCollector { tags, mut refusals, heard_of } = tags;
        let is_told = |name: &SmolStr| match name.as_str() {
            "geo.state" => self.state.is_some(),
            "geo.zip" | "geo.zip3" => self.zip.is_some(),
            _ => false,
        };
        let basis =
            basis.or_else(|| heard_of.iter().any(|name| !is_told(name)).then_some(Basis::Ping));
        let kept = match vertical {
            None => Ok(tags),
            Some(vertical) => keep(vertical, tags),
        };
        let mut tags = kept.unwrap_or_else(|faults| {
            refusals.extend(faults.into_iter().map(PingRefusal::from));
            Tags::new()
        });
        if basis == Some(Basis::Ping) {
            tags.insert(GEO_BASIS.into(), Basis::Ping.name().into());
        }
        match PingRefusals::of(refusals) {
            None => Ok(tags),
            Some(refusals) => Err(refusals),
        }
    }
}

#[derive(Default)]
struct TagCollector {
    tags: Tags,
    refusals: Vec<PingRefusal>,
    /// Places that stood among the tags.
    heard_of: Vec<SmolStr>,
}

impl TagCollector {
    /// How the places are known of which tags speak, if that was said; they are all that is there yet.
    fn take_basis(&mut self) -> Option<Basis> {
        self.heard_of = self.tags.keys().filter(|name| is_place(name)).cloned().collect();
        let said = self.tags.remove(GEO_BASIS)?;
        let known = [Basis::Ping, Basis::Declared].into_iter().find(|it| said == it.name());
        if known.is_none() {
            let detail = "must be declared, where the caller told its place, or ping";
            self.refuse(GEO_BASIS, RefusalCode::Malformed, detail);
        }
        known
    }

    fn add_value(&mut self, name: &str, value: &Value, depth: usize) {
        match value {
            Value::Null => {}
            Value::Bool(flag) => self.add(name, flag.to_smolstr()),
            Value::Number(number) => self.add(name, number.to_smolstr()),
            Value::String(text) => self.add(name, text.into()),
            Value::Array(_) => self.refuse(name, RefusalCode::Malformed, "a list cannot be a tag"),
            Value::Object(_) if depth >= DEPTH_MAX => {
                let detail = format!("nested more than {DEPTH_MAX} deep");
                self.refuse(name, RefusalCode::TooLarge, detail);
            }
            Value::Object(fields) => {
                for (field, value) in fields {
                    self.add_value(&format!("{name}.{field}"), value, depth + 1);
                }
            }
        }
    }

    fn add(&mut self, name: &str, value: SmolStr) {
        if name.len() > TAG_BYTES_MAX || value.len() > TAG_BYTES_MAX {
            let detail = format!("longer than {TAG_BYTES_MAX} bytes");
            self.refuse(name, RefusalCode::TooLarge, detail);
        } else if self.tags.len() == TAGS_MAX && !self.tags.contains_key(name) {
            self.refuse("tags", RefusalCode::TooLarge, format!("more than {TAGS_MAX} tags"));
        } else {
            self.tags.insert(name.into(), value);
        }
    }

    /// At most as many times as there may be tags, and each field once.
    fn refuse(&mut self, name: &str, code: RefusalCode, detail: impl Into<String>) {
        let field = &name[..name.floor_char_boundary(64)];
        if self.refusals.len() < TAGS_MAX && self.refusals.iter().all(|it| it.field != field) {
            self.refusals.push(PingRefusal::new(field, code, detail));
        }
    }
}

fn malformed(field: &str, detail: impl Into<String>) -> PingRefusal {
    PingRefusal::new(field, RefusalCode::Malformed, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_without_a_name_is_refused() {
        for value in ["\"x\"", "[1]", "{\"a\": 1}"] {
            let json = format!(r#"{{ "campaign": "c", "tags": {{ "": {value} }} }}"#);
            let ping: PingRequest = serde_json::from_str(&json).unwrap();
            let refused = ping.to_tags(None).unwrap_err();
            assert_eq!(refused.first(), &malformed("tags", "a tag has no name"), "{value}");
        }
    }

    #[test]
    fn every_field_about_the_caller_becomes_a_tag() {
        let ping: PingRequest = serde_json::from_str(
            r#"{
                "campaign": "cmp_auto", "caller_id": "+16145550188", "sip_ok": true,
                "sub_id": "fb-oh-3", "zip": "43215", "state": "oh",
                "lead": {"age": 41, "currently_insured": "yes", "spouse": null},
                "consent": {"cert": {"vendor": "x"}},
                "tags": {"utm_source": "search"}
            }"#,
        )
        .unwrap();

        let tags: Vec<_> = ping.to_tags(None).unwrap().into_iter().collect();

        let expected = [
            ("consent.cert.vendor", "x"),
            ("geo.state", "OH"),
            ("geo.zip", "43215"),
            ("geo.zip3", "432"),
            ("lead.age", "41"),
            ("lead.currently_insured", "yes"),
            ("sip_ok", "true"),
            ("sub_id", "fb-oh-3"),
            ("utm_source", "search"),
        ];
        assert_eq!(tags, expected.map(|(name, value)| (name.into(), value.into())));
    }

    #[test]
    fn a_place_among_the_tags_is_known_by_the_ping_alone_unless_it_says_otherwise() {
        let basis = |ping: &str| {
            let ping: PingRequest = serde_json::from_str(ping).unwrap();
            ping.to_tags(None).map(|tags| tags.get("geo.basis").map(ToString::to_string))
        };
        for (ping, expected) in [
            (r#"{"state": "OH", "zip": "43215"}"#, None),
            (r#"{"tags": {"utm_source": "x", "geo.county": "Franklin"}}"#, None),
            (r#"{"tags": {"geo.state": "OH"}}"#, Some("ping")),
            (r#"{"tags": {"geo": {"state": "OH"}}}"#, Some("ping")),
            (r#"{"tags": {"geo.state": "OH"}, "state": "OH"}"#, None),
            (r#"{"tags": {"geo.zip": "43215"}, "state": "OH"}"#, Some("ping")),
            (r#"{"tags": {"geo.state": "OH", "geo.basis": "declared"}}"#, None),
            (r#"{"tags": {"geo.basis": "ping"}, "state": "OH"}"#, Some("ping")),
        ] {
            assert_eq!(basis(ping).unwrap().as_deref(), expected, "{ping}");
        }
        let refused = basis(r#"{"tags": {"geo.basis": "guess"}}"#).unwrap_err();
        let first = refused.first();
        assert_eq!((first.field.as_str(), first.code), ("geo.basis", RefusalCode::Malformed));
    }

    #[test]
    fn a_65th_tag_and_a_257th_byte_are_refused() {
        let tags = (0..64).map(|n| (format!("t{n:02}"), Value::from("x".repeat(256)))).collect();
        let mut ping = PingRequest { tags, ..PingRequest::default() };
        assert_eq!(ping.to_tags(None).unwrap().len(), 64);

        ping.tags.insert("t64".into(), Value::from(1));
        assert_eq!(ping.to_tags(None).unwrap_err().first().code, RefusalCode::TooLarge);

        ping.tags = [("long".into(), Value::from("x".repeat(257)))].into();
        assert_eq!(ping.to_tags(None).unwrap_err().first().field, "long");
    }

    #[test]
    fn a_nesting_deeper_than_eight_is_refused() {
        let nest = |levels| (0..levels).fold(Value::from(1), |v, _| serde_json::json!({"x": v}));
        let ping = |levels| PingRequest {
            lead: [("x".into(), nest(levels))].into(),
            ..PingRequest::default()
        };
        assert!(ping(7).to_tags(None).is_ok());
        assert_eq!(ping(8).to_tags(None).unwrap_err().first().code, RefusalCode::TooLarge);
    }

    #[test]
    fn a_ping_that_no_call_could_match_is_refused() {
        let refusal = PingRequest::default().check().unwrap_err();
        assert_eq!((refusal.field.as_str(), refusal.code), ("caller_id", RefusalCode::Missing));
    }

    #[test]
    fn a_refusal_does_not_repeat_the_caller_number() {
        let ping = PingRequest { caller_id: Some("+1614x550188".into()), ..PingRequest::default() };
        assert!(!ping.caller().unwrap_err().to_string().contains("1614"));
    }
}
