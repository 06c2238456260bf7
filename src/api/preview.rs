//! What a call that is only thought of would send, and how long its caller would wait.

use std::fmt;

use serde::Serialize;
use smol_str::SmolStr;
use utoipa::ToSchema;

use crate::id::TargetId;
use crate::routing::simulate::Latency;

/// What would be sent to the first target of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SipPreview {
    #[schema(value_type = String, example = "tgt_summit")]
    pub target: TargetId,
    /// How the target would get the call: `bridge`: by our INVITE; `redirect`, `refer`: the carrier is told
    /// to call it.
    #[schema(example = "bridge")]
    pub delivery: &'static str,
    /// Null: none would leave.
    pub invite: Option<SipInvite>,
    /// Why none would, by its code, though it is for us to call.
    #[schema(example = json!(null))]
    pub reason: Option<&'static str>,
}

/// The INVITE in the target's first way, as it is written for calls. What only a real call has is stood in
/// for: `branch` of Via, `tag` of From and Call-ID are drawn; the caller offers plain G.711 at 192.0.2.1; its
/// INVITE has no display name and no field but those that `tags` name as `header.…`, and Max-Forwards 70.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SipInvite {
    /// `udp`, `tcp` or `tls`.
    #[schema(example = "udp")]
    pub transport: &'static str,
    /// Address and port.
    #[schema(example = "192.0.2.10:5060")]
    pub to: String,
    #[schema(example = "INVITE sip:dispatch@192.0.2.10 SIP/2.0")]
    pub start_line: String,
    /// In their order.
    pub headers: Vec<SipField>,
    #[schema(example = "v=0\r\no=- 4711 1 IN IP4 203.0.113.1\r\n")]
    pub body: String,
}

/// For people: where it goes, and then the message as it is.
impl fmt::Display for SipPreview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, delivery, invite, reason } = self;
        let Some(invite) = invite else {
            return match reason {
                Some(reason) => writeln!(f, "{target} would be sent no INVITE: {reason}"),
                None => writeln!(f, "{target} would be sent no INVITE: delivery = \"{delivery}\""),
            };
        };
        let SipInvite { transport, to, start_line, headers, body } = invite;
        writeln!(f, "{target} would be sent to {to} over {transport}:\n\n{start_line}")?;
        for SipField { name, value } in headers {
            writeln!(f, "{name}: {value}")?;
        }
        writeln!(f, "\n{}", body.replace("\r\n", "\n"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SipField {
    #[schema(example = "Max-Forwards")]
    pub name: String,
    #[schema(example = "69")]
    pub value: String,
}

/// How long the caller would wait at the first target of the plan, in milliseconds from our INVITE: what calls
/// over that way have shown lately, whatever the instant that is asked about, and what it is given.
#[derive(Debug, Serialize, ToSchema)]
pub struct LatencyEstimate {
    #[schema(value_type = String, example = "tgt_summit")]
    target: TargetId,
    /// `trunk/` and the id of a trunk, or a host with its port; null: the way is not watched, as the only one
    /// of a target that names no trunk.
    #[schema(value_type = Option<String>, example = "trunk/trk_b")]
    way: Option<SmolStr>,
    /// Half of the calls that rang did within this time, an eighth too high at most; null: nothing is known.
    #[schema(example = 900)]
    pdd_p50_ms: Option<u32>,
    /// And 99 of a hundred within this.
    #[schema(example = 6_400)]
    pdd_p99_ms: Option<u32>,
    /// How far back that looks, seconds.
    #[schema(example = 900)]
    pdd_window_s: Option<u32>,
    /// With no response at all by then the target is called another way, or the next target.
    #[schema(example = 1_500)]
    first_response_ms: u32,
    /// The same if it does not ring by then.
    #[schema(example = 8_000)]
    max_pdd_ms: u32,
    /// The next target is called if this one has not answered by then.
    #[schema(example = 30_000)]
    ring_timeout_ms: u32,
    /// What all attempts of the call have together.
    #[schema(example = 60_000)]
    ring_budget_ms: u32,
}

impl From<Latency> for LatencyEstimate {
    fn from(latency: Latency) -> Self {
        let Latency {
            target,
            way,
            p50_ms: pdd_p50_ms,
            p99_ms: pdd_p99_ms,
            window_s: pdd_window_s,
            first_response_ms,
            max_pdd_ms,
            ring_timeout_ms,
            ring_budget_ms,
        } = latency;
        Self {
            target,
            way,
            pdd_p50_ms,
            pdd_p99_ms,
            pdd_window_s,
            first_response_ms,
            max_pdd_ms,
            ring_timeout_ms,
            ring_budget_ms,
        }
    }
}
