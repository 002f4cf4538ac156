//! Handlers' databases against real servers and files.

mod faults;
mod grants;
mod memory;
#[expect(dead_code, reason = "the tests of the queue use the rest")]
#[path = "../../../queue/tests/it/postgres_server.rs"]
mod postgres_server;
#[path = "../../../queue/tests/it/postgres_tls.rs"]
mod postgres_tls;
mod statements;
mod tls;

use std::{path::Path, sync::Arc};

use pointsman_database::{Database, DatabaseLimits, SqlPage, SqlValue};
use tempfile::TempDir;

/// One of each engine, which hold the same table. The rest keeps them there.
pub(crate) struct Both {
    pub(crate) databases: Vec<(&'static str, String)>,
    pub(crate) folder: TempDir,
    server: Option<Arc<postgres_server::Server>>,
}

impl Both {
    pub(crate) async fn with(tables: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut databases = vec![("sqlite", "sqlite:test.db".to_owned())];
        let server = postgres_server::server();
        if let Some(server) = &server {
            let name = server.database("");
            databases.push(("postgres", server.url_of("postgres", &name)));
        }
        let both = Self {
            databases,
            folder,
            server,
        };
        for (_, database) in both.open(DatabaseLimits::default()) {
            let mut session = database.session();
            for table in tables.split(';').filter(|table| !table.trim().is_empty()) {
                session.execute(table, Vec::new()).await.unwrap();
            }
        }
        both
    }

    pub(crate) fn open(&self, limits: DatabaseLimits) -> Vec<(&'static str, Arc<Database>)> {
        let open = |(engine, url): &(&'static str, String)| {
            let database = Database::new("main", url, self.folder.path(), limits.clone());
            (*engine, Arc::new(database.unwrap()))
        };
        self.databases.iter().map(open).collect()
    }

    pub(crate) fn server(&self) -> Option<&postgres_server::Server> {
        self.server.as_deref()
    }
}

pub(crate) fn ints(page: &SqlPage) -> Vec<i64> {
    let int = |row: &Vec<SqlValue>| match row[0] {
        SqlValue::Integer(int) => int,
        ref other => panic!("{other:?}"),
    };
    page.rows.iter().map(int).collect()
}

#[test]
fn a_url_that_names_no_database_is_refused_without_repeating_it() {
    for url in [
        "",
        "sqlite:",
        "sqlite::memory:",
        "mysql://u:S3cret@h/x",
        "postgres:///S3cret",
    ] {
        let error = Database::new("main", url, Path::new("."), DatabaseLimits::default());
        let error = error.unwrap_err();
        assert!(!format!("{error:?}").contains("S3cret"), "{error:?}");
        assert!(!error.hint.is_empty());
    }
}
