//! Owns the databases, the state and the queue of a case: databases in memory, made
//! by the case; entries that are there before; follow-up commands that go nowhere.
//! And what all of it must be after the call.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pointsman_core::{
    command::Command,
    delivery::DeliveryId,
    outcome::{FollowUp, Outcome},
    state::{MemorySpace, Space, StateAnswer, StateError, StateRequest},
};
use pointsman_database::{Database, DatabaseLimits, SqlValue};
use pointsman_sandbox::{Answer, FollowUps, Services, StateStore};

use super::{Case, Difference, diff::diff, expect::canonical};

/// What a case gives its handler besides settings.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Statements that make each database, by its name.
    pub databases: BTreeMap<String, Fixture>,
    /// The entries that are there before the call, with their JSON text. Without, the
    /// handler has no state.
    pub state: Option<Vec<(String, String)>>,
}

/// What a database of a case holds before the call.
#[derive(Clone, Debug, Default)]
pub struct Fixture {
    /// Statements that make it, in the SQL of SQLite.
    pub statements: Vec<String>,
    /// Whether the handler may change nothing in it.
    pub read_only: bool,
}

/// What must be there after the call.
#[derive(Clone, Debug, Default)]
pub struct After {
    /// Queries of each database with the JSON text of their rows.
    pub databases: BTreeMap<String, Vec<(String, String)>>,
    /// All entries, with their JSON text.
    pub state: Option<Vec<(String, String)>>,
    /// The commands that were emitted, in order, with their JSON text.
    pub emitted: Option<Vec<String>>,
}

/// The JSON text of the rows of a query, or why there are none.
pub type Rows = Result<String, String>;

/// What was there after the call.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The queries of each database with their rows.
    pub databases: BTreeMap<String, Vec<(String, Rows)>>,
    /// All entries, with their JSON text, where the handler has state.
    pub state: Option<Vec<(String, String)>>,
    /// The commands that were emitted, in order, with their JSON text.
    pub emitted: Vec<String>,
}

impl Found {
    /// What is not as expected.
    fn compare_rows(&self, after: &After) -> Vec<Difference> {
        let mut differences = Vec::new();
        for (name, queries) in &after.databases {
            let found = self.databases.get(name).into_iter().flatten();
            for ((query, expected), (_, found)) in queries.iter().zip(found) {
                let what = format!("`{query}` of `{name}`");
                differences.extend(match found {
                    Ok(found) => other("sql", &what, expected, found),
                    Err(reason) => Some(Difference::new("sql", format!("{what}: {reason}"))),
                });
            }
        }
        differences
    }

    pub(super) fn compare(&self, after: &After) -> Vec<Difference> {
        let mut differences = self.compare_rows(after);
        if let (Some(expected), Some(found)) = (&after.state, &self.state) {
            let what = "the state";
            differences.extend(other("state", what, &object(expected), &object(found)));
        }
        if let Some(expected) = &after.emitted {
            let (expected, found) = (array(expected), array(&self.emitted));
            differences.extend(other("emitted", "what was emitted", &expected, &found));
        }
        differences
    }

    /// The members of `expect` that say the same, by their keys. A query that failed stays as
    /// `after` has it.
    pub(super) fn members(&self, after: &After) -> BTreeMap<&'static str, String> {
        let mut members = BTreeMap::new();
        let databases = self.databases.iter().map(|(name, found)| {
            let expected = after.databases.get(name).into_iter().flatten();
            let rows = found
                .iter()
                .zip(expected)
                .map(|((query, found), (_, expected))| {
                    let rows = found.as_ref().unwrap_or(expected);
                    (query.clone(), rows.clone())
                });
            (name.clone(), object(&rows.collect::<Vec<_>>()))
        });
        let databases: Vec<_> = databases.collect();
        if !databases.is_empty() {
            members.insert("sql", object(&databases));
        }
        if let Some(state) = &self.state {
            members.insert("state", object(state));
        }
        if !self.emitted.is_empty() || after.emitted.is_some() {
            members.insert("emitted", array(&self.emitted));
        }
        members
    }
}

/// A [`World`] for one call.
pub(super) struct Made {
    pub(super) databases: BTreeMap<String, Arc<Database>>,
    memory: Arc<Memory>,
}

