//! What handlers remember: both engines do as the model in memory does.

use std::time::Duration;

use pointsman_core::state::{MemorySpace, Space, StateAnswer, StateError, StateRequest};
use pointsman_queue::{Clock as _, RetentionSettings};

use crate::engines::{Fixture, on_both_engines};

on_both_engines![
    each_answer_is_that_of_the_model,
    spaces_do_not_see_each_other,
    what_is_over_gives_its_room_back,
    increments_at_once_lose_none,
    all_that_is_over_is_swept_however_much_it_is,
];

fn space(name: &str) -> Space {
    Space {
        name: name.to_owned(),
        keys_max: 6,
        bytes_max: 120,
    }
}

async fn ask(
    fixture: &Fixture,
    space: &Space,
    request: StateRequest,
) -> Result<StateAnswer, StateError> {
    fixture.store.state(space.clone(), request).await.unwrap()
}

/// A generator with a fixed seed: the same histories each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn request(&mut self) -> StateRequest {
        let keys = ["a", "b", "ba", "bb", "b\u{10ffff}", "c", "\u{e9}"];
        let key = keys[self.below(keys.len() as u64) as usize].to_owned();
        let values = [
            "1",
            "-7",
            "\"x\"",
            "[1,2,3]",
            "\"a much longer value than the others\"",
        ];
        let mut value = || values[self.below(values.len() as u64) as usize].to_owned();
        let (value, other) = (value(), value());
        let ttl = match self.below(3) {
            0 => Some(Duration::from_secs(1 + self.below(5))),
            _ => None,
        };
        match self.below(7) {
            0 => StateRequest::Get { key },
            1 => StateRequest::Delete { key },
            2 => StateRequest::CompareAndSet {
                key,
                expected: (self.below(2) == 0).then_some(value),
                value: (self.below(3) > 0).then_some(other),
                ttl,
            },
            3 => StateRequest::Increment { key, by: 3, ttl },
            4 => StateRequest::List {
                prefix: ["", "b", "b\u{10ffff}", "z"][self.below(4) as usize].to_owned(),
                after: (self.below(2) == 0).then_some(key),
                limit: 1 + self.below(4) as u32,
            },
            _ => StateRequest::Set { key, value, ttl },
        }
    }
}

async fn each_answer_is_that_of_the_model(fixture: Fixture) {
    let (mut model, space) = (MemorySpace::default(), space("model"));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for step in 0..1_500 {
        if random.below(4) == 0 {
            fixture.clock.advance(Duration::from_secs(random.below(4)));
        }
        if random.below(50) == 0 {
            fixture
                .store
                .sweep(RetentionSettings::default())
                .await
                .unwrap();
        }
        let request = random.request();
        let millis = u64::try_from(fixture.clock.now().as_millis()).unwrap();
        let wanted = model.apply(&space, request.clone(), Duration::from_millis(millis));
        let answer = ask(&fixture, &space, request.clone()).await;
        assert_eq!(answer, wanted, "step {step}: {request:?}");
    }
}

fn set(key: &str, ttl: Option<Duration>) -> StateRequest {
    StateRequest::Set {
        key: key.to_owned(),
        value: "1".to_owned(),
        ttl,
    }
}

async fn spaces_do_not_see_each_other(fixture: Fixture) {
    let (one, other) = (space("one"), space("one/"));
    for key in 0..6 {
        ask(&fixture, &one, set(&key.to_string(), None))
            .await
            .unwrap();
    }
    let full = ask(&fixture, &one, set("more", None)).await;
    assert!(matches!(full, Err(StateError::Full(_))), "{full:?}");
    ask(&fixture, &other, set("0", None)).await.unwrap();
    let delete = StateRequest::Delete { key: "0".into() };
    ask(&fixture, &other, delete).await.unwrap();
    let get = StateRequest::Get { key: "0".into() };
    let found = ask(&fixture, &one, get).await;
    assert_eq!(found, Ok(StateAnswer::Value(Some("1".into()))));
}

async fn what_is_over_gives_its_room_back(fixture: Fixture) {
    let space = space("full");
    for round in 0..3 {
        for key in 0..6 {
            let key = format!("{round}/{key}");
            let ttl = Some(Duration::from_secs(10));
            ask(&fixture, &space, set(&key, ttl)).await.unwrap();
        }
        let full = ask(&fixture, &space, set("more", None)).await;
        assert!(matches!(full, Err(StateError::Full(_))), "{full:?}");
        fixture.clock.advance(Duration::from_secs(10));
        if round == 1 {
            fixture
                .store
                .sweep(RetentionSettings::default())
                .await
                .unwrap();
        }
    }
}

async fn increments_at_once_lose_none(fixture: Fixture) {
    let space = space("counts");
    let add = || StateRequest::Increment {
        key: "n".into(),
        by: 1,
        ttl: None,
    };
    let all: Vec<_> = (0..40).map(|_| ask(&fixture, &space, add())).collect();
    let mut sums: Vec<_> = futures_util::future::join_all(all)
        .await
        .into_iter()
        .map(|sum| match sum {
            Ok(StateAnswer::Sum(sum)) => sum,
            other => panic!("{other:?}"),
        })
        .collect();
    sums.sort_unstable();
    assert_eq!(sums, (1..=40).collect::<Vec<_>>());
}

async fn all_that_is_over_is_swept_however_much_it_is(fixture: Fixture) {
    let space = |name: usize| Space {
        name: name.to_string(),
        keys_max: 1_000,
        bytes_max: 1 << 20,
    };
    // More than one transaction removes, and some that stay.
    let keys: Vec<_> = (0..1_500).collect();
    for keys in keys.chunks(8) {
        let all: Vec<_> = keys.iter().map(|key| (space(key % 3), key)).collect();
        let all = all.iter().map(|(space, key)| {
            let ttl = (**key % 6 != 0).then_some(Duration::from_secs(10));
            ask(&fixture, space, set(&key.to_string(), ttl))
        });
        for answer in futures_util::future::join_all(all).await {
            answer.unwrap();
        }
    }
    fixture.clock.advance(Duration::from_secs(10));
    let sweep = || fixture.store.sweep(RetentionSettings::default());
    assert_eq!(sweep().await.unwrap().entries, 1_250);
    assert_eq!(sweep().await.unwrap().entries, 0);
    // The room is that of what stays: 250 entries in the first space.
    let mut room = space(0);
    room.keys_max = 251;
    ask(&fixture, &room, set("one", None)).await.unwrap();
    let full = ask(&fixture, &room, set("two", None)).await;
    assert!(matches!(full, Err(StateError::Full(_))), "{full:?}");
}
