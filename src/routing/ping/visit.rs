//! A visit of a page or a form that was sent in, and what a page tells by its address.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use smol_str::SmolStr;
use url::Url;

use crate::id::{CampaignId, PoolId, PublisherId};
use crate::routing::facts::GEO_BASIS;
use crate::routing::geo::Basis;
use crate::routing::request::Tags;
use crate::routing::vertical::Vertical;

use super::request::{
    PingRefusal, PingRefusals, PingRequest, RefusalCode, TAG_BYTES_MAX, TAGS_MAX,
};

const VISITOR_BYTES_MAX: usize = 128;
/// An address that is longer says nothing.
const URL_BYTES_MAX: usize = 8_192;
/// Names of what an address says and that is not kept, which go into the answer, and the bytes of each.
const LEFT_OUT_MAX: usize = 8;
const LEFT_OUT_BYTES_MAX: usize = 64;

/// Parameters of a page's address that become tags of their names, besides `utm_…`: what advertising
/// networks and publishers tell a click by.
pub const CLICK_IDS: [&str; 20] = [
    "gclid",
    "gbraid",
    "wbraid",
    "dclid",
    "gad_source",
    "fbclid",
    "msclkid",
    "ttclid",
    "twclid",
    "li_fat_id",
    "yclid",
    "epik",
    "sccid",
    "rdt_cid",
    "irclickid",
    "tblci",
    "obclid",
    "click_id",
    "clickid",
    "sub_id",
];

/// The body of `POST /v1/sessions`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VisitRequest {
    /// A key, of whoever cannot send one in a header. Whoever authenticates reads it.
    #[serde(skip_serializing)]
    pub key: Option<String>,
    #[serde(rename = "type")]
    pub kind: VisitKind,
    /// By which the visitor is known again: brings back its session and number. Absent: one is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visitor_id: Option<SmolStr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher: Option<PublisherId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<CampaignId>,
    /// Absent: the publisher's pool for the campaign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolId>,
    /// Absent: a number for a page view, none for a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub want: Option<Want>,
    /// Becomes `page.host`, `page.path`, and a tag for each click id and `utm_…` in it. May be called
    /// `landing_url`.
    #[serde(alias = "landing_url", skip_serializing_if = "Option::is_none")]
    pub page_url: Option<String>,
    /// Becomes `referrer.host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referrer: Option<String>,
    /// Becomes the tag `user_agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Becomes the tag `form_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form_id: Option<String>,
    /// When the page says it was sent: kept as the tag `submitted_at`, and used for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submitted_at: Option<String>,
    /// Becomes the tag `phone_hash`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_id: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lead: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub consent: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, Value>,
    /// As in a ping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// As in a ping.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// The body of a sign of life: what is new.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VisitUpdate {
    /// As in [`VisitRequest`].
    #[serde(skip_serializing)]
    pub key: Option<String>,
    #[serde(alias = "landing_url", skip_serializing_if = "Option::is_none")]
    pub page_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referrer: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, Value>,
    /// What is not known here, of which nothing is kept.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisitKind {
    #[default]
    PageView,
    /// It was sent in whole: the tags that its vertical asks for must be there.
    Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    Number,
    Nothing,
}

/// Tags as they are kept, and the names of those that a page sent and that are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) tags: Tags,
    pub(super) left_out: Vec<SmolStr>,
}

impl VisitRequest {
    pub(super) fn wants_number(&self) -> bool {
        let usual = match self.kind {
            VisitKind::PageView => Want::Number,
            VisitKind::Form => Want::Nothing,
        };
        self.want.unwrap_or(usual) == Want::Number
    }

