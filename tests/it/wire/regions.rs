//! Two servers side by side: nothing of one is known to the other, and a carrier that has both goes
//! to the other when one is lost (spec/sip O14).

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::peer::{Line, SDP, request, with_body};
use super::program::Program;
use super::{Call, Setup, Stage};
use crate::support::{api, http, wait_for};

#[test]
fn of_two_servers_each_tells_its_own_health_and_one_that_is_lost_takes_no_call_of_the_other() {
    let region = |node| {
        let set = [node];
        Stage::start(Setup { set: &set, arguments: &["--grace", "30"], ..Setup::default() })
    };
    let (mut east, mut west) = (region("node.id=1").unwrap(), region("node.id=2").unwrap());
    if let Err(error) = lose_one(&mut east, &mut west) {
        panic!("{error:#}\neast:\n{}\nwest:\n{}", east.log(), west.log());
    }
}

fn lose_one(east: &mut Stage, west: &mut Stage) -> Result<()> {
    let mut carrier = Carrier::new(east, west)?;
    let (mut easts, mut wests) = (east.target()?, west.target()?);
    Call::up(east, &mut carrier.east, &mut easts, "in-east", &[])?;
    let in_west = Call::up(west, &mut carrier.west, &mut wests, "in-west", &[])?;
    are_live(east.api, &["in-east"])?;
    are_live(west.api, &["in-west"])?;

    // Taken out of service, it sends the carrier away, and its health says so; the other's does not.
    east.server()?.terminate()?;
    wait_for("/readyz of one to say no", Duration::from_secs(3), || {
        Ok((http::get(east.api, "/readyz")?.status == 503).then_some(()))
    })?;
    ensure!(http::get(west.api, "/readyz")?.status == 200, "it is not the one");
    let sent_away = carrier.call(east, west, &mut wests, "sent-away")?;

    // Killed, it is silent. What is up elsewhere is none of its calls.
    east.end(Program::kill)?;
    let failed_over = carrier.call(east, west, &mut wests, "failed-over")?;
    ensure!(http::get(west.api, "/readyz")?.status == 200, "it has lost nothing");
    are_live(west.api, &["failed-over", "in-west", "sent-away"])?;

    // When it is back it closes what it had and knows of nothing else.
    east.serve()?;
    let records = wait_for("the record of a lost call", Duration::from_secs(3), || {
        Ok(Some(api::calls(east.api)?).filter(|calls| !calls.is_empty()))
    })?;
    let told: Vec<_> = records.iter().map(|it| (&*it.sip_call_id, &*it.state)).collect();
    ensure!(told == [("in-east", "orphan_closed")], "{told:?}");

    for call in [in_west, sent_away, failed_over] {
        call.end(&mut carrier.west, &mut wests)?;
    }
    west.is_clean()
}

/// One that has been told of both servers, the first before the second.
struct Carrier {
    east: Line,
    west: Line,
}

impl Carrier {
    fn new(east: &Stage, west: &Stage) -> Result<Self> {
        let line = |to| Line::udp(UdpSocket::bind("127.0.0.1:0")?, to);
        Ok(Self { east: line(east.sip)?, west: line(west.sip)? })
    }

    /// Brings up a call at the first server that takes it: not the one in the east.
    fn call(
        &mut self,
        east: &Stage,
        west: &Stage,
        target: &mut Line,
        call_id: &str,
    ) -> Result<Call> {
        let line = &mut self.east;
        // Nobody may be there to take it.
        let sent = line.send(with_body(line, &east.invite(), call_id, &[], SDP));
        let heard = sent.and_then(|()| line.hear(Duration::from_millis(300)));
        if let Ok(Some(answer)) = heard {
            ensure!(answer.status() == Some(503), "{}", answer.text);
            let to = format!("To: {}", answer.header("To").unwrap_or_default());
            let ack = east.invite().replace("INVITE", "ACK");
            line.send(request(line, &ack, call_id, &[&to]))?;
        }
        Call::up(west, &mut self.west, target, call_id, &[])
    }
}

/// These Call-IDs, in alphabetical order, are those of the calls that are up, soon.
fn are_live(api: SocketAddr, expected: &[&str]) -> Result<()> {
    let what = format!("{expected:?} to be live");
    wait_for(&what, Duration::from_secs(3), || {
        let calls: serde_json::Value = http::get(api, "/v1/calls/live")?.json()?;
        let calls = calls["calls"].as_array().context("no list")?;
        let mut ids: Vec<_> =
            calls.iter().filter_map(|call| call["sip_call_id"].as_str()).collect();
        ids.sort_unstable();
        Ok((ids == expected).then_some(()))
    })
}
