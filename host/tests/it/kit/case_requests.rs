//! Requests in cases: replied to by the case, and what is said of those that it
//! does not expect.

use std::fs;

use expect_test::expect;
use pointsman::{
    cases,
    sandbox::{Received, RecordedRequest},
};
use serde_json::json;

use super::{cases::Bench, requests::server};
use crate::host::{Folders, guest};

fn asks() -> Bench {
    Bench::new("asks", &guest("asks"))
}

#[tokio::test]
async fn a_case_replies_to_the_requests_that_it_expects() {
    // Both are open at once: one after the other, they would take longer than the call may.
    asks()
        .passes(
            r#"{
                "command": { "way": "both", "url": "http://a.example" },
                "limits": { "timeout": "10s" },
                "requests": [
                    { "request": "POST http://A.example:80/both", "json": { "a": 1.0 },
                      "headers": { "content-type": "application/json" }, "response": { "json": 2 }, "delay_ms": 5000 },
                    { "request": "GET http://a.example/both", "response": { "json": [1] }, "delay_ms": 9000 }
                ],
                "expect": { "output": [[1], 2] }
            }"#,
        )
        .await;
}

#[tokio::test]
async fn status_headers_and_body_are_those_of_the_case() {
    let bench = asks();
    bench
        .passes(
            r#"{
                "command": { "way": "request", "url": "https://a.example/b?c=d" },
                "requests": [
                    { "request": "GET https://a.example/b?c=d",
                      "response": { "status": 404, "headers": { "x-a": "1" }, "body": "none" } }
                ],
                "expect": { "output": [{ "status": 404, "text": "none" }], "logs": [] }
            }"#,
        )
        .await;
}

#[tokio::test]
async fn waiting_for_a_response_takes_no_time_and_ends_with_a_timeout() {
    let bench = asks();
    // Far longer than any test, and shorter and longer than the guest's own 10 ms.
    for (delay_ms, ended) in [(9, false), (11, true), (14_000, true)] {
        let case = json!({
            "command": { "way": "ended", "url": "http://a.example" },
            "requests": [
                { "request": "GET http://a.example/never", "delay_ms": delay_ms },
                { "request": "GET http://a.example/missing", "delay_ms": 14_000, "response": { "status": 404 } },
            ],
            "expect": match ended {
                true => json!({ "output": [true, 404] }),
                // It unwraps an error that is not there.
                false => json!({ "status": "trapped" }),
            },
        });
        bench.passes(&case.to_string()).await;
    }
}

#[tokio::test]
async fn a_response_that_takes_longer_than_a_limit_fails_as_a_real_one() {
    let bench = asks();
    for (http, error) in [
        ("{}", "connection read timeout"),
        (r#"{ "timeout": "10s" }"#, "http response timeout"),
    ] {
        let case = format!(
            r#"{{
                "command": {{ "way": "uncaught", "url": "http://a.example" }},
                "http": {http},
                "requests": [{{ "request": "GET http://a.example/broken", "delay_ms": 20000 }}],
                "expect": {{ "status": "unavailable", "message": "{error}" }}
            }}"#
        );
        bench.passes(&case).await;
    }
    bench
        .passes(
            r#"{
                "command": { "way": "text", "url": "http://a.example/" },
                "http": { "response_max_bytes": 3 },
                "requests": [{ "request": "GET http://a.example/", "response": { "body": "1234" } }],
                "expect": { "status": "rejected", "logs": ["`http.response_max_bytes` in the case sets the limit"] }
            }"#,
        )
        .await;
}

#[tokio::test]
async fn a_request_fails_as_the_case_says_before_or_in_the_response() {
    let bench = asks();
    for (response, message) in [
        ("", "connection refused"),
        (r#", "response": { "body": "some" }"#, "connection refused"),
    ] {
        let case = format!(
            r#"{{
                "command": {{ "way": "text", "url": "http://a.example/" }},
                "requests": [{{ "request": "GET http://a.example/", "fails": "connection-refused"{response} }}],
                "expect": {{ "status": "unavailable", "message": "{message}" }}
            }}"#
        );
        bench.passes(&case).await;
    }
}

