//! Owns the open connections: how many there may be, of whom, and which one
//! goes when another comes. An idle one always makes room; where all are busy a
//! few more are taken, to say so and to answer the probes.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::budget::{Budget, Share};

/// Connections past the limit: enough for the probes of a supervisor beside
/// clients that are told to come back.
const RESERVE: usize = 16;

/// A connection does not live to answer more: at a million a second it is nine years.
const ANSWERED_BITS: u32 = 48;
/// One request that is being answered.
const ANSWERING: u64 = 1 << ANSWERED_BITS;

/// The open connections of one server.
#[derive(Debug)]
pub(super) struct Connections {
    budget: Arc<Budget>,
    per_address: usize,
    began: Instant,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last_id: u64,
    by_id: HashMap<u64, Arc<Connection>>,
    by_address: HashMap<IpAddr, usize>,
    reserve: usize,
    // The log has it that there is no room.
    is_said: bool,
}

/// One open connection.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    address: IpAddr,
    began: Instant,
    // How many were answered, and above `ANSWERED_BITS` how many are being answered.
    requests: AtomicU64,
    // Heads that led to a request.
    heads: AtomicU64,
    // Heads before one that can be read in two ways.
    clear_heads: AtomicU64,
    // In milliseconds since the server began.
    idle_since: AtomicU64,
    // None of one past the limit, and of one that had to make room.
    share: Mutex<Option<Share>>,
    is_reserve: bool,
    /// It has to make room for another.
    pub(super) evicted: Notify,
}

/// A request is answered, until this is dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Connection>);

/// An open connection, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    connections: Arc<Connections>,
    pub(super) connection: Arc<Connection>,
}

impl Connections {
    pub(super) fn new(budget: Arc<Budget>, per_address: Option<u64>) -> Self {
        let per_address = per_address.unwrap_or(budget.limit().div_ceil(2));
        Self {
            budget,
            per_address: usize::try_from(per_address).unwrap_or(usize::MAX),
            began: Instant::now(),
            open: Mutex::default(),
        }
    }

    /// Takes a connection in; none where there is no room even to refuse it.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admitted> {
        let mut open = self.open();
        let of_address = open.by_address.get(&address).copied().unwrap_or(0);
        let share = if of_address >= self.per_address {
            open.evict(|other| !other.is_reserve && other.address == address)
        } else {
            let free = self.budget.take(1).ok();
            free.or_else(|| open.evict(|other| !other.is_reserve))
        };
        if share.is_none() {
            let limit = self.budget.limit().min(self.per_address as u64);
            open.say_full(&self.budget, limit);
            if open.reserve >= RESERVE {
                // One that was taken to be refused, and asks for nothing.
                open.evict(|other| other.is_reserve);
            }
            if open.reserve >= RESERVE {
                return None;
            }
            open.reserve += 1;
        } else if self.budget.used() < self.budget.limit() / 2 {
            open.is_said = false;
        }
        open.last_id += 1;
        let connection = Arc::new(Connection {
            id: open.last_id,
            address,
            began: self.began,
            requests: AtomicU64::new(0),
            heads: AtomicU64::new(0),
            clear_heads: AtomicU64::new(u64::MAX),
            idle_since: AtomicU64::new(millis_since(self.began)),
            is_reserve: share.is_none(),
            share: Mutex::new(share),
            evicted: Notify::new(),
        });
        *open.by_address.entry(address).or_default() += 1;
        let id = connection.id;
        open.by_id.insert(id, Arc::clone(&connection));
        drop(open);
        Some(Admitted {
            connections: Arc::clone(self),
            connection,
        })
    }

    /// Closes the connection that was idle for longest, if any is: its
    /// descriptor is wanted.
    pub(super) fn make_room(&self) {
        drop(self.open().evict(|_| true));
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// The share, if it has one, of the idlest connection among `those`, which closes.
    fn evict(&mut self, those: impl Fn(&Connection) -> bool) -> Option<Share> {
        let idlest = self
            .by_id
            .values()
            .filter(|other| those(other))
            .filter(|other| other.requests_answered().is_some())
            .min_by_key(|other| other.idle_since.load(Ordering::Relaxed))?;
        let idlest = Arc::clone(idlest);
        self.remove(&idlest);
        idlest.evicted.notify_one();
        let mut share = idlest.share.lock().unwrap_or_else(PoisonError::into_inner);
        share.take()
    }

    fn remove(&mut self, connection: &Connection) {
        if self.by_id.remove(&connection.id).is_none() {
            return;
        }
        if connection.is_reserve {
            self.reserve -= 1;
        }
        if let Some(count) = self.by_address.get_mut(&connection.address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&connection.address);
            }
        }
    }

    fn say_full(&mut self, budget: &Budget, limit: u64) {
        if !std::mem::replace(&mut self.is_said, true) {
            tracing::warn!(
                connections = budget.used(),
                "all {limit} connections (`{}`, `http.connections_per_address_max`) are busy: more are refused until one ends",
                budget.setting()
            );
        }
    }
}

