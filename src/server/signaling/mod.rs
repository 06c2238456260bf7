//! A shard: one thread, one endpoint, its sockets, its mailbox and its deadlines.
//!
//! Everything a call needs happens on its shard's thread: the datagram is read, the call machine
//! runs, the decision is made, the facts are appended, the answer is sent. A datagram that the
//! kernel gave to the wrong shard is handed over after a look at its Call-ID.

mod feeding;
mod reading;
mod sending;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::id::CallId;
use crate::sip::admission::Busy;
use crate::sip::call::report::AttemptNumber;
use crate::sip::endpoint::{CallKey, Endpoint, Input, Output, SWEEP_EVERY};
use crate::sip::flow::ListenerId;
use crate::sip::transport::{RecvBatch, SendQueue, Steering, Tcp, TcpEvent, UdpSocket};
use crate::time::Mono;

use super::bridge::Bridge;
use super::clock;
use super::mailbox::{Mail, Mailbox};
use super::metrics::ShardMetrics;
use super::overload::{Backlog, Level, MemoryFlag};
use super::pace::Pace;
use super::sources::Sources;

use feeding::unharmed;

/// Letters and stream messages read in one turn; what is left wakes the next turn at once.
const LETTERS_PER_TURN: usize = 256;

/// How long stopping shards wait for the last answers. What is still unanswered then is in the
/// journal; only its peers have not said that they heard.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often a stopping shard looks whether the others are done.
const STOP_LOOK: Duration = Duration::from_millis(20);

/// Turns between two looks at the reactor while messages gather: what only it knows, such as room
/// in a full socket, waits no longer than that.
const EAGER_TURNS: u32 = 8;

/// Sockets that are woken when they can send again; what waits on a later one is tried again soon.
const POLLED_FOR_WRITING: usize = 4;
const UNSENT_RETRY: Duration = Duration::from_millis(5);

/// How often counts go to the metrics, and holds of live calls are renewed if it is time.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

pub struct Shard {
    pub index: u16,
    pub endpoint: Endpoint,
    pub bridge: Bridge,
    /// UDP listeners as this shard reads them.
    pub sockets: Vec<(ListenerId, UdpSocket)>,
    pub tcp: Arc<Tcp>,
    pub tcp_events: mpsc::Receiver<TcpEvent>,
    pub mail: mpsc::Receiver<Mail>,
    /// All shards, this one included, by index.
    pub shards: Vec<Mailbox>,
    pub steering: Steering,
    pub sources: Arc<Sources>,
    pub metrics: ShardMetrics,
    /// The longest a message may wait for others to be read with it.
    pub gather: Duration,
    pub(super) backlog: Backlog,
    pub(super) memory: Arc<MemoryFlag>,
    /// How many of all shards were told to stop and have nothing left to wait for.
    pub idle_shards: Arc<AtomicUsize>,
}

/// What a turn of the shard works with.
struct Turn {
    batch: RecvBatch,
    /// What is to leave, by socket.
    queues: Vec<SendQueue>,
    outputs: Vec<Output>,
    /// Answers to the endpoint's questions, to be fed once all outputs are done.
    answers: VecDeque<Input>,
    /// Answers to calls that wait for their turn, by when it comes.
    waiting: BTreeMap<(Mono, u64), Waiting>,
    /// Numbers the entries of `waiting`.
    waited: u64,
    conversions: BinaryHeap<Reverse<(Mono, CallKey)>>,
    housekeeping_at: Mono,
    pace: Pace,
    /// Turns since the reactor was asked, while messages gather.
    eager: u32,
    /// Handled in this turn.
    messages: u64,
    /// Nothing was left unread.
    drained: bool,
    /// Why new calls are refused, as the endpoint was told last.
    strain: Option<Busy>,
    sweep_at: Mono,
    /// Set when the shard is to stop: until when it may linger over its last transactions.
    stop_by: Option<Mono>,
    /// Counted among the idle ones.
    idle: bool,
}

/// A call that waits for its turn under a limit, or for what others say of it.
enum Waiting {
    Decided(Input),
    Held(CallKey, AttemptNumber),
    /// It is decided without what was not said then.
    Words(CallKey, CallId),
}

