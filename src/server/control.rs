//! What the API is handed: live calls, the ping desk, health.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use smol_str::SmolStr;

use crate::api::{
    Credit, Deposit, DepositError, Deposited, Enrichers, HangUpError, Health, LiveCalls,
    PingIntake, Pools, PressureShown, Routing, Services, Told, Visitors,
};
use crate::cdr::fact::{self, Fact};
use crate::cdr::journal::file::Appender;
use crate::cdr::journal::{Durability, Pressure};
use crate::cdr::projection::Live;
use crate::cdr::record::{CallRecord, CallState};
use crate::cdr::store::{CallFilter, PAGE_MAX};
use crate::config::Settings;
use crate::id::{BuyerId, CallId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::routing::hold::deposits::KEPT_MS;
use crate::routing::ping::{NumberState, PoolState};
use crate::time::Wall;

use super::accounting::{Accounting, stamp};
use super::changes::Changes;
use super::clock;
use super::deciding::{Deciding, DepositsKnown};
use super::fraud;
use super::holds::redis::{self as holds, Claim};
use super::ids::PingIds;
use super::mailbox::{Mail, Mailbox};
use super::metrics::Prometheus;
use super::pressure::Pressures;
use super::reload::Reloader;

pub struct Control {
    pub(super) deciding: Arc<Deciding>,
    pub(super) appender: Appender,
    live: Live,
    shards: Vec<Mailbox>,
    pub(super) ids: PingIds,
    seed: u128,
    prometheus: Prometheus,
    draining: AtomicBool,
    pub(super) pressures: Arc<Pressures>,
    /// Deposits that are on their way to the disk, or of which it is not known if they came there,
    /// with how much they are, in micros.
    depositing: Mutex<BTreeMap<(BuyerId, SmolStr), u64>>,
    /// Of sessions that were opened before.
    pub(super) changes: Mutex<Changes>,
    /// Taken while a cap begins anew.
    pub(super) resetting: tokio::sync::Mutex<()>,
}

impl Control {
    pub(super) fn new(
        deciding: Arc<Deciding>,
        appender: Appender,
        live: Live,
        shards: Vec<Mailbox>,
        seed: u128,
        prometheus: Prometheus,
        pressures: Arc<Pressures>,
    ) -> Self {
        let ids = PingIds::new(seed.rotate_left(64));
        let draining = AtomicBool::new(false);
        let (depositing, changes) = (Mutex::default(), Mutex::default());
        let resetting = tokio::sync::Mutex::default();
        Self {
            deciding,
            appender,
            live,
            shards,
            ids,
            seed,
            prometheus,
            draining,
            pressures,
            depositing,
            changes,
            resetting,
        }
    }

    pub fn services(
        self: &Arc<Self>,
        settings: &Settings,
        accounting: &Accounting,
        enrichers: Arc<dyn Enrichers>,
        reloader: Arc<Reloader>,
        routing: Arc<dyn Routing>,
    ) -> Services {
        let mut cursor_secret = [0; 32];
        cursor_secret[..16].copy_from_slice(&self.seed.to_be_bytes());
        cursor_secret[16..].copy_from_slice(&self.seed.rotate_right(29).to_be_bytes());
        Services {
            live: Arc::clone(self) as Arc<dyn LiveCalls>,
            calls: accounting.store(),
            pings: Arc::clone(self) as Arc<dyn PingIntake>,
            visitors: Arc::clone(self) as Arc<dyn Visitors>,
            past_sessions: Arc::new(accounting.past()),
            pools: Arc::clone(self) as Arc<dyn Pools>,
            health: Arc::clone(self) as Arc<dyn Health>,
            configuration: Arc::new(reloader),
            routing,
            credit: Arc::new(Arc::clone(self)),
            resets: Arc::new(Arc::clone(self)),
            letters: accounting.letters(),
            rollups: accounting.rollups(),
            enrichments: accounting.enrichments(),
            enrichers,
            scores: accounting.scores(),
            spikes: fraud::spikes(&settings.fraud),
            consumers: accounting.standings(),
            keys: settings.api.keys.clone(),
            cursor_secret,
        }
    }

    /// Says from now on that no new work should be sent here.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

impl Control {
    async fn take_deposit(
        &self,
        buyer: BuyerId,
        amount: Money,
        key: SmolStr,
    ) -> Result<Deposited, DepositError> {
        let micros = u64::try_from(amount.0).unwrap_or(0);
        let unavailable = |reason: &str| DepositError::Unavailable(reason.to_owned());
        let (waiting, at) = ((buyer.clone(), key.clone()), stamp());
        {
            // Another one is found here, or what it came to in what is deposited.
            let mut depositing = self.depositing.lock();
            if depositing.contains_key(&waiting) {
                return Err(unavailable("the same deposit is on its way to the disk"));
            }
            let known = self.deciding.deposited(&buyer, &key, at.wall());
            let DepositsKnown { all, this } = known.ok_or(DepositError::NoCredit)?;
            match this {
                Some(this) if this == micros => {
                    let deposited = Money(i64::try_from(all).unwrap_or(i64::MAX));
                    return Ok(Deposited { deposited, repeated: true });
                }
                Some(_) => return Err(DepositError::Conflict),
                None => {}
            }
            if !self.deciding.has_room_for_deposit(depositing.len()) {
                return Err(unavailable("more deposits of 30 days than can be told apart"));
            }
            let of_buyer = depositing.iter().filter(|((of, _), _)| *of == buyer);
            let in_all = of_buyer.fold(all, |sum, (_, more)| sum.saturating_add(*more));
            if in_all.saturating_add(micros) > Money::OF_A_LIMIT_MAX.0.unsigned_abs() {
                return Err(DepositError::TooMuch(Money::OF_A_LIMIT_MAX));
            }
            depositing.insert(waiting.clone(), micros);
        }
        let forgotten_at = Wall(at.wall().0.saturating_add(KEPT_MS));
        let claim =
            holds::Deposit { buyer: buyer.clone(), key: key.clone(), amount: micros, forgotten_at };
        let claimed = self.deciding.claim_deposit(&claim).await;
        if claimed != Ok(Claim::Ours) {
            self.depositing.lock().remove(&waiting);
        }
        match claimed {
            Ok(Claim::Ours) => {}
            Ok(Claim::Taken { amount, all }) if amount == micros => {
                let deposited = Money(i64::try_from(all).unwrap_or(i64::MAX));
                return Ok(Deposited { deposited, repeated: true });
            }
            Ok(Claim::Taken { .. }) => return Err(DepositError::Conflict),
            Ok(Claim::Elsewhere) => {
                return Err(unavailable("another server is taking it, or was when it ended"));
            }
            Err(fault) => {
                return Err(unavailable(&format!("whether another server has it: {fault}")));
            }
        }
        let fact = fact::Deposited { buyer: buyer.clone(), amount, key: key.clone() };
        let fact = Fact::of_node(at, fact);
        let lsn = match self.appender.append(fact, Durability::Durable) {
            Ok(lsn) => lsn,
            Err(error) => {
                self.depositing.lock().remove(&waiting);
                self.deciding.share_deposit(claim, None).await;
                return Err(unavailable(&error.to_string()));
            }
        };
        // If this fails it is not known whether it is on disk: the next process tells.
        self.appender.wait(lsn).await.map_err(|error| unavailable(&error.to_string()))?;
        let here = self.deciding.deposit(&buyer, &key, micros, at.wall());
        self.depositing.lock().remove(&waiting);
        self.deciding.share_deposit(claim, Some(here)).await;
        let known = self.deciding.deposited(&buyer, &key, at.wall());
        let all = known.map_or(here, |known| known.all);
        let deposited = Money(i64::try_from(all).unwrap_or(i64::MAX));
        Ok(Deposited { deposited, repeated: false })
    }
}

impl Credit for Arc<Control> {
    fn deposit(&self, buyer: BuyerId, amount: Money, key: SmolStr) -> Deposit<'_> {
        let this = Self::clone(self);
        // A client that goes away must not leave it half done.
        let done = tokio::spawn(async move { this.take_deposit(buyer, amount, key).await });
        Box::pin(async move {
            let panicked = |_| DepositError::Unavailable(String::from("taking it panicked"));
            done.await.map_err(panicked)?
        })
    }
}

impl LiveCalls for Control {
    fn live(&self) -> Vec<Arc<CallRecord>> {
        self.live.list(&CallFilter::default(), PAGE_MAX * 100)
    }

    fn find(&self, call: CallId) -> Option<Arc<CallRecord>> {
        self.live.find(call)
    }

    fn hang_up(&self, call: CallId) -> Result<(), HangUpError> {
        if self.live.find(call).is_none_or(|record| record.state != CallState::Open) {
            return Err(HangUpError::NotUp);
        }
        // Whose call it is only its shard knows; the others do not find it.
        let is_told = Mailbox::tell_all(&self.shards, || Mail::HangUp { call });
        if is_told { Ok(()) } else { Err(HangUpError::Busy) }
    }
}

impl Pools for Control {
    fn pools(&self) -> Vec<PoolState> {
        self.deciding.pools(clock::wall())
    }

    fn number(&self, number: PhoneNumber) -> Told<'_, NumberState> {
        Box::pin(async move {
            let now = clock::wall();
            let told = match self.deciding.sessions() {
                Some(shared) => shared.number(&self.deciding.snapshot(), number, now).await,
                None => None,
            };
            told.unwrap_or_else(|| self.deciding.number_state(number, now))
        })
    }
}

impl Health for Control {
    fn ready(&self) -> Result<(), Vec<String>> {
        let mut reasons = Vec::new();
        if self.is_draining() {
            reasons.push(String::from("the server is being taken out of service"));
        }
        if self.appender.pressure() >= Pressure::Reserve {
            reasons.push(String::from("the journal's disk is full or cannot be written"));
        }
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    fn hold_store(&self) -> Option<&'static str> {
        self.deciding.shared().map(|shared| shared.state().name())
    }

    fn pressure(&self) -> PressureShown {
        let (level, causes) = (self.pressures.level().number(), self.pressures.causes());
        PressureShown { level, causes }
    }

    fn session_store(&self) -> Option<&'static str> {
        self.deciding.sessions().map(|shared| shared.state().name())
    }

    fn metrics(&self) -> String {
        self.prometheus.render()
    }
}
