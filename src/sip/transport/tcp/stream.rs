//! The bytes of one connection, plain or within TLS, behind the same few calls.
//!
//! As with a bare socket, `readable` and `writable` wait and `try_…` never do, so that one task
//! reads and writes side by side and can be stopped between any two of them.

use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};

use bytes::BytesMut;
use parking_lot::Mutex;
use rustls::Connection as Session;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;

#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

#[derive(Debug)]
pub(super) struct TlsStream {
    tcp: TcpStream,
    /// Never contended: the connection's task alone uses it, and for no longer than a call.
    state: Mutex<TlsState>,
}

#[derive(Debug)]
struct TlsState {
    session: Session,
    /// Received bytes that can be read without waiting.
    plaintext: usize,
    /// The peer said that nothing more will come.
    is_ended: bool,
    /// Bytes taken for sending of which some may not have left.
    unsent: usize,
}

impl Stream {
    /// Does the handshake. What has come behind it is kept.
    pub(super) async fn handshake(tcp: TcpStream, session: Session) -> io::Result<Self> {
        let mut state = TlsState { session, plaintext: 0, is_ended: false, unsent: 0 };
        loop {
            match state.flush(&tcp) {
                Ok(()) if !state.session.is_handshaking() => break,
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    tcp.writable().await?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            tcp.readable().await?;
            match state.take_in(&tcp) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self::Tls(Box::new(TlsStream { tcp, state: Mutex::new(state) })))
    }

    /// The certificate the peer has shown.
    pub(super) fn peer_certificate(&self) -> Option<CertificateDer<'static>> {
        let Self::Tls(tls) = self else { return None };
        tls.state.lock().session.peer_certificates()?.first().cloned()
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        if let Self::Tls(tls) = self
            && tls.state.lock().has_news()
        {
            return Ok(());
        }
        self.tcp().readable().await
    }

    pub(super) async fn writable(&self) -> io::Result<()> {
        self.tcp().writable().await
    }

    /// Appends what has arrived, no more than there is room for. 0 is the end.
    pub(super) fn try_read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_read_buf(buffer),
            Self::Tls(tls) => tls.state.lock().read(&tls.tcp, buffer),
        }
    }

    /// Gives how many of the bytes have left, all of those that were taken or none: a call that
    /// would have had to wait is repeated with the same bytes in front, and then counts them.
    pub(super) fn try_write_vectored(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_write_vectored(bytes),
            Self::Tls(tls) => tls.state.lock().write(&tls.tcp, bytes),
        }
    }

    /// Tells the peer that nothing more will come, if it can be told at once.
    pub(super) fn say_goodbye(&self) {
        if let Self::Tls(tls) = self {
            let mut state = tls.state.lock();
            state.session.send_close_notify();
            // It will see the connection end in any case.
            let _ = state.flush(&tls.tcp);
        }
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => &tls.tcp,
        }
    }
}

impl TlsState {
    fn has_news(&self) -> bool {
        self.plaintext > 0 || self.is_ended
    }

    fn read(&mut self, tcp: &TcpStream, buffer: &mut BytesMut) -> io::Result<usize> {
        while !self.has_news() {
            if self.take_in(tcp)? == 0 {
                // Whether a message is missing its end is known by its own length.
                return Ok(0);
            }
        }
        if self.plaintext == 0 {
            return Ok(0);
        }
        let room = buffer.capacity() - buffer.len();
        let mut reader = self.session.reader();
        let chunk = reader.fill_buf()?;
        let count = chunk.len().min(room);
        buffer.extend_from_slice(&chunk[..count]);
        reader.consume(count);
        self.plaintext -= count;
        Ok(count)
    }

    /// Reads from the socket once. 0 is its end.
    fn take_in(&mut self, tcp: &TcpStream) -> io::Result<usize> {
        let count = self.session.read_tls(&mut Socket(tcp))?;
        if count == 0 {
            return Ok(0);
        }
        match self.session.process_new_packets() {
            Ok(news) => {
                self.plaintext = news.plaintext_bytes_to_read();
                self.is_ended = news.peer_has_closed();
            }
            Err(error) => {
                // The alert that says why; the connection is over with or without it.
                let _ = self.flush(tcp);
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        }
        if self.session.wants_write() && !self.session.is_handshaking() {
            // What TLS itself answers. What does not fit goes with the next message.
            let _ = self.flush(tcp);
        }
        Ok(count)
    }

    fn write(&mut self, tcp: &TcpStream, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush(tcp)?;
        if self.unsent == 0 {
            self.unsent = self.session.writer().write_vectored(bytes)?;
        }
        self.flush(tcp)?;
        Ok(std::mem::take(&mut self.unsent))
    }

    /// Hands everything to the kernel, or fails with `WouldBlock`.
    fn flush(&mut self, tcp: &TcpStream) -> io::Result<()> {
        while self.session.wants_write() {
            if self.session.write_tls(&mut Socket(tcp))? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

/// A socket as the blocking interfaces see it: one that never waits.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
