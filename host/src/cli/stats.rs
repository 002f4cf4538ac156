//! `pointsman queue stats`: how many attempts of each handler ended how, and how long
//! they took.

use std::{collections::BTreeMap, time::Duration};

use super::{
    kept::Kept,
    print,
    remote::parse_timeout,
    terminal::{self, out},
};
use crate::{
    name::HandlerName,
    queue::{Ending, HISTORY_BOUNDS_MS, HistoryFilter, HistoryPoint, Timestamp},
};

const MINUTE: Duration = Duration::from_secs(60);
/// Up to here a look back is made of minutes, beyond of hours.
const MINUTES_MAX: Duration = Duration::from_secs(3 * 3600);

#[derive(Debug, clap::Args)]
pub(super) struct StatsArgs {
    /// Only attempts of this handler
    #[arg(long, value_parser = HandlerName::parse)]
    handler: Option<HandlerName>,
    /// How far to look back, at most 14 days
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_timeout)]
    last: Duration,
    /// Print each step as JSON
    #[arg(long)]
    json: bool,
}

/// What is known of the attempts of one handler that ended in one way.
#[derive(Default)]
struct Sums {
    count: u64,
    total_ms: u64,
    durations: [u64; HISTORY_BOUNDS_MS.len() + 1],
}

pub(super) async fn stats(kept: &Kept, args: StatsArgs) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let step = if args.last <= MINUTES_MAX { 1 } else { 60 };
    let filter = HistoryFilter {
        handler: args.handler,
        from: now.before(args.last),
        until: now.after(MINUTE),
        step: MINUTE * step,
    };
    let points = kept.history(filter).await?;
    if args.json {
        return Ok(terminal::json(&points)?);
    }
    if points.is_empty() {
        out!("no attempts ended in this time");
    }
    for ((handler, status), sums) in summed(&points) {
        let count = sums.count;
        let mean = sums.total_ms / count.max(1);
        let status = match status {
            "succeeded" => print::good(status),
            _ => print::bad(status),
        };
        let handler = print::handler(handler);
        out!(
            "{handler}  {status}  {count}  mean {mean} ms, 95% {}",
            within(&sums)
        );
    }
    Ok(())
}

fn summed(points: &[HistoryPoint]) -> BTreeMap<(&HandlerName, &'static str), Sums> {
    let mut all: BTreeMap<_, Sums> = BTreeMap::new();
    for point in points {
        let status = Ending::as_str(point.status);
        let sums = all.entry((&point.handler, status)).or_default();
        sums.count += point.count;
        sums.total_ms += point.total_ms;
        for (sum, count) in sums.durations.iter_mut().zip(point.durations) {
            *sum += count;
        }
    }
    all
}

/// The bound that 95 of 100 attempts stayed within.
fn within(sums: &Sums) -> String {
    let wanted = sums.durations.iter().sum::<u64>() * 95;
    let mut seen = 0;
    for (count, bound) in sums.durations.iter().zip(HISTORY_BOUNDS_MS) {
        seen += count;
        if seen * 100 >= wanted {
            return format!("within {bound} ms");
        }
    }
    "over 100 s".to_owned()
}
