//! Pages of a list: a cursor that names the last item of the page before, and cannot be made up.

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use utoipa::ToSchema;

use super::error::{Code, Place, Problem};
use super::record::CallSummary;
use crate::id::CallId;

const ID_BYTES: usize = 16;
/// Of the HMAC; 128 bits are beyond guessing.
const TAG_BYTES: usize = 16;

/// A page of calls, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallPage {
    pub(super) calls: Vec<CallSummary>,
    /// Send it as `cursor`, with the same filters, for the page after this one, which may be empty.
    /// Null: this is the last page.
    #[schema(example = json!(null))]
    pub(super) next: Option<String>,
}

/// Makes and reads cursors. A cursor is the id of a call and an HMAC-SHA-256 over it and over the
/// list it belongs to, in hexadecimal digits.
pub(super) struct Cursors(Hmac<Sha256>);

impl Cursors {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes a key of any length"))
    }

    /// The cursor for what comes after `last` in `list`, a text that differs for every list and
    /// every filter.
    pub(super) fn seal(&self, list: &str, last: CallId) -> String {
        let tag = self.mac(list, last).finalize().into_bytes();
        last.as_bytes().iter().chain(&tag[..TAG_BYTES]).map(|byte| format!("{byte:02x}")).collect()
    }

    /// What [`Cursors::seal`] was given; `None` if it was not given this list.
    pub(super) fn open(&self, list: &str, cursor: &str) -> Option<CallId> {
        let bytes = from_hex(cursor)?;
        let (id, tag) = bytes.split_at(ID_BYTES);
        let last = CallId::from_bytes(id.try_into().ok()?);
        self.mac(list, last).verify_truncated_left(tag).ok().map(|()| last)
    }

    /// [`Cursors::open`] of the parameter `cursor`.
    pub(super) fn continued(&self, list: &str, cursor: &str) -> Result<CallId, Problem> {
        self.open(list, cursor).ok_or_else(|| {
            let place = Place::Parameter(String::from("cursor"));
            let detail = "is not one this list was continued with; start over without it";
            Problem::at(Code::CursorInvalid, place, "invalid", detail)
        })
    }

    fn mac(&self, list: &str, last: CallId) -> Hmac<Sha256> {
        // The id has a fixed length, so the two cannot be taken apart in another way.
        self.0.clone().chain_update(last.as_bytes()).chain_update(list)
    }
}

/// Where the next page is (RFC 8288).
pub(super) fn next_link(uri: &Uri, next: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(cursor) = next {
        let kept = uri.query().unwrap_or_default().split('&');
        let kept = kept.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
        let query: String = kept.flat_map(|pair| [pair, "&"]).collect();
        let link = format!("<{}?{query}cursor={cursor}>; rel=\"next\"", uri.path());
        headers.extend(HeaderValue::try_from(link).ok().map(|link| (header::LINK, link)));
    }
    headers
}

fn from_hex(text: &str) -> Option<[u8; ID_BYTES + TAG_BYTES]> {
    let mut bytes = [0; ID_BYTES + TAG_BYTES];
    let digits = text.as_bytes();
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|it| u8::try_from(it).ok());
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_the_list_it_was_made_for_and_no_other() {
        let cursors = Cursors::new(&[1; 32]);
        let last = CallId::from_bytes([7; 16]);
        let cursor = cursors.seal("calls a", last);

        assert_eq!(cursors.open("calls a", &cursor), Some(last));
        assert_eq!(cursors.open("calls b", &cursor), None);
        assert_eq!(Cursors::new(&[2; 32]).open("calls a", &cursor), None);
    }

    #[test]
    fn a_cursor_with_any_digit_changed_or_missing_is_invalid() {
        let cursors = Cursors::new(&[1; 32]);
        let cursor = cursors.seal("calls", CallId::from_bytes([7; 16]));

        for at in 0..cursor.len() {
            let digit = if &cursor[at..=at] == "0" { "1" } else { "0" };
            let tampered = format!("{}{digit}{}", &cursor[..at], &cursor[at + 1..]);
            assert_eq!(cursors.open("calls", &tampered), None, "{tampered}");
        }
        for wrong in ["", "zz", &cursor[2..], &format!("{cursor}00"), &"é".repeat(32)] {
            assert_eq!(cursors.open("calls", wrong), None, "{wrong}");
        }
    }
}
