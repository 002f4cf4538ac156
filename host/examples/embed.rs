//! Dispatches one command without the command line and HTTP:
//! `cargo run --example embed`, after `cargo run -- build`.

use pointsman::{app::App, command::Command, config::Config, dispatcher::Options};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = App::start(Config::default()).await?;
    let command = Command::parse(r#"{"requestType":"CreatePolicy","productType":"HighRisk"}"#)?;
    let report = app.dispatch(command, Options::default()).await?;
    for handler in &report.handlers {
        println!("{}: {}", handler.handler, handler.outcome.status().as_str());
    }
    app.stop().await;
    Ok(())
}
