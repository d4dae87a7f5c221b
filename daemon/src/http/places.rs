//! The places of connections: how many there may be, of whom, and which one goes when another needs its place.
//!
//! ```text
//! enter ── has a place: taken
//!       ── none, but somebody whom it may displace says nothing: that one goes, again
//!       ── none, and all of them are being answered: refused with `busy`
//! ```
//! Invariant: who is no admin has at most [`limits::CONNECTIONS_OF_USER`] places, and all of these together leave
//! [`limits::CONNECTIONS_KEPT`] to admins. A connection is idle until the head of a request has come, and when all its
//! answers are on their way; only an idle one is displaced.

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use orchd_model::{Code, Refusal, limits};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot};

use crate::config::Role;
use crate::peer::Peer;

/// Idle connections that are asked to go for one that comes; each may have something to do by then.
const TRIES: usize = 4 * limits::CONNECTIONS;

/// Asks a connection to go unless it has something to do; it drops this when it has decided.
pub type Ask = oneshot::Sender<()>;

/// All places.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    /// Numbers connections, and the moments since when they are idle.
    next: u64,
    by_number: BTreeMap<u64, Connection>,
}

struct Connection {
    uid: u32,
    role: Role,
    /// Requests that are not answered to the end.
    requests: u32,
    /// The moment since when it is idle, if it is.
    idle_since: u64,
    ask: mpsc::Sender<Ask>,
}

/// The place of one connection, which is free again when this is dropped.
pub struct Place {
    places: Places,
    number: u64,
}

/// Who else has a place that somebody needs.
enum Crowd {
    /// Others of the same user.
    User(u32),
    /// Those who are no admins.
    Submitters,
    /// Everybody.
    All,
}

impl Places {
    /// Takes a place, and gives what the connection is asked by. Somebody idle goes if there is no other way.
    ///
    /// # Errors
    /// `busy` when nobody who could go is idle.
    pub async fn enter(&self, peer: &Peer) -> Result<(Place, mpsc::Receiver<Ask>), Refusal> {
        let mut tries = TRIES;
        loop {
            let (crowd, oldest) = {
                let mut taken = self.0.lock();
                match taken.crowd(peer) {
                    None => return Ok(self.take(&mut taken, peer)),
                    Some(crowd) => {
                        let oldest = taken.idle_longest(&crowd);
                        (crowd, oldest)
                    }
                }
            };
            let Some(oldest) = oldest.filter(|_| tries > 0) else { return Err(refusal(&crowd)) };
            tries -= 1;
            let (ask, decided) = oneshot::channel();
            if oldest.send(ask).await.is_ok() {
                // Nothing is ever sent: it has gone, or it has something to do by now.
                drop(decided.await);
            }
            tokio::task::yield_now().await;
        }
    }

    fn take(&self, taken: &mut Taken, peer: &Peer) -> (Place, mpsc::Receiver<Ask>) {
        let (ask, asked) = mpsc::channel(1);
        let number = taken.moment();
        let &Peer { uid, role, .. } = peer;
        let connection = Connection { uid, role, requests: 0, idle_since: number, ask };
        taken.by_number.insert(number, connection);
        (Place { places: self.clone(), number }, asked)
    }
}

