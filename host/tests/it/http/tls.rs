//! TLS: whom the host speaks it with, and what becomes of those who do not.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use expect_test::{Expect, expect};
use pointsman::{
    access::Role,
    config::{Config, TlsConfig},
    tls::Tls,
};
use rustls::{ClientConfig, pki_types::CertificateDer};
use tempfile::TempDir;

use super::{
    access::token,
    bounds::{NOTHING, Probed, blocking, head, probed},
};
use crate::{
    certificates::{certificate, client, client_of, connect, file, install},
    host::{replace, until},
    raw::{self, Answer},
};

/// A host with one probe that speaks TLS with the certificate `a`, in a folder of its own.
pub(super) async fn secure(set: impl FnOnce(&mut Config)) -> (Probed, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    install("a", folder.path());
    let mut host = probed(|config| {
        config.http.tls.certificate = Some(folder.path().join("cert"));
        config.http.tls.key = Some(folder.path().join("key"));
        set(config);
    })
    .await;
    host.url = host.url.replace("http://", "https://");
    (host, folder)
}

/// Sends these bytes over TLS, and reads until the host closes the connection.
fn exchange(url: &str, config: &Arc<ClientConfig>, bytes: &str) -> std::io::Result<Answer> {
    let mut stream = connect(url, config);
    stream.write_all(bytes.as_bytes())?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    Ok(raw::parsed(&all))
}

