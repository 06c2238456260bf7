//! Pings that are due at a steady rate, over connections that are kept.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until, timeout};

/// Nobody waits that long for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often somebody is looked for who was there before.
const TRY_EVERY: Duration = Duration::from_millis(20);
/// The load begins so long after the last connection is open.
const LEAD: Duration = Duration::from_millis(100);

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Pings a second.
    pub(crate) rate: u32,
    pub(crate) time: Duration,
    pub(crate) connections: u32,
}

/// What whoever sends does when its connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IfCutOff {
    Fails,
    GoesOn,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// From when each was due to its answer.
    pub(crate) took: Vec<Duration>,
    /// Ids of pings.
    pub(crate) acknowledged: Vec<String>,
    pub(crate) refused: usize,
    /// What one of those was told.
    pub(crate) refusal: Option<String>,
}

impl Load {
    /// Sends it all.
    pub(crate) fn put_on(&self, server: SocketAddr) -> Result<Measured> {
        self.put(server, IfCutOff::Fails)
    }

    /// Sends it to a server that is killed meanwhile and comes back: what is cut off is sent no more, and what is
    /// due while nobody is there is sent late.
    pub(crate) fn put_on_one_that_dies(&self, server: SocketAddr) -> Result<Measured> {
        self.put(server, IfCutOff::GoesOn)
    }

    fn put(&self, address: SocketAddr, if_cut_off: IfCutOff) -> Result<Measured> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut connections = vec![];
            for place in 0..self.connections {
                connections.push((place, Connection::to(address).await?));
            }
            let started = Instant::now() + LEAD;
            let senders: Vec<_> = connections
                .into_iter()
                .map(|(place, to)| tokio::spawn(self.send(to, place, started, if_cut_off)))
                .collect();
            let mut all = Measured::default();
            for sender in senders {
                let Measured { took, acknowledged, refused, refusal } = sender.await??;
                all.took.extend(took);
                all.acknowledged.extend(acknowledged);
                all.refused += refused;
                all.refusal = all.refusal.or(refusal);
            }
            Ok(all)
        })
    }

    /// Every ping whose number leaves this remainder.
    fn send(
        &self,
        mut connection: Connection,
        place: u32,
        started: Instant,
        if_cut_off: IfCutOff,
    ) -> impl Future<Output = Result<Measured>> + Send + use<> {
        let Self { rate, time, connections } = *self;
        async move {
            let mut measured = Measured::default();
            for number in (place..).step_by(connections as usize) {
                let due = Duration::from_secs_f64(f64::from(number) / f64::from(rate));
                if due >= time {
                    break;
                }
                sleep_until((started + due).into()).await;
                let answer = connection.ask("POST", "/v1/pings", &ping(number)).await;
                let (status, body) = match answer {
                    Err(_) if if_cut_off == IfCutOff::GoesOn => {
                        connection = Connection::again(connection.server).await?;
                        continue;
                    }
                    answer => answer?,
                };
                measured.took.push((started + due).elapsed());
                match status {
                    202 => measured.acknowledged.push(id_in(&body)?),
                    _ => {
                        measured.refused += 1;
                        measured.refusal.get_or_insert(body);
                    }
                }
            }
            Ok(measured)
        }
    }
}

/// How many of these pings the server knows nothing of.
pub(crate) fn missing(server: SocketAddr, pings: &[String], connections: u32) -> Result<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let share = pings.len().div_ceil(connections as usize).max(1);
        let askers: Vec<_> = pings
            .chunks(share)
            .map(|share| {
                let share = share.to_vec();
                tokio::spawn(async move {
                    let mut connection = Connection::to(server).await?;
                    let mut missing = 0;
                    for ping in share {
                        let path = format!("/v1/pings/{ping}");
                        let (status, _) = connection.ask("GET", &path, "").await?;
                        missing += usize::from(status != 200);
                    }
                    anyhow::Ok(missing)
                })
            })
            .collect();
        let mut missing = 0;
        for asker in askers {
            missing += asker.await??;
        }
        Ok(missing)
    })
}

/// No two callers are the same.
fn ping(number: u32) -> String {
    let caller = format!("+1614{:07}", 2_000_000 + number);
    let pool = if number.is_multiple_of(10) { r#","pool":"lent""# } else { "" };
    format!(
        r#"{{"campaign":"pinged","caller_id":"{caller}","zip":"43215","state":"OH","tags":{{"utm_source":"search","gclid":"Cj0KCQ{number}"}}{pool}}}"#
    )
}

fn id_in(body: &str) -> Result<String> {
    let answer: serde_json::Value = serde_json::from_str(body).with_context(|| body.to_owned())?;
    Ok(answer["ping_id"].as_str().with_context(|| body.to_owned())?.to_owned())
}

/// HTTP/1.1, one request at a time.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    server: SocketAddr,
}

impl Connection {
    pub(crate) async fn to(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), server })
    }

    /// Once somebody is there.
    async fn again(server: SocketAddr) -> Result<Self> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            match Self::to(server).await {
                Err(_) if Instant::now() < give_up => sleep(TRY_EVERY).await,
                connected => return connected,
            }
        }
    }

    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<(u16, String)> {
        let server = self.server;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {server}\r\nAuthorization: Bearer dev\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        timeout(PATIENCE, self.answer()).await?
    }

    async fn answer(&mut self) -> Result<(u16, String)> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        let status = line.split(' ').nth(1).with_context(|| format!("`{line}` came"))?.parse()?;
        let mut length = 0;
        loop {
            line.clear();
            ensure!(self.stream.read_line(&mut line).await? > 0, "the connection was closed");
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok((status, String::from_utf8(body)?))
    }
}
