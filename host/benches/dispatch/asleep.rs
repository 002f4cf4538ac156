//! What a handler that sleeps holds in memory. Each side runs in a process of
//! its own: what one leaves behind would flatter the other.

use std::{fs, process::Command, sync::Arc, thread, time::Duration};

use tokio::task::JoinSet;

use crate::{
    answer,
    guests::{Folders, nothing, probe},
    raw::Raw,
    row, started,
};

/// Longer than it takes for all to fall asleep.
const SLEEP_MS: u64 = 300_000;
/// Nobody started or woke for that long: all are asleep.
const QUIET: Duration = Duration::from_millis(500);
/// The mark of a child's arguments.
const CHILD: &str = "asleep-child";
/// `/proc/self/statm` counts pages.
const PAGE_KIB: f64 = 4.0;

/// Prints what each of `count` handlers asleep at once holds.
pub(crate) fn measure(count: u32) {
    let held = |side: &str| {
        let bench = std::env::current_exe().expect("this file");
        let output = Command::new(bench)
            .args([CHILD, side, &count.to_string()])
            .stderr(std::process::Stdio::inherit())
            .output()
            .expect("it starts again");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse::<f64>().ok()
    };
    let name = format!("{count} handlers asleep at once, each");
    match (held("ours"), held("raw")) {
        (Some(ours), Some(raw)) => row(&name, ours, raw, "KiB"),
        (ours, raw) => println!("{name:<44} failed: ours {ours:?}, raw {raw:?}"),
    }
}

/// One side, in its own process.
pub(crate) struct Child {
    ours: bool,
    count: u32,
}

impl Child {
    pub(crate) fn from_arguments(arguments: &[String]) -> Option<Self> {
        match arguments {
            [mark, side, count, ..] if mark == CHILD => Some(Self {
                ours: side == "ours",
                count: count.parse().expect("a number of handlers"),
            }),
            _ => None,
        }
    }

    /// Prints KiB for each handler and ends without waking them.
    pub(crate) fn run(self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("a tokio runtime");
        let kib = runtime.block_on(async {
            if self.ours {
                self.ours().await
            } else {
                self.raw().await
            }
        });
        println!("{kib:.1}");
        std::process::exit(0);
    }

    async fn ours(self) -> f64 {
        let folders = Folders::new(&probe(), 1);
        let mut config = folders.config();
        config.host.sandbox.instances_max = self.count + 16;
        config.host.waiting_max = self.count;
        config.limits.instances_max = self.count as usize + 16;
        config.limits.timeout = std::time::Duration::from_millis(2 * SLEEP_MS);
        let app = Arc::new(started(config).await);
        let before = resident_kib();
        let mut asleep = JoinSet::new();
        for _ in 0..self.count {
            let app = Arc::clone(&app);
            asleep.spawn(async move { answer(&app, &sleep()).await });
        }
        let grown = self.when_quiet(&mut asleep, before).await;
        assert_eq!(app.shutdown().tasks.len(), self.count as usize);
        grown
    }

    async fn raw(self) -> f64 {
        let mut raw = Raw::new(self.count + 16, true);
        raw.load(&probe());
        raw.call(0, &nothing("one")).await;
        let raw = Arc::new(raw);
        let before = resident_kib();
        let mut asleep = JoinSet::new();
        for _ in 0..self.count {
            let raw = Arc::clone(&raw);
            asleep.spawn(async move {
                raw.call(0, &sleep()).await;
            });
        }
        self.when_quiet(&mut asleep, before).await
    }

    /// KiB that each added since `before`, once nothing moves any more.
    async fn when_quiet(&self, asleep: &mut JoinSet<()>, before: f64) -> f64 {
        let mut last = f64::NAN;
        loop {
            tokio::task::block_in_place(|| thread::sleep(QUIET));
            if let Some(ended) = asleep.try_join_next() {
                panic!("one did not sleep: {ended:?}");
            }
            let now = resident_kib();
            if now == last {
                return (now - before) / f64::from(self.count);
            }
            last = now;
        }
    }
}

fn sleep() -> String {
    format!(r#"{{"do":"sleep","amount":{SLEEP_MS},"to":"one"}}"#)
}

/// KiB that this process holds.
fn resident_kib() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split_whitespace().nth(1).expect("a second field");
    pages.parse::<f64>().expect("a number") * PAGE_KIB
}
