//! Owns the contract's `state`: entries that outlive the call, in the space that
//! the operator granted.

use std::time::Duration;

use pointsman_core::state::{Space, StateAnswer, StateError, StateRequest};

use super::{bindings::v0_2_0::pointsman::handler::state, state::State};

impl State {
    async fn ask(&mut self, request: StateRequest) -> Result<StateAnswer, state::Error> {
        let handler = &self.handler;
        let Some(grant) = &handler.settings.state else {
            let denial = handler.grants.no_service("state", "state");
            return Err(state::Error::Denied(self.deny(denial)));
        };
        // No name of a handler begins so: a space that is shared is nobody's own.
        let name = match &grant.shared {
            Some(shared) => format!("/{shared}"),
            None => handler.name.to_string(),
        };
        let space = Space {
            name,
            keys_max: grant.keys_max,
            bytes_max: grant.bytes_max,
        };
        request.check()?;
        let Some(store) = self.shared.services.state.clone() else {
            return Err(state::Error::Unavailable(
                "this host keeps no state: it runs without the queue, in whose store it would be"
                    .to_owned(),
            ));
        };
        let now = self.simulated_clock().map(|clock| clock.now());
        Ok(store.ask(&space, request, now).await?)
    }
}

fn ttl(ttl_ms: Option<u64>) -> Option<Duration> {
    ttl_ms.map(Duration::from_millis)
}

impl state::Host for State {
    async fn get(&mut self, key: String) -> Result<Option<String>, state::Error> {
        match self.ask(StateRequest::Get { key }).await? {
            StateAnswer::Value(value) => Ok(value),
            _ => Err(other()),
        }
    }

    async fn set(
        &mut self,
        key: String,
        value: String,
        ttl_ms: Option<u64>,
    ) -> Result<(), state::Error> {
        let ttl = ttl(ttl_ms);
        self.ask(StateRequest::Set { key, value, ttl }).await?;
        Ok(())
    }

    async fn delete(&mut self, key: String) -> Result<bool, state::Error> {
        match self.ask(StateRequest::Delete { key }).await? {
            StateAnswer::Done(done) => Ok(done),
            _ => Err(other()),
        }
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<String>,
        value: Option<String>,
        ttl_ms: Option<u64>,
    ) -> Result<bool, state::Error> {
        let request = StateRequest::CompareAndSet {
            key,
            expected,
            value,
            ttl: ttl(ttl_ms),
        };
        match self.ask(request).await? {
            StateAnswer::Done(done) => Ok(done),
            _ => Err(other()),
        }
    }

    async fn increment(
        &mut self,
        key: String,
        by: i64,
        ttl_ms: Option<u64>,
    ) -> Result<i64, state::Error> {
        let ttl = ttl(ttl_ms);
        match self.ask(StateRequest::Increment { key, by, ttl }).await? {
            StateAnswer::Sum(sum) => Ok(sum),
            _ => Err(other()),
        }
    }

    async fn list(
        &mut self,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<state::Entry>, state::Error> {
        let request = StateRequest::List {
            prefix,
            after,
            limit,
        };
        let StateAnswer::Entries(entries) = self.ask(request).await? else {
            return Err(other());
        };
        let entry = |(key, value)| state::Entry { key, value };
        Ok(entries.into_iter().map(entry).collect())
    }
}

/// A store that answers another question than was asked.
fn other() -> state::Error {
    state::Error::Unavailable("the store gave an answer to something else".to_owned())
}

impl From<StateError> for state::Error {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Full(reason) => Self::Denied(reason),
            StateError::Invalid(reason) => Self::Invalid(reason),
            StateError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}
