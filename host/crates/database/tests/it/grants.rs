//! What no statement can do.

use std::time::Duration;

use pointsman_database::{DatabaseLimits, SqlFault, SqlValue};

use crate::{Both, ints};

const TABLE: &str = "CREATE TABLE t (id bigint PRIMARY KEY, name text)";

#[tokio::test]
async fn read_only_is_read_only() {
    let both = Both::with(TABLE).await;
    let limits = DatabaseLimits {
        read_only: true,
        ..DatabaseLimits::default()
    };
    for (engine, database) in both.open(limits) {
        for in_transaction in [false, true] {
            for statement in [
                "INSERT INTO t VALUES (1, 'a')",
                "CREATE TABLE other (id int)",
                "DROP TABLE t",
                "WITH a AS (INSERT INTO t VALUES (2, 'a') RETURNING id) SELECT * FROM a",
                "SELECT set_config('transaction_read_only', 'off', true)",
                "SELECT set_config('default_transaction_read_only', 'off', false)",
                "SELECT set_config('transaction_read_only', 'off', false)",
                "DO $$ BEGIN PERFORM set_config('transaction_read_only', 'off', true); INSERT INTO t VALUES (3, 'a'); END $$",
                "DO $$ BEGIN COMMIT; INSERT INTO t VALUES (4, 'a'); COMMIT; END $$",
                "/* /* */ SELECT */ SET TRANSACTION READ WRITE",
                "-- a\nCOMMIT",
                "--a\rSELECT\nCOMMIT",
                "SAVEPOINT a",
                "PRAGMA query_only = 0",
                "PRAGMA writable_schema = 1",
                "ATTACH DATABASE 'other.db' AS other",
                "VACUUM INTO 'copy.db'",
                "VACUUM",
                "SELECT nextval('s')",
            ] {
                let mut session = database.session();
                if in_transaction {
                    session.begin().await.unwrap();
                }
                // Some of them are no statements of the one or the other.
                let done = session.execute(statement, Vec::new()).await;
                // Whatever it did, what follows in the same session must not write.
                let write = session
                    .execute("INSERT INTO t VALUES (5, 'a')", Vec::new())
                    .await;
                let error = write.unwrap_err();
                let failed = error.code.as_deref() == Some("25P02");
                assert!(
                    error.fault == SqlFault::Denied || failed,
                    "{engine}: {statement}: {done:?}: {error:?}"
                );
            }
        }
        let mut session = database.session();
        let error = session
            .execute("INSERT INTO t VALUES (5, 'a')", Vec::new())
            .await;
        let message = error.unwrap_err().message;
        assert!(
            message.contains("`read_only = false` under `[sql.main]`"),
            "{message}"
        );
        let page = session
            .query("SELECT count(*) FROM t", Vec::new())
            .await
            .unwrap();
        assert_eq!(ints(&page), [0], "{engine}");
        let files: Vec<_> = std::fs::read_dir(both.folder.path())
            .unwrap()
            .flatten()
            .collect();
        let named = |name: &str| files.iter().any(|file| file.file_name() == name);
        assert!(!named("other.db") && !named("copy.db"), "{engine}");
    }
}

#[tokio::test]
async fn no_statement_reaches_another_file_or_the_sessions_own_transactions() {
    let both = Both::with(TABLE).await;
    for (engine, database) in both.open(DatabaseLimits::default()) {
        for statement in [
            "BEGIN",
            "/* /* */ COMMIT",
            "--a\rSELECT\nBEGIN",
            "SAVEPOINT a",
            "ATTACH DATABASE 'other.db' AS other",
            "VACUUM INTO 'copy.db'",
            "PRAGMA journal_mode = DELETE",
            "SELECT load_extension('x')",
        ] {
            let mut session = database.session();
            let done = session.execute(statement, Vec::new()).await;
            assert!(done.is_err(), "{engine}: {statement}");
            session.execute("DELETE FROM t", Vec::new()).await.unwrap();
        }
    }
    assert!(!both.folder.path().join("copy.db").exists());
    assert!(!both.folder.path().join("other.db").exists());
}

#[tokio::test]
async fn nothing_of_a_session_reaches_the_next() {
    let both = Both::with(TABLE).await;
    let limits = DatabaseLimits {
        connections_max: 1,
        ..DatabaseLimits::default()
    };
    let Some((_, database)) = both.open(limits).into_iter().nth(1) else {
        return;
    };
    let mut session = database.session();
    for statement in [
        "SELECT set_config('search_path', 'nowhere', false)",
        "CREATE TEMP TABLE left_over (id int)",
        "SELECT pg_advisory_lock(7)",
    ] {
        session.execute(statement, Vec::new()).await.unwrap();
    }
    drop(session);
    let mut session = database.session();
    let query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(ints(&session.query(query, Vec::new()).await.unwrap()), [0]);
    let query = "SELECT count(*) FROM t";
    assert_eq!(ints(&session.query(query, Vec::new()).await.unwrap()), [0]);
    let error = session.query("SELECT * FROM left_over", Vec::new()).await;
    assert_eq!(error.unwrap_err().code.as_deref(), Some("42P01"));
}

