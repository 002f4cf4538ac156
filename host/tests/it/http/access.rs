//! Tokens over HTTP: whom they let in, to what, and how attempts to get past them end.

use std::{fs, io::Write, path::Path, sync::Arc};

use pointsman::{
    access::{NewToken, Role},
    config::Config,
    host::Host,
    http::Listeners,
};

use super::bounds::{Probed, blocking, head, probed};
use crate::{
    host::{Folders, replace},
    raw::{Answer, answer, connect, exchange, get, request},
};

pub(super) fn token(name: &str, roles: &[Role]) -> NewToken {
    NewToken::make(name, roles.iter().copied().collect(), None).unwrap()
}

fn bearer(secret: &str) -> String {
    format!("Authorization: Bearer {secret}\r\nContent-Type: application/json\r\n")
}

/// A host that lets in one token of each role.
async fn guarded(set: impl FnOnce(&mut Config)) -> (Probed, [String; 3]) {
    let made = Role::ALL.map(|role| token(role.as_str(), &[role]));
    let secrets = made.each_ref().map(|made| made.secret.clone());
    let host = probed(|config| {
        config.http.tokens = made.into_iter().map(|made| made.token).collect();
        set(config);
    });
    (host.await, secrets)
}

/// Each route, and the roles of which it needs one; none for those that are open.
const ROUTES: &[(&str, &[Role])] = &[
    ("GET /", &Role::ALL),
    ("POST /commands/execute", &[Role::Execute]),
    ("POST /rules/explain", &[Role::Read]),
    ("POST /commands", &[Role::Execute]),
    ("GET /commands", &[Role::Read]),
    ("GET /commands/{id}", &[Role::Execute, Role::Read]),
    ("DELETE /commands/{id}", &[Role::Admin]),
    ("GET /commands/{id}/events", &[Role::Execute, Role::Read]),
    ("GET /queue", &[Role::Read]),
    ("GET /queue/history", &[Role::Read]),
    ("GET /queue/deliveries/{id}", &[Role::Read]),
    ("GET /queue/dead", &[Role::Read]),
    ("POST /queue/dead/retry", &[Role::Admin]),
    ("POST /queue/dead/discard", &[Role::Admin]),
    ("POST /queue/pause", &[Role::Admin]),
    ("POST /queue/resume", &[Role::Admin]),
    ("GET /schedules", &[Role::Read]),
    ("POST /schedules/{name}/pause", &[Role::Admin]),
    ("POST /schedules/{name}/resume", &[Role::Admin]),
    ("POST /schedules/{name}/run", &[Role::Admin]),
    ("GET /plugins", &[Role::Read]),
    ("GET /rules", &[Role::Read]),
    ("GET /metrics", &[Role::Read]),
    ("GET /healthz", &[]),
    ("GET /readyz", &[]),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_route_lets_in_the_tokens_with_its_role_and_no_others() {
    let (host, secrets) = guarded(|_| {}).await;
    blocking(move || {
        let url = &host.url;
        let index = request(url, "GET /", &bearer(&secrets[1]), "");
        let index: serde_json::Value = serde_json::from_str(&index.body).unwrap();
        let listed = index["paths"].as_array().unwrap().iter();
        let listed: Vec<_> = listed.map(|path| path.as_str().unwrap()).collect();
        let known: Vec<_> = ROUTES[1..].iter().map(|(route, _)| *route).collect();
        assert_eq!(listed, known);
        for (route, roles) in ROUTES {
            let line = route.replace("{id}", "x").replace("{name}", "x");
            let nobody = request(url, &line, "Content-Type: application/json\r\n", "");
            if roles.is_empty() {
                assert_eq!(nobody.status, 200, "{route}");
                continue;
            }
            assert_eq!(
                (nobody.status, nobody.code()),
                (401, "no-token".into()),
                "{route}"
            );
            assert!(nobody.head.contains("\r\nwww-authenticate: bearer realm="));
            for (role, secret) in Role::ALL.iter().zip(&secrets) {
                let answer = request(url, &line, &bearer(secret), "");
                let is_refused = answer.status == 403;
                assert_eq!(
                    is_refused,
                    !roles.contains(role),
                    "{route} {role:?} {answer:?}"
                );
                assert_ne!(answer.status, 401, "{route} {role:?}");
                if is_refused {
                    assert_eq!(answer.code(), "forbidden");
                    assert!(answer.head.contains("insufficient_scope"), "{answer:?}");
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_read_in_one_spelling_alone() {
    let (host, secrets) = guarded(|_| {}).await;
    blocking(move || {
        let (url, read) = (&host.url, &secrets[1]);
        let asked = |line: &str, headers: &str| request(url, line, headers, "");
        let code = |answer: &Answer| (answer.status, answer.code());
        // No scheme but one, wherever it is.
        for wrong in [
            format!("Authorization: {read}\r\n"),
            format!("Authorization: Basic {read}\r\n"),
            "Authorization: Bearer\r\n".to_owned(),
            "Authorization: Bearer  \r\n".to_owned(),
            format!("Proxy-Authorization: Bearer {read}\r\n"),
            format!("Cookie: token={read}\r\n"),
            format!("X-Authorization: Bearer {read}\r\n"),
            format!("Authorization:\r\nX: Bearer {read}\r\n"),
        ] {
            assert_eq!(
                code(&asked("GET /plugins", &wrong)),
                (401, "no-token".into()),
                "{wrong}"
            );
        }
        let query = format!("GET /plugins?access_token={read}");
        assert_eq!(code(&asked(&query, "")), (401, "no-token".into()));
        // Nothing but the whole of it.
        for wrong in [
            read[..read.len() - 1].to_owned(),
            format!("{read}0"),
            read.to_uppercase(),
            format!("{read},{read}"),
            format!("\"{read}\""),
            "é".to_owned(),
        ] {
            let answer = asked("GET /plugins", &bearer(&wrong));
            assert_eq!(code(&answer), (401, "invalid-token".into()), "{wrong}");
            assert!(answer.head.contains("error=\"invalid_token\""));
            assert!(!answer.body.contains(&wrong), "{answer:?}");
        }
        // The scheme is written as it comes.
        for right in [
            format!("authorization: bearer {read}\r\n"),
            format!("AUTHORIZATION: BEARER   {read} \r\n"),
        ] {
            assert_eq!(asked("GET /plugins", &right).status, 200, "{right}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_request_gets_past_the_tokens() {
    let (host, secrets) = guarded(|_| {}).await;
    blocking(move || {
        let (url, read) = (&host.url, &secrets[1]);
        let asked = |line: &str, headers: &str| request(url, line, headers, "");
        let code = |answer: &Answer| (answer.status, answer.code());
        // Two are never read as one of them.
        let twice = format!("{}Authorization: Bearer x\r\n", bearer(read));
        assert_eq!(code(&asked("GET /plugins", &twice)), (400, "invalid-request".into()));
        // Folded lines and spaces before the colon are no headers.
        for folded in [
            format!("X: a\r\n Authorization: Bearer {read}\r\n"),
            format!("Authorization : Bearer {read}\r\n"),
        ] {
            assert_eq!(asked("GET /plugins", &folded).status, 400, "{folded}");
        }
        // No other path, method or version leads past them.
        for line in [
            "GET //plugins", "GET /healthz/../plugins", "GET /healthz/%2e%2e/plugins",
            "GET /./plugins", "GET /plugins/", "GET /plugins%2f", "GET /PLUGINS", "HEAD /plugins",
            "OPTIONS /plugins", "PUT /plugins", "TRACE /plugins", "GET /plugins;/healthz",
            "GET /plugins?/healthz", "GET /healthz%00/plugins", "GET /nothing",
        ] {
            let answer = asked(line, "");
            assert_eq!(answer.status, 401, "{line} {answer:?}");
            assert!(!answer.body.contains("probe"), "{line}");
        }
        let named = format!("GET http://{}/plugins HTTP/1.0\r\n\r\n", crate::raw::address(url));
        assert_eq!(exchange(url, named).status, 401);
        // Trailers come too late.
        let late = format!(
            "POST /commands HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n2\r\n{{}}\r\n0\r\nAuthorization: Bearer {}\r\n\r\n",
            secrets[0]
        );
        assert_eq!(exchange(url, late).status, 401);
        // One request of a connection says nothing for the next.
        let both = format!(
            "GET /plugins HTTP/1.1\r\nHost: localhost\r\n{}\r\nGET /rules HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            bearer(read)
        );
        let answers = exchange(url, both);
        assert_eq!(answers.status, 200);
        assert!(answers.body.contains("HTTP/1.1 401 "), "{answers:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_made_to_lead_here_gets_nothing_with_a_token_either() {
    let (host, secrets) = guarded(|_| {}).await;
    blocking(move || {
        let rebound = format!(
            "GET /plugins HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n{}\r\n",
            bearer(&secrets[1])
        );
        assert_eq!(exchange(&host.url, rebound).code(), "unknown-host");
        let page = format!("Origin: http://evil.example\r\n{}", bearer(&secrets[1]));
        assert_eq!(
            request(&host.url, "GET /plugins", &page, "").code(),
            "cross-site"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_body_is_read_for_who_is_not_let_in() {
    let (host, _) = guarded(|_| {}).await;
    blocking(move || {
        // Of the megabyte that is announced, nothing comes.
        let mut stream = connect(&host.url);
        let announced = head(&host.url, 1 << 20, "");
        stream.write_all(announced.as_bytes()).unwrap();
        let refused = answer(&mut stream);
        assert_eq!((refused.status, refused.code()), (401, "no-token".into()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_tokens_is_followed_and_a_broken_one_changes_nothing() {
    let (first, second) = (
        token("first", &[Role::Read]),
        token("second", &[Role::Read]),
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    fs::write(&path, format!("# ours\n{}\n", first.token)).unwrap();
    let host = probed(|config| config.http.tokens_file = Some(path.clone())).await;
    blocking(move || {
        let status =
            |made: &NewToken| request(&host.url, "GET /plugins", &bearer(&made.secret), "").status;
        let becomes = |what: &str, wanted: [u16; 2]| {
            for _ in 0..3_000 {
                if [status(&first), status(&second)] == wanted {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            panic!("never: {what}");
        };
        becomes("the first", [200, 401]);
        replace(&path, second.token.to_string());
        becomes("the second", [401, 200]);
        // A version that cannot be used, none at all, and one that can again.
        for broken in [Some("nonsense"), None] {
            match broken {
                Some(text) => replace(&path, text),
                None => fs::remove_file(&path).unwrap(),
            }
            // Some looks at the file later, nothing has changed.
            std::thread::sleep(std::time::Duration::from_millis(300));
            assert_eq!([status(&first), status(&second)], [401, 200]);
        }
        replace(&path, format!("{}\n{}\n", first.token, second.token));
        becomes("both", [200, 200]);
        // Nobody, and not everybody.
        replace(&path, "");
        becomes("nobody", [401, 401]);
        assert_eq!(get(&host.url, "/healthz").status, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_file_of_tokens_cannot_be_used_serves_nothing() {
    let served = async |path: &Path| {
        let folders = crate::host::Folders::new();
        let mut config = folders.config();
        config.http.tokens_file = Some(path.into());
        let listener = tokio::net::TcpListener::bind(config.http.listen)
            .await
            .unwrap();
        let host = pointsman::host::Host::load(config)
            .await
            .unwrap()
            .watch(|_| {});
        let error = pointsman::http::serve(host, listener).await.unwrap_err();
        error.to_string()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    let missing = served(&path).await;
    assert!(
        missing.contains("cannot be read") && missing.contains("http.tokens_file"),
        "{missing}"
    );
    fs::write(&path, "pmt_0123").unwrap();
    let broken = served(&path).await;
    assert!(
        broken.contains(":1: is not a token") && !broken.contains("pmt_"),
        "{broken}"
    );
    assert!(
        served(Path::new("/dev/zero"))
            .await
            .contains("not a regular file")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_their_own_serves_metrics_and_probes_and_nothing_else() {
    let made = token("ada", &Role::ALL);
    let folders = Folders::probes(&["probe"]);
    let mut config = folders.config();
    config.http.tokens = vec![made.token];
    config.http.connections_max = Some(1);
    let listen = async || tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (commands, metrics) = (listen().await, listen().await);
    let url =
        |listener: &tokio::net::TcpListener| format!("http://{}", listener.local_addr().unwrap());
    let (main, beside) = (url(&commands), url(&metrics));
    let app = Host::load(config).await.unwrap().watch(|_| {});
    let listeners = Listeners::from(commands).with_metrics(Some(metrics));
    let served = tokio::spawn(pointsman::http::serve(Arc::clone(&app), listeners));
    blocking(move || {
        // However busy the other address is.
        let mut busy = connect(&main);
        let announced = head(&main, 1 << 20, &bearer(&made.secret));
        busy.write_all(
            announced
                .replacen("Content-Type: application/json\r\n", "", 1)
                .as_bytes(),
        )
        .unwrap();
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(get(&beside, path).status, 200, "{path}");
        }
        assert!(
            get(&beside, "/metrics")
                .body
                .contains("pointsman_generation")
        );
        for path in ["/", "/plugins", "/commands", "/ui", "/metrics/x"] {
            let bearer = bearer(&made.secret);
            let refused = request(&beside, &format!("GET {path}"), &bearer, "");
            assert_eq!(
                (refused.status, refused.code()),
                (404, "no-such-path".into())
            );
        }
        for line in ["POST /metrics", "DELETE /healthz"] {
            assert_eq!(request(&beside, line, "", "").status, 405, "{line}");
        }
        // No page of another site, nor under a name that was made to lead here.
        let rebound = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
        assert_eq!(exchange(&beside, rebound).code(), "unknown-host");
        let page = request(
            &beside,
            "GET /metrics",
            "Origin: http://evil.example\r\n",
            "",
        );
        assert_eq!(page.code(), "cross-site");
        drop(busy);
        assert_eq!(get(&main, "/metrics").code(), "no-token");
    })
    .await;
    app.stop().await;
    served.await.unwrap().unwrap();
}
