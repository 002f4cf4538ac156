//! The program killed with signal 9 while it takes and runs commands: what was
//! acknowledged is done in the end, and only what was under way is done twice.
//! `POINTSMAN_STRESS=1` kills it 200 times on SQLite and 50 times on PostgreSQL.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use reqwest::Client;

use crate::{
    host::Folders,
    postgres_server::server,
    queue::program::{Program, Step, accepted, post, stress},
};

/// Deliveries that run at once: no more can be in flight at a kill.
const CONCURRENCY: usize = 4;
/// Short, so that what a kill interrupts is soon taken up again; long enough
/// that a busy machine renews in time.
const LEASE: Duration = Duration::from_secs(3);

fn folders(queue: &str, lease: Duration) -> Folders {
    let folders = Folders::probes(&["probe"]);
    let settings = format!(
        "[queue]\n{queue}concurrency = {CONCURRENCY}\nlease = '{}ms'\npoll = '100ms'\n[reload]\npoll = '60s'\n",
        lease.as_millis()
    );
    std::fs::write(folders.path().join("pointsman.toml"), settings).unwrap();
    folders
}

/// Sends commands until the host is gone; answers those that it acknowledged.
async fn send(url: String, first: u64) -> Vec<String> {
    let client = Client::new();
    let mut acknowledged = Vec::new();
    for number in first.. {
        // Runs of different lengths, so that kills meet them in the middle.
        let command = format!(
            r#"{{"to":"probe","do":"sleep","amount":{}}}"#,
            number * 7 % 23
        );
        match post(&client, &url, &command).await {
            Ok(response) => acknowledged.extend(accepted(&response)),
            Err(_) => break,
        }
    }
    acknowledged
}

/// Numbers that look random and are the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Waits for the moment of the kill: around an enqueue, a claim with the start
/// of its run, a run, or an acknowledgement.
async fn moment(program: &Program, round: usize, numbers: &mut Numbers) {
    let count = 1 + numbers.below(12) as usize;
    match round % 4 {
        0 => tokio::time::sleep(Duration::from_millis(numbers.below(60))).await,
        1 => assert!(program.says(count, &["accepted"]).await),
        2 => assert!(program.says(count, &[" started delivery="]).await),
        _ => assert!(program.says(count, &[" settled delivery="]).await),
    }
    tokio::time::sleep(Duration::from_micros(numbers.below(3_000))).await;
}

/// Fails where a delivery ran again that was not in flight at a kill; answers
/// how many runs were runs again.
fn check(history: &[Step]) -> usize {
    let mut runs: HashMap<&str, usize> = HashMap::new();
    let (mut in_flight, mut interrupted) = (HashSet::new(), HashSet::new());
    for step in history {
        match step {
            Step::Started(delivery) => {
                let earlier = runs.entry(delivery).or_default();
                assert!(
                    *earlier == 0 || interrupted.remove(delivery.as_str()),
                    "{delivery} ran again, and no kill had interrupted it"
                );
                *earlier += 1;
                in_flight.insert(delivery.as_str());
            }
            Step::Settled(delivery) => {
                in_flight.remove(delivery.as_str());
            }
            Step::Killed => {
                assert!(in_flight.len() <= CONCURRENCY, "{in_flight:?}");
                interrupted.extend(in_flight.drain());
            }
        }
    }
    runs.values().map(|count| count - 1).sum()
}

async fn survives(folders: Folders, kills: usize) {
    let (mut acknowledged, mut history) = (BTreeSet::new(), Vec::new());
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for round in 0..kills {
        let mut program = Program::start(&folders);
        let clients = (0..4).map(|client| tokio::spawn(send(program.url.clone(), client)));
        let clients: Vec<_> = clients.collect();
        moment(&program, round, &mut numbers).await;
        program.kill();
        history.extend(program.steps());
        history.push(Step::Killed);
        for client in clients {
            acknowledged.extend(client.await.unwrap());
        }
    }
    assert!(acknowledged.len() >= kills, "nothing was acknowledged");

    let mut program = Program::start(&folders);
    program.finishes(LEASE).await;
    let (mut attempts, mut quarantined) = (0, 0);
    for place in &acknowledged {
        let view = program.get(place).await;
        let delivery = &view["deliveries"][0];
        attempts += delivery["attempt"].as_u64().unwrap() - 1;
        if view["state"] == "completed" {
            continue;
        }
        // Unlucky three times: the host must take it for the cause of its deaths.
        assert_eq!(view["state"], "discarded", "{view}");
        let id = delivery["deliveryId"].as_str().unwrap();
        let detail = program.get(&format!("/queue/deliveries/{id}")).await;
        let failures = detail["failures"].as_array().unwrap();
        let lost = failures.iter().all(|one| one["status"] == "host-lost");
        assert!(lost && failures.len() == 3, "{detail}");
        quarantined += 1;
    }
    program.kill();
    history.extend(program.steps());
    let reruns = check(&history);
    println!(
        "{kills} kills: {} acknowledged, 0 lost, {reruns} run again, {quarantined} quarantined",
        acknowledged.len()
    );
    // A claim counts an attempt before its run begins: a kill in between leaves no run.
    assert!(attempts <= (kills * CONCURRENCY) as u64, "{attempts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_every_kill() {
    survives(folders("", LEASE), if stress() { 200 } else { 8 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_every_kill_on_postgres() {
    let Some(server) = server() else { return };
    survives(
        folders(&server.settings(), LEASE),
        if stress() { 50 } else { 4 },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_ends_its_host_three_times_is_quarantined_and_the_rest_is_done() {
    // No test waits as long: a host that comes back shortens its old leases.
    let folders = folders("", Duration::from_secs(600));
    let mut deadly = String::new();
    for attempt in 1..=3 {
        let mut program = Program::start(&folders);
        if attempt == 1 {
            let command = r#"{"to":"probe","do":"sleep","amount":60000}"#;
            deadly = program.accepts(command).await;
        }
        let id = deadly.rsplit('/').next().unwrap();
        let started = format!("started delivery={id}.probe attempt={attempt}");
        assert!(program.says(1, &[&started]).await, "attempt {attempt}");
        program.kill();
    }
    let program = Program::start(&folders);
    let harmless = program.accepts(r#"{"to":"probe","do":"echo"}"#).await;
    program.finishes(LEASE).await;
    let states = [&harmless, &deadly].map(async |place| program.get(place).await["state"].clone());
    let [harmless, deadly] = states;
    assert_eq!(harmless.await, "completed");
    assert_eq!(deadly.await, "discarded");
    let dead = program.get("/queue/dead").await;
    let message = dead["dead"][0]["lastFailure"]["message"].as_str().unwrap();
    assert!(message.contains("3 of 3"), "{message}");
}
