use std::{collections::HashMap, time::Duration};

use pointsman_core::{
    command::CommandId, delivery::DeliveryId, outcome::Status, settings::RetrySettings,
};

use super::{
    retry::{random_unit, settle_with},
    *,
};
use crate::{
    clock::Timestamp,
    ending::Ending,
    error::QueueError,
    model::{Failures, NewCommand, Settlement},
    settings::RetentionSettings,
    state::State,
};

fn delay(settlement: Settlement) -> Option<Duration> {
    match settlement {
        Settlement::Retry { delay, .. } => Some(delay),
        _ => None,
    }
}

#[test]
fn the_backoff_doubles_up_to_its_cap() {
    let policy = RetrySettings {
        delay_max: Duration::from_secs(5),
        ..RetrySettings::default()
    };
    let waits: Vec<_> = (0..5)
        .map(|transient| {
            let failures = Failures {
                transient,
                ..Failures::default()
            };
            let result = RunResult::failed(Status::Unavailable, "later");
            delay(settle_with(&policy, failures, result, 1.0))
                .unwrap()
                .as_secs()
        })
        .collect();
    assert_eq!(waits, [1, 2, 4, 5, 5]);
}

#[test]
fn each_class_of_failure_has_its_own_limit() {
    let policy = RetrySettings::default();
    let failures = Failures {
        trap: 2,
        ..Failures::default()
    };
    let settle = |status| settle_with(&policy, failures, RunResult::failed(status, ""), 0.5);
    assert_eq!(delay(settle(Status::Trapped)), None);
    assert!(delay(settle(Status::TimedOut)).is_some());
    assert_eq!(delay(settle(Status::Rejected)), None);
}

#[test]
fn retry_after_is_obeyed() {
    let mut result = RunResult::failed(Status::Unavailable, "later");
    result.retry_after = Some(Duration::from_secs(7));
    let settlement = settle_with(&RetrySettings::default(), Failures::default(), result, 0.0);
    assert_eq!(delay(settlement), Some(Duration::from_secs(7)));
}

#[test]
fn jitter_is_drawn_from_all_of_its_range() {
    let units: Vec<f64> = (0..200).map(|_| random_unit()).collect();
    assert!(units.iter().all(|unit| (0.0..=1.0).contains(unit)));
    // Each fails once in 2^200 runs.
    assert!(units.iter().any(|unit| *unit < 0.5));
    assert!(units.iter().any(|unit| *unit >= 0.5));
}

#[test]
fn a_lost_lease_is_given_to_another_host_until_it_is_taken_to_be_the_cause() {
    let end = |hosts_lost, cancel_requested| {
        let lost = LostLease {
            attempt: 7,
            hosts_lost,
            cancel_requested,
        };
        let end = lost.end();
        assert_eq!(end.hosts_lost, hosts_lost.saturating_add(1));
        assert_eq!(end.error.status, Ending::HostLost);
        assert!(
            end.error.message.contains("attempt 7"),
            "{}",
            end.error.message
        );
        end.state
    };
    assert_eq!(end(0, false), State::Available);
    assert_eq!(end(HOSTS_LOST_MAX - 2, false), State::Available);
    assert_eq!(end(HOSTS_LOST_MAX - 1, false), State::Discarded);
    assert_eq!(end(u32::MAX, false), State::Discarded);
    assert_eq!(end(0, true), State::Cancelled);
    assert_eq!(end(HOSTS_LOST_MAX, true), State::Cancelled);
}

#[test]
fn what_was_cancelled_while_it_ran_is_cancelled_unless_it_is_done() {
    for asked in State::ALL {
        assert_eq!(settled(asked, false), asked);
        let cancelled = match asked {
            State::Completed => State::Completed,
            _ => State::Cancelled,
        };
        assert_eq!(settled(asked, true), cancelled);
    }
}

#[test]
fn the_queue_is_full_only_for_what_adds_to_it() {
    for (depth, added, fits) in [
        (0, 10, true),
        (1, 10, false),
        (10, 0, true),
        (99, 0, true),
        (u64::MAX, 1, false),
    ] {
        assert_eq!(admit(depth, added, 10).is_ok(), fits, "{depth} + {added}");
    }
}

fn keyed(key: Option<&str>, attributes: &str) -> NewCommand {
    NewCommand {
        idempotency_key: key.map(str::to_owned),
        ..NewCommand::new(attributes, Vec::new())
    }
}

