//! `pointsman schedule`: the schedules in the rule files and their next times.

use super::{
    Exit, enqueue,
    kept::Kept,
    print,
    remote::{Server, one_process},
    terminal::{self, out},
};
use crate::{
    config::Config,
    queue::{ScheduleChange, ScheduleView},
};

#[derive(Debug, clap::Args)]
#[command(after_help = concat!(
    "\
Examples:
  pointsman schedule list
  pointsman schedule pause nightly-report
  pointsman schedule run nightly-report --url http://127.0.0.1:3000

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
    /// List schedules and their next times
    List {
        /// Print the list as JSON
        #[arg(long)]
        json: bool,
    },
    /// Pause a schedule
    Pause {
        /// Schedule name
        name: String,
    },
    /// Resume a schedule from its next time
    Resume {
        /// Schedule name
        name: String,
    },
    /// Enqueue the command of a schedule now
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
                out!("no schedules in the rule files");
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
