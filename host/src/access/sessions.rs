//! Owns the sessions of browsers: which token each began with. What a session may do is
//! what its token may do now, so one that is removed or expires ends its sessions.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::Digest;

/// How long a session lasts: a working day.
pub const SESSION_LASTS: Duration = Duration::from_secs(12 * 3600);
/// Sessions at once. One more ends the one that would end first.
const SESSIONS_MAX: usize = 1_000;

/// The sessions of one host. Ids are kept as digests alone.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<Vec<u8>, Session>>);

#[derive(Debug)]
struct Session {
    token: Digest,
    until: Instant,
}

impl Sessions {
    /// Begins a session of whoever presented the token with this digest; its id is new.
    ///
    /// # Panics
    /// Where the system gives no random bytes.
    #[must_use]
    pub fn begin(&self, token: Digest) -> String {
        let mut id = [0; 32];
        getrandom::fill(&mut id).expect("the system gives random bytes");
        let id = Digest::of(&id).to_string();
        self.keep(&id, token, Instant::now());
        id
    }

    fn keep(&self, id: &str, token: Digest, now: Instant) {
        let mut sessions = self.sessions();
        sessions.retain(|_, session| session.until > now);
        if sessions.len() >= SESSIONS_MAX {
            let first = sessions.iter().min_by_key(|(_, session)| session.until);
            let first = first.map(|(id, _)| id.clone());
            first.and_then(|id| sessions.remove(&id));
        }
        let until = now + SESSION_LASTS;
        sessions.insert(key(id), Session { token, until });
    }

    /// The digest of the token of a session that goes on.
    #[must_use]
    pub fn token(&self, id: &str) -> Option<Digest> {
        self.token_at(id, Instant::now())
    }

    fn token_at(&self, id: &str, now: Instant) -> Option<Digest> {
        let sessions = self.sessions();
        let found = sessions.get(&key(id));
        found
            .filter(|session| session.until > now)
            .map(|session| session.token)
    }

    /// Ends a session.
    pub fn end(&self, id: &str) {
        self.sessions().remove(&key(id));
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Session>> {
        // Every change is one call of the map: a panic leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is looked up is a digest: how long that takes says nothing of an id.
fn key(id: &str) -> Vec<u8> {
    Digest::of(id.as_bytes()).bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_it_is_told_to_or_after_its_time() {
        let sessions = Sessions::default();
        let token = Digest::of(b"token");
        let (a, b) = (sessions.begin(token), sessions.begin(token));
        assert_ne!(a, b);
        assert_eq!((a.len(), sessions.token(&a)), (64, Some(token)));
        assert_eq!(sessions.token("x"), None);
        sessions.end(&a);
        assert_eq!(
            (sessions.token(&a), sessions.token(&b)),
            (None, Some(token))
        );
        assert_eq!(sessions.token_at(&b, Instant::now() + SESSION_LASTS), None);
    }

    #[test]
    fn one_session_too_many_ends_the_oldest() {
        let sessions = Sessions::default();
        let now = Instant::now();
        for number in 0..=SESSIONS_MAX {
            let at = now + Duration::from_secs(number as u64);
            sessions.keep(&number.to_string(), Digest::of(b"token"), at);
        }
        assert_eq!(sessions.sessions().len(), SESSIONS_MAX);
        assert_eq!(sessions.token("0"), None);
        assert!(sessions.token("1").is_some());
    }
}
