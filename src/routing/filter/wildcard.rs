//! Patterns with `*` and `?`.

/// Whether all of `text` is like `pattern`, in which `*` is any text, also none, and `?` is any
/// one character. Takes at most the product of both lengths.
pub(super) fn is_like(text: &str, pattern: &str) -> bool {
    let (mut text, mut pattern) = (text.chars(), pattern.chars());
    // Behind the last `*`: what it has not swallowed yet, and what has to follow it.
    let mut retry = None;
    loop {
        let fits = match pattern.next() {
            Some('*') => {
                retry = Some((text.clone(), pattern.clone()));
                true
            }
            Some(want) => text.next().is_some_and(|have| want == '?' || want == have),
            None if text.as_str().is_empty() => return true,
            None => false,
        };
        if fits {
            continue;
        }
        let Some((behind, rest)) = &mut retry else { return false };
        if behind.next().is_none() {
            return false;
        }
        (text, pattern) = (behind.clone(), rest.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_and_a_question_mark_is_one_character() {
        for (pattern, like, unlike) in [
            ("", vec![""], vec!["a"]),
            ("*", vec!["", "abc"], vec![]),
            ("a?c", vec!["abc", "aéc"], vec!["ac", "abbc"]),
            ("fb-*", vec!["fb-", "fb-oh-3"], vec!["fb", "xfb-"]),
            ("*-oh-*", vec!["fb-oh-3", "-oh--oh-"], vec!["fb-oh", "oh"]),
            ("*a*b", vec!["ab", "xaxbxb"], vec!["xaxbxbx", "ba"]),
            ("**?", vec!["a", "ab"], vec![""]),
        ] {
            for text in like {
                assert!(is_like(text, pattern), "{text} {pattern}");
            }
            for text in unlike {
                assert!(!is_like(text, pattern), "{text} {pattern}");
            }
        }
    }

    #[test]
    fn a_hard_pattern_takes_no_more_than_the_product_of_the_lengths() {
        let (text, pattern) = ("a".repeat(512), "*a".repeat(128) + "b");
        assert!(!is_like(&text, &pattern));
    }
}