impl Connection {
    /// How many requests were answered; none while one is.
    pub(super) fn requests_answered(&self) -> Option<u64> {
        let requests = self.requests.load(Ordering::Acquire);
        (requests < ANSWERING).then_some(requests)
    }

    /// When the last answer was complete, or the connection began.
    pub(super) fn idle_since(&self) -> Instant {
        self.began + Duration::from_millis(self.idle_since.load(Ordering::Relaxed))
    }

    /// Where it comes from.
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether it was only taken to be refused.
    pub(super) fn is_reserve(&self) -> bool {
        self.is_reserve
    }

    /// The head after so many can be read in two ways.
    pub(super) fn is_ambiguous_after(&self, heads: u64) {
        self.clear_heads.store(heads, Ordering::Relaxed);
    }

    /// Takes the next head. Says whether it can be read in one way only.
    pub(super) fn next_is_clear(&self) -> bool {
        self.heads.fetch_add(1, Ordering::Relaxed) < self.clear_heads.load(Ordering::Relaxed)
    }

    /// A request begins.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(ANSWERING, Ordering::AcqRel);
        Busy(Arc::clone(self))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = millis_since(self.0.began);
        self.0.idle_since.store(now, Ordering::Relaxed);
        self.0.requests.fetch_sub(ANSWERING - 1, Ordering::AcqRel);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.connections.open().remove(&self.connection);
    }
}

fn millis_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(limit: u64, per_address: u64) -> Arc<Connections> {
        let budget = Budget::new("http.connections_max", limit);
        Arc::new(Connections::new(budget, Some(per_address)))
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    #[tokio::test]
    async fn an_idle_connection_makes_room_and_a_busy_one_does_not() {
        let connections = connections(2, 2);
        let busy = connections.admit(HERE).unwrap();
        let request = busy.connection.busy();
        let idle = connections.admit(HERE).unwrap();
        let next = connections.admit(THERE).unwrap();
        assert!(!next.connection.is_reserve());
        idle.connection.evicted.notified().await;
        let next_request = next.connection.busy();
        let refused = connections.admit(HERE).unwrap();
        assert!(refused.connection.is_reserve());
        // What ends gives its place back, once.
        drop((idle, refused));
        assert_eq!(connections.budget.used(), 2);
        drop(request);
        drop(busy);
        assert_eq!(connections.budget.used(), 1);
        drop(next_request);
        drop(next);
        assert_eq!(connections.budget.used(), 0);
        assert!(connections.open().by_address.is_empty());
    }

    #[tokio::test]
    async fn one_address_does_not_take_the_places_of_all() {
        let connections = connections(4, 2);
        let ours: Vec<_> = (0..2).map(|_| connections.admit(HERE).unwrap()).collect();
        let requests: Vec<_> = ours.iter().map(|ours| ours.connection.busy()).collect();
        assert!(connections.admit(HERE).unwrap().connection.is_reserve());
        let theirs = connections.admit(THERE).unwrap();
        assert!(!theirs.connection.is_reserve());
        drop(requests);
        let ours_again = connections.admit(HERE).unwrap();
        assert!(!ours_again.connection.is_reserve());
        assert_eq!(theirs.connection.requests_answered(), Some(0));
    }

    #[test]
    fn there_is_an_end_to_refusing() {
        let connections = connections(1, 1);
        let first = connections.admit(HERE).unwrap();
        let _request = first.connection.busy();
        let admit = || connections.admit(HERE).unwrap();
        let refused: Vec<_> = (0..RESERVE).map(|_| admit()).collect();
        // One that asks for nothing makes room for one that may.
        let probe = admit();
        assert_eq!(connections.open().reserve, RESERVE);
        let asking: Vec<_> = refused.iter().map(|it| it.connection.busy()).collect();
        let _probing = probe.connection.busy();
        assert!(connections.admit(HERE).is_none());
        drop((asking, refused));
        assert!(connections.admit(HERE).is_some());
    }
}
