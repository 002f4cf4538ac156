//! `pointsman queue`: inspects the queue and changes it.

use anyhow::Context as _;
use clap::builder::RangedU64ValueParser;

use super::{
    Exit, completions, enqueue,
    kept::Kept,
    pauses::{self, PauseArgs, ResumeArgs},
    print,
    remote::{Server, one_process},
    stats::{self, StatsArgs},
    terminal::{self, out, out_lines},
};
use crate::{
    command::{Command, CommandId},
    config::Config,
    name::HandlerName,
    queue::{
        CommandFilter, CommandView, DeadFilter, DeliveryDetail, DeliveryId, Ending, EnqueueOptions,
        PAGE_MAX, Page, State,
    },
};

#[derive(Debug, clap::Args)]
#[command(after_help = concat!(
    "\
Examples:
  pointsman queue list --state discarded
  pointsman queue inspect 01980a5c-7d3e-7f40-8000-0123456789ab.create-policy
  pointsman queue retry --handler create-policy
  pointsman queue discard --all
  pointsman queue rerun 01980a5c-7d3e-7f40-8000-0123456789ab
  pointsman queue pause --handler create-policy --reason \"maintenance\" --for 2h
  pointsman queue list --url http://127.0.0.1:3000

",
    one_process!()
))]
pub(super) struct Args {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, clap::Subcommand)]
enum Cmd {
    /// List commands, newest first
    List(ListArgs),
    /// Show a command, or a delivery with the error of each attempt
    Inspect {
        /// Command id, or delivery id: `<command id>.<handler>`
        id: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Cancel a command, including its running handlers
    Cancel {
        /// Command id
        command: CommandId,
    },
    /// Enqueue a copy of a command; it is routed by the current rules
    Rerun {
        /// Command id
        command: CommandId,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Retry dead-lettered deliveries
    Retry(DeadArgs),
    /// Discard dead-lettered deliveries: they become cancelled
    Discard(DeadArgs),
    /// Pause deliveries; commands are still accepted
    Pause(PauseArgs),
    /// Resume deliveries
    Resume(ResumeArgs),
    /// Show the attempts of each handler by status, and how long they took
    Stats(StatsArgs),
    /// Show what is paused, and the number of deliveries by handler and state
    Status {
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only commands with a delivery in this state
    #[arg(long, add = completions::states())]
    state: Option<State>,
    /// Only commands with a delivery to this handler
    #[arg(long, value_parser = HandlerName::parse, add = completions::handlers())]
    handler: Option<HandlerName>,
    /// Maximum number of commands
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    limit: usize,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct DeadArgs {
    /// Delivery id: `<command id>.<handler>`
    delivery: Option<DeliveryId>,
    /// All dead-lettered deliveries to this handler
    #[arg(long, value_parser = HandlerName::parse, add = completions::handlers())]
    handler: Option<HandlerName>,
    /// All dead-lettered deliveries whose last attempt failed with this status, for example `timed-out`
    #[arg(long, add = completions::failures())]
    status: Option<Ending>,
    /// All dead-lettered deliveries
    #[arg(long, conflicts_with_all = ["delivery", "handler", "status"])]
    all: bool,
}

impl From<DeadArgs> for DeadFilter {
    fn from(args: DeadArgs) -> Self {
        Self {
            delivery: args.delivery,
            handler: args.handler,
            status: args.status,
            ..Self::default()
        }
    }
}

pub(super) async fn run(args: Args, config: Config) -> anyhow::Result<Exit> {
    let kept = Kept::open(args.server.remote()?, config).await?;
    match args.command {
        Cmd::List(args) => list(&kept, args).await?,
        Cmd::Inspect { id, json } => inspect(&kept, &id, json).await?,
        Cmd::Cancel { command } => {
            let done = kept.cancel(command).await?;
            match (done.cancelled, done.interrupting) {
                (0, 0) => out!("nothing to cancel: the command has ended"),
                (cancelled, interrupting) => {
                    out!("{cancelled} cancelled, {interrupting} being interrupted");
                }
            }
        }
        Cmd::Retry(args) => {
            let count = kept.retry(args.into()).await?;
            out!("{count} requeued");
        }
        Cmd::Discard(args) => {
            let count = kept.discard(args.into()).await?;
            out!("{count} discarded");
        }
        Cmd::Pause(args) => pauses::pause(&kept, args).await?,
        Cmd::Resume(args) => pauses::resume(&kept, args).await?,
        Cmd::Rerun { command, json } => rerun(&kept, command, json).await?,
        Cmd::Stats(args) => stats::stats(&kept, args).await?,
        Cmd::Status { json } => pauses::status(&kept, json).await?,
    }
    kept.close().await?;
    Ok(Exit::Succeeded)
}

async fn rerun(kept: &Kept, id: CommandId, json: bool) -> anyhow::Result<()> {
    let view = kept.command(id).await?;
    let attributes = view.attributes.context("the command has no attributes")?;
    let command = Command::parse(attributes.as_bytes())?;
    let options = EnqueueOptions {
        rerun_of: Some(id),
        ..EnqueueOptions::default()
    };
    enqueue::show(&kept.enqueue(&command, options).await?, json)
}

async fn list(kept: &Kept, args: ListArgs) -> anyhow::Result<()> {
    let none = match (args.state, &args.handler) {
        (None, None) => "no commands in the queue",
        _ => "no commands match",
    };
    let filter = CommandFilter {
        state: args.state,
        handler: args.handler,
        ..CommandFilter::default()
    };
    let mut commands: Vec<CommandView> = Vec::new();
    while commands.len() < args.limit {
        let limit = (args.limit - commands.len()).min(PAGE_MAX);
        let after = commands.last().map(|last| last.id);
        let page = Page { after, limit };
        let found = kept.page(filter.clone(), page).await?;
        let weight = found.iter().map(CommandView::weight).sum();
        let goes_on = page.goes_on(found.len(), weight);
        commands.extend(found);
        if !goes_on {
            break;
        }
    }
    if args.json {
        terminal::json(&commands)?;
    } else if commands.is_empty() {
        out!("{none}");
    } else {
        commands.iter().for_each(show);
    }
    Ok(())
}

async fn inspect(kept: &Kept, id: &str, json: bool) -> anyhow::Result<()> {
    if id.contains('.') {
        let detail = kept.delivery(id.parse()?).await?;
        if json {
            terminal::json(&detail)?;
        } else {
            show_detail(&detail);
        }
        return Ok(());
    }
    let view = kept.command(id.parse::<CommandId>()?).await?;
    if json {
        terminal::json(&view)?;
    } else {
        show(&view);
    }
    Ok(())
}

fn show(view: &CommandView) {
    out!(
        "{}  {}  {}",
        view.id,
        print::time(view.created),
        state(view.state())
    );
    for delivery in &view.deliveries {
        let output = match (&delivery.output, delivery.output_bytes) {
            (Some(output), _) => format!("  {output}"),
            (None, Some(bytes)) => format!("  (an output of {bytes} bytes)"),
            (None, None) => String::new(),
        };
        out_lines!(
            4,
            "  {}  {}  attempt {}{}",
            print::handler(&delivery.id.handler),
            state(delivery.state),
            delivery.attempt,
            output,
        );
        // The failures of a delivery that completed in the end no longer matter.
        if let Some(failure) = &delivery.last_failure
            && delivery.state != State::Completed
        {
            let message = failure.message.lines().next().unwrap_or_default();
            out!("    {}: {message}", print::bad(failure.status));
        }
    }
}

fn show_detail(detail: &DeliveryDetail) {
    let delivery = &detail.delivery;
    out!(
        "{}  {}  attempt {}",
        delivery.id,
        state(delivery.state),
        delivery.attempt
    );
    out_lines!(2, "{}", detail.attributes);
    for failure in &detail.failures {
        out_lines!(
            4,
            "attempt {}  {}  {}: {}",
            failure.attempt,
            print::time(failure.at),
            print::bad(failure.error.status),
            failure.error.message
        );
        for line in &failure.error.logs {
            out!("    {:5}  {}", line.level, line.message);
        }
    }
}

fn state(state: State) -> print::Styled<State> {
    match state {
        State::Completed => print::good(state),
        State::Discarded => print::bad(state),
        _ => print::soso(state),
    }
}
