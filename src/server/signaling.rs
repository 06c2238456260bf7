//! A shard: one thread, one endpoint, its sockets, its mailbox and its deadlines.
//!
//! Everything a call needs happens on its shard's thread: the datagram is read, the call machine
//! runs, the decision is made, the facts are appended, the answer is sent. A datagram that the
//! kernel gave to the wrong shard is handed over after a look at its Call-ID.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::id::CallId;
use crate::reason::Reason;
use crate::sip::admission::Busy;
use crate::sip::call::plan::Refusal;
use crate::sip::endpoint::{CallKey, Endpoint, Input, Origin, Output, SWEEP_EVERY};
use crate::sip::flow::{Flow, ListenerId, Transport};
use crate::sip::transport::{
    DatagramKind, RecvBatch, SendFailure, SendFault, SendQueue, Steering, Tcp, TcpEvent, UdpSocket,
    classify, opens_nothing,
};
use crate::time::Mono;

use super::bridge::{Answer, Bridge};
use super::clock;
use super::metrics::ShardMetrics;
use super::overload::{Backlog, Level, MemoryFlag, telling};
use super::pace::Pace;
use super::reload::Agreed;
use super::sources::Sources;

/// What other threads tell a shard.
#[derive(Debug)]
pub enum Mail {
    /// A datagram of a call of this shard that arrived at another.
    Datagram {
        flow: Flow,
        origin: Origin,
        message: Bytes,
    },
    /// Datagrams do not arrive there, as another shard was told.
    Unreachable {
        flow: Flow,
    },
    /// Facts this shard waits for are on disk.
    Durable,
    HangUp {
        call: CallId,
    },
    /// What is agreed with trunks and targets about new calls from now on.
    Configure(Box<Agreed>),
    /// Send the BYE that a process left behind which died.
    Farewell {
        flow: Flow,
        bye: Bytes,
    },
    /// Take no more calls.
    Drain,
    /// End the calls that are left, then stop.
    Stop,
}

/// Letters a shard's mailbox holds. A datagram that finds it full is dropped and counted, as the
/// network would have done; its sender repeats it.
pub const MAILBOX_LETTERS: usize = 8192;

/// Letters and stream messages read in one turn; what is left wakes the next turn at once.
const LETTERS_PER_TURN: usize = 256;

/// Datagrams that are sent before the turn ends, so that a long turn does not hold them all back.
const FLUSH_AT: usize = 256;

/// How long stopping shards wait for the last answers. What is still unanswered then is in the
/// journal; only its peers have not said that they heard.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often a stopping shard looks whether the others are done.
const STOP_LOOK: Duration = Duration::from_millis(20);

/// Datagrams read from one socket before the others, the mailbox and the deadlines get a turn.
const BATCHES_PER_TURN: usize = 4;
const DATAGRAMS_PER_TURN: usize = BATCHES_PER_TURN * RecvBatch::DATAGRAMS_MAX;

/// Turns between two looks at the reactor while messages gather: what only it knows, such as room
/// in a full socket, waits no longer than that.
const EAGER_TURNS: u32 = 8;

/// Sockets that are woken when they can send again; what waits on a later one is tried again soon.
const POLLED_FOR_WRITING: usize = 4;
const UNSENT_RETRY: Duration = Duration::from_millis(5);

/// How often counts go to the metrics, and holds of live calls are renewed if it is time.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// How to write to a shard.
#[derive(Clone)]
pub struct Mailbox {
    letters: mpsc::Sender<Mail>,
    /// Whether the shard waits for facts to become durable.
    waiting: Arc<AtomicBool>,
    /// Whether it is so far behind that it wants nothing that opens anything.
    braked: Arc<AtomicBool>,
}

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

/// A call that waits for its turn under a limit.
enum Waiting {
    Decided(Input),
    Held(CallKey),
}

impl Mailbox {
    pub fn new() -> (Self, mpsc::Receiver<Mail>) {
        let (letters, mail) = mpsc::channel(MAILBOX_LETTERS);
        (Self { letters, waiting: Arc::default(), braked: Arc::default() }, mail)
    }

    /// `false` if there was no room.
    pub fn post(&self, mail: Mail) -> bool {
        self.letters.try_send(mail).is_ok()
    }

    /// Waits for room: for what nobody would send again. A shard that has ended needs no letter.
    pub async fn deliver(&self, mail: Mail) {
        let _ended = self.letters.send(mail).await;
    }

    /// Whether this message is to be dropped unread, because the shard is far behind.
    fn lets_go(&self, message: &[u8]) -> bool {
        self.braked.load(Ordering::Relaxed) && !opens_nothing(message)
    }

    /// Facts became durable: wakes the shard if it waits for some. Without room for the letter the
    /// shard is busy with its mail, and looks when it is done with it.
    pub fn durable(&self) {
        if self.waiting.load(Ordering::SeqCst) {
            self.post(Mail::Durable);
        }
    }

