//! What operators say of facts that failed reaches the consumers at once.

use std::sync::Arc;

use smol_str::SmolStr;
use tokio::sync::watch;

use crate::cdr::consumer::letter::{Letter, LetterFilter, Word};
use crate::cdr::store::Answer;
use crate::cdr::store::consumers::Letters;
use crate::time::Wall;

/// Letters of the store, with word to those whose they are.
pub(in crate::server) struct LetterDesk {
    pub(in crate::server) store: Arc<dyn Letters>,
    pub(in crate::server) word: watch::Sender<u64>,
}

impl LetterDesk {
    fn tell(&self) {
        self.word.send_modify(|words| *words = words.wrapping_add(1));
    }
}

impl Letters for LetterDesk {
    fn list_letters(
        &self,
        filter: LetterFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Answer<'_, Vec<Letter>> {
        self.store.list_letters(filter, before, limit)
    }

    fn find_letter(&self, id: u64) -> Answer<'_, Option<Letter>> {
        self.store.find_letter(id)
    }

    fn replay_letters(&self, filter: LetterFilter, by: SmolStr, at: Wall) -> Answer<'_, u64> {
        Box::pin(async move {
            let count = self.store.replay_letters(filter, by, at).await?;
            self.tell();
            Ok(count)
        })
    }

    fn discard_letters(&self, filter: LetterFilter, word: Word) -> Answer<'_, u64> {
        Box::pin(async move {
            let count = self.store.discard_letters(filter, word).await?;
            self.tell();
            Ok(count)
        })
    }
}
