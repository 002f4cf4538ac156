use super::*;

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
            pause_ends_ms: None,
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
