//! The command line beside a host that serves, each in a process of its own:
//! with `--url` it shows what it shows without.

use std::time::Duration;

use serde_json::Value;

use crate::{cli, host::Folders, queue::program::Program};

/// The first word: the id of what was stored.
fn id(shown: &str) -> &str {
    shown.split_whitespace().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::too_many_lines,
    reason = "one story, told from its start to its end"
)]
async fn with_url_the_command_line_shows_what_it_shows_without() {
    let folders = Folders::probes(&["probe"]);
    let mut host = Program::start(&folders);
    let url = host.url.clone();
    let asks = |args: &[&str]| cli::said(&folders, &[args, &["--url", &url]].concat());

    // What fails has a log and an error; `null` and odd numbers stay as they are.
    let dead = r#"{"to":"probe","do":"reject","amount":1e3,"with":"é"}"#;
    let enqueue = [
        "enqueue",
        dead,
        "--idempotency-key",
        "order 17",
        "--ordering-key",
        "ä&b=c d+e%",
        "--priority",
        "-3",
    ];
    let (code, shown, said) = asks(&enqueue);
    assert_eq!(code, Some(0), "{said}");
    let failed = id(&shown).to_owned();
    assert_eq!(shown, format!("{failed}  stored\n  probe\n"));
    let (_, shown, _) = asks(&enqueue);
    assert_eq!(shown, format!("{failed}  stored before\n  probe\n"));
    let (_, stored, _) = asks(&["enqueue", r#"{"to":"probe","do":"nothing"}"#, "--json"]);
    let stored: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(stored["repeated"], false);
    asks(&["enqueue", r#"{"to":"probe","do":"echo","with":"1"}"#]);
    host.finishes(Duration::from_secs(30)).await;
    let other = r#"{"to":"probe","do":"nothing"}"#;
    let (_, shown, _) = asks(&["enqueue", other, "--run-at", "2090-01-01T00:00:00.5Z"]);
    let later = id(&shown).to_owned();
    let (_, shown, _) = asks(&["queue", "inspect", &later]);
    assert!(shown.contains("  scheduled\n"), "{shown}");
    let (_, shown, _) = asks(&["queue", "cancel", &later]);
    assert_eq!(shown, "1 cancelled, 0 being interrupted\n");
    let (_, shown, _) = asks(&["queue", "cancel", &later]);
    assert_eq!(shown, "nothing to cancel: the command has ended\n");
    let (_, shown, _) = asks(&["queue", "list", "--state", "retryable"]);
    assert_eq!(shown, "no commands match\n");

    // Everything that reads, over HTTP, and once more when the host is gone.
    let delivery = format!("{failed}.probe");
    let reads: &[&[&str]] = &[
        &["queue", "list"],
        &["queue", "list", "--json"],
        &["queue", "list", "--limit", "2"],
        &[
            "queue",
            "list",
            "--state",
            "discarded",
            "--handler",
            "probe",
        ],
        &["queue", "inspect", &failed],
        &["queue", "inspect", &failed, "--json"],
        &["queue", "inspect", &delivery],
        &["queue", "inspect", &delivery, "--json"],
        &["queue", "inspect", "01980a5c-7d3e-7f40-8000-0123456789ab"],
        &[
            "queue",
            "inspect",
            "01980a5c-7d3e-7f40-8000-0123456789ab.probe",
        ],
        &["queue", "retry", &format!("{later}.probe")],
        &["queue", "cancel", "01980a5c-7d3e-7f40-8000-0123456789ab"],
        &["enqueue", r#"{"to":"prob"}"#],
        &["enqueue", r#"{"to":"probe","to":"probe"}"#],
        &["enqueue", dead, "--ordering-key", ""],
        &["enqueue", other, "--idempotency-key", "order 17"],
    ];
    let over_http: Vec<_> = reads.iter().map(|args| asks(args)).collect();
    host.kill();
    for (args, over_http) in reads.iter().zip(&over_http) {
        assert_eq!(&cli::said(&folders, args), over_http, "{args:?}");
    }
    let codes: Vec<_> = over_http.iter().map(|(code, ..)| code.unwrap()).collect();
    assert_eq!(codes, [0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 3, 2, 2, 2]);
    let (_, list, _) = &over_http[0];
    assert_eq!(list.matches("  attempt ").count(), 4, "{list}");
    assert!(over_http[6].1.contains("rejected: not today"));
    assert!(over_http[6].1.contains(dead), "{}", over_http[6].1);
    assert!(over_http[12].2.contains("hint: "), "{}", over_http[12].2);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_retried_and_given_up_at_a_host_that_serves() {
    let folders = Folders::probes(&["probe"]);
    let host = Program::start(&folders);
    let asks = |args: &[&str]| cli::said(&folders, &[args, &["--url", &host.url]].concat());
    for _ in 0..2 {
        asks(&["enqueue", r#"{"to":"probe","do":"reject"}"#]);
    }
    host.finishes(Duration::from_secs(30)).await;
    let dead = |count: usize, filter: &[&str]| {
        let (code, shown, said) = asks(&[&["queue", "discard"], filter].concat());
        assert_eq!(
            (code, shown),
            (Some(0), format!("{count} discarded\n")),
            "{said}"
        );
    };
    dead(0, &["--status", "timed-out"]);
    dead(0, &["--handler", "other"]);
    let (_, shown, _) = asks(&["queue", "retry", "--all"]);
    assert_eq!(shown, "2 requeued\n");
    host.finishes(Duration::from_secs(30)).await;
    dead(2, &["--status", "rejected"]);
    let (code, ..) = asks(&["queue", "discard"]);
    assert_eq!(code, Some(2), "a filter has to be named");

    let key = ["enqueue", "{}", "--idempotency-key", "schlüssel"];
    let (code, _, said) = asks(&key);
    assert_eq!(code, Some(2));
    assert!(said.contains("use visible ASCII characters"), "{said}");
    let (code, _, said) = cli::said(&folders, &["queue", "list"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("`--url http://127.0.0.1:3000`"), "{said}");
    let nobody = ["queue", "list", "--url", "http://127.0.0.1:1"];
    let (code, _, said) = cli::said(&folders, &nobody);
    assert_eq!(code, Some(2));
    assert!(said.contains("http://127.0.0.1:1/commands"), "{said}");
}
