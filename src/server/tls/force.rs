//! What of TLS is in force, and the watch over its files.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::{Mutex, watch};

use crate::config::Config;
use crate::sip::transport::{OwnCertificate, Stamp, Tcp};
use crate::sip::trunk::TrunkIndex;
use crate::time::Mono;

use super::super::upkeep::Rounds;
use super::super::{StartError, clock, metrics as names};
use super::{TlsFiles, TlsParties, TlsPlan};

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
    /// When it was last told which of them end soon.
    warned_at: Option<Mono>,
}

/// A plan that can be put in force: its files have been read.
pub(in crate::server) struct Followed {
    plan: TlsPlan,
    files: TlsFiles,
}

impl Followed {
    pub(in crate::server) fn parties(&self) -> &TlsParties {
        self.plan.parties()
    }
}

impl TlsInForce {
    /// `files` are those that `plan` names.
    pub(in crate::server) fn new(tcp: Arc<Tcp>, plan: TlsPlan, files: TlsFiles) -> Self {
        plan.warn_of_unverified();
        let TlsFiles { stamp, settings } = files;
        let certificates = settings.certificates().to_vec();
        tcp.set_tls(settings);
        let now = Mutex::new(Now { plan, stamp, certificates, warned_at: None });
        Self { tcp, now }
    }

    /// A new plan in the place of this one, with the files that it names.
    ///
    /// # Errors
    /// See [`TlsPlan::following`]. Then nothing has changed.
    pub(in crate::server) async fn follow(
        &self,
        config: &Config,
        plan: TlsPlan,
        files: TlsFiles,
        place: impl Fn(TrunkIndex) -> TrunkIndex,
    ) -> Result<Followed, StartError> {
        let now = self.now.lock().await;
        let Some((plan, numbers)) = plan.following(&now.plan, place) else {
            let problem = "more of them have changed since the start than can be told apart";
            let remedy = "restart the server";
            let fault = (String::from("sip.tls"), String::new(), problem.into(), remedy.into());
            return Err(config.faults([fault]).into());
        };
        let settings = files.settings.renumbered(|peer| numbers[&peer]);
        Ok(Followed { plan, files: TlsFiles { settings, ..files } })
    }