impl World {
    pub(super) fn make(&self, now_ms: u64) -> Made {
        let database = |(name, fixture): (&String, &Fixture)| {
            let limits = DatabaseLimits {
                read_only: fixture.read_only,
                ..DatabaseLimits::default()
            };
            let made = Database::in_memory(name.clone(), &fixture.statements.join(";\n"), limits);
            (name.clone(), Arc::new(made))
        };
        Made {
            databases: self.databases.iter().map(database).collect(),
            memory: Arc::new(Memory {
                began: Duration::from_millis(now_ms),
                entries: Mutex::new(MemorySpace::new(self.state.clone().unwrap_or_default())),
            }),
        }
    }
}

/// The state of one call.
struct Memory {
    began: Duration,
    entries: Mutex<MemorySpace>,
}

impl StateStore for Memory {
    fn ask<'a>(
        &'a self,
        space: &'a Space,
        request: StateRequest,
        simulated: Option<Duration>,
    ) -> Answer<'a, Result<StateAnswer, StateError>> {
        let now = simulated.unwrap_or(self.began);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = entries.apply(space, request, now);
        Box::pin(std::future::ready(answer))
    }
}

/// A queue that takes each command and runs none.
struct Taken;

impl FollowUps for Taken {
    fn admit(&self, text: String, _: Option<Duration>) -> Answer<'_, Result<Command, String>> {
        // A case has no rules.
        let command = Command::parse(text).map_err(|error| format!("no command: {error}"));
        Box::pin(std::future::ready(command))
    }

    fn store<'a>(
        &'a self,
        _: DeliveryId,
        _: Option<&'a str>,
        _: &'a [FollowUp],
    ) -> Answer<'a, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Made {
    pub(super) fn services(&self) -> Services {
        Services {
            state: Some(Arc::clone(&self.memory) as _),
            follow_ups: Some(Arc::new(Taken)),
        }
    }

    /// What is there after the call, as far as the case asks for it.
    ///
    /// # Errors
    /// Where a database of the case could not be made.
    pub(super) async fn found(&self, case: &Case, outcome: &Outcome) -> Result<Found, Difference> {
        for (name, database) in &self.databases {
            if let Err(error) = database.session().query("SELECT 1", Vec::new()).await {
                let reason = format!("the fixture of `{name}`: {error}");
                return Err(Difference::new("sql", reason));
            }
        }
        let mut found = Found::default();
        for (name, queries) in &case.after.databases {
            let mut rows = Vec::with_capacity(queries.len());
            for (query, _) in queries {
                rows.push((query.clone(), self.rows(name, query).await));
            }
            found.databases.insert(name.clone(), rows);
        }
        if case.world.state.is_some() || case.after.state.is_some() {
            found.state = Some(self.entries());
        }
        let emitted = outcome.emitted.iter();
        found.emitted = emitted.map(|one| one.attributes.clone()).collect();
        Ok(found)
    }

    /// The entries after the call.
    fn entries(&self) -> Vec<(String, String)> {
        let entries = self
            .memory
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let there = entries.iter(self.memory.began);
        there
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    /// The rows of a query as JSON text: an array of arrays.
    async fn rows(&self, database: &str, query: &str) -> Result<String, String> {
        let database = self.databases.get(database);
        let database = database.ok_or("the case has no such database under `sql`")?;
        let mut session = database.session();
        let mut page = session.query(query, Vec::new()).await;
        let mut rows = Vec::new();
        loop {
            let found = page.map_err(|error| error.to_string())?;
            let more = found.more;
            rows.extend(found.rows.into_iter().map(|row| {
                let values: Vec<_> = row.iter().map(json).collect();
                array(&values)
            }));
            if !more {
                return Ok(array(&rows));
            }
            page = session.next().await;
        }
    }
}

fn json(value: &SqlValue) -> String {
    match value {
        SqlValue::Null => "null".into(),
        SqlValue::Boolean(value) => value.to_string(),
        SqlValue::Integer(value) => value.to_string(),
        SqlValue::Real(value) => serde_json::Value::from(*value).to_string(),
        SqlValue::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
        SqlValue::Bytes(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            serde_json::Value::from(hex).to_string()
        }
    }
}

fn array(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

fn object(members: &[(String, String)]) -> String {
    let member = |(key, value): &(String, String)| {
        format!("{}:{value}", serde_json::Value::from(key.as_str()))
    };
    let members: Vec<_> = members.iter().map(member).collect();
    format!("{{{}}}", members.join(","))
}

fn other(key: &'static str, what: &str, expected: &str, found: &str) -> Option<Difference> {
    let (expected, found) = (canonical(expected), canonical(found));
    if expected == found {
        return None;
    }
    let mut difference = Difference::new(key, format!("{what} is not as expected"));
    difference.diff = diff(&expected, &found, |e, f| e == f);
    Some(difference.cut())
}
