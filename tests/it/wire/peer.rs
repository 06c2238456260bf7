//! A SIP party of a bare socket: it says what it is told to, byte for byte, and keeps what it hears
//! as text.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// What may be waited for at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A message as it was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) text: String,
    /// Where it came from.
    pub(crate) from: SocketAddr,
}

impl Heard {
    pub(crate) fn start(&self) -> &str {
        self.text.split("\r\n").next().unwrap_or_default()
    }

    /// Absent: a request.
    pub(crate) fn status(&self) -> Option<u16> {
        self.start().strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// `INVITE`, or `180 INVITE` for a response to one.
    pub(crate) fn kind(&self) -> String {
        match self.status() {
            Some(status) => {
                let cseq = self.header("CSeq").unwrap_or_default();
                format!("{status} {}", cseq.split(' ').nth(1).unwrap_or_default())
            }
            None => self.start().split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    /// The header lines, split at whatever a lenient reader might take for the end of one.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        head.split(['\r', '\n']).skip(1).filter(|line| !line.is_empty())
    }

    /// The values of a header field, in order; what stands in one line with commas comes apart.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.raw(name).flat_map(|value| value.split(',')).map(str::trim).collect()
    }

    /// The first value of a header field, commas and all.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.raw(name).next()
    }

    fn raw(&self, name: &str) -> impl Iterator<Item = &str> {
        let fields = self.lines().filter_map(|line| line.split_once(':'));
        fields
            .filter(move |(found, _)| found.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    pub(crate) fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

/// One end of the wire.
pub(crate) struct Line {
    link: Link,
    pub(crate) local: SocketAddr,
    /// The server's listener.
    server: SocketAddr,
    /// Of a stream: what does not make a message yet.
    buffer: Vec<u8>,
    /// Heard, in order, so that a repetition is known for one.
    log: Vec<Heard>,
}

enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream),
    /// With the socket beneath, for its time-outs.
    Tls(Box<dyn ReadWrite>, TcpStream),
}

/// A TLS stream, whichever side of it we are.
pub(crate) trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

impl Line {
    pub(crate) fn udp(socket: UdpSocket, server: SocketAddr) -> Result<Self> {
        let local = socket.local_addr()?;
        Ok(Self { link: Link::Udp(socket), local, server, buffer: vec![], log: vec![] })
    }

    /// A connection to the server.
    pub(crate) fn tcp(server: SocketAddr) -> Result<Self> {
        Self::stream(TcpStream::connect_timeout(&server, PATIENCE)?, server)
    }

    /// A connection the server opens.
    pub(crate) fn accepted(listener: &TcpListener, server: SocketAddr) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let give_up = Instant::now() + PATIENCE;
        loop {
            match listener.accept() {
                Ok((stream, _)) => return Self::stream(stream, server),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ensure!(Instant::now() < give_up, "the server opened no connection");
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn stream(stream: TcpStream, server: SocketAddr) -> Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let local = stream.local_addr()?;
        Ok(Self { link: Link::Tcp(stream), local, server, buffer: vec![], log: vec![] })
    }

    /// Puts TLS on a connection; `secure` does the handshake.
    pub(crate) fn secured<S: ReadWrite + 'static>(
        self,
        secure: impl FnOnce(TcpStream) -> Result<S>,
    ) -> Result<Self> {
        let Link::Tcp(stream) = self.link else { bail!("TLS is put on a bare connection") };
        stream.set_read_timeout(Some(PATIENCE))?;
        let socket = stream.try_clone()?;
        Ok(Self { link: Link::Tls(Box::new(secure(stream)?), socket), ..self })
    }

    pub(crate) fn is_stream(&self) -> bool {
        !matches!(self.link, Link::Udp(_))
    }

    /// `UDP`, `TCP` or `TLS`, as in Via.
    pub(crate) fn transport(&self) -> &'static str {
        match self.link {
            Link::Udp(_) => "UDP",
            Link::Tcp(_) => "TCP",
            Link::Tls(..) => "TLS",
        }
    }

