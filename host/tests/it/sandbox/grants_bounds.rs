//! What a handler may take of the machine through what it was granted: its part,
//! and nothing for ever.
#![cfg(unix)]

use std::{fs, sync::Arc};

use pointsman::{
    command::Command,
    dispatcher::DispatchOptions,
    host::Host,
    outcome::{Level, Outcome},
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::host::{Folders, only, until, wasi_guest};

/// A writable folder `/d` for `wasi`, and for a second handler of that kind;
/// `to` says which.
fn two(limits: &str) -> Folders {
    let settings =
        format!("[limits]\n{limits}\n[[folders]]\nhost = \"../d\"\nguest = \"/d\"\nwrite = true");
    let folders = Folders::wasi(&settings);
    folders.plugin("other", wasi_guest());
    folders.settings("other", &settings);
    folders.rules(
        "wasi.json",
        r#"{"rules":[
            {"name":"wasi","match":{"to":[{"exists":false}]},"handlers":["wasi"]},
            {"name":"other","match":{"to":["other"]},"handlers":["other"]}
        ]}"#,
    );
    fs::create_dir(folders.path().join("d")).unwrap();
    fs::write(folders.path().join("d/file"), "text").unwrap();
    folders
}

/// What a handler answered, or why not.
fn answer(outcome: &Outcome) -> Result<Value, String> {
    match &outcome.result {
        Ok(Some(output)) => Ok(serde_json::from_str(output.get()).unwrap()),
        Ok(None) => Ok(Value::Null),
        Err(failure) => Err(failure.message.clone()),
    }
}

async fn ask(app: &Host, command: Value) -> Result<Value, String> {
    answer(&only(app, &command.to_string()).await.outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn pipes_and_devices_in_a_folder_are_not_opened_and_hold_nobody() {
    let folders = two("timeout = '20s'");
    let pipe = folders.path().join("d/pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    std::os::unix::fs::symlink("pipe", folders.path().join("d/link")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(folders.path().join("d/socket"));
    let app = folders.start().await;
    let app = app.watch(|_| ());

    // More than there are threads, of all kinds.
    let calls = (0..600).map(|at| {
        let path = ["/d/pipe", "/d/link", "/d/socket"][at % 3];
        let what = ["read", "write"][at % 2];
        let (app, command) = (Arc::clone(&app), json!({"do": what, "path": path}));
        async move {
            let command = Command::parse(command.to_string()).unwrap();
            app.dispatch(command, DispatchOptions::default())
                .await
                .unwrap()
        }
    });
    for report in futures_util::future::join_all(calls).await {
        let outcome = &report.handlers[0].outcome;
        let message = answer(outcome).unwrap_err();
        // Busy where more came than may wait.
        if message.contains("busy") || outcome.logs.lines.is_empty() {
            continue;
        }
        let line = &outcome.logs.lines[0];
        assert_eq!(line.level, Level::Warn);
        assert!(
            line.message.contains("is neither a file nor a folder"),
            "{}",
            line.message
        );
    }
    let refused = ask(&app, json!({"do":"read","path":"/d/pipe"})).await;
    assert!(refused.unwrap_err().contains("Not supported"));
    drop(socket);

    let read = json!({"do":"read","path":"/d/file"});
    assert_eq!(ask(&app, read.clone()).await, Ok(json!("text")));
    let other = json!({"do":"read","path":"/d/file","to":"other"});
    assert_eq!(ask(&app, other).await, Ok(json!("text")));
    let generation = app.snapshot().generation;
    folders.settings("other", "[config]\na = 1");
    until("a reload", || app.snapshot().generation > generation).await;
    assert!(app.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_do_what_they_did() {
    let folders = two("");
    let app = folders.start().await;
    for _ in 0..3 {
        let used = ask(&app, json!({"do":"use","path":"/d/new"})).await;
        assert_eq!(used, Ok(json!([true, 5, 2])));
    }
    // One for the folder, whichever instance opened it. Files are closed beside the calls.
    let budgets = app.budgets();
    let used = || (budgets.descriptors.used(), budgets.blocking.used());
    until("all but the folder is closed", || used() == (1, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_too_many_entries_is_not_listed() {
    let folders = two("");
    let mut config = folders.config();
    // A quarter is 16 MiB: a call fits, and so do some 100,000 entries.
    config.host.memory_max_bytes = Some(64 << 20);
    let app = Host::load(config).await.unwrap();
    let list = json!({"do":"list-many","path":"/d","count":50});
    assert_eq!(ask(&app, list.clone()).await, Ok(json!([50, null])));
    for at in 0..5_000 {
        let name = format!("{at:0>200}");
        fs::write(folders.path().join("d").join(name), "").unwrap();
    }
    let few = ask(&app, list).await.unwrap();
    assert!((1..50).contains(&few[0].as_u64().unwrap()), "{few}");
    assert!(few[1].as_str().unwrap().contains("memory"), "{few}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_files_than_an_instance_may_hold_name_the_limit() {
    let folders = two("resources_max = 20");
    let app = folders.start().await;
    let many = json!({"do":"open-many","path":"/d/file","count":30});
    let message = ask(&app, many).await.unwrap_err();
    assert!(
        message.contains("needed more than 20 streams, files"),
        "{message}"
    );
    assert!(message.contains("`limits.resources_max`"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_files_count_and_one_handler_does_not_get_those_of_another() {
    let folders = two("");
    let mut config = folders.config();
    config.host.descriptors_max = Some(40);
    let app = Arc::clone(Host::load(config).await.unwrap().host());
    let holding = Arc::clone(&app);
    let hold = json!({"do":"open-many","path":"/d/file","count":100,"ms":60_000});
    let hold = tokio::spawn(async move {
        let command = Command::parse(hold.to_string()).unwrap();
        let options = DispatchOptions {
            cancel_on_drop: true,
            ..DispatchOptions::default()
        };
        holding.dispatch(command, options).await
    });
    let used = || app.budgets().descriptors.used();
    // A quarter.
    until("all of its part is open", || used() == 10).await;
    let full = ask(&app, json!({"do":"open-many","path":"/d/file","count":1}))
        .await
        .unwrap();
    assert_eq!(full[0], 0);
    assert!(full[1].as_str().unwrap().contains("memory"), "{full}");
    let other = json!({"do":"open-many","path":"/d/file","count":9,"to":"other"});
    assert_eq!(ask(&app, other).await, Ok(json!([9, null])));
    hold.abort();
    // The folders stay open.
    until("the files are closed", || used() == 2).await;
    let again = json!({"do":"open-many","path":"/d/file","count":9});
    assert_eq!(ask(&app, again).await, Ok(json!([9, null])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_does_not_say_why_a_handler_is_not_loaded_and_the_operator_is_told() {
    let folders = Folders::wasi("[secrets]\ntoken = { file = \"../hunter2\" }");
    let app = folders.start().await;
    let message = ask(&app, json!({})).await.unwrap_err();
    assert!(message.contains("`GET /plugins`"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
    let problems = folders.problems().await;
    assert!(problems.contains("secret `token`"), "{problems}");
}
