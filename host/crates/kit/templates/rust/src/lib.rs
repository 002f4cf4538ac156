//! Greets by name.

use std::time::Duration;

use pointsman_sdk::{Command, Failure, Handler, Value, config, export, info, json};

struct Greet;

impl Handler for Greet {
    fn handle(command: Command) -> Result<Option<Value>, Failure> {
        // A wrong command is rejected and not retried.
        let name: String = command.field("name")?;
        // A temporary failure is `unavailable`: the command is retried.
        if config("closed").as_deref() == Some("true") {
            return Err(Failure::retry_after("the desk is closed", Duration::from_secs(30)));
        }
        info!("greeting {name}");
        let greeting = config("greeting").unwrap_or_else(|| "hello".into());
        Ok(Some(json!({ "greeting": format!("{greeting} {name}") })))
    }
}

export!(Greet);
