//! Connections of the REST service.
//!
//! A client that sends slowly, or nothing, keeps nothing: the header of its first request has to be there
//! [`HEADER_TIME_MAX`] after the connection was made, that of each further one as long after its first byte, for
//! the body there is what the API allows, and before the next request [`IDLE_MAX`]. Nor does one that does not
//! read: what it is sent goes on within [`STUCK_MAX`]. Then the connection is closed. No more are open at a time
//! than may be, in all and of one source: [`Seats`] says who makes room.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use metrics::counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::ServiceExt;

use super::metrics as names;
use super::seats::{Seat, Seats};

/// For the header of a request (spec/data §2.9).
const HEADER_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a connection may be open without a request.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// How long a client may take nothing of what it is sent.
const STUCK_MAX: Duration = Duration::from_secs(10);
/// That connections make room for others, or are refused, is told no more often.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// After a failure to take connections, such as that too many files are open.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How many connections may be open.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// At a time.
    pub most: usize,
    /// Of one source address.
    pub of_source_most: usize,
}

/// Serves until `end`, then finishes what has begun.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    end: impl Future<Output = ()>,
) {
    let ConnectionLimits { most, of_source_most } = limits;
    let open = GracefulShutdown::new();
    let seats = Seats::new(most, of_source_most);
    let mut told: Option<Instant> = None;
    let mut end = std::pin::pin!(end);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
        };
        match accepted {
            Ok((stream, source)) => {
                let seat = seats.take(source.ip());
                if seat.as_ref().is_none_or(Seat::was_anothers) {
                    counter!(names::API_REFUSED).increment(1);
                    if told.is_none_or(|told| told.elapsed() >= TELL_AGAIN_AFTER) {
                        told = Some(Instant::now());
                        tracing::warn!(
                            connections_max = most,
                            connections_per_source_max = of_source_most,
                            "more connections to the REST service come than may be open: idle ones are \
                             closed, and new ones where there are none"
                        );
                    }
                }
                let Some(seat) = seat else { continue };
                // Without it an answer may wait for the client to acknowledge the one before.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection waits to send more at once");
                }
                converse(stream, router.clone(), &open, seat);
            }
            Err(error) if is_of_client(&error) => {}
            Err(error) => {
                tracing::error!(%error, "failed to take a connection to the REST service");
                sleep_until(Instant::now() + ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
    drop(listener);
    open.shutdown().await;
}

/// `seat` is kept as long as the connection is open.
fn converse<S>(stream: S, router: Router, open: &GracefulShutdown, seat: Seat)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let doing = Arc::new(Doing::default());
    let due = Some(Box::pin(sleep_until(Instant::now() + HEADER_TIME_MAX)));
    let paced = Paced { stream, doing: Arc::clone(&doing), due, stuck: None };
    let (seat, asked) = (Arc::new(seat), Arc::clone(&doing));
    let seated = Arc::clone(&seat);
    let service = service_fn(move |request: Request<Incoming>| {
        asked.is_asked.store(true, Ordering::Relaxed);
        let stays = seated.begin();
        let (router, asked, seated) = (router.clone(), Arc::clone(&asked), Arc::clone(&seated));
        async move {
            let mut answer = router.oneshot(request.map(axum::body::Body::new)).await;
            if let (Ok(answer), false) = (&mut answer, stays) {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            seated.rest();
            asked.is_asked.store(false, Ordering::Relaxed);
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .serve_connection(TokioIo::new(paced), service);
    let connection = open.watch(connection);
    tokio::spawn(async move {
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = seat.given() => poll_fn(|context| {
                let ended = connection.as_mut().poll(context);
                // With a request in its hands it goes when the client has the answer.
                if ended.is_pending() && doing.is_nothing() { Poll::Ready(Ok(())) } else { ended }
            })
            .await,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to the REST service ended");
        }
    });
}

/// Its end of the connection is gone already.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What a connection is at.
#[derive(Default)]
struct Doing {
    /// A request is being read or thought about. Else the next byte is of a header.
    is_asked: AtomicBool,
    /// What is written waits for the client to take it.
    is_stuck: AtomicBool,
}

impl Doing {
    fn is_nothing(&self) -> bool {
        !self.is_asked.load(Ordering::Relaxed) && !self.is_stuck.load(Ordering::Relaxed)
    }
}

/// A connection on which a header that has begun has to end in time, and an answer to go on.
struct Paced<S> {
    stream: S,
    doing: Arc<Doing>,
    /// Until when the header has to be there; absent: none has begun, and it is not the first.
    due: Option<Pin<Box<Sleep>>>,
    /// Until when the client has to take something; absent: it has taken all.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    /// What became of writing, unless that has made no progress for too long.
    fn in_time<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        self.doing.is_stuck.store(written.is_pending(), Ordering::Relaxed);
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let until = || Box::pin(sleep_until(Instant::now() + STUCK_MAX));
        ready!(self.stuck.get_or_insert_with(until).as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.doing.is_asked.load(Ordering::Relaxed) {
            this.due = None;
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        if let Some(due) = &mut this.due
            && due.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if this.due.is_none() && buffer.filled().len() > before {
            this.due = Some(Box::pin(sleep_until(Instant::now() + HEADER_TIME_MAX)));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.in_time(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.in_time(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use axum::routing::post;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";

    #[tokio::test(start_paused = true)]
    async fn a_header_that_does_not_end_in_time_ends_the_connection() {
        let (mut client, _open) = connected();
        let began = Instant::now();
        for byte in REQUEST.iter().cycle().take(1_000) {
            if client.write_all(&[*byte]).await.is_err() {
                break;
            }
            // A byte each second is a sign of life, and no header.
            sleep_until(Instant::now() + Duration::from_secs(1)).await;
        }
        assert_eq!(client.read_to_end(&mut vec![]).await.unwrap_or(0), 0, "no answer");
        assert!(
            began.elapsed() < HEADER_TIME_MAX + Duration::from_secs(3),
            "{:?}",
            began.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_closed_as_soon_as_one_without_the_end_of_a_header() {
        let (mut client, _open) = connected();
        let began = Instant::now();
        assert_eq!(client.read(&mut [0; 100]).await.unwrap_or(0), 0, "no answer");
        let took = began.elapsed();
        assert!(HEADER_TIME_MAX <= took && took < HEADER_TIME_MAX * 2, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_makes_room_is_closed_at_once_but_for_what_it_asked() {
        let open = GracefulShutdown::new();
        let seats = Seats::new(1, 1);
        let (mut idle, mut asking) = (connect(&seats, &open), None);
        assert!(asked(&mut idle).await.starts_with("HTTP/1.1 200"));
        for _ in 0..2 {
            let client = asking.insert(connect(&seats, &open));
            assert_eq!(idle.read(&mut [0; 100]).await.unwrap(), 0, "it is still open");
            client.write_all(&REQUEST[..REQUEST.len() - 1]).await.unwrap();
            // Its body is on the way: it is being answered.
            sleep_until(Instant::now() + Duration::from_millis(1)).await;
            assert!(seats.take(SOURCE).is_none());
            client.write_all(b"}").await.unwrap();
            assert!(answer(client).await.starts_with("HTTP/1.1 200"));
            idle = asking.take().unwrap();
        }
        drop(idle);
        sleep_until(Instant::now() + Duration::from_millis(1)).await;
        assert_eq!(seats.taken(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_slowly_has_its_answer_before_it_makes_room() {
        let open = GracefulShutdown::new();
        let seats = Seats::new(1, 1);
        let mut slow = connect_by(&seats, &open, 16);
        slow.write_all(REQUEST).await.unwrap();
        let mut answer = vec![0];
        // It has been thought about, and most of it has yet to be written.
        slow.read_exact(&mut answer).await.unwrap();
        let mut next = connect(&seats, &open);
        assert!(asked(&mut next).await.starts_with("HTTP/1.1 200"));

        slow.read_to_end(&mut answer).await.unwrap();

        assert!(answer.ends_with(b"\r\n\r\n{}"), "{}", String::from_utf8_lossy(&answer));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_rest_between_requests_longer_than_a_header_may_take() {
        let (mut client, _open) = connected();
        for pause in [0, 60, 70] {
            sleep_until(Instant::now() + Duration::from_secs(pause)).await;
            assert!(asked(&mut client).await.starts_with("HTTP/1.1 200"), "after {pause} s");
        }
        let began = Instant::now();
        assert_eq!(client.read(&mut [0; 100]).await.unwrap(), 0, "and not for good");
        assert!(began.elapsed() <= IDLE_MAX + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_not_held_to_the_time_of_the_header() {
        let (mut client, _open) = connected();
        client.write_all(&REQUEST[..REQUEST.len() - 1]).await.unwrap();
        sleep_until(Instant::now() + HEADER_TIME_MAX * 3).await;
        client.write_all(b"}").await.unwrap();
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_its_answer_keeps_no_connection() {
        let (mut client, open) = connected_by(16);
        client.write_all(REQUEST).await.unwrap();
        let began = Instant::now();

        let ended = tokio::time::timeout(STUCK_MAX * 10, open.shutdown()).await;

        assert!(ended.is_ok(), "it is still open");
        let took = began.elapsed();
        assert!(STUCK_MAX <= took && took < STUCK_MAX * 2, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_slowly_gets_its_answer() {
        let (mut client, _open) = connected_by(16);
        client.write_all(REQUEST).await.unwrap();
        let (began, mut answer) = (Instant::now(), vec![]);
        while !answer.ends_with(b"\r\n\r\n{}") {
            sleep_until(Instant::now() + STUCK_MAX / 2).await;
            let mut some = [0; 8];
            let length = client.read(&mut some).await.unwrap();
            assert_ne!(length, 0, "closed after {}", String::from_utf8_lossy(&answer));
            answer.extend(&some[..length]);
        }
        assert!(began.elapsed() > STUCK_MAX * 2, "{:?}", began.elapsed());
    }

    async fn asked(client: &mut DuplexStream) -> String {
        client.write_all(REQUEST).await.unwrap();
        answer(client).await
    }

    async fn answer(client: &mut DuplexStream) -> String {
        let mut bytes = vec![0; 1_000];
        let length = client.read(&mut bytes).await.unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    fn connected() -> (DuplexStream, GracefulShutdown) {
        connected_by(4_096)
    }

    /// To a service that reads bodies. So many bytes may be on the way.
    fn connected_by(capacity: usize) -> (DuplexStream, GracefulShutdown) {
        let open = GracefulShutdown::new();
        (connect_by(&Seats::new(1, 1), &open, capacity), open)
    }

    fn connect(seats: &Arc<Seats>, open: &GracefulShutdown) -> DuplexStream {
        connect_by(seats, open, 4_096)
    }

    fn connect_by(seats: &Arc<Seats>, open: &GracefulShutdown, capacity: usize) -> DuplexStream {
        let (client, server) = tokio::io::duplex(capacity);
        converse(server, router(), open, seats.take(SOURCE).expect("somebody makes room"));
        client
    }

    fn router() -> Router {
        Router::new().route("/", post(async |body: String| body))
    }
}
