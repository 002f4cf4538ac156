//! `pointsman queue pause`, `resume` and `status`: whose deliveries wait, why, and
//! how many there are.

use std::time::Duration;

use super::{
    completions,
    kept::Kept,
    print,
    remote::parse_timeout,
    terminal::{self, out},
};
use crate::{
    name::HandlerName,
    queue::{Depth, NewPause, Pause},
};

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Chosen {
    /// Only deliveries to this handler
    #[arg(long, value_parser = HandlerName::parse, add = completions::handlers())]
    handler: Option<HandlerName>,
    /// Deliveries to all handlers
    #[arg(long)]
    all: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct PauseArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// Why, for those who see that deliveries wait
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who pauses; the name of the current user if not given
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Resume by itself after this time, for example `10m`
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_timeout)]
    lasts: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    chosen: Chosen,
}

pub(super) async fn pause(kept: &Kept, args: PauseArgs) -> anyhow::Result<()> {
    let pause = NewPause {
        handler: args.chosen.handler,
        reason: args.reason,
        by: args.by.or_else(user),
        lasts: args.lasts,
    };
    show_pause(&kept.pause(pause).await?);
    Ok(())
}

/// The name under which this program runs, as the shell tells it.
fn user() -> Option<String> {
    let names = ["USER", "LOGNAME", "USERNAME"].into_iter();
    let mut names = names.filter_map(|name| std::env::var(name).ok());
    names.find(|name| !name.is_empty())
}

pub(super) async fn resume(kept: &Kept, args: ResumeArgs) -> anyhow::Result<()> {
    let one = args.chosen.handler.clone();
    let resumed = kept.resume(args.chosen.handler).await?;
    for pause in &resumed {
        out!("resumed  {}", whom(pause));
    }
    if resumed.is_empty() {
        out!("nothing was paused");
    }
    let goes_on = one.is_none() || {
        let pauses = kept.status().await?.pauses;
        pauses.iter().all(|pause| pause.handler.is_some())
    };
    if !goes_on {
        out!("all handlers are still paused: `pointsman queue resume --all`");
    }
    Ok(())
}

pub(super) async fn status(kept: &Kept, json: bool) -> anyhow::Result<()> {
    let status = kept.status().await?;
    if json {
        return Ok(terminal::json(&status)?);
    }
    status.pauses.iter().for_each(show_pause);
    for of_handler in status.depth.chunk_by(|a, b| a.handler == b.handler) {
        let counts = of_handler
            .iter()
            .map(|Depth { state, count, .. }| format!("{count} {state}"));
        let counts: Vec<_> = counts.collect();
        let handler = print::handler(&of_handler[0].handler);
        out!("{handler}  {}", counts.join(", "));
    }
    if status.depth.is_empty() {
        out!("no deliveries wait, run or are dead-lettered");
    }
    Ok(())
}

fn show_pause(pause: &Pause) {
    let mut text = format!("since {}", print::time(pause.since));
    if let Some(until) = pause.until {
        text += &format!(", until {}", print::time(until));
    }
    if let Some(by) = &pause.by {
        text += &format!(", by {by}");
    }
    if let Some(reason) = &pause.reason {
        text += &format!(": {reason}");
    }
    out!("{}  {}  {text}", print::soso("paused"), whom(pause));
}

fn whom(pause: &Pause) -> String {
    let handler = pause.handler.as_ref();
    handler.map_or_else(|| "all handlers".to_owned(), ToString::to_string)
}
