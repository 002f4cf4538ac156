//! A handler and the databases that its operator grants.

use std::sync::Arc;

use pointsman::{host::Host, outcome::Status};
use pointsman_database::{Database, DatabaseLimits};
use serde_json::Value;

use crate::{
    host::{Folders, guest, only},
    postgres_server,
};

const RULE: &str =
    r#"{"rules":[{"name":"keeps","match":{"do":[{"exists":true}]},"handlers":["keeps"]}]}"#;

/// A host with the handler and these settings of it.
pub(super) fn folders(settings: &str) -> Folders {
    let folders = Folders::new();
    folders.plugin("keeps", guest("keeps"));
    folders.settings("keeps", settings);
    folders.rules("keeps.json", RULE);
    folders
}

/// What the handler answers, or how it ended.
pub(crate) async fn answer(app: &Host, command: &str) -> Result<Value, (Status, String)> {
    match only(app, command).await.outcome.result {
        Ok(output) => Ok(output.map_or(Value::Null, |json| {
            serde_json::from_str(json.get()).unwrap()
        })),
        Err(failure) => Err((failure.code, failure.message)),
    }
}

async fn works(folders: &Folders) {
    let app = folders.start().await;
    let insert = r#"{"do":"insert","id":7,"name":"Ada"}"#;
    assert_eq!(answer(&app, insert).await, Ok(1.into()));
    let (status, message) = answer(&app, insert).await.unwrap_err();
    assert_eq!(status, Status::Rejected, "{message}");
    let (fails, keeps) = (
        r#"{"do":"transaction","fail":true}"#,
        r#"{"do":"transaction"}"#,
    );
    assert_eq!(answer(&app, fails).await.unwrap_err().0, Status::Rejected);
    let (status, _) = answer(&app, r#"{"do":"left-open"}"#).await.unwrap_err();
    assert_eq!(status, Status::Trapped);
    let customers = r#"{"do":"customers"}"#;
    assert_eq!(
        answer(&app, customers).await,
        Ok(["7 Ada"].into_iter().collect())
    );
    assert_eq!(answer(&app, keeps).await, Ok("kept".into()));
    let both = ["7 Ada", "8 kept?"].into_iter().collect();
    assert_eq!(answer(&app, customers).await, Ok(both));
    assert_eq!(answer(&app, r#"{"do":"many"}"#).await, Ok(5_000.into()));
    // The rows of one statement are not taken for those of another.
    let (_, message) = answer(&app, r#"{"do":"twice"}"#).await.unwrap_err();
    assert!(
        message.contains("another statement ended the rows"),
        "{message}"
    );
    app.stop().await;
}

const TABLE: &str = "CREATE TABLE customer (id bigint PRIMARY KEY, name text NOT NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_queries_changes_and_undoes_in_sqlite() {
    let folders = folders("[sql.main]\nurl = \"sqlite:customers.db\"");
    let plugins = folders.path().join("plugins");
    let file = Database::new(
        "main",
        "sqlite:customers.db",
        &plugins,
        DatabaseLimits::default(),
    );
    let mut session = Arc::new(file.unwrap()).session();
    session.execute(TABLE, Vec::new()).await.unwrap();
    works(&folders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_queries_changes_and_undoes_in_postgresql() {
    let Some(server) = postgres_server::server() else {
        return;
    };
    let name = server.database("");
    server.sql(&name, TABLE);
    let folders = folders("[sql.main]\nurl = { file = \"url\" }");
    let url = server.url_of("postgres", &name);
    std::fs::write(folders.path().join("plugins/url"), url).unwrap();
    works(&folders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_there_only_where_it_is_granted_and_the_line_to_add_is_said() {
    let folders = folders("[sql.main]\nurl = \"sqlite:customers.db\"\nread_only = false");
    let app = folders.start().await;
    let query = r#"{"do":"query","database":"mian","sql":"SELECT 1"}"#;
    let (status, message) = answer(&app, query).await.unwrap_err();
    assert_eq!(status, Status::Denied);
    assert!(message.contains("did you mean `main`?"), "{message}");
    assert!(
        message.contains("plugins/keeps.toml: [sql.mian]"),
        "{message}"
    );
    // What reaches past it is none of a handler's statements.
    for statement in [
        "ATTACH 'other.db' AS other",
        "PRAGMA user_version = 7",
        "COMMIT",
    ] {
        let query = format!(r#"{{"do":"query","database":"main","sql":"{statement}"}}"#);
        assert_eq!(answer(&app, &query).await.unwrap_err().0, Status::Rejected);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_cannot_work_is_told_with_its_key_and_without_the_password() {
    for (settings, wanted) in [
        (
            "[sql.main]\nurl = \"postgres://u:S3cret@h/x\"",
            "`sql.main.url` is no file of SQLite",
        ),
        (
            "[sql.main]\nurl = { env = \"NO_SUCH_VARIABLE\" }",
            "database `main`: the environment variable",
        ),
        (
            "[sql.main]\nurl = { file = \"nothing\" }",
            "database `main`: the file",
        ),
        (
            "[sql.main]\nurl = \"sqlite:a.db\"\nrows_max = 0",
            "`sql.main.rows_max` is 0",
        ),
        ("[sql.main]\nread_only = true", "missing field `url`"),
        (
            "[sql.main]\nurl = \"sqlite:a.db\"\nreadonly = true",
            "readonly",
        ),
    ] {
        let folders = folders(settings);
        let app = folders.start().await;
        let problems: Vec<_> = app
            .snapshot()
            .problems
            .iter()
            .map(ToString::to_string)
            .collect();
        let said = problems.join("\n");
        assert!(said.contains(wanted), "{settings}: {said}");
        assert!(!said.contains("S3cret"), "{said}");
        app.stop().await;
    }
}
