//! Targets that are names: where their calls go, told by a name server of the test (spec/sip T15,
//! T16, T17, C6, T9). Hosts are addresses of 127.0.0.0/8.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::peer::{Heard, Line, SDP, response, with_body};
use super::{Call, Stage, play};
use crate::support::dns::Dns;
use crate::support::{api, http, ports, wait_for};

#[test]
fn a_name_leads_by_naptr_and_srv_to_the_port_and_host_they_name() {
    let port = ports::block(1).unwrap();
    let dns = Dns::start(&format!(
        "b.test 60 NAPTR 10 10 SIP+D2U _u.b.test
         b.test 60 NAPTR 20 10 SIP+D2T _t.b.test
         _u.b.test 60 SRV 10 10 {port} one.test
         one.test 60 A 127.0.0.2
         b.test 60 A 127.0.0.9"
    ))
    .unwrap();
    play(&[&dns.settings(), "targets.alone.dial.uri=sip:b.test"], |stage| {
        let (mut caller, mut host) = (stage.udp()?, host(stage, 2, port)?);
        let call = Call::up(stage, &mut caller, &mut host, "named", &[])?;
        let uri = call.offered.start().to_owned();
        ensure!(uri == "INVITE sip:+18005550150@b.test SIP/2.0", "{uri}");
        call.end(&mut caller, &mut host)?;
        ensure!(dns.asked("one.test A") == 1, "asked once, not for every call");
        ensure!(dns.asked("b.test A") == 0, "nobody needs it");
        stage.is_clean()
    });
}

#[test]
fn calls_are_spread_over_hosts_by_their_weight() {
    let port = ports::block(1).unwrap();
    let dns = Dns::start(&format!(
        "_sip._udp.b.test 60 SRV 10 80 {port} one.test
         _sip._udp.b.test 60 SRV 10 20 {port} two.test
         _sip._udp.b.test 60 SRV 20 99 {port} three.test
         one.test 60 A 127.0.0.2
         two.test 60 A 127.0.0.3
         three.test 60 A 127.0.0.4"
    ))
    .unwrap();
    play(&[&dns.settings(), "targets.alone.dial.uri=sip:b.test"], |stage| {
        let mut caller = stage.udp()?;
        let mut hosts = [host(stage, 2, port)?, host(stage, 3, port)?, host(stage, 4, port)?];
        let mut taken = [0; 3];
        for n in 0..60 {
            let id = format!("spread{n}");
            caller.send(with_body(&caller, &stage.invite(), &id, &[], SDP))?;
            let place = wait_for("an INVITE at a host", Duration::from_secs(3), || {
                for (place, host) in hosts.iter_mut().enumerate() {
                    if let Some(heard) = host.hear(Duration::from_millis(2))?
                        && heard.kind() == "INVITE"
                    {
                        host.send(response(host, &heard, "603 Decline", &[], ""))?;
                        return Ok(Some(place));
                    }
                }
                Ok(None)
            })?;
            taken[place] += 1;
            caller.expect("603 INVITE")?;
        }
        ensure!(taken[2] == 0, "one of a higher priority value: {taken:?}");
        ensure!(taken[0] >= 36 && taken[1] >= 3, "four to one: {taken:?}");
        stage.is_clean()
    });
}

