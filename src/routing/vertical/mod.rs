//! The tags of one trade: what pings may and must say, and in which form it is kept.
//!
//! Some tags are part of every vertical, for the server makes them itself; a vertical may say more
//! about them. A new vertical is configuration.

mod kind;

use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::suggest::{slip_of, suggestion};

use super::config::{TagKind, UnknownTags};
use super::facts::is_place;
use super::filter::{Measure, Pattern};
use super::request::Tags;

/// Tags that every vertical has.
const COMMON: [(&str, TagKind); 10] = [
    ("geo.state", TagKind::State),
    ("geo.zip", TagKind::Zip),
    ("geo.zip3", TagKind::Text),
    ("geo.npa", TagKind::Text),
    ("geo.npa_nxx", TagKind::Text),
    ("geo.time_zone", TagKind::Text),
    ("geo.country", TagKind::Text),
    ("sip_ok", TagKind::Boolean),
    ("sub_id", TagKind::Text),
    ("source_type", TagKind::Text),
];

/// Under `geo.`, places of which the server knows nothing and whose names are near to those it knows.
const PLACES_OF_OTHERS: [&str; 4] = ["county", "ip", "zip4", "zip5"];

/// What trunks make tags of, each with a name of its own.
const OF_TRUNKS: [&str; 2] = ["header.", "caller."];

/// The tags that calls of one trade have.
#[derive(Clone, Debug, PartialEq)]
pub struct Vertical {
    pub id: SmolStr,
    pub(super) unknown: UnknownTags,
    pub(super) tags: BTreeMap<SmolStr, Tag>,
    /// Further names, and which tag each means.
    pub(super) aliases: BTreeMap<SmolStr, SmolStr>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tag {
    pub(super) kind: TagKind,
    /// Of an `enum`.
    pub(super) values: Vec<SmolStr>,
    pub(super) required: bool,
    pub(super) min: Option<Measure>,
    pub(super) max: Option<Measure>,
    pub(super) pattern: Option<Pattern>,
    pub(super) pii: bool,
}

/// What is wrong with one tag of a ping. Does not repeat what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TagFault {
    /// As it was sent.
    pub(super) tag: SmolStr,
    pub(super) kind: TagFaultKind,
    pub(super) detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TagFaultKind {
    Missing,
    Malformed,
    Unknown,
    /// It came twice, and says two things.
    Mismatch,
}

impl Vertical {
    pub(super) fn new(id: SmolStr, unknown: UnknownTags) -> Self {
        let tags = COMMON.iter().map(|(name, kind)| (SmolStr::new_static(name), Tag::new(*kind)));
        Self { id, unknown, tags: tags.collect(), aliases: BTreeMap::new() }
    }

    /// The kind that a tag has in every vertical, if the server makes it.
    pub(super) fn common(name: &str) -> Option<TagKind> {
        COMMON.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// The place that was meant by a name under `geo.` which nobody describes and which is one letter away.
    /// Others there, such as `geo.city`, are the publishers' own.
    pub(super) fn place_meant_by(name: &str) -> Option<&'static str> {
        let (start, rest) = name.split_once('.')?;
        if !start.eq_ignore_ascii_case("geo") || PLACES_OF_OTHERS.contains(&rest) {
            return None;
        }
        slip_of(name, &COMMON.map(|(known, _)| known)).filter(|meant| is_place(meant))
    }

    pub(super) fn tag(&self, name: &str) -> Option<&Tag> {
        self.tags.get(name)
    }

    /// Whether trunks may make this tag.
    pub(super) fn is_of_trunks(name: &str) -> bool {
        OF_TRUNKS.iter().any(|start| name.starts_with(start))
    }

    /// Whether it says what the tag is, under this name or as another name of one.
    pub(super) fn describes(&self, name: &str) -> bool {
        self.tags.contains_key(name) || self.aliases.contains_key(name)
    }

    /// What to write instead of a name that is not known.
    pub(super) fn suggestion(&self, unknown: &str) -> String {
        match self.aliases.get(unknown) {
            Some(name) => format!("write `{name}`, of which it is another name"),
            None => suggestion(unknown, self.tags.keys().map(SmolStr::as_str)),
        }
    }