#[test]
fn a_key_names_the_first_command_that_had_it_stored_or_in_the_batch() {
    let first = CommandId::generate();
    let stored = HashMap::from([("old".to_owned(), (first, body_digest("{}")))]);
    let batch = [
        keyed(None, "{}"),
        keyed(None, "{}"),
        keyed(Some("old"), "{}"),
        keyed(Some("new"), "{}"),
        keyed(Some("new"), "{}"),
    ];
    let answers = recognise(&batch, &stored).unwrap();
    let told: Vec<_> = answers.iter().map(|one| (one.id, one.repeated)).collect();
    let expected = [
        (batch[0].id, false),
        (batch[1].id, false),
        (first, true),
        (batch[3].id, false),
        (batch[3].id, true),
    ];
    assert_eq!(told, expected);
    for (key, of) in [("old", first), ("new", batch[3].id)] {
        let other = keyed(Some(key), "{\"a\":1}");
        match recognise(&[batch[3].clone(), other], &stored).unwrap_err() {
            QueueError::Conflict { key: named, first } => {
                assert_eq!((named.as_str(), first), (key, of))
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_may_only_repeat_another_is_refused_where_it_is_new() {
    let stored = HashMap::from([("old".to_owned(), (CommandId::generate(), body_digest("{}")))]);
    let repeat = |key| NewCommand {
        may_be_new: false,
        ..keyed(key, "{}")
    };
    for key in [Some("new"), None] {
        let refused = recognise(&[repeat(key)], &stored).unwrap_err();
        assert_eq!(refused.code(), "not-repeated");
    }
    assert!(recognise(&[repeat(Some("old"))], &stored).unwrap()[0].repeated);
    let batch = [keyed(Some("new"), "{}"), repeat(Some("new"))];
    assert!(recognise(&batch, &stored).unwrap()[1].repeated);
}

#[test]
fn a_bulk_change_goes_on_below_a_full_step() {
    let full: Vec<i64> = (1..=DEAD_STEP).rev().collect();
    assert_eq!(next_step(&full), Some(1));
    assert_eq!(next_step(&full[1..]), None);
    assert_eq!(next_step(&[]), None);
}

#[test]
fn one_delivery_that_is_not_dead_is_refused_with_where_it_is() {
    let id = DeliveryId::new(CommandId::generate(), "a".to_owned().try_into().unwrap());
    for state in State::ALL {
        match (state, refuse_one(&id, Some(state))) {
            (State::Discarded, Ok(())) => {}
            (_, Err(QueueError::NotDead { id: of, state: at })) => {
                assert_eq!((of, at), (id.clone(), state));
            }
            (_, other) => panic!("{state}: {other:?}"),
        }
    }
    let unknown = refuse_one(&id, None).unwrap_err();
    assert_eq!(unknown.code(), "unknown-delivery");
}

#[test]
fn a_sweep_takes_steps_until_one_finds_nothing_then_the_next_pass() {
    let first = Sweep::<u32>::FIRST;
    let second = first.next(Some(7)).unwrap();
    assert_eq!((second.pass, second.after), (Pass::Age, Some(7)));
    let size = second.next(None).unwrap();
    assert_eq!((size.pass, size.after), (Pass::Size, None));
    let dead = size.next(Some(1)).unwrap().next(None).unwrap();
    assert_eq!((dead.pass, dead.after), (Pass::DeadSize, None));
    assert_eq!(dead.next(None), None);
    let begins = [first, second, size, dead].map(|step| step.is_first());
    assert_eq!(begins, [true, false, false, false]);
}

#[test]
fn the_passes_of_the_retention_spare_the_dead_letter_longest() {
    let policy = RetentionSettings {
        age: Duration::from_millis(10),
        dead_age: Duration::from_millis(30),
        bytes_max: 0,
    };
    let now = Timestamp::from_millis(100);
    let mut passes = vec![Pass::Age];
    while let Some(next) = passes.last().and_then(|pass| pass.next()) {
        passes.push(next);
    }
    let cutoffs: Vec<_> = passes
        .iter()
        .map(|pass| pass.cutoffs(&policy, now))
        .map(|cutoffs| {
            (
                cutoffs.ended.as_millis(),
                cutoffs.dead.as_millis(),
                cutoffs.latest().as_millis(),
            )
        })
        .collect();
    assert_eq!(
        cutoffs,
        [(90, 70, 90), (100, i64::MIN, 100), (100, 100, 100)]
    );
    let for_size: Vec<_> = passes.iter().map(|pass| pass.is_for_size()).collect();
    assert_eq!(for_size, [false, true, true]);
}
