//! Owns the async runtime of the program: how many threads poll tasks, and how
//! often they look for news from the system.

use std::{io, thread};

use tokio::runtime::{Builder, Runtime};

/// How many tasks a thread polls before it looks at sockets and timers again. A
/// call that computes is polled for a tick of 2 ms at a time: with tokio's 61, a
/// request that arrives while all threads compute waits up to 122 ms.
const POLLS_PER_LOOK: u32 = 8;

/// The threads of the runtime: one for each turn of calls that compute for long
/// (`pointsman_sandbox` gives as many turns as there are cores), and one that is
/// free for sockets and short calls.
pub(super) fn start() -> io::Result<Runtime> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    with_threads(cores + 1)
}

fn with_threads(threads: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .event_interval(POLLS_PER_LOOK)
        .enable_all()
        .build()
}

#[cfg(all(test, unix))]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixStream,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering::Relaxed},
        },
        time::Duration,
    };

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        sync::Semaphore,
    };

    use super::*;

    #[test]
    fn there_is_a_thread_more_than_calls_that_compute_for_long_have() {
        let cores = thread::available_parallelism().unwrap().get();
        assert_eq!(start().unwrap().metrics().num_workers(), cores + 1);
    }

    #[test]
    fn a_thread_that_always_has_a_task_to_poll_looks_at_sockets_all_the_same() {
        const TRIPS: usize = 31;
        let runtime = with_threads(1).unwrap();
        // As calls that take turns: whoever ends one wakes the next.
        let (turn, polls) = (Arc::new(Semaphore::new(1)), Arc::new(AtomicU32::new(0)));
        for _ in 0..2 {
            let (turn, polls) = (Arc::clone(&turn), Arc::clone(&polls));
            runtime.spawn(async move {
                loop {
                    let _turn = turn.acquire().await;
                    polls.fetch_add(1, Relaxed);
                    thread::sleep(Duration::from_micros(500));
                }
            });
        }
        let (mut client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        runtime.spawn(async move {
            let mut server = tokio::net::UnixStream::from_std(server).unwrap();
            while let Ok(byte) = server.read_u8().await {
                server.write_u8(byte).await.unwrap();
            }
        });
        let mut byte = [0];
        // Until both are under way.
        while polls.load(Relaxed) < 4 {
            thread::yield_now();
        }
        let mut trips: Vec<u32> = (0..TRIPS)
            .map(|_| {
                let before = polls.load(Relaxed);
                client.write_all(&[1]).unwrap();
                client.read_exact(&mut byte).unwrap();
                polls.load(Relaxed) - before
            })
            .collect();
        trips.sort_unstable();
        // The usual trip: on a busy machine this thread itself may wait for long.
        let usual = trips[trips.len() / 2];
        // tokio counts a task and up to three that it wakes one after the other
        // as one poll. With its own interval a trip takes 61 to 244 of ours.
        assert!(usual <= 5 * POLLS_PER_LOOK, "{usual} polls: {trips:?}");
        runtime.shutdown_background();
    }
}
