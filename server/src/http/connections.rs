//! Connections that are open, counted: so many of all, and so many of one client.
//!
//! Duty: keep strangers, who need no key for a connection, from taking the descriptors of everybody else. Over the bound
//! a connection is closed as it comes: left in the socket's queue it would keep those behind it waiting. The same for
//! handshakes, which are work for us before anybody said who they are; those beyond wait.
//! Invariant: a place is given back when its [`Seat`] is dropped, however the connection ended.
//! Danger: an address that stands for many clients. A proxy's connections are its clients', so what
//! `SYNC_TRUSTED_PROXIES` names has no bound of its own; nor has this machine.

use crate::config::Networks;
use crate::http::shares::Shares;
use crate::limit::network;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most of one client: offices behind one address have as many devices, with several connections each.
const EACH: usize = 256;
/// Handshakes under way at once.
const HANDSHAKES: usize = 512;
/// Those of one client. Silent ones hold theirs for as long as a handshake may take.
const HANDSHAKES_EACH: usize = 32;
/// Clients that it takes to occupy everything, where there are few places.
const SHARES: usize = 4;

/// All connections.
pub struct Connections {
    most: usize,
    each: usize,
    proxies: Networks,
    open: Mutex<Open>,
    handshakes: Arc<Semaphore>,
    handshakes_each: Shares<IpAddr>,
    refused: AtomicU64,
    told: Seldom,
}

#[derive(Default)]
struct Open {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

/// The place of an open connection.
pub struct Seat {
    of: Arc<Connections>,
    client: Option<IpAddr>,
}

impl Connections {
    /// At most so many, with proxies that are believed.
    pub fn new(most: usize, proxies: Networks) -> Arc<Self> {
        let each = EACH.min(most / SHARES).max(1);
        let (open, refused, told) = (Mutex::default(), AtomicU64::new(0), Seldom::default());
        let (handshakes, handshakes_each) =
            (Arc::new(Semaphore::new(HANDSHAKES)), Shares::new(HANDSHAKES_EACH));
        Arc::new(Self { most, each, proxies, open, handshakes, handshakes_each, refused, told })
    }

    /// A place for a connection from there, if there is one.
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Seat> {
        let is_own = peer.to_canonical().is_loopback() || self.proxies.contains(peer);
        let client = (!is_own).then(|| network(peer));
        let taken = self.open().take(client, self.most, self.each);
        match taken {
            Ok(()) => Some(Seat { of: Arc::clone(self), client }),
            Err(why) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                if let Some(times) = self.told.again(Instant::now()) {
                    tracing::warn!(%peer, times, why, "connections were closed as they came");
                }
                None
            }
        }
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.open().all
    }

    /// How many were closed as they came.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Waits for a handshake's turn.
    pub async fn handshake(&self) -> [Option<OwnedSemaphorePermit>; 2] {
        // Neither is ever closed. One's own first: who waits for that takes nothing from others.
        let mine = match self.client {
            Some(client) => self.of.handshakes_each.of(client).acquire_owned().await.ok(),
            None => None,
        };
        [mine, Arc::clone(&self.of.handshakes).acquire_owned().await.ok()]
    }
}

impl Open {
    fn take(&mut self, client: Option<IpAddr>, most: usize, each: usize) -> Result<(), &'static str> {
        if self.all >= most {
            return Err("as many are open as may be");
        }
        if let Some(client) = client {
            let mine = self.of.get(&client).copied().unwrap_or(0);
            if mine >= each {
                return Err("one client has too many; a proxy belongs into SYNC_TRUSTED_PROXIES");
            }
            self.of.insert(client, mine + 1);
        }
        self.all += 1;
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.of.open();
        open.all -= 1;
        let Some(client) = self.client else { return };
        if let Some(mine) = open.of.get_mut(&client) {
            *mine -= 1;
            if *mine == 0 {
                open.of.remove(&client);
            }
        }
    }
}

/// Counts what may happen a thousand times a second, so that it is told once a minute.
#[derive(Default)]
pub struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    const PAUSE: Duration = Duration::from_secs(60);

    /// Counts once more. How often it happened since it was told, if it is time to tell again.
    pub fn again(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, times) = &mut *state;
        *times += 1;
        if told.is_some_and(|told| now.duration_since(told) < Self::PAUSE) {
            return None;
        }
        *told = Some(now);
        Some(std::mem::take(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("ip")
    }

    #[test]
    fn one_client_cannot_take_every_place_and_gets_its_own_back() {
        let connections = Connections::new(8, Networks::default());
        let mut seats: Vec<Seat> =
            ["2001:db8::1", "2001:db8::2"].iter().filter_map(|peer| connections.enter(ip(peer))).collect();
        assert_eq!(seats.len(), 2);
        assert!(connections.enter(ip("2001:db8::3")).is_none(), "a client owns its whole /64");
        seats.extend(connections.enter(ip("2001:db8:0:1::1")));
        seats.extend(connections.enter(ip("::ffff:192.0.2.1")));
        seats.extend(connections.enter(ip("192.0.2.1")));
        assert!(connections.enter(ip("192.0.2.1")).is_none(), "the same address in two spellings");
        assert_eq!((seats.len(), connections.count(), connections.refused()), (5, 5, 2));
        seats.clear();
        assert!(connections.open().of.is_empty(), "nobody is remembered without a connection");
        assert!(connections.enter(ip("192.0.2.1")).is_some());
        assert_eq!(connections.count(), 0);
    }

    #[test]
    fn what_stands_for_many_clients_is_bounded_by_the_whole_only() {
        let connections = Connections::new(8, Networks::parse("10.0.0.0/8").expect("nets"));
        let peers = ["10.0.0.1", "::ffff:10.0.0.1", "127.0.0.1", "::1"].into_iter().cycle().take(8);
        let seats: Vec<Seat> = peers.filter_map(|peer| connections.enter(ip(peer))).collect();
        assert_eq!(seats.len(), 8);
        assert!(connections.enter(ip("10.0.0.1")).is_none() && connections.enter(ip("::1")).is_none());
        drop(seats);
        let many = Connections::new(10_000, Networks::default());
        let seats: Vec<Seat> = (0..EACH).filter_map(|_| many.enter(ip("192.0.2.1"))).collect();
        assert_eq!(seats.len(), EACH);
        assert!(many.enter(ip("192.0.2.1")).is_none() && many.enter(ip("192.0.2.2")).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn silent_handshakes_of_one_client_hold_up_no_other_one() {
        let connections = Connections::new(10_000, Networks::default());
        let seat = |peer| connections.enter(ip(peer)).expect("a seat");
        let silent: Vec<Seat> = (0..=HANDSHAKES_EACH).map(|_| seat("192.0.2.1")).collect();
        let mut under_way = Vec::new();
        for seat in &silent[1..] {
            under_way.push(seat.handshake().await);
        }
        let soon = |seat: Seat| async move { tokio::time::timeout(PAUSE, seat.handshake()).await.is_ok() };
        const PAUSE: Duration = Duration::from_secs(1);
        assert!(tokio::time::timeout(PAUSE, silent[0].handshake()).await.is_err());
        assert!(soon(seat("192.0.2.2")).await && soon(seat("127.0.0.1")).await);
        under_way.pop();
        assert!(tokio::time::timeout(PAUSE, silent[0].handshake()).await.is_ok());
    }

    #[test]
    fn what_happens_often_is_told_once_a_minute() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let at = |s: u64| start + Duration::from_secs(s);
        assert_eq!([0, 0, 59, 60, 61].map(|s| seldom.again(at(s))), [Some(1), None, None, Some(3), None]);
    }
}
