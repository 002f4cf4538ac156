//! Reloads under load, and every way in which files are put in place: no
//! command sees one half done.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use pointsman::{
    host::Host,
    outcome::{Report, Status},
    snapshot::{FileState, Snapshot},
};

use crate::{
    components::{answering, assert_flat, is_alone, resident_bytes, rounds, section},
    host::{Folders, dispatch, only, replace, until},
};

/// One file after another of a handler that answers with its version.
fn version(number: usize) -> Vec<u8> {
    answering(&number.to_string())
}

/// A rule that sends everything to `handler`, under this name.
fn rule(name: &str, handler: &str) -> String {
    format!(
        r#"{{"rules":[{{"name":"{name}","match":{{"any":["thing"]}},"handlers":["{handler}"]}}]}}"#
    )
}

const COMMAND: &str = r#"{"any":"thing"}"#;

/// A host with version 0 of a handler, taking up changes.
async fn host() -> (Folders, Arc<Host>) {
    let folders = Folders::new();
    folders.plugin("greet", version(0));
    folders.rules("greet.json", &rule("rule-0", "greet"));
    let app = watching(&folders).await;
    (folders, app)
}

async fn watching(folders: &Folders) -> Arc<Host> {
    let app = folders.start().await;
    app.watch(|reload| {
        eprintln!(
            "{:?} {} {:?} {}",
            reload.duration,
            reload.changed.len(),
            reload.problems.first(),
            reload.unread
        )
    })
}

/// What the one handler answers; every command must succeed.
async fn answer(app: &Host) -> String {
    answer_of(&dispatch(app, COMMAND).await)
}

fn answer_of(report: &Report) -> String {
    let outcome = &report.handlers[0].outcome;
    let output = outcome
        .result
        .as_ref()
        .unwrap_or_else(|failure| panic!("{failure:?}"));
    output.as_ref().unwrap().get().to_owned()
}

