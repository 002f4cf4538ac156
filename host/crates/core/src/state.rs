//! The semantics of handler state: [`MemorySpace`] is the reference implementation, in
//! memory. The stores of the queue do the same durably, and are tested against it;
//! test cases use it directly.

use std::{collections::BTreeMap, time::Duration};

use crate::json;

/// Bytes of a key: it sits in an index.
pub const KEY_MAX_BYTES: usize = 512;
/// Bytes of one value.
pub const VALUE_MAX_BYTES: usize = 1 << 20;
/// The maximum number of entries per list.
pub const LIST_MAX: u32 = 1_000;
/// The size at which a list ends early.
pub const LIST_MAX_BYTES: usize = 1 << 20;
/// The longest time to live: a century, so that its end can be represented.
const TTL_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A namespace of entries, with its quotas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Its name.
    pub name: String,
    /// The maximum number of entries.
    pub keys_max: u64,
    /// The maximum size of all keys and values in bytes.
    pub bytes_max: u64,
}

/// An operation on a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateRequest {
    /// The value of a key.
    Get {
        /// The key.
        key: String,
    },
    /// Sets a key.
    Set {
        /// The key.
        key: String,
        /// JSON text.
        value: String,
        /// Its time to live, if it expires.
        ttl: Option<Duration>,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: String,
    },
    /// Sets or removes a key, if its value is the expected one.
    CompareAndSet {
        /// The key.
        key: String,
        /// The expected value; `None` if it must not exist.
        expected: Option<String>,
        /// The new value; none removes it.
        value: Option<String>,
        /// Its time to live, if it expires.
        ttl: Option<Duration>,
    },
    /// Adds to an integer, or to 0 if there is no entry.
    Increment {
        /// The key.
        key: String,
        /// What to add.
        by: i64,
        /// The time to live of a new entry, if it expires.
        ttl: Option<Duration>,
    },
    /// Entries in the order of their keys.
    List {
        /// The prefix of the keys.
        prefix: String,
        /// The key after which the list starts.
        after: Option<String>,
        /// The maximum number of entries.
        limit: u32,
    },
}

/// The result of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateAnswer {
    /// The value of a key.
    Value(Option<String>),
    /// Whether something was changed.
    Done(bool),
    /// The sum.
    Sum(i64),
    /// Keys and their values.
    Entries(Vec<(String, String)>),
}

/// Why an operation failed. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The quota of the space is used up.
    #[error("{0}")]
    Full(String),
    /// A permanent failure.
    #[error("{0}")]
    Invalid(String),
    /// A temporary failure.
    #[error("{0}")]
    Unavailable(String),
}

impl StateRequest {
    /// The one key that it is about.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Get { key }
            | Self::Set { key, .. }
            | Self::Delete { key }
            | Self::CompareAndSet { key, .. }
            | Self::Increment { key, .. } => Some(key),
            Self::List { .. } => None,
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn reads(&self) -> bool {
        matches!(self, Self::Get { .. } | Self::List { .. })
    }

