//! When it is known what a call comes to.

/// A point in the course of a call at which its record says what it has come to. Each is said once of
/// a hold; said again, it changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Juncture {
    /// It is still up at its threshold, and goes on.
    Converted,
    /// Its target hung up early, and it goes on to another.
    EndedEarly,
    Ended,
    /// The true end of a call that a crash had left up has become known.
    Corrected,
}

/// The junctures that were told of a hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard(u8);

impl Heard {
    /// Whether it is news.
    pub(super) fn hear(&mut self, juncture: Juncture) -> bool {
        let is_news = !self.has(juncture);
        self.0 |= Self::bit(juncture);
        is_news
    }

    pub(super) fn has(self, juncture: Juncture) -> bool {
        self.0 & Self::bit(juncture) != 0
    }

    fn bit(juncture: Juncture) -> u8 {
        1 << juncture as u8
    }
}