/// Waits for this answer; none before it may be anything but one of `allowed`.
async fn until_answered(app: &Host, allowed: &[&str], wanted: &str) {
    for _ in 0..3_000 {
        let answer = answer(app).await;
        if answer == wanted {
            return;
        }
        assert!(allowed.contains(&answer.as_str()), "{answer}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {wanted}");
}

/// What tells a generation: its digest and its rule.
type Marks = (String, String);

fn marks(snapshot: &Snapshot) -> Marks {
    let rule = snapshot.rules.rules().next().unwrap();
    let digest = snapshot.handlers["greet"].digest.to_string();
    (digest, rule.name().to_string())
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::too_many_lines,
    reason = "one story, told from its start to its end"
)]
async fn reloads_under_load_fail_no_command_and_mix_no_generations() {
    if !is_alone("reload_stress::reloads_under_load_fail_no_command_and_mix_no_generations") {
        return;
    }
    let folders = Folders::new();
    folders.plugin("greet", version(0));
    folders.rules("greet.json", &rule("rule-0", "greet"));
    let mut config = folders.config();
    config.reload.quiet = std::time::Duration::from_millis(2);
    config.reload.poll = std::time::Duration::from_millis(5);
    config.host.sandbox.compile_cache = false;
    let app = Host::load(config).await.unwrap();
    let generations = Arc::new(Mutex::new(BTreeMap::from([(1, marks(&app.snapshot()))])));
    let weak = Arc::downgrade(app.host());
    let noted = Arc::clone(&generations);
    let app = app.watch(move |reload| {
        // The next reload begins when this one is noted.
        let app: Arc<Host> = weak.upgrade().expect("it is stopped before it is dropped");
        let snapshot = app.snapshot();
        assert_eq!(snapshot.generation, reload.generation);
        noted
            .lock()
            .unwrap()
            .insert(reload.generation, marks(&snapshot));
    });
    let done = Arc::new(AtomicBool::new(false));
    let client = |_| {
        let (app, done) = (Arc::clone(&app), Arc::clone(&done));
        async move {
            let mut seen: BTreeMap<u64, (Marks, usize)> = BTreeMap::new();
            while !done.load(Relaxed) {
                let report = dispatch(&app, COMMAND).await;
                let [handler] = &report.handlers[..] else {
                    panic!("{report:?}")
                };
                assert_eq!(handler.outcome.status(), Status::Succeeded, "{handler:?}");
                let digest = handler.digest.as_ref().unwrap().to_string();
                let marks = (digest, handler.rules[0].to_string());
                let (before, count) = seen.entry(report.generation).or_insert((marks.clone(), 0));
                assert_eq!(
                    *before, marks,
                    "two plugins in generation {}",
                    report.generation
                );
                *count += 1;
                // Room for the reloads on a machine of few cores.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            seen
        }
    };
    let clients: tokio::task::JoinSet<_> = (0..16).map(client).collect();

    let reloads = rounds(200, 1_000);
    let mut memory = 0;
    for number in 1..=reloads {
        let generation = app.snapshot().generation;
        if number % 2 == 0 {
            folders.plugin("greet", version(number));
        } else {
            folders.rules("greet.json", &rule(&format!("rule-{number}"), "greet"));
        }
        until("it is taken up", || app.snapshot().generation > generation).await;
        if number == reloads / 4 {
            memory = resident_bytes();
        }
    }
    done.store(true, Relaxed);
    let seen = clients.join_all().await;
    assert!(app.stop().await);
    let generations = generations.lock().unwrap();
    let mut commands = 0;
    for (generation, (marks, count)) in seen.into_iter().flatten() {
        assert_eq!(generations.get(&generation), Some(&marks));
        commands += count;
    }
    eprintln!(
        "{reloads} reloads under {commands} commands: {memory} bytes after a quarter, {} at the end",
        resident_bytes()
    );
    assert_eq!(app.snapshot().generation as usize, reloads + 1);
    assert!(commands > reloads, "{commands}");
    assert_flat(memory, resident_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_files_at_once_are_taken_up() {
    let (folders, app) = host().await;
    let bytes = version(1);
    for number in 0..200 {
        folders.plugin(&format!("copy{number}"), &bytes);
    }
    until("all are loaded", || app.snapshot().handlers.len() == 201).await;
    for number in 0..200 {
        folders.remove(&format!("plugins/copy{number}.wasm"));
    }
    until("all are gone", || app.snapshot().handlers.len() == 1).await;
    assert_eq!(answer(&app).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_copied_over_in_halves_ends_on_the_new_one() {
    let (folders, app) = host().await;
    let (path, bytes) = (folders.plugins().join("greet.wasm"), version(1));
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(first).unwrap();
    until("the half is refused", || {
        app.snapshot().handler_files[0].state() == FileState::Stale
    })
    .await;
    assert_eq!(answer(&app).await, "0");
    file.write_all(second).unwrap();
    until_answered(&app, &["0"], "1").await;
    assert!(app.snapshot().problems.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_renamed_into_place_is_taken_up() {
    let (folders, app) = host().await;
    let elsewhere = folders.path().join("greet.wasm");
    fs::write(&elsewhere, version(1)).unwrap();
    fs::rename(elsewhere, folders.plugins().join("greet.wasm")).unwrap();
    until_answered(&app, &["0"], "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_same_length_and_time_of_writing_is_taken_up() {
    let (folders, app) = host().await;
    let path = folders.plugins().join("greet.wasm");
    until("it is loaded for good", || {
        app.snapshot().handler_files[0].stamps.is_some()
    })
    .await;
    // As `cp -p` does.
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, version(1)).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(written).unwrap();
    until_answered(&app, &["0"], "1").await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_link_to_a_folder_of_versions_is_taken_up() {
    // As Kubernetes mounts a config map: greet.wasm -> ..data/greet.wasm, ..data -> ..1
    use std::os::unix::fs::symlink;
    let folders = Folders::new();
    let plugins = folders.plugins();
    let put = |number: usize| {
        let folder = plugins.join(format!("..{number}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("greet.wasm"), version(number)).unwrap();
        symlink(folder.file_name().unwrap(), plugins.join("..data_tmp")).unwrap();
        fs::rename(plugins.join("..data_tmp"), plugins.join("..data")).unwrap();
    };
    put(0);
    symlink("..data/greet.wasm", plugins.join("greet.wasm")).unwrap();
    folders.rules("greet.json", &rule("greet", "greet"));
    let app = watching(&folders).await;
    assert_eq!(answer(&app).await, "0");
    put(1);
    until_answered(&app, &["0"], "1").await;
    fs::remove_dir_all(plugins.join("..0")).unwrap();
    put(2);
    until_answered(&app, &["1"], "2").await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn rules_of_a_config_map_are_taken_up_when_their_link_is_swapped() {
    use std::os::unix::fs::symlink;
    let folders = Folders::new();
    let rules = folders.path().join("rules");
    for (name, number) in [("first", 0), ("second", 1)] {
        folders.plugin(name, version(number));
    }
    let put = |version: &str, handler: &str| {
        let folder = rules.join(version);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("greet.json"), rule("greet", handler)).unwrap();
        symlink(version, rules.join("..data_tmp")).unwrap();
        fs::rename(rules.join("..data_tmp"), rules.join("..data")).unwrap();
    };
    put("..2026_1", "first");
    symlink("..data/greet.json", rules.join("greet.json")).unwrap();
    let app = watching(&folders).await;
    assert_eq!(answer(&app).await, "0");
    put("..2026_2", "second");
    fs::remove_dir_all(rules.join("..2026_1")).unwrap();
    until_answered(&app, &["0"], "1").await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_behind_a_swapped_link_is_taken_up() {
    use std::os::unix::fs::symlink;
    let folders = Folders::new();
    fs::remove_dir(folders.plugins()).unwrap();
    let put = |number: usize| {
        let folder = folders.path().join(format!("plugins-{number}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("greet.wasm"), version(number)).unwrap();
        let next = folders.path().join("next");
        symlink(folder, &next).unwrap();
        fs::rename(next, folders.plugins()).unwrap();
    };
    put(0);
    folders.rules("greet.json", &rule("greet", "greet"));
    let app = watching(&folders).await;
    put(1);
    until_answered(&app, &["0"], "1").await;
    // The new folder is under watch now, and not only looked at.
    replace(&folders.plugins().join("greet.wasm"), version(2));
    until_answered(&app, &["1"], "2").await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_folder_serves_and_the_host_writes_nothing_into_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folders = Folders::new();
    folders.plugin("greet", version(0));
    folders.rules("greet.json", &rule("greet", "greet"));
    let permit = |mode| {
        fs::set_permissions(folders.plugins(), fs::Permissions::from_mode(mode)).unwrap();
    };
    permit(0o555);
    let app = watching(&folders).await;
    assert_eq!(answer(&app).await, "0");
    assert_eq!(names(&folders.plugins()), ["greet.wasm"]);
    permit(0o755);
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_replaced_while_it_is_loaded_ends_on_the_last_one() {
    let (folders, app) = host().await;
    // Large enough that reading and compiling it takes a while.
    let slow = |number: usize| {
        let mut bytes = version(number);
        section(
            &mut bytes,
            0,
            &[b"\x04data".as_slice(), &vec![0; 8 << 20]].concat(),
        );
        bytes
    };
    let path = folders.plugins().join("greet.wasm");
    for number in 1..=20 {
        // In place as well as by renaming, at moments that the watcher does not choose.
        match number % 2 {
            0 => replace(&path, slow(number)),
            _ => fs::write(&path, slow(number)).unwrap(),
        }
        tokio::time::sleep(Duration::from_millis(number as u64 * 3)).await;
        answer(&app).await;
    }
    until("the last one is in", || {
        app.snapshot().handler_files[0].state() == FileState::Loaded
    })
    .await;
    let before: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    let before: Vec<_> = before.iter().map(String::as_str).collect();
    until_answered(&app, &before, "20").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_did_not_go_together_are_taken_up_when_they_do() {
    let (folders, app) = host().await;
    folders.rules("second.json", &rule("rule-0", "greet"));
    until("the newcomer is refused", || {
        app.snapshot().rule_files.len() == 2
            && app.snapshot().rule_files[1].state() == FileState::Failed
    })
    .await;
    folders.remove("rules/greet.json");
    until("it is taken up", || {
        app.snapshot().rule_files.len() == 1
            && app.snapshot().rule_files[0].state() == FileState::Loaded
    })
    .await;
    assert_eq!(
        only(&app, COMMAND).await.outcome.status(),
        Status::Succeeded
    );
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_file_is_taken_up_when_it_can_be_read() {
    let (folders, app) = host().await;
    let path = folders.path().join("rules/greet.json");
    // A link that leads to itself, which root cannot read either.
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("greet.json", &path).unwrap();
    until("it is missed", || !app.snapshot().problems.is_empty()).await;
    assert_eq!(answer(&app).await, "0", "the last good one stays");
    replace(&path, rule("rule-1", "greet"));
    until("it is fixed", || app.snapshot().problems.is_empty()).await;
}
