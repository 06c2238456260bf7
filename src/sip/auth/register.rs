//! Keeping a registration alive, RFC 3261 §10.2 and RFC 5626 §4.5.
//!
//! The machine says when to register where; whoever owns it sends the request and tells how it
//! ended. Chance comes in as a number, so that many edges do not register in one instant.
//!
//! ```text
//! Waiting ─► Asking ─ accepted ─► Registered ─ in time ─► Asking
//!    ▲          └ refused, silent: the next server; after the last one a pause that grows
//!    └──────────────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use smol_str::SmolStr;

use super::Account;
use crate::time::Mono;

/// Pause after all servers have failed, and the longest it grows to (RFC 5626 §4.5).
const PAUSE: Duration = Duration::from_secs(30);
const PAUSE_MAX: Duration = Duration::from_secs(1800);

/// Over how long the first registrations of a process are spread.
const START_SPREAD: Duration = Duration::from_secs(2);

/// `register` of a trunk, as written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationConfig {
    /// SIP URIs of the carrier's registrars, the preferred one first.
    pub servers: Vec<SmolStr>,
    /// How long a registration is asked for, 60 to 86,400 s; the carrier may shorten it.
    #[serde(default = "default_expires_s")]
    pub expires_s: u32,
}

fn default_expires_s() -> u32 {
    300
}

/// One account at one carrier.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    pub account: Arc<Account>,
    servers: Arc<[Bytes]>,
    wanted_s: u32,
    /// The server that is asked, or asked next.
    server: usize,
    /// Servers that failed in a row.
    failures: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting { until: Mono },
    Asking,
    Registered { refresh_at: Mono },
    Stopped,
}

/// A REGISTER to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The Request-URI.
    pub server: Bytes,
    /// Zero takes the registration back.
    pub expires_s: u32,
}

/// How a REGISTER ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// 2xx; with what the server said of its length.
    Accepted { expires_s: Option<u32> },
    /// 423 with the least it takes.
    TooBrief { least_s: u32 },
    /// Any other answer, none, or nowhere to send it.
    Failed,
}

impl Registration {
    /// `chance` spreads the first request.
    pub fn new(
        account: Arc<Account>,
        servers: Arc<[Bytes]>,
        expires_s: u32,
        chance: u64,
        now: Mono,
    ) -> Self {
        Self {
            account,
            servers,
            wanted_s: expires_s,
            server: 0,
            failures: 0,
            state: State::Waiting { until: now + part(START_SPREAD, 0, 100, chance) },
        }
    }

    pub fn deadline(&self) -> Option<Mono> {
        match self.state {
            State::Waiting { until: at } | State::Registered { refresh_at: at } => Some(at),
            State::Asking | State::Stopped => None,
        }
    }

    pub fn handle_timeout(&mut self, now: Mono) -> Option<Ask> {
        self.deadline().filter(|deadline| *deadline <= now)?;
        self.ask()
    }

    /// The request asked for has ended.
    pub fn ended(&mut self, ending: Ending, chance: u64, now: Mono) -> Option<Ask> {
        if self.state != State::Asking {
            return None;
        }
        match ending {
            Ending::Accepted { expires_s } => {
                self.failures = 0;
                let granted = expires_s.unwrap_or(self.wanted_s).max(1);
                let length = Duration::from_secs(u64::from(granted));
                // Early enough for a second try, and not all in one instant.
                self.state = State::Registered { refresh_at: now + part(length, 70, 85, chance) };
                None
            }
            Ending::TooBrief { least_s } if least_s > self.wanted_s => {
                self.wanted_s = least_s;
                self.ask()
            }
            Ending::TooBrief { .. } | Ending::Failed => {
                self.failures += 1;
                let servers = u32::try_from(self.servers.len()).unwrap_or(1).max(1);
                self.server = (self.server + 1) % self.servers.len().max(1);
                if !self.failures.is_multiple_of(servers) {
                    return self.ask();
                }
                let rounds = self.failures / servers;
                let doublings = (rounds - 1).min(10);
                let pause = (PAUSE * 2_u32.pow(doublings)).min(PAUSE_MAX);
                self.state = State::Waiting { until: now + part(pause, 50, 100, chance) };
                None
            }
        }
    }

