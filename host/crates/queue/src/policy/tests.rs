use std::{collections::HashMap, time::Duration};

use pointsman_core::{
    command::CommandId, delivery::DeliveryId, outcome::Status, settings::RetrySettings,
};

use super::{
    ordering::in_line,
    retry::{random_unit, settle_with},
    *,
};
use crate::{
    clock::Timestamp,
    ending::Ending,
    error::QueueError,
    model::{Failures, NewCommand, NewDelivery, Settlement},
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
fn jitter_stays_in_its_range() {
    assert!(
        (0..100)
            .map(|_| random_unit())
            .all(|unit| (0.0..=1.0).contains(&unit))
    );
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

/// A command to these handlers, in the line `key`, that is to run at a time.
fn ordered(handlers: &[&str], key: Option<&str>, run_at_ms: Option<i64>) -> NewCommand {
    let delivery = |handler: &&str| NewDelivery {
        handler: (*handler).to_owned().try_into().unwrap(),
        digest: String::new(),
        rules: Vec::new(),
    };
    NewCommand {
        ordering_key: key.map(str::to_owned),
        run_at: run_at_ms.map(Timestamp::from_millis),
        ..NewCommand::new("{}", handlers.iter().map(delivery).collect())
    }
}

#[test]
fn a_new_delivery_enters_the_line_of_its_handler_and_key_unless_it_is_scheduled() {
    let commands = [
        ordered(&["a", "b"], Some("x"), None),
        ordered(&["a"], Some("x"), Some(100)),
        ordered(&["a"], Some("y"), Some(99)),
        ordered(&["a"], Some("x"), Some(101)),
        ordered(&["b"], None, None),
        ordered(&["b"], None, Some(500)),
        ordered(&["b"], Some("z"), Some(500)),
        ordered(&["b"], Some("z"), None),
    ];
    let placed = place(&commands, Timestamp::from_millis(100));
    let told: Vec<_> = placed
        .iter()
        .map(|one| {
            let handler = one.delivery.handler.as_str();
            (handler, one.state, one.run_at.as_millis(), one.entry)
        })
        .collect();
    use State::{Available, Scheduled};
    let expected = [
        ("a", Available, 100, Entry::AtEnd),
        ("b", Available, 100, Entry::AtEnd),
        ("a", Available, 100, Entry::Behind),
        ("a", Available, 99, Entry::AtEnd),
        ("a", Scheduled, 101, Entry::None),
        ("b", Available, 100, Entry::None),
        ("b", Scheduled, 500, Entry::None),
        ("b", Scheduled, 500, Entry::None),
        ("b", Available, 100, Entry::AtEnd),
    ];
    assert_eq!(told, expected);
    let owners: Vec<_> = placed.iter().map(|one| one.command.id).collect();
    assert_eq!((owners[0], owners[1]), (commands[0].id, commands[0].id));
    assert_eq!(owners[8], commands[7].id);
}

#[test]
fn what_falls_due_together_enters_its_line_in_the_order_of_its_times() {
    let entrant = |run_at_ms, position, row| Entrant {
        run_at_ms,
        position,
        row,
    };
    let expected = [
        entrant(1, 9, 9),
        entrant(2, 3, 8),
        entrant(2, 3, 9),
        entrant(2, 4, 1),
    ];
    let mut entrants = expected;
    entrants.reverse();
    entrants.sort_unstable();
    assert_eq!(entrants, expected);
}

#[test]
fn a_wait_ends_with_the_next_delay_or_lease_each_by_its_clock() {
    let (now, steady) = (Timestamp::from_millis(1000), Timestamp::from_millis(500));
    for (delay_ends_ms, lease_ends_ms, expected) in [
        (None, None, None),
        (Some(1300), None, Some(300)),
        (None, Some(700), Some(200)),
        (Some(1300), Some(700), Some(200)),
        (Some(1100), Some(700), Some(100)),
        (Some(900), Some(700), Some(0)),
        (Some(1300), Some(i64::MIN), Some(0)),
        (
            Some(i64::MAX),
            None,
            Some(u64::try_from(i64::MAX - 1000).unwrap()),
        ),
    ] {
        let due = Due {
            delay_ends_ms,
            lease_ends_ms,
        };
        let expected = expected.map(Duration::from_millis);
        assert_eq!(due.within(now, steady), expected, "{due:?}");
    }
}

#[test]
fn a_worker_looks_again_when_something_falls_due_and_after_a_while_in_any_case() {
    let poll = Duration::from_secs(1);
    for (next_due_ms, expected_ms) in [
        (None, 1000),
        (Some(300), 300),
        (Some(1000), 1000),
        (Some(5000), 1000),
        (Some(5), 5),
        (Some(0), 5),
    ] {
        let wait = look_within(next_due_ms.map(Duration::from_millis), poll);
        assert_eq!(wait, Duration::from_millis(expected_ms), "{next_due_ms:?}");
    }
}

#[test]
fn workers_are_told_of_what_is_to_be_run_again_and_of_what_was_freed() {
    for state in State::ALL {
        assert_eq!(leaves_work(state, false), !state.is_final(), "{state}");
        assert!(leaves_work(state, true), "{state}");
    }
}

/// Every file of SQL, with its text.
fn sql() -> Vec<(std::path::PathBuf, String)> {
    let engines = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engines");
    let folders = ["sqlite", "sqlite/sql", "postgres", "postgres/sql"];
    let files = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(engines.join(folder)).unwrap());
    let paths = files.map(|file| file.unwrap().path());
    let sql = paths.filter(|path| path.extension().is_some_and(|ending| ending == "sql"));
    sql.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

/// The states of a list in SQL, such as `'available', 'running')`.
fn listed(list: &str) -> Vec<State> {
    let names = list.split(',').map(|name| name.trim().trim_matches('\''));
    let mut states: Vec<State> = names.map(|name| name.parse().unwrap()).collect();
    states.sort_unstable();
    states
}

#[test]
fn the_states_in_the_sql_of_both_engines_are_those_of_the_policy() {
    let of = |is: fn(&State) -> bool| State::ALL.into_iter().filter(is).collect::<Vec<_>>();
    let unfinished = of(|state| !state.is_final());
    let delayed = of(|state| matches!(state, State::Retryable | State::Scheduled));
    let waiting = of(|state| !state.is_final() && *state != State::Running);
    let ended_badly = of(|state| state.is_final() && *state != State::Completed);
    let known = [&unfinished, &delayed, &waiting, &ended_badly];
    let (mut lists, mut lines) = (0, 0);
    for (path, text) in sql() {
        let path = path.display();
        for part in text.split("state IN (").skip(1) {
            let (list, rest) = part.split_once(')').unwrap();
            let list = listed(list);
            assert!(known.contains(&&list), "{path}: {list:?}");
            lists += 1;
            // Less one: what is in line.
            let but = rest.trim_start().strip_prefix("AND ");
            let but = but.and_then(|rest| rest.split_once("state <> '"));
            if let Some((_, rest)) = but.filter(|(alias, _)| alias.len() < 6) {
                let but: State = rest.split('\'').next().unwrap().parse().unwrap();
                let left = list.iter().filter(|state| **state != but);
                assert!(left.copied().eq(of(|state| in_line(*state))), "{path}");
                lines += 1;
            }
        }
        for part in text.split("state = '").skip(1) {
            let state = part.split('\'').next().unwrap().parse::<State>();
            assert!(state.is_ok(), "{path}: {state:?}");
        }
    }
    assert!(lists > 20, "{lists} lists");
    assert_eq!(lines, 4);
}
