//! What others than publishers know of callers: whom sessions are told to, and what becomes of the
//! answers (spec/data §2.3, spec/domain §1B).
//!
//! Owns: who is asked about which session, what they are told, what of an answer is kept, for how long it
//! holds ([`cache`]), what may be spent ([`budget`]) and who rests for a while ([`breaker`]). Does not own:
//! any socket, and where a number is, which is `geo`'s and no tag of a session.
//!
//! Invariants: nobody is told a caller's number who is not to be; what a publisher declares goes before
//! what is told here; a question that the day's budget has no room for is not asked.

pub mod breaker;
pub mod budget;
pub mod cache;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde_json::Value;
use sha2::Sha256;
use smol_str::{SmolStr, ToSmolStr};

use crate::id::{CampaignId, PublisherId, SessionId};
use crate::phone::PhoneNumber;
use crate::time::Wall;

use super::config::{PeerTlsConfig, SecretKey};
use super::facts::Facts;
use super::geo::exchange;
use super::ping::TAG_BYTES_MAX;
use super::request::Tags;
use super::snapshot::{Campaign, RoutingSnapshot};
use super::vertical::Vertical;
use super::worth::worthless;

use breaker::{BreakerRules, Condition};
use budget::{Budget, Spent};

/// What is built in tells under this name.
pub const EMBEDDED: &str = "embedded";

/// Area codes that the called pays for.
const TOLL_FREE: [u16; 7] = [800, 833, 844, 855, 866, 877, 888];
/// Area codes that follow a person and not a place.
const PERSONAL: [u16; 6] = [500, 533, 544, 566, 577, 588];
/// An area code, and an exchange of any, that the caller pays more for.
const PREMIUM: (u16, u32) = (900, 976);

/// Whom sessions are told to.
#[derive(Clone, Debug, PartialEq)]
pub struct Enricher {
    pub id: SmolStr,
    pub url: String,
    /// Present: it is asked over TLS.
    pub tls: Option<PeerTlsConfig>,
    /// What it is shown.
    pub token: Option<SecretKey>,
    pub(super) caller: ToldCaller,
    /// Tags that it is told.
    pub(super) send_tags: Vec<SmolStr>,
    /// Which tag is where in its answer.
    pub(super) tells: BTreeMap<SmolStr, SmolStr>,
    pub deadline: Duration,
    /// Questions at the same time.
    pub concurrency: u32,
    /// For how long an answer holds; zero: for its session alone.
    pub holds: Duration,
    /// Callers whose answers are kept.
    pub callers_max: usize,
    pub budget: Budget,
    pub breaker: BreakerRules,
}

/// What an enricher is told of a caller's number.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ToldCaller {
    Number,
    /// HMAC-SHA-256 under this key of the number in E.164.
    Hash(SecretKey),
}

/// A session as it is told.
#[derive(Clone, Copy, Debug)]
pub struct Announced<'a> {
    pub session: SessionId,
    pub at: Wall,
    pub campaign: &'a CampaignId,
    pub publisher: &'a PublisherId,
    pub caller: PhoneNumber,
    pub tags: &'a [(SmolStr, SmolStr)],
}

/// What an enricher is sent, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inquiry {
    pub session: SessionId,
    /// When it was opened, RFC 3339.
    pub at: String,
    pub campaign: CampaignId,
    pub publisher: PublisherId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<PhoneNumber>,
    /// 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_hash: Option<String>,
    pub tags: Tags,
}

/// How an enricher is doing at this server.
#[derive(Clone, Debug)]
pub struct Standing {
    pub enricher: Arc<Enricher>,
    pub condition: Condition,
    /// Of this day of UTC.
    pub spent: Spent,
    /// Callers of whom it is kept what was said.
    pub cached: usize,
    /// What came of looks at sessions since the process started, by name.
    pub outcomes: BTreeMap<&'static str, u64>,
}

/// What an answer comes to in one trade.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub tags: Tags,
    /// Tags of which the answer says what they cannot be.
    pub refused: Vec<SmolStr>,
}

impl Enricher {
    /// What it is told of a session.
    pub fn inquiry(&self, about: &Announced<'_>) -> Inquiry {
        let (caller, caller_hash) = match &self.caller {
            ToldCaller::Number => (Some(about.caller), None),
            ToldCaller::Hash(key) => (None, Some(hash(key, about.caller))),
        };
        let is_told = |name: &SmolStr| self.send_tags.contains(name);
        let tags = about.tags.iter().filter(|(name, _)| is_told(name)).cloned().collect();
        Inquiry {
            session: about.session,
            at: about.at.to_rfc3339(),
            campaign: about.campaign.clone(),
            publisher: about.publisher.clone(),
            caller,
            caller_hash,
            tags,
        }
    }