    /// What of it is as in a ping.
    pub(super) fn as_ping(&self) -> PingRequest {
        let mut tags = self.tags.clone();
        for (name, text) in [
            ("form_id", &self.form_id),
            ("submitted_at", &self.submitted_at),
            ("phone_hash", &self.phone_hash),
        ] {
            if let Some(text) = text {
                tags.insert(name.to_owned(), Value::from(text.as_str()));
            }
        }
        if self.kind == VisitKind::Form && tags.keys().any(|name| name.starts_with("geo")) {
            // What is in it the caller wrote.
            let declared = || Value::from(Basis::Declared.name());
            tags.entry(GEO_BASIS.to_owned()).or_insert_with(declared);
        }
        PingRequest {
            publisher: self.publisher.clone(),
            campaign: self.campaign.clone(),
            pool: self.pool.clone(),
            caller_id: self.caller_id.clone(),
            zip: self.zip.clone(),
            state: self.state.clone(),
            sub_id: self.sub_id.clone(),
            lead: self.lead.clone(),
            consent: self.consent.clone(),
            tags,
            strict: self.strict,
            extra: self.extra.clone(),
            ..PingRequest::default()
        }
    }

    pub(super) fn check(&self) -> Result<(), PingRefusal> {
        let is_named = |id: &SmolStr| !id.is_empty() && id.len() <= VISITOR_BYTES_MAX;
        if self.visitor_id.as_ref().is_some_and(|id| !is_named(id)) {
            let detail = format!("must have 1 to {VISITOR_BYTES_MAX} bytes");
            return Err(PingRefusal::new("visitor_id", RefusalCode::Malformed, detail));
        }
        Ok(())
    }

    /// Everything it says, as tags.
    pub(super) fn told(&self, vertical: Option<&Vertical>) -> Result<Told, PingRefusals> {
        let ping = self.as_ping();
        let tags = match self.kind {
            VisitKind::Form => ping.to_tags(vertical)?,
            // More may be told later.
            VisitKind::PageView => ping.to_tags_so_far(vertical)?,
        };
        let mut told = Told { tags, left_out: vec![] };
        told.add_page(self.page_url.as_deref(), self.referrer.as_deref(), vertical);
        if let Some(agent) = &self.user_agent {
            told.add("user_agent", shortened(agent), vertical);
        }
        Ok(told)
    }
}

impl VisitUpdate {
    /// What it adds.
    pub(super) fn told(&self, vertical: Option<&Vertical>) -> Result<Told, PingRefusals> {
        let ping = PingRequest { tags: self.tags.clone(), ..PingRequest::default() };
        let mut told = Told { tags: ping.to_tags_so_far(vertical)?, left_out: vec![] };
        told.add_page(self.page_url.as_deref(), self.referrer.as_deref(), vertical);
        for name in self.extra.keys() {
            told.leave_out(name);
        }
        Ok(told)
    }
}

impl Told {
    /// Whatever an address says is no fault of whoever visits it: what cannot be kept is left out.
    fn add_page(
        &mut self,
        page_url: Option<&str>,
        referrer: Option<&str>,
        vertical: Option<&Vertical>,
    ) {
        let address = |text: &str| {
            let text = (text.len() <= URL_BYTES_MAX).then_some(text)?;
            Url::parse(text).ok().filter(Url::has_host)
        };
        if let Some(text) = page_url {
            match address(text) {
                Some(url) => {
                    self.add("page.host", url.host_str().unwrap_or_default(), vertical);
                    self.add("page.path", shortened(url.path()), vertical);
                    for (name, value) in url.query_pairs() {
                        if name.starts_with("utm_") || CLICK_IDS.contains(&name.as_ref()) {
                            self.add(&name, &value, vertical);
                        }
                    }
                }
                None => self.left_out.push(SmolStr::new_static("page_url")),
            }
        }
        match referrer.filter(|text| !text.is_empty()).map(address) {
            Some(Some(url)) => {
                self.add("referrer.host", url.host_str().unwrap_or_default(), vertical);
            }
            Some(None) => self.left_out.push(SmolStr::new_static("referrer")),
            None => {}
        }
    }

