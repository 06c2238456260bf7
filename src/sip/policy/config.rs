//! Policies as they are written, in the `inbound` and `outbound` tables of carrier files, trunks
//! and targets.

use std::collections::BTreeMap;

use serde::Deserialize;
use smol_str::SmolStr;

/// Header fields besides those SIP needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderPolicy {
    /// Fields of the other party's INVITE or response that go on; `X-Acme-*` is all that begin so.
    pub pass: Vec<SmolStr>,
    /// The name under which a passed field goes on, by its own.
    pub rename: BTreeMap<SmolStr, SmolStr>,
    /// Fields of our own: a template by the name of the field. One that is passed as well is
    /// replaced. A field whose template names something the call does not have is left out.
    pub add: BTreeMap<SmolStr, SmolStr>,
}

/// Who the caller is said to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityPolicy {
    /// Header fields that carry the caller's number. Default: what the carrier file's
    /// `cli_header` names first, and From.
    pub caller: Option<Vec<NumberHeader>>,
    /// Whether the target is told who a caller is that does not want to be named (RFC 3325 §7):
    /// then in P-Asserted-Identity or Remote-Party-ID, with `Privacy: id`. Default false.
    pub trusted: bool,
    /// Whether the caller's name goes along. Default true.
    pub name: Option<bool>,
    /// Whether signed assertions (Identity, RFC 8224) go along, byte for byte. Default `strip`.
    pub signature: Carry,
    pub diversion: Redirection,
    pub history_info: Redirection,
    /// Parameters of the caller's URI that are kept, such as `verstat`, `isup-oli`, `cpc`.
    pub caller_params: Vec<SmolStr>,
    /// Parameters of the dialled number that are kept, such as `rn`, `npdi`, `tgrp`.
    pub dialed_params: Vec<SmolStr>,
}

/// A header field that can carry the caller's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumberHeader {
    /// P-Asserted-Identity, RFC 3325.
    Pai,
    /// Remote-Party-ID, draft-ietf-sip-privacy-04.
    Rpid,
    From,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carry {
    #[default]
    Strip,
    Pass,
}

/// What a target learns of the numbers a call was meant for before (RFC 5806, RFC 7044).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Redirection {
    #[default]
    None,
    /// The number that was dialled here.
    Dialed,
    /// What the carrier wrote, with our host in place of those it names.
    Pass,
}

/// What the caller hears before the answer (spec/sip B4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProgressPolicy {
    /// A session description before the answer: `pass` (default) or `ringing`, which makes it a
    /// plain 180.
    pub early_media: Option<EarlyMedia>,
    /// 183 without a session description: `pass` (default), `ringing` or `drop`.
    pub empty_progress: Option<EmptyProgress>,
    /// 180 without a session description after early media: `pass` (default) or `drop`, for
    /// carriers that would cut the media off and ring by themselves.
    pub ringing_after_media: Option<PassOrDrop>,
    /// 181, 182 and what else is neither 180 nor 183: `pass` (default) or `drop`.
    pub other: Option<PassOrDrop>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EarlyMedia {
    #[default]
    Pass,
    Ringing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmptyProgress {
    #[default]
    Pass,
    Ringing,
    Drop,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PassOrDrop {
    #[default]
    Pass,
    Drop,
}

/// Which telephone numbers may be called (spec/sip S10).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DestinationPolicy {
    /// Beginnings of numbers such as `+1` or `+4420`; empty for all that `deny` leaves.
    pub allow: Vec<SmolStr>,
    /// Beginnings of numbers, or one of the sets `premium`, `satellite`, `nanp-offshore`. The
    /// longest beginning decides.
    pub deny: Vec<SmolStr>,
}
