//! What a trunk wants kept of its INVITEs (spec/sip C11, C15).

use smol_str::{SmolStr, format_smolstr};

use crate::sip::message::{Headers, Request};
use crate::sip::policy::identity::caller_param;
use crate::sip::policy::template::first_line;
use crate::sip::trunk::Caller;
use crate::sip::trunk::profile::Inbound;

use super::Captured;

/// Longest value kept; what is longer is cut. A record is no place for a document.
const VALUE_BYTES_MAX: usize = 512;

/// `None` for a trunk that wants nothing.
pub(super) fn capture(
    request: &Request,
    caller: Caller,
    inbound: &Inbound,
) -> Option<Box<Captured>> {
    let Inbound { headers_capture, params_capture, call_id_header, .. } = inbound;
    if headers_capture.is_empty() && params_capture.is_empty() && call_id_header.is_none() {
        return None;
    }
    let mut tags = Vec::new();
    for name in headers_capture {
        if let Some(value) = line(request, name) {
            tags.push((format_smolstr!("header.{}", name.to_lowercase()), text(value)));
        }
    }
    for name in params_capture {
        if let Some(value) = caller_param(request, caller.number, name.as_bytes()) {
            let name = format_smolstr!("caller.{}", name.to_lowercase());
            // A parameter without a value says that it is there.
            let value = if value.is_empty() { SmolStr::new_static("1") } else { text(&value) };
            tags.push((name, value));
        }
    }
    let carrier_call_id = call_id_header.as_ref().and_then(|name| line(request, name)).map(text);
    Some(Box::new(Captured { tags, carrier_call_id }))
}

fn line<'a>(headers: &'a Headers, name: &str) -> Option<&'a [u8]> {
    first_line(headers, name.as_bytes()).filter(|value| !value.is_empty())
}

fn text(value: &[u8]) -> SmolStr {
    SmolStr::from(String::from_utf8_lossy(&value[..value.len().min(VALUE_BYTES_MAX)]))
}