    /// Refuses what no space can do.
    ///
    /// # Errors
    /// [`StateError::Invalid`].
    pub fn check(&self) -> Result<(), StateError> {
        let invalid = |reason: String| Err(StateError::Invalid(reason));
        let (key, values, ttl) = match self {
            Self::Get { key } | Self::Delete { key } => (key, [None, None], None),
            Self::Set { key, value, ttl } => (key, [Some(value), None], *ttl),
            Self::CompareAndSet {
                key,
                expected,
                value,
                ttl,
            } => (key, [value.as_ref(), expected.as_ref()], *ttl),
            Self::Increment { key, ttl, .. } => (key, [None, None], *ttl),
            Self::List {
                prefix,
                after,
                limit,
            } => {
                if *limit == 0 || *limit > LIST_MAX {
                    return invalid(format!("a list has 1 to {LIST_MAX} entries, not {limit}"));
                }
                for text in [Some(prefix), after.as_ref()].into_iter().flatten() {
                    if text.len() > KEY_MAX_BYTES || text.contains('\0') {
                        return invalid(format!(
                            "`prefix` and `after` have at most {KEY_MAX_BYTES} bytes and none that is NUL"
                        ));
                    }
                }
                return Ok(());
            }
        };
        if key.is_empty() || key.len() > KEY_MAX_BYTES || key.contains('\0') {
            return invalid(format!(
                "a key has 1 to {KEY_MAX_BYTES} bytes and none that is NUL"
            ));
        }
        for value in values.into_iter().flatten() {
            if value.len() > VALUE_MAX_BYTES {
                return invalid(format!(
                    "a value has at most {VALUE_MAX_BYTES} bytes, not {}",
                    value.len()
                ));
            }
            if let Err(error) = json::raw(value.clone()) {
                return invalid(format!("the value is not JSON: {error}"));
            }
        }
        match ttl {
            Some(ttl) if ttl.is_zero() || ttl > TTL_MAX => {
                invalid("a time to live is 1 ms to 100 years".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl Space {
    /// Whether it has room for so much.
    fn room(&self, held: SpaceUsage) -> Result<(), StateError> {
        let full = |what: &str, limit: u64, setting: &str| {
            Err(StateError::Full(format!(
                "the state `{}` already has {limit} {what}; `state.{setting}` sets the limit",
                self.name
            )))
        };
        if held.keys > self.keys_max {
            return full("keys", self.keys_max, "keys_max");
        }
        if held.bytes > self.bytes_max {
            return full("bytes", self.bytes_max, "bytes_max");
        }
        Ok(())
    }
}

/// How much a space holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceUsage {
    /// Entries.
    pub keys: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// What becomes of the entry of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It stays as it is.
    Nothing,
    /// It has this value now.
    Put {
        /// JSON text.
        value: String,
        /// How long it stays.
        until: Until,
    },
    /// It is removed.
    Remove,
}

/// How long an entry stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until it is removed.
    Removed,
    /// That long from now.
    Over(Duration),
    /// As long as it would have.
    AsBefore,
}

impl From<Option<Duration>> for Until {
    fn from(ttl: Option<Duration>) -> Self {
        ttl.map_or(Self::Removed, Self::Over)
    }
}

/// What a request about one key does, where that stands for `found` now and the
/// space holds so much.
///
/// # Errors
/// [`StateError`]; then nothing is to be done.
pub fn decide(
    space: &Space,
    request: StateRequest,
    found: Option<&str>,
    held: SpaceUsage,
) -> Result<(StateAnswer, Change), StateError> {
    let key_bytes = request.key().map_or(0, str::len);
    let (answer, change) = match request {
        StateRequest::Get { .. } | StateRequest::List { .. } => (
            StateAnswer::Value(found.map(str::to_owned)),
            Change::Nothing,
        ),
        StateRequest::Delete { .. } => (StateAnswer::Done(found.is_some()), Change::Remove),
        StateRequest::Set { value, ttl, .. } => {
            let until = ttl.into();
            (StateAnswer::Done(true), Change::Put { value, until })
        }
        StateRequest::CompareAndSet { expected, .. } if found != expected.as_deref() => {
            (StateAnswer::Done(false), Change::Nothing)
        }
        StateRequest::CompareAndSet { value, ttl, .. } => {
            let until = ttl.into();
            let put = value.map(|value| Change::Put { value, until });
            (StateAnswer::Done(true), put.unwrap_or(Change::Remove))
        }
        StateRequest::Increment { by, ttl, .. } => {
            let sum = sum(found, by)?;
            let until = match found {
                Some(_) => Until::AsBefore,
                None => ttl.into(),
            };
            let value = sum.to_string();
            (StateAnswer::Sum(sum), Change::Put { value, until })
        }
    };
    if let Change::Put { value, .. } = &change {
        let after = held.after(key_bytes, found, Some(value));
        space.room(after)?;
    }
    Ok((answer, change))
}

impl SpaceUsage {
    /// What a space holds once the value of a key is another one.
    #[must_use]
    pub fn after(self, key_bytes: usize, found: Option<&str>, value: Option<&str>) -> Self {
        let size = |value: Option<&str>| match value {
            Some(value) => (1, (key_bytes + value.len()) as u64),
            None => (0, 0),
        };
        let ((keys_before, before), (keys, bytes)) = (size(found), size(value));
        Self {
            keys: (self.keys + keys).saturating_sub(keys_before),
            bytes: (self.bytes + bytes).saturating_sub(before),
        }
    }
}

/// The sum of what a key stands for and `by`.
fn sum(value: Option<&str>, by: i64) -> Result<i64, StateError> {
    let value = match value {
        None => 0,
        Some(text) => text.parse::<i64>().map_err(|_| {
            StateError::Invalid("only a whole number of 64 bits can be incremented".to_owned())
        })?,
    };
    value
        .checked_add(by)
        .ok_or_else(|| StateError::Invalid("the sum is not a 64-bit integer".to_owned()))
}

/// One space in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemorySpace(BTreeMap<String, Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    value: String,
    // Since the same moment as `now`.
    until: Option<Duration>,
}

impl MemorySpace {
    /// These keys with their values, for good.
    #[must_use]
    pub fn new(entries: impl IntoIterator<Item = (String, String)>) -> Self {
        let entry = |(key, value)| (key, Entry { value, until: None });
        Self(entries.into_iter().map(entry).collect())
    }

    /// What is there at `now`.
    pub fn iter(&self, now: Duration) -> impl Iterator<Item = (&str, &str)> {
        let there = self.0.iter().filter(move |(_, entry)| entry.is_there(now));
        there.map(|(key, entry)| (key.as_str(), entry.value.as_str()))
    }

    /// Does what is asked at `now`.
    ///
    /// # Errors
    /// [`StateError`]; then nothing was done.
    pub fn apply(
        &mut self,
        space: &Space,
        request: StateRequest,
        now: Duration,
    ) -> Result<StateAnswer, StateError> {
        request.check()?;
        self.0.retain(|_, entry| entry.is_there(now));
        let key = match &request {
            StateRequest::List {
                prefix,
                after,
                limit,
            } => {
                let list = self.list(prefix, after.as_deref(), *limit);
                return Ok(StateAnswer::Entries(list));
            }
            other => other.key().unwrap_or_default().to_owned(),
        };
        let found = self.0.get(&key).cloned();
        let value = found.as_ref().map(|entry| entry.value.as_str());
        let (answer, change) = decide(space, request, value, self.held())?;
        match change {
            Change::Nothing => {}
            Change::Remove => drop(self.0.remove(&key)),
            Change::Put { value, until } => {
                let until = match until {
                    Until::Removed => None,
                    Until::Over(ttl) => Some(now + ttl),
                    Until::AsBefore => found.and_then(|entry| entry.until),
                };
                self.0.insert(key, Entry { value, until });
            }
        }
        Ok(answer)
    }

    fn held(&self) -> SpaceUsage {
        let none = SpaceUsage::default();
        self.0.iter().fold(none, |held, (key, entry)| {
            held.after(key.len(), None, Some(&entry.value))
        })
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: u32) -> Vec<(String, String)> {
        let (mut list, mut bytes) = (Vec::new(), 0);
        for (key, entry) in &self.0 {
            if !key.starts_with(prefix) || after.is_some_and(|after| key.as_str() <= after) {
                continue;
            }
            bytes += key.len() + entry.value.len();
            list.push((key.clone(), entry.value.clone()));
            if list.len() >= limit as usize || bytes >= LIST_MAX_BYTES {
                break;
            }
        }
        list
    }
}

impl Entry {
    fn is_there(&self, now: Duration) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Space {
        Space {
            name: "test".into(),
            keys_max: 2,
            bytes_max: 20,
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn set(key: &str, value: &str, ttl: Option<u64>) -> StateRequest {
        StateRequest::Set {
            key: key.into(),
            value: value.into(),
            ttl: ttl.map(at),
        }
    }

    fn get(key: &str) -> StateRequest {
        StateRequest::Get { key: key.into() }
    }

    #[test]
    fn an_entry_is_there_until_its_time_is_over() {
        let (mut entries, space) = (MemorySpace::default(), space());
        entries
            .apply(&space, set("a", "1", Some(10)), at(0))
            .unwrap();
        let value = |value: Option<&str>| Ok(StateAnswer::Value(value.map(Into::into)));
        assert_eq!(entries.apply(&space, get("a"), at(9)), value(Some("1")));
        assert_eq!(entries.apply(&space, get("a"), at(10)), value(None));
    }

    #[test]
    fn an_increment_keeps_the_time_to_live_of_the_first() {
        let (mut entries, space) = (MemorySpace::default(), space());
        let add = |ttl| StateRequest::Increment {
            key: "n".into(),
            by: 2,
            ttl: Some(at(ttl)),
        };
        assert_eq!(
            entries.apply(&space, add(10), at(0)),
            Ok(StateAnswer::Sum(2))
        );
        assert_eq!(
            entries.apply(&space, add(10), at(9)),
            Ok(StateAnswer::Sum(4))
        );
        assert_eq!(
            entries.apply(&space, add(10), at(10)),
            Ok(StateAnswer::Sum(2))
        );
        entries
            .apply(&space, set("n", "1.5", None), at(11))
            .unwrap();
        let error = entries.apply(&space, add(1), at(11));
        assert!(matches!(error, Err(StateError::Invalid(_))));
        assert!(sum(Some(&i64::MAX.to_string()), 1).is_err());
    }

    #[test]
    fn a_space_holds_no_more_than_it_may_and_what_is_refused_changes_nothing() {
        let (mut entries, space) = (MemorySpace::default(), space());
        entries.apply(&space, set("a", "1", None), at(0)).unwrap();
        entries.apply(&space, set("b", "1", None), at(0)).unwrap();
        let before = entries.clone();
        for request in [set("c", "1", None), set("a", "\"01234567890123456\"", None)] {
            let error = entries.apply(&space, request, at(0));
            assert!(matches!(error, Err(StateError::Full(_))), "{error:?}");
        }
        assert_eq!(entries, before);
        entries.apply(&space, set("a", "22", None), at(0)).unwrap();
    }

    #[test]
    fn what_no_space_can_do_is_refused() {
        for request in [
            get(""),
            get("a\0"),
            get(&"k".repeat(KEY_MAX_BYTES + 1)),
            set("a", "{", None),
            set("a", "", None),
            set("a", "{\"a\":1,\"a\":2}", None),
            set("a", "1", Some(0)),
            set("a", "1", Some(u64::MAX)),
            set("a", &format!("\"{}\"", "x".repeat(VALUE_MAX_BYTES)), None),
            StateRequest::List {
                prefix: String::new(),
                after: None,
                limit: 0,
            },
            StateRequest::List {
                prefix: String::new(),
                after: None,
                limit: LIST_MAX + 1,
            },
        ] {
            assert!(matches!(request.check(), Err(StateError::Invalid(_))));
        }
    }

    #[test]
    fn a_list_goes_on_behind_a_key() {
        let mut entries =
            MemorySpace::new(["b1", "a", "b2", "b3"].map(|key| (key.into(), "0".into())));
        let mut list = |after: Option<&str>| {
            let request = StateRequest::List {
                prefix: "b".into(),
                after: after.map(Into::into),
                limit: 2,
            };
            match entries.apply(&space(), request, at(0)).unwrap() {
                StateAnswer::Entries(list) => list.into_iter().map(|(key, _)| key).collect(),
                other => vec![format!("{other:?}")],
            }
        };
        assert_eq!(list(None), ["b1", "b2"]);
        assert_eq!(list(Some("b2")), ["b3"]);
    }
}
