//! TLS to PostgreSQL: a server with a certificate of a private authority, which is
//! trusted only where the settings name that authority, and only under its name.

use std::{path::Path, sync::Arc};

use pointsman_queue::{
    QueueError, Store,
    postgres::{Postgres, PostgresConfig},
};

use crate::{
    engines::{command, done, request},
    postgres_server::{Server, new_schema},
    postgres_tls::{NAME, with_tls},
};

/// A URL that names the server so, and leads to it.
fn url(server: &Server, role: &str, name: &str, options: &str) -> String {
    let port = server.port;
    format!("postgres://{role}@{name}:{port}/postgres?hostaddr=127.0.0.1{options}")
}

async fn open(url: String, authority: Option<&Path>) -> Result<Arc<Postgres>, QueueError> {
    let config = PostgresConfig {
        schema: new_schema(),
        root_certificates: authority.map(Path::to_owned),
        ..PostgresConfig::new(url)
    };
    Postgres::open(config).await.map(Arc::new)
}

/// Stores a command and works it off.
async fn works(store: &Postgres) {
    store.enqueue(vec![command(&["greet"])]).await.unwrap();
    let claimed = store.claim(request(1)).await.unwrap().deliveries.remove(0);
    store.settle(claimed.lease, done()).await.unwrap();
}

/// What such an error tells, with its cause and the way out.
fn told(error: &QueueError) -> String {
    assert_eq!(error.code(), "queue-unavailable", "{error:?}");
    let cause = std::error::Error::source(error).unwrap();
    format!("{error}: {cause}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_trusted_by_its_authority_and_its_name() {
    let Some(server) = with_tls() else { return };
    let (ca, other) = (
        server.folder.join("ca.crt"),
        server.folder.join("other.crt"),
    );
    // As a setting, and as libpq has it in the URL; a password is bound to the connection.
    let in_url = format!("&sslmode=verify-full&sslrootcert={}", ca.display());
    let bound = "&sslmode=require&channel_binding=require";
    for (role, options, authority) in [
        ("postgres", "", Some(ca.as_path())),
        ("postgres", in_url.as_str(), None),
        ("secretive:hunter2", bound, Some(ca.as_path())),
    ] {
        let store = open(url(&server, role, NAME, options), authority).await;
        let store = store.unwrap_or_else(|error| panic!("{options}: {}", told(&error)));
        works(&store).await;
        let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
             WHERE application_name = 'pointsman' AND NOT ssl";
        assert_eq!(server.sql("postgres", plain), "0");
    }
    for (name, authority, reason) in [
        (NAME, Some(other.as_path()), "UnknownIssuer"),
        // The authorities of this machine do not know it either.
        (NAME, None, "UnknownIssuer"),
        ("db2.example.test", Some(ca.as_path()), "not valid for name"),
    ] {
        for mode in ["require", "verify-ca", "verify-full"] {
            let url = url(&server, "postgres", name, &format!("&sslmode={mode}"));
            let told = told(&open(url, authority).await.unwrap_err());
            assert!(told.contains(reason), "{mode}: {told}");
            let hint = "hint: set `queue.root_certificates` to a file with the certificate authority; the name in `queue.url` must be in the certificate";
            assert!(told.contains(hint), "{mode}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wants_tls_says_so_to_a_connection_without() {
    let Some(server) = with_tls() else { return };
    let url = url(&server, "postgres", NAME, "&sslmode=disable");
    let told = told(&open(url, None).await.unwrap_err());
    assert!(told.contains("no encryption"), "{told}");
    assert!(told.contains("SQLSTATE 28000"), "{told}");
}