    /// A URI at which this line is reached.
    pub(crate) fn contact(&self) -> String {
        let transport = match self.link {
            Link::Udp(_) => "",
            Link::Tcp(_) => ";transport=tcp",
            Link::Tls(..) => ";transport=tls",
        };
        format!("<sip:{}{transport}>", self.local)
    }

    pub(crate) fn send(&mut self, message: impl AsRef<[u8]>) -> Result<()> {
        match &mut self.link {
            Link::Udp(socket) => {
                socket.send_to(message.as_ref(), self.server)?;
            }
            Link::Tcp(stream) => stream.write_all(message.as_ref())?,
            Link::Tls(stream, _) => {
                stream.write_all(message.as_ref())?;
                stream.flush()?;
            }
        }
        Ok(())
    }

    /// Each byte in a write of its own, and so in a segment of its own.
    pub(crate) fn send_bytewise(&mut self, message: &[u8]) -> Result<()> {
        message.chunks(1).try_for_each(|byte| self.send(byte))
    }

    /// The next message; `None` once nothing came for so long, or the connection is closed.
    pub(crate) fn hear(&mut self, limit: Duration) -> Result<Option<Heard>> {
        let give_up = Instant::now() + limit;
        loop {
            if let Some(heard) = self.framed() {
                self.log.push(heard.clone());
                return Ok(Some(heard));
            }
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.read(left)? {
                return Ok(None);
            }
        }
    }

    /// `false` once the time is up or the connection is closed.
    fn read(&mut self, limit: Duration) -> Result<bool> {
        // Zero would be for ever.
        let limit = limit.max(Duration::from_millis(1));
        let mut bytes = vec![0; 65_536];
        let outcome = match &mut self.link {
            Link::Udp(socket) => {
                socket.set_read_timeout(Some(limit))?;
                socket.recv_from(&mut bytes).map(|(length, from)| {
                    self.server = from;
                    length
                })
            }
            Link::Tcp(stream) => {
                stream.set_read_timeout(Some(limit))?;
                stream.read(&mut bytes)
            }
            Link::Tls(stream, socket) => {
                socket.set_read_timeout(Some(limit))?;
                stream.read(&mut bytes)
            }
        };
        match outcome {
            Ok(length) => {
                self.buffer.extend_from_slice(&bytes[..length]);
                Ok(length > 0)
            }
            Err(error) if is_end(error.kind()) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a message off the buffer.
    fn framed(&mut self) -> Option<Heard> {
        let length = if self.is_stream() {
            let head = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
            let text = String::from_utf8_lossy(&self.buffer[..head]).to_lowercase();
            let field = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let body: usize = field.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            head + body
        } else {
            self.buffer.len()
        };
        if length == 0 || self.buffer.len() < length {
            return None;
        }
        let bytes: Vec<u8> = self.buffer.drain(..length).collect();
        Some(Heard { text: String::from_utf8_lossy(&bytes).into_owned(), from: self.server })
    }

    /// The next message that is neither a 100 nor a repetition, which must be of this kind (see
    /// [`Heard::kind`]).
    pub(crate) fn expect(&mut self, kind: &str) -> Result<Heard> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let known = self.log.len();
            let left = give_up.saturating_duration_since(Instant::now());
            let heard = self.hear(left)?.with_context(|| format!("no `{kind}` came"))?;
            if heard.status() == Some(100) || self.log[..known].contains(&heard) {
                continue;
            }
            ensure!(heard.kind() == kind, "instead of `{kind}` came:\n{}", heard.text);
            return Ok(heard);
        }
    }

