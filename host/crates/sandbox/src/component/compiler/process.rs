//! Owns the child process from its start to its end.

use std::{
    io::{self, Read as _, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{Answer, Job, SUBCOMMAND};

/// How often a running child is looked at; a small component takes 50 ms.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// The longest answer of a child, which cuts what it says.
const ANSWER_MAX_BYTES: u64 = 64 << 10;

/// Wall-clock time is many times the CPU time where other work has the cores,
/// which comes first. A compiler waits for nothing: on a machine at rest the
/// limit on CPU time is the first to be met.
pub(super) const WALL_PER_CPU: u32 = 30;

/// How a child ended.
#[derive(Debug)]
pub(super) enum End {
    Answered(Answer),
    CpuTime,
    WallTime,
    Died(ExitStatus),
    Stopped,
}

/// Runs `program` on `component` as `job` says, until it ends or `stop` ends it.
pub(super) fn run(
    program: &Path,
    job: &Job,
    component: &[u8],
    stop: &CancellationToken,
) -> io::Result<End> {
    let mut command = Command::new(program);
    command
        .arg(SUBCOMMAND)
        .arg(serde_json::to_string(job)?)
        // It needs none, and the host's may hold secrets.
        .env_clear()
        // The program's allocator takes a GiB at once otherwise, which would
        // count as used.
        .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        // A Ctrl-C is for the host, which ends its children.
        command.process_group(0);
    }
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    let timeout = Duration::from_millis(job.limits.timeout_ms) * WALL_PER_CPU;
    thread::scope(|scope| {
        // A child that does not read must not hold the host. Once it has
        // ended, writing fails.
        scope.spawn(|| write(stdin, component));
        let end = wait(&mut child, timeout, stop);
        if !matches!(end, Ok(End::Answered(_))) {
            // It may have ended by itself; then there is nothing to be ended.
            let _ = child.kill();
            let _ = child.wait();
        }
        end
    })
}

fn wait(child: &mut Child, timeout: Duration, stop: &CancellationToken) -> io::Result<End> {
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if stop.is_cancelled() {
            return Ok(End::Stopped);
        }
        if began.elapsed() > timeout {
            return Ok(End::WallTime);
        }
        thread::sleep(LOOK);
    };
    if !status.success() {
        return Ok(match is_cpu_time(status) {
            true => End::CpuTime,
            false => End::Died(status),
        });
    }
    let mut answer = String::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(ANSWER_MAX_BYTES).read_to_string(&mut answer)?;
    }
    Ok(match serde_json::from_str(&answer) {
        Ok(answer) => End::Answered(answer),
        Err(_) => End::Died(status),
    })
}

fn write(stdin: Option<ChildStdin>, component: &[u8]) {
    if let Some(mut stdin) = stdin {
        // How the child ended says why it did not read.
        let _ = stdin.write_all(component);
    }
}

#[cfg(unix)]
fn is_cpu_time(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(rustix::process::Signal::XCPU.as_raw())
}

#[cfg(not(unix))]
fn is_cpu_time(_: ExitStatus) -> bool {
    false
}
