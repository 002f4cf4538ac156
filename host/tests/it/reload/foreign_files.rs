//! Files that other people put where the host looks: pipes, devices, links.
#![cfg(unix)]

use std::{fs, path::Path};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::host::Folders;

/// A pipe without a writer: whoever opens it to read waits for ever.
fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_or_a_device_where_a_file_belongs_holds_no_reload() {
    let names = ["good", "settings", "secret", "device"];
    let folders = Folders::probes(&names);
    fifo(&folders.plugins().join("settings.toml"));
    fifo(&folders.path().join("pipe"));
    for (name, file) in [("secret", "../pipe"), ("device", "/dev/zero")] {
        folders.settings(name, &format!("[secrets]\nkey = {{ file = \"{file}\" }}"));
    }
    let app = folders.start().await;
    let snapshot = app.snapshot();
    assert_eq!(snapshot.handler_files.len(), names.len());
    for file in &snapshot.handler_files {
        let error = file.error.as_ref().map(ToString::to_string);
        let is_good = file.path.file_stem().unwrap() == "good";
        let refused = error.is_some_and(|error| error.contains("is not a regular file"));
        assert_eq!(refused, !is_good, "{}", file.path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_over_the_limit_is_refused_whatever_its_metadata_says() {
    let folders = Folders::probes(&["small", "large"]);
    fs::write(folders.path().join("small"), "x".repeat(64 << 10)).unwrap();
    fs::write(folders.path().join("large"), "x".repeat((64 << 10) + 1)).unwrap();
    for name in ["small", "large"] {
        folders.settings(
            name,
            &format!("[secrets]\nkey = {{ file = \"../{name}\" }}"),
        );
    }
    let problems = folders.problems().await;
    assert!(problems.contains("`large`: secret `key`"), "{problems}");
    assert!(!problems.contains("`small`"), "{problems}");
}
