//! URIs, addresses, Vias and the parameters of each: what is read of a value is part of it, and
//! written out again it reads the same.

use tollbridge::sip::message::{
    CSeq, NameAddr, Params, RAck, Reason, Replaces, SessionExpires, TokenParams, Uri, Via,
    quote_display, unescape, unquote,
};

pub(crate) fn check(data: &[u8]) {
    if let Ok(uri) = Uri::parse(data) {
        read_uri(&uri);
    }
    if let Ok(addr) = NameAddr::parse(data) {
        read_addr(&addr);
    }
    if let Ok(via) = Via::parse(data) {
        let _ = (via.branch(), via.rport(), via.received(), via.host_ip(), via.port());
        assert!(within(via.sent_by(), data) && within(via.host(), data));
    }
    if let Ok(reason) = Reason::parse(data) {
        let _ = reason.text();
    }
    if let Ok(TokenParams { token, params }) = TokenParams::parse(data) {
        assert!(!token.is_empty());
        read_params(params);
    }
    let _ = (CSeq::parse(data), RAck::parse(data), SessionExpires::parse(data));
    let _ = Replaces::parse(data);
    assert!(unescape(data).len() <= data.len());
    assert!(unquote(data).len() <= data.len());
}

fn read_uri(uri: &Uri<'_>) {
    assert!(uri.equivalent(uri), "a URI is itself");
    let again = Uri::parse(uri.raw()).expect("what was a URI is one");
    assert!(again.equivalent(uri), "and the same one");
    let _ = (uri.user(), uri.password(), uri.port(), uri.host_ip(), uri.header_fields().count());
    read_params(uri.user_params());
    read_params(uri.params());
}

fn read_addr(addr: &NameAddr<'_>) {
    if let Ok(uri) = addr.parsed_uri() {
        read_uri(&uri);
    }
    read_params(addr.params());
    let mut quoted = Vec::new();
    quote_display(&unquote(addr.display()), &mut quoted);
    let line = [&quoted[..], b" <", addr.uri(), b">"].concat();
    let again = NameAddr::parse(&line).expect("a name in quotes and a URI in brackets");
    assert_eq!(again.uri(), addr.uri());
    assert!(!line.iter().any(|byte| matches!(byte, b'\r' | b'\n')), "a value is one line");
}

fn read_params(params: Params<'_>) {
    for (name, value) in params.iter() {
        assert!(within(name, params.raw()));
        assert!(params.has(name));
        assert!(value.is_none_or(|value| within(value, params.raw())));
    }
}

fn within(part: &[u8], whole: &[u8]) -> bool {
    part.is_empty() || whole.windows(part.len()).any(|window| window == part)
}
