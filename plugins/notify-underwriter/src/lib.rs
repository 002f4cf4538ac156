//! Tells an underwriter about a policy: 3 s of simulated I/O.

use std::time::Duration;

use pointsman_sdk::{Command, Failure, Handler, Value, export, info, json, simulate_io};

struct NotifyUnderwriter;

impl Handler for NotifyUnderwriter {
    fn handle(command: Command) -> Result<Option<Value>, Failure> {
        let product_type: String = command.field("productType")?;
        info!("Notifying underwriter for {product_type} policy...");
        simulate_io(Duration::from_secs(3))?;
        info!("Underwriter notified");
        Ok(Some(
            json!({ "notified": "underwriter", "productType": product_type }),
        ))
    }
}

export!(NotifyUnderwriter);
