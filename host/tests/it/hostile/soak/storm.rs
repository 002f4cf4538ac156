//! Owns the attackers: each does one kind of harm, again and again, until the
//! storm is over, and expects of the host only that it answers or hangs up.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use reqwest::Client;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

use super::{Storm, probe};
use crate::{cli::check_files::fitting_as, host::replace, postgres_server::Server};

/// What every attacker has.
#[derive(Clone)]
struct Attacker {
    client: Client,
    url: String,
    folder: PathBuf,
    over: Arc<AtomicBool>,
    attacks: Arc<AtomicU64>,
}

pub(super) fn begin(url: &str, folder: &Path, server: Option<Arc<Server>>) -> Storm {
    let attacker = Attacker {
        client: Client::builder()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap(),
        url: url.to_owned(),
        folder: folder.into(),
        over: Arc::default(),
        attacks: Arc::default(),
    };
    let mut tasks = JoinSet::new();
    for way in 0..GUESTS.len() {
        tasks.spawn(attacker.clone().harms_by_guests(way));
    }
    tasks.spawn(attacker.clone().sends_what_is_large_deep_or_no_command());
    tasks.spawn(attacker.clone().fills_the_queue());
    tasks.spawn(attacker.clone().reads_what_is_kept());
    tasks.spawn(attacker.clone().drops_bombs());
    tasks.spawn(attacker.clone().changes_rules_and_plugins());
    tasks.spawn(attacker.clone().connects_and_says_little());
    if let Some(server) = server {
        tasks.spawn(attacker.clone().kills(server));
    }
    Storm {
        over: attacker.over,
        tasks,
        attacks: attacker.attacks,
    }
}

/// What the guests are told to do, all at once.
const GUESTS: [&str; 6] = [
    r#"{"to":"bad","do":"loop"}"#,
    r#"{"to":"bad","do":"memory"}"#,
    r#"{"to":"worse","do":"trap"}"#,
    r#"{"to":"worse","do":"log-flood","amount":100000}"#,
    r#"{"to":"worst","do":"recurse","amount":0}"#,
    r#"{"to":"worst","do":"output-flood","amount":5000000}"#,
];

impl Attacker {
    /// Whether to go on; counts what was done.
    async fn goes_on(&self, pause: Duration) -> bool {
        self.attacks.fetch_add(1, Relaxed);
        tokio::time::sleep(pause).await;
        !self.over.load(Relaxed)
    }

    /// Sends a body; an answer, or a connection that is closed, is all it asks for.
    async fn posts(&self, path: &str, body: impl Into<reqwest::Body>) {
        let post = self.client.post(format!("{}{path}", self.url));
        let post = post.header("content-type", "application/json").body(body);
        if let Ok(answer) = post.send().await {
            let status = answer.status();
            assert_ne!(status, 500, "{path}: {:?}", answer.text().await);
        }
    }

    async fn harms_by_guests(self, way: usize) {
        while self.goes_on(Duration::from_millis(20)).await {
            self.posts("/commands/execute", GUESTS[way]).await;
        }
    }