#[test]
fn a_name_that_moves_is_followed_when_its_time_is_over_and_not_forgotten_while_nobody_answers() {
    let port = ports::block(1).unwrap();
    let dns = Dns::start("b.test 1 A 127.0.0.2").unwrap();
    let uri = format!("targets.alone.dial.uri=sip:b.test:{port}");
    play(&[&dns.settings(), &uri], |stage| {
        let mut caller = stage.udp()?;
        let (mut old, mut new) = (host(stage, 2, port)?, host(stage, 3, port)?);
        Call::up(stage, &mut caller, &mut old, "before", &[])?.end(&mut caller, &mut old)?;

        dns.tell("b.test 1 A 127.0.0.3")?;
        let asked = dns.asked("b.test A");
        wait_for("the name to be asked for again", Duration::from_secs(4), || {
            Ok((dns.asked("b.test A") >= asked + 2).then_some(()))
        })?;
        Call::up(stage, &mut caller, &mut new, "after", &[])?.end(&mut caller, &mut new)?;

        dns.be_silent(true);
        wait_for("questions without answers", Duration::from_secs(5), || {
            let metrics = api::metrics(stage.api)?;
            Ok((metrics.get("tollbridge_dns_unanswered_questions") > Some(&0.0)).then_some(()))
        })?;
        Call::up(stage, &mut caller, &mut new, "stale", &[])?.end(&mut caller, &mut new)?;
        old.expect_silence(Duration::from_millis(20))?;
        stage.is_clean()
    });
}

#[test]
fn a_name_that_does_not_exist_fails_its_calls_at_once_and_works_once_it_does() {
    let port = ports::block(1).unwrap();
    let dns = Dns::start("").unwrap();
    let uri = format!("targets.alone.dial.uri=sip:b.test:{port}");
    play(&[&dns.settings(), &uri], |stage| {
        let (mut caller, mut host) = (stage.udp()?, host(stage, 2, port)?);
        caller.send(with_body(&caller, &stage.invite(), "nowhere", &[], SDP))?;
        caller.expect("500 INVITE")?;
        ensure!(stage.log().contains("a name leads nowhere"), "nobody is told");

        dns.tell("b.test 60 A 127.0.0.2")?;
        wait_for("the name to be found", Duration::from_secs(4), || {
            Ok((api::metrics(stage.api)?.get("tollbridge_dns_lost_names") == Some(&0.0))
                .then_some(()))
        })?;
        Call::up(stage, &mut caller, &mut host, "there", &[])?.end(&mut caller, &mut host)?;
        stage.is_clean()
    });
}

#[test]
fn of_three_hosts_the_dead_and_the_busy_are_left_and_the_next_call_begins_at_the_good_one() {
    let port = ports::block(1).unwrap();
    let dns = Dns::start(&three_hosts(port)).unwrap();
    play(&[&dns.settings(), "targets.alone.dial.uri=sip:b.test"], |stage| {
        let mut caller = stage.udp()?;
        // Nobody is at 127.0.0.2.
        let (mut busy, mut good) = (host(stage, 3, port)?, host(stage, 4, port)?);
        let began = Instant::now();
        caller.send(with_body(&caller, &stage.invite(), "hunted", &[], SDP))?;
        let offered = busy.expect("INVITE")?;
        let retry_after = ["Retry-After: 120"];
        busy.send(response(&busy, &offered, "503 Service Unavailable", &retry_after, ""))?;
        let ack = busy.expect("ACK")?;
        ensure!(branch(&ack) == branch(&offered), "the ACK is of the INVITE: {}", ack.text);
        let call = Call::answered(&mut caller, &mut good)?;
        ensure!(began.elapsed() < Duration::from_secs(2), "nobody waited for anybody");
        ensure!(branch(&call.offered) != branch(&offered), "a branch of its own");
        ensure!(call.offered.header("Call-ID") == offered.header("Call-ID"), "the same call");
        call.end(&mut caller, &mut good)?;

        let call = Call::up(stage, &mut caller, &mut good, "at-once", &[])?;
        busy.expect_silence(Duration::from_millis(50))?;
        call.end(&mut caller, &mut good)?;

        let calls = wait_for("both records", Duration::from_secs(3), || {
            let calls = api::calls(stage.api)?;
            Ok((calls.len() == 2 && calls.iter().all(api::Call::is_over)).then_some(calls))
        })?;
        ensure!(calls.iter().all(|call| call.attempts.len() == 1), "{calls:#?}");
        let hunted = calls.iter().find(|call| call.sip_call_id == "hunted").context("no record")?;
        let reply = http::get(stage.api, &format!("/v1/calls/{}", hunted.call_id))?;
        let left = [format!("udp:127.0.0.2:{port}: "), format!("udp:127.0.0.3:{port}: 503; ")];
        ensure!(left.iter().all(|it| reply.body.contains(it)), "{}", reply.body);
        stage.is_clean()
    });
}

