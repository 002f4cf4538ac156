//! Owns the chart of calls over time: a bar for each span, failures on top, hatched.

use std::time::Duration;

use maud::{Markup, html};

use super::parts::{count, counted};
use crate::metrics::CallCount;

/// Width of a bar and height of the chart, in units of its own.
const STEP: usize = 10;
const HEIGHT: u64 = 120;

/// Calls over time.
pub(super) struct Bars<'a> {
    /// The oldest first; the last span goes on.
    pub(super) counts: &'a [CallCount],
    /// What one bar covers.
    pub(super) step: Duration,
}

pub(super) fn bars(Bars { counts, step }: &Bars<'_>) -> Markup {
    let whole = *step * u32::try_from(counts.len()).unwrap_or(u32::MAX);
    let calls = counts.iter().map(|minute| minute.succeeded + minute.failed);
    let all: u64 = calls.clone().sum();
    let most = calls.max().unwrap_or(0).max(1);
    let failed: u64 = counts.iter().map(|minute| minute.failed).sum();
    let label = format!(
        "{} in {}, {} failed, at most {} in {}",
        counted(all, "call", "calls"),
        span(whole),
        count(failed),
        count(most),
        span(*step)
    );
    html! {
        figure class="chart" {
            div class="chart-frame" {
                span class="chart-top" aria-hidden="true" { (count(most)) }
                svg viewBox={ "0 0 " (counts.len() * STEP) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(label) {
                    defs {
                        pattern id="hatch" width="4" height="4" patternUnits="userSpaceOnUse" {
                            rect width="4" height="4" class="fill-bad" {}
                            path d="M0 4L4 0" class="hatch" {}
                        }
                    }
                    @for (at, minute) in counts.iter().enumerate() { (bar(at, *minute, most, *step * (counts.len() - 1 - at) as u32)) }
                }
            }
            figcaption {
                ol class="axis" aria-hidden="true" { li { (span(whole)) " ago" } li { (span(whole / 2)) } li { "now" } }
                p class="legend" {
                    span { svg class="key" viewBox="0 0 10 10" aria-hidden="true" { rect width="10" height="10" class="fill-good" {} } "succeeded" }
                    span { svg class="key" viewBox="0 0 10 10" aria-hidden="true" { rect width="10" height="10" fill="url(#hatch)" {} } "failed" }
                }
            }
        }
    }
}

/// Whole minutes, hours or days.
fn span(span: Duration) -> String {
    match span.as_secs() / 60 {
        minutes @ 0..=60 => format!("{minutes} min"),
        minutes if minutes < 48 * 60 => format!("{} h", minutes / 60),
        minutes => format!("{} d", minutes / 60 / 24),
    }
}

fn bar(at: usize, minute: CallCount, most: u64, ago: Duration) -> Markup {
    // What is there is seen, however little it is.
    let height = |number: u64| match number {
        0 => 0,
        number => (u128::from(number) * u128::from(HEIGHT) / u128::from(most)).max(2) as u64,
    };
    let failed = height(minute.failed);
    let succeeded = height(minute.succeeded).min(HEIGHT - failed);
    let (x, width) = (at * STEP + 1, STEP - 2);
    html! {
        @if failed + succeeded > 0 {
            g {
                title {
                    @if ago.is_zero() { "now" } @else { (span(ago)) " ago" }
                    ": " (count(minute.succeeded)) " succeeded, " (count(minute.failed)) " failed"
                }
                rect x=(x) y=(HEIGHT - succeeded) width=(width) height=(succeeded) class="fill-good" {}
                rect x=(x) y=(HEIGHT - succeeded - failed) width=(width) height=(failed) fill="url(#hatch)" {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes_of(counts: &[CallCount]) -> Markup {
        let step = Duration::from_secs(60);
        bars(&Bars { counts, step })
    }

    #[test]
    fn bars_are_as_high_as_their_minutes_and_failures_stand_on_top() {
        let count = |succeeded, failed| CallCount { succeeded, failed };
        let chart = minutes_of(&[count(0, 0), count(30, 10), count(1, 0)]).into_string();
        assert!(
            chart.contains("41 calls in 3 min, 10 failed, at most 40 in 1 min"),
            "{chart}"
        );
        assert_eq!(chart.matches("<g>").count(), 2);
        assert!(
            chart.contains(r#"<rect x="11" y="30" width="8" height="90" class="fill-good">"#),
            "{chart}"
        );
        assert!(
            chart.contains(r##"<rect x="11" y="0" width="8" height="30" fill="url(#hatch)">"##),
            "{chart}"
        );
        assert!(
            chart.contains(r#"<rect x="21" y="117" width="8" height="3" class="fill-good">"#),
            "{chart}"
        );
        assert!(
            minutes_of(&[CallCount::default()])
                .into_string()
                .contains("0 calls")
        );
        minutes_of(&[count(u64::MAX / 2, u64::MAX / 2)]);
    }
}
