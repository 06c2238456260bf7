//! Early dialogs that a target opened with reliable provisional responses, RFC 3262 §4.
//!
//! One INVITE may lead to several, told apart by the tag in To: proxies fork, and some switches
//! change their tag between ringing and answer. Each counts its responses for itself.

use smallvec::SmallVec;

use super::event::Body;
use crate::sip::dialog::Dialog;
use crate::sip::message::Response;

/// More early dialogs of one INVITE are not followed.
const DIALOGS_MAX: usize = 8;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct EarlyDialogs {
    /// In the order they were heard of.
    dialogs: SmallVec<[EarlyDialog; 1]>,
    /// The one heard last.
    current: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct EarlyDialog {
    pub dialog: Dialog,
    /// Number of the last response taken.
    rseq: u32,
    /// Whether the peer takes UPDATE here.
    pub takes_update: bool,
    /// The description it sent: the answer to our offer, or its own offer.
    pub described: Option<Body>,
    /// Its own offer waits for the caller's answer, which the PRACK of this response carries.
    pub held_prack: Option<u32>,
}

/// What a reliable response means.
#[derive(Debug, PartialEq)]
pub enum Heard<'a> {
    /// To be acknowledged and passed on.
    New(&'a mut EarlyDialog),
    /// Seen before, or ahead of one that was lost: silence makes the peer send it again.
    Ignore,
}

impl EarlyDialogs {
    /// A response with this number and the tag of its To. `open` makes the dialog of a new tag.
    pub fn hear(
        &mut self,
        rseq: u32,
        response: &Response,
        open: impl FnOnce() -> Option<Dialog>,
    ) -> Heard<'_> {
        let tag = response.to_tag().unwrap_or_default();
        let known = self.dialogs.iter().position(|early| early.dialog.remote_tag() == tag);
        let at = match known {
            Some(at) if self.dialogs[at].rseq.checked_add(1) == Some(rseq) => at,
            Some(_) => return Heard::Ignore,
            None if self.dialogs.len() == DIALOGS_MAX => return Heard::Ignore,
            None => {
                let Some(dialog) = open() else { return Heard::Ignore };
                self.dialogs.push(EarlyDialog {
                    dialog,
                    rseq,
                    takes_update: false,
                    described: None,
                    held_prack: None,
                });
                self.dialogs.len() - 1
            }
        };
        self.current = at;
        let early = &mut self.dialogs[at];
        early.rseq = rseq;
        Heard::New(early)
    }

    /// The one that `is_wanted`.
    pub fn find(&mut self, is_wanted: impl Fn(&Dialog) -> bool) -> Option<&mut Dialog> {
        self.dialogs.iter_mut().map(|early| &mut early.dialog).find(|dialog| is_wanted(dialog))
    }

    /// The dialog the peer spoke in last.
    pub fn current(&mut self) -> Option<&mut EarlyDialog> {
        self.dialogs.get_mut(self.current)
    }

    /// Whether this is the dialog the peer spoke in last.
    pub fn is_current(&self, tag: &[u8]) -> bool {
        self.dialogs.get(self.current).is_some_and(|early| early.dialog.remote_tag() == tag)
    }

    /// The dialog that an answer with this tag confirms. The others are over.
    pub fn confirm(mut self, tag: &[u8]) -> Option<EarlyDialog> {
        let at = self.dialogs.iter().position(|early| early.dialog.remote_tag() == tag)?;
        Some(self.dialogs.swap_remove(at))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sip::flow::{Flow, ListenerId};
    use crate::sip::message::{Limits, Message};

    #[test]
    fn equal_numbers_of_two_forks_are_two_responses() {
        let mut early = EarlyDialogs::default();

        for (tag, rseq, is_new) in [
            ("a", 1, true),
            ("b", 1, true),
            ("a", 1, false),
            ("b", 1, false),
            ("a", 3, false),
            ("a", 2, true),
            ("b", 2, true),
            ("b", 1, false),
        ] {
            let heard = hear(&mut early, tag, rseq);
            assert_eq!(heard, is_new, "{tag} {rseq}");
        }
        assert!(early.is_current(b"b"));
    }

    #[test]
    fn an_answer_confirms_the_dialog_of_its_tag() {
        let mut early = EarlyDialogs::default();
        hear(&mut early, "a", 1);
        hear(&mut early, "b", 1);

        let confirmed = early.clone().confirm(b"a").unwrap();
        assert_eq!(confirmed.dialog.remote_tag(), "a");
        assert_eq!(early.confirm(b"c"), None);
    }

    #[test]
    fn no_more_forks_are_followed_than_a_sane_proxy_makes() {
        let mut early = EarlyDialogs::default();
        let taken = (0..20).filter(|n| hear(&mut early, &format!("t{n}"), 1)).count();
        assert_eq!(taken, DIALOGS_MAX);
    }

    fn hear(early: &mut EarlyDialogs, tag: &str, rseq: u32) -> bool {
        let response = response(tag);
        let open = || Dialog::with_late_answer(&response, flow());
        matches!(early.hear(rseq, &response, open), Heard::New(_))
    }

    fn response(tag: &str) -> Response {
        let text = format!(
            "SIP/2.0 183 Progress\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\n\
             From: <sip:1@192.0.2.1>;tag=ours\r\nTo: <sip:3@192.0.2.3>;tag={tag}\r\n\
             Call-ID: b\r\nCSeq: 1 INVITE\r\nContact: <sip:192.0.2.3>\r\nContent-Length: 0\r\n\r\n"
        );
        match Message::parse(Bytes::from(text), &Limits::default()) {
            Ok(Message::Response(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    fn flow() -> Flow {
        Flow::udp(ListenerId(0), "192.0.2.2:5060".parse().unwrap())
    }
}
