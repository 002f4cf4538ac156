//! Owns the chart of the overview: the calls of the last hour on this host, or the
//! attempts of the last days that the queue remembers of all hosts.

use std::{
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use maud::{Markup, html};
use tokio::sync::Mutex;

use super::{
    chart::{Bars, bars},
    frame::said,
    parts::now,
};
use crate::{
    diagnostic::Diagnostic,
    host::Host,
    metrics::CallCount,
    outcome::Status,
    queue::{Ending, HistoryFilter, HistoryPoint, Queue, Timestamp},
};

const MINUTE: Duration = Duration::from_secs(60);
/// How long a chart of days is shown before it is read again.
const FRESH: Duration = Duration::from_secs(20);

/// How far back the chart goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Span {
    #[default]
    Hour,
    Day,
    Fortnight,
}

/// A text that is no [`Span`].
#[derive(Debug, thiserror::Error)]
#[error("use one of hour, day, fortnight")]
pub(super) struct UnknownSpan;

impl FromStr for Span {
    type Err = UnknownSpan;

    fn from_str(text: &str) -> Result<Self, UnknownSpan> {
        let found = Self::ALL.into_iter().find(|span| span.as_str() == text);
        found.ok_or(UnknownSpan)
    }
}

impl Span {
    const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Fortnight];

    fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Fortnight => "fortnight",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Hour => "Calls in the last hour, on this host",
            Self::Day => "Attempts in the last day, on all hosts",
            Self::Fortnight => "Attempts in the last 14 days, on all hosts",
        }
    }

    /// What one bar covers, and how many there are.
    fn bars(self) -> (Duration, usize) {
        match self {
            Self::Hour => (MINUTE, 60),
            Self::Day => (30 * MINUTE, 48),
            Self::Fortnight => (360 * MINUTE, 56),
        }
    }
}

type Known = Option<(Instant, Arc<Result<Vec<CallCount>, Diagnostic>>)>;

/// What the queue remembers, as the pages show it: of a day, of a fortnight.
#[derive(Default)]
pub(super) struct History([Mutex<Known>; 2]);

impl History {
    /// The chart, with the way to the other ones.
    pub(super) async fn chart(&self, host: &Host, span: Span) -> Markup {
        let (step, number) = span.bars();
        let counts = match (span, host.queue()) {
            (Span::Hour, _) | (_, None) => {
                Arc::new(Ok(host.dispatcher().metrics().recent().last().counts))
            }
            (Span::Day, Some(queue)) => known(&self.0[0], queue, step, number).await,
            (Span::Fortnight, Some(queue)) => known(&self.0[1], queue, step, number).await,
        };
        let span = if host.queue().is_some() {
            span
        } else {
            Span::Hour
        };
        html! {
            section aria-labelledby="throughput" {
                div class="heading" {
                    h2 id="throughput" { (span.title()) }
                    @if host.queue().is_some() {
                        ul class="plain chips" {
                            @for other in Span::ALL {
                                li { a href={ "/ui?span=" (other.as_str()) } aria-current=[(other == span).then_some("true")] { (other.as_str()) } }
                            }
                        }
                    }
                }
                @match &*counts {
                    Ok(counts) => (bars(&Bars { counts, step: span.bars().0 })),
                    Err(error) => (said(error)),
                }
            }
        }
    }
}

async fn known(
    known: &Mutex<Known>,
    queue: &Queue,
    step: Duration,
    number: usize,
) -> Arc<Result<Vec<CallCount>, Diagnostic>> {
    // Whoever comes meanwhile waits for this answer, and does not ask again.
    let mut known = known.lock().await;
    if let Some((at, counts)) = &*known
        && at.elapsed() < FRESH
    {
        return Arc::clone(counts);
    }
    let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
    let bars = i64::try_from(number).unwrap_or(i64::MAX);
    // Steps begin at multiples of their length; the last one goes on.
    let end = (now().as_millis().div_euclid(step_ms) + 1) * step_ms;
    let from = end - bars * step_ms;
    let filter = HistoryFilter {
        handler: None,
        from: Timestamp::from_millis(from),
        until: Timestamp::from_millis(end),
        step,
    };
    let points = queue.store().history(filter).await;
    let counts = points.map(|points| counts(&points, from, step_ms, number));
    let counts = Arc::new(counts.map_err(|error| error.diagnostic()));
    *known = Some((Instant::now(), Arc::clone(&counts)));
    counts
}

fn counts(points: &[HistoryPoint], from: i64, step_ms: i64, number: usize) -> Vec<CallCount> {
    let mut counts = vec![CallCount::default(); number];
    for point in points {
        let at = (point.at.as_millis() - from).div_euclid(step_ms);
        let bar = usize::try_from(at).ok().and_then(|at| counts.get_mut(at));
        let Some(bar) = bar else { continue };
        match point.status {
            Ending::Ran(Status::Succeeded) => bar.succeeded += point.count,
            Ending::Ran(_) | Ending::HostLost => bar.failed += point.count,
        }
    }
    counts
}
