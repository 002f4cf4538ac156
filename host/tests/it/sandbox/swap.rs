//! Pages that the kernel swapped out while a call ran are cleared when it ends:
//! the next call in that place finds nothing of it. Swapping is made to happen
//! in a memory cgroup, for which the test must be root; where it cannot be made
//! the test says why.
#![cfg(target_os = "linux")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use pointsman::outcome::Status;
use tokio::task::JoinSet;

use crate::{
    components::{handler, is_alone},
    host::{Folders, only, until},
};

/// More than the pool keeps for one component before it gives places to others.
const CALLS: usize = 130;
const SWAP_BYTES: u64 = 512 << 20;

/// A file that the kernel swaps to, until dropped.
struct Swap(PathBuf);

impl Swap {
    fn on(folder: &Path) -> Result<Self, String> {
        let path = folder.join("swap");
        let file = fs::File::create(&path).map_err(|error| error.to_string())?;
        drop(file);
        let size = SWAP_BYTES.to_string();
        run("fallocate", &["-l", &size], &path)?;
        run("chmod", &["600"], &path)?;
        run("mkswap", &[], &path)?;
        run("swapon", &[], &path)?;
        Ok(Self(path))
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        if let Err(error) = run("swapoff", &[], &self.0) {
            let _ = writeln!(std::io::stderr(), "{error}");
        }
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> Result<(), String> {
    let output = Command::new(program).args(arguments).arg(path).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", said.trim())),
    }
}

/// A memory cgroup that this process lives in, until dropped.
struct Group {
    folder: PathBuf,
    limit: &'static str,
    parent: PathBuf,
}

impl Group {
    fn join() -> Result<Self, String> {
        let name = format!("pointsman-test-{}", std::process::id());
        let kinds = [("memory", "memory.limit_in_bytes"), ("", "memory.max")];
        let mut reasons = Vec::new();
        for (root, limit) in kinds {
            let parent = Path::new("/sys/fs/cgroup").join(root);
            let folder = parent.join(&name);
            let joined = fs::create_dir(&folder)
                .and_then(|()| fs::metadata(folder.join(limit)))
                .and_then(|_| {
                    fs::write(folder.join("cgroup.procs"), std::process::id().to_string())
                });
            let group = Self {
                folder,
                limit,
                parent,
            };
            match joined {
                Ok(()) => return Ok(group),
                Err(error) => reasons.push(format!("{}: {error}", group.folder.display())),
            }
        }
        Err(reasons.join("; "))
    }

    /// Pushes out what is above so many bytes, then lets all come back.
    fn squeeze(&self, bytes: u64) {
        let set = |limit: &str| fs::write(self.folder.join(self.limit), limit);
        // The kernel gives up after some tries of its own.
        let pushed = (0..200).any(|_| {
            let set = set(&bytes.to_string());
            std::thread::sleep(Duration::from_millis(20));
            set.is_ok() && swapped_kib() > 20 << 10
        });
        let unlimited = if self.limit == "memory.max" {
            "max"
        } else {
            "-1"
        };
        set(unlimited).unwrap();
        assert!(pushed, "only {} KiB are swapped out", swapped_kib());
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let back = fs::write(
            self.parent.join("cgroup.procs"),
            std::process::id().to_string(),
        );
        let removed = back.and_then(|()| fs::remove_dir(&self.folder));
        if let Err(error) = removed {
            let _ = writeln!(std::io::stderr(), "{}: {error}", self.folder.display());
        }
    }
}

/// What of this process is swapped out.
fn swapped_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSwap:"));
    let number = line.and_then(|line| line.trim().strip_suffix("kB"));
    number.map_or(0, |number| number.trim().parse().unwrap())
}

/// One leaves its mark in memory and tables and sleeps; the other looks for marks.
fn folders() -> Folders {
    let sleep = r#"(import "pointsman:handler/clock@0.2.0" "sleep" (func $sleep (param i64)))"#;
    let marking = handler(
        &format!("{sleep} (table $t 4000 funcref) (func $f) (elem declare func $f)"),
        "(drop (memory.grow (i32.const 15)))
         (memory.fill (i32.const 65536) (i32.const 0x5a) (i32.const 700000))
         (table.fill $t (i32.const 0) (ref.func $f) (i32.const 4000))
         (call $sleep (i64.const 6000)) i32.const 0",
    );
    let looking = handler(
        "(table $t 4000 funcref)",
        "(local $i i32)
         (drop (memory.grow (i32.const 15)))
         (loop $bytes
            (if (i64.ne (i64.load (i32.add (i32.const 65536) (local.get $i))) (i64.const 0)) (then unreachable))
            (local.set $i (i32.add (local.get $i) (i32.const 8)))
            (br_if $bytes (i32.lt_u (local.get $i) (i32.const 900000))))
         (local.set $i (i32.const 0))
         (loop $functions
            (if (i32.eqz (ref.is_null (table.get $t (local.get $i)))) (then unreachable))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $functions (i32.lt_u (local.get $i) (i32.const 4000))))
         i32.const 0",
    );
    let folders = Folders::new();
    folders.plugin("marking", marking);
    folders.plugin("looking", looking);
    folders.rules(
        "all.json",
        r#"{"rules":[{"name":"a","match":{"to":["a"]},"handlers":["marking"]},
                     {"name":"b","match":{"to":["b"]},"handlers":["looking"]}]}"#,
    );
    folders
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_finds_nothing_of_one_whose_pages_were_swapped_out() {
    if !is_alone("swap::a_call_finds_nothing_of_one_whose_pages_were_swapped_out") {
        return;
    }
    let folders = folders();
    let made = Group::join().and_then(|group| Ok((group, Swap::on(folders.path())?)));
    let (group, swap) = match made {
        Ok(made) => made,
        Err(reason) => {
            eprintln!("SKIPPED: no swap can be made here: {reason}");
            return;
        }
    };
    let app = Arc::clone(folders.start().await.host());
    assert_eq!(
        only(&app, r#"{"to":"b"}"#).await.outcome.status(),
        Status::Succeeded
    );
    let mut marking = JoinSet::new();
    for _ in 0..CALLS {
        let app = Arc::clone(&app);
        marking.spawn(async move { only(&app, r#"{"to":"a"}"#).await });
    }
    let memory = Arc::clone(&app.budgets().memory);
    until("all have left their marks", || {
        memory.used() >= CALLS as u64 * (1 << 20)
    })
    .await;
    // The last ones may still be at it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    tokio::task::block_in_place(|| group.squeeze(16 << 20));
    eprintln!("{} KiB swapped out", swapped_kib());
    marking.join_all().await;
    until("all of them ended", || memory.used() == 0).await;
    for _ in 0..40 {
        let report = only(&app, r#"{"to":"b"}"#).await;
        assert_eq!(report.outcome.status(), Status::Succeeded, "{report:?}");
    }
    drop(swap);
    drop(group);
}