    /// The process takes no more calls: what is registered is taken back.
    pub fn stop(&mut self) -> Option<Ask> {
        let registered = matches!(self.state, State::Registered { .. } | State::Asking);
        self.state = State::Stopped;
        let server = self.servers.get(self.server).filter(|_| registered)?.clone();
        Some(Ask { server, expires_s: 0 })
    }

    pub fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    pub fn is_registered(&self) -> bool {
        matches!(self.state, State::Registered { .. })
    }

    fn ask(&mut self) -> Option<Ask> {
        let server = self.servers.get(self.server)?.clone();
        self.state = State::Asking;
        Some(Ask { server, expires_s: self.wanted_s })
    }
}

/// From `low` to `high` per cent of `whole`, where chance falls.
fn part(whole: Duration, low: u32, high: u32, chance: u64) -> Duration {
    let span = u64::from(high - low) * 10;
    let per_mille = u64::from(low) * 10 + chance % (span + 1);
    whole * u32::try_from(per_mille).unwrap_or(1000) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::auth::AccountConfig;

    #[test]
    fn it_registers_and_refreshes_before_the_end() {
        let mut registration = registration(&["sip:a"]);

        assert_eq!(registration.deadline(), Some(at(0)));
        assert_eq!(registration.handle_timeout(at(0)), ask("sip:a", 300));
        let accepted = Ending::Accepted { expires_s: Some(100) };
        assert_eq!(registration.ended(accepted, 0, at(1)), None);

        assert!(registration.is_registered());
        assert_eq!(registration.deadline(), Some(at(71)));
        assert_eq!(registration.handle_timeout(at(71)), ask("sip:a", 300));
        assert_eq!(registration.ended(accepted, 150, at(71)), None);
        assert_eq!(registration.deadline(), Some(at(156)), "chance moves it");
    }

    #[test]
    fn a_failed_server_is_followed_by_the_next_and_the_last_by_a_pause_that_grows() {
        let mut registration = registration(&["sip:a", "sip:b"]);
        registration.handle_timeout(at(0));

        assert_eq!(registration.ended(Ending::Failed, 0, at(1)), ask("sip:b", 300));
        assert_eq!(registration.ended(Ending::Failed, 500, at(2)), None);
        assert_eq!(registration.deadline(), Some(at(32)));
        assert_eq!(registration.handle_timeout(at(32)), ask("sip:a", 300));
        assert_eq!(registration.ended(Ending::Failed, 0, at(33)), ask("sip:b", 300));
        assert_eq!(registration.ended(Ending::Failed, 500, at(34)), None);
        assert_eq!(registration.deadline(), Some(at(94)), "twice as long");
    }

    #[test]
    fn too_short_a_registration_is_asked_for_again_once() {
        let mut registration = registration(&["sip:a"]);
        registration.handle_timeout(at(0));

        let brief = Ending::TooBrief { least_s: 900 };
        assert_eq!(registration.ended(brief, 0, at(1)), ask("sip:a", 900));
        assert_eq!(registration.ended(brief, 0, at(2)), None, "no endless talk");
    }

    #[test]
    fn what_is_registered_is_taken_back_at_the_end() {
        let mut registration = registration(&["sip:a"]);
        registration.handle_timeout(at(0));
        registration.ended(Ending::Accepted { expires_s: None }, 0, at(1));

        assert_eq!(registration.stop(), ask("sip:a", 0));
        assert_eq!(registration.deadline(), None);
        assert_eq!(registration.stop(), None);
    }

    fn registration(servers: &[&'static str]) -> Registration {
        let config = serde_json::json!({ "username": "u", "password": "p" });
        let config: AccountConfig = serde_json::from_value(config).unwrap();
        let account = Arc::new(Account::new("trunk/t".into(), &config));
        let servers = servers.iter().map(|it| Bytes::from_static(it.as_bytes())).collect();
        Registration::new(account, servers, 300, 0, at(0))
    }

    #[expect(clippy::unnecessary_wraps, reason = "compared with what the machine returns")]
    fn ask(server: &'static str, expires_s: u32) -> Option<Ask> {
        Some(Ask { server: Bytes::from_static(server.as_bytes()), expires_s })
    }

    fn at(s: u64) -> Mono {
        Mono(0) + Duration::from_secs(s)
    }
}
