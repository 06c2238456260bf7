//! Colour, on terminals only, and text broken into lines.

use std::io::IsTerminal;

/// How text is made to stand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    #[cfg(test)]
    pub(super) const PLAIN: Self = Self { on: false };

    /// Colours if standard output is a terminal and `NO_COLOR` is not set (no-color.org).
    pub(super) fn for_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { on: std::io::stdout().is_terminal() && !unwanted }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    pub(super) fn name(self, text: &str) -> String {
        self.wrap("36", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Running text as lines of at most `width` columns; a longer word has a line of its own. Colour
/// has no width.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let columns = columns(word);
        let line = lines.last_mut().expect("there is always a last line");
        if used == 0 {
            line.push_str(word);
            used = columns;
        } else if used + 1 + columns <= width {
            line.push(' ');
            line.push_str(word);
            used += 1 + columns;
        } else {
            lines.push(word.to_owned());
            used = columns;
        }
    }
    lines
}

/// Characters of a word that are seen.
fn columns(word: &str) -> usize {
    let mut in_escape = false;
    word.chars()
        .filter(|character| {
            let is_seen = !in_escape && *character != '\x1b';
            in_escape = *character == '\x1b' || in_escape && *character != 'm';
            is_seen
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("a-very-long-word b", 5), ["a-very-long-word", "b"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn colour_takes_no_room() {
        let green = Paint { on: true }.good("12.00");
        assert_eq!(columns(&green), 5);
        assert_eq!(wrap(&format!("{green} USD"), 9), [format!("{green} USD")]);
    }
}
