//! What statements do, the same on both engines.

use pointsman_database::{Database, DatabaseLimits, SqlFault, SqlValue};
use std::sync::Arc;

use crate::{Both, ints};

const TABLE: &str = "CREATE TABLE t (id bigint PRIMARY KEY, name text NOT NULL, data text)";

#[tokio::test]
async fn values_come_back_as_they_went() {
    let both = Both::with(
        "CREATE TABLE v (a bigint, b double precision, c text, d bytea, e boolean, f bigint)",
    )
    .await;
    for (engine, database) in both.open(DatabaseLimits::default()) {
        let mut session = database.session();
        let row = vec![
            SqlValue::Integer(i64::MIN),
            SqlValue::Real(0.1),
            SqlValue::Text("Zoë 'x' \\ $1 \u{1f600}".into()),
            SqlValue::Bytes(vec![0, 255, 39]),
            SqlValue::Boolean(true),
            SqlValue::Null,
        ];
        let insert = "INSERT INTO v VALUES ($1, $2, $3, $4, $5, $6)";
        assert_eq!(session.execute(insert, row.clone()).await.unwrap(), 1);
        let page = session.query("SELECT * FROM v", Vec::new()).await.unwrap();
        assert_eq!(page.columns, ["a", "b", "c", "d", "e", "f"]);
        let mut wanted = row;
        if engine == "sqlite" {
            // It has no booleans.
            wanted[4] = SqlValue::Integer(1);
        }
        assert_eq!(page.rows, [wanted], "{engine}");
        assert!(!page.more);
    }
}

#[tokio::test]
async fn types_of_postgresql_come_as_text_or_say_how() {
    let both = Both::with("").await;
    let Some((_, database)) = both.open(DatabaseLimits::default()).into_iter().nth(1) else {
        return;
    };
    let mut session = database.session();
    let query = "SELECT 1.50::numeric, '2026-02-03'::date, '2026-02-03 04:05:06+00'::timestamptz,
        'b5a5e2b0-0000-4000-8000-000000000000'::uuid, '{\"a\": 1}'::jsonb, 'x'::bpchar, 7::int2,
        '04:05:06.5'::time, '2026-02-03 04:05:06'::timestamp, 'NaN'::float4, $1::date";
    let parameters = vec![SqlValue::Text("2026-11-26".into())];
    let page = session.query(query, parameters).await.unwrap();
    let shown: Vec<_> = page.rows[0]
        .iter()
        .map(|value| format!("{value:?}"))
        .collect();
    assert_eq!(
        shown,
        [
            r#"Text("1.50")"#,
            r#"Text("2026-02-03")"#,
            r#"Text("2026-02-03T04:05:06Z")"#,
            r#"Text("b5a5e2b0-0000-4000-8000-000000000000")"#,
            r#"Text("{\"a\": 1}")"#,
            r#"Text("x")"#,
            "Integer(7)",
            r#"Text("04:05:06.5")"#,
            r#"Text("2026-02-03T04:05:06")"#,
            "Real(NaN)",
            r#"Text("2026-11-26")"#,
        ]
    );
    let error = session
        .query("SELECT '{1,2}'::int[] AS list", Vec::new())
        .await;
    assert!(error.unwrap_err().message.contains("select `list::text`"));
    // The session goes on.
    let page = session.query("SELECT 1::bigint", Vec::new()).await.unwrap();
    assert_eq!(ints(&page), [1]);
}

async fn fill(database: &Arc<Database>, count: i64) {
    let mut session = database.session();
    session.begin().await.unwrap();
    for id in 0..count {
        let row = vec![SqlValue::Integer(id), SqlValue::Text("x".into())];
        let insert = "INSERT INTO t (id, name) VALUES ($1, $2)";
        session.execute(insert, row).await.unwrap();
    }
    session.commit().await.unwrap();
}

#[tokio::test]
async fn rows_come_in_pages_until_another_statement() {
    let both = Both::with(TABLE).await;
    for (engine, database) in both.open(DatabaseLimits::default()) {
        fill(&database, 2_500).await;
        let mut session = database.session();
        let query = "SELECT id FROM t ORDER BY id";
        let mut page = session.query(query, Vec::new()).await.unwrap();
        let mut seen = ints(&page);
        let mut pages = 1;
        while page.more {
            page = session.next().await.unwrap();
            assert!(!page.rows.is_empty(), "{engine}");
            seen.extend(ints(&page));
            pages += 1;
        }
        assert_eq!(pages, 3, "{engine}");
        assert_eq!(seen, (0..2_500).collect::<Vec<_>>(), "{engine}");
        assert_eq!(session.next().await.unwrap_err().fault, SqlFault::Refused);
        // A page that is exactly full has no more.
        let page = session
            .query("SELECT id FROM t ORDER BY id LIMIT 1000", Vec::new())
            .await;
        assert!(!page.unwrap().more, "{engine}");
        // Another statement ends it.
        assert!(session.query(query, Vec::new()).await.unwrap().more);
        session
            .execute("UPDATE t SET name = 'y' WHERE id = 1", Vec::new())
            .await
            .unwrap();
        assert_eq!(
            session.next().await.unwrap_err().fault,
            SqlFault::Refused,
            "{engine}"
        );
        // So does the end of the session, and the connection serves the next.
        assert!(session.query(query, Vec::new()).await.unwrap().more);
        drop(session);
        let page = database
            .session()
            .query("SELECT count(*) FROM t", Vec::new())
            .await;
        assert_eq!(ints(&page.unwrap()), [2_500], "{engine}");
    }
}

