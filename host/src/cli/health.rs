//! `pointsman health`: asks a running server whether it works, for container
//! health checks.

use std::time::Duration;

use super::{
    Exit, print,
    remote::{Remote, parse_timeout},
    terminal::out,
    trust::Trust,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pointsman health                                 is the process alive?
  pointsman health --ready                         does it accept commands?
  pointsman health --url https://localhost:3000 --ca ca.pem

Exit codes: 0 yes, 1 no, or no response.")]
pub(super) struct Args {
    /// URL of the server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3000")]
    url: Remote,
    /// How long the server may take to answer
    // Docker gives a health check 30 s, Kubernetes 1 s; a host answers within milliseconds.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_timeout)]
    timeout: Duration,
    /// Ask whether it accepts commands, not only whether it is alive
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    trust: Trust,
}

pub(super) async fn run(args: Args) -> anyhow::Result<Exit> {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let server = args.url.within(args.timeout).trusting(&args.trust)?;
    match server.get::<serde_json::Value>(path).await {
        Ok(_) => {
            out!("{}", if args.ready { "ready" } else { "healthy" });
            Ok(Exit::Succeeded)
        }
        Err(error) => {
            print::error(&error);
            Ok(Exit::Failed)
        }
    }
}