    /// Exactly these bytes come next on a stream.
    pub(crate) fn expect_bytes(&mut self, expected: &[u8]) -> Result<()> {
        let give_up = Instant::now() + PATIENCE;
        while self.buffer.len() < expected.len() {
            let left = give_up.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero() && self.read(left)?, "the bytes did not come");
        }
        let found: Vec<u8> = self.buffer.drain(..expected.len()).collect();
        ensure!(found == expected, "{:?} came", String::from_utf8_lossy(&found));
        Ok(())
    }

    /// Nothing comes for so long, but for what came before.
    pub(crate) fn expect_silence(&mut self, time: Duration) -> Result<()> {
        let give_up = Instant::now() + time;
        loop {
            let known = self.log.len();
            let left = give_up.saturating_duration_since(Instant::now());
            let Some(heard) = self.hear(left)? else { break };
            ensure!(self.log[..known].contains(&heard), "there should be silence:\n{}", heard.text);
        }
        ensure!(self.buffer.is_empty(), "there should be silence: {:?}", self.buffer);
        Ok(())
    }

    /// The server closes the connection and says nothing before it does.
    pub(crate) fn expect_end(&mut self) -> Result<()> {
        if let Some(heard) = self.hear(PATIENCE)? {
            bail!("the connection should end:\n{}", heard.text);
        }
        let read = match &mut self.link {
            Link::Udp(_) => bail!("a datagram socket has no end"),
            Link::Tcp(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.read(&mut [0])
            }
            Link::Tls(stream, socket) => {
                socket.set_read_timeout(Some(PATIENCE))?;
                stream.read(&mut [0])
            }
        };
        match read {
            Ok(0) => Ok(()),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::InvalidData | ErrorKind::UnexpectedEof
                ) =>
            {
                Ok(())
            }
            other => bail!("the connection should end: {other:?}"),
        }
    }
}

/// Nothing comes any more, or not in time.
fn is_end(error: ErrorKind) -> bool {
    matches!(
        error,
        ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::ConnectionReset
            | ErrorKind::UnexpectedEof
            // An alert of TLS.
            | ErrorKind::InvalidData
    )
}

/// A request with the header fields every request has. One of `fields` replaces those of its name,
/// or is added; a name without a colon leaves that field out.
pub(crate) fn request(line: &Line, start: &str, call_id: &str, fields: &[&str]) -> String {
    with_body(line, start, call_id, fields, "")
}

/// The same with a body, SDP if `fields` do not say otherwise.
pub(crate) fn with_body(
    line: &Line,
    start: &str,
    call_id: &str,
    fields: &[&str],
    body: &str,
) -> String {
    let method = start.split(' ').next().unwrap_or_default();
    let uri = start.split_whitespace().nth(1).unwrap_or_default();
    let unique: String = call_id.chars().filter(char::is_ascii_alphanumeric).collect();
    // What confirms or cancels an INVITE has its branch.
    let of = if matches!(method, "ACK" | "CANCEL") { "INVITE" } else { method };
    let branch: String = of.chars().filter(char::is_ascii_alphanumeric).collect();
    let mut usual = vec![
        format!("Via: SIP/2.0/{} {};branch=z9hG4bK{unique}{branch}", line.transport(), line.local),
        String::from("Max-Forwards: 70"),
        format!("From: <sip:+16145550188@{}>;tag=c{unique}", line.local),
        format!("To: <{uri}>"),
        format!("Call-ID: {call_id}"),
        format!("CSeq: 1 {method}"),
    ];
    if method == "INVITE" {
        usual.push(format!("Contact: {}", line.contact()));
    }
    if !body.is_empty() {
        usual.push(String::from("Content-Type: application/sdp"));
    }
    usual.push(format!("Content-Length: {}", body.len()));
    let replaced: Vec<String> = fields.iter().map(|field| name_of(field)).collect();
    let mut text = format!("{start}\r\n");
    // Content-Length stays last, others come before it.
    let length = usual.pop().filter(|field| !replaced.contains(&name_of(field)));
    usual.retain(|field| !replaced.contains(&name_of(field)));
    let added = fields.iter().copied().filter(|field| field.contains(':'));
    for field in usual.iter().map(String::as_str).chain(added).chain(length.as_deref()) {
        text.push_str(field);
        text.push_str("\r\n");
    }
    text + "\r\n" + body
}

/// The long name of a header field, in small letters.
fn name_of(field: &str) -> String {
    let name = field.split([':', ' ', '\t', '\r']).next().unwrap_or_default().to_lowercase();
    let long = match name.as_str() {
        "v" => "via",
        "f" => "from",
        "t" => "to",
        "i" => "call-id",
        "m" => "contact",
        "c" => "content-type",
        "l" => "content-length",
        _ => &name,
    };
    long.to_owned()
}

