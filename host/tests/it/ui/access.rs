//! Who sees the dashboard, and may act there, on a host that asks for tokens.

use pointsman::access::{NewToken, Role};
use reqwest::{Client, StatusCode, redirect::Policy};
use serde_json::json;

use super::page::{PAGES, Page};
use crate::{
    host::Folders,
    queue::host::{Serving, config, serve},
};

/// A host that lets in one token with each set of roles.
async fn guarded<const N: usize>(folders: &Folders, roles: [&[Role]; N]) -> (Serving, [String; N]) {
    let made =
        roles.map(|roles| NewToken::make("ada", roles.iter().copied().collect(), None).unwrap());
    let secrets = made.each_ref().map(|made| made.secret.clone());
    let mut config = config(folders);
    config.http.tokens = made.into_iter().map(|made| made.token).collect();
    (serve(config, true).await, secrets)
}

async fn ask(url: &str, path: &str, cookie: &str) -> Page {
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    Page::of(client.get(format!("{url}{path}")).header("Cookie", cookie)).await
}

async fn send(url: &str, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Page {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    let request = client.post(format!("{url}{path}")).header("Cookie", cookie);
    Page::of(
        request
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body),
    )
    .await
}

/// The cookie of a new session.
async fn sign_in(url: &str, secret: &str, cookie: &str) -> String {
    let page = ask(url, "/ui/login", cookie).await;
    let fields = [
        ("token", secret),
        ("to", "/ui/queue"),
        ("csrf", &page.csrf()),
    ];
    let done = send(url, "/ui/login", cookie, &fields).await;
    assert_eq!(
        (done.status, done.header("location")),
        (StatusCode::SEE_OTHER, "/ui/queue")
    );
    let set = done.header("set-cookie");
    for flag in [
        "; HttpOnly",
        "; SameSite=Strict",
        "; Path=/",
        "; Max-Age=43200",
    ] {
        assert!(set.contains(flag), "{set}");
    }
    set.split_once(';').unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_seen_after_signing_in_and_until_signing_out() {
    let folders = Folders::probes(&["probe"]);
    let (host, [secret]) = guarded(&folders, [&Role::ALL]).await;
    for path in PAGES {
        let led = ask(&host.url, path, "").await;
        assert_eq!(led.status, StatusCode::SEE_OTHER, "{path}");
        assert!(
            led.header("location").starts_with("/ui/login?to=%2Fui"),
            "{path}"
        );
        assert!(!led.text.contains("probe"), "{path}: {}", led.text);
    }
    let page = ask(&host.url, "/ui/login?to=/ui/queue", "").await;
    page.assert_plain("login");
    assert_eq!(page.count("<nav"), 0, "nothing of the host is shown");
    for wrong in ["", "x", &secret[1..]] {
        let refused = send(
            &host.url,
            "/ui/login",
            "",
            &[("token", wrong), ("csrf", &page.csrf())],
        )
        .await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{wrong}");
        assert!(refused.headers.get("set-cookie").is_none());
        assert!(
            wrong.len() < 2 || !refused.text.contains(wrong),
            "it is not repeated"
        );
    }
    let cookie = sign_in(&host.url, &secret, "").await;
    for path in PAGES {
        let page = ask(&host.url, path, &cookie).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(
            page.text.contains("Signed in as <strong>ada</strong>"),
            "{path}: {}",
            page.text
        );
    }
    // Pages lead to the JSON of what they show.
    assert_eq!(
        ask(&host.url, "/plugins", &cookie).await.status,
        StatusCode::OK
    );
    let page = ask(&host.url, "/ui", &cookie).await;
    let done = send(&host.url, "/ui/logout", &cookie, &[("csrf", &page.csrf())]).await;
    assert!(done.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(
        ask(&host.url, "/ui", &cookie).await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        ask(&host.url, "/plugins", &cookie).await.status,
        StatusCode::UNAUTHORIZED
    );
    host.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_somebody_else_chose_is_of_no_use_to_them() {
    let folders = Folders::probes(&["probe"]);
    let (host, [secret]) = guarded(&folders, [&Role::ALL]).await;
    let chosen = format!("pointsman_session={}", "0".repeat(64));
    let cookie = sign_in(&host.url, &secret, &chosen).await;
    assert_ne!(cookie, chosen);
    assert_eq!(
        ask(&host.url, "/ui", &chosen).await.status,
        StatusCode::SEE_OTHER
    );
    let again = sign_in(&host.url, &secret, &cookie).await;
    assert_ne!(again, cookie, "a new id each time");
    assert_eq!(
        ask(&host.url, "/ui", &cookie).await.status,
        StatusCode::SEE_OTHER,
        "the one before has ended"
    );
    // The form of one session is none of another's.
    let (page, other) = (
        ask(&host.url, "/ui/queue", &again).await,
        sign_in(&host.url, &secret, "").await,
    );
    let refused = send(
        &host.url,
        "/ui/queue/pause",
        &other,
        &[("csrf", &page.csrf())],
    )
    .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    assert!(refused.text.contains("stale-form"), "{}", refused.text);
    // Commands are sent with a token, and not by whoever has a cookie.
    let request = Client::new()
        .post(format!("{}/commands", host.url))
        .header("Cookie", &again);
    let refused = request
        .json(&json!({ "to": "probe", "do": "echo" }))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    host.app.stop().await;
}

/// The path of a command that its handler has rejected.
async fn rejected(url: &str, token: &str) -> String {
    let command = Client::new()
        .post(format!("{url}/commands"))
        .bearer_auth(token)
        .json(&json!({ "to": "probe", "do": "reject" }))
        .send()
        .await
        .unwrap();
    let place = command.headers()["location"].to_str().unwrap().to_owned();
    let ended = Client::new()
        .get(format!("{url}{place}?wait=60s"))
        .bearer_auth(token);
    assert_eq!(ended.send().await.unwrap().status(), StatusCode::OK);
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_sees_no_buttons_and_has_none() {
    let folders = Folders::probes(&["probe"]);
    let (host, [reader, admin, runner]) = guarded(
        &folders,
        [&[Role::Read], &[Role::Read, Role::Admin], &[Role::Execute]],
    )
    .await;
    let place = rejected(&host.url, &runner).await;

    let reader = sign_in(&host.url, &reader, "").await;
    let admin = sign_in(&host.url, &admin, "").await;
    let forms = async |cookie: &str, path: &str| {
        let page = ask(&host.url, path, cookie).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        // But for the one to sign out.
        page.count(r#"method="post" action="/ui/queue"#) + page.count("Retry chosen")
    };
    for path in ["/ui/queue", "/ui/dead"] {
        assert_eq!(
            (forms(&reader, path).await, forms(&admin, path).await),
            (0, 1),
            "{path}"
        );
    }
    let page = ask(&host.url, "/ui", &reader).await;
    for path in [
        "/ui/queue/pause",
        "/ui/queue/resume",
        "/ui/dead/retry",
        "/ui/dead/discard",
        &format!("/ui{place}/cancel"),
        &format!("/ui{place}/rerun"),
    ] {
        let refused = send(
            &host.url,
            path,
            &reader,
            &[("csrf", &page.csrf()), ("which", "matching")],
        )
        .await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
        assert!(
            refused.text.contains("forbidden"),
            "{path}: {}",
            refused.text
        );
    }
    // A token that may not read has nothing to look at.
    let runner = sign_in(&host.url, &runner, "").await;
    assert_eq!(
        ask(&host.url, "/ui", &runner).await.status,
        StatusCode::FORBIDDEN
    );
    let page = ask(&host.url, "/ui/queue", &admin).await;
    let done = send(
        &host.url,
        "/ui/queue/pause",
        &admin,
        &[("csrf", &page.csrf()), ("handler", "probe")],
    )
    .await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    let page = ask(&host.url, "/ui/queue", &admin).await;
    assert!(page.text.contains(" by ada"), "{}", page.text);
    host.app.stop().await;
}
