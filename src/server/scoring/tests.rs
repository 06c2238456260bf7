use tempfile::TempDir;

use super::*;
use crate::config::{Config, Format};
use crate::routing::RoutingConfig;
use crate::sip::transport::authority::{Authority, Issued};

#[test]
fn scorers_that_are_known_alike_share_a_client_and_those_without_tls_need_none() {
    let files = Files::new();
    let ca = files.authority.file.display();
    let scorers = [
        (1, format!("\"https://a.example/\", tls = {{ extra_ca = \"{ca}\" }}")),
        (2, format!("\"https://b.example/\", tls = {{ extra_ca = \"{ca}\" }}")),
        (3, String::from("\"https://c.example/\"")),
        (4, String::from("\"http://d.example/\"")),
    ];
    let scorers: String = scorers.iter().map(|(n, rest)| scorer(&n.to_string(), rest)).collect();

    let (read, written) = peers(&scorers).unwrap();
    let asked: Vec<_> = written.scorers.iter().map(|it| it.tls.clone()).collect();
    let clients = read.load(&config()).unwrap();

    assert!(asked[..3].iter().all(|tls| clients.of(Some(tls)).is_some()));
    assert_eq!(clients.ways(), 2);
    let none = ScorerPeers::default().load(&config()).unwrap();
    assert!(none.of(Some(&asked[2])).is_none());
    let later = none.following(&clients);
    assert_eq!(later.ways(), 2, "calls that are being decided go on");
}

#[test]
fn all_that_is_wrong_with_tls_to_scorers_is_told_with_its_place() {
    let files = Files::new();
    let other = files.authority.issue(&["other.example"]);
    let chain = files.shown.chain.display();
    let wrong =
        scorer("m", "\"https://a.example/\", tls = { client_cert = \"x\", pins = [\"f\"] }");
    let told = peers(&wrong).err().unwrap().to_string();
    for fault in [
        "scorers[0].tls.client_cert = x: stands alone; name both client_cert and client_key",
        "scorers[0].tls.pins[0] = f: ",
    ] {
        assert!(told.contains(fault), "{told}");
    }

    let missing = scorer("m", "\"https://a.example/\", tls = { extra_ca = \"/nowhere.pem\" }");
    let key = other.key.display();
    let of_another = format!(
        "\"https://a.example/\", tls = {{ client_cert = \"{chain}\", client_key = \"{key}\" }}"
    );
    let both = missing + &scorer("n", &of_another);
    let told = peers(&both).unwrap().0.load(&config()).err().unwrap().to_string();
    for fault in [
        "scorers[0].tls.extra_ca = /nowhere.pem: cannot be read",
        "scorers[1].tls.client_key = ",
        "is not the key of the first certificate",
    ] {
        assert!(told.contains(fault), "{told}");
    }
}

#[test]
fn whoever_is_not_verified_is_named() {
    let open = scorer("m", "\"https://a.example/\", tls = { verify = false }");
    let told: Vec<String> = peers(&open).unwrap().0.unverified().collect();
    assert!(told[0].starts_with("TLS to scorer m is NOT VERIFIED"), "{told:?}");
    let plain = scorer("m", "\"http://a.example/\"");
    assert_eq!(peers(&plain).unwrap().0.unverified().count(), 0);
}

struct Files {
    authority: Authority,
    shown: Issued,
    _folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let authority = Authority::new(folder.path(), "authority");
        let shown = authority.issue(&["shown.example"]);
        Self { authority, shown, _folder: folder }
    }
}

/// `rest` begins with its URL.
fn scorer(id: &str, rest: &str) -> String {
    format!("{{ id = \"{id}\", kind = \"http\", url = {rest} }},\n")
}

fn peers(scorers: &str) -> Result<(ScorerPeers, RoutingConfig), StartError> {
    let written: RoutingConfig = toml::from_str(&format!("scorers = [\n{scorers}]")).unwrap();
    Ok((ScorerPeers::compile(&config(), &written)?, written))
}

fn config() -> Config {
    let text = "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n";
    Config::parse("test.toml", text, Format::Toml, std::iter::empty(), &[]).unwrap()
}