    async fn sends_what_is_large_deep_or_no_command(self) {
        let numbers = "1234567890,".repeat(90_000);
        let large = format!(r#"{{"to":"bad","do":"nothing","x":[{numbers}0]}}"#);
        let bodies = [
            large,
            format!("{{\"to\":{}1{}}}", "[".repeat(120), "]".repeat(120)),
            "[".repeat(500_000),
            format!("{{{}\"a\":1}}", "\"a\":1,".repeat(100_000)),
            "x".repeat(3 << 20),
            String::new(),
        ];
        for body in bodies.iter().cycle() {
            self.posts("/commands/execute", body.clone()).await;
            self.posts("/rules/explain", body.clone()).await;
            if !self.goes_on(Duration::from_millis(50)).await {
                return;
            }
        }
    }

    async fn fills_the_queue(self) {
        let padding = "x".repeat(50_000);
        while self.goes_on(Duration::from_millis(20)).await {
            for what in ["unavailable", "trap", "nothing"] {
                let body = format!(r#"{{"to":"bad","do":"{what}","x":"{padding}"}}"#);
                self.posts("/commands", body).await;
            }
        }
    }

    async fn reads_what_is_kept(self) {
        let paths = [
            "/commands?limit=500",
            "/queue/dead?limit=500",
            "/queue",
            "/metrics",
            "/plugins",
        ];
        for path in paths.iter().cycle() {
            let get = self.client.get(format!("{}{path}", self.url));
            if let Ok(answer) = get.send().await {
                // Some are read to the end, some are left.
                if self.attacks.load(Relaxed).is_multiple_of(2) {
                    let _ = answer.bytes().await;
                }
            }
            if !self.goes_on(Duration::from_millis(100)).await {
                return;
            }
        }
    }

    /// Components that take a compiler minutes and gigabytes, and files that are none.
    async fn drops_bombs(self) {
        let plugins = self.folder.join("plugins");
        let bombs = [bomb(), vec![0; 1 << 20], b"\0asm\x0d\0\x01\0".to_vec()];
        loop {
            for (at, bomb) in bombs.iter().enumerate() {
                replace(&plugins.join(format!("bomb-{at}.wasm")), bomb);
            }
            if !self.goes_on(Duration::from_secs(2)).await {
                break;
            }
            for at in 0..bombs.len() {
                std::fs::remove_file(plugins.join(format!("bomb-{at}.wasm"))).unwrap();
            }
            if !self.goes_on(Duration::from_secs(1)).await {
                return;
            }
        }
        for at in 0..bombs.len() {
            std::fs::remove_file(plugins.join(format!("bomb-{at}.wasm"))).unwrap();
        }
    }

    async fn changes_rules_and_plugins(self) {
        let (rules, plugins) = (self.folder.join("rules"), self.folder.join("plugins"));
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        let bad = r#"{"rules":[{"name":"x","match":"*","guard":"[1].all(","handlers":["bad"]}]}"#;
        let fine = r#"{"rules":[{"name":"x","match":{"to":["x"]},"handlers":["bad"]}]}"#;
        let probe = probe();
        for text in [&deep, bad, fine].into_iter().cycle() {
            replace(&rules.join("changing.json"), text);
            replace(&plugins.join("worse.wasm"), &probe);
            replace(&plugins.join("changing.toml"), text);
            if !self.goes_on(Duration::from_millis(300)).await {
                break;
            }
        }
        std::fs::remove_file(rules.join("changing.json")).unwrap();
        std::fs::remove_file(plugins.join("changing.toml")).unwrap();
    }

    /// Silent connections, and half a head or half a body on others.
    async fn connects_and_says_little(self) {
        let address = self.url.trim_start_matches("http://");
        let starts = [
            "",
            "POST /commands/execute HTTP/1.1\r\nHost: ",
            "POST /commands/execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{",
            "GET /commands HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "\0\u{1}garbage\r\n\r\n",
        ];
        let mut open = Vec::new();
        for start in starts.iter().cycle() {
            if let Ok(mut stream) = TcpStream::connect(address).await {
                // A host that closed it is right, too.
                let _ = stream.write_all(start.as_bytes()).await;
                open.push(stream);
            }
            if open.len() > 200 {
                open.drain(..100);
            }
            if !self.goes_on(Duration::from_millis(20)).await {
                return;
            }
        }
    }

    async fn kills(self, server: Arc<Server>) {
        while self.goes_on(Duration::from_secs(2)).await {
            let server = Arc::clone(&server);
            let restart = move || {
                server.stop();
                std::thread::sleep(Duration::from_secs(1));
                server.start();
            };
            tokio::task::spawn_blocking(restart).await.unwrap();
        }
    }
}

/// A handler of the contract with a function that takes a compiler minutes: many
/// locals that live through many nested loops.
fn bomb() -> Vec<u8> {
    fitting_as(&[], |module| {
        let locals = "i64 ".repeat(1_000);
        let mut body = String::new();
        for depth in 0..300 {
            let local = depth * 3 % 1_000;
            body += &format!(
                "loop local.get {} i64.const 1 i64.add local.set {} ",
                local + 4,
                (local + 7) % 1_000 + 4
            );
        }
        body += &"local.get 0 br_if 0 end ".repeat(300);
        module.replace(
            "(func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) unreachable)",
            &format!("(func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) (local {locals}) {body} unreachable)"),
        )
    })
}
