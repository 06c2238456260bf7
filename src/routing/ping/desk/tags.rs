//! Tags of sessions.

use std::fmt::{self, Write as _};
use std::ops::Index;

use smol_str::SmolStr;

use crate::routing::request::Tags;

/// Tags of a session, of which there may be millions: in one piece, and in hardly more bytes than they say.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeptTags(
    /// Names and values in turn, in the order of the names, each as its length in bytes, a colon and itself.
    Box<str>,
);

impl KeptTags {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn len(&self) -> usize {
        self.iter().count()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (name, behind) = first_of(rest)?;
            let (value, behind) = first_of(behind)?;
            rest = behind;
            Some((name, value))
        })
    }

    /// As others have them.
    pub fn to_tags(&self) -> Tags {
        self.to_pairs().collect()
    }

    /// The same in whatever form.
    pub fn to_pairs(&self) -> impl Iterator<Item = (SmolStr, SmolStr)> {
        self.iter().map(|(name, value)| (name.into(), value.into()))
    }

    pub fn insert(&mut self, name: &str, value: &str) {
        let before = self.iter().take_while(|(known, _)| *known < name);
        let behind = self.iter().skip_while(|(known, _)| *known <= name);
        *self = Self::of(before.chain([(name, value)]).chain(behind));
    }

    /// They come in the order of their names, each name once.
    fn of<'a>(tags: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Self {
        let texts = tags.flat_map(|(name, value)| [name, value]);
        // No more than is needed: what is given back of a piece stays a hole between sessions.
        let mut all = String::with_capacity(texts.clone().map(bytes_of).sum());
        for text in texts {
            // A `String` takes all that is written.
            let _ = write!(all, "{}:{text}", text.len());
        }
        Self(all.into_boxed_str())
    }
}

/// What a text takes with its length before it.
fn bytes_of(text: &str) -> usize {
    let digits = text.len().checked_ilog10().map_or(1, |it| it as usize + 1);
    digits + 1 + text.len()
}

/// The text that comes first, and what is behind it.
fn first_of(kept: &str) -> Option<(&str, &str)> {
    let (length, behind) = kept.split_once(':')?;
    behind.split_at_checked(length.parse().ok()?)
}

impl fmt::Debug for KeptTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl From<Tags> for KeptTags {
    fn from(tags: Tags) -> Self {
        Self::of(tags.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

impl<const N: usize> From<[(SmolStr, SmolStr); N]> for KeptTags {
    fn from(tags: [(SmolStr, SmolStr); N]) -> Self {
        Tags::from(tags).into()
    }
}

impl FromIterator<(SmolStr, SmolStr)> for KeptTags {
    fn from_iter<T: IntoIterator<Item = (SmolStr, SmolStr)>>(tags: T) -> Self {
        Tags::from_iter(tags).into()
    }
}

impl PartialEq<Tags> for KeptTags {
    fn eq(&self, other: &Tags) -> bool {
        self.iter().eq(other.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

/// Panics where there is none of the name.
impl Index<&str> for KeptTags {
    type Output = str;

    fn index(&self, name: &str) -> &str {
        self.get(name).expect("a tag of this name")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_as_a_map_has_them(
            said in prop::collection::vec(("[a-d:1é]{0,2}", "[x-z:1é]{0,12}"), 0..12),
            more in prop::collection::vec(("[a-d:1é]{0,2}", "[x-z:1é]{0,12}"), 0..12),
        ) {
            let pairs = |said: &[(String, String)]| -> Vec<(SmolStr, SmolStr)> {
                said.iter().map(|(name, value)| (name.into(), value.into())).collect()
            };
            let mut map: Tags = pairs(&said).into_iter().collect();
            let mut kept: KeptTags = pairs(&said).into_iter().collect();
            for (name, value) in pairs(&more) {
                prop_assert_eq!(kept.get(&name), map.get(&name).map(SmolStr::as_str));
                prop_assert_eq!(kept.contains_key(&name), map.contains_key(&name));
                kept.insert(&name, &value);
                map.insert(name, value);
            }
            prop_assert!(kept == map);
            let texts = map.iter().flat_map(|(name, value)| [name, value]);
            prop_assert_eq!(kept.0.len(), texts.map(|text| bytes_of(text)).sum::<usize>());
            prop_assert_eq!(format!("{kept:?}"), format!("{map:?}"));
            prop_assert_eq!(kept.len(), map.len());
            prop_assert_eq!(kept.is_empty(), map.is_empty());
            prop_assert_eq!(kept.to_tags(), map.clone());
            prop_assert_eq!(KeptTags::from(map.clone()), kept.clone());
            if let Some(name) = map.keys().next().cloned() {
                map.remove(&name);
                prop_assert!(kept != map, "it has one more");
            }
        }
    }
}
