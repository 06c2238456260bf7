//! Ringba's real-time bidding: `/v1/production/ID.json` and `.xml`.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::openapi::open_faults;
use super::super::router::Api;
use super::fields::Fields;
use super::refusal::{Class, Refusal};
use super::{Amount, Bid, Said, in_time, of_nothing};
use crate::phone::PhoneNumber;
use crate::routing::config::Dialect;
use crate::routing::ping::QuotaKind;

/// A bid, or none: then `bidAmount` is 0 and `rejectReason` says why.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct RingbaReply {
    #[schema(example = "RTB01954f2e7d1e70008000000000000003")]
    bid_id: String,
    /// What the publisher is paid.
    #[schema(value_type = f64, example = 33.2)]
    bid_amount: Amount,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 60)]
    expire_in_seconds: Option<i64>,
    #[serde(rename = "bidExpireDT", skip_serializing_if = "Option::is_none")]
    #[schema(example = "3/17/2026 3:04:58 PM +00:00")]
    bid_expire_dt: Option<String>,
    /// In milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 1_773_759_898_447_i64)]
    bid_expire_epoch: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "+16145550121")]
    phone_number: Option<PhoneNumber>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "16145550121")]
    phone_number_no_plus: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "bid_01954f2e7d1e70008000000000000003@sip.example.com")]
    sip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bid_terms: Option<Vec<RingbaTerm>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<RingbaWarning>>,
    /// With the platform's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "No capacity (Code: 1003)")]
    reject_reason: Option<String>,
    /// Our own code, which is closer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "schedule.closed")]
    reason_code: Option<&'static str>,
    /// What is at fault, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "the target is closed at this hour")]
    reason_detail: Option<String>,
}

/// What has to happen for the bid to be paid.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct RingbaTerm {
    /// 100: the call lasts, 101: it is answered, 110: it is no duplicate.
    #[schema(example = 100)]
    code: u16,
    /// Seconds from the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 90)]
    call_min_duration: Option<u32>,
    #[schema(example = "Minimum call duration in seconds")]
    description: &'static str,
}

/// What the publisher might do better.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct RingbaWarning {
    /// 200: no caller was named, 205: the call can be sent over SIP, 230: the bid was given before.
    #[schema(example = 230)]
    code: u16,
    #[schema(example = "Previous bid for this request not yet expired. This is a cached version")]
    description: &'static str,
}

open_faults!(Faults);

/// Ask for a bid as Ringba has it
///
/// `CID` is the caller's number, `sipOk` says that the call can be sent over SIP, `exposeCallerId` is read
/// and changes nothing; anything else is a tag. The same request is answered the same while the bid lives
/// and no call has come of it.
#[utoipa::path(
    post,
    path = "/v1/production/{id}",
    operation_id = "ringba_bid",
    tag = "dialects",
    params(("id" = String, Path, description = "The RTB id, with `.json` or `.xml`")),
    request_body(content = Object, description = "JSON, XML, or a form",
        example = json!({"CID": "16145550188", "exposeCallerId": "yes", "zipcode": "43215"})),
    responses(
        (status = 200, description = "A bid, or why there is none",
            content((RingbaReply = "application/json"), (RingbaReply = "application/xml"))),
        Faults,
    ),
    security(()),
)]
pub(in crate::api) async fn post(
    api: State<Arc<Api>>,
    id: Path<String>,
    request: Request,
) -> Response {
    answer(api, id, request).await
}

/// Ask for a bid as Ringba has it, in the query
///
/// The parameters are those of the body.
#[utoipa::path(
    get,
    path = "/v1/production/{id}",
    operation_id = "ringba_bid_as_get",
    tag = "dialects",
    params(
        ("id" = String, Path, description = "The RTB id, with `.json` or `.xml`"),
        ("CID" = Option<String>, Query, description = "The caller's number"),
        ("sipOk" = Option<String>, Query, description = "`yes`: the call can be sent over SIP"),
    ),
    responses(
        (status = 200, description = "A bid, or why there is none",
            content((RingbaReply = "application/json"), (RingbaReply = "application/xml"))),
        Faults,
    ),
    security(()),
)]
pub(in crate::api) async fn get(
    api: State<Arc<Api>>,
    id: Path<String>,
    request: Request,
) -> Response {
    answer(api, id, request).await
}

async fn answer(State(api): State<Arc<Api>>, Path(id): Path<String>, request: Request) -> Response {
    let xml = id.strip_suffix(".xml");
    let is_xml = xml.is_some();
    let id = xml.or_else(|| id.strip_suffix(".json")).unwrap_or(&id);
    let mut said = (false, false);
    let bid = in_time(bid(&api, id, request, &mut said)).await;
    let reply = match bid {
        Ok(bid) => accepted(&bid, said),
        Err(refusal) => rejected(&api, id, &refusal),
    };
    if is_xml {
        let reply = serde_json::to_value(&reply).expect("a reply is JSON");
        return ([(CONTENT_TYPE, "application/xml")], to_xml("BidResponse", &reply))
            .into_response();
    }
    axum::Json(reply).into_response()
}

/// `said`: whether the request named a caller, and said that the call can be sent over SIP.
async fn bid(
    api: &Api,
    id: &str,
    request: Request,
    said: &mut (bool, bool),
) -> Result<Bid, Refusal> {
    let door = api.door(Dialect::Ringba, Some(id), None)?;
    let mut fields = Fields::read(request).await?;
    let (caller, sip_ok) = (fields.take("cid"), fields.take_flag("sipok"));
    *said = (caller.is_some(), sip_ok == Some(true));
    fields.drop_platforms_own(&door, &["exposecallerid"]);
    api.price(&door, Said { caller, sip_ok, number: None }, fields).await
}

