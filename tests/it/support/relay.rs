//! A way to a server on which a message can be held back, or answers slowed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tollbridge::server::redis::Address;

/// Passes on everything, but for what it is told to hold back. Dropping it closes the way.
pub(crate) struct Relay {
    address: Address,
    held: Arc<Held>,
    accepting: JoinHandle<()>,
}

/// What is held back on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The question, and all that is said after it.
    Question,
    /// The answer to it, and all further ones.
    Answer,
}

/// What becomes of what is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waits,
    Passes,
    /// It never arrives, and its connection is closed.
    IsLost,
}

struct Held {
    /// What is to be held back of the next question that holds this text.
    wanted: Mutex<Option<(What, String)>>,
    /// How often it was caught.
    caught: watch::Sender<u32>,
    fate: watch::Sender<Fate>,
    /// Every second answer of a connection takes so much longer, milliseconds.
    slowed_ms: AtomicU64,
}

impl Relay {
    pub(crate) async fn to(server: Address) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = Address { host: "127.0.0.1".into(), port: listener.local_addr()?.port() };
        let held = Arc::new(Held {
            wanted: Mutex::default(),
            caught: watch::Sender::new(0),
            fate: watch::Sender::new(Fate::Passes),
            slowed_ms: AtomicU64::new(0),
        });
        let all = Arc::clone(&held);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect((&*server.host, server.port)).await else {
                    continue;
                };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let stuck = watch::Sender::new(false);
                let answers = answers(from_server, to_client, stuck.subscribe(), Arc::clone(&all));
                tokio::spawn(answers);
                tokio::spawn(questions(from_client, to_server, stuck, Arc::clone(&all)));
            }
        });
        Ok(Self { address, held, accepting })
    }

    pub(crate) fn address(&self) -> Address {
        self.address.clone()
    }

    /// Holds back the next question that holds this text, or its answer, until [`Relay::let_go`]
    /// or [`Relay::lose`].
    pub(crate) fn hold_back(&self, what: What, text: &str) {
        self.held.fate.send_replace(Fate::Waits);
        *self.held.wanted.lock() = Some((what, text.to_owned()));
    }

    pub(crate) async fn has_caught_it(&self) -> Result<()> {
        let give_up = Instant::now() + Duration::from_secs(5);
        while *self.held.caught.borrow() == 0 {
            ensure!(Instant::now() < give_up, "nothing like it was said");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    pub(crate) fn let_go(&self) {
        self.held.fate.send_replace(Fate::Passes);
    }

    /// Every second answer takes so much longer from now on.
    pub(crate) fn slow_down(&self, by: Duration) {
        self.held.slowed_ms.store(u64::try_from(by.as_millis()).unwrap_or(0), Ordering::SeqCst);
    }

    pub(crate) fn lose(&self) {
        self.held.fate.send_replace(Fate::IsLost);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn questions(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    stuck: watch::Sender<bool>,
    held: Arc<Held>,
) {
    let (mut buffer, mut fate) = (vec![0; 65_536], held.fate.subscribe());
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let caught = held.wanted.lock().take_if(|(_, text)| said.contains(text.as_str()));
        if let Some((what, _)) = caught {
            held.caught.send_modify(|times| *times += 1);
            match what {
                What::Question if is_lost(&mut fate).await => return,
                What::Question => {}
                What::Answer => drop(stuck.send_replace(true)),
            }
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    stuck: watch::Receiver<bool>,
    held: Arc<Held>,
) {
    let (mut buffer, mut fate) = (vec![0; 65_536], held.fate.subscribe());
    let mut answered = 0_u64;
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        if *stuck.borrow() && is_lost(&mut fate).await {
            return;
        }
        answered += 1;
        if answered.is_multiple_of(2) {
            let slowed = Duration::from_millis(held.slowed_ms.load(Ordering::SeqCst));
            tokio::time::sleep(slowed).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Once it is known.
async fn is_lost(fate: &mut watch::Receiver<Fate>) -> bool {
    fate.wait_for(|fate| *fate != Fate::Waits).await.is_ok_and(|fate| *fate == Fate::IsLost)
}
