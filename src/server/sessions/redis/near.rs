//! What was read of the servers, until they say that it has changed (`CLIENT TRACKING`).
//!
//! A server is followed by one connection, which all that is kept was read over: it says there what has changed
//! since, before it answers whatever is asked there afterwards. Who has an answer of the same connection that was
//! asked for later knows therefore that what is fresh still is as it was read. Once the connection is lost
//! nothing that was read over it is fresh any more.
//!
//! What is not fresh is used for nothing but calls that come while the servers do not answer, for a while.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};

use crate::server::clock;
use crate::server::redis::Lane;
use crate::server::sessions::metrics::{CacheMetrics, Dropped};
use crate::time::Mono;

/// For how long what was read may stand for what is: numbers change hands seldom.
const LATELY: Duration = Duration::from_secs(600);

/// Answers by their keys. Each key is asked for in one way.
#[derive(Debug)]
pub(super) struct Near {
    most: usize,
    inner: Mutex<Inner>,
    was_emptied: AtomicBool,
    pub(super) metrics: CacheMetrics,
}

#[derive(Debug, Default)]
struct Inner {
    /// Half of what may be kept; when it is full it becomes `old`, and that is gone.
    young: BTreeMap<String, Entry>,
    old: BTreeMap<String, Entry>,
    /// What is being read.
    asked: BTreeMap<String, Asking>,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    /// Over which it was read.
    by: Arc<Followed>,
    has_changed: bool,
    read_at: Mono,
}

impl Entry {
    fn is_fresh(&self, by: &Arc<Followed>) -> bool {
        !self.has_changed && !by.is_lost() && Arc::ptr_eq(&self.by, by)
    }
}

#[derive(Debug, Default)]
struct Asking {
    readers: usize,
    /// Since one of them has asked: what they hear may be what it was before.
    has_changed: bool,
}

/// Whether a connection is there that says what has changed.
#[derive(Debug)]
pub(super) struct Followed {
    is_lost: AtomicBool,
}

/// A connection that a server says on what has changed.
pub(super) struct Follower {
    pub(super) lane: Lane,
    pub(super) followed: Arc<Followed>,
}

/// Keys that are being read.
pub(super) struct Reading<'a> {
    near: &'a Near,
    keys: Vec<String>,
}

impl Followed {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { is_lost: AtomicBool::new(false) })
    }

    /// Nobody says what has changed.
    pub(super) fn nobody() -> Arc<Self> {
        Arc::new(Self { is_lost: AtomicBool::new(true) })
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    pub(super) fn lose(&self) {
        if !self.is_lost.swap(true, Ordering::AcqRel) {
            Dropped::ConnectionLost.count();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.followed.lose();
    }
}

impl Near {
    /// Keeps so many answers at most.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            inner: Mutex::default(),
            was_emptied: AtomicBool::new(false),
            metrics: CacheMetrics::register(),
        }
    }

    /// What a key is, as far as the connection has said.
    pub(super) fn fresh(&self, key: &str, by: &Arc<Followed>) -> Option<Value> {
        let inner = self.inner.lock();
        inner.entry(key).filter(|it| it.is_fresh(by)).map(|it| it.value.clone())
    }

    /// Whether it is known what a key is, as far as the connection has said.
    pub(super) fn is_fresh(&self, key: &str, by: &Arc<Followed>) -> bool {
        self.inner.lock().entry(key).is_some_and(|it| it.is_fresh(by))
    }

    /// What a key was, the last time that it was read.
    pub(super) fn lately(&self, key: &str) -> Option<Value> {
        let now = clock::mono();
        let inner = self.inner.lock();
        let entry = inner.entry(key).filter(|it| now.since(it.read_at) < LATELY);
        entry.map(|it| it.value.clone())
    }

    /// Keys are about to be asked for. What has changed from here on is not kept.
    pub(super) fn reading(&self, keys: Vec<String>) -> Reading<'_> {
        let mut inner = self.inner.lock();
        for key in &keys {
            inner.asked.entry(key.clone()).or_default().readers += 1;
        }
        drop(inner);
        Reading { near: self, keys }
    }

    /// A key is not any more what it was.
    pub(super) fn changed(&self, key: &str) {
        let mut inner = self.inner.lock();
        if let Some(asking) = inner.asked.get_mut(key) {
            asking.has_changed = true;
        }
        if let Some(entry) = inner.entry_mut(key).filter(|it| !it.has_changed) {
            entry.has_changed = true;
            self.metrics.changed();
        }
    }

    /// Changes what is kept of a key, if anything is.
    pub(super) fn correct(&self, key: &str, correct: impl FnOnce(&mut Value)) {
        if let Some(entry) = self.inner.lock().entry_mut(key) {
            correct(&mut entry.value);
        }
    }

    /// What comes unasked of a connection.
    pub(super) fn pushed(&self, by: &Followed, pushed: &PushInfo) {
        if pushed.kind == PushKind::Disconnection {
            by.lose();
        }
        if pushed.kind != PushKind::Invalidate {
            return;
        }
        match pushed.data.first() {
            Some(Value::Array(keys)) => {
                keys.iter().filter_map(text).for_each(|key| self.changed(key));
            }
            // The server was emptied.
            Some(_) | None => {
                self.all_changed(by);
                self.was_emptied.store(true, Ordering::Relaxed);
                Dropped::Emptied.count();
            }
        }
    }

    /// Whether a server has said that it was emptied, since this was asked last.
    pub(super) fn was_emptied(&self) -> bool {
        self.was_emptied.swap(false, Ordering::Relaxed)
    }

    fn all_changed(&self, by: &Followed) {
        let mut inner = self.inner.lock();
        let Inner { young, old, asked } = &mut *inner;
        for entry in young.values_mut().chain(old.values_mut()) {
            entry.has_changed |= std::ptr::eq(&*entry.by, by);
        }
        asked.values_mut().for_each(|it| it.has_changed = true);
    }

    /// How many answers are kept, and how many of them are fresh as far as their connections have said.
    #[cfg(test)]
    fn kept(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        let entries = || inner.young.values().chain(inner.old.values());
        (entries().count(), entries().filter(|it| !it.has_changed && !it.by.is_lost()).count())
    }
}

