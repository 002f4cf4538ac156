//! Lists of commands by the state of a delivery: each state is found in its own way.

use std::time::Duration;

use pointsman_core::outcome::Status;
use pointsman_queue::{Clock, CommandFilter, CommandId, Holds, Page, Settlement, State, Timestamp};

use crate::engines::{Fixture, command, done, error, name, on_both_engines};

on_both_engines![
    each_state_lists_its_commands_newest_first_and_each_once,
    pages_and_times_hold_for_each_state,
];

/// Two commands in each state, the older ones with a second delivery in the same state.
async fn stored(fixture: &Fixture) -> Vec<(State, CommandId, CommandId)> {
    let mut stored = Vec::new();
    for state in State::ALL {
        let mut pair = Vec::new();
        for handlers in [&["a", "b"][..], &["a"]] {
            let mut new = command(handlers);
            if state == State::Scheduled {
                new.run_at = Some(fixture.clock.now().after(Duration::from_secs(3600)));
            }
            pair.push(fixture.add(new).await);
            fixture.clock.advance(Duration::from_secs(1));
            bring(fixture, pair[pair.len() - 1], state).await;
        }
        stored.push((state, pair[0], pair[1]));
    }
    stored
}

/// Brings the deliveries of the newest command to a state.
async fn bring(fixture: &Fixture, id: CommandId, state: State) {
    let settlement = match state {
        // They are the first, and taken by all later claims unless these name others.
        State::Available | State::Scheduled => return,
        State::Cancelled => {
            fixture.store.cancel(id).await.unwrap();
            return;
        }
        State::Running => None,
        State::Completed => Some(done()),
        State::Discarded => Some(Settlement::Discard {
            error: error(Status::Rejected, "no"),
        }),
        State::Retryable => Some(Settlement::Retry {
            error: error(Status::Unavailable, "later"),
            delay: Duration::from_secs(3600),
            holds: Holds::Delivery,
        }),
    };
    for claimed in fixture.claim(99).await {
        if claimed.lease.delivery.command != id {
            let back = Settlement::Release;
            fixture.store.settle(claimed.lease, back).await.unwrap();
        } else if let Some(settlement) = &settlement {
            fixture
                .store
                .settle(claimed.lease, settlement.clone())
                .await
                .unwrap();
        }
    }
}

async fn listed(fixture: &Fixture, filter: CommandFilter, page: Page<CommandId>) -> Vec<CommandId> {
    let found = fixture.store.list(filter, page).await.unwrap();
    found.iter().map(|command| command.id).collect()
}

fn of(state: State) -> CommandFilter {
    CommandFilter {
        state: Some(state),
        ..CommandFilter::default()
    }
}

async fn each_state_lists_its_commands_newest_first_and_each_once(fixture: Fixture) {
    for (state, older, newer) in stored(&fixture).await {
        assert_eq!(
            listed(&fixture, of(state), Page::first(9)).await,
            [newer, older],
            "{state}"
        );
        let by_handler = |handler: &str| CommandFilter {
            handler: Some(name(handler)),
            ..of(state)
        };
        assert_eq!(
            listed(&fixture, by_handler("b"), Page::first(9)).await,
            [older],
            "{state}"
        );
        assert_eq!(
            listed(&fixture, by_handler("c"), Page::first(9)).await,
            [],
            "{state}"
        );
    }
}

async fn pages_and_times_hold_for_each_state(fixture: Fixture) {
    for (state, older, newer) in stored(&fixture).await {
        assert_eq!(
            listed(&fixture, of(state), Page::first(1)).await,
            [newer],
            "{state}"
        );
        let behind = Page {
            after: Some(newer),
            limit: 9,
        };
        assert_eq!(
            listed(&fixture, of(state), behind).await,
            [older],
            "{state}"
        );
        let at: Timestamp = fixture.store.get(newer).await.unwrap().created;
        let from = CommandFilter {
            created_from: Some(at),
            ..of(state)
        };
        assert_eq!(
            listed(&fixture, from, Page::first(9)).await,
            [newer],
            "{state}"
        );
        let until = CommandFilter {
            created_until: Some(at),
            ..of(state)
        };
        assert_eq!(
            listed(&fixture, until, Page::first(9)).await,
            [older],
            "{state}"
        );
    }
}