impl Turn {
    fn wait(&mut self, until: Mono, what: Waiting) {
        self.waited += 1;
        self.waiting.insert((until, self.waited), what);
    }
}

impl Shard {
    /// Runs until told to stop.
    pub async fn run(mut self) {
        let now = clock::mono();
        let mut turn = Turn {
            batch: RecvBatch::new(),
            queues: self.sockets.iter().map(|_| SendQueue::new()).collect(),
            outputs: Vec::new(),
            answers: VecDeque::new(),
            waiting: BTreeMap::new(),
            waited: 0,
            conversions: BinaryHeap::new(),
            housekeeping_at: now + HOUSEKEEPING,
            pace: Pace::new(self.gather, now),
            eager: 0,
            messages: 0,
            drained: true,
            strain: None,
            sweep_at: now + SWEEP_EVERY,
            stop_by: None,
            idle: false,
        };
        loop {
            let letter = if turn.eager > 0 { None } else { self.wait(&turn).await };
            self.turn(letter, &mut turn);
            let messages = std::mem::take(&mut turn.messages);
            turn.eager = match turn.pace.turn(messages, clock::mono()) {
                Some(gather) => {
                    // The thread is the shard's own; nothing else waits on it.
                    std::thread::sleep(gather);
                    (turn.eager + 1) % EAGER_TURNS
                }
                None => 0,
            };
            if self.is_done(&mut turn) {
                break;
            }
        }
        self.flush(&mut turn);
        self.housekeep(&turn);
    }

