//! The program itself for the queue's tests, so that it can be killed and
//! stopped, with a history of what it did.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use reqwest::{Client, Response};
use serde_json::Value;

use crate::host::{Folders, without_settings};

/// Whether the tests are to run at full length.
pub(crate) fn stress() -> bool {
    std::env::var_os("POINTSMAN_STRESS").is_some()
}

/// A host in a process of its own.
pub(crate) struct Program {
    child: Child,
    pub(crate) url: String,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Program {
    /// Over these folders, with their `pointsman.toml`.
    pub(crate) fn start(folders: &Folders) -> Self {
        Self::start_with(folders, &[])
    }

    /// The same with these variables in its environment.
    pub(crate) fn start_with(folders: &Folders, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        let mut child = without_settings(&mut command)
            .current_dir(folders.path())
            .args(["serve", "--listen", "127.0.0.1:0", "--color", "never"])
            .env(
                "RUST_LOG",
                "info,pointsman::queue=debug,pointsman_queue=debug",
            )
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let url = loop {
            let Some(line) = lines.next() else {
                panic!("it did not start: {said:#?}");
            };
            said.push(line.unwrap());
            if let Some((_, url)) = said
                .last()
                .and_then(|line| line.split_once("listening on "))
            {
                break url.split_whitespace().next().unwrap().to_owned();
            }
        };
        let log = Arc::new(Mutex::new(said));
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Self {
            child,
            url,
            log,
            reader: Some(reader),
        }
    }

    /// SIGKILL: nothing is flushed, closed or given back. Its log is complete then.
    pub(crate) fn kill(&mut self) {
        // Fails only where it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            // It only panics where the test did, which then says so itself.
            let _ = reader.join();
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it wrote so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The port that it listens on.
    pub(crate) fn port(&self) -> u16 {
        let (_, port) = self.url.rsplit_once(':').expect("a port");
        port.parse().expect("a number")
    }

    /// Waits until it ended; whether it did within a minute.
    pub(crate) async fn ends(&mut self) -> bool {
        for _ in 0..6_000 {
            if self.child.try_wait().unwrap().is_some() {
                if let Some(reader) = self.reader.take() {
                    reader.join().unwrap();
                }
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// The lines that it wrote so far with all of `parts` in them.
    pub(crate) fn said(&self, parts: &[&str]) -> usize {
        let log = self.log.lock().unwrap();
        let with = |line: &&String| parts.iter().all(|part| line.contains(part));
        log.iter().filter(with).count()
    }

    /// Waits until it wrote `count` such lines; whether it did within a minute.
    pub(crate) async fn says(&self, count: usize, parts: &[&str]) -> bool {
        for _ in 0..60_000 {
            if self.said(parts) >= count {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        false
    }

    /// What it did to deliveries, in order.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.log
            .lock()
            .unwrap()
            .iter()
            .filter_map(|line| Step::read(line))
            .collect()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let response = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    /// Has it keep a command; answers its path.
    pub(crate) async fn accepts(&self, command: &str) -> String {
        let response = post(&Client::new(), &self.url, command).await.unwrap();
        accepted(&response).unwrap_or_else(|| panic!("refused: {response:?}"))
    }

    /// Waits until nothing is left to do. Fails where nothing moves for as long
    /// as a lease and ten seconds more.
    pub(crate) async fn finishes(&self, lease: Duration) {
        let (mut open, mut moved) = (None, std::time::Instant::now());
        loop {
            let depth = self.get("/queue").await;
            let states = depth["depth"].as_array().unwrap().iter();
            let now: Vec<_> = states
                .filter(|one| one["state"] != "discarded")
                .cloned()
                .collect();
            if now.is_empty() {
                return;
            }
            if open.as_ref() != Some(&now) {
                moved = std::time::Instant::now();
            }
            assert!(
                moved.elapsed() < lease + Duration::from_secs(10),
                "stuck: {now:?}"
            );
            open = Some(now);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Sends a command to be kept.
pub(crate) async fn post(client: &Client, url: &str, command: &str) -> reqwest::Result<Response> {
    client
        .post(format!("{url}/commands"))
        .header("Content-Type", "application/json")
        .body(command.to_owned())
        .send()
        .await
}

/// The path of the command, where the answer says that it is kept.
pub(crate) fn accepted(response: &Response) -> Option<String> {
    let place = response.headers().get("location");
    let place = place.filter(|_| response.status() == 202)?;
    Some(place.to_str().unwrap().to_owned())
}

/// One entry of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A run of this delivery began.
    Started(String),
    /// What came of it is stored.
    Settled(String),
    /// The host that did the steps before was killed.
    Killed,
}

impl Step {
    fn read(line: &str) -> Option<Self> {
        let delivery = |rest: &str| rest.split_whitespace().next().map(str::to_owned);
        if let Some((_, rest)) = line.split_once(" started delivery=") {
            return delivery(rest).map(Self::Started);
        }
        let (_, rest) = line.split_once(" settled delivery=")?;
        delivery(rest).map(Self::Settled)
    }
}
