//! When a quiet connection is pinged, and when it is given up. Pure.

use tokio::time::Instant;

use super::event::CloseCause;
use super::options::{Keepalive, TcpOptions};

/// What the reader of one connection knows about time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Liveness {
    options: TcpOptions,
    heard_at: Instant,
    /// The unfinished message began to arrive.
    message_since: Option<Instant>,
    /// The last ping, if nothing was heard since.
    pinged_at: Option<Instant>,
}

/// What to do about silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Ping,
    Close(CloseCause),
}

impl Liveness {
    pub(super) fn new(options: TcpOptions, now: Instant) -> Self {
        Self { options, heard_at: now, message_since: None, pinged_at: None }
    }

    /// Something arrived; `inside_message` if it left a message unfinished, `frames` if it
    /// finished one.
    pub(super) fn heard(&mut self, now: Instant, frames: bool, inside_message: bool) {
        self.heard_at = now;
        self.pinged_at = None;
        let since = self.message_since.filter(|_| !frames).unwrap_or(now);
        self.message_since = inside_message.then_some(since);
    }

    pub(super) fn pinged(&mut self, now: Instant) {
        self.pinged_at = Some(now);
    }

    /// The next thing to do if nothing is heard until then; `sent_at` is when a message was last
    /// queued for the peer.
    pub(super) fn next(&self, sent_at: Instant) -> Option<(Instant, Due)> {
        let options = &self.options;
        let message = self
            .message_since
            .map(|since| (since + options.message_timeout, Due::Close(CloseCause::MessageTimeout)));
        let idle = options
            .idle_timeout
            .map(|timeout| (self.heard_at.max(sent_at) + timeout, Due::Close(CloseCause::Idle)));
        let keepalive = options.keepalive.map(|keepalive| self.next_keepalive(keepalive));
        [message, idle, keepalive].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn next_keepalive(&self, keepalive: Keepalive) -> (Instant, Due) {
        match (self.pinged_at, keepalive.pong_timeout) {
            (None, _) => (self.heard_at + keepalive.interval, Due::Ping),
            (Some(pinged_at), None) => (pinged_at + keepalive.interval, Due::Ping),
            (Some(pinged_at), Some(timeout)) => {
                (pinged_at + timeout, Due::Close(CloseCause::PongTimeout))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_silent_peer_is_pinged_and_then_given_up() {
        let mut liveness = Liveness::new(pinging(), start());
        assert_eq!(liveness.next(start()), Some((after(20), Due::Ping)));

        liveness.pinged(after(20));

        let give_up = Due::Close(CloseCause::PongTimeout);
        assert_eq!(liveness.next(start()), Some((after(30), give_up)));
        liveness.heard(after(25), true, false);
        assert_eq!(liveness.next(start()), Some((after(45), Due::Ping)));
    }

    #[test]
    fn a_message_has_to_be_whole_in_time_however_its_bytes_drip() {
        let mut liveness = Liveness::new(pinging(), start());

        liveness.heard(after(1), false, true);
        liveness.heard(after(4), false, true);
        let give_up = Due::Close(CloseCause::MessageTimeout);
        assert_eq!(liveness.next(start()), Some((after(11), give_up)));

        liveness.heard(after(5), true, true);
        assert_eq!(liveness.next(start()), Some((after(15), give_up)));
        liveness.heard(after(6), true, false);
        assert_eq!(liveness.next(start()), Some((after(26), Due::Ping)));
    }

    #[test]
    fn a_connection_is_idle_when_neither_side_says_anything() {
        let options = TcpOptions {
            keepalive: None,
            idle_timeout: Some(Duration::from_secs(60)),
            ..pinging()
        };
        let mut liveness = Liveness::new(options, start());
        liveness.heard(after(10), true, false);

        let idle = Due::Close(CloseCause::Idle);
        assert_eq!(liveness.next(start()), Some((after(70), idle)));
        assert_eq!(liveness.next(after(30)), Some((after(90), idle)));
    }

    fn pinging() -> TcpOptions {
        let interval = Duration::from_secs(20);
        let pong_timeout = Some(Duration::from_secs(10));
        TcpOptions {
            keepalive: Some(Keepalive { interval, pong_timeout }),
            ..TcpOptions::default()
        }
    }

    fn start() -> Instant {
        use std::sync::LazyLock;
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        *START
    }

    fn after(seconds: u64) -> Instant {
        start() + Duration::from_secs(seconds)
    }
}
