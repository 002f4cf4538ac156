//! What a client may not do with its connections: keep the host waiting, take
//! the room of others.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use super::bounds::{NOTHING, blocking, head, probed};
use crate::{
    host::until,
    raw::{address, answer, connect, get, post, request},
};

/// Whether the host closed the connection without a word.
fn is_closed(mut stream: TcpStream) -> bool {
    let mut bytes = [0; 64];
    match stream.read(&mut bytes) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Whether the host closes the connection without another answer.
fn ends_unanswered(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    let ended = match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    ended && !String::from_utf8_lossy(&rest).contains("HTTP/1.1")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_keeps_the_host_waiting_loses_its_connection() {
    let host = probed(|config| {
        config.http.header_timeout = std::time::Duration::from_millis(300);
        config.http.body_timeout = std::time::Duration::from_millis(300);
        config.http.idle_timeout = std::time::Duration::from_millis(300);
    })
    .await;
    let (app, url) = (Arc::clone(&host.app), host.url.clone());
    blocking(move || {
        let silent = connect(&url);
        let mut half_head = connect(&url);
        half_head
            .write_all(b"GET /healthz HTTP/1.1\r\nX-A: ")
            .unwrap();
        let mut half_body = connect(&url);
        let body = head(&url, 100, "") + "{";
        half_body.write_all(body.as_bytes()).unwrap();
        let mut idle = connect(&url);
        let host = address(&url);
        write!(idle, "GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        // A handler may take longer than all of it.
        let sleep = r#"{"to":"probe","do":"sleep","amount":2000}"#;
        let patient = post(&url, "/commands/execute", sleep);
        assert_eq!(patient.status, 200, "{patient:?}");

        let late = answer(&mut half_body);
        assert_eq!(
            (late.status, late.code().as_str()),
            (408, "request-timeout")
        );
        assert!(is_closed(silent));
        assert!(is_closed(half_head));
        assert_eq!(answer(&mut idle).status, 200);
    })
    .await;
    until("all are closed", || app.budgets().connections.used() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_has_the_same_limits_after_its_first_answer() {
    let host = probed(|config| {
        config.http.header_timeout = std::time::Duration::from_millis(300);
        config.http.idle_timeout = std::time::Duration::from_millis(300);
    })
    .await;
    let (app, url) = (Arc::clone(&host.app), host.url.clone());
    blocking(move || {
        let asked = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", address(&url));
        let kept = || {
            let mut stream = connect(&url);
            stream.write_all(asked.as_bytes()).unwrap();
            let mut said = [0; 12];
            stream.read_exact(&mut said).unwrap();
            assert_eq!(&said, b"HTTP/1.1 200");
            stream
        };
        // Each byte comes well within any limit, and the head would be whole after a second.
        let mut trickling = kept();
        for byte in asked.bytes() {
            if trickling.write_all(&[byte]).is_err() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(ends_unanswered(trickling), "it trickled");
        assert!(ends_unanswered(kept()), "it was idle");
    })
    .await;
    until("all are closed", || app.budgets().connections.used() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_answer_loses_its_connection() {
    let host = probed(|config| {
        config.http.write_timeout = std::time::Duration::from_millis(300);
        config.limits.output_max_bytes = 64 << 20;
        config.limits.memory_max_bytes = 512 << 20;
    })
    .await;
    let (app, url) = (Arc::clone(&host.app), host.url.clone());
    let mut stream = blocking({
        let url = url.clone();
        move || connect(&url)
    })
    .await;
    // More than the buffers of the kernel take.
    let body = r#"{"to":"probe","do":"output-flood","amount":30000000}"#;
    let command = head(&url, body.len(), "") + body;
    stream.write_all(command.as_bytes()).unwrap();
    let connections = Arc::clone(&app.budgets().connections);
    until("it is there", || connections.used() == 1).await;
    until("it is closed", || connections.used() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_a_limit() {
    let host = probed(|config| config.http.header_max_bytes = 16 << 10).await;
    let url = host.url.clone();
    blocking(move || {
        let padded = |length: usize| {
            let line = format!("X-A: {}\r\n", "a".repeat(length));
            request(&url, "GET /healthz", &line, "").status
        };
        assert_eq!(padded(10 << 10), 200);
        // Whole in one write: more than the limit may be read at once.
        for over in [16 << 10, 18 << 10, 24 << 10] {
            let line = format!("X-A: {}", "a".repeat(over));
            let head = format!(
                "GET /healthz HTTP/1.1\r\nHost: {}\r\n{line}\r\n\r\n",
                address(&url)
            );
            let mut stream = connect(&url);
            stream.write_all(head.as_bytes()).unwrap();
            let mut said = [0; 12];
            stream.read_exact(&mut said).unwrap();
            assert_eq!(&said, b"HTTP/1.1 431", "{over}");
        }
        let mut stream = connect(&url);
        let long = format!("GET /healthz HTTP/1.1\r\nX-A: {}", "a".repeat(16 << 10));
        stream.write_all(long.as_bytes()).unwrap();
        let mut said = [0; 12];
        stream.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"HTTP/1.1 431");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_make_room_and_busy_ones_leave_room_for_the_probes() {
    let host = probed(|config| {
        config.http.connections_max = Some(4);
        config.http.connections_per_address_max = Some(100);
    })
    .await;
    let (app, url) = (Arc::clone(&host.app), host.url.clone());
    let connections = Arc::clone(&app.budgets().connections);
    let tasks = app.shutdown().tasks.clone();
    let before = tasks.len();
    blocking(move || {
        let idle: Vec<_> = (0..20).map(|_| connect(&url)).collect();
        assert_eq!(post(&url, "/commands/execute", NOTHING).status, 200);
        drop(idle);

        let sleep = r#"{"to":"probe","do":"sleep","amount":20000}"#;
        let mut busy: Vec<_> = (0..4).map(|_| connect(&url)).collect();
        for stream in &mut busy {
            let command = head(&url, sleep.len(), "") + sleep;
            stream.write_all(command.as_bytes()).unwrap();
        }
        while tasks.len() < before + 4 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let refused = post(&url, "/commands/execute", NOTHING);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (503, "too-many-connections")
        );
        assert!(refused.head.contains("retry-after: 1"), "{refused:?}");
        assert_eq!(get(&url, "/readyz").status, 200);
        let metrics = get(&url, "/metrics").body;
        let used = r#"pointsman_budget_used{setting="http.connections_max"} 4"#;
        assert!(metrics.contains(used), "{metrics}");
        assert!(connections.refused() > 0);
        drop(busy);
        while post(&url, "/commands/execute", NOTHING).status != 200 {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_in_flight_have_a_limit_together() {
    let host = probed(|config| config.http.bodies_max_bytes = Some(1_000)).await;
    let (app, url) = (Arc::clone(&host.app), host.url.clone());
    blocking(move || {
        let padded = format!(
            r#"{{"to":"probe","do":"nothing","x":"{}"}}"#,
            "x".repeat(1_000)
        );
        let refused = post(&url, "/commands/execute", &padded);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (503, "bodies-full")
        );
        for _ in 0..50 {
            assert_eq!(post(&url, "/commands/execute", NOTHING).status, 200);
        }
    })
    .await;
    until("all is given back", || app.budgets().bodies.used() == 0).await;
}
