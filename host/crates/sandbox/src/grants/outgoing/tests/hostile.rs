//! Handlers and servers that mean no good.

use super::*;

#[tokio::test]
async fn no_spelling_of_an_address_leads_past_the_grants() {
    let server = Server::ok().await;
    let port = server.port();
    for host in [
        "a.example@127.0.0.1",
        "user:pw@a.example",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "127.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[::]",
        "[fe80::1%25lo]",
        "[fe80::1%lo]",
        "[::1%25lo]",
    ] {
        let url = format!("http://{host}:{port}/");
        // Those that are no URL at all do not come as far as here.
        let Ok(request) = http::Request::get(&url).body(empty()) else {
            continue;
        };
        // The system's resolver for what is not an address to us.
        let mut handler = handler(
            &format!("allow = ['* http://*:{port}']"),
            Resolver::system(),
        );
        let answer = handler.send(request, Duration::from_secs(5)).await;
        let refused = matches!(
            answer,
            Err(Error::HttpRequestDenied | Error::DestinationIpProhibited | Error::DnsError { .. })
        );
        assert!(refused, "{url}: {answer:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_that_leads_to_where_clouds_keep_credentials_is_refused() {
    for address in [
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "fe80::a9fe:a9fe",
        "0.0.0.0",
    ] {
        let to = move |_: &str, port| Ok(vec![SocketAddr::new(address.parse().unwrap(), port)]);
        let grants = "allow = ['* http://*']\nallow_private = ['* http://*']";
        let mut handler = handler(grants, Resolver::new(to));
        let answer = handler.get("http://a.example/").await;
        let refused = matches!(answer, Err(Error::DestinationIpProhibited));
        assert!(refused, "{address}: {answer:?}");
    }
}

#[tokio::test]
async fn neither_tunnels_nor_echoes_are_asked_for() {
    let server = Server::ok().await;
    let mut handler = handler(&format!("allow = ['* {}']", server.url()), to_loopback());
    for method in ["CONNECT", "TRACE"] {
        let request = http::Request::builder().method(method).uri(server.url());
        let request = request.body(empty()).unwrap();
        let answer = handler.send(request, Duration::from_secs(5)).await;
        let refused = matches!(answer, Err(Error::HttpRequestMethodInvalid));
        assert!(refused, "{method}: {answer:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = Server::new(Reply::Keep(
        "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
    ))
    .await;
    let mut handler = handler(&format!("allow = ['* {}']", server.url()), to_loopback());
    assert_eq!(handler.get(&server.url()).await.unwrap(), 302);
    assert_eq!(server.heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_response_without_end_is_cut_off_at_the_limit() {
    for first in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        // Refused by its head.
        "HTTP/1.1 200 OK\r\nContent-Length: 9000000000000\r\n\r\n",
    ] {
        let server = Server::new(Reply::Endless(first, "4\r\nabcd\r\n", Duration::ZERO)).await;
        let grants = format!("allow = ['* {}']\nresponse_max_bytes = 1000", server.url());
        let mut handler = handler(&grants, to_loopback());
        let answer = handler.get(&server.url()).await;
        let cut = matches!(answer, Err(Error::HttpResponseBodySize(Some(1000))));
        assert!(cut, "{first}: {answer:?}");
        let setting = "`http.response_max_bytes` in plugins/one.toml sets the limit";
        assert!(handler.warnings()[0].ends_with(setting));
    }
}

#[tokio::test]
async fn a_response_that_drips_ends_with_the_time_of_its_request() {
    for pause in [Duration::from_millis(5), Duration::from_secs(3600)] {
        let first = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let server = Server::new(Reply::Endless(first, "1\r\na\r\n", pause)).await;
        let grants = format!("allow = ['* {}']\ntimeout = '100ms'", server.url());
        let mut handler = handler(&grants, to_loopback());
        let answer = handler.get(&server.url()).await;
        let late = matches!(answer, Err(Error::HttpResponseTimeout));
        assert!(late, "{pause:?}: {answer:?}");
        let setting = "`http.timeout` in plugins/one.toml sets the limit";
        assert!(handler.warnings()[0].ends_with(setting));
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_with_the_time_of_its_request() {
    let server = Server::silent().await;
    let grants = format!("allow = ['* {}']\ntimeout = '50ms'", server.url());
    let mut handler = handler(&grants, to_loopback());
    let answer = handler.get(&server.url()).await;
    assert!(
        matches!(answer, Err(Error::HttpResponseTimeout)),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_second_response_that_nobody_asked_for_answers_no_request() {
    // Sent along with the first response, as in an attack by splitting.
    let server = Server::new(Reply::Keep(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    ))
    .await;
    let mut handler = handler(&format!("allow = ['* {}']", server.url()), to_loopback());
    for _ in 0..5 {
        let answer = handler.text(&server.url()).await;
        assert!(
            !matches!(&answer, Ok((_, text)) if text != "ok"),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_response_with_two_lengths_leaves_nothing_for_the_next_request() {
    for head in [
        "Content-Length: 2\r\nContent-Length: 40",
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, identity\r\nContent-Length: 2",
    ] {
        let rest = "\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        let text = format!("HTTP/1.1 200 OK\r\n{head}{rest}");
        let text: &'static str = text.leak();
        let server = Server::by(move |request| match request {
            1 => Reply::Keep(text),
            _ => Reply::Keep(OK),
        })
        .await;
        let mut handler = handler(
            &format!("allow = ['* {}']\ntimeout = '1s'", server.url()),
            to_loopback(),
        );
        let _ = handler.text(&server.url()).await;
        let (_, text) = handler.text(&server.url()).await.unwrap();
        assert_eq!(text, "ok", "{head}");
    }
}

#[tokio::test]
async fn of_thousands_of_requests_in_one_call_so_many_are_open() {
    let server = Server::silent().await;
    let url = server.url();
    let mut handler = handler(&format!("allow = ['* {url}']"), to_loopback());
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..3_000 {
        let request = http::Request::get(&url).body(empty()).unwrap();
        let done = Box::new(std::future::ready(Ok(())));
        let mut sent = Pin::from(handler.outgoing.send_request(request, None, done));
        match futures_util::poll!(&mut sent) {
            std::task::Poll::Ready(answer) => {
                assert!(matches!(answer, Err(Error::ConnectionLimitReached)));
                refused += 1;
            }
            std::task::Poll::Pending => open.push(sent),
        }
    }
    assert_eq!((open.len(), refused), (32, 3_000 - 32));
    let setting = "`http.requests_per_call_max` in plugins/one.toml sets the limit";
    assert!(handler.warnings()[0].ends_with(setting));
}