#[tokio::test]
async fn an_unexpected_request_fails_the_case_with_the_line_to_add() {
    let bench = asks();
    bench
        .differs(
            r#"{ "command": { "way": "both", "url": "http://a.example" },
                 "requests": [{ "request": "GET http://a.example/both", "response": { "json": 1 } }] }"#,
            expect![[r#"
                status: expected `succeeded`, found `denied`: `asks`: the case does not expect the HTTP request `POST http://a.example/both`; then it ended as rejected: http://a.example/both: the request is not granted; the log has the line that grants it
                  warn  the case does not expect the HTTP request `POST http://a.example/both`
                requests: `POST http://a.example/both` is not expected; to expect it, add to `requests`: { "request": "POST http://a.example/both", "json": {"a":1}, "response": { "status": 200 } }
            "#]],
        )
        .await;
    // Without any, too; and where the handler copes with it.
    bench
        .differs(
            r#"{ "command": { "way": "request", "url": "http://a.example/c?d=e" } }"#,
            expect![[r#"
                requests: `GET http://a.example/c?d=e` is not expected; to expect it, add to `requests`: { "request": "GET http://a.example/c?d=e", "response": { "status": 200 } }
            "#]],
        )
        .await;
    // Unless it is what the case is about.
    bench
        .passes(
            r#"{ "command": { "way": "text", "url": "http://a.example/" }, "expect": { "status": "denied" } }"#,
        )
        .await;
}

#[tokio::test]
async fn a_request_that_is_not_as_expected_or_not_sent_is_named() {
    asks()
        .differs(
            r#"{
                "command": { "way": "request", "url": "http://a.example/", "method": "PUT", "body": "{\"a\":1}", "headers": { "x": "1" } },
                "requests": [
                    { "request": "PUT http://a.example/", "json": { "a": 2 }, "headers": { "x": "2", "y": "3" } },
                    { "request": "GET http://a.example/" }
                ]
            }"#,
            expect![[r#"
                requests: `PUT http://a.example/`: header `x`: expected `2`, found `1`
                requests: `PUT http://a.example/`: header `y`: expected `3`, found none
                requests: `PUT http://a.example/`: the body is not as expected
                  {
                -   "a": 2
                +   "a": 1
                  }
                requests: `GET http://a.example/` was not sent
            "#]],
        )
        .await;
}

#[tokio::test]
async fn what_the_host_adds_to_requests_can_be_expected() {
    let bench = asks();
    let token = tempfile::tempdir().unwrap();
    fs::write(token.path().join("token"), "hunter2").unwrap();
    let case = json!({
        "command": { "way": "text", "url": "https://a.example/v1/b" },
        "secrets": { "token": {
            "file": token.path().join("token"), "inject": "https://a.example/v1/*", "header": "Authorization: Bearer {}"
        } },
        "requests": [{
            "request": "GET https://a.example/v1/b", "headers": { "authorization": "Bearer hunter2" }, "response": { "body": "ok" },
        }],
        "expect": { "output": "ok" },
    });
    bench.passes(&case.to_string()).await;
}

#[tokio::test]
async fn with_grants_a_request_is_expected_and_granted() {
    let case = |allow: &str, status: &str| {
        format!(
            r#"{{
                "command": {{ "way": "text", "url": "https://a.example/v1/b" }},
                "http": {{ "allow": ["{allow}"] }},
                "requests": [{{ "request": "GET https://a.example/v1/b", "response": {{ "body": "ok" }} }}],
                "expect": {{ "status": "{status}" }}
            }}"#
        )
    };
    let bench = asks();
    bench
        .passes(&case("GET https://a.example/v1/*", "succeeded"))
        .await;
    bench
        .passes(&case("GET https://a.example/v2/*", "denied"))
        .await;
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let bench = asks();
    for (requests, wanted) in [
        (
            "{}",
            expect!["case.json:1:26: `requests` must be an array, found an object"],
        ),
        (
            "[{}]",
            expect![[r#"
            case.json:1:27: a request needs its `request`: the method and the URL
              hint: write it as `{ "request": "GET https://api.example.com/v1/rates" }`"#]],
        ),
        (
            r#"[{ "request": "https://a.example" }]"#,
            expect![[r#"
            case.json:1:40: `https://a.example` is not a method and a URL
              hint: write it as `GET https://api.example.com/v1/rates?base=EUR`"#]],
        ),
        (
            r#"[{ "request": "GET /path" }]"#,
            expect![[r#"
            case.json:1:40: `GET /path` is not a method and a URL
              hint: write it as `GET https://api.example.com/v1/rates?base=EUR`"#]],
        ),
        (
            r#"[{ "request": "GET http://a.example", "fails": "conection-refused" }]"#,
            expect![[r#"
                case.json:1:73: `fails` cannot be `conection-refused`
                  hint: did you mean `connection-refused`? allowed: `dns-timeout`, `dns-error`, `destination-not-found`, `destination-unavailable`, `destination-ip-prohibited`, `destination-ip-unroutable`, `connection-refused`, `connection-terminated`, `connection-timeout`, `connection-read-timeout`, `connection-write-timeout`, `connection-limit-reached`, `tls-protocol-error`, `tls-certificate-error`, `tls-alert-received`, `http-request-denied`, `http-request-length-required`, `http-request-body-size`, `http-request-method-invalid`, `http-request-uri-invalid`, `http-request-uri-too-long`, `http-request-header-section-size`, `http-request-header-size`, `http-request-trailer-section-size`, `http-request-trailer-size`, `http-response-incomplete`, `http-response-header-section-size`, `http-response-header-size`, `http-response-body-size`, `http-response-trailer-section-size`, `http-response-trailer-size`, `http-response-transfer-coding`, `http-response-content-coding`, `http-response-timeout`, `http-upgrade-failed`, `http-protocol-error`, `loop-detected`, `configuration-error`, `internal-error`"#]],
        ),
        (
            r#"[{ "request": "GET http://a.example", "json": 1, "body": "1" }]"#,
            expect!["case.json:1:83: a body is `json` or `body`, not both"],
        ),
        (
            r#"[{ "request": "GET http://a.example", "response": { "status": 1000 } }]"#,
            expect!["case.json:1:88: `status` must be a number from 100 to 999, found a number"],
        ),
        (
            r#"[{ "request": "GET http://a.example", "headers": { "a b": "c" } }]"#,
            expect!["case.json:1:77: the name of header `a b` is not valid"],
        ),
    ] {
        bench.refuses(
            &format!(r#"{{"command":{{}},"requests":{requests}}}"#),
            wanted,
        );
    }
}

/// The case with its requests, after it was run against `url`, with the port left out.
async fn recorded(bench: &Bench, case: &str, url: &str) -> String {
    let file = bench.read(case);
    let case = file.case.unwrap();
    let sent = bench.subject.requests(&case).await.unwrap();
    cases::record(&case, &sent).unwrap();
    let text = fs::read_to_string(&case.path).unwrap();
    // As it is read again.
    let verdict = bench.subject.run(&bench.read(&text).case.unwrap()).await;
    assert!(verdict.unwrap().passed(), "{text}");
    text.replace(url, "URL")
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_were_sent_are_written_with_what_came_of_them() {
    let (bench, url) = (asks(), server().await);
    let case = format!(
        r#"{{
  "command": {{ "way": "both", "url": "{url}" }},
  "http": {{ "allow": ["* {url}/*"] }},
  "expect": {{ "output": [{{ "sent": "" }}, {{ "sent": "{{\"a\":1}}" }}] }}
}}
"#
    );
    let written = recorded(&bench, &case, &url).await;
    expect![[r#"
        {
          "command": { "way": "both", "url": "URL" },
          "http": { "allow": ["* URL/*"] },
          "requests": [
            {
              "request": "GET URL/both",
              "response": { "status": 200, "json": { "sent": "" } }
            },
            {
              "request": "POST URL/both",
              "json": { "a": 1 },
              "response": { "status": 200, "json": { "sent": "{\"a\":1}" } }
            }
          ],
          "expect": { "output": [{ "sent": "" }, { "sent": "{\"a\":1}" }] }
        }
    "#]]
    .assert_eq(&written);
    // Again in place of those, and without anything that is expected.
    let case = format!(
        r#"{{ "command": {{ "way": "missing", "url": "{url}" }}, "http": {{ "allow": ["* {url}/*"] }}, "requests": [ ] }}"#
    );
    let written = recorded(&bench, &case, &url).await;
    expect![[r#"
        { "command": { "way": "missing", "url": "URL" }, "http": { "allow": ["* URL/*"] }, "requests": [
            {
              "request": "GET URL/missing",
              "response": { "status": 404, "body": "none" }
            }
          ] }"#]].assert_eq(&written);
    let case = format!(
        r#"{{ "command": {{ "way": "caught", "url": "{url}" }}, "http": {{ "allow": ["* {url}/*"] }} }}"#
    );
    let written = recorded(&bench, &case, &url).await;
    expect![[r#"
        { "command": { "way": "caught", "url": "URL" }, "http": { "allow": ["* URL/*"] },
          "requests": [
            { "request": "GET URL/broken", "fails": "http-response-incomplete" }
          ] }"#]]
    .assert_eq(&written);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_adds_to_requests_is_not_recorded() {
    let (bench, url) = (asks(), crate::egress::echo().await);
    let token = tempfile::tempdir().unwrap();
    fs::write(token.path().join("token"), "hunter2").unwrap();
    let case = json!({
        "command": { "way": "request", "url": format!("{url}/"), "headers": { "x-own": "hunter3" } },
        "http": { "allow": [format!("* {url}/*")] },
        "secrets": { "token": {
            "file": token.path().join("token"), "inject": format!("{url}/*"), "header": "x-token: {}"
        } },
    });
    let case = bench.read(&case.to_string()).case.unwrap();
    let sent = bench.subject.requests(&case).await.unwrap();
    let request = &sent[0].request;
    assert_eq!(request.headers()["x-own"], "hunter3");
    assert!(!request.headers().contains_key("x-token"), "{request:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_records_the_requests_of_cases_that_grant_them() {
    let folders = Folders::new();
    folders.plugin("asks", guest("asks"));
    let (cases, url) = (folders.plugins().join("asks/cases"), server().await);
    fs::create_dir_all(&cases).unwrap();
    let case = json!({ "command": { "way": "missing", "url": url }, "http": { "allow": [format!("* {url}/*")] } });
    fs::write(cases.join("one.json"), case.to_string()).unwrap();
    let none =
        json!({ "command": { "way": "missing", "url": url }, "expect": { "status": "denied" } });
    fs::write(cases.join("two.json"), none.to_string()).unwrap();
    let test = |flags: &'static [&'static str]| {
        let args = [&["test", "plugins/asks.wasm"], flags].concat();
        crate::cli::said(&folders, &args)
    };
    let (record, again) =
        tokio::task::block_in_place(|| (test(&["--record", "--update"]), test(&[])));
    assert_eq!(record.0, Some(0), "{record:?}");
    assert_eq!(again.0, Some(0), "{again:?}");
    let one: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(cases.join("one.json")).unwrap()).unwrap();
    assert_eq!(one["requests"][0]["response"]["status"], 404);
    assert_eq!(one["expect"]["output"], 404);
    assert_eq!(
        fs::read_to_string(cases.join("two.json")).unwrap(),
        none.to_string()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_not_text_is_not_recorded() {
    let bench = asks();
    let case = bench.read(r#"{ "command": {} }"#).case.unwrap();
    let recorded = cases::record(
        &case,
        &[RecordedRequest {
            request: http::Request::get("http://a.example/")
                .body(Vec::new())
                .unwrap(),
            received: Some(Received::Response(http::Response::new(vec![0xff]), None)),
        }],
    );
    let error = recorded.unwrap_err().to_string();
    assert!(
        error.contains("the response to `GET http://a.example/` is not text"),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(&case.path).unwrap(),
        r#"{ "command": {} }"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_could_not_be_read_again_is_not_written() {
    let bench = asks();
    let written = |body: String| {
        let case = bench.read(r#"{ "command": {} }"#).case.unwrap();
        let request = http::Request::get("http://a.example/").body(Vec::new());
        let response = http::Response::new(body.into_bytes());
        let sent = RecordedRequest {
            request: request.unwrap(),
            received: Some(Received::Response(response, None)),
        };
        let recorded = cases::record(&case, &[sent]);
        (recorded, fs::read_to_string(&case.path).unwrap())
    };
    // Six characters of JSON each.
    let (recorded, text) = written("\u{1}".repeat(3 << 20));
    let error = recorded.unwrap_err().to_string();
    assert!(error.contains("may have 16777216"), "{error}");
    assert_eq!(text, r#"{ "command": {} }"#);
    // JSON that is too deep where it would stand, and what is none by itself.
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    for (body, key) in [
        (deep(116), "json"),
        (deep(117), "body"),
        (deep(120), "body"),
        ("1],[2".to_owned(), "body"),
    ] {
        let (recorded, text) = written(body);
        recorded.unwrap();
        assert!(text.contains(&format!("\"{key}\": ")), "{text}");
        bench.read(&text).case.unwrap();
    }
}