    /// What was said in so many words goes before what an address says.
    fn add(&mut self, name: &str, value: &str, vertical: Option<&Vertical>) {
        if value.is_empty() || self.tags.contains_key(name) {
            return;
        }
        let kept =
            vertical.map_or_else(|| Ok(value.into()), |vertical| vertical.kept_alone(name, value));
        let fits = name.len() <= TAG_BYTES_MAX && value.len() <= TAG_BYTES_MAX;
        match kept {
            Ok(kept) if fits && self.tags.len() < TAGS_MAX => {
                self.tags.insert(name.into(), kept);
            }
            Ok(_) | Err(_) => self.leave_out(name),
        }
    }

    fn leave_out(&mut self, name: &str) {
        if self.left_out.len() < LEFT_OUT_MAX {
            self.left_out.push(SmolStr::new(shortened_to(name, LEFT_OUT_BYTES_MAX)));
        }
    }
}

fn shortened(text: &str) -> &str {
    shortened_to(text, TAG_BYTES_MAX)
}

fn shortened_to(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_where_it_is_and_by_which_click() {
        let long = "x".repeat(300);
        let visit = VisitRequest {
            page_url: Some(format!(
                "https://Columbus-HVAC.example:8443/repair?utm_source=google&gclid=Cj0%2B&fbclid={long}\
                 &password=secret&utm_term=ac+repair#top"
            )),
            referrer: Some("https://www.google.com/search?q=private".into()),
            user_agent: Some("Browser/1.0".into()),
            tags: [("utm_source".to_owned(), Value::from("said"))].into(),
            ..VisitRequest::default()
        };

        let told = visit.told(None).unwrap();

        let expected = [
            ("gclid", "Cj0+"),
            ("page.host", "columbus-hvac.example"),
            ("page.path", "/repair"),
            ("referrer.host", "www.google.com"),
            ("user_agent", "Browser/1.0"),
            ("utm_source", "said"),
            ("utm_term", "ac repair"),
        ];
        let tags: Vec<_> = told.tags.into_iter().collect();
        assert_eq!(tags, expected.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(told.left_out, ["fbclid"]);
    }

    #[test]
    fn what_a_form_says_of_a_place_the_caller_told_and_what_a_page_does_not() {
        for (kind, basis) in [(VisitKind::Form, None), (VisitKind::PageView, Some("ping"))] {
            let tags = [("geo.state".to_owned(), Value::from("OH"))].into();
            let visit = VisitRequest { kind, tags, ..VisitRequest::default() };
            let told = visit.told(None).unwrap().tags;
            assert_eq!(told.get("geo.basis").map(SmolStr::as_str), basis, "{kind:?}");
            assert_eq!(told["geo.state"], "OH");
        }
    }

    #[test]
    fn an_address_that_is_none_is_left_out() {
        for url in
            ["not a url", "mailto:a@b.example", &format!("https://a.example/{}", "x".repeat(9_000))]
        {
            let update = VisitUpdate {
                page_url: Some(url.to_owned()),
                referrer: Some(String::new()),
                ..VisitUpdate::default()
            };
            let told = update.told(None).unwrap();
            assert_eq!(told, Told { left_out: vec!["page_url".into()], ..Told::default() });
        }
    }

    #[test]
    fn an_address_adds_no_more_tags_than_there_may_be() {
        let query: String = (0..80).map(|n| format!("utm_{n}=1&")).collect();
        let visit = VisitRequest {
            page_url: Some(format!("https://a.example/?{query}")),
            ..VisitRequest::default()
        };
        let told = visit.told(None).unwrap();
        assert_eq!((told.tags.len(), told.left_out.len()), (64, 8));
    }

    /// The answer is kept for a day.
    #[test]
    fn an_address_full_of_long_names_makes_no_long_answer() {
        let query: String = (0..24).map(|n| format!("utm_{n:0300}=1&")).collect();
        let visit = VisitRequest {
            page_url: Some(format!("https://a.example/?{query}")),
            ..VisitRequest::default()
        };
        let told = visit.told(None).unwrap();
        assert_eq!(told.left_out.iter().map(|name| name.len()).collect::<Vec<_>>(), [64; 8]);
    }
}