    /// Whether a shard that was told to stop may. All stop together: the kernel hands a closed
    /// socket's datagrams to nobody, and another shard may be waiting for one of them.
    fn is_done(&mut self, turn: &mut Turn) -> bool {
        let Some(stop_by) = turn.stop_by else { return false };
        let idle = self.endpoint.calls() == 0 && self.endpoint.transactions() == 0;
        if idle != turn.idle {
            turn.idle = idle;
            if idle {
                self.idle_shards.fetch_add(1, Ordering::SeqCst);
            } else {
                self.idle_shards.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let all_idle = self.idle_shards.load(Ordering::SeqCst) >= self.shards.len();
        all_idle || clock::mono() >= stop_by
    }

    /// Waits for a socket, a letter or a deadline. A letter is taken out of its box.
    async fn wait(&mut self, turn: &Turn) -> Option<Letter> {
        let now = clock::mono();
        let mut deadline = turn.housekeeping_at;
        deadline = self.endpoint.deadline().map_or(deadline, |at| at.min(deadline));
        if let Some(Reverse((at, _))) = turn.conversions.peek() {
            deadline = deadline.min(*at);
        }
        if let Some(((at, _), _)) = turn.waiting.first_key_value() {
            deadline = deadline.min(*at);
        }
        if let Some(stop_by) = turn.stop_by {
            deadline = deadline.min(stop_by).min(now + STOP_LOOK);
        }
        if turn.queues.iter().skip(POLLED_FOR_WRITING).any(|queue| !queue.is_empty()) {
            deadline = deadline.min(now + UNSENT_RETRY);
        }
        let instant = tokio::time::Instant::now() + deadline.since(now);
        let mut alarm = pin!(tokio::time::sleep_until(instant));
        let (sockets, mail, tcp_events) = (&self.sockets, &mut self.mail, &mut self.tcp_events);
        let ready = |index| ready(sockets, &turn.queues, index);
        let (mut first, mut second) = (pin!(ready(0)), pin!(ready(1)));
        let (mut third, mut fourth) = (pin!(ready(2)), pin!(ready(3)));
        poll_fn(|context| {
            if let Poll::Ready(Some(letter)) = mail.poll_recv(context) {
                return Poll::Ready(Some(Letter::Mail(letter)));
            }
            if let Poll::Ready(Some(event)) = tcp_events.poll_recv(context) {
                return Poll::Ready(Some(Letter::Tcp(event)));
            }
            let woken = first.as_mut().poll(context).is_ready()
                || second.as_mut().poll(context).is_ready()
                || third.as_mut().poll(context).is_ready()
                || fourth.as_mut().poll(context).is_ready()
                || sockets
                    .iter()
                    .skip(POLLED_FOR_WRITING)
                    .any(|(_, it)| it.poll_readable(context).is_ready())
                || alarm.as_mut().poll(context).is_ready();
            if woken { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    fn turn(&mut self, letter: Option<Letter>, turn: &mut Turn) {
        turn.drained = true;
        if let Some(letter) = letter {
            self.read_letter(letter, turn);
        }
        for _ in 0..LETTERS_PER_TURN {
            let Ok(mail) = self.mail.try_recv() else { break };
            self.read_letter(Letter::Mail(mail), turn);
        }
        for _ in 0..LETTERS_PER_TURN {
            let Ok(event) = self.tcp_events.try_recv() else { break };
            self.read_letter(Letter::Tcp(event), turn);
        }
        turn.drained &= self.mail.is_empty() && self.tcp_events.is_empty();
        for index in 0..self.sockets.len() {
            self.read_socket(index, turn);
        }
        let now = clock::mono();
        if let Some(deadline) = self.endpoint.deadline().filter(|deadline| *deadline <= now) {
            self.metrics.timers_late(now.since(deadline));
            self.guarded(turn, now, |endpoint, now, out| endpoint.handle_timeouts(now, out));
        }
        self.convert(turn, now);
        self.take_turns(turn, now);
        while let Some(input) = self.bridge.next_durable() {
            self.feed(input, turn);
        }
        if turn.housekeeping_at <= now {
            turn.housekeeping_at = now + HOUSEKEEPING;
            self.housekeep(turn);
            // One shard asks for all.
            if self.index == 0
                && let Some(targets) = self.bridge.probes()
            {
                self.feed(Input::Probe(targets), turn);
            }
        }
        if turn.sweep_at <= now {
            turn.sweep_at = now + SWEEP_EVERY;
            self.feed(Input::Sweep, turn);
        }
        self.judge(turn, now);
        self.flush(turn);
    }

    /// Has new calls refused while the shard is behind, or the process short of memory.
    fn judge(&mut self, turn: &mut Turn, now: Mono) {
        let level = self.backlog.turn(turn.drained, now);
        self.shards[usize::from(self.index)].set_braked(level == Level::Brake);
        let strain = if self.memory.is_short() {
            Some(Busy::Memory)
        } else {
            (level >= Level::Refuse).then_some(Busy::Behind)
        };
        if strain != turn.strain {
            turn.strain = strain;
            self.feed(Input::Strained(strain), turn);
        }
    }

    fn housekeep(&mut self, turn: &Turn) {
        let (accounted, disk_waits) = self.bridge.sizes();
        let (calls, deadlines) = (self.endpoint.calls(), self.endpoint.deadlines());
        let conversions = turn.conversions.len();
        self.metrics.publish_objects([calls, deadlines, accounted, disk_waits, conversions]);
        let counters = self.endpoint.take_counters();
        if counters.reaped > 0 {
            tracing::error!(calls = counters.reaped, "ended calls that no deadline had ended");
        }
        let trunk = |index| self.bridge.trunk_name(index);
        self.metrics.publish(counters, self.endpoint.transactions(), trunk);
        let standing = self.backlog.standing(clock::mono());
        self.metrics.strained(self.index, standing, self.endpoint.half_open());
        unharmed((), || self.bridge.housekeep(clock::mono()));
    }
}

/// Waits for a socket to have something to read or, if something is queued, to take it. Forever,
/// if there is no such socket. The first four sockets are also woken by ICMP errors alone; what
/// the others are told that way is read with their next datagram.
async fn ready(sockets: &[(ListenerId, UdpSocket)], queues: &[SendQueue], index: usize) {
    match sockets.get(index) {
        // A socket that fails will say so when it is read.
        Some((_, socket)) if queues[index].is_empty() => drop(socket.readable().await),
        Some((_, socket)) => tokio::select! {
            _ = socket.readable() => {}
            _ = socket.writable() => {}
        },
        None => std::future::pending().await,
    }
}

enum Letter {
    Mail(Mail),
    Tcp(TcpEvent),
}
