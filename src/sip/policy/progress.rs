//! What the caller is told of a target's provisional responses (spec/sip B4; RFC 3960).
//!
//! Whatever is left out, ringback is not: a caller who has heard nothing yet hears 180 for the
//! first sign that a target rings.

use super::config::{EarlyMedia, EmptyProgress, PassOrDrop, ProgressPolicy};

/// What is done with each kind of provisional response. The default passes on what came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgressRules {
    early_media: EarlyMedia,
    empty_progress: EmptyProgress,
    ringing_after_media: PassOrDrop,
    other: PassOrDrop,
}

/// What the caller has been told before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// 180 or 183, of any attempt.
    pub ringing: bool,
    /// Early media of this attempt.
    pub media: bool,
}

/// A provisional response to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub status: u16,
    /// Whether the session description goes along.
    pub with_body: bool,
}

impl ProgressRules {
    /// What `target` leaves open, `trunk` decides.
    pub fn new(target: &ProgressPolicy, trunk: &ProgressPolicy) -> Self {
        fn first<T: Default>(first: Option<T>, second: Option<T>) -> T {
            first.or(second).unwrap_or_default()
        }
        Self {
            early_media: first(target.early_media, trunk.early_media),
            empty_progress: first(target.empty_progress, trunk.empty_progress),
            ringing_after_media: first(target.ringing_after_media, trunk.ringing_after_media),
            other: first(target.other, trunk.other),
        }
    }

    /// The same without early media: for targets that ring side by side, of which none may speak
    /// before one has answered.
    pub fn without_media(self) -> Self {
        Self { early_media: EarlyMedia::Ringing, ..self }
    }

    /// What becomes of a response with `status`, 101 to 199; `None`: the caller is not told.
    pub fn show(self, status: u16, has_body: bool, told: &mut Told) -> Option<Shown> {
        const RINGING: Option<Shown> = Some(Shown { status: 180, with_body: false });
        let plain = |status| Some(Shown { status, with_body: false });
        let shown = match (status, has_body) {
            // It tells of the end of an early dialog that is ours alone (RFC 6228 §6).
            (199, _) => return None,
            (_, true) if self.early_media == EarlyMedia::Ringing => RINGING,
            (_, true) => {
                told.media = true;
                Some(Shown { status, with_body: true })
            }
            (180, false) if told.media && self.ringing_after_media == PassOrDrop::Drop => None,
            (180, false) => RINGING,
            (183, false) => match self.empty_progress {
                EmptyProgress::Pass => plain(183),
                EmptyProgress::Ringing => RINGING,
                EmptyProgress::Drop if told.ringing => None,
                EmptyProgress::Drop => RINGING,
            },
            (_, false) if self.other == PassOrDrop::Drop => None,
            (_, false) => plain(status),
        };
        told.ringing |= shown.is_some_and(|shown| matches!(shown.status, 180 | 183));
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The twelve cases of spec/sip B4 under each policy: what came, with or without a session
    /// description, and what the caller is told.
    #[test]
    fn what_the_caller_hears_before_the_answer() {
        const SDP: bool = true;
        const NONE: bool = false;
        let sequences: [&[(u16, bool)]; 12] = [
            &[(180, NONE)],
            &[(180, SDP)],
            &[(183, NONE)],
            &[(183, SDP)],
            &[(183, SDP), (180, NONE)],
            &[(180, NONE), (183, SDP)],
            &[(183, NONE), (183, SDP)],
            &[(183, SDP), (183, SDP)],
            &[(180, NONE), (180, NONE)],
            &[(182, NONE), (180, NONE)],
            &[(180, NONE), (199, NONE)],
            &[(183, SDP), (199, NONE), (180, NONE), (183, SDP)],
        ];
        let policies = [
            ("pass", ProgressPolicy::default()),
            (
                "ringing",
                ProgressPolicy {
                    early_media: Some(EarlyMedia::Ringing),
                    empty_progress: Some(EmptyProgress::Ringing),
                    ..ProgressPolicy::default()
                },
            ),
            (
                "drop",
                ProgressPolicy {
                    empty_progress: Some(EmptyProgress::Drop),
                    ringing_after_media: Some(PassOrDrop::Drop),
                    other: Some(PassOrDrop::Drop),
                    ..ProgressPolicy::default()
                },
            ),
        ];
        let mut table = String::new();
        for sequence in sequences {
            let came: Vec<_> = sequence.iter().map(|(status, sdp)| text(*status, *sdp)).collect();
            table += &came.join(" ");
            for (_, policy) in &policies {
                let rules = ProgressRules::new(policy, &ProgressPolicy::default());
                let mut told = Told::default();
                let shown: Vec<_> = sequence
                    .iter()
                    .filter_map(|(status, sdp)| rules.show(*status, *sdp, &mut told))
                    .map(|shown| text(shown.status, shown.with_body))
                    .collect();
                table += &format!(" | {}", shown.join(" "));
            }
            table.push('\n');
        }

        assert_eq!(
            table,
            "180 | 180 | 180 | 180\n\
             180+ | 180+ | 180 | 180+\n\
             183 | 183 | 180 | 180\n\
             183+ | 183+ | 180 | 183+\n\
             183+ 180 | 183+ 180 | 180 180 | 183+\n\
             180 183+ | 180 183+ | 180 180 | 180 183+\n\
             183 183+ | 183 183+ | 180 180 | 180 183+\n\
             183+ 183+ | 183+ 183+ | 180 180 | 183+ 183+\n\
             180 180 | 180 180 | 180 180 | 180 180\n\
             182 180 | 182 180 | 182 180 | 180\n\
             180 199 | 180 | 180 | 180\n\
             183+ 199 180 183+ | 183+ 180 183+ | 180 180 180 | 183+ 183+\n"
        );
    }

    #[test]
    fn the_target_s_word_goes_before_the_trunk_s() {
        let ringing = ProgressPolicy {
            early_media: Some(EarlyMedia::Ringing),
            other: Some(PassOrDrop::Drop),
            ..ProgressPolicy::default()
        };
        let pass =
            ProgressPolicy { early_media: Some(EarlyMedia::Pass), ..ProgressPolicy::default() };
        let rules = ProgressRules::new(&pass, &ringing);

        let mut told = Told::default();
        assert_eq!(rules.show(182, false, &mut told), None);
        let shown = rules.show(183, true, &mut told);
        assert_eq!(shown, Some(Shown { status: 183, with_body: true }));
        let shown = rules.without_media().show(183, true, &mut told);
        assert_eq!(shown, Some(Shown { status: 180, with_body: false }));
    }

    fn text(status: u16, has_body: bool) -> String {
        format!("{status}{}", if has_body { "+" } else { "" })
    }
}