    pub fn waiting(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.waiting)
    }
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
        let braked = &self.shards[usize::from(self.index)].braked;
        if braked.load(Ordering::Relaxed) != (level == Level::Brake) {
            braked.store(level == Level::Brake, Ordering::Relaxed);
        }
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

    fn read_letter(&mut self, letter: Letter, turn: &mut Turn) {
        match letter {
            Letter::Mail(Mail::Datagram { flow, origin, message }) => {
                let wall = clock::wall();
                self.feed(Input::Received { flow, origin, wall, message }, turn);
            }
            Letter::Mail(Mail::Unreachable { flow }) => {
                self.feed(Input::FlowFailed { flow }, turn);
            }
            // Every turn looks at what is durable.
            Letter::Mail(Mail::Durable) => {}
            Letter::Mail(Mail::HangUp { call }) => {
                if let Some(call) = self.bridge.find(call) {
                    self.feed(Input::End { call, reason: Reason::HungUpByOperator }, turn);
                }
            }
            Letter::Mail(Mail::Configure(agreed)) => {
                let trunks = Arc::clone(&agreed.trunks);
                self.bridge.configure(*agreed);
                self.feed(Input::Configure(trunks), turn);
            }
            Letter::Mail(Mail::Farewell { flow, bye }) => {
                self.feed(Input::Farewell { flow, bye }, turn);
            }
            Letter::Mail(Mail::Drain) => self.feed(Input::Drain, turn),
            Letter::Mail(Mail::Stop) => {
                self.feed(Input::Drain, turn);
                turn.stop_by = Some(clock::mono() + LAST_WORDS);
                for call in self.bridge.live() {
                    self.feed(Input::End { call, reason: Reason::Draining }, turn);
                }
            }
            Letter::Tcp(TcpEvent::Message { flow, message }) => {
                let origin = self.sources.origin(&flow, &message);
                match origin {
                    Some(origin) => {
                        let wall = clock::wall();
                        self.feed(Input::Received { flow, origin, wall, message }, turn);
                    }
                    None => self.metrics.dropped_unknown_source(1),
                }
            }
            Letter::Tcp(TcpEvent::Unframed { flow, fault }) => {
                // What there is of it goes to the parser, which answers 400 where that can be done.
                if let Some(head) = fault.head()
                    && let Some(origin) = self.sources.origin(&flow, head)
                {
                    self.feed(
                        Input::Unframed { flow, origin, head: Bytes::copy_from_slice(head) },
                        turn,
                    );
                }
            }
            Letter::Tcp(TcpEvent::SendFailed { flow, .. } | TcpEvent::Unheard { flow, .. }) => {
                self.feed(Input::FlowFailed { flow }, turn);
            }
            // Dialogs keep the connection's id; the next request opens a new one (spec/sip T8).
            Letter::Tcp(TcpEvent::Closed { .. }) => {}
        }
    }

    fn read_socket(&mut self, index: usize, turn: &mut Turn) {
        let mut left = telling(self.sockets[index].1.receive_buffer_bytes(), DATAGRAMS_PER_TURN);
        for _ in 0..BATCHES_PER_TURN {
            let (listener, socket) = &self.sockets[index];
            let listener = *listener;
            let mut batch = std::mem::take(&mut turn.batch);
            let received = match turn.eager {
                0 => socket.try_recv_batch(&mut batch),
                _ => socket.recv_batch_now(&mut batch),
            };
            let Ok(count) = received else {
                turn.batch = batch;
                return;
            };
            left = left.saturating_sub(count);
            turn.drained &= left > 0;
            let wall = clock::wall();
            for (datagram, peer) in batch.iter() {
                let flow = Flow::udp(listener, peer);
                let Some(origin) = self.sources.origin(&flow, datagram) else {
                    self.metrics.dropped_unknown_source(1);
                    continue;
                };
                match classify(datagram) {
                    DatagramKind::Sip => {}
                    DatagramKind::Ping => {
                        self.send(flow, Bytes::from_static(b"\r\n"), turn);
                        continue;
                    }
                    DatagramKind::Keepalive | DatagramKind::Stun => continue,
                    DatagramKind::Garbage => {
                        self.metrics.dropped_garbage(1);
                        continue;
                    }
                }
                let shard = self.steering.shard_of(datagram);
                if self.shards[usize::from(shard)].lets_go(datagram) {
                    self.metrics.dropped_overload(1);
                    continue;
                }
                let message = Bytes::copy_from_slice(datagram);
                if shard == self.index {
                    self.feed(Input::Received { flow, origin, wall, message }, turn);
                } else if !self.shards[usize::from(shard)].post(Mail::Datagram {
                    flow,
                    origin,
                    message,
                }) {
                    self.metrics.dropped_mailbox_full(1);
                }
            }
            let unreachable = dead_peers(batch.unreachable());
            let full = count == RecvBatch::DATAGRAMS_MAX;
            turn.batch = batch;
            for peer in unreachable {
                self.unreachable(Flow::udp(listener, peer), turn);
            }
            if !full {
                return;
            }
        }
    }

    /// Nobody is there. Which shard's datagram did not arrive cannot be told: the kernel gives an
    /// ICMP error to any of the sockets that share the port.
    fn unreachable(&mut self, flow: Flow, turn: &mut Turn) {
        for (index, shard) in self.shards.iter().enumerate() {
            if index != usize::from(self.index) {
                // One whose box is full learns of it by the silence.
                shard.post(Mail::Unreachable { flow });
            }
        }
        self.feed(Input::FlowFailed { flow }, turn);
    }

    /// Feeds the endpoint, does what it wants, and feeds it the answers.
    fn feed(&mut self, input: Input, turn: &mut Turn) {
        turn.messages += 1;
        let now = clock::mono();
        self.guarded(turn, now, |endpoint, now, out| endpoint.handle(input, now, out));
    }

    /// Runs a handler. If it panics, the call it was at is ended, and nothing else is touched.
    fn guarded(
        &mut self,
        turn: &mut Turn,
        now: Mono,
        handler: impl FnOnce(&mut Endpoint, Mono, &mut Vec<Output>),
    ) {
        let mut outputs = std::mem::take(&mut turn.outputs);
        let run = AssertUnwindSafe(|| handler(&mut self.endpoint, now, &mut outputs));
        if catch_unwind(run).is_err() {
            self.recover(now, &mut outputs);
        }
        self.carry_out(&mut outputs, turn, now);
        while let Some(answer) = turn.answers.pop_front() {
            // The answer took time: what follows from it comes after it.
            let now = clock::mono();
            let run = AssertUnwindSafe(|| self.endpoint.handle(answer, now, &mut outputs));
            if catch_unwind(run).is_err() {
                self.recover(now, &mut outputs);
            }
            self.carry_out(&mut outputs, turn, now);
        }
        turn.outputs = outputs;
    }

    fn recover(&mut self, now: Mono, outputs: &mut Vec<Output>) {
        let call = self.endpoint.current();
        tracing::error!("a handler panicked; the call it was at is ended");
        let run = AssertUnwindSafe(|| self.endpoint.recover(now, outputs));
        if catch_unwind(run).is_err()
            && let Some(call) = call
        {
            self.endpoint.abandon(call, now, outputs);
        }
    }

    fn carry_out(&mut self, outputs: &mut Vec<Output>, turn: &mut Turn, now: Mono) {
        for output in outputs.drain(..) {
            match output {
                Output::Send { flow, message } => self.send(flow, message, turn),
                Output::Admitted(admission) => {
                    let call = admission.call;
                    let refusal = (Err(Refusal { reason: Reason::DecisionFailed }), None);
                    let (outcome, at) = unharmed(refusal, || self.bridge.admit(&admission));
                    let answer = Input::Decided { call, outcome };
                    match at {
                        None => turn.answers.push_back(answer),
                        Some(at) => turn.wait(at, Waiting::Decided(answer)),
                    }
                }
                Output::PlaceHold { call, id, attempt } => {
                    let refusal = Answer::Now(Err(Reason::DecisionFailed));
                    let place = || self.bridge.place_hold(call, id, attempt, now);
                    match unharmed(refusal, place) {
                        Answer::Now(outcome) => {
                            turn.answers.push_back(Input::Held { call, outcome });
                        }
                        Answer::WhenDurable => {}
                        Answer::At(at) => turn.wait(at, Waiting::Held(call)),
                    }
                }
                Output::Locate { registration, server } => {
                    let destination = self.bridge.locate(&server);
                    turn.answers.push_back(Input::Located { registration, destination });
                }
                Output::Registration { trunk, registered: true } => {
                    tracing::info!(trunk.id = %trunk, "the carrier has registered us");
                }
                Output::Registration { trunk, registered: false } => {
                    tracing::warn!(trunk.id = %trunk, "the carrier has not registered us");
                }
                Output::Fragmented { call, attempt, bytes } => {
                    self.bridge.fragmented(call, attempt, bytes);
                }
                Output::Probed { transport, peer, verdict } => {
                    self.bridge.probed((transport, peer), verdict);
                }
                Output::Tried { transport, peer } => self.bridge.tried((transport, peer), now),
                Output::Rated { transport, peer, how } => {
                    self.bridge.rate((transport, peer), how, now);
                }
                Output::AwaitDurable { call } => self.bridge.await_durable(call),
                Output::Dialogs { call, caller, target, codec, farewells } => {
                    self.bridge.dialogs(call, caller, target, codec);
                    if let Some(farewells) = farewells {
                        let now = clock::mono();
                        unharmed((), || self.bridge.farewells(call, &farewells, now));
                    }
                }
                Output::OrphanEnded { id, at, party, q850 } => {
                    unharmed((), || self.bridge.orphan_ended(id, at, party, q850));
                }
                Output::Report { call, id, at, report, last_heard } => {
                    let tell = || self.bridge.report(call, id, at, report, last_heard);
                    let converts_at = unharmed(None, tell);
                    if let Some(converts_at) = converts_at {
                        turn.conversions.push(Reverse((converts_at, call)));
                    }
                }
            }
        }
    }

    /// Calls that have been up for as long as their terms say.
    fn convert(&mut self, turn: &mut Turn, now: Mono) {
        while let Some(Reverse((at, call))) = turn.conversions.peek().copied()
            && at <= now
        {
            turn.conversions.pop();
            unharmed((), || self.bridge.converted(call, at));
        }
    }

    /// Calls whose turn has come under a limit.
    fn take_turns(&mut self, turn: &mut Turn, now: Mono) {
        while let Some(entry) = turn.waiting.first_entry()
            && entry.key().0 <= now
        {
            let input = match entry.remove() {
                Waiting::Decided(input) => Some(input),
                Waiting::Held(call) => unharmed(None, || self.bridge.turn_came(call)),
            };
            if let Some(input) = input {
                self.feed(input, turn);
            }
        }
    }

    fn send(&mut self, flow: Flow, message: Bytes, turn: &mut Turn) {
        match flow.transport {
            Transport::Udp => {
                let socket =
                    self.sockets.iter().position(|(listener, _)| *listener == flow.listener);
                if let Some(index) = socket
                    && turn.queues[index].len() >= FLUSH_AT
                {
                    self.sockets[index].1.try_send_batch(&mut turn.queues[index]);
                }
                let queued = socket.map(|index| turn.queues[index].push(message, flow.peer));
                if !matches!(queued, Some(Ok(()))) {
                    self.metrics.dropped_send_queue(1);
                }
            }
            Transport::Tcp | Transport::Tls => {
                if let Err(error) = self.tcp.send(&flow, message) {
                    tracing::debug!(%error, "a message could not be queued on its connection");
                    self.metrics.dropped_send_queue(1);
                    turn.answers.push_back(Input::FlowFailed { flow });
                }
            }
        }
    }

    /// Sends what is queued. Learning that a peer is unreachable may queue more, once.
    fn flush(&mut self, turn: &mut Turn) {
        for _ in 0..2 {
            let mut failed = Vec::new();
            for ((listener, socket), queue) in self.sockets.iter().zip(&mut turn.queues) {
                if queue.is_empty() {
                    continue;
                }
                socket.try_send_batch(queue);
                let failures = queue.take_failures();
                self.metrics.dropped_send_fault(failures.len() as u64);
                for peer in dead_peers(&failures) {
                    failed.push(Flow::udp(*listener, peer));
                }
            }
            if failed.is_empty() {
                return;
            }
            for flow in failed {
                self.unreachable(flow, turn);
            }
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

/// Runs what decides and accounts. A panic there must not end the shard: its calls go on, and the
/// one at hand gets `fallback`.
fn unharmed<T>(fallback: T, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!("routing or accounting panicked; the call at hand gets the safe answer");
        fallback
    })
}