fn asking(line: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

/// The certificate that a host shows.
fn shown(url: &str) -> CertificateDer<'static> {
    let mut stream = connect(url, &client(&[], None));
    stream.flush().unwrap();
    stream.conn.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

fn metrics(url: &str) -> String {
    let answer = exchange(url, &client(&[], None), &asking("GET /metrics", "", ""));
    answer.unwrap().body
}

/// All metrics of a host that speaks TLS.
pub(crate) async fn all_metrics() -> String {
    let (host, _folder) = secure(|_| {}).await;
    blocking(move || metrics(&host.url)).await
}

fn metric(url: &str, name: &str) -> String {
    let all = metrics(url);
    let line = all.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{all}")).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_come_over_tls_in_both_versions() {
    let (host, _folder) = secure(|_| {}).await;
    blocking(move || {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            for protocols in [&[][..], &["http/1.1"]] {
                let config = client_of(protocols, None, &[version]);
                let command = asking("POST /commands/execute", "", NOTHING);
                let done = exchange(&host.url, &config, &command).unwrap();
                assert_eq!(done.status, 200, "{done:?}");
            }
        }
        // A protocol that is not offered is not spoken.
        let refused = exchange(
            &host.url,
            &client(&["ftp"], None),
            &asking("GET /healthz", "", ""),
        );
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_tls_is_told_so_and_none_hangs() {
    let (host, _folder) = secure(|config| {
        config.http.header_timeout = Duration::from_millis(500);
    })
    .await;
    let (app, url) = (Arc::clone(&host.app), host.url.clone());
    blocking(move || {
        let plain = url.replace("https://", "http://");
        let long = "x".repeat(1 << 20);
        for (line, body) in [
            ("GET /healthz", ""),
            ("POST /commands/execute", NOTHING),
            ("POST /commands/execute", &long),
        ] {
            let told = raw::request(&plain, line, "", body);
            assert_eq!((told.status, told.code().as_str()), (400, "tls-required"));
        }
        // What is neither.
        let ended = |bytes: &[u8]| {
            let mut stream = raw::connect(&plain);
            stream.write_all(bytes).unwrap();
            let mut rest = Vec::new();
            match stream.read_to_end(&mut rest) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            }
            assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
        };
        ended(&[0x16, 3, 1, 0xff, 0xff]);
        ended(&[0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5]);
        ended(&[0x80; 300]);
        ended(&[]);
        // One that goes at once, as health checks of load balancers do, is no failure.
        drop(raw::connect(&plain));
        let failed = metric(&url, "pointsman_tls_handshakes_failed_total ");
        assert_eq!(failed, "4");
    })
    .await;
    until("all are closed", || app.budgets().connections.used() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_have_a_limit_of_time_and_count_as_connections() {
    let (host, _folder) = secure(|config| {
        config.http.connections_max = Some(8);
        config.http.connections_per_address_max = Some(100);
        config.http.header_timeout = Duration::from_secs(2);
    })
    .await;
    let (app, url) = (Arc::clone(&host.app), host.url.clone());
    let connections = Arc::clone(&app.budgets().connections);
    blocking(move || {
        let plain = url.replace("https://", "http://");
        let half = |_| {
            let mut stream = raw::connect(&plain);
            stream.write_all(&[0x16, 3, 1, 1, 0, 1]).unwrap();
            stream
        };
        let held: Vec<_> = (0..40).map(half).collect();
        // They make room for whoever has something to say.
        for _ in 0..20 {
            let config = client(&[], None);
            let done = exchange(&url, &config, &asking("GET /healthz", "", "")).unwrap();
            assert_eq!(done.status, 200);
            assert!(connections.used() <= 8);
        }
        for mut stream in held {
            let mut rest = Vec::new();
            // Closed, with a word or without.
            let _ = stream.read_to_end(&mut rest);
        }
    })
    .await;
    until("all are closed", || app.budgets().connections.used() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_over_tls_loses_the_connection_as_without() {
    let (host, _folder) = secure(|config| {
        config.http.header_timeout = Duration::from_millis(500);
        config.http.idle_timeout = Duration::from_millis(500);
        config.http.body_timeout = Duration::from_millis(500);
        config.http.write_timeout = Duration::from_millis(500);
        config.limits.output_max_bytes = 64 << 20;
        config.limits.memory_max_bytes = 512 << 20;
    })
    .await;
    let (app, url) = (Arc::clone(&host.app), host.url.clone());
    let kept = blocking(move || {
        let config = client(&[], None);
        let started = |text: &str| {
            let mut stream = connect(&url, &config);
            stream.write_all(text.as_bytes()).unwrap();
            stream.flush().unwrap();
            stream
        };
        let silent = started("");
        let half_head = started("GET /healthz HTTP/1.1\r\nX-A: ");
        let mut half_body = started(&(head("http://127.0.0.1", 100, "") + "{"));
        let idle = started("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        // More than the buffers of the kernel and of TLS take, and it reads nothing of it.
        let flood = r#"{"to":"probe","do":"output-flood","amount":30000000}"#;
        let unread = started(&(head("http://127.0.0.1", flood.len(), "") + flood));
        let mut late = Vec::new();
        half_body.read_to_end(&mut late).unwrap();
        assert_eq!(raw::parsed(&late).code(), "request-timeout");
        (silent, half_head, idle, unread)
    })
    .await;
    until("all are closed", || app.budgets().connections.used() == 0).await;
    drop(kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_client_ca_a_client_needs_a_certificate_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("clients");
    fs::copy(file("ca.crt"), &ca).unwrap();
    let (host, _folder) = secure(|config| config.http.tls.client_ca = Some(ca.clone())).await;
    let (app, url) = (Arc::clone(&host.app), host.url.clone());
    let ask = move |shown: Option<&str>, version| {
        let config = client_of(&[], shown, &[version]);
        match exchange(&url, &config, &asking("GET /plugins", "", "")) {
            Ok(answer) => answer.status.to_string(),
            Err(error) => error.to_string(),
        }
    };
    let ask = Arc::new(ask);
    let asked = Arc::clone(&ask);
    blocking(move || {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            assert_eq!(asked(Some("client"), version), "200");
            for (shown, reason) in [
                (None, "CertificateRequired"),
                (Some("stranger"), "UnknownCA"),
                (Some("expired"), "CertificateExpired"),
                (Some("alone"), "UnknownCA"),
            ] {
                let told = asked(shown, version);
                // TLS 1.2 has another word for a missing one.
                let is_told = told.contains(reason) || told.contains("HandshakeFailure");
                assert!(is_told, "{shown:?} {told}");
            }
        }
    })
    .await;
    // Another authority is loaded as another certificate is.
    replace(&ca, fs::read(file("other.crt")).unwrap());
    let tls = Arc::clone(app.tls().unwrap());
    let before = tls.failures();
    until("the other authority is in force", || {
        ask(Some("stranger"), &rustls::version::TLS13) == "200"
    })
    .await;
    assert_ne!(ask(Some("client"), &rustls::version::TLS13), "200");
    assert!(tls.failures() > before);
}

/// Makes `..data` lead to a folder with this pair, as Kubernetes does it.
fn publish(name: &str, folder: &Path) {
    let version = tempfile::tempdir_in(folder).unwrap().keep();
    install(name, &version);
    let next = folder.join("..data_tmp");
    symlink(version.file_name().unwrap(), &next).unwrap();
    fs::rename(&next, folder.join("..data")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pair_is_taken_up_whole_and_a_broken_one_leaves_the_last_in_use() {
    let mounted = tempfile::tempdir().unwrap();
    let path = mounted.path().to_owned();
    publish("a", &path);
    for name in ["cert", "key"] {
        symlink(format!("..data/{name}"), path.join(name)).unwrap();
    }
    let (host, _folder) = secure(|config| {
        config.http.tls.certificate = Some(path.join("cert"));
        config.http.tls.key = Some(path.join("key"));
    })
    .await;
    let (tls, url) = (Arc::clone(host.app.tls().unwrap()), host.url.clone());
    assert_eq!(shown(&url), certificate("a"));
    // A connection that is open stays.
    let mut open = connect(&url, &client(&[], None));
    open.flush().unwrap();
    publish("b", &path);
    until("the new one is shown", || shown(&url) == certificate("b")).await;
    assert!(!tls.is_failing());
    // A key of another pair, half a file, and none: what was good stays.
    let key = path.join("..data/key");
    replace(&key, fs::read(file("a.key")).unwrap());
    until("it is noticed", || tls.is_failing()).await;
    assert_eq!(shown(&url), certificate("b"));
    assert_eq!(metric(&url, "pointsman_tls_reload_failing "), "1");
    fs::copy(file("b.key"), &key).unwrap();
    until("all is good again", || !tls.is_failing()).await;
    let cert = path.join("..data/cert");
    let whole = fs::read(&cert).unwrap();
    fs::write(&cert, &whole[..whole.len() / 2]).unwrap();
    until("it is noticed", || tls.is_failing()).await;
    fs::remove_file(&cert).unwrap();
    assert_eq!(shown(&url), certificate("b"));
    publish("a", &path);
    until("the next one is shown", || shown(&url) == certificate("a")).await;
    assert_eq!(metric(&url, "pointsman_tls_reload_failing "), "0");
    let until = metric(&url, "pointsman_tls_certificate_expiry_timestamp_seconds ");
    assert_eq!(until, tls.valid_until().unwrap().as_second().to_string());
    let asked = asking("GET /healthz", "", "");
    open.write_all(asked.as_bytes()).unwrap();
    let mut all = Vec::new();
    open.read_to_end(&mut all).unwrap();
    assert_eq!(raw::parsed(&all).status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_swapped_under_load_fail_no_request() {
    let (host, folder) = secure(|config| {
        config.reload.poll = Duration::from_millis(20);
        config.reload.quiet = Duration::from_millis(5);
    })
    .await;
    let tls = Arc::clone(host.app.tls().unwrap());
    let (done, is_over) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let (url, done, is_over) = (host.url.clone(), Arc::clone(&done), Arc::clone(&is_over));
            tokio::task::spawn_blocking(move || {
                // Half of them resume their sessions, with a certificate that is gone.
                let kept = client(&[], None);
                let command = asking("POST /commands/execute", "", NOTHING);
                while !is_over.load(Ordering::Relaxed) {
                    let config = match number % 2 {
                        0 => Arc::clone(&kept),
                        _ => client(&[], None),
                    };
                    let answer = exchange(&url, &config, &command);
                    assert_eq!(answer.expect("no request fails").status, 200);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for turn in 0..20 {
        let (name, before) = (["b", "a"][turn % 2], done.load(Ordering::Relaxed));
        install(name, folder.path());
        let (url, wanted) = (host.url.clone(), certificate(name));
        until("the new one is shown", || shown(&url) == wanted).await;
        until("requests were answered with it", || {
            done.load(Ordering::Relaxed) > before + 4
        })
        .await;
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!((tls.failures(), tls.is_failing()), (0, false));
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn a_file_that_cannot_be_used_is_named_with_the_reason_and_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    let there = |name: &str| match file("ca.crt").with_file_name(name) {
        path if path.exists() => path,
        _ => folder.path().join(name),
    };
    fs::write(folder.path().join("empty"), "").unwrap();
    let half = &fs::read_to_string(file("a.crt")).unwrap()[..200];
    fs::write(folder.path().join("half.crt"), half).unwrap();
    let mut all = String::new();
    for (certificate, key, client_ca) in [
        ("a.crt", "a.key", None),
        ("missing.crt", "a.key", None),
        ("a.crt", "missing.key", None),
        ("empty", "a.key", None),
        ("half.crt", "a.key", None),
        ("a.der", "a.key", None),
        ("a.key", "a.crt", None),
        ("a.crt", "b.crt", None),
        ("a.crt", "empty", None),
        ("a.crt", "encrypted.key", None),
        ("a.crt", "unusual.key", None),
        ("a.crt", "b.key", None),
        ("a.crt", "a.key", Some("empty")),
        ("a.crt", "a.key", Some("a.key")),
        ("expired.crt", "expired.key", None),
    ] {
        let config = TlsConfig {
            certificate: Some(there(certificate)),
            key: Some(there(key)),
            client_ca: client_ca.map(there),
        };
        let tls = Tls::new(&config).unwrap();
        match tls.load().await {
            Ok(()) => all += &format!("{certificate} {key}: used\n"),
            Err(error) => all += &format!("{error}\n"),
        }
    }
    for path in [folder.path(), file("a.crt").parent().unwrap()] {
        all = all.replace(&format!("{}/", path.display()), "");
    }
    check(
        &all,
        expect![[r#"
            a.crt a.key: used
            missing.crt: cannot be read: No such file or directory (os error 2)
              hint: `http.tls.certificate` names it: create the file, and let the user of the server read it
            missing.key: cannot be read: No such file or directory (os error 2)
              hint: `http.tls.key` names it: create the file, and let the user of the server read it
            empty: contains no certificate in PEM form
              hint: a PEM file has a line `-----BEGIN CERTIFICATE-----`
            half.crt: is not valid PEM: it ends in the middle of a section
              hint: write the file again, whole: it has lines from `-----BEGIN CERTIFICATE-----` to `-----END CERTIFICATE-----`
            a.der: contains no certificate in PEM form
              hint: it looks like DER: `openssl x509 -inform der -in FILE -out FILE.pem` converts it
            a.key: contains no certificate in PEM form
              hint: it contains a private key: are `certificate` and `key` mixed up?
            b.crt: contains no private key in PEM form
              hint: it contains a certificate: are `certificate` and `key` mixed up?
            empty: contains no private key in PEM form
              hint: a PEM file has a line `-----BEGIN PRIVATE KEY-----`
            encrypted.key: the private key is encrypted
              hint: a server starts without anybody who types a password: decrypt it with `openssl pkey -in FILE -out KEY`, and let only the server read the result
            unusual.key: the private key cannot be used: unexpected error: failed to parse private key as RSA, ECDSA, or EdDSA
              hint: RSA keys of 2048 to 8192 bits, ECDSA keys on P-256 or P-384 and Ed25519 keys are supported
            b.key: the private key does not belong to the first certificate in a.crt
              hint: name the files of one issue; the server's own certificate comes first, those of its authorities behind it
            empty: contains no certificate in PEM form
              hint: a PEM file has a line `-----BEGIN CERTIFICATE-----`
            a.key: contains no certificate in PEM form
              hint: it contains a private key: are `certificate` and `key` mixed up?
            expired.crt expired.key: used
        "#]],
    );
}

fn check(told: &str, wanted: Expect) {
    wanted.assert_eq(told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_over_tls_has_a_cookie_that_goes_over_tls_alone() {
    let made = token("ada", &Role::ALL);
    let secret = made.secret.clone();
    let (host, _folder) = secure(|config| config.http.tokens = vec![made.token]).await;
    let url = host.url.clone();
    blocking(move || {
        let config = client(&[], None);
        let ask = |line: &str, headers: &str, body: &str| {
            let length = body.len();
            let bytes = format!("{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
            exchange(&url, &config, &bytes).unwrap()
        };
        let page = ask("GET /ui/login", "", "").body;
        let csrf = page.split_once(r#"name="csrf" value=""#).unwrap().1;
        let csrf = csrf.split_once('"').unwrap().0;
        let form = format!("token={secret}&csrf={csrf}");
        let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
        // A page that somebody else shows in our name without TLS is of another site.
        let foreign = format!("{kind}Origin: http://127.0.0.1\r\n");
        assert_eq!(ask("POST /ui/login", &foreign, &form).status, 403);
        let own = format!("{kind}Origin: https://127.0.0.1\r\n");
        let signed_in = ask("POST /ui/login", &own, &form);
        let cookie = signed_in.head.split_once("set-cookie: ").unwrap().1;
        let cookie = cookie.split_once("\r\n").unwrap().0;
        assert!(cookie.starts_with("__host-pointsman_session="), "{cookie}");
        for flag in ["; path=/", "; httponly", "; samesite=strict", "; secure"] {
            assert!(cookie.contains(flag), "{cookie}");
        }
        assert!(!cookie.contains("domain"), "{cookie}");
        let id = cookie.split_once('=').unwrap().1.split_once(';').unwrap().0;
        let asked = |name: &str| ask("GET /ui", &format!("Cookie: {name}={id}\r\n"), "").status;
        assert_eq!(asked("__Host-pointsman_session"), 200);
        // One that could have come without TLS counts for nothing.
        assert_eq!(asked("pointsman_session"), 303);
    })
    .await;
}
