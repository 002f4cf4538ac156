use std::time::Duration;

use super::*;

fn rate(limit: u32, per_ms: u64) -> Rate {
    Rate {
        limit,
        per: Duration::from_millis(per_ms),
        of: RateOf::Key,
    }
}

#[test]
fn a_bucket_gives_its_tokens_at_once_and_then_one_after_the_other() {
    let at = |ms: i64| Timestamp::from_millis(1_800_000_000_000 + ms);
    let full = Bucket::new(rate(3, 1000), 0, at(0));
    assert_eq!((full.tokens(), full.next_ms()), (3, None));
    let empty = full.take(3);
    assert_eq!(empty.tokens(), 0);
    assert_eq!(empty.next_ms(), Some(at(334).as_millis()));
    for (ms, tokens) in [(333, 0), (334, 1), (666, 1), (667, 2), (1000, 3), (9999, 3)] {
        let later = Bucket::new(rate(3, 1000), empty.full_ns(), at(ms));
        assert_eq!(later.tokens(), tokens, "{ms}");
    }
    // A rate that was made faster owes no more than its own bucket.
    let faster = Bucket::new(rate(3, 10), empty.full_ns(), at(0));
    assert_eq!(faster.next_ms(), Some(at(4).as_millis()));
    // What a century would take still fits.
    let slow = Bucket::new(rate(1, 3_155_760_000_000), 0, at(0)).take(1);
    assert_eq!(slow.next_ms(), Some(at(3_155_760_000_000).as_millis()));
}

#[test]
fn a_bucket_never_gives_more_than_its_limit_and_what_came_since() {
    let start = 1_800_000_000_000;
    for limit in [1, 3, 7, 1000] {
        let (mut full, mut given) = (0, 0);
        for ms in 0..5_000_i64 {
            let bucket = Bucket::new(rate(limit, 1000), full, Timestamp::from_millis(start + ms));
            given += bucket.tokens();
            full = bucket.take(bucket.tokens()).full_ns();
            let most = i64::from(limit) + i64::from(limit) * ms / 1000;
            let given = i64::try_from(given).unwrap();
            assert!(
                given <= most && given >= most - 1,
                "{limit} {ms}: {given} of {most}"
            );
        }
    }
}

fn lane(turn: i64, rows: &[(i64, i64, i64)]) -> Lane {
    Lane {
        state: LaneState {
            turn,
            ..LaneState::default()
        },
        rows: rows.to_vec(),
    }
}

#[test]
fn claims_go_round_the_lanes_within_a_priority() {
    let lanes = [
        lane(7, &[(0, 1, 1), (0, 2, 2), (0, 3, 3)]),
        lane(9, &[(5, 9, 9), (0, 8, 8)]),
        lane(2, &[(0, 20, 20)]),
    ];
    let taken = rounds(&lanes, 5);
    let rows: Vec<i64> = taken.iter().map(|one| one.row).collect();
    assert_eq!(rows, [9, 20, 1, 8, 2]);
    let lanes: Vec<usize> = taken.iter().map(|one| one.lane).collect();
    assert_eq!(turns(&lanes), [(2, 1), (1, 2), (0, 2)]);
    // Beside other handlers they count in the order stored.
    let places: Vec<_> = taken.iter().map(|one| (one.priority, one.place)).collect();
    assert_eq!(places, [(5, 9), (0, 1), (0, 2), (0, 8), (0, 20)]);
}

#[test]
fn a_lane_waits_for_its_token_its_hold_or_a_place() {
    let now = Timestamp::from_millis(1000);
    let flow = Flow {
        per_key: Some(2),
        rate: Some(rate(5, 1000)),
    };
    let fresh = LaneState::default();
    assert_eq!(fresh.room(&flow, 0, now), Room::Some(2));
    assert_eq!(fresh.room(&flow, 2, now), Room::Full);
    let held = LaneState {
        hold_ms: 1500,
        ..fresh
    };
    assert_eq!(held.room(&flow, 2, now), Room::Until(1500));
    let (full_ns, until) = fresh.taken(&flow, 5, now);
    assert_eq!(until, Some(1200));
    let spent = LaneState { full_ns, ..fresh };
    assert_eq!(spent.room(&flow, 0, now), Room::Until(1200));
    assert_eq!(spent.over_ms(), 2000);
    assert_eq!(
        fresh.room(&Flow::default(), 9, now),
        Room::Some(usize::MAX - 9)
    );
}
