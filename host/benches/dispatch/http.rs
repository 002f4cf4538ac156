//! What a request over HTTP costs: CPU time of the served process, from
//! `/proc`, under 64 connections that each wait for their answer.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    INSTANCES,
    guests::{Folders, nothing},
    one_thread,
    raw::Raw,
    row, turns,
};

const CONNECTIONS: usize = 64;
const WINDOW: Duration = Duration::from_millis(1_500);
const WINDOWS: usize = 4;
/// `/proc` counts CPU time in hundredths of a second, whatever the kernel.
const TICKS_PER_SECOND: f64 = 100.0;

/// The program over these folders, with nothing of the environment that could change it.
pub(crate) fn pointsman(folders: &Folders) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command
        .arg("--plugins")
        .arg(folders.plugins())
        .arg("--rules")
        .arg(folders.rules())
        .env("POINTSMAN_QUEUE_FOLDER", folders.data())
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1");
    command
}

/// A served process, which ends with the value.
struct Served {
    child: Child,
    address: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(folders: &Folders) -> Served {
    let mut child = pointsman(folders)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut log = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let address = log
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| {
            line.split_once("http://")?
                .1
                .split(' ')
                .next()
                .map(str::to_owned)
        })
        .expect("it says where it listens");
    // Its log is read to the end, as whoever keeps it would.
    std::thread::spawn(move || log.for_each(drop));
    Served { child, address }
}

/// CPU seconds of a process so far, all its threads together.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("Linux");
    // The name, in parentheses, may hold spaces; times are fields 14 and 15.
    let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
    let ticks = fields.skip(11).take(2);
    ticks
        .map(|field| field.parse::<f64>().expect("a number"))
        .sum::<f64>()
        / TICKS_PER_SECOND
}

/// Prints what a command with two handlers costs, with fresh instances and with
/// those that served others. The baseline is the same server answering
/// `/healthz`, and two calls on raw wasmtime, both in fresh instances.
pub(crate) fn measure(probe: &[u8]) {
    let folders = Folders::new(probe, 2);
    let served = serve(&folders);
    let body = nothing("two");
    let post = format!(
        "POST /commands/execute HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let fresh = load(&served, &post);
    let (healthz, _) = load(&served, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    drop(served);
    (0..2).for_each(|number| folders.settings(number, "[instances]\nmode = \"reuse\"\n"));
    let reused = load(&serve(&folders), &post);

    let mut raw = Raw::new(INSTANCES, true);
    (0..2).for_each(|_| raw.load(probe));
    let both = async || {
        for handler in 0..2 {
            assert_eq!(raw.call(handler, &body).await, None);
        }
    };
    let (calls, _) = turns(&one_thread(), both, async || {});
    for (measure, (cpu, mut latencies)) in [
        ("HTTP request with 2 handlers, CPU", fresh),
        ("the same, instances used again", reused),
    ] {
        row(measure, cpu, healthz + calls, "µs");
        latencies.sort_unstable();
        let at = |share: f64| {
            let at = (latencies.len() as f64 * share) as usize;
            latencies[at].as_secs_f64() * 1e3
        };
        println!(
            "  {CONNECTIONS} connections, client on the same cores: p50 {:.2} ms, p99 {:.2} ms",
            at(0.5),
            at(0.99)
        );
    }
    println!("  raw: /healthz on the same server {healthz:.2} + two fresh calls {calls:.2}");
}

/// CPU microseconds a request, at best, and the latencies of that window.
fn load(served: &Served, request: &str) -> (f64, Vec<Duration>) {
    let runtime = one_thread();
    let windows = (0..=WINDOWS).map(|_| {
        let before = cpu_seconds(served.child.id());
        let latencies = runtime.block_on(async {
            let until = Instant::now() + WINDOW;
            let clients = (0..CONNECTIONS).map(|_| client(&served.address, request, until));
            futures_util::future::join_all(clients).await.concat()
        });
        let cpu = cpu_seconds(served.child.id()) - before;
        (cpu * 1e6 / latencies.len() as f64, latencies)
    });
    // The first one warms up.
    windows
        .skip(1)
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .expect("some windows")
}

/// One connection that asks again as soon as it is answered.
async fn client(address: &str, request: &str, until: Instant) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let mut latencies = Vec::new();
    let mut answer = vec![0; 16 << 10];
    while Instant::now() < until {
        let start = Instant::now();
        stream.write_all(request.as_bytes()).await.expect("open");
        let mut filled = 0;
        while whole(&answer[..filled]).is_none_or(|whole| filled < whole) {
            let read = stream.read(&mut answer[filled..]).await.expect("open");
            assert!(read > 0, "the server closed the connection");
            filled += read;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "not answered");
        latencies.push(start.elapsed());
    }
    latencies
}

/// Bytes of the answer that begins here, once its head is there.
fn whole(answer: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(answer, b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..head]).expect("an HTTP head");
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .expect("a length");
    Some(head + 4 + length.parse::<usize>().expect("a number"))
}
