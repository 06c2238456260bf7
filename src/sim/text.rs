//! Messages as the parties of the simulation write and read them. The reader is not the one under
//! test: it knows just enough of what this simulation sends, and checks what it reads.

use crate::sip::message::Method;
use bytes::Bytes;

/// What the parties look at in a message. Slices share the message's buffer.
#[derive(Clone, Debug)]
pub(crate) struct Glance {
    pub(crate) raw: Bytes,
    pub(crate) start: Start,
    /// Every Via value as written.
    pub(crate) vias: Vec<Bytes>,
    pub(crate) branch: Bytes,
    pub(crate) from: Bytes,
    pub(crate) from_tag: Bytes,
    pub(crate) to: Bytes,
    pub(crate) to_tag: Option<Bytes>,
    pub(crate) call_id: Bytes,
    pub(crate) cseq: u32,
    pub(crate) cseq_method: Method,
    /// The URI in the first Contact.
    pub(crate) contact: Option<Bytes>,
    /// Every Contact as written; one, but in a redirection.
    pub(crate) contacts: Vec<Bytes>,
    pub(crate) routes: Vec<Bytes>,
    pub(crate) record_routes: Vec<Bytes>,
    pub(crate) max_forwards: Option<u32>,
    /// What Supported and Require name.
    pub(crate) supported: Vec<Bytes>,
    pub(crate) required: Vec<Bytes>,
    pub(crate) rseq: Option<u32>,
    /// The RSeq that RAck names.
    pub(crate) rack: Option<u32>,
    pub(crate) session_s: Option<u32>,
    pub(crate) min_session_s: Option<u32>,
    /// The URI in Refer-To.
    pub(crate) refer_to: Option<Bytes>,
    pub(crate) event: Option<Bytes>,
    pub(crate) body: Bytes,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Start {
    Request { method: Method, uri: Bytes },
    Response { status: u16 },
}

impl Glance {
    /// Fails with what is wrong, in words, if a field is missing, doubled or not as it must be.
    pub(crate) fn read(raw: &Bytes) -> Result<Self, String> {
        let end = memchr::memmem::find(raw, b"\r\n\r\n").ok_or("no end of the header")?;
        let body = raw.slice(end + 4..);
        let mut lines = Lines { raw, at: 0, end };
        let start = read_start(&lines.next().ok_or("no start line")?)?;
        let mut vias = vec![];
        let (mut routes, mut record_routes) = (vec![], vec![]);
        let (mut from, mut to, mut call_id, mut cseq) = (None, None, None, None);
        let (mut contacts, mut max_forwards, mut length) = (vec![], None, None);
        let (mut refer_to, mut event) = (None, None);
        let (mut supported, mut required) = (vec![], vec![]);
        let (mut rseq, mut rack, mut session, mut min_session) = (None, None, None, None);
        for line in lines {
            let colon = memchr::memchr(b':', &line).ok_or("a line without a colon")?;
            let value = trim(&line.slice(colon + 1..));
            let once = |slot: &mut Option<Bytes>, value| match slot.replace(value) {
                None => Ok(()),
                Some(_) => Err(format!("two {}", show(&line[..colon]))),
            };
            match &line[..colon] {
                b"Via" => vias.push(value),
                b"From" => once(&mut from, value)?,
                b"To" => once(&mut to, value)?,
                b"Call-ID" => once(&mut call_id, value)?,
                b"CSeq" => once(&mut cseq, value)?,
                b"Contact" => contacts.extend(list(&value)),
                b"Refer-To" => once(&mut refer_to, value)?,
                b"Event" => once(&mut event, value)?,
                b"Max-Forwards" => once(&mut max_forwards, value)?,
                b"Content-Length" => once(&mut length, value)?,
                b"RSeq" => once(&mut rseq, value)?,
                b"RAck" => once(&mut rack, value)?,
                b"Session-Expires" => once(&mut session, value)?,
                b"Min-SE" => once(&mut min_session, value)?,
                b"Supported" => supported.extend(list(&value)),
                b"Require" => required.extend(list(&value)),
                b"Route" => routes.push(value),
                b"Record-Route" => record_routes.push(value),
                _ => {}
            }
        }
        let moves = matches!(start, Start::Response { status: 300..400 });
        if contacts.len() > 1 && !moves {
            return Err(String::from("two Contact"));
        }
        let length: usize = number(&length.ok_or("no Content-Length")?)?;
        if length != body.len() {
            return Err(format!("Content-Length {length} before {} octets", body.len()));
        }
        let branch = after(vias.first().ok_or("no Via")?, b"branch=").ok_or("no branch")?;
        if !branch.starts_with(b"z9hG4bK") || branch.len() < 8 {
            return Err(String::from("a branch without the magic cookie"));
        }
        let from = from.ok_or("no From")?;
        let from_tag = after(&from, b";tag=").ok_or("no From tag")?;
        let to = to.ok_or("no To")?;
        let to_tag = after(&to, b";tag=");
        let cseq = cseq.ok_or("no CSeq")?;
        let space = memchr::memchr(b' ', &cseq).ok_or("a CSeq without a method")?;
        let cseq_method = Method::from_bytes(&cseq[space + 1..]);
        if matches!(&start, Start::Request { method, .. } if *method != cseq_method) {
            return Err(String::from("CSeq names another method"));
        }
        Ok(Self {
            raw: raw.clone(),
            start,
            vias,
            branch,
            from,
            from_tag,
            to,
            to_tag,
            call_id: call_id.ok_or("no Call-ID")?,
            cseq: number(&cseq[..space])?,
            cseq_method,
            contact: contacts.first().map(within),
            contacts,
            routes,
            record_routes,
            max_forwards: max_forwards.map(|value| number(&value)).transpose()?,
            supported,
            required,
            rseq: rseq.map(|value| number(&value)).transpose()?,
            rack: rack.map(|value| number(first_word(&value))).transpose()?,
            session_s: session.map(|value| number(first_word(&value))).transpose()?,
            min_session_s: min_session.map(|value| number(first_word(&value))).transpose()?,
            refer_to: refer_to.map(|value| within(&value)),
            event,
            body,
        })
    }

