//! Dispatches one command without the command line and HTTP:
//! `cargo run --example embed`, after `cargo run -- build`.

use pointsman::{command::Command, config::Config, dispatcher::DispatchOptions, host::Host};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let host = Host::load(Config::default()).await?;
    let command = Command::parse(r#"{"requestType":"CreatePolicy","productType":"HighRisk"}"#)?;
    let report = host.dispatch(command, DispatchOptions::default()).await?;
    for handler in &report.handlers {
        println!("{}: {}", handler.handler, handler.outcome.status().as_str());
    }
    host.stop().await;
    Ok(())
}
