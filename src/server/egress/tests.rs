use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::http::whole;
use super::names::Found;
use super::*;
use crate::network::Network;

#[test]
fn no_spelling_of_an_address_that_is_not_public_gets_by() {
    let egress = strict();
    for (host, class) in [
        ("127.0.0.1", "loopback"),
        ("127.1", "loopback"),
        ("2130706433", "loopback"),
        ("0x7f000001", "loopback"),
        ("0x7f.1", "loopback"),
        ("0177.0.0.1", "loopback"),
        ("127.0.0.1.", "loopback"),
        ("%31%32%37.0.0.1", "loopback"),
        ("１２７.０.０.１", "loopback"),
        ("localhost", "loopback"),
        ("LOCALHOST.", "loopback"),
        ("a.localhost", "loopback"),
        ("[::1]", "loopback"),
        ("[0:0:0:0:0:0:0:1]", "loopback"),
        ("[::ffff:127.0.0.1]", "loopback"),
        ("[::ffff:7f00:1]", "loopback"),
        ("[64:ff9b::127.0.0.1]", "loopback"),
        ("[64:ff9b::a00:1]", "private"),
        ("[64:ff9b:1::a00:1]", "local_nat64"),
        ("[2002:7f00:1::]", "relay_6to4"),
        ("[2001:0:4136:e378:8000:63bf:80ff:fffe]", "teredo"),
        ("[::127.0.0.1]", "compatible_v4"),
        ("0", "this_network"),
        ("[::]", "this_network"),
        ("10.0.0.1", "private"),
        ("012.0.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "carrier_nat"),
        ("100.100.100.200", "carrier_nat"),
        ("169.254.169.254", "metadata"),
        ("0xa9fea9fe", "metadata"),
        ("[::ffff:a9fe:a9fe]", "metadata"),
        ("168.63.129.16", "metadata"),
        ("[fd00:ec2::254]", "private"),
        ("169.254.1.1", "link_local"),
        ("[fe80::1]", "link_local"),
        ("[fec0::1]", "private"),
        ("192.0.0.192", "protocol"),
        ("192.0.2.1", "documentation"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.1", "documentation"),
        ("[2001:db8::1]", "documentation"),
        ("[3fff::1]", "documentation"),
        ("192.88.99.1", "relay_6to4"),
        ("198.19.255.255", "benchmark"),
        ("224.0.0.1", "multicast"),
        ("[ff02::1]", "multicast"),
        ("255.255.255.255", "reserved"),
        ("[100::1]", "discard"),
        ("[5f00::1]", "segment_routing"),
        ("[4000::1]", "unassigned"),
    ] {
        let refused = egress.judge(&url(&format!("https://{host}/v1"))).expect_err(host);
        let told = format!("not public: {class} (");
        assert!(refused.problem.contains(&told), "{host}: {refused}");
        assert!(refused.remedy.contains("egress.allow_cidrs"), "{host}: {refused}");
    }
    // Nobody reads these as an address at all.
    for host in ["256.1.1.1", "1.2.3.4.5", "0x100000000", "[::1%25lo]", "[::1", "127.0.0.1.1."] {
        assert!(Url::parse(&format!("https://{host}/")).is_err(), "{host}");
    }
}

#[test]
fn whoever_is_public_may_be_asked() {
    let egress = strict();
    for host in [
        "8.8.8.8",
        "172.32.0.1",
        "100.128.0.1",
        "198.20.0.1",
        "[2606:4700::1111]",
        "[::ffff:8.8.8.8]",
        "[64:ff9b::808:808]",
        "lookup.example",
        "bücher.example",
        "localhost.example",
    ] {
        egress.judge(&url(&format!("https://{host}/v1"))).expect(host);
    }
}

#[test]
fn a_network_that_is_allowed_may_be_asked_and_none_beside_it() {
    let egress = allowing(&["10.1.0.0/16", "fd00:1::/64", "64:ff9b::a02:3/128", "::1"]);
    for host in ["10.1.2.3", "[::ffff:10.1.2.3]", "[fd00:1::7]", "[64:ff9b::a02:3]", "localhost"] {
        egress.judge(&url(&format!("https://{host}/"))).expect(host);
    }
    // What a translator has at a private address is none of the networks here.
    for host in ["10.2.0.1", "[fd00:2::7]", "[64:ff9b::a01:203]", "127.0.0.1"] {
        assert!(egress.judge(&url(&format!("https://{host}/"))).is_err(), "{host}");
    }
}

#[test]
fn clear_text_odd_ports_and_passwords_are_refused_each_with_what_to_do() {
    let told = |it: &str| strict().judge(&url(it)).expect_err(it).to_string();
    assert_eq!(
        told("http://lookup.example/"),
        "would be asked in clear text; write https://, or set egress.allow_http = true"
    );
    assert_eq!(
        told("https://lookup.example:6379/"),
        "asks at port 6379, and egress.ports has 80, 443, 8443; use one of them, or add 6379"
    );
    for with_user in ["https://us@a.example/", "https://:pw@a.example/", "https://a:b@1.1.1.1/"] {
        let refused = told(with_user);
        assert!(refused.starts_with("names a user or a password"), "{with_user}: {refused}");
    }
    let (plain, secret) = ("https://a.example", "https://me:secret@a.example/x");
    assert_eq!(shown(plain, &url(plain)), plain);
    assert_eq!(shown(secret, &url(secret)), "https://***@a.example/x");
    let from = Egress { source: Some(Ipv4Addr::LOCALHOST.into()), ..strict() };
    from.judge(&url("https://8.8.8.8/")).expect("it is of the same family");
    let refused = from.judge(&url("https://[2606:4700::1111]/")).expect_err("it is not");
    assert!(refused.problem.contains("127.0.0.1 cannot reach"), "{refused}");
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_the_second_time_leads_nowhere() {
    let (meant, meant_heard) = listen("127.0.0.2:0").await;
    // Another service of the same machine, at the same port.
    let (_, other_heard) = listen(&format!("127.0.0.1:{meant}")).await;
    let egress = Arc::new(Egress { ports: [meant].into(), ..allowing(&["127.0.0.2"]) });
    let egress = Arc::new(Egress { allows_http: true, ..Egress::clone(&egress) });
    let here = "127.0.0.1".parse().unwrap();
    let allowed: IpAddr = "127.0.0.2".parse().unwrap();
    let rebinds = Scripted::new(vec![
        vec![allowed],
        vec![here],
        vec!["::ffff:127.0.0.1".parse().unwrap()],
        vec![here, allowed],
        vec![],
    ]);
    let client = egress.client_by(None, rebinds);
    let ask = async || {
        let asked = client.post(&format!("http://lookup.test:{meant}/")).expect("it is judged");
        asked.send().await.map(|answer| answer.status().as_u16())
    };

    assert_eq!(ask().await.expect("it may be asked"), 200);
    for _ in 0..2 {
        let error = whole(&ask().await.expect_err("it leads elsewhere"));
        let told = "lookup.test leads to 127.0.0.1, which is not public: loopback (RFC 1122)";
        assert!(error.contains(told), "{error}");
    }
    assert_eq!(ask().await.expect("one of two may be asked"), 200);
    let error = whole(&ask().await.expect_err("it leads to nobody"));
    assert!(error.contains("lookup.test leads nowhere"), "{error}");

    assert_eq!(meant_heard.load(Ordering::SeqCst), 2);
    assert_eq!(other_heard.load(Ordering::SeqCst), 0, "it was connected to");
}

#[tokio::test]
async fn whoever_sends_elsewhere_is_not_followed() {
    let elsewhere = "HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\n";
    let (port, heard) = listen_saying("127.0.0.1:0", elsewhere).await;
    let egress = Egress { allows_http: true, ports: [port].into(), ..allowing(&["127.0.0.0/8"]) };
    let client = Arc::new(egress).client(None);

    let asked = client.post(&format!("http://127.0.0.1:{port}/")).unwrap().send().await.unwrap();

    assert_eq!((asked.status().as_u16(), heard.load(Ordering::SeqCst)), (307, 1));
}

/// Leads to each in turn.
struct Scripted {
    script: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(script: Vec<Vec<IpAddr>>) -> Self {
        Self { script, asked: AtomicUsize::new(0) }
    }
}

impl LookUp for Scripted {
    fn addresses(&self, _: &str) -> Found {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let found = self.script.get(asked).cloned().expect("the script goes so far");
        Box::pin(async { Ok(found) })
    }
}

async fn listen(at: &str) -> (u16, Arc<AtomicUsize>) {
    listen_saying(at, "HTTP/1.1 200 OK\r\n").await
}

/// Its port, and how many connections were made to it. It keeps none.
async fn listen_saying(at: &str, head: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(at).await.expect("there is a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let heard = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let head = format!("{head}Content-Length: 0\r\nConnection: close\r\n\r\n");
            let mut request = [0; 4_096];
            let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut request));
            let _request = read.await;
            let _said = stream.write_all(head.as_bytes()).await;
        }
    });
    (port, heard)
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn strict() -> Egress {
    allowing(&[])
}

fn allowing(networks: &[&str]) -> Egress {
    let networks: Vec<Network> = networks.iter().map(|it| it.parse().unwrap()).collect();
    Egress::new(&EgressSettings { allow_cidrs: networks, ..EgressSettings::default() })
}
