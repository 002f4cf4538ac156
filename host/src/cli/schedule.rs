//! `pointsman schedule`: the schedules of the rule files, and what comes next.

use super::{
    Exit, enqueue,
    kept::Kept,
    print,
    remote::Server,
    terminal::{self, out},
};
use crate::{
    config::Config,
    queue::{ScheduleChange, ScheduleView},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pointsman schedule list
  pointsman schedule pause nightly-report
  pointsman schedule run nightly-report --url http://127.0.0.1:3000

With `queue.engine = \"sqlite\"`, one process at a time can open the queue: while
`pointsman serve` runs, ask it with --url.")]
pub(super) struct Args {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, clap::Subcommand)]
enum Cmd {
    /// List schedules with their next times
    List {
        /// Print the list as JSON
        #[arg(long)]
        json: bool,
    },
    /// Enqueue nothing more until it is resumed
    Pause {
        /// Schedule name
        name: String,
    },
    /// Go on with its next time
    Resume {
        /// Schedule name
        name: String,
    },
    /// Enqueue its command now
    Run {
        /// Schedule name
        name: String,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(args: Args, config: Config) -> anyhow::Result<Exit> {
    let kept = Kept::open(args.server.remote()?, config).await?;
    match args.command {
        Cmd::List { json } => {
            let schedules = kept.schedules().await?;
            if json {
                terminal::json(&schedules)?;
            } else if schedules.is_empty() {
                out!("no rule file has schedules");
            } else {
                schedules.iter().for_each(show);
            }
        }
        Cmd::Pause { name } => show(&kept.change_schedule(&name, ScheduleChange::Pause).await?),
        Cmd::Resume { name } => show(&kept.change_schedule(&name, ScheduleChange::Resume).await?),
        Cmd::Run { name, json } => enqueue::show(&kept.run_schedule(&name).await?, json)?,
    }
    kept.close().await?;
    Ok(Exit::Succeeded)
}

fn show(schedule: &ScheduleView) {
    let paused = match (schedule.paused, schedule.paused_since) {
        (false, _) => String::new(),
        (true, Some(since)) => format!("  paused since {}", print::time(since)),
        (true, None) => "  paused by its file".to_owned(),
    };
    let name = print::handler(&schedule.name);
    out!("{name}  {}{}", schedule.when, print::soso(paused));
    if let (Some(at), Some(command)) = (schedule.fired_at, schedule.command_id) {
        out!("  last  {}  {command}", print::time(at));
    }
    for next in &schedule.next {
        out!("  next  {}", print::time(*next));
    }
}