#[test]
fn a_silent_host_is_left_after_its_first_response_time() {
    let port = ports::block(1).unwrap();
    let dns = Dns::start(&three_hosts(port)).unwrap();
    let set = [
        &dns.settings(),
        "targets.alone.dial.uri=sip:b.test",
        "targets.alone.first_response_ms=400",
    ];
    play(&set, |stage| {
        let mut caller = stage.udp()?;
        let (mut silent, mut good) = (host(stage, 2, port)?, host(stage, 3, port)?);
        caller.send(with_body(&caller, &stage.invite(), "patient", &[], SDP))?;
        silent.expect("INVITE")?;
        let call = Call::answered(&mut caller, &mut good)?;
        call.end(&mut caller, &mut good)?;
        stage.is_clean()
    });
}

#[test]
fn where_all_hosts_are_down_they_are_called_all_the_same() {
    let port = ports::block(1).unwrap();
    let dns = Dns::start(&three_hosts(port)).unwrap();
    play(&[&dns.settings(), "targets.alone.dial.uri=sip:b.test"], |stage| {
        let mut caller = stage.udp()?;
        caller.send(with_body(&caller, &stage.invite(), "in-vain", &[], SDP))?;
        caller.expect("500 INVITE")?;

        let mut back = host(stage, 3, port)?;
        Call::up(stage, &mut caller, &mut back, "again", &[])?.end(&mut caller, &mut back)?;
        stage.is_clean()
    });
}

#[test]
fn nobody_at_a_host_is_learnt_at_once_whichever_shard_the_kernel_tells() {
    let port = ports::block(1).unwrap();
    let nowhere = format!("targets.alone.dial.uri=sip:127.0.0.2:{port}");
    play(&["sip.shards=4", &nowhere], |stage| {
        let mut caller = stage.udp()?;
        for n in 0..16 {
            let id = format!("gone{n}");
            caller.send(with_body(&caller, &stage.invite(), &id, &[], SDP))?;
            caller.expect("500 INVITE")?;
        }
        stage.is_clean()
    });
}

#[test]
fn a_target_that_fails_its_probes_is_passed_over_until_it_answers_them_again() {
    let probe = "targets.first.sip={ probe = { interval_s = 1, timeout_ms = 300, down_after = 2, \
                 up_after = 1 } }";
    play(&[probe], |stage| {
        let (mut caller, mut first) = (stage.udp()?, stage.target()?);
        let second = UdpSocket::bind((Ipv4Addr::LOCALHOST, stage.spare_port))?;
        let mut second = Line::udp(second, stage.sip)?;
        let gauge = "tollbridge_target_addresses_up";
        let probed = |first: &mut Line, status: &str, up: f64| {
            wait_for("what probes find", Duration::from_secs(6), || {
                if let Some(heard) = first.hear(Duration::from_millis(50))?
                    && heard.kind() == "OPTIONS"
                {
                    first.send(response(first, &heard, status, &[], ""))?;
                }
                Ok((api::metrics(stage.api)?.get(gauge) == Some(&up)).then_some(()))
            })
        };
        probed(&mut first, "503 Service Unavailable", 0.0)?;
        for n in 0..2 {
            let id = format!("around{n}");
            let invite = stage.invite_to("+18005550100");
            caller.send(with_body(&caller, &invite, &id, &[], SDP))?;
            Call::answered(&mut caller, &mut second)?.end(&mut caller, &mut second)?;
        }
        let record = wait_for("the record", Duration::from_secs(3), || {
            let found = api::calls(stage.api)?.into_iter().find(|it| it.sip_call_id == "around0");
            Ok(found.filter(api::Call::is_over))
        })?;
        let reply = http::get(stage.api, &format!("/v1/calls/{}/explain", record.call_id))?;
        ensure!(reply.body.contains("target.down"), "{}", reply.body);

        // 404 says that somebody is there.
        probed(&mut first, "404 Not Found", 1.0)?;
        let invite = stage.invite_to("+18005550100");
        caller.send(with_body(&caller, &invite, "back", &[], SDP))?;
        wait_for("the INVITE at the first target", Duration::from_secs(3), || {
            let heard = first.hear(Duration::from_millis(50))?;
            Ok(heard.filter(|heard| heard.kind() == "INVITE"))
        })?;
        Ok(())
    });
}

