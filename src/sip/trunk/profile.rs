//! What is known about a carrier: the schema of a carrier file (spec/sip §2.11).
//!
//! A field that is absent is not known. `inbound`, `failover`, `limits`, and of `dialog` the session
//! timer and `100rel`, decide what this server does on calls from the carrier, `outbound` on calls to
//! targets that name the file; the rest are facts kept for whoever needs them.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer};
use smol_str::SmolStr;

use crate::network::{Network, ParseNetworkError};
use crate::phone::PhoneNumber;
use crate::sip::policy::config::{DestinationPolicy, HeaderPolicy, IdentityPolicy, ProgressPolicy};

/// A carrier file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The file's name without `.toml`.
    pub name: SmolStr,
    /// For people.
    pub title: SmolStr,
    /// Day on which the facts were true at their source; absent if the source gives none, and
    /// then `quirks` says what to check.
    #[serde(default)]
    pub checked_on: Option<Date>,
    #[serde(default)]
    pub sources: Vec<Citation>,
    #[serde(default)]
    pub inbound: Inbound,
    #[serde(default)]
    pub outbound: Outbound,
    #[serde(default)]
    pub media: Media,
    #[serde(default)]
    pub dialog: Dialog,
    #[serde(default)]
    pub failover: Failover,
    #[serde(default)]
    pub limits: Limits,
    /// What a person who connects this carrier should know, also what is not known.
    #[serde(default)]
    pub quirks: Vec<String>,
    /// Numbers as the carrier writes them and what must become of them.
    #[serde(default)]
    pub tests: Vec<Sample>,
}

/// Where a fact was read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Citation {
    pub page: String,
    /// Told by someone other than the carrier.
    #[serde(default)]
    pub second_hand: bool,
}

/// Calls from the carrier to us.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inbound {
    /// Networks its signalling comes from. Empty if they belong to the account: then the trunk
    /// must name them.
    pub cidrs: Vec<Network>,
    /// Default all three.
    pub transports: Vec<CarrierTransport>,
    /// Ports it sends to.
    pub ports: Vec<u16>,
    /// Names in the certificate it shows as a TLS client: host names or URIs. With any, that is
    /// how it is known over TLS, from its networks if it has some.
    pub tls_san: Vec<SmolStr>,
    /// What proves that it is the carrier, besides the source address. Default `none`.
    pub auth: InboundAuth,
    /// Default `ruri`.
    pub did_from: DidFrom,
    /// How dialled numbers and caller ids are written. Default `e164`.
    pub did_format: NumberFormat,
    /// Country of national numbers. Default `1`.
    pub country_code: CountryCode,
    /// Digits and signs in front of the dialled number that are not part of it.
    pub tech_prefix: Option<SmolStr>,
    /// Headers that carry the caller id, the most trusted first. Default pai, rpid, from.
    pub cli_order: Vec<CliHeader>,
    /// Headers of its INVITE to keep with the call: in its record, and as the tag
    /// `header.NAME`, the name in lower case.
    pub headers_capture: Vec<SmolStr>,
    /// Parameters of the caller's URI to keep with the call, such as `verstat`; the tag is
    /// `caller.NAME`.
    pub params_capture: Vec<SmolStr>,
    /// The header of its INVITE that holds the carrier's own id of the call (spec/sip C15).
    pub call_id_header: Option<SmolStr>,
    /// What goes into our responses besides what SIP needs; `header.NAME` in a template is a
    /// field of the target's response.
    pub headers: HeaderPolicy,
    /// What its callers hear before the answer, where the target's settings do not say.
    pub progress: ProgressPolicy,
    /// Numbers its calls may lead to.
    pub destinations: DestinationPolicy,
    /// Longest Contact it takes, bytes.
    pub contact_bytes_max: Option<u32>,
    /// Whether its OPTIONS are answered (C5). Default `answer`.
    pub options: OptionsPolicy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CarrierTransport {
    Udp,
    Tcp,
    Tls,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InboundAuth {
    #[default]
    None,
    /// RFC 7616: its INVITEs are challenged; the trunk's `digest` says who may call.
    Digest,
}

/// Which URI carries the dialled number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DidFrom {
    #[default]
    Ruri,
    To,
}

/// How a number without `+` is to be read. With `+` it is E.164 in every format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumberFormat {
    /// It begins with its country code.
    #[default]
    E164,
    /// It is a national number, possibly with the national or international prefix.
    National,
}

/// An E.164 country code, one to three digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountryCode(u16);

/// A header that may name the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CliHeader {
    /// P-Asserted-Identity, RFC 3325.
    Pai,
    /// Remote-Party-ID, draft-ietf-sip-privacy-04.
    Rpid,
    From,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionsPolicy {
    #[default]
    Answer,
    /// As if the packet came from a stranger.
    Ignore,
}

