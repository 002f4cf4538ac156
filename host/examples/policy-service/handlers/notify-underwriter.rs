//! Notifies the underwriter's system of a policy, and says so with a command.

use pointsman_sdk::{Command, Failure, Handler, Value, emit, export, http::Request, info, json};

struct NotifyUnderwriter;

impl Handler for NotifyUnderwriter {
    fn handle(command: Command) -> Result<Option<Value>, Failure> {
        let url = pointsman_sdk::config("webhook")
            .ok_or_else(|| Failure::rejected("`config.webhook` names no URL"))?;
        let customer: String = command.field("customer")?;
        info!("Notifying underwriter for HighRisk policy...");
        // The host adds the token: this code cannot read it.
        let answer: Value = Request::post(url)
            .header("Idempotency-Key", &command.delivery_id)
            .json(&json!({ "customer": customer, "command": command.id }))
            .send()?
            .error_for_status()?
            .json()?;
        emit::command(&json!({
            "requestType": "PolicyNotified",
            "customer": customer,
            "case": answer["case"],
        }))?;
        info!("Underwriter notified");
        Ok(Some(json!({ "case": answer["case"] })))
    }
}

export!(NotifyUnderwriter);
