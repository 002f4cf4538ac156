//! The example of `host/examples/policy-service`, from its sources to the last command.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{asked_for, pointsman};
use crate::{
    host::{Folders, root},
    queue::host::{config, serve},
};

/// Each handler, its language, and where its code goes in a new folder.
const HANDLERS: [(&str, &str, &str, &str); 3] = [
    ("create-policy", "ts", "create-policy.ts", "src/handler.ts"),
    (
        "notify-underwriter",
        "rust",
        "notify-underwriter.rs",
        "src/lib.rs",
    ),
    (
        "default-create-policy",
        "python",
        "default-create-policy.py",
        "handler.py",
    ),
];
const TOKEN: &str = "a-token-for-this-test";

/// A webhook that takes what has the token; its port.
async fn webhook() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 16 << 10];
            let read = stream.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..read]).to_lowercase();
            let known = head.contains(&format!("authorization: bearer {TOKEN}"));
            let status = if known { "200 OK" } else { "401 Unauthorized" };
            let body = r#"{"case": 4711}"#;
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            // The handler may be gone.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

/// Copies the files of the example that a host reads, with the webhook at this port.
fn settings(example: &Path, folders: &Folders, port: u16) {
    for (name, ..) in HANDLERS {
        let file = format!("plugins/{name}.toml");
        let text = fs::read_to_string(example.join(&file)).unwrap();
        let token = format!("{{ file = {:?}", folders.path().join("token"));
        let text = text
            .replace(":8081", &format!(":{port}"))
            .replace("{ env = \"WEBHOOK_TOKEN\"", &token);
        fs::write(folders.path().join(file), text).unwrap();
    }
    fs::write(folders.path().join("token"), TOKEN).unwrap();
    fs::create_dir_all(folders.path().join("data")).unwrap();
    let rules = fs::read_to_string(example.join("rules/policies.json")).unwrap();
    folders.rules("policies.json", &rules);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_service_inserts_notifies_and_emits() {
    if asked_for(&["rust", "ts", "python"]).len() < 3 {
        return;
    }
    let folders = Folders::new();
    let example = root().join("host/examples/policy-service");
    for (name, language, from, to) in HANDLERS {
        pointsman(&folders, &["new", name, "--lang", language]);
        let code = example.join("handlers").join(from);
        fs::copy(code, folders.path().join(name).join(to)).unwrap();
        pointsman(&folders, &["build", name]);
    }
    settings(&example, &folders, webhook().await);
    let serving = serve(config(&folders), true).await;

    let high = json!({"requestType": "CreatePolicy", "productType": "HighRisk", "customer": "Ada"});
    let view = serving.finished(&serving.accepted(high).await).await;
    assert_eq!(view["state"], "completed", "{view}");
    let [created, notified] = [&view["deliveries"][0], &view["deliveries"][1]];
    assert_eq!(
        created["output"],
        json!({"policy": created["deliveryId"], "created": 1})
    );
    assert_eq!(notified["output"], json!({"case": 4711}));

    let all = serving.get("/commands").await;
    let commands = all["commands"].as_array().unwrap();
    let emitted = |one: &&Value| one["causationId"] == notified["deliveryId"];
    let emitted = commands.iter().find(emitted).expect("a follow-up command");
    let place = format!("/commands/{}", emitted["commandId"].as_str().unwrap());
    let view = serving.finished(&place).await;
    assert_eq!(
        view["deliveries"][0]["output"],
        json!({"case": 4711}),
        "{view}"
    );

    let other = json!({"requestType": "CreatePolicy", "productType": "Standard", "customer": "Bo"});
    let view = serving.finished(&serving.accepted(other).await).await;
    assert_eq!(view["state"], "completed", "{view}");
    assert_eq!(view["deliveries"][0]["handler"], "default-create-policy");
    serving.stop().await;
}
