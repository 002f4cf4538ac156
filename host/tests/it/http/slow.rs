//! Many clients that are slow, beside one that is not. `POINTSMAN_STRESS=1` has ten thousand
//! of them and holds the good client's times against those that it had alone.

use std::{
    io::{Read, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::bounds::NOTHING;
use crate::{
    certificates::{Tls, client, connect, install},
    host::Folders,
    queue::program::{Program, stress},
};

/// What it may take to hold ten thousand connections, in KiB: 20 of each.
const MEMORY_MAX_KIB: u64 = 200 << 10;

/// The ways of being slow, in turn.
#[derive(Clone, Copy)]
enum Slow {
    /// It connects and says nothing.
    Silent,
    /// It begins a handshake.
    HalfHandshake,
    /// It is done with the handshake, and asks for nothing.
    Idle,
    /// It sends a head, byte by byte.
    Head,
    /// It is answered, and stays.
    Kept,
    /// It speaks HTTP/2, and asks for nothing.
    Idle2,
}

const WAYS: [Slow; 6] = [
    Slow::Silent,
    Slow::HalfHandshake,
    Slow::Idle,
    Slow::Head,
    Slow::Kept,
    Slow::Idle2,
];

/// Is slow until the host closes the connection.
async fn be_slow(way: Slow, address: String, configs: Arc<[Arc<ClientConfig>; 2]>) {
    let mut tcp = TcpStream::connect(&address).await.unwrap();
    let config = match way {
        Slow::Silent => return ended(tcp).await,
        Slow::HalfHandshake => {
            tcp.write_all(&[0x16, 3, 1, 1, 0, 1]).await.unwrap();
            return ended(tcp).await;
        }
        Slow::Idle2 => &configs[1],
        Slow::Idle | Slow::Head | Slow::Kept => &configs[0],
    };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let tls = TlsConnector::from(Arc::clone(config));
    let Ok(mut stream) = tls.connect(name, tcp).await else {
        // The host is slow as well, and has closed it.
        return;
    };
    let asked = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    match way {
        Slow::Head => {
            for byte in asked.iter().cycle() {
                if *byte != b'\n' && stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                let mut some = [0; 64];
                let read = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut some));
                if matches!(read.await, Ok(Ok(0) | Err(_))) {
                    return;
                }
            }
        }
        Slow::Kept => {
            let _ = stream.write_all(asked).await;
            ended(stream).await;
        }
        Slow::Idle2 => {
            let _ = stream
                .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
                .await;
            ended(stream).await;
        }
        _ => ended(stream).await,
    }
}

async fn ended(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let mut some = [0; 256];
    while !matches!(stream.read(&mut some).await, Ok(0) | Err(_)) {}
}

/// How long each of so many commands takes on one connection, from the shortest on.
fn times(stream: &mut Tls, count: usize) -> Vec<Duration> {
    let length = NOTHING.len();
    let asked = format!(
        "POST /commands/execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{NOTHING}"
    );
    let mut times: Vec<_> = (0..count)
        .map(|_| {
            let began = Instant::now();
            stream.write_all(asked.as_bytes()).unwrap();
            answered(stream);
            began.elapsed()
        })
        .collect();
    times.sort();
    times
}

/// Reads one answer, which must be a good one.
fn answered(stream: &mut Tls) {
    let mut bytes = Vec::new();
    let mut some = [0; 4096];
    loop {
        let count = stream.read(&mut some).unwrap();
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&bytes));
        bytes.extend(&some[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head.split_once("content-length: ").unwrap().1;
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        if body.len() == length {
            return;
        }
    }
}

/// What is left of the host's connections, and its memory in KiB.
fn seen(url: &str, pid: u32) -> (u64, u64) {
    let mut stream = connect(url, &client(&[], None));
    let asked = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(asked.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let name = "pointsman_budget_used{setting=\"http.connections_max\"} ";
    let used = text.split_once(name).unwrap().1;
    let used = used.lines().next().unwrap().parse().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.unwrap().trim().trim_end_matches(" kB");
    (used, resident.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_slow_clients_are_closed_and_harm_no_good_one() {
    let (slow, commands, patience) = match stress() {
        // Longer than it takes to open them.
        true => (10_000, 3_000, "5m"),
        false => (120, 100, "2s"),
    };
    let folders = Folders::probes(&["probe"]);
    install("a", folders.path());
    let most = (slow + 1_000).to_string();
    let host = Program::start_with(
        &folders,
        &[
            ("POINTSMAN_HTTP_TLS_CERTIFICATE", "cert"),
            ("POINTSMAN_HTTP_TLS_KEY", "key"),
            ("POINTSMAN_HTTP_CONNECTIONS_MAX", &most),
            ("POINTSMAN_HTTP_CONNECTIONS_PER_ADDRESS_MAX", &most),
            ("POINTSMAN_HTTP_HEADER_TIMEOUT", patience),
            ("POINTSMAN_HTTP_IDLE_TIMEOUT", patience),
        ],
    );
    let (url, pid) = (host.url.clone(), host.id());
    let measured = {
        let url = url.clone();
        move || {
            let mut stream = connect(&url, &client(&[], None));
            let times = times(&mut stream, commands);
            (times[times.len() * 99 / 100], seen(&url, pid))
        }
    };
    let (alone, (_, before)) = tokio::task::spawn_blocking(measured.clone()).await.unwrap();
    let configs = Arc::new([client(&[], None), client(&["h2"], None)]);
    let address = url.trim_start_matches("https://").to_owned();
    let all = (0..slow).map(|number| {
        let way = WAYS[number % WAYS.len()];
        tokio::spawn(be_slow(way, address.clone(), Arc::clone(&configs)))
    });
    let all: Vec<_> = all.collect();
    let most_of_them = slow as u64 * 9 / 10;
    while stress() && tokio::task::block_in_place(|| seen(&url, pid)).0 <= most_of_them {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (beside, (open, during)) = tokio::task::spawn_blocking(measured).await.unwrap();
    println!(
        "{open} connections: p99 {beside:?} beside, {alone:?} alone; {} KiB more memory",
        during.saturating_sub(before)
    );
    let grown = during.saturating_sub(before);
    assert!(grown < MEMORY_MAX_KIB, "{grown} KiB");
    if stress() {
        assert!(open > most_of_them, "{open} are open");
        // Under the grain of the scheduler a factor says nothing.
        let most = (alone * 2).max(Duration::from_millis(5));
        assert!(beside <= most, "{beside:?} beside them, {alone:?} alone");
    }
    for ended in join_all(all).await {
        ended.unwrap();
    }
    // That of whoever looks is there.
    while tokio::task::block_in_place(|| seen(&url, pid)).0 > 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