#[tokio::test]
async fn each_limit_is_reached_and_named() {
    let both = Both::with(TABLE).await;
    let limits = DatabaseLimits {
        rows_max: 1_500,
        bytes_max: 100_000,
        statement_timeout: Duration::from_millis(700),
        ..DatabaseLimits::default()
    };
    const NUMBERS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) SELECT i FROM n";
    for (engine, database) in both.open(limits) {
        let mut session = database.session();
        let numbers = |count: i64| vec![SqlValue::Integer(count)];
        // PostgreSQL gives the parameter the type of the column.
        let mut page = session.query(NUMBERS, numbers(2_000)).await;
        while let Ok(Ok(true)) = page.as_ref().map(|page| Ok::<_, ()>(page.more)) {
            page = session.next().await;
        }
        let error = page.unwrap_err();
        assert_eq!(error.fault, SqlFault::Denied, "{engine}: {error:?}");
        assert!(error.message.contains("`sql.main.rows_max`"), "{error:?}");

        let mut session = database.session();
        let long = match engine {
            "sqlite" => {
                "SELECT printf('%.*c', 90000, 'x') UNION ALL SELECT printf('%.*c', 90001, 'x')"
            }
            _ => "SELECT repeat('x', 90000) UNION ALL SELECT repeat('y', 90000)",
        };
        let error = session.query(long, Vec::new()).await.unwrap_err();
        assert!(
            error.message.contains("`sql.main.bytes_max`"),
            "{engine}: {error:?}"
        );

        let mut session = database.session();
        let endless = match engine {
            "sqlite" => {
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
            }
            _ => "SELECT count(*) FROM generate_series(1, 1000000000)",
        };
        let error = session.query(endless, Vec::new()).await.unwrap_err();
        assert_eq!(error.fault, SqlFault::Unavailable, "{engine}: {error:?}");
        assert!(
            error.message.contains("`sql.main.statement_timeout`"),
            "{error:?}"
        );
        // The connection was given up, and there are others.
        let page = session
            .query("SELECT count(*) FROM t", Vec::new())
            .await
            .unwrap();
        assert_eq!(ints(&page), [0], "{engine}");
    }
    if let Some(server) = both.server() {
        // Nor does the server go on with what nobody waits for.
        let running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%generate_series(1, 1000000000)%' AND pid <> pg_backend_pid()";
        let mut left = String::new();
        for _ in 0..100 {
            left = server.sql("postgres", running);
            if left.trim() == "0" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{left} still run");
    }
}

#[tokio::test]
async fn connections_are_waited_for_and_never_more_than_granted() {
    let both = Both::with(TABLE).await;
    let limits = DatabaseLimits {
        connections_max: 1,
        statement_timeout: Duration::from_secs(1),
        ..DatabaseLimits::default()
    };
    for (engine, database) in both.open(limits) {
        let mut first = database.session();
        first
            .query("SELECT count(*) FROM t", Vec::new())
            .await
            .unwrap();
        let mut second = database.session();
        let error = second
            .query("SELECT count(*) FROM t", Vec::new())
            .await
            .unwrap_err();
        assert_eq!(error.fault, SqlFault::Unavailable, "{engine}");
        drop(first);
        second
            .query("SELECT count(*) FROM t", Vec::new())
            .await
            .unwrap();
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_is_made_for_its_owner_alone_and_what_is_no_file_is_refused() {
    use std::{os::unix::fs::PermissionsExt as _, sync::Arc};

    use pointsman_database::Database;

    let folder = tempfile::TempDir::new().unwrap();
    let open = |url: &str, read_only| {
        let limits = DatabaseLimits {
            read_only,
            ..DatabaseLimits::default()
        };
        Arc::new(Database::new("main", url, folder.path(), limits).unwrap()).session()
    };
    open("sqlite:new.db", false)
        .execute("CREATE TABLE t (a)", Vec::new())
        .await
        .unwrap();
    let mode = std::fs::metadata(folder.path().join("new.db")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    let pipe = folder.path().join("pipe.db");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    for (url, read_only) in [
        ("sqlite:pipe.db", false),
        ("sqlite:missing.db", true),
        ("sqlite:none/new.db", false),
        ("sqlite:.", false),
    ] {
        let error = open(url, read_only).query("SELECT 1", Vec::new()).await;
        let error = error.unwrap_err();
        assert_eq!(error.fault, SqlFault::Unavailable, "{url}: {error:?}");
        assert_eq!(error.code.as_deref(), Some("SQLITE_CANTOPEN"), "{url}");
    }
    assert!(!folder.path().join("missing.db").exists());
}

#[tokio::test]
async fn a_statement_may_take_as_long_as_a_setting_can_say() {
    let both = Both::with(TABLE).await;
    let limits = DatabaseLimits {
        statement_timeout: Duration::from_secs(36_525 * 24 * 3_600),
        ..DatabaseLimits::default()
    };
    for (engine, database) in both.open(limits) {
        let changed = database
            .session()
            .execute("DELETE FROM t", Vec::new())
            .await;
        assert_eq!(changed.unwrap(), 0, "{engine}");
    }
}
