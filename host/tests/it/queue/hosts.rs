//! Several hosts on one PostgreSQL: they share the work, take over from one
//! that died or slept, and outlive a restart of the database.

use std::{collections::HashMap, time::Duration};

use reqwest::Client;
use tokio::sync::watch;

use crate::{
    host::Folders,
    postgres_server::{Server, server},
    proxy::Proxy,
    queue::program::{Program, Step, accepted, post, stress},
};

const LEASE: Duration = Duration::from_secs(2);

/// Folders whose hosts share a queue.
fn folders(server: &Server) -> Folders {
    let folders = Folders::probes(&["probe"]);
    let settings = format!(
        "[queue]\n{}concurrency = 4\nlease = '{}ms'\npoll = '200ms'\n[reload]\npoll = '60s'\n",
        server.settings(),
        LEASE.as_millis()
    );
    std::fs::write(folders.path().join("pointsman.toml"), settings).unwrap();
    folders
}

fn sleep(ms: u64) -> String {
    format!(r#"{{"to":"probe","do":"sleep","amount":{ms}}}"#)
}

/// How often each delivery was started, over all of these hosts.
fn runs(hosts: &[Program]) -> HashMap<String, usize> {
    let mut runs = HashMap::new();
    for step in hosts.iter().flat_map(Program::steps) {
        if let Step::Started(delivery) = step {
            *runs.entry(delivery).or_default() += 1;
        }
    }
    runs
}

/// So many hosts do 30 deliveries each, then one is killed in the middle of more.
async fn share(count: usize) {
    let Some(server) = server() else { return };
    let folders = folders(&server);
    let mut hosts: Vec<_> = (0..count).map(|_| Program::start(&folders)).collect();
    for number in 0..count * 30 {
        hosts[number % count].accepts(&sleep(50)).await;
    }
    hosts[0].finishes(LEASE).await;
    let done = runs(&hosts);
    assert_eq!(done.len(), count * 30);
    assert!(done.values().all(|runs| *runs == 1), "one ran twice");
    for host in &hosts {
        let started = host.said(&[" started delivery="]);
        assert!(started >= 5, "a host did {started} of {}", done.len());
    }

    let before = hosts[0].said(&[" started delivery="]);
    let mut places = Vec::new();
    for _ in 0..count * 6 {
        places.push(hosts[1].accepts(&sleep(300)).await);
    }
    assert!(hosts[0].says(before + 1, &[" started delivery="]).await);
    hosts[0].kill();
    hosts[1].finishes(LEASE).await;
    for place in &places {
        assert_eq!(hosts[1].get(place).await["state"], "completed", "{place}");
    }
    let steps = hosts[0].steps();
    let ended = |id: &str| steps.contains(&Step::Settled(id.to_owned()));
    let twice: Vec<_> = runs(&hosts).into_iter().filter(|(_, n)| *n > 1).collect();
    assert!(!twice.is_empty(), "the kill interrupted nothing");
    for (delivery, runs) in twice {
        let interrupted = steps.contains(&Step::Started(delivery.clone())) && !ended(&delivery);
        assert!(interrupted && runs == 2, "{delivery} ran {runs} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_share_the_work_and_take_over_from_one_that_dies() {
    share(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_hosts_share_the_work_and_take_over_from_one_that_dies() {
    share(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_did_in_its_sleep_is_refused_when_it_wakes() {
    let Some(server) = server() else { return };
    let folders = folders(&server);
    let sleeper = Program::start(&folders);
    let place = sleeper.accepts(&sleep(300)).await;
    let id = place.rsplit('/').next().unwrap();
    assert!(sleeper.says(1, &["started", id, "attempt=1"]).await);
    sleeper.signal("STOP");
    let other = Program::start(&folders);
    assert!(other.says(1, &["settled", id, "completed"]).await);
    let done = other.get(&place).await;
    assert_eq!(done["deliveries"][0]["attempt"], 2);
    // Longer than every timeout between the hosts and the database.
    if stress() {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    sleeper.signal("CONT");
    // Its renewal or its acknowledgement, whichever comes first, finds the lease gone.
    let refused = async || {
        let renewal = sleeper.said(&["lost the lease of a running delivery", id]);
        renewal + sleeper.said(&["lease-lost", id])
    };
    for _ in 0..3_000 {
        if refused().await > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(refused().await > 0, "the sleeper's result was not refused");
    assert_eq!(sleeper.said(&["settled", id]), 0);
    assert_eq!(other.get(&place).await, done);
    // Awake, it works on.
    let next = sleeper.accepts(&sleep(1)).await;
    other.finishes(LEASE).await;
    assert_eq!(sleeper.get(&next).await["state"], "completed");
}

/// Sends until told to stop, whatever the answers; answers what was acknowledged.
async fn send(url: String, stop: watch::Receiver<()>) -> Vec<String> {
    let client = Client::new();
    let mut acknowledged = Vec::new();
    while !stop.has_changed().unwrap_or(true) {
        match post(&client, &url, &sleep(5)).await {
            Ok(response) => acknowledged.extend(accepted(&response)),
            Err(error) => panic!("the host is up, and does not answer: {error}"),
        }
    }
    acknowledged
}

/// Waits until the host takes and does commands again, for ten seconds at most.
async fn resumes(host: &Program) {
    let marks = ["accepted", " settled delivery="];
    let before = marks.map(|mark| host.said(&[mark]));
    for _ in 0..1_000 {
        if marks.map(|mark| host.said(&[mark])) > before && host.said(&[marks[1]]) > before[1] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no work was done within ten seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_and_comes_back_loses_nothing() {
    let Some(server) = Server::new() else { return };
    let folders = folders(&server);
    let host = Program::start(&folders);
    let (stop, stopped) = watch::channel(());
    let clients: Vec<_> = (0..4)
        .map(|_| tokio::spawn(send(host.url.clone(), stopped.clone())))
        .collect();
    resumes(&host).await;
    for _ in 0..3 {
        server.cut();
        resumes(&host).await;
    }
    server.stop();
    let failed = host.said(&["queue-unavailable"]);
    assert!(host.says(failed + 3, &["queue-unavailable"]).await);
    server.start();
    resumes(&host).await;
    stop.send_replace(());
    let mut acknowledged = Vec::new();
    for client in clients {
        acknowledged.extend(client.await.unwrap());
    }
    host.finishes(LEASE).await;
    for place in &acknowledged {
        let view = host.get(place).await;
        assert_eq!(view["state"], "completed", "{view}");
    }
    assert_eq!(host.get("/readyz").await["status"], "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_reach_its_database_says_that_it_is_not_ready() {
    let Some(server) = Server::new() else { return };
    let folders = folders(&server);
    let host = Program::start(&folders);
    host.get("/readyz").await;
    server.stop();
    let ready = format!("{}/readyz", host.url);
    let mut problem = String::new();
    for _ in 0..600 {
        problem = reqwest::get(&ready).await.unwrap().text().await.unwrap();
        if problem.contains("queue-stalled") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(problem.contains("queue-stalled"), "{problem}");
    server.start();
    while problem.contains("queue-stalled") {
        tokio::time::sleep(Duration::from_millis(50)).await;
        problem = reqwest::get(&ready).await.unwrap().text().await.unwrap();
    }
    assert!(problem.contains("\"ready\""), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_database_went_silent_says_so_and_ends_when_told_to() {
    let Some(server) = Server::new() else { return };
    let proxy = Proxy::to(server.port).await;
    let folders = Folders::probes(&["probe"]);
    let settings = format!(
        "[queue]\nengine = \"postgres\"\nurl = \"{}\"\npoll = '100ms'\n[host]\nshutdown_grace = '1s'\n[reload]\npoll = '60s'\n",
        proxy.url(&server.database(""))
    );
    std::fs::write(folders.path().join("pointsman.toml"), settings).unwrap();
    let mut host = Program::start(&folders);
    host.accepts(r#"{"to":"probe","do":"sleep","amount":1}"#)
        .await;
    assert!(host.says(1, &["settled delivery="]).await);
    // New connections go nowhere either.
    proxy.lead_to(1);
    proxy.silence();
    host.signal("TERM");
    assert!(host.ends().await, "it was told to stop, and did not");
    assert!(host.said(&["stopped"]) == 1);
}
