//! What of TLS is in force, and the watch over its files.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::{Mutex, watch};

use crate::config::Config;
use crate::sip::transport::{OwnCertificate, Stamp, Tcp, TlsSettings};
use crate::sip::trunk::TrunkIndex;
use crate::time::Mono;

use super::super::upkeep::Rounds;
use super::super::{StartError, clock, metrics as names};
use super::{TlsParties, TlsPlan};

const DAY: Duration = Duration::from_secs(86_400);

/// The plan that connections are made by.
pub(in crate::server) struct TlsInForce {
    tcp: Arc<Tcp>,
    now: Mutex<Now>,
}

struct Now {
    plan: TlsPlan,
    /// Of the files as they were read last.
    stamp: Stamp,
    certificates: Vec<OwnCertificate>,
    warned_at: Option<Mono>,
}

/// A plan that can be put in force: its files have been read.
pub(in crate::server) struct Followed {
    plan: TlsPlan,
    stamp: Stamp,
    files: TlsSettings,
}

impl Followed {
    pub(in crate::server) fn parties(&self) -> &TlsParties {
        self.plan.parties()
    }
}

impl TlsInForce {
    /// `files` are those that `plan` names.
    pub(in crate::server) fn new(tcp: Arc<Tcp>, plan: TlsPlan, files: TlsSettings) -> Self {
        let certificates = files.certificates().to_vec();
        plan.warn_of_unverified();
        tcp.set_tls(files);
        let stamp = plan.spec.stamp();
        let now = Mutex::new(Now { plan, stamp, certificates, warned_at: None });
        Self { tcp, now }
    }

    /// A new plan in the place of this one.
    ///
    /// # Errors
    /// See [`TlsPlan::following`], and all that is wrong with its files. Then nothing has changed.
    pub(in crate::server) async fn follow(
        &self,
        config: &Config,
        plan: TlsPlan,
        place: impl Fn(TrunkIndex) -> TrunkIndex,
    ) -> Result<Followed, StartError> {
        let now = self.now.lock().await;
        let Some(plan) = plan.following(&now.plan, place) else {
            let problem = "more of them have changed since the start than can be told apart";
            let remedy = "restart the server";
            let fault = (String::from("sip.tls"), String::new(), problem.into(), remedy.into());
            return Err(config.faults([fault]).into());
        };
        // Taken before the files are read: one that changes meanwhile is seen in the next round.
        let stamp = plan.spec.stamp();
        let files = plan.load(config)?;
        Ok(Followed { plan, stamp, files })
    }

    /// From now on connections are made by that plan.
    pub(in crate::server) async fn replace(&self, followed: Followed) {
        let Followed { plan, stamp, files } = followed;
        let mut now = self.now.lock().await;
        plan.warn_of_unverified();
        let certificates = files.certificates().to_vec();
        self.tcp.set_tls(files);
        *now = Now { plan, stamp, certificates, warned_at: None };
    }

    /// Reads files again when they change, and says when a certificate is about to end. What cannot
    /// be used changes nothing.
    pub(in crate::server) async fn watch(self: Arc<Self>, ended: watch::Receiver<bool>) {
        let (period, warning) = {
            let settings = &self.now.lock().await.plan.settings;
            (settings.reload, DAY * settings.expiry_warning_days)
        };
        let mut rounds = Rounds::new(period, ended);
        // There to be seen from the start.
        for result in ["ok", "refused"] {
            read_again(result).increment(0);
        }
        while rounds.next().await {
            let mut now = self.now.lock().await;
            now.follow_files(&self.tcp).await;
            now.tell_ends(warning);
        }
    }
}

impl Now {
    async fn follow_files(&mut self, tcp: &Tcp) {
        // Taken before the files are read: one that changes meanwhile is seen in the next round.
        let stamp = self.plan.spec.stamp();
        if stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        let spec = self.plan.spec.clone();
        match tokio::task::spawn_blocking(move || TlsSettings::load(&spec)).await {
            Ok(Ok(files)) => {
                self.certificates = files.certificates().to_vec();
                tcp.set_tls(files);
                self.warned_at = None;
                read_again("ok").increment(1);
                tracing::info!("TLS files changed; new connections use them");
            }
            Ok(Err(faults)) => {
                read_again("refused").increment(1);
                for fault in faults {
                    tracing::error!(%fault, "a changed TLS file cannot be used; the old ones stay");
                }
            }
            Err(_) => tracing::error!("reading TLS files panicked; the old ones stay"),
        }
    }

    /// Once a day at most.
    fn tell_ends(&mut self, warning: Duration) {
        let now = clock::mono();
        let is_due = self.warned_at.is_none_or(|at| now.since(at) >= DAY);
        for certificate in &self.certificates {
            let left = seconds_left(certificate);
            let file = certificate.file.display().to_string();
            gauge!(names::TLS_EXPIRY, "certificate" => file.clone()).set(left);
            if is_due && left < warning.as_secs_f64() {
                tracing::warn!(
                    name = certificate.name,
                    file,
                    days_left = (left / DAY.as_secs_f64()).floor(),
                    "a TLS certificate ends soon; put a new one in its place"
                );
            }
        }
        if is_due {
            self.warned_at = Some(now);
        }
    }
}

fn read_again(result: &'static str) -> metrics::Counter {
    counter!(names::TLS_RELOADS, "result" => result)
}

/// Negative once it has ended.
fn seconds_left(certificate: &OwnCertificate) -> f64 {
    certificate.not_after.as_secs_f64() - clock::wall().0 as f64 / 1000.0
}