/// Peers that are said not to be there, each once. Other faults concern one datagram, which will be
/// repeated or time out.
fn dead_peers(failures: &[SendFailure]) -> BTreeSet<SocketAddr> {
    let is_dead = |failure: &&SendFailure| match failure.fault {
        SendFault::Refused
        | SendFault::Unreachable
        | SendFault::Denied
        | SendFault::WrongAddress => true,
        SendFault::TooLong | SendFault::System(_) => false,
    };
    failures.iter().filter(is_dead).map(|failure| failure.peer).collect()
}

enum Letter {
    Mail(Mail),
    Tcp(TcpEvent),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_would_send_again_waits_for_room_in_the_box() {
        let (mailbox, mut mail) = Mailbox::new();
        while mailbox.post(Mail::Durable) {}

        let mut delivery = pin!(mailbox.deliver(Mail::Stop));
        let is_there = poll_fn(|context| Poll::Ready(delivery.as_mut().poll(context).is_ready()));
        assert!(!is_there.await, "the box is full");
        for _ in 0..MAILBOX_LETTERS {
            assert!(matches!(mail.recv().await, Some(Mail::Durable)));
        }
        delivery.await;
        assert!(matches!(mail.recv().await, Some(Mail::Stop)));

        drop(mail);
        mailbox.deliver(Mail::Stop).await;
    }
}
