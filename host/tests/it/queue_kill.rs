//! The program killed with signal 9 while it takes and runs commands: what was
//! acknowledged is done in the end, and little is done twice.
//! `POINTSMAN_STRESS=1` kills it 200 times instead of 20.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::Client;
use serde_json::Value;

use crate::host::Folders;

/// Deliveries that run at once: no more can be in flight at a kill.
const CONCURRENCY: usize = 4;

struct Program {
    child: Child,
    url: String,
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Program {
    fn start(folders: &Folders) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .current_dir(folders.path())
            .args(["serve", "--listen", "127.0.0.1:0", "--color", "never"])
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let url = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it did not start");
            if let Some((_, url)) = line.split_once("listening on ") {
                break url.split_whitespace().next().unwrap().to_owned();
            }
        };
        // A full pipe would stop the program.
        std::thread::spawn(move || std::io::copy(&mut log.by_ref(), &mut std::io::sink()));
        Self { child, url }
    }

    /// SIGKILL: nothing is flushed, closed or given back.
    fn kill(&mut self) {
        // Fails only where it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends commands until the host is gone; answers the ids that it acknowledged.
async fn send(url: String) -> Vec<String> {
    let client = Client::new();
    let mut acknowledged = Vec::new();
    loop {
        let sent = client
            .post(format!("{url}/commands"))
            .header("Content-Type", "application/json")
            .body(r#"{"to":"probe","do":"echo"}"#)
            .send()
            .await;
        let Ok(response) = sent else {
            return acknowledged;
        };
        if response.status() == 202
            && let Some(place) = response.headers().get("location")
        {
            acknowledged.push(place.to_str().unwrap().to_owned());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_every_kill() {
    let stress = std::env::var_os("POINTSMAN_STRESS").is_some();
    let kills: usize = if stress { 200 } else { 20 };
    let folders = Folders::probes(&["probe"]);
    // The lease is short, so that what a kill interrupts is soon taken up again.
    let settings = format!(
        "[queue]\nconcurrency = {CONCURRENCY}\nlease_ms = 1000\npoll_ms = 100\n[reload]\npoll_ms = 60000\n"
    );
    std::fs::write(folders.path().join("pointsman.toml"), settings).unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..kills {
        let mut program = Program::start(&folders);
        let clients = (0..4).map(|_| tokio::spawn(send(program.url.clone())));
        let clients: Vec<_> = clients.collect();
        // Another point of the work each time: 3 to 60 ms after the start.
        tokio::time::sleep(Duration::from_millis(3 + (round as u64 * 17) % 58)).await;
        program.kill();
        for client in clients {
            acknowledged.extend(client.await.unwrap());
        }
    }
    assert!(acknowledged.len() >= kills, "nothing was acknowledged");

    let program = Program::start(&folders);
    let get = async |path: &str| {
        let response = reqwest::get(format!("{}{path}", program.url))
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{path} was acknowledged and lost");
        response.json::<Value>().await.unwrap()
    };
    let (mut reruns, mut quarantined) = (0, 0);
    for place in &acknowledged {
        let view = get(&format!("{place}?wait=60s")).await;
        let delivery = &view["deliveries"][0];
        reruns += delivery["attempt"].as_u64().unwrap() - 1;
        if view["state"] == "completed" {
            continue;
        }
        // Unlucky three times: the host must take it for the cause of its deaths.
        assert_eq!(view["state"], "discarded", "{view}");
        let id = delivery["deliveryId"].as_str().unwrap();
        let detail = get(&format!("/queue/deliveries/{id}")).await;
        let failures = detail["failures"].as_array().unwrap();
        let lost = failures.iter().all(|one| one["status"] == "host-lost");
        assert!(lost && failures.len() == 3, "{detail}");
        quarantined += 1;
    }
    println!(
        "{kills} kills: {} acknowledged, 0 lost, {reruns} run again, {quarantined} quarantined",
        acknowledged.len()
    );
    assert!(
        reruns <= (kills * CONCURRENCY) as u64,
        "{reruns} reruns: more than were in flight"
    );
}