/// Calls from us to the carrier.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outbound {
    /// Names or addresses; capital words stand for what the account says.
    pub hosts: Vec<SmolStr>,
    /// Whether the names have SRV records.
    pub srv: Option<bool>,
    pub transport: Option<CarrierTransport>,
    pub port: Option<u16>,
    pub tls: Option<OutboundTls>,
    /// What the carrier accepts as proof.
    pub auth: Vec<OutboundAuth>,
    pub number_format: Option<OutboundFormat>,
    pub tech_prefix: Option<SmolStr>,
    /// Headers it reads the caller id from, the first present wins.
    pub cli_header: Vec<CliHeader>,
    /// Longest Contact it takes, bytes.
    pub contact_bytes_max: Option<u32>,
    /// New calls per second from one of our addresses to one of its.
    pub max_cps_per_ip: Option<u32>,
    pub max_channels: Option<u32>,
    /// How long a call may wait for its turn under these limits, milliseconds, at most and by
    /// default 1000.
    pub queue_ms: Option<u32>,
    /// What goes into our INVITE besides what SIP needs.
    pub headers: HeaderPolicy,
    /// Who the caller is said to be.
    pub identity: IdentityPolicy,
    /// What of its provisional responses the caller hears.
    pub progress: ProgressPolicy,
    /// Numbers that may be called there.
    pub destinations: DestinationPolicy,
    /// Content types of parts of a multipart body that go on beside the session description.
    pub body_parts: Vec<SmolStr>,
    /// Whether it takes TCP, at the address and port of UDP, for requests that are too long for a
    /// datagram. Default: as DNS says (SRV records for both), else no.
    pub long_over_tcp: Option<bool>,
    /// OPTIONS to each of its addresses, outside of calls. Default: none, since some carriers drop
    /// them.
    pub probe: Option<ProbeConfig>,
}

/// How an address is asked whether it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeConfig {
    /// From one OPTIONS to the next, seconds. Default 30.
    pub interval_s: u32,
    /// How long its answer may take, milliseconds. Default 2000.
    pub timeout_ms: u32,
    /// Failures in a row after which it is down. Default 3.
    pub down_after: u8,
    /// Answers in a row after which it is up again. Default 2.
    pub up_after: u8,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self { interval_s: 30, timeout_ms: 2000, down_after: 3, up_after: 2 }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutboundTls {
    /// Whether chain and name are checked. Default: yes.
    pub verify: Option<bool>,
    /// Whether the certificate is chosen by the name in SNI, so that an address fails. `false`:
    /// no name is sent.
    pub sni: Option<bool>,
    /// PEM file of authorities besides those of the system.
    pub extra_ca: Option<SmolStr>,
    /// SHA-256 of public keys, hexadecimal, of which its certificate has to have one.
    pub pins: Vec<SmolStr>,
    /// PEM files of the chain we show and of its key.
    pub client_cert: Option<SmolStr>,
    pub client_key: Option<SmolStr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboundAuth {
    Ip,
    Digest,
    Register,
    Prefix,
    TokenHeader,
    PChargeInfo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboundFormat {
    /// With `+`.
    E164Plus,
    /// Without.
    E164,
    National,
}

/// The carrier's media.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    pub cidrs: MediaSources,
    /// First and last UDP port.
    pub port_range: Option<(u16, u16)>,
    /// In the order of its offers.
    pub codecs_order: Vec<SmolStr>,
    pub ptime_ms: Option<u16>,
    pub dtmf: Vec<Dtmf>,
    pub srtp: Option<Srtp>,
    pub t38: Option<bool>,
    /// Whether it hangs up on a held call without RTP.
    pub hold_needs_media: Option<bool>,
}

/// Where RTP may come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MediaSources {
    #[default]
    Unknown,
    /// Any address, so no filter is possible.
    Any,
    Networks(Vec<Network>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtmf {
    /// RFC 4733 (2833) telephone-event.
    Rfc4733,
    Info,
    Inband,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Srtp {
    None,
    Optional,
    Required,
}

/// What the carrier does within a call.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dialog {
    pub session_timer: Option<SessionTimer>,
    /// Reliable provisional responses, RFC 3262.
    #[serde(rename = "100rel")]
    pub reliable_provisionals: Option<Support>,
    /// Of transactions with it; absent: those of the process.
    pub timers: Option<Timers>,
    /// What the other party is told of what it says, and it of what the other party says.
    pub relay: Option<Relay>,
    pub refer: Option<Refer>,
    /// Whether it follows a 302.
    pub redirect_ok: Option<bool>,
}

/// What passes beside the call, in both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Relay {
    /// Default `pass`.
    pub info: Option<InfoPassage>,
    /// Default `pass`.
    pub message: Option<Passage>,
    /// Of events other than REFER's. Default `refuse`.
    pub notify: Option<Passage>,
}

/// The stricter, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Passage {
    Pass,
    /// Answered with 200 and not passed on.
    Absorb,
    Refuse,
}

/// The stricter, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InfoPassage {
    Pass,
    /// Only that a key was pressed.
    Dtmf,
    /// Answered with 200 and not passed on.
    Absorb,
    Refuse,
}

/// RFC 3261 §17, milliseconds; absent: those of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timers {
    /// Estimated round-trip time.
    pub t1_ms: Option<u32>,
    /// Longest interval between repeats.
    pub t2_ms: Option<u32>,
    /// How long a message stays in the network.
    pub t4_ms: Option<u32>,
}