    /// The URIs in its Contacts.
    pub(crate) fn contact_uris(&self) -> impl Iterator<Item = String> {
        self.contacts.iter().map(|contact| show(&within(contact)))
    }

    /// The status in a fragment of a message, which is what NOTIFY brings (RFC 3420).
    pub(crate) fn fragment(&self) -> Option<u16> {
        number(self.body.strip_prefix(b"SIP/2.0 ")?.get(..3)?).ok()
    }

    /// Whether its sender takes reliable provisional responses (RFC 3262).
    pub(crate) fn takes_reliable(&self) -> bool {
        self.supported.iter().chain(&self.required).any(|option| option == "100rel")
    }

    pub(crate) fn requires(&self, option: &str) -> bool {
        self.required.iter().any(|required| required == option)
    }

    pub(crate) fn method(&self) -> Option<Method> {
        match self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    pub(crate) fn uri(&self) -> Bytes {
        match &self.start {
            Start::Request { uri, .. } => uri.clone(),
            Start::Response { .. } => Bytes::new(),
        }
    }

    /// The number a party put into the body, so that its way can be followed.
    pub(crate) fn serial(&self) -> Option<u64> {
        let at = memchr::memmem::find(&self.body, b"serial-")? + b"serial-".len();
        let digits = self.body[at..].iter().take_while(|byte| byte.is_ascii_digit());
        Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    }
}

/// A request that a party writes.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) uri: &'a str,
    pub(crate) host: &'a str,
    pub(crate) branch: &'a str,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
    pub(crate) contact: &'a str,
    pub(crate) record_routes: &'a [String],
    /// More header lines, each with its end.
    pub(crate) more: &'a str,
    pub(crate) body: &'a str,
}

impl Request<'_> {
    pub(crate) fn write(&self) -> Bytes {
        let Self { uri, host, branch, from, to, call_id, cseq, contact, more, body, .. } = self;
        let method = self.method.name();
        let record_routes = routes(self.record_routes);
        let kind = kind_of(body);
        let length = body.len();
        Bytes::from(format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {host};rport;branch={branch}\r\n{record_routes}\
             Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\nContact: <{contact}>\r\nUser-Agent: agent-of-{contact}\r\n\
             X-Pass: ok\r\nX-Own: {contact}\r\n{more}{kind}Content-Length: {length}\r\n\r\n{body}"
        ))
    }
}

