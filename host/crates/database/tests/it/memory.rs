//! What SQLite may hold while it works for handlers.

use std::time::Duration;

use pointsman_database::{DatabaseLimits, SqlFault};

use crate::{Both, ints};

/// In a process of its own, since others look at the memory of this one.
#[test]
fn what_sorts_more_than_sqlite_may_hold_is_stopped() {
    const CHILD: &str = "POINTSMAN_TEST_SORTS";
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(sort_more_than_sqlite_may_hold());
    }
    let name = "memory::what_sorts_more_than_sqlite_may_hold_is_stopped";
    let ran = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

async fn sort_more_than_sqlite_may_hold() {
    let both = Both::with("").await;
    let limits = DatabaseLimits {
        statement_timeout: Duration::from_secs(120),
        ..DatabaseLimits::default()
    };
    for (engine, database) in both.open(limits.clone()) {
        if engine != "sqlite" {
            continue;
        }
        let hoard = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
            SELECT i, zeroblob(8000000 + i) AS bytes FROM n ORDER BY bytes DESC";
        let error = database.session().query(hoard, Vec::new()).await;
        let error = error.unwrap_err();
        assert_eq!(error.fault, SqlFault::Unavailable, "{error:?}");
        assert_eq!(error.code.as_deref(), Some("SQLITE_NOMEM"), "{error:?}");
        assert!(error.message.contains("sort"), "{error:?}");
        // It is held no longer, and the next statement has room.
        let few = hoard.replace("400", "4");
        let page = database.session().query(&few, Vec::new()).await;
        assert_eq!(ints(&page.unwrap())[0], 4);
    }
}
