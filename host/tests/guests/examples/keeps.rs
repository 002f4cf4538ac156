//! Uses the services of the host with the SDK, as the command's `do` says: databases,
//! state, follow-up commands.

use std::time::Duration;

use pointsman_sdk::{
    Command, Failure, Handler, Value,
    emit::{self, FollowUp},
    export, json, sleep,
    sql::{self, params},
    state,
};
use serde::Deserialize;

struct Keeps;

#[derive(Deserialize)]
struct Customer {
    id: i64,
    name: String,
}

impl Handler for Keeps {
    fn handle(command: Command) -> Result<Option<Value>, Failure> {
        let what: String = command.field("do")?;
        let main = sql::connection("main");
        let answer = match what.as_str() {
            "insert" => {
                let name: String = command.field("name")?;
                let id: i64 = command.field("id")?;
                json!(main.execute("INSERT INTO customer VALUES ($1, $2)", params![id, name])?)
            }
            "customers" => {
                let all = main
                    .query_as::<Customer>("SELECT id, name FROM customer ORDER BY id", params![])?;
                let shown = all.iter().map(|one| format!("{} {}", one.id, one.name));
                json!(shown.collect::<Vec<_>>())
            }
            "transaction" => main.transaction(|main| {
                main.execute("INSERT INTO customer VALUES (8, 'kept?')", params![])?;
                match command.optional_field::<bool>("fail")? {
                    Some(true) => Err(Failure::rejected("no")),
                    _ => Ok(json!("kept")),
                }
            })?,
            // Ends in the middle of it.
            "left-open" => {
                let _: Result<(), Failure> = main.transaction(|main| {
                    main.execute("INSERT INTO customer VALUES (9, 'open')", params![])?;
                    std::process::abort()
                });
                json!(null)
            }
            "many" => {
                let mut count = 0;
                let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n";
                main.each(numbers, params![], |_| count += 1)?;
                json!(count)
            }
            "twice" => {
                let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n";
                main.each(numbers, params![], |_| {
                    drop(main.query_first::<Customer>(numbers, params![]))
                })?;
                json!(null)
            }
            "query" => {
                let database: String = command.field("database")?;
                let text: String = command.field("sql")?;
                let mut rows = 0;
                for _ in 0..command.optional_field::<u32>("times")?.unwrap_or(1) {
                    rows = sql::connection(&database).query(&text, params![])?.len();
                }
                json!(rows)
            }
            "count" => json!(state::increment("calls", 1)?),
            "remember" => {
                let value: Value = command.field("value")?;
                state::set(&command.field::<String>("key")?, &value)?;
                json!(null)
            }
            "remember-briefly" => {
                state::set_for("brief", &1, Duration::from_millis(1))?;
                pointsman_sdk::sleep(Duration::from_millis(20));
                json!(state::get::<Value>("brief")?)
            }
            "recall" => {
                let key: String = command.field("key")?;
                let mut value = None;
                for _ in 0..command.optional_field::<u32>("times")?.unwrap_or(1) {
                    value = state::get::<Value>(&key)?;
                }
                json!(value)
            }
            "forget" => json!(state::delete(&command.field::<String>("key")?)?),
            "compare" => {
                let first = state::compare_and_set("turn", None, Some(&1))?;
                let second = state::compare_and_set("turn", None, Some(&1))?;
                let third = state::compare_and_set("turn", Some(&1), Some(&2))?;
                json!([first, second, third])
            }
            "list" => {
                for key in ["p/b", "p/a", "q"] {
                    state::set(key, key)?;
                }
                json!(state::list::<String>("p/")?)
            }
            "emit" => {
                if let Some(key) = command.optional_field::<String>("after")? {
                    state::increment("waiting", 1)?;
                    while state::get::<Value>(&key)?.is_none() {
                        sleep(Duration::from_millis(10));
                    }
                }
                let mut ids = Vec::new();
                for follow_up in command.field::<Vec<Value>>("commands")? {
                    ids.push(emit::command(&follow_up)?);
                }
                if command
                    .optional_field::<u32>("fail-until")?
                    .is_some_and(|until| command.attempt < until)
                {
                    return Err(Failure::retry_after("not yet", Duration::from_millis(1)));
                }
                json!(ids)
            }
            // So many of so many bytes; those that are refused are counted.
            "emit-large" => {
                let large = json!({"do": "nothing", "of": "x".repeat(command.field("bytes")?)});
                let count: usize = command.field("count")?;
                let reasons = (0..count).filter_map(|_| emit::command(&large).err());
                let reasons: Vec<String> = reasons.map(|reason| reason.to_string()).collect();
                json!({"refused": reasons.len(), "reason": reasons.last()})
            }
            "emit-later" => {
                let later = FollowUp::new(&command.field::<Value>("command")?)?;
                let hours: Option<u64> = command.optional_field("hours")?;
                json!(
                    later
                        .delay(Duration::from_secs(3600 * hours.unwrap_or(1)))
                        .ordering_key("k")
                        .priority(5)
                        .send()?
                )
            }
            other => return Err(Failure::rejected(format!("cannot do `{other}`"))),
        };
        Ok(Some(answer))
    }
}

export!(Keeps);
