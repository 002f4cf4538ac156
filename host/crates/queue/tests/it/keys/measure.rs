//! What a claim costs with keys, beside one without.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pointsman_queue::{Capacity, ClaimRequest, Flow, RateOf};

use super::rate;
use crate::engines::{Fixture, command, name, request, sqlite};

/// How long a claim of 64 takes at the median, with so many waiting over so many keys.
async fn median_claim(fixture: &Fixture, handler: &str, flow: &Flow) -> Duration {
    let flows = (*flow != Flow::default()).then(|| (name(handler), flow.clone()));
    let request = ClaimRequest {
        capacity: Capacity {
            handlers: Some(Arc::from([name(handler)])),
            flows: Arc::new(flows.into_iter().collect()),
            ..Capacity::default()
        },
        ..request(64)
    };
    let mut took = Vec::new();
    for _ in 0..51 {
        let started = Instant::now();
        let claims = fixture.store.claim(request.clone()).await.unwrap();
        took.push(started.elapsed());
        assert_eq!(claims.deliveries.len(), 64);
    }
    took.sort_unstable();
    took[took.len() / 2]
}

async fn claims_with_keys_beside_claims_without(fixture: Fixture) {
    let waiting: usize = std::env::var("WAITING").map_or(100_000, |text| text.parse().unwrap());
    let keys = 10_000.min(waiting / 10);
    for step in 0..waiting / 5000 {
        for handler in ["a", "b"] {
            let batch = (0..5000).map(|at| {
                let mut new = command(&[handler]);
                if handler == "a" {
                    let key = format!("key-{}", (step * 5000 + at) % keys);
                    new.deliveries[0].key = Some(key);
                }
                new
            });
            fixture.store.enqueue(batch.collect()).await.unwrap();
        }
    }
    let rate = rate(1000, 1, RateOf::Key);
    let flow = Flow {
        per_key: Some(50),
        ..rate
    };
    for _ in 0..2 {
        let without = median_claim(&fixture, "b", &Flow::default()).await;
        let with = median_claim(&fixture, "a", &flow).await;
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        println!("{waiting} waiting, {keys} keys: {without:?} without, {with:?} with, {ratio:.2}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn measure_claims_on_sqlite() {
    claims_with_keys_beside_claims_without(sqlite(10_000_000).await.unwrap()).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn measure_claims_on_postgres() {
    if let Some(fixture) = crate::engines::postgres(10_000_000).await {
        claims_with_keys_beside_claims_without(fixture).await;
    }
}