    /// What a ping says, under the names and in the form that filters know; else everything that is
    /// wrong with it.
    pub(super) fn kept(&self, sent: Tags) -> Result<Tags, Vec<TagFault>> {
        let (kept, mut faults) = self.read(sent);
        for (name, tag) in &self.tags {
            let is_at_fault =
                |fault: &TagFault| fault.tag == *name || self.aliases.get(&fault.tag) == Some(name);
            if tag.required && !kept.contains_key(name) && !faults.iter().any(is_at_fault) {
                let (tag, kind) = (name.clone(), TagFaultKind::Missing);
                faults.push(TagFault { tag, kind, detail: format!("`{}` asks for it", self.id) });
            }
        }
        if faults.is_empty() { Ok(kept) } else { Err(faults) }
    }

    /// The same of somebody who may say more later: nothing is missed yet.
    pub(super) fn kept_so_far(&self, sent: Tags) -> Result<Tags, Vec<TagFault>> {
        let (kept, faults) = self.read(sent);
        if faults.is_empty() { Ok(kept) } else { Err(faults) }
    }

    /// A tag that the server makes, in the form it is kept in; one that the vertical does not know is
    /// kept as it is. Else what it would have to be.
    pub(super) fn kept_alone(&self, name: &str, text: &str) -> Result<SmolStr, String> {
        self.tags.get(name).map_or_else(|| Ok(text.into()), |tag| tag.kept(text))
    }

    fn read(&self, sent: Tags) -> (Tags, Vec<TagFault>) {
        let (mut kept, mut faults) = (Tags::new(), vec![]);
        for (sent_as, text) in sent {
            let name = self.aliases.get(&sent_as).unwrap_or(&sent_as);
            let mut fault = |kind, detail| {
                faults.push(TagFault { tag: sent_as.clone(), kind, detail });
            };
            let value = match (self.tags.get(name), self.unknown) {
                (Some(tag), _) => match tag.kept(&text) {
                    Ok(value) => value,
                    Err(detail) => {
                        fault(TagFaultKind::Malformed, detail);
                        continue;
                    }
                },
                (None, UnknownTags::Keep) => text,
                (None, UnknownTags::Drop) => continue,
                (None, UnknownTags::Refuse) => {
                    let detail = format!("is no tag of `{}`; {}", self.id, self.suggestion(name));
                    fault(TagFaultKind::Unknown, detail);
                    continue;
                }
            };
            match kept.get(name) {
                Some(other) if *other != value => {
                    let detail = format!("says something else than another name of `{name}`");
                    fault(TagFaultKind::Mismatch, detail);
                }
                Some(_) | None => {
                    kept.insert(name.clone(), value);
                }
            }
        }
        (kept, faults)
    }
}

impl Tag {
    pub(super) fn new(kind: TagKind) -> Self {
        let (values, pattern) = (vec![], None);
        Self { kind, values, required: false, min: None, max: None, pattern, pii: false }
    }

    /// The text in the form it is kept in; else what it would have to be.
    pub(super) fn kept(&self, text: &str) -> Result<SmolStr, String> {
        let mut value = self.kind.kept(text)?;
        if self.kind == TagKind::Enum {
            let is_meant = |known: &&SmolStr| known.to_lowercase() == value.to_lowercase();
            value = self.values.iter().find(is_meant).cloned().ok_or_else(|| {
                let known: Vec<_> = self.values.iter().map(SmolStr::as_str).collect();
                format!("must be one of {}", known.join(", "))
            })?;
        }
        let size = match self.kind == TagKind::Text {
            true => Measure::whole(value.chars().count()),
            false => self.kind.has_order().then(|| Measure::parse(&value)).flatten(),
        };
        let must = |bound: &str, limit: Measure| {
            let limit = limit.shown();
            match self.kind == TagKind::Text {
                true => format!("must have at {bound} {limit} characters"),
                false => format!("must be at {bound} {limit}"),
            }
        };
        if let Some(size) = size {
            if let Some(min) = self.min.filter(|min| size < *min) {
                return Err(must("least", min));
            }
            if let Some(max) = self.max.filter(|max| size > *max) {
                return Err(must("most", max));
            }
        }
        match &self.pattern {
            Some(pattern) if !pattern.fits(&value) => {
                Err(format!("must be like the regular expression {}", pattern.text()))
            }
            Some(_) | None => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests;
