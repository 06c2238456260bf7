//! Small limits that two servers share, while Redis is away: each has room of its own, also with nothing up,
//! and together they never pass one (spec/data §1.7, §3.5).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::peer::{Dialog, Heard, Line, SDP, response, with_body};
use super::shared::{check, redis, server};
use super::{Call, Stage};
use crate::support::redis::Redis;
use crate::support::{api, http, wait_for};

/// A server, and the calls that are up there.
struct Server {
    stage: Stage,
    target: Line,
    up: Vec<(Line, Call)>,
    calls: usize,
}

impl Server {
    fn start(redis: &Redis, node: u32, limit: &str) -> Result<Self> {
        // Half of it is longer than Redis is away, and a server soon knows of the other.
        let stage = server(redis, node, &[limit, "redis.lease_s=40"])?;
        let target = stage.target()?;
        Ok(Self { stage, target, up: vec![], calls: 0 })
    }

    /// Whether a call comes through, which stays up then.
    fn call(&mut self) -> Result<bool> {
        let mut caller = self.stage.udp()?;
        self.calls += 1;
        let id = format!("call{}", self.calls);
        caller.send(with_body(&caller, &self.stage.invite(), &id, &[], SDP))?;
        let moment = Duration::from_millis(10);
        let offered = wait_for("a call to come through", Duration::from_secs(10), || {
            if let Some(offered) = self.target.hear(moment)? {
                return Ok(Some(Some(offered)));
            }
            let status = caller.hear(moment)?.as_ref().and_then(Heard::status);
            Ok((status == Some(486)).then_some(None))
        })?;
        let Some(offered) = offered else { return Ok(false) };
        let answer = response(&self.target, &offered, "200 OK", &[], SDP);
        self.target.send(&answer)?;
        self.target.expect("ACK")?;
        let (of_caller, of_target) = (
            Dialog::of_caller(&caller.expect("200 INVITE")?)?,
            Dialog::of_target(&offered, &answer)?,
        );
        caller.send(of_caller.ack(&caller))?;
        self.up.push((caller, Call { caller: of_caller, target: of_target, offered }));
        Ok(true)
    }

    /// Calls until one is refused. How many come through.
    fn call_until_refused(&mut self) -> Result<usize> {
        let before = self.up.len();
        while self.call()? {
            ensure!(self.up.len() < 50, "nobody is refused");
        }
        Ok(self.up.len() - before)
    }

    fn hang_up(&mut self) -> Result<()> {
        let (mut caller, call) = self.up.pop().context("a call that is up")?;
        call.end(&mut caller, &mut self.target)
    }

    fn has_tokens(&self, count: f64) -> Result<()> {
        let what = format!("{count} tokens");
        wait_for(&what, Duration::from_secs(20), || {
            let metrics = api::metrics(self.stage.api)?;
            Ok((metrics.get("tollbridge_hold_store_tokens") == Some(&count)).then_some(()))
        })
    }

    fn is_open(&self) -> Result<()> {
        wait_for("the store to be open", Duration::from_secs(10), || {
            let told: Value = http::get(self.stage.api, "/readyz")?.json()?;
            Ok((told["hold_store"] == "open").then_some(()))
        })
    }
}

/// Two servers with a limit, each of which has had a call and has none now, and keeps so many tokens.
fn play(limit: &str, tokens: f64, plot: impl FnOnce(&mut Redis, &mut [Server; 2]) -> Result<()>) {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = redis(folder.path());
    let start = |node| Server::start(&redis, node, limit).unwrap();
    let mut servers = [start(1), start(2)];
    let played = || -> Result<()> {
        for server in &mut servers {
            ensure!(server.call()?, "there is room");
            server.hang_up()?;
        }
        servers.iter().try_for_each(|server| server.has_tokens(tokens))?;
        plot(&mut redis, &mut servers)?;
        servers.iter().try_for_each(|server| server.stage.is_clean())
    };
    let outcome = played();
    check(&[&servers[0].stage, &servers[1].stage], outcome);
}

/// Two of eight lines are half of a server's share.
#[test]
fn of_eight_lines_each_server_has_two_without_redis_and_any_has_all_with_it() {
    play("targets.alone.concurrency={ limit = 8 }", 2.0, |redis, servers| {
        redis.kill()?;
        for server in servers.iter_mut() {
            let through = server.call_until_refused()?;
            ensure!(through == 2, "{through} calls went through");
        }
        let [first, second] = servers;
        // A line that its own call gives back is its own.
        first.hang_up()?;
        ensure!(first.call_until_refused()? == 1, "one line was free");

        redis.restart()?;
        for server in [&mut *first, &mut *second] {
            server.is_open()?;
            server.hang_up()?;
            server.hang_up()?;
        }
        // What the other keeps there is given back when it is needed.
        wait_for("all lines to be given", Duration::from_secs(10), || {
            first.call_until_refused()?;
            Ok((first.up.len() >= 8).then_some(()))
        })?;
        ensure!(first.up.len() == 8 && !second.call()?, "{} lines are taken", first.up.len());
        while !first.up.is_empty() {
            first.hang_up()?;
        }
        Ok(())
    });
}

#[test]
fn of_forty_calls_a_day_each_server_has_five_without_redis_and_all_count_afterwards() {
    let cap = r#"targets.alone.caps=[{ metric = "connected", window = "daily", limit = 40 }]"#;
    play(cap, 5.0, |redis, servers| {
        redis.kill()?;
        for server in servers.iter_mut() {
            let through = server.call_until_refused()?;
            ensure!(through == 5, "{through} calls went through");
            while !server.up.is_empty() {
                server.hang_up()?;
            }
            ensure!(!server.call()?, "what was counted is used");
        }

        redis.restart()?;
        servers.iter().try_for_each(Server::is_open)?;
        let key = redis.ask(&["keys", "cap:*target/alone/connected/daily*"])?;
        wait_for("all to be counted", Duration::from_secs(5), || {
            Ok((redis.ask(&["hget", key.trim(), "used"])? == "12").then_some(()))
        })
    });
}
