//! Names that the machine's own hosts file knows: what it says of them is all there is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::Hosts;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::sync::Mutex;

use crate::sip::locate::{Answer, Kind, Question};
use crate::time::Mono;

use super::resolver::read;

/// How long the file is used before it is read again, and an entry of it before it is asked for
/// again.
const HOSTS_TTL: Duration = Duration::from_secs(60);

/// The hosts file. One that cannot be read knows no names.
pub(super) struct HostsFile {
    path: PathBuf,
    known: Mutex<Option<(Mono, Arc<Hosts>)>>,
}

impl HostsFile {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), known: Mutex::default() }
    }

    /// Who asks next, reads the file as it is then.
    pub(super) async fn forget(&self) {
        *self.known.lock().await = None;
    }

    /// `None`: the file does not know the name.
    pub(super) async fn answer(&self, question: &Question, now: Mono) -> Option<Answer> {
        let host = match question.kind {
            Kind::Srv => question.name.splitn(3, '.').nth(2)?,
            Kind::Naptr | Kind::A | Kind::Aaaa => &question.name,
        };
        let hosts = self.hosts(now).await;
        let at_home = |kind| {
            let mut name = Name::from_ascii(host).ok()?;
            name.set_fqdn(true);
            hosts.lookup_static_host(&Query::query(name, kind))
        };
        let (v4, v6) = (at_home(RecordType::A), at_home(RecordType::AAAA));
        let found = match question.kind {
            Kind::A => v4.as_ref(),
            Kind::Aaaa => v6.as_ref(),
            Kind::Naptr | Kind::Srv => None,
        };
        if v4.is_none() && v6.is_none() {
            return None;
        }
        Some(match found.map(|found| read(question.kind, found.answers())) {
            Some(Answer::Found { records, .. }) => Answer::Found { records, ttl: HOSTS_TTL },
            Some(Answer::Nothing { .. } | Answer::Failed) | None => {
                Answer::Nothing { ttl: Some(HOSTS_TTL) }
            }
        })
    }

    /// Questions come many at a time: the first reads the file, and the others wait for it.
    async fn hosts(&self, now: Mono) -> Arc<Hosts> {
        let mut known = self.known.lock().await;
        if let Some((read_at, hosts)) = &*known
            && now.since(*read_at) < HOSTS_TTL
        {
            return Arc::clone(hosts);
        }
        let file = tokio::fs::read(&self.path).await.unwrap_or_default();
        let mut hosts = Hosts::default();
        if hosts.read_hosts_conf(&file[..]).is_err() {
            hosts = Hosts::default();
        }
        let hosts = Arc::new(hosts);
        *known = Some((now, Arc::clone(&hosts)));
        hosts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::locate::Records;

    #[tokio::test]
    async fn the_file_is_read_once_a_minute_however_many_names_are_asked_for_or_once_forgotten() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("hosts");
        let file = HostsFile::new(&path);
        let ask = async |name: &str, at_s: u64| {
            let question = Question { name: name.into(), kind: Kind::A };
            file.answer(&question, Mono(0) + Duration::from_secs(at_s)).await
        };
        let at = |text: &str| {
            let records = Records::Addresses(vec![text.parse().unwrap()]);
            Some(Answer::Found { records, ttl: HOSTS_TTL })
        };

        std::fs::write(&path, "192.0.2.1 buyer.example\n").unwrap();
        assert_eq!(ask("buyer.example", 0).await, at("192.0.2.1"));
        std::fs::write(&path, "192.0.2.2 buyer.example other.example\n").unwrap();
        assert_eq!(ask("buyer.example", 59).await, at("192.0.2.1"));
        assert_eq!(ask("other.example", 59).await, None);
        file.forget().await;
        assert_eq!(ask("other.example", 59).await, at("192.0.2.2"));
        std::fs::write(&path, "192.0.2.3 buyer.example other.example\n").unwrap();
        assert_eq!(ask("buyer.example", 118).await, at("192.0.2.2"));
        assert_eq!(ask("buyer.example", 119).await, at("192.0.2.3"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(ask("buyer.example", 178).await, at("192.0.2.3"));
        assert_eq!(ask("buyer.example", 179).await, None);
    }

    #[tokio::test]
    async fn of_a_name_in_the_file_nothing_else_is_looked_up() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("hosts");
        std::fs::write(&path, "192.0.2.1 buyer.example\n").unwrap();
        let file = HostsFile::new(&path);
        let nothing = Some(Answer::Nothing { ttl: Some(HOSTS_TTL) });

        for (name, kind) in [
            ("buyer.example", Kind::Aaaa),
            ("buyer.example", Kind::Naptr),
            ("_sip._udp.buyer.example", Kind::Srv),
        ] {
            let question = Question { name: name.into(), kind };
            assert_eq!(file.answer(&question, Mono(0)).await, nothing, "{name}");
        }
    }
}
