//! Owns the picture of one command: a row for each handler, from the moment the
//! command was stored, with its waits and runs side by side.

use std::time::Duration;

use maud::{Markup, html};

use super::parts::{Text, duration};
use crate::{
    name::HandlerName,
    queue::{FailedAttempt, State, Timestamp},
};

/// Width of the time from the first to the last moment, in units of the picture.
const WIDTH: u64 = 1_000;
const HEIGHT: u64 = 20;
/// What is there is seen, however short it was.
const WIDTH_MIN: u64 = 4;
/// Marks on the axis, both ends included.
const TICKS: u32 = 5;

/// What is known of one delivery.
pub(super) struct Track<'a> {
    pub(super) handler: &'a HandlerName,
    pub(super) state: State,
    pub(super) attempt: u32,
    /// When it could begin: its command was stored, or its time had come.
    pub(super) ready: Timestamp,
    /// When its last attempt began, where that is known.
    pub(super) started: Option<Timestamp>,
    pub(super) finished: Option<Timestamp>,
    pub(super) failures: &'a [FailedAttempt],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Not running.
    Waits,
    /// An attempt: the last one, of which nothing else is told, or one that succeeded.
    Runs,
    /// An attempt that failed. It is known when it ended, and not when it began.
    Fails,
}

#[derive(Debug, PartialEq, Eq)]
struct Segment {
    kind: Kind,
    from: Timestamp,
    until: Timestamp,
    title: String,
}

impl Track<'_> {
    fn segments(&self, now: Timestamp) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut from = self.ready;
        for failure in self.failures {
            let is_last = failure.attempt == self.attempt && self.state != State::Running;
            let began = self.started.filter(|began| is_last && *began >= from);
            if let Some(began) = began {
                push(&mut segments, Kind::Waits, from, began, "waited");
            }
            let (began, at) = (began.unwrap_or(from), failure.at);
            let what = match began == from && !is_last {
                true => "waited and ran",
                false => "ran",
            };
            let title = format!(
                "{what}; attempt {}: {}",
                failure.attempt, failure.error.status
            );
            push(&mut segments, Kind::Fails, began, at, &title);
            from = from.max(at);
        }
        let began = self.started.filter(|began| *began >= from);
        match (self.state, self.finished) {
            (State::Running, _) => {
                push(
                    &mut segments,
                    Kind::Waits,
                    from,
                    began.unwrap_or(from),
                    "waited",
                );
                let title = format!("attempt {} is running", self.attempt);
                push(
                    &mut segments,
                    Kind::Runs,
                    began.unwrap_or(from),
                    now,
                    &title,
                );
            }
            (State::Completed, Some(finished)) => {
                push(
                    &mut segments,
                    Kind::Waits,
                    from,
                    began.unwrap_or(from),
                    "waited",
                );
                let what = if began.is_some() {
                    "ran"
                } else {
                    "waited and ran"
                };
                let title = format!("{what}; attempt {}: succeeded", self.attempt);
                push(
                    &mut segments,
                    Kind::Runs,
                    began.unwrap_or(from),
                    finished,
                    &title,
                );
            }
            (_, Some(finished)) => push(&mut segments, Kind::Waits, from, finished, "waited"),
            (_, None) => push(&mut segments, Kind::Waits, from, now, "waiting"),
        }
        segments
    }

    /// From the first moment to the end.
    fn took(&self, now: Timestamp) -> Duration {
        self.finished.unwrap_or(now).since(self.ready)
    }
}

fn push(segments: &mut Vec<Segment>, kind: Kind, from: Timestamp, until: Timestamp, what: &str) {
    // A wait of no time is none; an attempt is one, however short.
    if until > from || kind != Kind::Waits {
        segments.push(Segment {
            kind,
            from,
            until: until.max(from),
            title: format!("{what} ({})", duration(until.since(from))),
        });
    }
}