impl Inner {
    fn entry(&self, key: &str) -> Option<&Entry> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn entry_mut(&mut self, key: &str) -> Option<&mut Entry> {
        match self.young.get_mut(key) {
            Some(entry) => Some(entry),
            None => self.old.get_mut(key),
        }
    }
}

impl Reading<'_> {
    /// The answer for a key, that came over `by`. What says that there is nothing is not kept.
    pub(super) fn read(&self, key: &str, value: &Value, by: &Arc<Followed>) {
        let mut inner = self.near.inner.lock();
        let has_changed = inner.asked.get(key).is_none_or(|it| it.has_changed);
        inner.old.remove(key);
        if is_nothing(value) {
            inner.young.remove(key);
            return;
        }
        if inner.young.len() >= self.near.most / 2 && !inner.young.contains_key(key) {
            inner.old = mem::take(&mut inner.young);
        }
        if self.near.most < 2 {
            return;
        }
        let (value, by) = (value.clone(), Arc::clone(by));
        let entry = Entry { value, by, has_changed, read_at: clock::mono() };
        inner.young.insert(key.to_owned(), entry);
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut inner = self.near.inner.lock();
        for key in &self.keys {
            let Some(asking) = inner.asked.get_mut(key) else { continue };
            asking.readers -= 1;
            if asking.readers == 0 {
                inner.asked.remove(key);
            }
        }
    }
}

fn text(value: &Value) -> Option<&str> {
    let Value::BulkString(bytes) = value else { return None };
    str::from_utf8(bytes).ok()
}

fn is_nothing(value: &Value) -> bool {
    matches!(value, Value::Nil)
        || matches!(value, Value::Array(all) if all.is_empty())
        || matches!(value, Value::Map(all) if all.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn keep(near: &Near, key: &str, kept: &str, by: &Arc<Followed>) {
        near.reading(vec![key.to_owned()]).read(key, &value(kept), by);
    }

    fn changed(keys: &[&str]) -> PushInfo {
        let keys = keys.iter().map(|key| value(key)).collect();
        PushInfo { kind: PushKind::Invalidate, data: vec![Value::Array(keys)] }
    }

    #[test]
    fn what_was_read_is_fresh_until_it_changes_and_known_for_longer() {
        let (near, by) = (Near::new(8), Followed::new());
        keep(&near, "a", "1", &by);
        keep(&near, "b", "1", &by);
        assert_eq!(near.fresh("a", &by), Some(value("1")));
        assert_eq!(near.fresh("a", &Followed::new()), None, "another has said so");

        near.pushed(&by, &changed(&["a", "nobody's"]));
        assert_eq!(near.fresh("a", &by), None);
        assert_eq!(near.fresh("b", &by), Some(value("1")));
        assert_eq!(near.lately("a"), Some(value("1")));

        keep(&near, "a", "2", &by);
        assert_eq!(near.fresh("a", &by), Some(value("2")));
        let emptied = PushInfo { kind: PushKind::Invalidate, data: vec![Value::Nil] };
        assert!(!near.was_emptied());
        near.pushed(&by, &emptied);
        assert_eq!(near.kept(), (2, 0));
        assert!(near.was_emptied() && !near.was_emptied());
    }

    #[test]
    fn what_changes_while_it_is_read_is_not_fresh() {
        let (near, by) = (Near::new(8), Followed::new());
        let first = near.reading(vec![String::from("a")]);
        near.pushed(&by, &changed(&["a"]));
        let second = near.reading(vec![String::from("a")]);
        first.read("a", &value("1"), &by);
        assert_eq!(near.fresh("a", &by), None);
        drop(first);
        second.read("a", &value("2"), &by);
        assert_eq!(near.fresh("a", &by), None, "it may have been asked for before");
        drop(second);
        assert!(near.inner.lock().asked.is_empty());
        keep(&near, "a", "3", &by);
        assert_eq!(near.fresh("a", &by), Some(value("3")));
    }

    #[test]
    fn nothing_is_fresh_once_the_connection_is_lost() {
        let (near, by) = (Near::new(8), Followed::new());
        keep(&near, "a", "1", &by);
        let lost = PushInfo { kind: PushKind::Disconnection, data: vec![] };
        near.pushed(&by, &lost);
        assert_eq!((near.fresh("a", &by), near.kept()), (None, (1, 0)));
        keep(&near, "a", "1", &Followed::nobody());
        assert_eq!(near.kept(), (1, 0));
    }

    #[test]
    fn no_more_is_kept_than_may_be_and_nothing_of_what_is_not_there() {
        let (near, by) = (Near::new(8), Followed::new());
        for nth in 0..100 {
            keep(&near, &format!("k{nth}"), "1", &by);
            assert!(near.kept().0 <= 8, "{nth}");
        }
        assert_eq!(near.lately("k99"), Some(value("1")));
        assert_eq!(near.lately("k1"), None);
        let reading = near.reading(vec![String::from("k99")]);
        reading.read("k99", &Value::Nil, &by);
        assert_eq!(near.lately("k99"), None);

        let none = Near::new(0);
        keep(&none, "a", "1", &by);
        assert_eq!(none.kept(), (0, 0));
    }
}