/// A response to what was heard, with a tag of ours and a Contact where it opens a dialog.
pub(crate) fn response(
    line: &Line,
    request: &Heard,
    status: &str,
    fields: &[&str],
    body: &str,
) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for field in request.lines() {
        match name_of(field).as_str() {
            "via" | "from" | "call-id" | "cseq" => text.push_str(field),
            "to" if field.contains(";tag=") => text.push_str(field),
            "to" => text.push_str(&format!("{field};tag=target")),
            _ => continue,
        }
        text.push_str("\r\n");
    }
    if request.kind() == "INVITE" {
        text.push_str(&format!("Contact: {}\r\n", line.contact()));
    }
    let is_typed = fields.iter().any(|field| name_of(field) == "content-type");
    for field in fields {
        text.push_str(&format!("{field}\r\n"));
    }
    if !body.is_empty() && !is_typed {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    text + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

pub(crate) const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.40\r\ns=-\r\nc=IN IP4 192.0.2.40\r\n\
                              t=0 0\r\nm=audio 40002 RTP/AVP 0\r\n";

/// One end of a dialog: what its requests carry.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    /// From and To of our requests.
    pub(crate) from: String,
    pub(crate) to: String,
    /// Where they go: the other side's Contact.
    pub(crate) target: String,
    pub(crate) cseq: u32,
}

impl Dialog {
    /// Of the caller, from the response that opened it.
    pub(crate) fn of_caller(answer: &Heard) -> Result<Self> {
        Self::of(answer, answer, "From", "To", 1)
    }

    /// Of the target, from the INVITE and our response to it.
    pub(crate) fn of_target(invite: &Heard, answer: &str) -> Result<Self> {
        let answer = Heard { text: answer.to_owned(), from: invite.from };
        Self::of(&answer, invite, "To", "From", 0)
    }

    fn of(answer: &Heard, theirs: &Heard, from: &str, to: &str, cseq: u32) -> Result<Self> {
        let field = |name| answer.header(name).with_context(|| format!("no {name}"));
        let contact = theirs.header("Contact").context("no Contact")?;
        let target = contact.split(['<', '>']).nth(1).context("a Contact without brackets")?;
        Ok(Self {
            call_id: field("Call-ID")?.to_owned(),
            from: field(from)?.to_owned(),
            to: field(to)?.to_owned(),
            target: target.to_owned(),
            cseq,
        })
    }

    /// The ACK to the answer.
    pub(crate) fn ack(&self, line: &Line) -> String {
        self.say(line, "ACK", &[&format!("CSeq: {} ACK", self.cseq)], "")
    }

    /// The next request.
    pub(crate) fn next(&mut self, line: &Line, method: &str) -> String {
        self.next_with(line, method, &[], "")
    }

    pub(crate) fn next_with(
        &mut self,
        line: &Line,
        method: &str,
        fields: &[&str],
        body: &str,
    ) -> String {
        self.cseq += 1;
        self.say(line, method, fields, body)
    }

    /// A request with the number of the one before.
    pub(crate) fn say(&self, line: &Line, method: &str, fields: &[&str], body: &str) -> String {
        let unique: String = self.call_id.chars().filter(char::is_ascii_alphanumeric).collect();
        let usual = [
            format!(
                "Via: SIP/2.0/{} {};branch=z9hG4bK{unique}{method}{}in",
                line.transport(),
                line.local,
                self.cseq
            ),
            format!("From: {}", self.from),
            format!("To: {}", self.to),
            format!("CSeq: {} {method}", self.cseq),
        ];
        let given: Vec<String> = fields.iter().map(|field| name_of(field)).collect();
        let kept = usual.iter().map(String::as_str).filter(|it| !given.contains(&name_of(it)));
        let fields: Vec<&str> = kept.chain(fields.iter().copied()).collect();
        with_body(line, &format!("{method} {} SIP/2.0", self.target), &self.call_id, &fields, body)
    }
}
