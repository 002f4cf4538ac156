//! Commands that are stored before they are routed, such as those that applications enqueue in
//! transactions of their own.

use pointsman_queue::{NewCommand, NewDelivery, ROUTER, RoutedTo, Settlement, State};

use crate::engines::{Fixture, command, done, on_both_engines, state};

on_both_engines![
    those_to_the_handlers_take_the_place_of_the_delivery_that_routes,
    a_command_that_is_cancelled_or_matches_nothing_ends,
];

fn to(handlers: &[&str]) -> Settlement {
    let deliveries: Vec<NewDelivery> = command(handlers).deliveries;
    Settlement::Route(RoutedTo {
        rules_generation: 7,
        deliveries,
    })
}

async fn those_to_the_handlers_take_the_place_of_the_delivery_that_routes(fixture: Fixture) {
    let ordered = || NewCommand {
        ordering_key: Some("k".to_owned()),
        priority: 3,
        ..command(&[ROUTER])
    };
    let (first, second) = (fixture.add(ordered()).await, fixture.add(ordered()).await);
    let claimed = fixture.claim_one().await;
    assert!(
        fixture.claim(9).await.is_empty(),
        "the second was before its turn"
    );
    let settle = |lease, settlement| fixture.store.settle(lease, settlement);
    let routed = settle(claimed.lease.clone(), to(&["a", "b"])).await;
    assert_eq!(routed.unwrap(), State::Completed);
    let late = settle(claimed.lease, to(&["c"])).await.unwrap_err();
    assert_eq!(late.code(), "lease-lost");
    let view = fixture.store.get(first).await.unwrap();
    assert_eq!((view.rules_generation, view.state()), (7, State::Available));
    let shown: Vec<_> = view
        .deliveries
        .iter()
        .map(|one| (one.id.handler.as_str(), one.priority))
        .collect();
    assert_eq!(shown, [("a", 3), ("b", 3)]);
    let depth = fixture.store.depth().await.unwrap();
    let depth: Vec<_> = depth
        .iter()
        .map(|one| (one.handler.as_str(), one.count))
        .collect();
    assert_eq!(depth, [("a", 1), ("b", 1), (ROUTER, 1)]);
    let claims = fixture.claim(9).await;
    assert_eq!(claims.len(), 3);
    let lease = |handler: &str| {
        let of = claims
            .iter()
            .find(|one| one.lease.delivery.handler.as_str() == handler);
        of.unwrap().lease.clone()
    };
    settle(lease(ROUTER), to(&["a"])).await.unwrap();
    assert!(fixture.claim(9).await.is_empty(), "it overtook the first");
    settle(lease("a"), done()).await.unwrap();
    assert_eq!(fixture.claim_one().await.lease.delivery.command, second);
}

async fn a_command_that_is_cancelled_or_matches_nothing_ends(fixture: Fixture) {
    let cancelled = fixture.add(command(&[ROUTER])).await;
    let claimed = fixture.claim_one().await;
    fixture.store.cancel(cancelled).await.unwrap();
    let settled = fixture.store.settle(claimed.lease, to(&["a"])).await;
    assert_eq!(settled.unwrap(), State::Cancelled);
    let unmatched = fixture.add(command(&[ROUTER])).await;
    let claimed = fixture.claim_one().await;
    fixture.store.settle(claimed.lease, to(&[])).await.unwrap();
    assert_eq!(state(&fixture, unmatched).await, State::Completed);
    assert!(fixture.claim(9).await.is_empty());
}

#[cfg(feature = "postgres")]
mod sql {
    use std::{sync::Arc, time::Duration};

    use pointsman_queue::{
        CommandId, NewCommand, ROUTER, State, Store as _,
        postgres::{Postgres, PostgresConfig},
    };

    use crate::{
        engines::{command, request, until},
        postgres_server::{Server, server},
    };

    /// A name that needs quoting.
    const SCHEMA: &str = "o'b\"c D";
    const QUOTED: &str = "\"o'b\"\"c D\"";

