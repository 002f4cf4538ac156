//! The program over TLS: as a server, and as whoever asks one.

use std::fs;

use expect_test::{Expect, expect};

use super::{
    faults::{Serving, serve_as},
    pointsman, said,
};
use crate::{
    certificates::{file, install},
    host::Folders,
};

fn path(name: &str) -> String {
    file(name).display().to_string()
}

/// A host that speaks TLS with the certificate `a`, in the folder of its settings.
fn serving(folders: &Folders, more: &[&str]) -> Serving {
    install("a", folders.path());
    let tls = [
        "--set",
        "http.tls.certificate=cert",
        "--set",
        "http.tls.key=key",
    ];
    let args = ["serve", "--listen", "127.0.0.1:0", "--color", "never"];
    serve_as(pointsman(folders, &[&args[..], &tls, more].concat()))
}

#[test]
fn the_command_line_asks_over_tls_whom_it_trusts() {
    let folders = Folders::probes(&["probe"]);
    let serving = serving(&folders, &[]);
    assert!(serving.url.starts_with("https://"), "{}", serving.url);
    let ca = path("ca.crt");
    let asked = |args: &[&str], url: &str| said(&folders, &[args, &["--url", url]].concat());
    let (exit, printed, error) = asked(&["health", "--ready", "--ca", &ca], &serving.url);
    assert_eq!(
        (exit, printed.as_str(), error.as_str()),
        (Some(0), "ready\n", "")
    );
    assert_eq!(asked(&["list", "--ca", &ca], &serving.url).0, Some(0));
    // The variable stands for the flag.
    let mut asking = pointsman(&folders, &["queue", "status", "--url", &serving.url]);
    let asking = asking.env("POINTSMAN_CA", &ca).output().unwrap();
    assert!(asking.status.success(), "{asking:?}");
    let port = serving.url.rsplit(':').next().unwrap();
    let hidden = |text: &str| text.replace(port, "PORT");
    let check = |args: &[&str], url: &str, wanted: Expect| {
        let (exit, _, error) = asked(args, url);
        wanted.assert_eq(&format!("{}exit {}\n", hidden(&error), exit.unwrap()));
    };
    check(
        &["list"],
        &serving.url,
        expect![[r#"
        error: https://127.0.0.1:PORT/plugins: the server's certificate is not signed by an authority that is trusted here
          hint: `--ca FILE` names the certificate of its authority
        exit 2
    "#]],
    );
    // The same address in another spelling, which is not in the certificate.
    let named = format!("https://[::ffff:127.0.0.1]:{port}");
    check(
        &["list", "--ca", &ca],
        &named,
        expect![[r#"
            error: https://[::ffff:127.0.0.1]:PORT/plugins: the server's certificate is for another name
              hint: ask for a name or address in the certificate: `openssl x509 -in FILE -noout -ext subjectAltName` shows them
            exit 2
        "#]],
    );
    let plain = serving.url.replace("https://", "http://");
    check(
        &["list"],
        &plain,
        expect![[r#"
        error: this port speaks TLS, and the request came without
          hint: ask for `https://` in place of `http://`
        exit 2
    "#]],
    );
    check(
        &["list", "--ca", &ca],
        &plain,
        expect![[r#"
            error: certificates need TLS, but the URL starts with `http://`
              hint: write it as https://HOST:PORT
            exit 2
        "#]],
    );
    let key = path("client.key");
    check(
        &["list", "--client-key", &key],
        &serving.url,
        expect![[r#"
            error: a client key is of no use alone
              hint: give its certificate with `--client-certificate` too
            exit 2
        "#]],
    );
}

#[test]
fn the_command_line_shows_a_certificate_to_a_server_that_asks_for_one() {
    let folders = Folders::new();
    let setting = format!("http.tls.client_ca={}", path("ca.crt"));
    let serving = serving(&folders, &["--set", &setting]);
    let asked = |name: Option<&str>| {
        let mut args = vec!["health".to_owned(), "--ca".into(), path("ca.crt")];
        if let Some(name) = name {
            for (flag, extension) in [("--client-certificate", "crt"), ("--client-key", "key")] {
                args.extend([flag.to_owned(), path(&format!("{name}.{extension}"))]);
            }
        }
        args.extend(["--url".into(), serving.url.clone()]);
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let (exit, _, error) = said(&folders, &args);
        (exit, error.replace(&serving.url, "URL"))
    };
    assert_eq!(asked(Some("client")), (Some(0), String::new()));
    expect![[r#"
        error: URL/healthz: the server asks for a certificate
          hint: show one with `--client-certificate FILE --client-key FILE`
    "#]]
    .assert_eq(&asked(None).1);
    expect![[r#"
        error: URL/healthz: the server does not accept the client's certificate
          hint: show one that is signed by an authority in the server's `http.tls.client_ca`, and is still valid
    "#]].assert_eq(&asked(Some("stranger")).1);
}

#[test]
fn a_host_does_not_start_with_half_of_tls_or_with_files_it_cannot_use() {
    let folders = Folders::new();
    install("a", folders.path());
    fs::copy(file("b.key"), folders.path().join("other")).unwrap();
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--color",
        "never",
        "--log",
        "error",
    ];
    let check = |settings: &[&str], wanted: Expect| {
        let set = settings.iter().flat_map(|setting| ["--set", setting]);
        let args: Vec<_> = serve.into_iter().chain(set).collect();
        let (exit, _, error) = said(&folders, &args);
        wanted.assert_eq(&format!("{error}exit {}\n", exit.unwrap()));
    };
    check(
        &["http.tls.certificate=cert"],
        expect![[r#"
            error: settings: `http.tls.key` is `none` although `http.tls.certificate` is set, expected the path of a PEM file
            exit 2
        "#]],
    );
    check(
        &["http.tls.client_ca=cert"],
        expect![[r#"
            error: settings: `http.tls.certificate` is `none` although `http.tls.client_ca` is set, expected the path of a PEM file
            exit 2
        "#]],
    );
    let certificate = "http.tls.certificate=cert";
    check(
        &[certificate, "http.tls.key=missing"],
        expect![[r#"
        error: missing: cannot be read: No such file or directory (os error 2)
          hint: `http.tls.key` names it: create the file, and let the user of the server read it
        exit 2
    "#]],
    );
    check(
        &[certificate, "http.tls.key=other"],
        expect![[r#"
        error: other: the private key does not belong to the first certificate in cert
          hint: name the files of one issue; the server's own certificate comes first, those of its authorities behind it
        exit 2
    "#]],
    );
}
