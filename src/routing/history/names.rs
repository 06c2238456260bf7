//! Names of configured things, each kept once.

use std::collections::BTreeMap;

use smol_str::SmolStr;

/// Stands for a text of [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(u32);

/// Never shrinks: there are as many as were ever configured.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    texts: Vec<SmolStr>,
    index: BTreeMap<SmolStr, Name>,
}

impl Names {
    pub(super) fn of(&mut self, text: &SmolStr) -> Name {
        if let Some(known) = self.find(text) {
            return known;
        }
        let name = Name(u32::try_from(self.texts.len()).expect("fewer than 2^32 names"));
        self.texts.push(text.clone());
        self.index.insert(text.clone(), name);
        name
    }

    pub(super) fn find(&self, text: &SmolStr) -> Option<Name> {
        self.index.get(text).copied()
    }

    pub(super) fn text(&self, Name(index): Name) -> SmolStr {
        self.texts[index as usize].clone()
    }
}
