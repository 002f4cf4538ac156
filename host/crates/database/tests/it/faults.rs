//! What becomes of a session where a statement, a transaction or a connection does not
//! end as it should.

use std::{sync::Arc, time::Duration};

use pointsman_database::{Database, DatabaseLimits, SqlFault, SqlValue};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::block_in_place,
};

use crate::{Both, ints};

const TABLE: &str = "CREATE TABLE t (id bigint PRIMARY KEY, name text)";
const COUNT: &str = "SELECT count(*) FROM t";

fn insert(id: i64) -> String {
    format!("INSERT INTO t VALUES ({id}, 'a')")
}

async fn count(database: &Arc<Database>) -> i64 {
    let page = database.session().query(COUNT, Vec::new()).await;
    ints(&page.unwrap())[0]
}

/// Waits until a statement of the superuser gives this.
async fn until(both: &Both, statement: &str, wanted: &str) {
    let server = both.server().unwrap();
    let mut given = String::new();
    for _ in 0..600 {
        given = block_in_place(|| server.sql("postgres", statement));
        if given == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("`{statement}` gives {given}");
}

/// How many statements with this mark run.
fn running(mark: &str) -> String {
    format!(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%{mark}%' AND pid <> pg_backend_pid()"
    )
}

/// PostgreSQL behind a proxy that can be cut. The other end keeps it going.
async fn behind_a_proxy(both: &Both) -> Option<(Arc<Database>, watch::Sender<u32>)> {
    let (_, url) = both.databases.get(1)?;
    let port = both.server().unwrap().port;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    let (cut, cuts) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut cuts = cuts.clone();
            cuts.mark_unchanged();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => {}
                    _ = cuts.changed() => {}
                }
            });
        }
    });
    let url = url.replace(&format!(":{port}/"), &format!(":{own}/"));
    let limits = DatabaseLimits {
        connections_max: 1,
        statement_timeout: Duration::from_secs(60),
        ..DatabaseLimits::default()
    };
    let database = Database::new("main", &url, both.folder.path(), limits).unwrap();
    Some((Arc::new(database), cut))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_in_a_statement_is_told_and_replaced() {
    let both = Both::with(TABLE).await;
    let Some((database, cut)) = behind_a_proxy(&both).await else {
        return;
    };
    for (in_transaction, rows) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut session = database.session();
        if in_transaction {
            session.begin().await.unwrap();
            session.execute(&insert(1), Vec::new()).await.unwrap();
        }
        let cutting = async {
            until(&both, &running("pg_sleep(100)"), "1").await;
            cut.send_modify(|cuts| *cuts += 1);
        };
        let error = match rows {
            true => {
                let asked = session.query("SELECT 1, pg_sleep(100)", Vec::new());
                tokio::join!(asked, cutting).0.unwrap_err()
            }
            false => {
                let asked = session.execute("SELECT 2, pg_sleep(100)", Vec::new());
                tokio::join!(asked, cutting).0.unwrap_err()
            }
        };
        assert_eq!(error.fault, SqlFault::Unavailable, "{error:?}");
        if in_transaction {
            // Nothing runs outside the transaction that was begun.
            let error = session.execute(&insert(2), Vec::new()).await.unwrap_err();
            assert_eq!(error.code.as_deref(), Some("25P02"), "{error:?}");
            session.commit().await.unwrap_err();
        }
        let page = session.query(COUNT, Vec::new()).await.unwrap();
        assert_eq!(ints(&page), [0]);
        // What nobody sees any more ends on the server, too.
        until(&both, &running("pg_sleep(100)"), "0").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_nobody_answered_is_of_unknown_outcome() {
    let both = Both::with(TABLE).await;
    let Some((database, cut)) = behind_a_proxy(&both).await else {
        return;
    };
    let mut session = database.session();
    for statement in [
        "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(101); RETURN NULL; END $$",
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slowly()",
    ] {
        session.execute(statement, Vec::new()).await.unwrap();
    }
    session.begin().await.unwrap();
    session.execute(&insert(1), Vec::new()).await.unwrap();
    let cutting = async {
        until(&both, &running("COMMIT"), "1").await;
        cut.send_modify(|cuts| *cuts += 1);
    };
    let error = tokio::join!(session.commit(), cutting).0.unwrap_err();
    assert_eq!(error.code.as_deref(), Some("08007"), "{error:?}");
    assert_eq!(error.fault, SqlFault::Unavailable);
}

#[tokio::test]
async fn what_a_query_left_unread_undoes_nothing_of_its_transaction() {
    const MANY: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n";
    let both = Both::with(TABLE).await;
    for (engine, database) in both.open(DatabaseLimits::default()) {
        for id in 0..20 {
            let mut session = database.session();
            session.begin().await.unwrap();
            session.execute(&insert(2 * id), Vec::new()).await.unwrap();
            assert!(session.query(MANY, Vec::new()).await.unwrap().more);
            let next = insert(2 * id + 1);
            session.execute(&next, Vec::new()).await.unwrap();
            assert!(session.query(MANY, Vec::new()).await.unwrap().more);
            session.commit().await.unwrap();
        }
        assert_eq!(count(&database).await, 40, "{engine}");
        // Nor where the statement that is not read to its end is the one that changes.
        let all = "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 3099) SELECT i, 'b' FROM n RETURNING id";
        let mut session = database.session();
        assert!(session.query(all, Vec::new()).await.unwrap().more);
        drop(session);
        // It is left in the background.
        let mut seen = 0;
        for _ in 0..600 {
            seen = count(&database).await;
            if seen == 3_040 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(seen, 3_040, "{engine}");
    }
}

#[tokio::test]
async fn a_failure_behind_the_rows_that_were_read_ends_the_transaction() {
    let both = Both::with(TABLE).await;
    let Some((_, database)) = both.open(DatabaseLimits::default()).into_iter().nth(1) else {
        return;
    };
    // The first page ends by its bytes, far before the row that fails.
    let failing =
        "SELECT repeat('x', 200000) || (1 / (50 - i))::text FROM generate_series(1, 60) AS i";
    for follows in ["execute", "query", "commit", "next"] {
        let mut session = database.session();
        session.begin().await.unwrap();
        session.execute(&insert(1), Vec::new()).await.unwrap();
        let page = session.query(failing, Vec::new()).await.unwrap();
        assert!(page.more && page.rows.len() < 20);
        let error = match follows {
            "execute" => session.execute(&insert(2), Vec::new()).await.unwrap_err(),
            "query" => session.query(COUNT, Vec::new()).await.unwrap_err(),
            "next" => loop {
                if let Err(error) = session.next().await {
                    break error;
                }
            },
            _ => session.commit().await.unwrap_err(),
        };
        assert_eq!(error.code.as_deref(), Some("22012"), "{follows}: {error:?}");
        if follows != "commit" {
            let error = session.execute(&insert(3), Vec::new()).await.unwrap_err();
            assert_eq!(error.code.as_deref(), Some("25P02"), "{follows}: {error:?}");
            let error = session.commit().await.unwrap_err();
            assert_eq!(error.code.as_deref(), Some("25P02"), "{follows}: {error:?}");
        }
        // The connection goes on.
        assert_eq!(ints(&session.query(COUNT, Vec::new()).await.unwrap()), [0]);
    }
}

#[tokio::test]
async fn the_rest_of_an_endless_query_holds_nothing_up() {
    let both = Both::with(TABLE).await;
    for (engine, database) in both.open(DatabaseLimits::default()) {
        let endless = match engine {
            "sqlite" => {
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
            }
            _ => "SELECT generate_series(1, 9223372036854775807)",
        };
        for id in 0..10 {
            let mut session = database.session();
            if id % 2 == 0 {
                session.begin().await.unwrap();
            }
            assert!(session.query(endless, Vec::new()).await.unwrap().more);
            session.execute(&insert(id), Vec::new()).await.unwrap();
            assert!(session.query(endless, Vec::new()).await.unwrap().more);
            assert!(session.next().await.unwrap().more);
            if id % 2 == 0 {
                session.commit().await.unwrap();
            }
        }
        assert_eq!(count(&database).await, 10, "{engine}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_value_over_the_limit_is_refused_before_it_is_held() {
    fn peak_mb() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kb = line.unwrap().split_whitespace().nth(1).unwrap();
        kb.parse::<u64>().unwrap() / 1024
    }
    let both = Both::with(TABLE).await;
    let limits = DatabaseLimits {
        // The server takes its time to make the value.
        statement_timeout: Duration::from_secs(120),
        ..DatabaseLimits::default()
    };
    for (engine, database) in both.open(limits) {
        let values: &[&str] = match engine {
            "sqlite" => &[
                "SELECT zeroblob(500000000)",
                "SELECT printf('%.*c', 500000000, 'x')",
            ],
            _ => &["SELECT repeat('x', 500000000)"],
        };
        let before = peak_mb();
        for value in values {
            let mut session = database.session();
            session.begin().await.unwrap();
            let error = session.query(value, Vec::new()).await.unwrap_err();
            assert_eq!(error.fault, SqlFault::Denied, "{engine}: {error:?}");
            assert!(error.message.contains("`sql.main.bytes_max`"), "{error:?}");
            session.rollback().await.unwrap();
            assert_eq!(ints(&session.query(COUNT, Vec::new()).await.unwrap()), [0]);
        }
        let grown = peak_mb() - before;
        assert!(grown < 200, "{engine}: {grown} MB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_cannot_be_cancelled_keeps_the_place_of_its_connection() {
    let both = Both::with(TABLE).await;
    let limits = DatabaseLimits {
        connections_max: 1,
        statement_timeout: Duration::from_millis(500),
        ..DatabaseLimits::default()
    };
    let Some((_, database)) = both.open(limits).into_iter().nth(1) else {
        return;
    };
    let other = both.open(DatabaseLimits::default()).remove(1).1;
    let mut lock = other.session();
    let locked = lock.query("SELECT pg_advisory_lock(4711)", Vec::new());
    // It gives nothing that has a form here; it is done all the same.
    let _ = locked.await;
    let stubborn = "DO $$ BEGIN LOOP BEGIN
            EXIT WHEN pg_try_advisory_xact_lock(4711);
            PERFORM pg_sleep(0.02);
        EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$";
    let mut session = database.session();
    for _ in 0..4 {
        let error = session.execute(stubborn, Vec::new()).await.unwrap_err();
        assert_eq!(error.fault, SqlFault::Unavailable, "{error:?}");
        until(&both, &running("pg_try_advisory_xact_lock(4711)"), "1").await;
    }
    drop(lock);
    until(&both, &running("pg_try_advisory_xact_lock(4711)"), "0").await;
    for _ in 0..100 {
        if session.query(COUNT, Vec::new()).await.is_ok() {
            return;
        }
    }
    panic!("the place is not free");
}

#[tokio::test]
async fn a_statement_that_is_given_up_as_it_begins_ends() {
    const ENDLESS: &str =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let both = Both::with(TABLE).await;
    let limits = DatabaseLimits {
        connections_max: 1,
        statement_timeout: Duration::from_secs(60),
        ..DatabaseLimits::default()
    };
    for (engine, database) in both.open(limits) {
        for micros in (0..40).map(|step| step * 50) {
            // The connection is there.
            assert_eq!(count(&database).await, 0, "{engine}");
            let mut session = database.session();
            let endless = session.query(ENDLESS, Vec::new());
            let given_up = tokio::time::timeout(Duration::from_micros(micros), endless).await;
            assert!(given_up.is_err(), "{engine}");
        }
    }
}

#[tokio::test]
async fn nothing_temporary_of_sqlite_reaches_the_next_session() {
    let both = Both::with(TABLE).await;
    let limits = DatabaseLimits {
        connections_max: 1,
        ..DatabaseLimits::default()
    };
    let (_, database) = both.open(limits).swap_remove(0);
    let mut session = database.session();
    for statement in [
        "CREATE TEMP TABLE t (id)",
        "CREATE TEMPORARY TABLE IF NOT EXISTS x AS SELECT 1",
        "CREATE TABLE temp.x (id)",
        "CREATE TEMP VIEW v AS SELECT 1",
        "CREATE VIEW temp.v AS SELECT 1",
        "CREATE TEMP TRIGGER r AFTER INSERT ON main.t BEGIN DELETE FROM main.t; END",
        "CREATE VIRTUAL TABLE temp.f USING fts5(a)",
        "INSERT INTO temp.pointsman_forgotten VALUES (9)",
        "DROP TABLE temp.pointsman_forgotten",
        "SELECT total_changes()",
    ] {
        let error = session.execute(statement, Vec::new()).await.unwrap_err();
        assert_eq!(error.fault, SqlFault::Refused, "{statement}: {error:?}");
    }
    const LAST: &str = "SELECT last_insert_rowid() UNION ALL SELECT changes()";
    session.execute(&insert(7), Vec::new()).await.unwrap();
    let seen = session.query(LAST, Vec::new()).await.unwrap();
    assert_eq!(ints(&seen), [1, 1]);
    drop(session);
    let seen = database.session().query(LAST, Vec::new()).await.unwrap();
    assert_eq!(ints(&seen), [0, 0]);
    assert_eq!(count(&database).await, 1);
}

#[tokio::test]
async fn a_transaction_that_sqlite_ended_takes_nothing_more() {
    let both = Both::with(TABLE).await;
    let (_, database) = both.open(DatabaseLimits::default()).swap_remove(0);
    let mut session = database.session();
    session.execute(&insert(1), Vec::new()).await.unwrap();
    for commits in [true, false] {
        session.begin().await.unwrap();
        session.execute(&insert(2), Vec::new()).await.unwrap();
        let ending = "INSERT OR ROLLBACK INTO t VALUES (1, 'b')";
        let error = session.execute(ending, Vec::new()).await.unwrap_err();
        assert_eq!(error.code.as_deref(), Some("SQLITE_CONSTRAINT_PRIMARYKEY"));
        for _ in 0..2 {
            let error = session.execute(&insert(3), Vec::new()).await.unwrap_err();
            assert_eq!(error.code.as_deref(), Some("25P02"), "{error:?}");
            session.query(COUNT, Vec::new()).await.unwrap_err();
        }
        match commits {
            true => assert!(session.commit().await.is_err()),
            false => session.rollback().await.unwrap(),
        }
        assert_eq!(ints(&session.query(COUNT, Vec::new()).await.unwrap()), [1]);
    }
}

#[tokio::test]
async fn a_commit_that_fails_says_why_on_both() {
    let both = Both::with(&format!(
        "{TABLE}; CREATE TABLE child (parent bigint REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)"
    ))
    .await;
    for (engine, database) in both.open(DatabaseLimits::default()) {
        let mut session = database.session();
        session.begin().await.unwrap();
        session.execute(&insert(1), Vec::new()).await.unwrap();
        let orphan = "INSERT INTO child VALUES ($1)";
        let values = vec![SqlValue::Integer(9)];
        session.execute(orphan, values).await.unwrap();
        let error = session.commit().await.unwrap_err();
        let code = match engine {
            "sqlite" => "SQLITE_CONSTRAINT_FOREIGNKEY",
            _ => "23503",
        };
        assert_eq!(error.code.as_deref(), Some(code), "{engine}: {error:?}");
        assert_eq!(error.fault, SqlFault::Refused, "{engine}: {error:?}");
        assert_eq!(ints(&session.query(COUNT, Vec::new()).await.unwrap()), [0]);
        session.begin().await.unwrap();
        session.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn types_of_the_database_itself_are_read_by_each_session() {
    let both = Both::with("").await;
    let limits = DatabaseLimits {
        connections_max: 1,
        ..DatabaseLimits::default()
    };
    let Some((_, database)) = both.open(limits.clone()).into_iter().nth(1) else {
        return;
    };
    let mut session = database.session();
    for statement in [
        "CREATE TYPE mood AS ENUM ('sad', 'glad')",
        "CREATE DOMAIN amount AS bigint CHECK (VALUE > 0)",
        "CREATE EXTENSION citext",
        "CREATE TYPE pair AS (a int, b text)",
        "CREATE TABLE v (m mood, a amount, c citext, p pair)",
        "INSERT INTO v SELECT 'glad', i, 'Zoë', ROW(1, 'x')::pair FROM generate_series(1, 2500) AS i",
    ] {
        session.execute(statement, Vec::new()).await.unwrap();
    }
    drop(session);
    let read_only = DatabaseLimits {
        read_only: true,
        ..limits
    };
    let read_only = both.open(read_only).remove(1).1;
    for (database, in_transaction) in [
        (&database, false),
        (&database, true),
        (&read_only, false),
        (&read_only, true),
        (&database, false),
    ] {
        let mut session = database.session();
        if in_transaction {
            session.begin().await.unwrap();
        }
        let query = "SELECT m, a, c FROM v ORDER BY a";
        let mut page = session.query(query, Vec::new()).await.unwrap();
        let mut rows = std::mem::take(&mut page.rows);
        while page.more {
            page = session.next().await.unwrap();
            rows.append(&mut page.rows);
        }
        assert_eq!(rows.len(), 2_500);
        let text = |text: &str| SqlValue::Text(text.into());
        assert_eq!(
            rows[2_499],
            [text("glad"), SqlValue::Integer(2_500), text("Zoë")]
        );
        let error = session
            .query("SELECT p FROM v", Vec::new())
            .await
            .unwrap_err();
        assert!(error.message.contains("select `p::text`"), "{error:?}");
        let page = session
            .query("SELECT p::text FROM v LIMIT 1", Vec::new())
            .await;
        assert_eq!(page.unwrap().rows, [[text("(1,x)")]]);
    }
}