    /// A store with an application beside it, which may call the function and nothing else.
    async fn store() -> Option<(Arc<Server>, String, Postgres)> {
        let server = server()?;
        let database = server.database("");
        let store = Postgres::open(PostgresConfig {
            schema: SCHEMA.to_owned(),
            ..PostgresConfig::new(server.url_of("postgres", &database))
        });
        let store = store.await.unwrap();
        server.sql(
            &database,
            &format!(
                "CREATE ROLE {database}_app; GRANT USAGE ON SCHEMA {QUOTED} TO {database}_app;
                 GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {QUOTED} TO {database}_app;
                 CREATE ROLE {database}_other; GRANT USAGE ON SCHEMA {QUOTED} TO {database}_other;
                 CREATE TABLE orders (id int); GRANT INSERT ON orders TO {database}_app"
            ),
        );
        Some((server, database, store))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_application_enqueues_with_what_it_writes_or_not_at_all() {
        let Some((server, database, store)) = store().await else {
            return;
        };
        until("it listens", || store.signals().listening()).await;
        let mut work = store.signals().work();
        work.mark_unchanged();
        let app = |statements: &str| {
            server.sql(&database, &format!("SET ROLE {database}_app; {statements}"))
        };
        app(&format!(
            "BEGIN; INSERT INTO orders VALUES (1); SELECT {QUOTED}.enqueue_v1('{{}}'); ROLLBACK"
        ));
        assert_eq!(
            server.sql(&database, &format!("SELECT count(*) FROM {QUOTED}.command")),
            "0"
        );
        let call =
            format!("SELECT {QUOTED}.enqueue_v1('{{\"a\": 1.0}}', 'key-1', ordering_key => 'k')");
        let id = app(&format!(
            "BEGIN; INSERT INTO orders VALUES (1); {call}; COMMIT"
        ));
        let told = tokio::time::timeout(Duration::from_secs(60), work.changed());
        told.await.expect("no host was told").unwrap();
        let id: CommandId = id.parse().unwrap();
        assert_eq!(id.0.get_version_num(), 7);
        let view = store.get(id).await.unwrap();
        assert_eq!(view.attributes.as_deref(), Some("{\"a\": 1.0}"));
        assert_eq!(view.deliveries[0].id.handler.as_str(), ROUTER);
        // The same key over any way.
        assert_eq!(app(&call), id.to_string());
        let repeat = NewCommand {
            idempotency_key: Some("key-1".to_owned()),
            attributes: "{\"a\": 1.0}".to_owned(),
            ..command(&["a"])
        };
        let repeat = store.enqueue(vec![repeat]).await.unwrap()[0];
        assert_eq!((repeat.id, repeat.repeated), (id, true));
        // What is no command is stored: a host says what is wrong.
        let broken = app(&format!("SELECT {QUOTED}.enqueue_v1('no json')"));
        let later = app(&format!(
            "SELECT {QUOTED}.enqueue_v1('{{\"a\": 2}}'::jsonb, run_at => now() + interval '1 hour')"
        ));
        let later = store.get(later.parse().unwrap()).await.unwrap();
        assert_eq!(later.state(), State::Scheduled);
        let claims = store.claim(request(9)).await.unwrap().deliveries;
        let claims: Vec<_> = claims
            .iter()
            .map(|one| one.lease.delivery.command.to_string())
            .collect();
        assert_eq!(claims, [id.to_string(), broken]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_may_call_the_function_may_nothing_else() {
        let Some((server, database, _store)) = store().await else {
            return;
        };
        let refused = |role: &str, statement: &str, condition: &str| {
            let statement = format!(
                "SET ROLE {database}_{role}; DO $$ BEGIN {statement}; RAISE 'it was done';
                 EXCEPTION WHEN {condition} THEN NULL; END $$"
            );
            server.sql(&database, &statement);
        };
        let call = |arguments: &str| format!("PERFORM {QUOTED}.enqueue_v1({arguments})");
        refused("other", &call("'{}'"), "insufficient_privilege");
        refused("other", &call("'{}'::jsonb"), "insufficient_privilege");
        refused(
            "app",
            &format!("PERFORM 1 FROM {QUOTED}.command"),
            "insufficient_privilege",
        );
        for wrong in [
            "NULL::text",
            "'{}', ''",
            "'{}', E'a\\nb'",
            "'{}', ordering_key => repeat('x', 256)",
        ] {
            refused("app", &call(wrong), "invalid_parameter_value");
        }
        server.sql(
            &database,
            &format!("SELECT {QUOTED}.enqueue_v1('{{}}', 'k')"),
        );
        refused("app", &call("'[]', 'k'"), "unique_violation");
        assert_eq!(
            server.sql(
                &database,
                &format!("SELECT count(*) FROM {QUOTED}.delivery")
            ),
            "1"
        );
    }
}