/// The tracks of a command that was stored at `created`.
pub(super) fn gantt(tracks: &[Track<'_>], created: Timestamp, now: Timestamp) -> Markup {
    let ends = tracks.iter().map(|track| track.finished.unwrap_or(now));
    // A delivery that waits for its time has not begun.
    let end = ends.max().unwrap_or(created).max(created);
    let whole = end.since(created).max(Duration::from_millis(1));
    let x = |at: Timestamp| {
        let since = at.since(created).min(whole).as_millis();
        (since * u128::from(WIDTH) / whole.as_millis()) as u64
    };
    html! {
        figure class="gantt" aria-label={ "Timeline of " (duration(whole)) } {
            div class="tracks" {
                @for track in tracks {
                    a class="track-name" href={ "#handler:" (Text(track.handler)) } { (Text(track.handler)) }
                    svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                        aria-label={ (Text(track.handler)) ": " (track.state.as_str()) " after " (duration(track.took(now))) } {
                        @for segment in track.segments(now) { (drawn(&segment, x(segment.from), x(segment.until))) }
                    }
                    span class="track-time" { (duration(track.took(now))) }
                }
                ol class="axis" aria-hidden="true" {
                    @for tick in 0..TICKS { li { (duration(whole * tick / (TICKS - 1))) } }
                }
            }
            figcaption class="legend" {
                span { svg class="key" viewBox="0 0 20 10" aria-hidden="true" { rect y="1" width="20" height="8" class="runs" {} } "running" }
                span { svg class="key" viewBox="0 0 20 10" aria-hidden="true" { rect y="4" width="20" height="2" class="waits" {} } "waiting" }
                span { svg class="key" viewBox="0 0 20 10" aria-hidden="true" { rect y="1" width="20" height="8" class="fails" {} path d="M16 1h4v8h-4z" class="fails-end" {} } "failed attempt" }
            }
        }
    }
}

fn drawn(segment: &Segment, from: u64, until: u64) -> Markup {
    let width = match segment.kind {
        Kind::Waits => until - from,
        Kind::Runs | Kind::Fails => (until - from).max(WIDTH_MIN),
    };
    let from = from.min(WIDTH - width);
    let (y, height, class) = match segment.kind {
        Kind::Waits => (HEIGHT / 2 - 1, 2, "waits"),
        Kind::Runs => (2, HEIGHT - 4, "runs"),
        Kind::Fails => (2, HEIGHT - 4, "fails"),
    };
    html! {
        g {
            title { (segment.title) }
            rect x=(from) y=(y) width=(width) height=(height) class=(class) {}
            @if segment.kind == Kind::Fails {
                rect x=(from + width - WIDTH_MIN) y="0" width=(WIDTH_MIN) height=(HEIGHT) class="fails-end" {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{AttemptError, Ending};

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn name(name: &str) -> HandlerName {
        HandlerName::parse(name).unwrap()
    }

    fn completed(handler: &HandlerName, ms: i64) -> Track<'_> {
        Track {
            handler,
            state: State::Completed,
            attempt: 1,
            ready: at(0),
            started: Some(at(0)),
            finished: Some(at(ms)),
            failures: &[],
        }
    }

    fn failed(attempt: u32, ms: i64) -> FailedAttempt {
        let error = AttemptError {
            status: Ending::HostLost,
            message: "gone".into(),
            logs: Vec::new(),
        };
        FailedAttempt {
            attempt,
            at: at(ms),
            error,
        }
    }

    #[test]
    fn handlers_of_1_s_and_3_s_stand_side_by_side_in_3_s() {
        let (create, notify) = (name("create"), name("notify"));
        let tracks = [completed(&create, 1_000), completed(&notify, 3_000)];
        let picture = gantt(&tracks, at(0), at(9_000)).into_string();
        assert!(picture.contains("Timeline of 3.00 s"), "{picture}");
        for bar in [
            r#"<rect x="0" y="2" width="333" height="16" class="runs">"#,
            r#"<rect x="0" y="2" width="1000" height="16" class="runs">"#,
        ] {
            assert_eq!(picture.matches(bar).count(), 1, "{bar}: {picture}");
        }
        assert!(!picture.contains("<title>waited"), "{picture}");
        for tick in ["0 s", "750 ms", "1.50 s", "2.25 s", "3.00 s"] {
            assert!(
                picture.contains(&format!("<li>{tick}</li>")),
                "{tick}: {picture}"
            );
        }
    }

    #[test]
    fn attempts_that_failed_stand_before_the_one_that_runs() {
        let handler = name("a");
        let track = Track {
            state: State::Running,
            attempt: 3,
            started: Some(at(900)),
            finished: None,
            failures: &[failed(1, 100), failed(2, 500)],
            ..completed(&handler, 0)
        };
        let kinds: Vec<_> = track
            .segments(at(1_000))
            .iter()
            .map(|it| (it.kind, it.from.as_millis(), it.until.as_millis()))
            .collect();
        assert_eq!(
            kinds,
            [
                (Kind::Fails, 0, 100),
                (Kind::Fails, 100, 500),
                (Kind::Waits, 500, 900),
                (Kind::Runs, 900, 1_000),
            ]
        );
    }

    #[test]
    fn no_times_are_too_odd_for_a_picture() {
        let handler = name("a");
        let odd = [at(i64::MIN), at(-5), at(0), at(7), at(i64::MAX)];
        for created in odd {
            for end in odd {
                for state in State::ALL {
                    let failures = [failed(1, end.as_millis()), failed(2, -3)];
                    let track = Track {
                        state,
                        attempt: 2,
                        ready: end,
                        started: Some(created),
                        finished: (state != State::Running).then_some(end),
                        failures: &failures,
                        ..completed(&handler, 0)
                    };
                    gantt(&[track], created, at(5)).into_string();
                }
            }
        }
        gantt(&[], at(0), at(5)).into_string();
    }
}