    /// The texts that an answer holds where this enricher's tags are, and the names of tags where it holds
    /// what is no text, number or truth, or too much of it. Nothing, or null, tells nothing.
    pub fn read(&self, answer: &Value) -> Kept {
        let mut read = Kept::default();
        for (tag, pointer) in &self.tells {
            let text = match answer.pointer(pointer) {
                None | Some(Value::Null) => continue,
                Some(Value::String(text)) => Some(text.trim().to_smolstr()),
                Some(Value::Bool(truth)) => Some(truth.to_smolstr()),
                Some(Value::Number(number)) => Some(number.to_smolstr()),
                Some(Value::Array(_) | Value::Object(_)) => None,
            };
            let fits =
                |text: &SmolStr| text.len() <= TAG_BYTES_MAX && !text.contains(char::is_control);
            match text.filter(fits) {
                Some(text) if text.is_empty() => {}
                Some(text) => {
                    read.tags.insert(tag.clone(), text);
                }
                None => read.refused.push(tag.clone()),
            }
        }
        read
    }

    /// The tags that it may tell.
    pub fn tags(&self) -> impl Iterator<Item = &SmolStr> {
        self.tells.keys()
    }
}

/// What was read, in the form in which a vertical keeps it.
pub fn kept(read: &Tags, vertical: Option<&Vertical>) -> Kept {
    let mut kept = Kept::default();
    for (name, text) in read {
        let value = vertical.map_or_else(|| Ok(text.clone()), |it| it.kept_alone(name, text));
        match value {
            Ok(value) => {
                kept.tags.insert(name.clone(), value);
            }
            Err(_) => kept.refused.push(name.clone()),
        }
    }
    kept
}

impl Campaign {
    /// What of an answer is kept for a session of this campaign.
    pub fn keeps(&self, read: &Tags) -> Kept {
        kept(read, self.vertical.as_deref())
    }
}

impl RoutingSnapshot {
    /// Whom some campaign has asked, by their names.
    pub fn enrichers(&self) -> Vec<Arc<Enricher>> {
        let all = self.campaigns().iter().flat_map(|campaign| &campaign.enrich);
        let by_name: BTreeMap<_, _> = all.map(|it| (it.id.clone(), Arc::clone(it))).collect();
        by_name.into_values().collect()
    }

    /// What the form of a number tells, under the names of the tags of place, and `line_type`: `toll_free`,
    /// `premium`, `personal`, or `unknown`, for what is called with it no number tells.
    pub fn embedded(&self, number: PhoneNumber) -> Tags {
        let none = Tags::new();
        let facts = Facts::new(&none, Some(number), &self.geo);
        let told = ["geo.npa", "geo.state", "geo.time_zone", "geo.country"].into_iter();
        let told = told
            .filter_map(|name| Some((SmolStr::new_static(name), facts.get(name)?.value.clone())));
        let line_type = (SmolStr::new_static("line_type"), SmolStr::new_static(line_type(number)));
        told.chain([line_type]).collect()
    }

    /// Whether some target may take a call of the session, for all that lasts.
    pub fn may_be_taken(&self, about: &Announced<'_>, until: Wall) -> bool {
        let Some(campaign) = self.campaign(about.campaign) else { return false };
        let tags = about.tags.iter().cloned().collect();
        worthless(self, campaign, (Some(about.caller), &tags), about.at, until).is_none()
    }
}

/// What kind of line a number is of, as far as its form tells.
pub fn line_type(number: PhoneNumber) -> &'static str {
    let Some(npa) = number.nanp_area_code() else { return "unknown" };
    match npa {
        _ if TOLL_FREE.contains(&npa) => "toll_free",
        _ if npa == PREMIUM.0 || exchange(number) == PREMIUM.1 => "premium",
        _ if PERSONAL.contains(&npa) => "personal",
        _ => "unknown",
    }
}

fn hash(key: &SecretKey, number: PhoneNumber) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key.bytes()).expect("HMAC takes keys of any length");
    let hashed = mac.chain_update(number.to_e164()).finalize().into_bytes();
    hashed.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
