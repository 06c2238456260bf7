//! Tags of sessions.

use std::ops::Index;

use smol_str::SmolStr;

use crate::routing::request::Tags;

/// Tags of a session, of which there may be millions: in one piece, and in no more bytes than they take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptTags(
    /// In the order of their names.
    Box<[(SmolStr, SmolStr)]>,
);

impl KeptTags {
    pub fn get(&self, name: &str) -> Option<&SmolStr> {
        self.place(name).ok().map(|place| &self.0[place].1)
    }

    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&SmolStr, &SmolStr)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// As others have them.
    pub fn to_tags(&self) -> Tags {
        self.0.iter().cloned().collect()
    }

    pub fn insert(&mut self, name: SmolStr, value: SmolStr) {
        match self.place(&name) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => {
                let mut all = std::mem::take(&mut self.0).into_vec();
                all.reserve_exact(1);
                all.insert(place, (name, value));
                self.0 = all.into_boxed_slice();
            }
        }
    }

    /// Where it is, or would be.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.as_str().cmp(name))
    }
}

impl From<Tags> for KeptTags {
    fn from(tags: Tags) -> Self {
        Self(tags.into_iter().collect())
    }
}

impl From<KeptTags> for Tags {
    fn from(kept: KeptTags) -> Self {
        kept.into_iter().collect()
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

impl IntoIterator for KeptTags {
    type Item = (SmolStr, SmolStr);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_vec().into_iter()
    }
}

impl PartialEq<Tags> for KeptTags {
    fn eq(&self, other: &Tags) -> bool {
        self.len() == other.len() && self.iter().eq(other)
    }
}

/// Panics where there is none of the name.
impl Index<&str> for KeptTags {
    type Output = SmolStr;

    fn index(&self, name: &str) -> &SmolStr {
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
            said in prop::collection::vec(("[a-d]{0,2}", "[x-z]"), 0..12),
            more in prop::collection::vec(("[a-d]{0,2}", "[x-z]"), 0..12),
        ) {
            let pairs = |said: &[(String, String)]| -> Vec<(SmolStr, SmolStr)> {
                said.iter().map(|(name, value)| (name.into(), value.into())).collect()
            };
            let mut map: Tags = pairs(&said).into_iter().collect();
            let mut kept: KeptTags = pairs(&said).into_iter().collect();
            for (name, value) in pairs(&more) {
                prop_assert_eq!(kept.get(&name), map.get(&name));
                prop_assert_eq!(kept.contains_key(&name), map.contains_key(&name));
                kept.insert(name.clone(), value.clone());
                map.insert(name, value);
            }
            prop_assert!(kept == map);
            prop_assert_eq!(kept.len(), map.len());
            prop_assert_eq!(kept.is_empty(), map.is_empty());
            prop_assert_eq!(kept.to_tags(), map.clone());
            prop_assert_eq!(KeptTags::from(map.clone()), kept.clone());
            prop_assert!(kept.iter().eq(&map));
            prop_assert_eq!(Tags::from(kept.clone()), map.clone());
            if let Some(name) = map.keys().next().cloned() {
                map.remove(&name);
                prop_assert!(kept != map, "it has one more");
            }
        }
    }
}
