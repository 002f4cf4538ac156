//! A browser without a window, led through chromedriver by plain requests.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::{Client, Method};
use serde_json::{Value, json};

pub(super) const ENTER: char = '\u{e007}';
pub(super) const TAB: char = '\u{e004}';
const CONTROL: char = '\u{e009}';

pub(super) struct Browser {
    driver: Child,
    session: String,
    client: Client,
    // Gone with the browser.
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Both fail only where it has ended.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    pub(super) async fn start() -> Self {
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut driver = driver.unwrap_or_else(|error| {
            panic!("chromedriver: {error}: apt-get install chromium chromium-driver")
        });
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let mut ports = lines.map_while(Result::ok).filter_map(|line| {
            let port = line
                .split_once("started successfully on port ")?
                .1
                .to_owned();
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let port = ports.next().expect("chromedriver says its port");
        let mut browser = Self {
            driver,
            session: format!("http://127.0.0.1:{port}/session"),
            client: Client::new(),
            _profile: tempfile::tempdir().unwrap(),
        };
        let profile = format!("--user-data-dir={}", browser._profile.path().display());
        let arguments = json!([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1280,900",
            profile,
        ]);
        let options = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = browser.ask(Method::POST, "", options).await;
        browser.session += &format!("/{}", session["sessionId"].as_str().unwrap());
        browser
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let mut request = self
            .client
            .request(method.clone(), format!("{}{path}", self.session));
        if method == Method::POST {
            request = request.json(&body);
        }
        let mut answer: Value = request.send().await.unwrap().json().await.unwrap();
        let value = answer["value"].take();
        assert!(value["error"].is_null(), "{path}: {value}");
        value
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.ask(Method::POST, path, body).await
    }

    pub(super) async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// What a script says of the page.
    pub(super) async fn says(&self, script: &str) -> Value {
        let script = format!("return {script}");
        self.post("/execute/sync", json!({ "script": script, "args": [] }))
            .await
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub(super) async fn press(&self, keys: &str) {
        self.keys(
            keys.chars()
                .flat_map(|key| [("keyDown", key), ("keyUp", key)]),
        )
        .await;
    }

    /// Chooses all of the text in the field that has the focus.
    pub(super) async fn choose_all(&self) {
        self.keys([
            ("keyDown", CONTROL),
            ("keyDown", 'a'),
            ("keyUp", 'a'),
            ("keyUp", CONTROL),
        ])
        .await;
    }

    async fn keys(&self, keys: impl IntoIterator<Item = (&str, char)>) {
        let keys = keys
            .into_iter()
            .map(|(does, key)| json!({ "type": does, "value": key.to_string() }));
        let keys: Vec<_> = keys.collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": keys }] });
        self.post("/actions", actions).await;
    }

    /// Goes on by the tab key until the focus is on an element of which this holds.
    pub(super) async fn tab_to(&self, holds: &str) {
        for _ in 0..80 {
            self.press(&TAB.to_string()).await;
            let script = format!("(it => {{ return !!({holds}) }})(document.activeElement)");
            if self.says(&script).await == true {
                return;
            }
        }
        panic!("the tab key does not lead to {holds}");
    }

    /// Waits until this holds of the page, for half a minute.
    pub(super) async fn until(&self, holds: &str) {
        for _ in 0..600 {
            if self.says(&format!("!!({holds})")).await == true {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let text = self
            .says("document.location.href + '\\n' + document.body.innerText")
            .await;
        panic!("never: {holds}: {}", text.as_str().unwrap_or_default());
    }

    /// What the browser complained of.
    pub(super) async fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", json!({ "type": "browser" })).await;
        let lines = log.as_array().unwrap().iter();
        lines
            .map(|line| line["message"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(super) async fn close(self) {
        self.ask(Method::DELETE, "", Value::Null).await;
    }
}