/// RFC 4028.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionTimer {
    /// Whether there may be one. Default true.
    pub supported: Option<bool>,
    /// Interval we ask for, seconds; absent: only what the peer asks for.
    pub se_s: Option<u32>,
    /// Shortest interval we take, seconds. Default 90.
    pub min_se_s: Option<u32>,
    /// Who refreshes where we may choose, in terms of the INVITE that opens the leg.
    pub refresher: Option<Refresher>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refresher {
    Uac,
    Uas,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Support {
    No,
    Supported,
    Required,
}

/// RFC 3515.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refer {
    /// Whether it takes a REFER from us.
    pub send: Option<bool>,
    /// The Refer-To it wants; `{number}` is the E.164 number with `+`.
    pub target_template: Option<SmolStr>,
    /// Whether the transfer may lead to a telephone number.
    pub pstn: Option<bool>,
    /// Whether it wants to be told who refers (RFC 3892).
    pub referred_by: Option<bool>,
    /// How long its first NOTIFY may take after it accepted, milliseconds. Default 5000.
    pub first_notify_ms: Option<u32>,
    /// How long the outcome may take after a first NOTIFY, seconds. Default 60.
    pub final_notify_s: Option<u32>,
    /// What its NOTIFYs are worth.
    pub notify_quality: Option<SmolStr>,
}

/// What the carrier does when we refuse a call, and what we make of that.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Failover {
    /// Codes on which it tries its next route to us or to someone else.
    pub codes_trigger: Vec<u16>,
    /// Codes it takes as the last word.
    pub codes_final: Vec<u16>,
    /// How long it waits for a first answer, milliseconds.
    pub first_response_ms: Option<u32>,
    /// What it is answered instead: from a target's code (`"486"`), a class of codes (`"5xx"`) or
    /// a reason of ours (`"cap.full"`) to a code.
    pub map: BTreeMap<SmolStr, u16>,
}

/// What the carrier sends us at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub max_channels: Option<u32>,
    pub max_cps: Option<u32>,
    /// How long a call beyond `max_cps` may wait for its turn, milliseconds, at most 1000.
    /// Default 0: it is refused at once.
    pub queue_ms: Option<u32>,
    /// Requests outside calls, each second and at once, from each of its addresses; 0 is no limit.
    pub max_requests_per_s: Option<u32>,
    pub max_requests_burst: Option<u32>,
}

/// One INVITE's numbers as the carrier writes them, each without its `sip:` and host, and what
/// must be read from them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// User part of the Request-URI.
    pub ruri: SmolStr,
    /// User part of To.
    pub to: SmolStr,
    /// The dialled number; absent if none must be found.
    pub did: Option<PhoneNumber>,
    /// User parts of P-Asserted-Identity, in order.
    pub pai: Vec<SmolStr>,
    /// User part of Remote-Party-ID.
    pub rpid: Option<SmolStr>,
    /// User part of From.
    pub from: SmolStr,
    /// Value of Privacy, RFC 3323 §4.2.
    pub privacy: Option<SmolStr>,
    /// The caller's number; absent if none must be found.
    pub caller: Option<PhoneNumber>,
    /// Whether the number must not be shown.
    pub withheld: bool,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            cidrs: Vec::new(),
            transports: vec![CarrierTransport::Udp, CarrierTransport::Tcp, CarrierTransport::Tls],
            ports: Vec::new(),
            tls_san: Vec::new(),
            auth: InboundAuth::None,
            did_from: DidFrom::Ruri,
            did_format: NumberFormat::E164,
            country_code: CountryCode::NORTH_AMERICA,
            tech_prefix: None,
            cli_order: vec![CliHeader::Pai, CliHeader::Rpid, CliHeader::From],
            headers_capture: Vec::new(),
            params_capture: Vec::new(),
            call_id_header: None,
            headers: HeaderPolicy::default(),
            progress: ProgressPolicy::default(),
            destinations: DestinationPolicy::default(),
            contact_bytes_max: None,
            options: OptionsPolicy::Answer,
        }
    }
}

impl CountryCode {
    /// `1`, the North American Numbering Plan.
    pub const NORTH_AMERICA: Self = Self(1);

    /// `None` unless one to three digits, the first not 0.
    pub fn new(code: u16) -> Option<Self> {
        (1..=999).contains(&code).then_some(Self(code))
    }

    pub fn get(self) -> u16 {
        self.0
    }
}

impl<'de> Deserialize<'de> for CountryCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let digits = text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
        (digits && !text.starts_with('0'))
            .then(|| text.parse().ok().and_then(Self::new))
            .flatten()
            .ok_or_else(|| serde::de::Error::custom("is no country code such as \"1\" or \"44\""))
    }
}

impl<'de> Deserialize<'de> for MediaSources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = match <Vec<SmolStr>>::deserialize(deserializer)? {
            texts if texts.is_empty() => return Ok(Self::Unknown),
            texts if texts.iter().any(|text| text == "any") => return Ok(Self::Any),
            texts => texts,
        };
        texts
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_, ParseNetworkError>>()
            .map(Self::Networks)
            .map_err(serde::de::Error::custom)
    }
}
