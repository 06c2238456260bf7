//! The message layer on a carrier's INVITE (two Vias, Identity, SDP), beside rsip on the same bytes.
//!
//! `cargo bench --bench message`. Read ratios of one run, not absolute times.

use bytes::Bytes;
use divan::{Bencher, black_box};
use rsip::prelude::{HeadersExt as _, ToTypedHeader as _};
use tollbridge::sip::message::{HeaderName, Limits, Message, Request, Writer};

const INVITE: &[u8] = include_bytes!("../fuzz/corpus/message/carrier_invite.sip");

fn main() {
    divan::main();
}

fn parsed(raw: Bytes) -> Request {
    match Message::parse(raw, &Limits::default()) {
        Ok(Message::Request(request)) => request,
        other => panic!("the sample is a request: {other:?}"),
    }
}

/// What the server reads of every request.
fn access(request: &Request) -> usize {
    let user = request.parsed_uri().map_or(0, |uri| uri.user().map_or(0, <[u8]>::len));
    request.via().branch().map_or(0, <[u8]>::len)
        + request.from_tag().map_or(0, <[u8]>::len)
        + request.to_tag().map_or(0, <[u8]>::len)
        + request.call_id().len()
        + request.cseq().number as usize
        + user
}

/// The same request as it goes to a target: new URI and top Via, one hop less, the rest copied.
fn forward(request: &Request, writer: &mut Writer) -> Bytes {
    writer.request(request.method_bytes(), b"sip:+16145550199@192.0.2.80:5060");
    writer.header(HeaderName::Via, b"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK01a7f3c29be4");
    for name in [
        HeaderName::Via,
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
        HeaderName::CSeq,
        HeaderName::PAssertedIdentity,
        HeaderName::Identity,
        HeaderName::Supported,
        HeaderName::SessionExpires,
        HeaderName::Other,
    ] {
        writer.copy_all(name, request);
    }
    let hops = request.max_forwards().unwrap_or(70).saturating_sub(1);
    writer.header_number(HeaderName::MaxForwards, u64::from(hops));
    writer.finish_with(request.content_type().unwrap_or_default(), request.body())
}

#[divan::bench]
fn own_parse(bencher: Bencher<'_, '_>) {
    let raw = Bytes::from_static(INVITE);
    bencher.bench_local(|| parsed(black_box(raw.clone())));
}

#[divan::bench]
fn own_parse_and_access(bencher: Bencher<'_, '_>) {
    let raw = Bytes::from_static(INVITE);
    bencher.bench_local(|| access(&parsed(black_box(raw.clone()))));
}

#[divan::bench]
fn own_parse_and_forward(bencher: Bencher<'_, '_>) {
    let raw = Bytes::from_static(INVITE);
    let mut writer = Writer::new();
    bencher.bench_local(|| forward(&parsed(black_box(raw.clone())), &mut writer));
}

#[divan::bench]
fn own_answer(bencher: Bencher<'_, '_>) {
    let request = parsed(Bytes::from_static(INVITE));
    let source = ([198, 51, 100, 8], 5060).into();
    let mut writer = Writer::new();
    bencher.bench_local(|| {
        writer.response(100, b"Trying");
        writer.vias_for_response(black_box(&request), source);
        for name in [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
            writer.copy_all(name, &request);
        }
        writer.finish()
    });
}

#[divan::bench]
fn rsip_parse(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| rsip::Request::try_from(black_box(INVITE)));
}

#[divan::bench]
fn rsip_parse_and_access(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| {
        let request = rsip::Request::try_from(black_box(INVITE)).expect("rsip takes the sample");
        let via = request.via_header().and_then(|via| via.clone().typed());
        let from = request.from_header().and_then(|from| from.clone().typed());
        let to = request.to_header().and_then(|to| to.clone().typed());
        let cseq = request.cseq_header().and_then(|cseq| cseq.clone().typed());
        via.is_ok() as usize
            + from.map_or(0, |from| from.tag().map_or(0, |tag| tag.value().len()))
            + to.map_or(0, |to| to.tag().map_or(0, |tag| tag.value().len()))
            + cseq.map_or(0, |cseq| cseq.seq as usize)
            + request.call_id_header().map_or(0, |id| id.to_string().len())
            + request.uri.user().map_or(0, str::len)
    });
}
