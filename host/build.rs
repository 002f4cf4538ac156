//! Says which commit a release build is of: `BUILD_COMMIT` of the environment, or else
//! what git says. A debug build is of no commit, or each commit would rebuild it.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=BUILD_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let is_named = std::env::var_os("BUILD_COMMIT").is_some();
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if is_named || !is_release {
        return;
    }
    // A source archive has no commit, and a machine may have no git.
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return;
    };
    for file in ["HEAD", "logs/HEAD"] {
        // Cargo would rebuild each time for one that is missing.
        let path = git(&["rev-parse", "--git-path", file]);
        if let Some(path) = path.filter(|path| std::fs::exists(path).unwrap_or(false)) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rustc-env=BUILD_COMMIT={commit}");
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
