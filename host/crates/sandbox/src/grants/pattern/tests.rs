use super::*;

fn reach(pattern: &str, request: &str) -> Option<Reach> {
    let (method, uri) = request.split_once(' ').unwrap();
    let (method, uri) = (method.parse().unwrap(), uri.parse().unwrap());
    let pattern: HttpPattern = pattern.parse().unwrap();
    pattern.allows(&Target::of(&method, &uri)?)
}

fn allows(pattern: &str, request: &str) -> bool {
    reach(pattern, request).is_some()
}

#[test]
fn how_a_host_is_written_says_how_far_inside_it_may_lead() {
    for (pattern, request, wanted) in [
        ("* http://*", "GET http://a.example/", Reach::Public),
        ("* http://*", "GET http://127.0.0.1/", Reach::Public),
        ("* http://*.example", "GET http://a.example/", Reach::Public),
        (
            "* http://db.internal",
            "GET http://db.internal/",
            Reach::Private,
        ),
        // Old spellings of 127.0.0.1, which a resolver takes for it.
        (
            "* http://2130706433",
            "GET http://2130706433/",
            Reach::Private,
        ),
        ("* http://127.1", "GET http://127.1/", Reach::Private),
        (
            "* http://localhost",
            "GET http://LOCALHOST/",
            Reach::Loopback,
        ),
        ("* http://127.0.0.1", "GET http://127.0.0.1/", Reach::Any),
        ("* http://[::1]", "GET http://[::1]/", Reach::Any),
    ] {
        assert_eq!(
            reach(pattern, request),
            Some(wanted),
            "{pattern} | {request}"
        );
    }
}

#[test]
fn an_error_does_not_repeat_the_pattern() {
    for text in [
        "hunter2",
        "GET https://user:hunter2@example.com",
        "hunter2 http://x",
    ] {
        let error = text.parse::<HttpPattern>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}");
    }
}

#[test]
fn a_pattern_allows_what_it_says() {
    for (pattern, request) in [
        (
            "GET https://api.example.com/v1/*",
            "GET https://api.example.com/v1/a/b?c=d",
        ),
        (
            "GET https://api.example.com/v1/*",
            "GET https://API.example.com:443/v1/",
        ),
        (
            "POST https://*.example.com",
            "POST https://a.b.example.com/any/path",
        ),
        ("* http://*", "PATCH http://127.0.0.1/"),
        (
            "GET http://127.0.0.1:8080/a*c*e",
            "GET http://127.0.0.1:8080/abccde",
        ),
        ("GET http://[::1]:8080", "GET http://[::1]:8080/x"),
        ("GET https://example.com", "GET https://example.com/a/../b"),
    ] {
        assert!(allows(pattern, request), "{pattern} | {request}");
    }
}

#[test]
fn a_pattern_allows_nothing_else() {
    for (pattern, request) in [
        (
            "GET https://api.example.com/v1/*",
            "POST https://api.example.com/v1/a",
        ),
        (
            "GET https://api.example.com/v1/*",
            "GET http://api.example.com/v1/a",
        ),
        (
            "GET https://api.example.com/v1/*",
            "GET https://api.example.com/v2/a",
        ),
        (
            "GET https://api.example.com/v1/*",
            "GET https://api.example.com:8443/v1/a",
        ),
        (
            "GET https://api.example.com/v1/*",
            "GET https://api.example.com/v1/../admin",
        ),
        (
            "GET https://api.example.com/v1/*",
            "GET https://api.example.com/v1/%2E%2e/admin",
        ),
        (
            "GET https://api.example.com/v1/*",
            "GET https://api.example.com/v1/..%2fadmin",
        ),
        (
            "GET https://api.example.com/v1/*",
            "GET https://api.example.com/v1/%252e%252e/admin",
        ),
        (
            "GET https://api.example.com/v1/*",
            "GET https://api.example.com/v1/..;x/admin",
        ),
        (
            "GET https://api.example.com",
            "GET https://api.example.com@evil.example/",
        ),
        (
            "GET https://api.example.com",
            "GET https://evil.example/?api.example.com",
        ),
        ("POST https://*.example.com", "POST https://example.com/"),
        (
            "POST https://*.example.com",
            "POST https://evilexample.com/",
        ),
        (
            "GET http://127.0.0.1:8080/a*c",
            "GET http://127.0.0.1:8080/ab",
        ),
        (
            "GET http://127.0.0.1:8080/a",
            "GET http://127.0.0.1:8080/a/b",
        ),
    ] {
        assert!(!allows(pattern, request), "{pattern} | {request}");
    }
}

#[test]
fn what_is_no_pattern_says_why() {
    for (text, reason) in [
        ("https://example.com", "has no method"),
        ("get https://example.com", "begins with no method"),
        ("GET example.com", "has no scheme"),
        ("GET ftp://example.com", "has a scheme other"),
        ("GET https://exa*mple.com", "has `*` in the host"),
        ("GET https://*example.com", "has `*` in the host"),
        ("GET https://", "has `*` in the host"),
        ("GET https://example.com:x", "has a port"),
        ("GET https://a@example.com", "contains a query"),
        ("GET https://example.com/?a=b", "contains a query"),
        ("GET https://a\u{1b}[2J.com", "contains a control character"),
        (
            "GET https://example.com/\u{9b}",
            "contains a control character",
        ),
        (
            "GET https://a\u{202e}.com",
            "has a host with other characters",
        ),
        (
            "GET https://bücher.example",
            "has a host with other characters",
        ),
        ("GET https://fe80::1%eth0", "has a"),
    ] {
        let error = text.parse::<HttpPattern>().unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}
