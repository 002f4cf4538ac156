//! Creates a policy for the commands that a rule sends here: 2 s of simulated I/O.

use std::time::Duration;

use pointsman_sdk::{Command, Failure, Handler, Value, export, info, json, simulate_io};

struct CreatePolicy;

impl Handler for CreatePolicy {
    fn handle(command: Command) -> Result<Option<Value>, Failure> {
        let product_type: Option<String> = command.optional_field("productType")?;
        info!("Creating policy...");
        simulate_io(Duration::from_secs(2))?;
        info!("Policy created");
        Ok(Some(
            json!({ "policy": "created", "productType": product_type }),
        ))
    }
}

export!(CreatePolicy);