#[test]
fn an_invite_too_long_for_a_datagram_goes_over_tcp_where_the_target_takes_it() {
    play(&["targets.alone.sip={ long_over_tcp = true }"], |stage| {
        let mut caller = stage.udp()?;
        let target = stage.target()?;
        let listener = TcpListener::bind(target.local)?;
        caller.send(with_body(&caller, &stage.invite(), "long", &[], &long_body()))?;
        let mut over_tcp = Line::accepted(&listener, stage.sip)?;
        let call = Call::answered(&mut caller, &mut over_tcp)?;
        let invite = &call.offered;
        ensure!(invite.text.len() > 1_300, "{}", invite.text);
        ensure!(invite.header("Via").is_some_and(|via| via.starts_with("SIP/2.0/TCP ")));
        ensure!(invite.header("Contact").is_some_and(|it| it.ends_with(";transport=tcp>")));
        call.end(&mut caller, &mut over_tcp)?;

        let (mut caller, mut target) = (stage.udp()?, target);
        Call::up(stage, &mut caller, &mut target, "short", &[])?.end(&mut caller, &mut target)?;
        stage.is_clean()
    });
}

#[test]
fn where_nobody_takes_tcp_a_long_invite_is_a_datagram_after_all() {
    play(&["targets.alone.sip={ long_over_tcp = true }"], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        caller.send(with_body(&caller, &stage.invite(), "refused", &[], &long_body()))?;
        let call = Call::answered(&mut caller, &mut target)?;
        ensure!(call.offered.header("Via").is_some_and(|via| via.starts_with("SIP/2.0/UDP ")));
        call.end(&mut caller, &mut target)?;
        stage.is_clean()
    });
}

#[test]
fn a_target_that_long_invites_go_to_as_datagrams_is_named_once() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        for id in ["long-a", "long-b"] {
            caller.send(with_body(&caller, &stage.invite(), id, &[], &long_body()))?;
            Call::answered(&mut caller, &mut target)?.end(&mut caller, &mut target)?;
        }
        let told = stage.log().matches("are too long for a datagram").count();
        ensure!(told == 1, "told {told} times: {}", stage.log());
        wait_for("the count", Duration::from_secs(3), || {
            let counted =
                api::metrics(stage.api)?.get("tollbridge_sip_long_requests_total").copied();
            Ok((counted == Some(2.0)).then_some(()))
        })?;
        stage.is_clean()
    });
}

/// A session description of more than a datagram should hold.
fn long_body() -> String {
    format!("{SDP}{}", "a=x-padding:0123456789abcdef\r\n".repeat(50))
}

/// `b.test` is at 127.0.0.2, .3 and .4, in this order.
fn three_hosts(port: u16) -> String {
    format!(
        "_sip._udp.b.test 60 SRV 10 0 {port} one.test
         _sip._udp.b.test 60 SRV 20 0 {port} two.test
         _sip._udp.b.test 60 SRV 30 0 {port} three.test
         one.test 60 A 127.0.0.2
         two.test 60 A 127.0.0.3
         three.test 60 A 127.0.0.4"
    )
}

fn branch(heard: &Heard) -> Option<&str> {
    heard.header("Via")?.split("branch=").nth(1)
}

/// A host at 127.0.0.`last`.
fn host(stage: &Stage, last: u8, port: u16) -> Result<Line> {
    Line::udp(UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), port))?, stage.sip)
}
