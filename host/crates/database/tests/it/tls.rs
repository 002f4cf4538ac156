//! TLS to PostgreSQL, with a certificate of a private authority.

use pointsman_database::{Database, DatabaseLimits, SqlError, SqlPage};

use crate::{
    ints,
    postgres_tls::{NAME, with_tls},
};

/// What one query over a connection with these options of the URL gives.
async fn asked(port: u16, role: &str, options: &str) -> Result<SqlPage, SqlError> {
    let url = format!("postgres://{role}@{NAME}:{port}/postgres?hostaddr=127.0.0.1{options}");
    let folder = tempfile::tempdir().unwrap();
    let limits = DatabaseLimits::default();
    let database = Database::new("main", &url, folder.path(), limits).unwrap();
    let mut session = std::sync::Arc::new(database).session();
    // More rows than are fetched at once, and values longer than a record of TLS.
    let rows = "SELECT ssl::int, repeat('x', 40000) FROM pg_stat_ssl, generate_series(1, 3) WHERE pid = pg_backend_pid()";
    session.query(rows, Vec::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_go_over_tls_to_who_is_trusted() {
    let Some(server) = with_tls() else { return };
    let ca = server.folder.join("ca.crt");
    let trusted = format!("&sslmode=verify-full&sslrootcert={}", ca.display());
    let bound = format!("{trusted}&channel_binding=require");
    for (role, options) in [("postgres", &trusted), ("secretive:hunter2", &bound)] {
        let page = asked(server.port, role, options).await;
        assert_eq!(ints(&page.unwrap()), [1, 1, 1], "{options}");
    }
    let other = server.folder.join("other.crt");
    let other = format!("&sslmode=verify-full&sslrootcert={}", other.display());
    for (options, reason) in [
        (other.as_str(), "UnknownIssuer"),
        ("&sslmode=require", "UnknownIssuer"),
        ("&sslmode=disable", "no encryption"),
    ] {
        let told = format!(
            "{:?}",
            asked(server.port, "postgres", options).await.unwrap_err()
        );
        assert!(told.contains(reason), "{options}: {told}");
    }
}
