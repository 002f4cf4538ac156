//! What a URL says, and what is said of one that is wrong.

use super::*;

fn read(url: &str) -> Result<Config, String> {
    let wanted = Wanted {
        url,
        root_certificates: None,
        timeout: Duration::from_secs(10),
        read_only: false,
    };
    target(&wanted)
        .map(|target| target.config)
        .map_err(|error| format!("{}\n  hint: {}", error.reason, error.hint))
}

#[test]
fn tls_is_required_wherever_a_password_could_be_overheard() {
    use SslMode::{Disable, Prefer, Require};
    for (url, expected) in [
        ("postgres://u:p@db.example.com/x", Require),
        ("postgres://u:p@192.0.2.1/x", Require),
        ("postgres://u:p@db.example.com/x?sslmode=prefer", Require),
        ("postgres://u:p@db.example.com/x?sslmode=allow", Require),
        ("postgres://u:p@db.example.com/x?sslmode=verify-ca", Require),
        (
            "postgres://u:p@db.example.com/x?sslmode=verify-full",
            Require,
        ),
        ("postgres://u:p@db.example.com/x?sslmode=disable", Disable),
        ("postgres://u:p@localhost,db.example.com/x", Require),
        ("postgres://u:p@localhost/x?hostaddr=192.0.2.1", Require),
        ("postgres://u:p@127.0.0.1.example.com/x", Require),
        ("postgres://u:p@localhost/x", Prefer),
        ("postgres://u:p@127.0.0.2/x", Prefer),
        ("postgres://u:p@[::1]/x", Prefer),
        ("postgres://u:p@127.0.0.1/x?sslmode=require", Require),
        (
            "postgres://u@%2Frun%2Fpostgresql/x?sslmode=require",
            Disable,
        ),
        ("host=db.example.com user=u password=p", Require),
        ("host=db.example.com user=u sslmode = 'disable'", Disable),
        ("host=/run/postgresql user=u", Disable),
    ] {
        assert_eq!(read(url).unwrap().get_ssl_mode(), expected, "{url}");
    }
}

#[test]
fn an_option_that_cannot_be_taken_is_named() {
    for (url, named) in [
        ("postgres://u@h/x?schema=public", "`schema`"),
        ("postgres://u@h/x?aplication_name=a", "`application_name`"),
        ("postgres://u@h/x?sslmode=sometimes", "`sslmode`"),
        ("postgres://u@h/x?connect_timeout=soon", "`connect_timeout`"),
        ("postgres://u@h/x?sslcert=a", "`sslcert`"),
        (
            "postgres://u@h/x?target_session_attrs=standby",
            "takes writes",
        ),
        ("host=h user=u schema=x", "`schema`"),
        ("http://u@h/x", "`postgres://`"),
        ("postgres:///app", "names no host"),
        ("nonsense", "neither a URL"),
    ] {
        let error = read(url).unwrap_err();
        assert!(error.contains(named), "{url}: {error}");
    }
}

#[test]
fn a_password_is_never_repeated() {
    for url in [
        "postgres://u:S3c?ret@h/x",
        "postgres://u:S3c/S3c@h/x?S3c=1",
        "postgres://u:S3c@ret:1@h/x",
        "host=h password=S3c\\ ret S3c ret",
        "host=h password='S3c",
        "S3c://u:S3c@h",
    ] {
        if let Err(error) = read(url) {
            assert!(
                !error.contains("S3c") || url.contains("?S3c="),
                "{url}: {error}"
            );
            assert!(!error.contains("ret"), "{url}: {error}");
        }
    }
}

#[test]
fn what_the_url_leaves_open_is_bounded() {
    let config = read("postgres://u@h/x").unwrap();
    assert!(config.get_connect_timeout().is_some());
    assert!(config.get_keepalives_idle() < Duration::from_secs(60));
    assert!(config.get_tcp_user_timeout().is_some());
    let config = read("postgres://u@h/x?keepalives_idle=40&tcp_user_timeout=70").unwrap();
    assert_eq!(config.get_keepalives_idle(), Duration::from_secs(40));
    assert_eq!(
        config.get_tcp_user_timeout(),
        Some(&Duration::from_secs(70))
    );
    let config = read("host=h password='it''s' user=u").unwrap_err();
    assert!(config.contains("neither"), "{config}");
}
