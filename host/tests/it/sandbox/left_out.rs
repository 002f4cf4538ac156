//! What lies in the folders and is not read is named, and what cannot be read is
//! told once.

use std::{fs, path::Path};

use super::compile::rule;
use crate::{
    cli::said,
    components::answering,
    host::{Folders, until},
};

#[test]
fn what_looks_like_a_plugin_or_a_rule_and_is_not_read_is_named() {
    let folders = Folders::new();
    let path = |file: &str| folders.path().join(file);
    fs::write(path("plugins/UPPER.WASM"), answering("1")).unwrap();
    fs::create_dir(path("plugins/folder.wasm")).unwrap();
    fs::create_dir_all(path("rules/team")).unwrap();
    fs::write(path("rules/team/x.json"), rule("x")).unwrap();
    fs::write(path("rules/ALL.JSON"), rule("x")).unwrap();
    // Sources of a handler, and what an installer writes: nothing to tell.
    fs::create_dir(path("plugins/source")).unwrap();
    fs::write(path("plugins/.new.wasm.tmp"), "").unwrap();
    let mut wanted = vec![
        "plugins/UPPER.WASM: not read: its ending is not in lower case",
        "plugins/folder.wasm: not read: it is not a regular file",
        "rules/team: not read: files in a subfolder",
        "rules/ALL.JSON: not read: its ending is not in lower case",
    ];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("gone", path("plugins/link.wasm")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path("plugins/fifo.wasm"), fifo, mode, 0).unwrap();
        wanted.push("plugins/link.wasm: not read: it is a link to a file that does not exist");
        wanted.push("plugins/fifo.wasm: not read: it is not a regular file");
    }
    let (_, _, err) = said(&folders, &["list"]);
    for wanted in &wanted {
        assert!(err.contains(wanted), "{wanted}: {err}");
    }
    assert_eq!(err.matches("not read").count(), wanted.len(), "{err}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_read_is_told_and_no_longer_told_without_another_change() {
    use std::os::unix::fs::symlink;

    let folders = Folders::new();
    folders.plugin("good", answering("1"));
    folders.rules("good.json", &rule("good"));
    fs::create_dir(folders.path().join("rules/team")).unwrap();
    let app = folders.start().await;
    let app = app.watch(|_| {});
    let fifo = |path: &Path| {
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
    };
    type Make<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, &str, Make); 6] = [
        ("plugins/fifo.wasm", "fifo.wasm: not read", &fifo),
        ("plugins/folder.wasm", "folder.wasm: not read", &|path| {
            fs::create_dir(path).unwrap();
        }),
        ("plugins/link.wasm", "link.wasm: not read", &|path| {
            symlink("gone", path).unwrap();
        }),
        ("plugins/UPPER.WASM", "UPPER.WASM: not read", &|path| {
            fs::write(path, "").unwrap();
        }),
        ("rules/fifo.json", "fifo.json: not read", &fifo),
        ("rules/team/x.json", "rules/team: not read", &|path| {
            fs::write(path, rule("x")).unwrap();
        }),
    ];
    for (file, notice, make) in cases {
        let told = || {
            let problems = &app.snapshot().problems;
            problems
                .iter()
                .any(|problem| problem.to_string().contains(notice))
        };
        let path = folders.path().join(file);
        make(&path);
        until(&format!("{file} is told"), told).await;
        let removed = match file {
            "plugins/folder.wasm" => fs::remove_dir(&path),
            _ => fs::remove_file(&path),
        };
        removed.unwrap();
        until(&format!("{file} is no longer told"), || !told()).await;
    }
    app.stop().await;
}

#[test]
fn an_error_says_its_cause_once_and_an_empty_folder_is_refused_by_name() {
    let folders = Folders::new();
    let (_, _, err) = said(&folders, &["--config", "nope.toml", "list"]);
    assert_eq!(err.matches("No such file").count(), 1, "{err}");
    let (code, _, err) = said(&folders, &["--set", "plugins=", "list"]);
    assert_eq!(code, Some(2), "{err}");
    let wanted = "command line: `plugins` is empty, expected a folder such as `plugins`";
    assert!(err.contains(wanted), "{err}");
}