/// A response that a party writes.
pub(crate) fn respond(
    to: &Glance,
    status: u16,
    tag: &str,
    contact: &str,
    record_routes: &[String],
    more: &str,
    body: &str,
) -> Bytes {
    let mut text = format!("SIP/2.0 {status} Whatever\r\n");
    for via in &to.vias {
        text.extend(["Via: ", &show(via), "\r\n"]);
    }
    text.push_str(&routes(record_routes));
    text.extend(["From: ", &show(&to.from), "\r\nTo: ", &show(&to.to)]);
    if to.to_tag.is_none() && status > 100 {
        text.extend([";tag=", tag]);
    }
    let (cseq, method) = (to.cseq, to.cseq_method.name());
    // Whoever sends the call elsewhere does not name itself.
    let is_elsewhere = more.contains("Contact: ");
    let own = if is_elsewhere { String::new() } else { format!("Contact: <{contact}>\r\n") };
    let (kind, length) = (kind_of(body), body.len());
    text.push_str(&format!(
        "\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n{own}Server: agent-of-{contact}\r\n\
         X-Pass: ok\r\nX-Own: {contact}\r\n{more}{kind}Content-Length: {length}\r\n\r\n{body}",
        show(&to.call_id)
    ));
    Bytes::from(text)
}

/// A session description whose origin and serial name who made it.
pub(crate) fn sdp(who: &str, serial: u64) -> String {
    format!(
        "v=0\r\no={who} 1 {serial} IN IP4 10.9.9.9\r\ns=serial-{serial}\r\nc=IN IP4 203.0.113.77\r\n\
         t=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
    )
}

pub(crate) fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn routes(record_routes: &[String]) -> String {
    record_routes.iter().map(|route| format!("Record-Route: {route}\r\n")).collect()
}

fn kind_of(body: &str) -> &'static str {
    match body.get(..2) {
        None => "",
        Some("v=") => "Content-Type: application/sdp\r\n",
        Some("SI") if body.starts_with("SIP/2.0") => "Content-Type: message/sipfrag\r\n",
        Some(_) => "Content-Type: application/dtmf-relay\r\n",
    }
}

fn read_start(line: &Bytes) -> Result<Start, String> {
    if let Some(rest) = line.strip_prefix(b"SIP/2.0 ") {
        return Ok(Start::Response { status: number(rest.get(..3).ok_or("no status")?)? });
    }
    let space = memchr::memchr(b' ', line).ok_or("no Request-URI")?;
    let rest = line.slice(space + 1..);
    let uri = rest.strip_suffix(b" SIP/2.0").ok_or("no SIP version")?.len();
    Ok(Start::Request { method: Method::from_bytes(&line[..space]), uri: rest.slice(..uri) })
}

struct Lines<'a> {
    raw: &'a Bytes,
    at: usize,
    end: usize,
}

impl Iterator for Lines<'_> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let start = self.at;
        if start >= self.end {
            return None;
        }
        let end = memchr::memchr(b'\r', &self.raw[start..self.end]).map_or(self.end, |n| start + n);
        self.at = end + 2;
        Some(self.raw.slice(start..end))
    }
}

fn trim(value: &Bytes) -> Bytes {
    value.slice_ref(value.trim_ascii())
}

/// The entries of a list.
fn list(value: &Bytes) -> impl Iterator<Item = Bytes> + '_ {
    value.split(|byte| *byte == b',').map(|entry| value.slice_ref(entry.trim_ascii()))
}

/// Up to the first space or parameter.
fn first_word(value: &Bytes) -> &[u8] {
    let end = memchr::memchr2(b' ', b';', value).unwrap_or(value.len());
    &value[..end]
}

/// What follows `mark`, up to the next parameter.
fn after(value: &Bytes, mark: &[u8]) -> Option<Bytes> {
    let start = memchr::memmem::find(value, mark)? + mark.len();
    let end = memchr::memchr3(b';', b',', b'>', &value[start..]).map_or(value.len(), |n| start + n);
    Some(value.slice(start..end))
}

/// What is between the angle brackets.
fn within(value: &Bytes) -> Bytes {
    let start = memchr::memchr(b'<', value).map_or(0, |at| at + 1);
    let end = memchr::memchr(b'>', value).unwrap_or(value.len());
    value.slice(start..end)
}

fn number<T: TryFrom<u64>>(digits: &[u8]) -> Result<T, String> {
    let wrong = || format!("{} is no number", show(digits));
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) || digits.len() > 18 {
        return Err(wrong());
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    T::try_from(number).map_err(|_| wrong())
}
