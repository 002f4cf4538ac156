//! What a busy machine costs by itself: how many threads want a core during the
//! storm, and as many that do nothing but compute.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Counts again and again how many threads of some processes run or wait for a
/// core. Their child processes do not count: they compile at a lower priority.
pub(super) struct Sampler {
    over: Arc<AtomicBool>,
    counts: JoinHandle<(usize, usize)>,
}

impl Sampler {
    pub(super) fn start(processes: [u32; 2]) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let counts = thread::spawn(move || {
            let (mut sum, mut looks) = (0, 0);
            while !ends.load(Relaxed) {
                sum += processes.into_iter().map(threads).sum::<usize>();
                looks += 1;
                thread::sleep(Duration::from_millis(50));
            }
            (sum, looks)
        });
        Self { over, counts }
    }

    /// Ends it; the mean over the time since the start.
    pub(super) fn mean(self) -> f64 {
        self.over.store(true, Relaxed);
        let (sum, looks) = self.counts.join().unwrap();
        sum as f64 / looks as f64
    }
}

/// The threads of `process` that run or wait for a core.
fn threads(process: u32) -> usize {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let runs = |thread: &fs::DirEntry| {
        // It may have ended meanwhile.
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().unwrap_or_default();
        state.trim_start().starts_with('R')
    };
    threads.filter_map(Result::ok).filter(runs).count()
}

/// Threads that only compute.
pub(super) struct Neutral {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Neutral {
    /// As many as `mean` says, rounded.
    pub(super) fn start(mean: f64) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let computes = || {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let count = mean.round().max(0.0) as usize;
        let threads = std::iter::repeat_with(computes).take(count).collect();
        Self { over, threads }
    }

    /// Ends them; how many there were.
    pub(super) fn end(self) -> usize {
        self.over.store(true, Relaxed);
        let count = self.threads.len();
        for thread in self.threads {
            thread.join().unwrap();
        }
        count
    }
}
