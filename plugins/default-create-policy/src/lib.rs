//! Creates a policy where no other rule of the group did: 1 s of simulated I/O.

use std::time::Duration;

use pointsman_sdk::{Command, Failure, Handler, Value, export, info, json, simulate_io};

struct DefaultCreatePolicy;

impl Handler for DefaultCreatePolicy {
    fn handle(command: Command) -> Result<Option<Value>, Failure> {
        let product_type: Option<String> = command.optional_field("productType")?;
        info!("Creating default policy...");
        simulate_io(Duration::from_secs(1))?;
        info!("Default policy created");
        Ok(Some(
            json!({ "policy": "default", "productType": product_type }),
        ))
    }
}

export!(DefaultCreatePolicy);
