//! Files that come, change, break and go while the host runs.

mod foreign_files;
mod stress;

use expect_test::{Expect, expect};
use pointsman::{dispatcher::DispatchOptions, outcome::Status, snapshot::FileState};

use crate::host::{Folders, dispatch, guest, only, serve, statuses, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_and_a_rule_take_effect_without_a_restart() {
    let folders = Folders::new();
    let (app, _) = serve(&folders).await;
    folders.plugin("probe", guest("probe"));
    until("the plugin is loaded", || {
        app.snapshot().handlers.contains_key("probe")
    })
    .await;
    let problems = app.snapshot().problems.clone();
    let told = problems.iter().any(|problem| {
        problem
            .message()
            .contains("no rule routes commands to `probe`")
            && problem.hint_text().unwrap().contains("rules/probe.json")
    });
    assert!(told, "{problems:?}");

    folders.rules(
        "probe.json",
        r#"{"rules":[{"name":"p","match":{"do":["nothing"]},"handlers":["probe"]}]}"#,
    );
    until("the rule is loaded", || app.snapshot().rules.len() == 1).await;
    assert!(app.snapshot().problems.is_empty());
    assert_eq!(
        only(&app, r#"{"do":"nothing"}"#).await.outcome.status(),
        Status::Succeeded
    );

    folders.remove("plugins/probe.wasm");
    until("the handler is gone", || app.snapshot().handlers.is_empty()).await;
    assert_eq!(
        only(&app, r#"{"do":"nothing"}"#).await.outcome.status(),
        Status::Unavailable
    );
    folders.remove("rules/probe.json");
    until("the rule is gone", || app.snapshot().rules.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_flight_ends_on_the_snapshot_that_it_began_with() {
    let folders = Folders::probes(&["probe"]);
    let (app, _) = serve(&folders).await;
    let before = app.snapshot().handlers["probe"].digest.clone();
    let command =
        pointsman::command::Command::parse(r#"{"to":"probe","do":"sleep","amount":1500}"#).unwrap();
    let running = app.dispatch(command, DispatchOptions::default());
    let replaced = async {
        tokio::task::yield_now().await;
        folders.plugin("probe", guest("create-policy"));
        until("the plugin is replaced", || {
            app.snapshot().handlers["probe"].digest != before
        })
        .await;
    };
    let (report, ()) = tokio::join!(running, replaced);
    let report = report.unwrap();
    assert_eq!(
        (report.generation, report.handlers[0].digest.as_ref()),
        (1, Some(&before))
    );
    assert_eq!(statuses(&report), ["probe succeeded"]);
    assert_eq!(app.snapshot().generation, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_tells_settings_from_components_and_what_is_refused() {
    let folders = Folders::probes(&["probe"]);
    let app = folders.start().await;
    let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
    app.watch(move |reload| {
        let changed: Vec<_> = reload.changed.iter().map(ToString::to_string).collect();
        told.send(changed).unwrap();
    });
    let mut next = async || hears.recv().await.unwrap();
    folders.settings("probe", "[limits]\ntimeout = '50ms'");
    assert_eq!(next().await, ["~probe.toml"]);
    folders.settings("probe", "[limits]\ntimeout = '0ms'");
    assert_eq!(next().await, ["!probe.toml"]);
    folders.settings("probe", "[limits]\ntimeout = '50ms'");
    assert_eq!(next().await, ["~probe.toml"]);
    folders.remove("plugins/probe.toml");
    assert_eq!(next().await, ["~probe.toml"]);
    folders.plugin("probe", guest("create-policy"));
    assert_eq!(next().await, ["~probe.wasm"]);
    folders.rules("probes.json", "{");
    assert_eq!(next().await, ["!probes.json"]);
}

#[tokio::test]
async fn a_handler_that_is_broken_is_not_called_unknown() {
    let folders = Folders::probes(&["probe"]);
    folders.settings("probe", "[limits]\ntimeout = '0ms'");
    let app = folders.start().await;
    let snapshot = app.snapshot();
    let [problem] = snapshot.problems.as_slice() else {
        panic!("{:?}", snapshot.problems);
    };
    assert!(
        problem
            .hint_text()
            .unwrap()
            .contains("is not loaded until then"),
        "{problem}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_keeps_the_last_good_one_and_shows() {
    let folders = Folders::probes(&["probe"]);
    let (app, _) = serve(&folders).await;
    folders.plugin("probe", &guest("probe")[..1_000]);
    folders.rules("probes.json", "{\"rules\":[\n  {]}");
    until("both show as broken", || {
        let snapshot = app.snapshot();
        snapshot.handler_files[0].state() == FileState::Stale
            && snapshot.rule_files[0].state() == FileState::Stale
    })
    .await;
    let problems: Vec<_> = app
        .snapshot()
        .problems
        .iter()
        .map(ToString::to_string)
        .collect();
    let problems = folders.without_path(&problems.join("\n"));
    assert!(
        problems.contains("plugins/probe.wasm: no valid component"),
        "{problems}"
    );
    assert!(problems.contains("rules/probes.json:2:4: "), "{problems}");
    assert_eq!(
        only(&app, r#"{"to":"probe","do":"nothing"}"#)
            .await
            .outcome
            .status(),
        Status::Succeeded
    );
    folders.plugin("probe", guest("probe"));
    until("it is fixed", || {
        app.snapshot().handler_files[0].state() == FileState::Loaded
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_a_handler_take_effect_without_a_restart() {
    let folders = Folders::probes(&["probe"]);
    let (app, _) = serve(&folders).await;
    folders.settings("probe", "[config]\nkey = \"value\"");
    until("the settings are in", || {
        !app.snapshot().handlers["probe"].settings.config.is_empty()
    })
    .await;
    let report = dispatch(&app, r#"{"to":"probe","do":"config"}"#).await;
    let output = report.handlers[0]
        .outcome
        .result
        .as_ref()
        .unwrap()
        .as_ref()
        .unwrap();
    assert_eq!(output.get(), "\"value\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_deleted_and_made_anew_is_taken_up() {
    let folders = Folders::probes(&["probe"]);
    let (app, _) = serve(&folders).await;
    std::fs::remove_dir_all(folders.plugins()).unwrap();
    until("it is missed", || {
        app.snapshot()
            .problems
            .iter()
            .any(|problem| problem.code() == "unreadable-folder")
    })
    .await;
    assert_eq!(
        only(&app, r#"{"to":"probe","do":"nothing"}"#)
            .await
            .outcome
            .status(),
        Status::Succeeded
    );
    std::fs::create_dir(folders.plugins()).unwrap();
    folders.plugin("other", guest("probe"));
    until("it is taken up", || {
        app.snapshot().handlers.contains_key("other")
    })
    .await;
    assert!(!app.snapshot().handlers.contains_key("probe"));
}

async fn check_plugin(name: &str, bytes: impl AsRef<[u8]>, wanted: Expect) {
    let folders = Folders::new();
    folders.plugin(name, bytes);
    wanted.assert_eq(&folders.problems().await);
}

fn component(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn a_file_that_is_no_plugin_says_why_and_what_to_do() {
    check_plugin(
        "empty",
        "",
        expect![[r#"
        plugins/empty.wasm: is empty
          hint: copy or build it again"#]],
    )
    .await;
    check_plugin("text", "hello, world", expect![[r#"
        plugins/text.wasm: is no WebAssembly
          hint: only built components belong beside the `.wasm` ending; build the source with `pointsman build`"#]]).await;
    check_plugin(
        "short",
        b"\0asm",
        expect![[r#"
        plugins/short.wasm: is cut short
          hint: copy or build it again"#]],
    )
    .await;
    check_plugin(
        "module",
        component("(module)"),
        expect![[r#"
        plugins/module.wasm: is a core WebAssembly module, not a component
          hint: build it with `pointsman build`, or with `wasm-component-ld` as the linker"#]],
    )
    .await;
    check_plugin("nothing", component("(component)"), expect![[r#"
        plugins/nothing.wasm: missing export `pointsman:handler/command-handler@0.2.0`; it exports nothing
          hint: build it against wit/ (pointsman:handler@0.2.0), e.g. with `pointsman build`"#]]).await;
    check_plugin("BadName", component("(component)"), expect![[r#"
        plugins/BadName.wasm: `BadName` is not a handler name: use lower-case words joined by `-`, such as `create-policy`, of at most 64 bytes
          hint: rename the file"#]]).await;
    let interface = "pointsman:handler/command-handler";
    check_plugin(
        "hollow",
        component(&format!(
            r#"(component (instance $e) (export "{interface}@0.1.0" (instance $e)))"#
        )),
        expect![[r#"
            plugins/hollow.wasm: missing export `handle` in `pointsman:handler/command-handler@0.1.0`
              expected: handle: func(command: command) -> result<option<string>, failure>
              hint: build it against wit/ (pointsman:handler@0.1.0), e.g. with `pointsman build`"#]],
    )
    .await;
    check_plugin(
        "older",
        component(&format!(
            r#"(component (instance $e) (export "{interface}@0.0.9" (instance $e)))"#
        )),
        expect![[r#"
            plugins/older.wasm: was built for pointsman:handler@0.0.9, which this host does not serve: it serves 0.1.0, 0.2.0
              hint: put what `pointsman wit` prints (0.2.0) into its `wit/` folder, and build it again with `pointsman build`"#]],
    )
    .await;
    check_plugin(
        "takes-number",
        component(&format!(
            r#"(component
        (core module $m (func (export "handle") (param i32 i32) (result i32) local.get 0))
        (core instance $i (instantiate $m))
        (func $f (param "n" u32) (param "m" u32) (result u32) (canon lift (core func $i "handle")))
        (instance $e (export "handle" (func $f)))
        (export "{interface}@0.1.0" (instance $e)))"#
        )),
        expect![[r#"
            plugins/takes-number.wasm: `handle` of `pointsman:handler/command-handler@0.1.0` differs from the contract
              expected: handle: func(command: command) -> result<option<string>, failure>
              found:    handle: func(n: u32, m: u32) -> u32
              hint: build it against wit/ (pointsman:handler@0.1.0), e.g. with `pointsman build`"#]],
    )
    .await;
    check_plugin(
        "importer",
        component(
            r#"(component (import "acme:mail/send@1.0.0" (instance (export "send" (func)))))"#,
        ),
        expect![[r#"
            plugins/importer.wasm: does not match the contract in 2 places
              imports `acme:mail/send@1.0.0`, which the host does not provide
              missing export `pointsman:handler/command-handler@0.2.0`; it exports nothing
              hint: a handler may import the interfaces of the contract, and WASI 0.2; build it against wit/ (pointsman:handler@0.2.0), e.g. with `pointsman build`"#]],
    )
    .await;
    check_plugin(
        "future",
        component(r#"(component (import "pointsman:handler/log@0.9.0" (instance)))"#),
        expect![[r#"
            plugins/future.wasm: was built for pointsman:handler@0.9.0, newer than what this host serves: 0.1.0, 0.2.0
              hint: use a newer `pointsman`, or build it against the contract of this one: `pointsman wit` prints 0.2.0"#]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_file_that_is_wrong_says_where_and_what_to_do() {
    let check = async |text: &str, wanted: Expect| {
        let folders = Folders::new();
        folders.plugin("audit", guest("probe"));
        folders.rules("orders.json", text);
        wanted.assert_eq(&folders.problems().await);
    };
    check("{\"rules\":[\n{\"name\":\"a\",}]}", expect![[r#"
        rules/orders.json:2:13: expected a key in quotes, found `}`
        plugins/audit.wasm: no rule routes commands to `audit`
          hint: write rules/audit.json, such as {"rules":[{"name":"audit","match":{"requestType":["…"]},"handlers":["audit"]}]}"#]]).await;
    check(
        "{\"rules\":[\n{\"name\":\"a\",\"match\":\"*\",\"handlers\":[\"audti\",\"audit\"]}]}",
        expect![[r#"
            rules/orders.json:2: rule `a` names the unknown handler `audti`
              hint: did you mean `audit`? loaded handlers: `audit`"#]],
    )
    .await;
    check(
        "{\"rules\":[\n{\"name\":\"a\",\"mach\":\"*\",\"handlers\":[\"audit\"]}]}",
        expect![[r#"
            rules/orders.json:2:13: unknown key `mach` in a rule
              hint: did you mean `match`? allowed: `description`, `fallback`, `group`, `guard`, `handlers`, `match`, `name`, `priority`, `select`
            plugins/audit.wasm: no rule routes commands to `audit`
              hint: write rules/audit.json, such as {"rules":[{"name":"audit","match":{"requestType":["…"]},"handlers":["audit"]}]}"#]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_folders_are_named() {
    let folders = Folders::new();
    folders.remove_dirs();
    expect![[r#"
        plugins: the folder cannot be read: No such file or directory (os error 2)
          hint: create it, or name another with `--plugins`; `pointsman build` makes it from the sources
        rules: the folder cannot be read: No such file or directory (os error 2)
          hint: create it, or name another with `--rules`; without rules no command reaches a handler"#]].assert_eq(&folders.problems().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rule_files_with_one_rule_name_keep_the_one_that_was_there() {
    let folders = Folders::probes(&["probe"]);
    let (app, _) = serve(&folders).await;
    // By name it comes first, so the older file is the one that collides.
    folders.rules(
        "a.json",
        r#"{"rules":[{"name":"probe","match":"*","handlers":["probe"]}]}"#,
    );
    until("the newcomer is refused", || {
        app.snapshot()
            .rule_files
            .first()
            .is_some_and(|file| file.state() == FileState::Failed)
    })
    .await;
    assert_eq!(
        only(&app, r#"{"to":"probe","do":"nothing"}"#)
            .await
            .outcome
            .status(),
        Status::Succeeded
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_without_a_handler_are_told_until_there_is_one() {
    let folders = Folders::probes(&["probe"]);
    let (app, _) = serve(&folders).await;
    folders.settings("prob", "[limits]\ntimeout = '500ms'");
    let told = || {
        let problems = &app.snapshot().problems;
        problems.iter().any(|problem| {
            problem
                .to_string()
                .contains("prob.toml: there is no handler with this name")
        })
    };
    until("the lone settings are told", told).await;
    folders.remove("plugins/prob.toml");
    until("nothing is left to fix", || !told()).await;
}
