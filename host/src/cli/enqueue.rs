//! `pointsman enqueue`: puts a command, or many, into the queue, itself or through a
//! host that serves.

use std::{path::PathBuf, time::Duration};

use super::{
    Exit, enqueue_lines, input,
    kept::{Kept, matched_nothing},
    print,
    remote::{Server, one_process, parse_timeout},
    terminal::{self, out},
    warn_of,
};
use crate::{
    cloudevents,
    command::Command,
    config::Config,
    queue::{Accepted, Dedup, EnqueueOptions, Timestamp},
};

#[derive(Debug, clap::Args)]
#[command(after_help = concat!(
    "\
Examples:
  pointsman enqueue '{\"requestType\":\"CreatePolicy\"}'
  pointsman enqueue @command.json --run-at 2030-01-01T00:00:00Z --idempotency-key order-17
  pointsman enqueue @command.json --url http://127.0.0.1:3000
  pointsman enqueue --lines commands.jsonl

--lines stores up to 1,000 commands at once, all or none, and stops at the first of
such batches that has a wrong one.

",
    one_process!(),
    "

Exit codes: 0 stored, 2 invalid usage or command, or not stored, 3 no handler
matched."
))]
pub(super) struct Args {
    /// Command as JSON, `-` to read standard input, `@FILE` to read a file
    #[arg(required_unless_present = "lines")]
    command: Option<String>,
    /// File with one command as JSON on each line, `-` to read standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["command", "event"])]
    lines: Option<PathBuf>,
    /// The command is a CloudEvent as JSON
    #[arg(long, conflicts_with = "idempotency_key")]
    event: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Idempotency key: a repeated command with the same key is stored once
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Priority; higher numbers run first
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    priority: i32,
    /// Earliest time to run, for example 2030-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    run_at: Option<jiff::Timestamp>,
    /// Ordering key: each handler processes commands with the same key one at a time,
    /// in order
    #[arg(long, value_name = "KEY")]
    ordering_key: Option<String>,
    /// Deduplication key: what it means says --mode
    #[arg(long, value_name = "KEY", requires = "mode", conflicts_with_all = ["lines", "event"])]
    dedup: Option<String>,
    /// `until-done`, `replace` or `throttle`
    #[arg(long, value_name = "MODE", requires = "dedup")]
    mode: Option<String>,
    /// How long `throttle` holds back others with the key, for example 10m
    #[arg(long, value_name = "DURATION", requires = "dedup", value_parser = parse_timeout)]
    ttl: Option<Duration>,
    /// Accept the command even if no rule matches
    #[arg(long, conflicts_with = "url")]
    accept_unmatched: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(args: Args, mut config: Config) -> anyhow::Result<Exit> {
    config.queue.accept_unmatched |= args.accept_unmatched;
    let max_bytes = config.host.command_max_bytes;
    let given = args
        .command
        .as_deref()
        .map(|given| input::command(given, max_bytes));
    let given = given.transpose()?;
    // What is wrong with it is told before anything is opened.
    let command = match &given {
        Some(text) if args.event => Some(cloudevents::structured(text)?.command),
        Some(text) => Some(Command::parse(text)?),
        None => None,
    };
    let kept = Kept::open(args.server.remote()?, config).await?;
    if let Kept::Here(host) = &kept {
        warn_of(&host.snapshot().problems);
    }
    let options = EnqueueOptions {
        idempotency_key: args.idempotency_key,
        same_by_key: false,
        dedup: Dedup::of(args.dedup, args.mode.as_deref(), args.ttl)?,
        priority: args.priority,
        run_at: args
            .run_at
            .map(|time| Timestamp::from_millis(time.as_millisecond())),
        ordering_key: args.ordering_key,
        rerun_of: None,
    };
    if let Some(path) = &args.lines {
        return enqueue_lines::run(path, &kept, options, max_bytes, args.json).await;
    }
    let accepted = match (command, given) {
        (Some(_), Some(text)) if args.event => kept.enqueue_event(text, options).await,
        (Some(command), _) => kept.enqueue(&command, options).await,
        // The arguments are one or the other.
        (None, _) => anyhow::bail!("no command is given"),
    };
    let accepted = match accepted {
        Err(error) if matched_nothing(&error) => {
            print::error(&error);
            return Ok(Exit::NoMatch);
        }
        accepted => accepted?,
    };
    kept.close().await?;
    show(&accepted, args.json)?;
    Ok(Exit::Succeeded)
}

/// Shows what was stored.
pub(super) fn show(accepted: &Accepted, json: bool) -> anyhow::Result<()> {
    if json {
        return Ok(terminal::json(accepted)?);
    }
    let word = match (accepted.repeated, accepted.removed) {
        _ if accepted.replaced => "replaced what was stored before",
        (_, true) => "stored earlier; it has ended and been deleted",
        (true, false) => "stored before",
        (false, false) => "stored",
    };
    out!("{}  {}", accepted.id, print::good(word));
    for delivery in &accepted.deliveries {
        out!("  {}", print::handler(&delivery.handler));
    }
    Ok(())
}