#[tokio::test]
async fn a_transaction_is_kept_undone_or_ends_with_its_session() {
    let both = Both::with(TABLE).await;
    for (engine, database) in both.open(DatabaseLimits::default()) {
        let insert = |id| {
            (
                format!("INSERT INTO t (id, name) VALUES ({id}, 'a')"),
                Vec::new(),
            )
        };
        let mut session = database.session();
        assert_eq!(session.commit().await.unwrap_err().fault, SqlFault::Refused);
        for (id, end) in [(1, "commit"), (2, "rollback"), (3, "drop")] {
            let mut session = database.session();
            session.begin().await.unwrap();
            assert_eq!(session.begin().await.unwrap_err().fault, SqlFault::Refused);
            let (text, none) = insert(id);
            session.execute(&text, none).await.unwrap();
            match end {
                "commit" => session.commit().await.unwrap(),
                "rollback" => session.rollback().await.unwrap(),
                _ => drop(session),
            }
        }
        let page = session.query("SELECT id FROM t", Vec::new()).await.unwrap();
        assert_eq!(ints(&page), [1], "{engine}");
        // After a failed statement nothing of it can be kept in PostgreSQL, and it is said.
        session.begin().await.unwrap();
        let (text, none) = insert(4);
        session.execute(&text, none).await.unwrap();
        let error = session.execute(&insert(1).0, Vec::new()).await.unwrap_err();
        assert_eq!(error.fault, SqlFault::Refused);
        let unique = ["23505", "SQLITE_CONSTRAINT_PRIMARYKEY"];
        assert!(
            unique.contains(&error.code.as_deref().unwrap()),
            "{error:?}"
        );
        let ended = session.commit().await;
        assert_eq!(ended.is_err(), engine == "postgres");
        let page = session
            .query("SELECT id FROM t ORDER BY 1", Vec::new())
            .await
            .unwrap();
        assert_eq!(ints(&page).len(), if engine == "postgres" { 1 } else { 2 });
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_code_and_what_may_pass_is_told_apart() {
    let both = Both::with(TABLE).await;
    for (engine, database) in both.open(DatabaseLimits::default()) {
        let mut session = database.session();
        for (statement, values) in [
            ("SELEC 1", vec![]),
            ("SELECT * FROM nothing", vec![]),
            ("SELECT $1::text", vec![]),
            ("SELECT 1", vec![SqlValue::Null]),
            ("SELECT 1; SELECT 2", vec![]),
            ("INSERT INTO t (id) VALUES (9)", vec![]),
        ] {
            let error = session.query(statement, values).await.unwrap_err();
            assert_eq!(
                error.fault,
                SqlFault::Refused,
                "{engine}: {statement}: {error:?}"
            );
        }
        let page = session
            .query("SELECT count(*) FROM t", Vec::new())
            .await
            .unwrap();
        assert_eq!(ints(&page), [0], "{engine}");
    }
    let nowhere = Database::new(
        "main",
        "postgres://u@127.0.0.1:1/x",
        both.folder.path(),
        DatabaseLimits::default(),
    );
    let mut session = Arc::new(nowhere.unwrap()).session();
    let error = session.query("SELECT 1", Vec::new()).await.unwrap_err();
    assert_eq!(error.fault, SqlFault::Unavailable);
}

#[tokio::test]
async fn a_database_in_memory_is_the_same_for_one_session_after_the_other() {
    let limits = DatabaseLimits::default();
    let database = Database::in_memory(
        "main",
        "CREATE TABLE t (id int); INSERT INTO t VALUES (7)",
        limits,
    );
    let database = Arc::new(database);
    for expected in [1, 2] {
        let mut session = database.session();
        let page = session
            .query("SELECT count(*) FROM t", Vec::new())
            .await
            .unwrap();
        assert_eq!(ints(&page), [expected]);
        session
            .execute("INSERT INTO t VALUES (8)", Vec::new())
            .await
            .unwrap();
        session.begin().await.unwrap();
        session.execute("DELETE FROM t", Vec::new()).await.unwrap();
    }
}