fn accepted(bid: &Bid, (has_caller, is_sip_ok): (bool, bool)) -> RingbaReply {
    let promise = &bid.promise;
    let lasts = match promise.payout_seconds {
        0 => {
            RingbaTerm { code: 101, call_min_duration: None, description: "The call must connect" }
        }
        seconds => RingbaTerm {
            code: 100,
            call_min_duration: Some(seconds),
            description: "Minimum call duration in seconds",
        },
    };
    let once = RingbaTerm {
        code: 110,
        call_min_duration: None,
        description: "Duplicate calls are not paid",
    };
    let warnings = [
        (!has_caller, 200, "Without caller ID the bid cannot be guaranteed"),
        (!is_sip_ok && bid.sip.is_some(), 205, "Sending calls via SIP is preferred."),
        (
            bid.repeated,
            230,
            "Previous bid for this request not yet expired. This is a cached version",
        ),
    ];
    let warnings = warnings.into_iter().filter(|(holds, ..)| *holds);
    RingbaReply {
        bid_id: format!("RTB{}", bid.ping.0.as_simple()),
        bid_amount: promise.payout.into(),
        expire_in_seconds: Some(bid.seconds_left()),
        bid_expire_dt: Some(american(promise.until.0)),
        bid_expire_epoch: Some(promise.until.0),
        phone_number: bid.number,
        phone_number_no_plus: bid.number.map(|number| number.digits().to_string()),
        sip_address: bid.sip.clone(),
        bid_terms: Some([lasts].into_iter().chain(promise.no_duplicates.then_some(once)).collect()),
        warnings: Some(
            warnings.map(|(_, code, description)| RingbaWarning { code, description }).collect(),
        ),
        reject_reason: None,
        reason_code: None,
        reason_detail: None,
    }
}

fn rejected(api: &Api, id: &str, refusal: &Refusal) -> RingbaReply {
    let (code, text) = words(refusal);
    RingbaReply {
        bid_id: format!("RTB{}", of_nothing(api.now(), id).as_simple()),
        bid_amount: crate::money::Money::ZERO.into(),
        expire_in_seconds: None,
        bid_expire_dt: None,
        bid_expire_epoch: None,
        phone_number: None,
        phone_number_no_plus: None,
        sip_address: None,
        bid_terms: None,
        warnings: None,
        reject_reason: Some(format!("{text} (Code: {code})")),
        reason_code: Some(refusal.code()),
        reason_detail: Some(refusal.detail()),
    }
}

fn words(refusal: &Refusal) -> (u16, &'static str) {
    if let Refusal::OverQuota(over) = refusal {
        return match over.of {
            QuotaKind::PerSecond | QuotaKind::Trials => (1024, "Rate limited"),
            QuotaKind::PerDay => (1025, "Rate limited"),
        };
    }
    if let Refusal::OverShare(_) = refusal {
        return (1026, "Rate limited");
    }
    match refusal.class() {
        Class::Disabled | Class::Paused | Class::Unavailable | Class::Over => (1001, "Disabled"),
        Class::Malformed => (1002, "Initial tag filter"),
        Class::Closed | Class::Capacity | Class::NoNumber => (1003, "No capacity"),
        Class::Caller | Class::CallerMalformed | Class::Duplicate => (1004, "Caller ID"),
        Class::Tags => (1005, "Final tag filters"),
        Class::TargetsCapped => (1006, "Final capacity check"),
        Class::Capped => (1007, "Closed or capped"),
        Class::Rate => (1024, "Rate limited"),
        Class::CallerMissing => (1100, "Caller ID verification"),
    }
}

/// `3/17/2026 3:04:58 PM +00:00`.
fn american(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    at.strftime("%-m/%-d/%Y %-I:%M:%S %p +00:00").to_string()
}

/// An element with an element for each field; one for each entry of a list.
fn to_xml(root: &str, reply: &Value) -> String {
    use quick_xml::escape::escape;
    fn write(out: &mut String, name: &str, value: &Value) {
        let text = match value {
            Value::Array(items) => return items.iter().for_each(|item| write(out, name, item)),
            Value::Object(fields) => {
                out.push_str(&format!("<{name}>"));
                fields.iter().for_each(|(name, value)| write(out, name, value));
                return out.push_str(&format!("</{name}>"));
            }
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
        };
        out.push_str(&format!("<{name}>{}</{name}>", escape(&text)));
    }
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>");
    write(&mut out, root, reply);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_americans_write_them() {
        assert_eq!(american(1_773_759_898_447), "3/17/2026 3:04:58 PM +00:00");
        assert_eq!(american(1_767_226_149_000), "1/1/2026 12:09:09 AM +00:00");
    }

    #[test]
    fn xml_says_what_json_does() {
        let reply = serde_json::json!({
            "bidAmount": 33.2, "bidTerms": [{"code": 100}, {"code": 110}], "rejectReason": "a < b & c",
        });
        let xml = to_xml("BidResponse", &reply);
        assert_eq!(
            xml,
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><BidResponse><bidAmount>33.2</bidAmount>\
             <bidTerms><code>100</code></bidTerms><bidTerms><code>110</code></bidTerms>\
             <rejectReason>a &lt; b &amp; c</rejectReason></BidResponse>"
        );
    }
}
