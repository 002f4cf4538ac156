//! The services of the host from each language: the same handler, the same answers.

use std::{fs, sync::Arc};

use pointsman::{host::Host, outcome::Status};
use pointsman_database::{Database, DatabaseLimits};
use serde_json::{Value, json};

use super::{asked_for, pointsman};
use crate::{
    host::Folders,
    services::{answer, with_queue},
};

const SETTINGS: &str = "[sql.main]\nurl = \"sqlite:../customers.db\"\n[state]\n[emit]";
const TABLE: &str = "CREATE TABLE customer (id bigint PRIMARY KEY, name text NOT NULL)";

/// The folder of a handler that does what the commands of this test ask.
fn create(folders: &Folders, language: &str) {
    let (file, source) = match language {
        "js" => (
            "src/handler.js",
            include_str!("keeps/handler.js").to_owned(),
        ),
        "ts" => {
            let source = include_str!("keeps/handler.js");
            let typed = source
                .replace(
                    "const WAYS = {",
                    "const WAYS: Record<string, (command: Command) => any> = {",
                )
                .replace(
                    "import { field, handler }",
                    "import { type Command, field, handler }",
                )
                .replace("main.each(", "main.each<{ i: number }>(")
                .replace("const row = main.query(", "const row = main.query<any>(")
                .replace("catch (error)", "catch (error: any)")
                .replace(
                    "state.get(command.attributes.key)",
                    "state.get(command.attributes.key as never)",
                )
                // What no type lets pass.
                .replace("[{}]", "[{} as never]");
            ("src/handler.ts", typed)
        }
        "c" => ("src/handler.c", include_str!("keeps/handler.c").to_owned()),
        _ => ("handler.py", include_str!("keeps/handler.py").to_owned()),
    };
    pointsman(folders, &["new", "keeps", "--lang", language]);
    fs::write(folders.path().join("keeps").join(file), source).unwrap();
    pointsman(folders, &["build", "keeps"]);
}

const INSERT: &str = r#"{"do":"insert","id":7,"name":"Ada"}"#;

/// What is the same whatever the language.
async fn answers(host: &Host, language: &str) {
    for (command, wanted) in [
        (INSERT, json!(1)),
        (r#"{"do":"customers"}"#, json!(["7 Ada"])),
        (
            r#"{"do":"caught"}"#,
            json!(["refused", "SQLITE_CONSTRAINT_PRIMARYKEY"]),
        ),
        (r#"{"do":"transaction"}"#, json!("kept")),
        (r#"{"do":"customers"}"#, json!(["7 Ada", "8 kept?"])),
        (r#"{"do":"many"}"#, json!(5_000)),
        (
            r#"{"do":"values"}"#,
            json!([null, 1, 7, "4611686018427387904", 0.5, "Zoë", [0, 255]]),
        ),
        (r#"{"do":"count"}"#, json!(1)),
        (r#"{"do":"count"}"#, json!(2)),
        (
            r#"{"do":"state"}"#,
            json!([{"b": [1, null]}, null, true, false, true, true, [["p/1", 1], ["p/2", 2]]]),
        ),
    ] {
        assert_eq!(
            answer(host, command).await,
            Ok(wanted),
            "{language}: {command}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_state_and_follow_up_commands_are_the_same_in_every_language() {
    for language in asked_for(&["js", "ts", "python", "c"]) {
        let folders = Folders::new();
        create(&folders, language);
        folders.settings("keeps", SETTINGS);
        folders.rules(
            "keeps.json",
            r#"{"rules":[{"name":"keeps","match":{"do":[{"exists":true}]},"handlers":["keeps"]}]}"#,
        );
        let limits = DatabaseLimits::default();
        let database = Database::new("main", "sqlite:customers.db", folders.path(), limits);
        let mut session = Arc::new(database.unwrap()).session();
        session.execute(TABLE, Vec::new()).await.unwrap();

        let app = with_queue(&folders).await;
        answers(&app, language).await;
        for command in [INSERT, r#"{"do":"wrong"}"#] {
            let (status, message) = answer(&app, command).await.unwrap_err();
            assert_eq!(status, Status::Rejected, "{language}: {message}");
        }
        let rounded = answer(&app, r#"{"do":"rounded"}"#).await;
        if ["python", "c"].contains(&language) {
            assert_eq!(rounded, Ok(json!("9007199254740993")));
        } else {
            // Better than a number that is not the one in the row.
            let (_, message) = rounded.unwrap_err();
            assert!(message.contains("select it as text"), "{message}");
        }
        if language != "c" {
            let (_, message) = answer(&app, r#"{"do":"twice"}"#).await.unwrap_err();
            assert!(
                message.contains("another statement ended the rows"),
                "{message}"
            );
        }
        if ["js", "ts"].contains(&language) {
            let large = answer(&app, r#"{"do":"large"}"#).await;
            assert_eq!(large, Ok(json!(["RangeError", 9_007_199_254_740_991_u64])));
            let (_, message) = answer(&app, r#"{"do":"unnamed"}"#).await.unwrap_err();
            assert!(message.contains("a key must be a string"), "{message}");
        }
        let fails = r#"{"do":"transaction","fail":true,"id":9}"#;
        assert_eq!(answer(&app, fails).await.unwrap_err().0, Status::Rejected);
        let id = answer(&app, r#"{"do":"emit"}"#).await.unwrap();
        let view = app
            .queue()
            .unwrap()
            .store()
            .get(id.as_str().unwrap().parse().unwrap());
        let view = view.await.unwrap();
        let delivery = &view.deliveries[0];
        let found = (
            delivery.state.as_str(),
            delivery.priority,
            delivery.ordering_key.as_deref(),
        );
        assert_eq!(found, ("scheduled", 5, Some("k")), "{language}");
        assert_eq!(answer(&app, r#"{"do":"nothing"}"#).await, Ok(Value::Null));
        app.stop().await;

        // What may pass is tried again.
        fs::remove_file(folders.path().join("customers.db")).unwrap();
        fs::create_dir(folders.path().join("customers.db")).unwrap();
        let app = with_queue(&folders).await;
        let (status, message) = answer(&app, r#"{"do":"customers"}"#).await.unwrap_err();
        assert_eq!(status, Status::Unavailable, "{language}: {message}");
        app.stop().await;
    }
}
