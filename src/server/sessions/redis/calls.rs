//! Earlier calls of callers, in Redis: those of one caller in one key, each told by the server that has it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::routing::config::Span;
use crate::routing::history::{Caller, PastCall};
use crate::routing::snapshot::RoutingSnapshot;
use crate::server::redis::{StoreFault, unread};

use super::kept::digits;
use super::scripts::Script;
use super::servers::{Asked, For};
use super::{RedisSessions, all_done, ms, read};

const DIGITS: usize = 16;
const DAY: Duration = Duration::from_secs(86_400);
/// How long calls are kept of which somebody wants to know for ever.
const EVER: Duration = Duration::from_secs(366 * 86_400);

impl RedisSessions {
    pub(super) async fn tell_calls(
        &self,
        snapshot: &RoutingSnapshot,
        calls: &[(Caller, PastCall)],
    ) -> Result<(), StoreFault> {
        let Some(span) = snapshot.history() else { return Ok(()) };
        let lasts = match span {
            Span::Seconds(seconds) => Duration::from_secs(seconds.into()) + DAY,
            Span::Forever => EVER,
        };
        let mut by_caller: BTreeMap<String, Vec<&PastCall>> = BTreeMap::new();
        for (caller, call) in calls {
            by_caller.entry(self.keys.calls(caller)).or_default().push(call);
        }
        let most = snapshot.history_limits().calls_max.to_string().into_bytes();
        let asked = by_caller.into_iter().map(|(key, calls)| {
            let mut arguments = vec![most.clone(), ms(lasts).to_string().into_bytes()];
            for call in calls {
                let mut known = digits(call.at).into_bytes();
                minicbor::encode(call, &mut known).expect("memory takes all");
                arguments.extend([call.call.as_bytes().to_vec(), known]);
            }
            Asked::script(Script::Calls, vec![key], arguments)
        });
        let asked: Vec<_> = asked.collect();
        all_done(self.ask(&asked, For::Upkeep).await)
    }

    pub(super) async fn calls_of(&self, caller: &Caller) -> Result<Vec<PastCall>, StoreFault> {
        let key = self.keys.calls(caller);
        let all = redis::cmd("HVALS").arg(&key).take();
        let answer = self.ask(&[Asked::plain(&key, all)], For::Call).await.pop();
        let kept: Vec<Vec<u8>> = read(answer.unwrap_or_else(|| Err(unread()))?)?;
        let rest = kept.iter().filter_map(|it| it.get(DIGITS..));
        let mut calls: Vec<PastCall> = rest.filter_map(|it| minicbor::decode(it).ok()).collect();
        calls.sort_by_key(|it| Reverse((it.at, it.call)));
        Ok(calls)
    }
}
