//! Handlers and commands that run at once: none waits for another, none harms
//! another, and a host that is full or stops says so.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use pointsman::{
    command::Command,
    dispatcher::{DispatchOptions, Event},
    outcome::{ReportStatus, Status},
};

use crate::host::{Folders, dispatch, guest, only, statuses, until};

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_leaves_the_others_running() {
    let folders = Folders::probes(&["good"]);
    folders.plugin("bad", guest("probe"));
    folders.rules(
        "all.json",
        r#"{"rules":[{"name":"all","match":"*","handlers":["good","bad","missing"]}]}"#,
    );
    folders.settings("bad", "[limits]\noutput_max_bytes = 1");
    let app = folders.start().await;
    let report = dispatch(&app, r#"{"to":"good","do":"echo"}"#).await;
    assert_eq!(
        statuses(&report),
        [
            "bad output-too-large",
            "good succeeded",
            "missing unavailable"
        ]
    );
    assert_eq!(report.status, ReportStatus::Partial);
    assert_eq!(
        report.handlers[1]
            .rules
            .iter()
            .map(|rule| rule.as_str())
            .collect::<Vec<_>>(),
        ["all", "good"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_fast_cancels_the_others() {
    let folders = Folders::probes(&["sleeper"]);
    folders.rules(
        "bad.json",
        r#"{"rules":[{"name":"all","match":"*","handlers":["missing"]}]}"#,
    );
    let app = folders.start().await;
    let command = Command::parse(r#"{"to":"sleeper","do":"sleep","amount":20000}"#).unwrap();
    let options = DispatchOptions {
        fail_fast: true,
        ..DispatchOptions::default()
    };
    let report = app.dispatch(command, options).await.unwrap();
    assert_eq!(
        statuses(&report),
        ["missing unavailable", "sleeper cancelled"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_computing_handlers_than_cores_do_not_keep_a_sleeping_one_waiting() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let folders = Folders::probes(&names);
    folders.plugin("sleeper", guest("probe"));
    folders.rules(
        "sleeper.json",
        r#"{"rules":[{"name":"s","match":{"to":["sleeper"]},"handlers":["sleeper"]}]}"#,
    );
    let app = Arc::clone(folders.start().await.host());
    let mut spinning = tokio::task::JoinSet::new();
    for name in names {
        let app = Arc::clone(&app);
        spinning.spawn(async move {
            dispatch(&app, &format!(r#"{{"to":"{name}","do":"loop"}}"#)).await
        });
    }
    let report = only(&app, r#"{"to":"sleeper","do":"sleep","amount":10}"#).await;
    assert_eq!(report.outcome.status(), Status::Succeeded);
    // It came back while the others were still at it.
    assert!(spinning.try_join_next().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_computing_handlers_take_less_together_than_one_after_another() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("skipped: one core cannot show it");
        return;
    }
    let folders = Folders::probes(&["a", "b"]);
    folders.rules(
        "both.json",
        r#"{"rules":[{"name":"both","match":{"to":["both"]},"handlers":["a","b"]}]}"#,
    );
    let app = folders.start().await;
    let compute = |to: &str| format!(r#"{{"to":"{to}","do":"compute","amount":100000000}}"#);
    // Other tests run beside this one: it is enough that it shows once.
    let mut seen = Vec::new();
    for _ in 0..10 {
        let alone = dispatch(&app, &compute("a")).await.duration
            + dispatch(&app, &compute("b")).await.duration;
        let together = dispatch(&app, &compute("both")).await.duration;
        if together < alone {
            return;
        }
        seen.push((together, alone));
    }
    panic!("never less than one after another: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_are_seen_while_the_handler_still_runs() {
    let folders = Folders::probes(&["probe"]);
    let app = folders.start().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let seen = Arc::clone(&seen);
        Arc::new(move |event: Event<'_>| {
            seen.lock().unwrap().push(match event {
                Event::Started(handler) => format!("started {handler}"),
                Event::Log(handler, line) => {
                    format!("{handler}: {} {}", line.level.as_str(), line.message)
                }
                Event::Finished(report) => format!("finished {}", report.handler),
            });
        })
    };
    let command = Command::parse(r#"{"to":"probe","do":"log"}"#).unwrap();
    let options = DispatchOptions {
        observer: Some(observer),
        ..DispatchOptions::default()
    };
    app.dispatch(command, options).await.unwrap();
    let wanted = [
        "started probe",
        "probe: info first",
        "probe: info second",
        "probe: warn third",
        "finished probe",
    ];
    assert_eq!(*seen.lock().unwrap(), wanted);
}

/// How the handlers of a command end that nobody waits for any more.
async fn ends_unheard(to: &str, options: DispatchOptions) -> Vec<String> {
    let folders = Folders::probes(&["a", "b"]);
    let app = folders.start().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let seen = Arc::clone(&seen);
        Arc::new(move |event: Event<'_>| {
            if let Event::Finished(report) = event {
                let status = report.outcome.status().as_str();
                let end = format!("{} {status}", report.handler);
                seen.lock().unwrap().push(end);
            }
        })
    };
    let command = format!(r#"{{"to":{to},"do":"sleep","amount":200}}"#);
    let options = DispatchOptions {
        observer: Some(observer),
        ..options
    };
    let dispatch = app.dispatch(Command::parse(command).unwrap(), options);
    let heard = tokio::time::timeout(Duration::from_millis(50), dispatch).await;
    assert!(heard.is_err(), "it ended before it was dropped");
    app.shutdown().tasks.close();
    app.shutdown().tasks.wait().await;
    // It is counted all the same.
    let now = pointsman::metrics::Now {
        generation: 1,
        restarts: Vec::new(),
        budgets: app.budgets(),
        paused: Vec::new(),
        tls: None,
    };
    let metrics = app.dispatcher().metrics().text(&now, []);
    assert!(
        metrics.contains("pointsman_command_duration_seconds_count 1\n"),
        "{metrics}"
    );
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_finish_where_their_command_is_dropped_unless_it_says_otherwise() {
    for in_place in [false, true] {
        for (cancel_on_drop, status) in [(false, "succeeded"), (true, "cancelled")] {
            let options = DispatchOptions {
                cancel_on_drop,
                in_place,
                ..DispatchOptions::default()
            };
            let ends = ends_unheard(r#""a""#, options.clone()).await;
            assert_eq!(ends, [format!("a {status}")]);
            let ends = ends_unheard(r#"["a","b"]"#, options).await;
            assert_eq!(ends, [format!("a {status}"), format!("b {status}")]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_gets_on_while_nobody_polls_its_command() {
    let folders = Folders::probes(&["probe"]);
    let app = folders.start().await;
    let command = Command::parse(r#"{"to":"probe","do":"sleep","amount":50}"#).unwrap();
    let mut dispatch = std::pin::pin!(app.dispatch(command, DispatchOptions::default()));
    let first = tokio::time::timeout(Duration::from_millis(1), &mut dispatch).await;
    assert!(first.is_err(), "it sleeps");
    until("it ended by itself", || app.shutdown().tasks.is_empty()).await;
    assert_eq!(dispatch.await.unwrap().status, ReportStatus::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_handler_is_busy_and_a_full_host_waits() {
    let folders = Folders::probes(&["probe"]);
    folders.settings("probe", "[limits]\ninstances_max = 1");
    let app = Arc::clone(folders.start().await.host());
    let first = tokio::spawn({
        let app = Arc::clone(&app);
        async move { only(&app, r#"{"to":"probe","do":"sleep","amount":300}"#).await }
    });
    until("the first one runs", || app.shutdown().tasks.len() == 1).await;
    let second = only(&app, r#"{"to":"probe","do":"nothing"}"#).await;
    assert_eq!(second.outcome.status(), Status::Busy);
    assert_eq!(first.await.unwrap().outcome.status(), Status::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_waiting_line_a_command_is_refused() {
    let folders = Folders::probes(&["probe"]);
    let mut config = folders.config();
    config.host.sandbox.instances_max = 1;
    config.host.waiting_max = 1;
    let app = Arc::clone(pointsman::host::Host::load(config).await.unwrap().host());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let app = Arc::clone(&app);
        tasks.spawn(async move {
            let command = Command::parse(r#"{"to":"probe","do":"sleep","amount":200}"#).unwrap();
            app.dispatch(command, DispatchOptions::default())
                .await
                .map_err(|error| error.code())
        });
    }
    let results = tasks.join_all().await;
    let refused = results
        .iter()
        .filter(|result| matches!(result, Err("busy")))
        .count();
    assert_eq!(refused, 8, "one runs, one waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_host_takes_nothing_new_and_lets_what_runs_finish() {
    let folders = Folders::probes(&["probe"]);
    let app = Arc::clone(folders.start().await.host());
    let running = tokio::spawn({
        let app = Arc::clone(&app);
        async move { only(&app, r#"{"to":"probe","do":"sleep","amount":300}"#).await }
    });
    until("the first one runs", || app.shutdown().tasks.len() == 1).await;
    let stopping = tokio::spawn({
        let app = Arc::clone(&app);
        async move { app.stop().await }
    });
    until("it is stopping", || app.shutdown().draining.is_cancelled()).await;
    let command = Command::parse(r#"{"to":"probe","do":"nothing"}"#).unwrap();
    let refused = app
        .dispatch(command, DispatchOptions::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "draining");
    assert!(stopping.await.unwrap());
    assert_eq!(running.await.unwrap().outcome.status(), Status::Succeeded);
}
