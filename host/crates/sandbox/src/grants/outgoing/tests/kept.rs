//! Connections that are kept between requests, and who gets them.

use super::*;

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection_over_calls() {
    let server = Server::ok().await;
    let mut handler = handler(&format!("allow = ['* {}']", server.url()), to_loopback());
    for _ in 0..3 {
        assert_eq!(handler.get(&server.url()).await.unwrap(), 200);
        handler.outgoing.begin(handler.call.clone());
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn no_handler_gets_the_connection_of_another() {
    let server = Server::ok().await;
    for expected in 1..3 {
        let mut handler = handler(&format!("allow = ['* {}']", server.url()), to_loopback());
        assert_eq!(handler.get(&server.url()).await.unwrap(), 200);
        assert_eq!(server.connections(), expected);
    }
}

#[tokio::test]
async fn a_connection_serves_only_requests_that_could_have_opened_it() {
    let server = Server::ok().await;
    let url = format!("http://a.example:{}/", server.port());
    let grants = format!("allow = ['GET {url}']\nallow_private = ['POST {url}']");
    let mut handler = handler(&grants, to_loopback());
    let post = http::Request::post(&url).body(empty()).unwrap();
    let posted = handler.send(post, Duration::from_secs(30)).await;
    assert_eq!(posted.unwrap().0, 200);
    let answer = handler.get(&url).await;
    assert!(
        matches!(answer, Err(Error::DestinationIpProhibited)),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_not_used_again() {
    let server = Server::new(Reply::Close(OK.into())).await;
    let mut handler = handler(&format!("allow = ['* {}']", server.url()), to_loopback());
    for _ in 0..20 {
        assert_eq!(handler.get(&server.url()).await.unwrap(), 200);
    }
    assert_eq!(server.connections(), 20);
}

#[tokio::test]
async fn connections_end_with_their_handler() {
    let server = Server::ok().await;
    let mut handler = handler(&format!("allow = ['* {}']", server.url()), to_loopback());
    handler.get(&server.url()).await.unwrap();
    assert_eq!(handler.budgets.descriptors.used(), 1);
    let Handler {
        outgoing, budgets, ..
    } = handler;
    drop(outgoing);
    while budgets.descriptors.used() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn idle_connections_make_room_where_there_are_no_descriptors() {
    let servers = [Server::ok().await, Server::ok().await, Server::ok().await];
    let budgets = Budgets::here(&BudgetSettings {
        // One of them is the handler's.
        descriptors_max: Some(4),
        ..BudgetSettings::default()
    });
    let urls: Vec<_> = servers
        .iter()
        .map(|it| format!("'* {}'", it.url()))
        .collect();
    let grants = format!("allow = [{}]", urls.join(", "));
    let mut handler = handler_within(budgets, &grants, to_loopback());
    for server in &servers {
        assert_eq!(handler.get(&server.url()).await.unwrap(), 200);
    }
}

#[tokio::test]
async fn the_trace_context_of_the_command_goes_along_unless_the_guest_sends_its_own() {
    let server = Server::ok().await;
    let url = server.url();
    let mut handler = handler(&format!("allow = ['* {url}']"), to_loopback());
    handler.get(&url).await.unwrap();
    let own = http::Request::get(&url).header("traceparent", "own");
    let own = own.body(empty()).unwrap();
    handler.send(own, Duration::from_secs(30)).await.unwrap();
    let heads = server.heads.lock().unwrap();
    let given = format!("traceparent: {}\r\n", handler.call.traceparent().unwrap());
    assert!(heads[0].contains(&given), "{}", heads[0]);
    assert!(heads[1].contains("traceparent: own\r\n") && !heads[1].contains(&given));
}

#[tokio::test]
async fn requests_with_different_secrets_share_no_connection() {
    let server = Server::ok().await;
    let url = server.url();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("one"), "hunter1").unwrap();
    std::fs::write(folder.path().join("two"), "hunter2").unwrap();
    let toml = format!(
        "[http]\nallow = ['* {url}*']\n[secrets]\n\
         a = {{ file = 'one', inject = '{url}a', header = 'authorization: Bearer {{}}' }}\n\
         b = {{ file = 'two', inject = '{url}b', header = 'authorization: Bearer {{}}' }}"
    );
    let budgets = Budgets::here(&BudgetSettings::default());
    let settings = &folder.path().join("one.toml");
    let mut handler = handler_of(budgets, &toml, settings, to_loopback());
    for path in ["a", "a", "b", "", "a", "b"] {
        handler.get(&format!("{url}{path}")).await.unwrap();
    }
    let heads = server.heads.lock().unwrap();
    let sent = heads.iter().map(|head| {
        let lines = head.lines();
        lines
            .filter_map(|line| line.strip_prefix("authorization: Bearer "))
            .collect()
    });
    let sent: Vec<String> = sent.collect();
    assert_eq!(
        sent,
        ["hunter1", "hunter1", "hunter2", "", "hunter1", "hunter2"]
    );
    assert_eq!(server.connections(), 3);
}
