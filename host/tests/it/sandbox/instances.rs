//! How long an instance lives, and when a handler is left alone.

use std::{fs, time::Duration};

use pointsman::{
    host::{Host, Loaded},
    outcome::{HandlerReport, Status},
};

use crate::host::{Folders, only, until};

const REUSE: &str = "[instances]\nmode = \"reuse\"\n";

async fn probe(app: &Host, what: &str) -> HandlerReport {
    only(app, &format!(r#"{{"to":"probe","do":"{what}"}}"#)).await
}

/// The calls that the instance which answers has served, this one included.
async fn count(app: &Host) -> u64 {
    let report = probe(app, "count").await;
    let output = report.outcome.result.unwrap().unwrap();
    output.get().parse().unwrap()
}

async fn probe_with(settings: &str) -> (Folders, Loaded) {
    let folders = Folders::probes(&["probe"]);
    folders.settings("probe", settings);
    let app = folders.start().await;
    (folders, app)
}

/// Waits until the handler has these settings and not the ones before.
async fn take_up(folders: &Folders, app: &Host, settings: &str) {
    let before = app.snapshot().generation;
    folders.settings("probe", settings);
    until("the settings are taken up", || {
        app.snapshot().generation > before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_instance_remembers_nothing() {
    let (_folders, app) = probe_with("").await;
    assert_eq!([count(&app).await, count(&app).await], [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reused_instance_remembers_what_it_did() {
    let (_folders, app) = probe_with(REUSE).await;
    assert_eq!([count(&app).await, count(&app).await], [1, 2]);
    for kind in ["reject", "unavailable"] {
        probe(&app, kind).await;
    }
    assert_eq!(count(&app).await, 3, "an orderly refusal does not end it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reused_instance_ends_with_any_end_but_an_orderly_one() {
    // One limit a case: a machine at work must not meet another one first.
    for (command, limit, status) in [
        (r#""panic""#, "", Status::Trapped),
        (r#""loop""#, "cpu_max = '100ms'", Status::CpuExceeded),
        (
            r#""memory""#,
            "memory_max_bytes = 8000000",
            Status::OutOfMemory,
        ),
        (
            r#""sleep","amount":60000"#,
            "timeout = '2s'",
            Status::TimedOut,
        ),
        (
            r#""output-flood","amount":200"#,
            "output_max_bytes = 100",
            Status::OutputTooLarge,
        ),
    ] {
        let (_folders, app) = probe_with(&format!("{REUSE}[limits]\n{limit}\n")).await;
        assert_eq!([count(&app).await, count(&app).await], [1, 2], "{command}");
        let report = only(&app, &format!(r#"{{"to":"probe","do":{command}}}"#)).await;
        assert_eq!(report.outcome.status(), status);
        assert_eq!(count(&app).await, 1, "{command}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reused_instance_serves_no_more_calls_and_no_longer_than_its_settings_say() {
    let (_folders, app) = probe_with(&format!("{REUSE}calls_max = 2")).await;
    let counts = [count(&app).await, count(&app).await, count(&app).await];
    assert_eq!(counts, [1, 2, 1]);
    let (_folders, app) = probe_with(&format!("{REUSE}seconds_max = 0")).await;
    assert_eq!([count(&app).await, count(&app).await], [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_leaves_no_instance_of_the_old_plugin() {
    let (folders, app) = probe_with(REUSE).await;
    let app = app.watch(|_| {});
    assert_eq!([count(&app).await, count(&app).await], [1, 2]);
    take_up(&folders, &app, &format!("{REUSE}calls_max = 7")).await;
    assert_eq!(count(&app).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_meters_are_those_of_one_call() {
    let (_folders, app) = probe_with(&format!(
        "{REUSE}[limits]\ncpu_max = '4s'\nlog_lines_max = 3\n"
    ))
    .await;
    for _ in 0..3 {
        let report = probe(&app, "log").await;
        assert_eq!(report.outcome.logs.lines.len(), 3);
        assert_eq!(report.outcome.logs.dropped, 0);
        assert!(report.outcome.spent.memory_peak_bytes > 0);
    }

    let folders = Folders::wasi(&format!(
        "{REUSE}[[folders]]\nhost = \"../data\"\nguest = \"/data\"\n"
    ));
    fs::create_dir(folders.path().join("data")).unwrap();
    let app = folders.start().await;
    for part in ["a line without an end", "another"] {
        let command = format!(r#"{{"do":"print-part","path":"{part}"}}"#);
        let lines = only(&app, &command).await.outcome.logs.lines;
        let lines: Vec<_> = lines.iter().map(|line| &*line.message).collect();
        assert_eq!(lines, [part]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_keeps_trapping_is_quarantined_until_its_file_changes() {
    let settings = "[breaker]\nfailures = 2\ncooldown = '3600s'\n";
    let (folders, app) = probe_with(settings).await;
    let app = app.watch(|_| {});
    for _ in 0..2 {
        assert_eq!(probe(&app, "panic").await.outcome.status(), Status::Trapped);
    }
    let failure = probe(&app, "nothing").await.outcome.result.unwrap_err();
    assert_eq!(failure.code, Status::Quarantined);
    assert!(
        failure
            .retry_after
            .is_some_and(|after| after > Duration::from_secs(3_000))
    );
    assert!(
        failure.message.contains("`breaker.cooldown`"),
        "{}",
        failure.message
    );
    let view = app.snapshot().handlers_view();
    assert!(view.handlers[0].quarantined_ms.is_some_and(|left| left > 0));

    take_up(&folders, &app, &format!("{settings}window = '1s'\n")).await;
    assert_eq!(
        probe(&app, "nothing").await.outcome.status(),
        Status::Succeeded
    );
    assert_eq!(
        app.snapshot().handlers_view().handlers[0].quarantined_ms,
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_cooldown_a_call_that_succeeds_ends_the_quarantine() {
    let (_folders, app) = probe_with("[breaker]\nfailures = 1\ncooldown = '0ms'\n").await;
    assert_eq!(probe(&app, "panic").await.outcome.status(), Status::Trapped);
    assert_eq!(
        app.snapshot().handlers_view().handlers[0].quarantined_ms,
        Some(0)
    );
    assert_eq!(
        probe(&app, "nothing").await.outcome.status(),
        Status::Succeeded
    );
    assert_eq!(
        app.snapshot().handlers_view().handlers[0].quarantined_ms,
        None
    );
}