impl Taken {
    fn moment(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Who takes the place that this one would need, if there is none left for it.
    fn crowd(&self, peer: &Peer) -> Option<Crowd> {
        let count = |crowd: &Crowd| self.by_number.values().filter(|other| crowd.has(other)).count();
        let of_user = Crowd::User(peer.uid);
        if peer.role == Role::Submitter && count(&of_user) >= limits::CONNECTIONS_OF_USER {
            return Some(of_user);
        }
        let for_submitters = limits::CONNECTIONS - limits::CONNECTIONS_KEPT;
        if peer.role == Role::Submitter && count(&Crowd::Submitters) >= for_submitters {
            return Some(Crowd::Submitters);
        }
        let is_full = self.by_number.len() >= limits::CONNECTIONS;
        is_full.then_some(if peer.role == Role::Admin { Crowd::All } else { Crowd::Submitters })
    }

    fn idle_longest(&self, crowd: &Crowd) -> Option<mpsc::Sender<Ask>> {
        let idle = self.by_number.values().filter(|other| other.requests == 0 && crowd.has(other));
        idle.min_by_key(|other| other.idle_since).map(|other| other.ask.clone())
    }
}

impl Crowd {
    fn has(&self, connection: &Connection) -> bool {
        match self {
            Self::User(uid) => connection.uid == *uid,
            Self::Submitters => connection.role == Role::Submitter,
            Self::All => true,
        }
    }
}

fn refusal(crowd: &Crowd) -> Refusal {
    let message = match crowd {
        Crowd::User(_) => format!("at most {} connections of one user", limits::CONNECTIONS_OF_USER),
        Crowd::Submitters | Crowd::All => format!("at most {} connections", limits::CONNECTIONS),
    };
    Refusal::new(Code::Busy, message).hint("try again when others have ended")
}

impl Place {
    /// Notes a request; the connection is not idle until what this gives is dropped.
    pub fn occupy(&self) -> Occupied {
        let occupied = Occupied { places: self.places.clone(), number: self.number };
        if let Some(connection) = self.places.0.lock().by_number.get_mut(&self.number) {
            connection.requests += 1;
        }
        occupied
    }

    /// Whether no request is under way.
    pub fn is_idle(&self) -> bool {
        self.places.0.lock().by_number.get(&self.number).is_none_or(|connection| connection.requests == 0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.lock().by_number.remove(&self.number);
    }
}

/// A request that is under way.
pub struct Occupied {
    places: Places,
    number: u64,
}

impl Drop for Occupied {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock();
        let now = taken.moment();
        if let Some(connection) = taken.by_number.get_mut(&self.number) {
            connection.requests -= 1;
            connection.idle_since = now;
        }
    }
}

/// The body of an answer, with which its request ends.
pub struct Answering {
    pub body: Body,
    pub _request: Occupied,
}

impl hyper::body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, role: Role) -> Peer {
        Peer { uid, role, pid: None }
    }

    /// Connections that are being answered, as many as are let in.
    async fn fill(places: &Places, peer: Peer) -> Vec<(Place, Occupied)> {
        let mut filled = Vec::new();
        while let Ok((place, _)) = places.enter(&peer).await {
            let request = place.occupy();
            filled.push((place, request));
        }
        filled
    }

    #[tokio::test]
    async fn no_user_takes_all_places_and_no_users_take_those_of_admins() {
        let places = Places::default();
        let one = fill(&places, peer(1, Role::Submitter)).await;
        assert_eq!(one.len(), limits::CONNECTIONS_OF_USER);
        let other = fill(&places, peer(2, Role::Submitter)).await;
        assert_eq!(one.len() + other.len(), limits::CONNECTIONS - limits::CONNECTIONS_KEPT);
        assert_eq!(fill(&places, peer(3, Role::Submitter)).await.len(), 0);
        let admins = fill(&places, peer(0, Role::Admin)).await;
        assert_eq!(admins.len(), limits::CONNECTIONS_KEPT);
        drop(one);
        assert_eq!(fill(&places, peer(0, Role::Admin)).await.len(), limits::CONNECTIONS_OF_USER);
    }

    #[tokio::test]
    async fn who_has_been_idle_longest_goes_for_others_of_its_kind() {
        let places = Places::default();
        let admin = peer(0, Role::Admin);
        let mut taken = Vec::new();
        for _ in 0..limits::CONNECTIONS {
            taken.push(places.enter(&admin).await.unwrap());
        }
        // A request long ago, and none.
        drop(taken[0].0.occupy());
        assert!(
            places.enter(&peer(1, Role::Submitter)).await.is_err_and(|refusal| refusal.code == Code::Busy)
        );
        let (place, mut asked) = taken.remove(1);
        let goes = tokio::spawn(async move {
            let ask = asked.recv().await;
            drop(place);
            drop(ask);
        });
        let next = places.enter(&admin).await.unwrap();
        goes.await.unwrap();
        assert!(next.0.is_idle() && taken[0].0.is_idle());
    }
}