    /// From now on connections are made by that plan.
    pub(in crate::server) async fn replace(&self, followed: Followed) {
        let Followed { plan, files } = followed;
        plan.warn_of_unverified();
        let mut now = self.now.lock().await;
        now.plan = plan;
        now.take(files, &self.tcp);
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
        let stamp = self.plan.spec.stamp();
        if stamp == self.stamp {
            return;
        }
        // What cannot be used is not tried again until it is something else.
        self.stamp = stamp;
        let spec = self.plan.spec.clone();
        match tokio::task::spawn_blocking(move || TlsFiles::load(&spec)).await {
            Ok(Ok(files)) => {
                self.take(files, tcp);
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

    /// New connections are made with these files.
    fn take(&mut self, files: TlsFiles, tcp: &Tcp) {
        let TlsFiles { stamp, settings } = files;
        let certificates = settings.certificates().to_vec();
        tcp.set_tls(settings);
        self.stamp = stamp;
        if certificates == self.certificates {
            return;
        }
        // A series cannot be taken away, and a gone certificate must alarm nobody.
        let files: BTreeSet<&PathBuf> = certificates.iter().map(|it| &it.file).collect();
        for gone in self.certificates.iter().filter(|it| !files.contains(&it.file)) {
            expiry_of(gone).set(f64::NAN);
        }
        self.certificates = certificates;
        self.warned_at = None;
    }

    /// Once a day at most.
    fn tell_ends(&mut self, warning: Duration) {
        let now = clock::mono();
        let is_due = self.warned_at.is_none_or(|at| now.since(at) >= DAY);
        for certificate in &self.certificates {
            let left = seconds_left(certificate);
            let file = certificate.file.display().to_string();
            expiry_of(certificate).set(left);
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

fn expiry_of(certificate: &OwnCertificate) -> metrics::Gauge {
    gauge!(names::TLS_EXPIRY, "certificate" => certificate.file.display().to_string())
}

/// Negative once it has ended.
fn seconds_left(certificate: &OwnCertificate) -> f64 {
    certificate.not_after.as_secs_f64() - clock::wall().0 as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use metrics_exporter_prometheus::PrometheusBuilder;
    use tempfile::TempDir;

    use super::*;
    use crate::config::Format;
    use crate::server::{Compiled, compile, compile_and_load};
    use crate::sip::transport::authority::{Authority, Issued};
    use crate::sip::transport::{Steering, TcpOptions, TcpSink};

    #[tokio::test]
    async fn a_file_that_changed_between_its_reading_and_the_start_is_read_again() {
        let world = World::new();
        let (_, plan, files) = world.load(&[&world.own]);
        let renewed = world.authority.issue_until(&["renewed.example"], 2090);
        std::fs::copy(&renewed.chain, &world.own.chain).unwrap();
        std::fs::copy(&renewed.key, &world.own.key).unwrap();

        let force = TlsInForce::new(Arc::clone(&world.tcp), plan, files);
        let mut now = force.now.lock().await;
        let ends = now.certificates[0].not_after;
        now.follow_files(&world.tcp).await;
        assert!(now.certificates[0].not_after < ends);
        let stamp = now.stamp.clone();
        now.follow_files(&world.tcp).await;
        assert_eq!(now.stamp, stamp);
    }

    #[tokio::test]
    async fn a_new_plan_takes_the_files_that_were_read_for_it_and_none_is_read_twice() {
        let world = World::new();
        let (first, second) =
            (world.authority.issue(&["a.example"]), world.authority.issue(&["b.example"]));
        let (_, plan, files) = world.load(&[&first]);
        let force = TlsInForce::new(Arc::clone(&world.tcp), plan, files);

        // The one that was there comes behind another.
        let (config, plan, files) = world.load(&[&second, &first]);
        let stamp = plan.spec.stamp();
        for gone in [&first, &second, &world.own] {
            std::fs::remove_file(&gone.chain).unwrap();
        }
        let same = |trunk: TrunkIndex| trunk;
        let followed = force.follow(&config, plan, files, same).await.unwrap();
        force.replace(followed).await;
        let now = force.now.lock().await;
        assert_eq!(now.stamp, stamp, "whatever numbers its peers have got");
        assert_eq!(now.certificates.len(), 3);
        let _no_file_is_needed = compile(&config, 1).unwrap();
    }

    #[tokio::test]
    async fn a_certificate_that_is_shown_no_more_alarms_nobody_and_others_are_told_once_a_day() {
        let world = World::new();
        let (old, new) =
            (world.authority.issue(&["old.example"]), world.authority.issue(&["new.example"]));
        let recorder = PrometheusBuilder::new().build_recorder();
        let left = |certificate: &Issued| {
            let text = recorder.handle().render();
            let file = certificate.chain.display().to_string();
            let line = text.lines().find(|line| line.contains(&file))?;
            line.split(' ').next_back()?.parse::<f64>().ok()
        };
        let (_, plan, files) = world.load(&[&old]);
        let force = TlsInForce::new(Arc::clone(&world.tcp), plan, files);
        let mut now = force.now.lock().await;
        let mut follow = |shown: &[&Issued]| {
            let (_, _, files) = world.load(shown);
            metrics::with_local_recorder(&recorder, || {
                now.take(files, &world.tcp);
                let told = now.warned_at;
                now.tell_ends(DAY);
                told
            })
        };

        assert_eq!(follow(&[&old]), None, "the first time");
        assert!(left(&old).unwrap() > 0.0);
        assert!(follow(&[&old]).is_some(), "the same are not told again");
        assert_eq!(follow(&[&new]), None);
        assert!(left(&old).unwrap().is_nan());
        assert!(left(&new).unwrap() > 0.0);
        follow(&[&old]);
        assert!(left(&old).unwrap() > 0.0, "it is back");
    }

    struct World {
        authority: Authority,
        /// What the server shows.
        own: Issued,
        tcp: Arc<Tcp>,
        _folder: TempDir,
    }

    impl World {
        fn new() -> Self {
            let folder = TempDir::new().unwrap();
            let authority = Authority::new(folder.path(), "authority");
            let own = authority.issue(&["own.example"]);
            let (sender, _) = tokio::sync::mpsc::channel(1);
            let sink = TcpSink::new(Steering::new(1, 0), vec![sender]);
            let tcp = Tcp::new(TcpOptions::default(), Arc::new(|_, _| false), sink);
            Self { authority, own, tcp: Arc::new(tcp), _folder: folder }
        }

        /// A plan with a target for each of these, to which it is shown, and its files.
        fn load(&self, shown: &[&Issued]) -> (Config, TlsPlan, TlsFiles) {
            let quoted = |path: &Path| format!("{:?}", path.display().to_string());
            let (chain, key) = (quoted(&self.own.chain), quoted(&self.own.key));
            let mut text = format!(
                "[sip]\nlisten = [\"tls:127.0.0.1:5061\"]\n[sip.tls]\n\
                 certificates = [{{ chain_file = {chain}, key_file = {key} }}]\n\
                 [[buyers]]\nid = \"b\"\n"
            );
            for Issued { chain, key } in shown {
                let (name, chain, key) =
                    (chain.file_name().unwrap().to_str().unwrap(), quoted(chain), quoted(key));
                let id = name.split('.').next().unwrap();
                text += &format!(
                    "[[targets]]\nid = \"{id}\"\nbuyer = \"b\"\n[targets.dial]\nkind = \"sip\"\n\
                     uri = \"sips:{id}.example\"\n\
                     tls = {{ client_cert = {chain}, client_key = {key} }}\n"
                );
            }
            let none = std::iter::empty();
            let config = Config::parse("test.toml", &text, Format::Toml, none, &[]).unwrap();
            let (Compiled { tls, .. }, loaded) = compile_and_load(&config, 1).unwrap();
            (config, tls, loaded.tls)
        }
    }
}
