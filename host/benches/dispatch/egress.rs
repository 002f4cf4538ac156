//! Outgoing HTTP: a request of a guest beside the same one of `reqwest` in the
//! host, in CPU time of the thread that makes it. The server has a thread of its own.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use pointsman::host::Host;
use rustix::time::{ClockId, clock_gettime};

use super::{WINDOWS, answer, guests, guests::Folders, one_thread, row};

/// As many as one call sends one after the other.
const REQUESTS: u32 = 50;
const HEAD_END: &[u8] = b"\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"name\":\"Ada\"}";

pub(crate) fn measure() {
    let url = server();
    let folders = Folders::new(&guests::example("asks"), 1);
    folders.settings(0, &format!("[http]\nallow = ['GET {url}']"));
    let runtime = one_thread();
    let app = runtime.block_on(async {
        Host::load(folders.config())
            .await
            .expect("a machine that runs wasm")
    });
    let command =
        |times: u32| format!(r#"{{"to":"one","way":"one-by-one","url":"{url}","times":{times}}}"#);
    let (without, one, many) = (command(0), command(1), command(REQUESTS));
    let client = reqwest::Client::new();
    let raw = async || {
        for _ in 0..REQUESTS {
            let response = client.get(&url).send().await.expect("a response");
            let body: serde_json::Value = response.json().await.expect("JSON");
            assert_eq!(body["name"], "Ada");
        }
    };
    let mut best = [f64::INFINITY; 4];
    for _ in 0..WINDOWS {
        runtime.block_on(async {
            best[0] = best[0].min(cpu_us(async || answer(&app, &without).await).await);
            best[1] = best[1].min(cpu_us(async || answer(&app, &one).await).await);
            best[2] = best[2].min(cpu_us(async || answer(&app, &many).await).await);
            best[3] = best[3].min(cpu_us(&raw).await);
        });
    }
    let [without, one, many, raw] = best;
    let requests = f64::from(REQUESTS);
    row(
        "request of a guest, without its call",
        (many - without) / requests,
        raw / requests,
        "µs",
    );
    row("call that sends one request", one, raw / requests, "µs");
}

/// Microseconds of CPU time of this thread.
pub(crate) async fn cpu_us(mut once: impl AsyncFnMut()) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
    };
    let began = now();
    once().await;
    now() - began
}

/// Answers every request on every connection the same.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            thread::spawn(move || serve(stream));
        }
    });
    format!("http://{address}/")
}

fn serve(mut stream: TcpStream) {
    let (mut head, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut part) {
        head.extend_from_slice(&part[..count]);
        if head.ends_with(HEAD_END) {
            head.clear();
            if stream.write_all(RESPONSE).is_err() {
                return;
            }
        }
    }
}
