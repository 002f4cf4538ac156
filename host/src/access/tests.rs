//! Whom tokens let in, and how they are written.

use std::path::Path;

use expect_test::{Expect, expect};

use super::{file::parse, *};

fn token(name: &str, roles: &[Role], expires: Option<&str>) -> NewToken {
    let expires = expires.map(|text| text.parse().unwrap());
    NewToken::make(name, roles.iter().copied().collect(), expires).unwrap()
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

#[test]
fn a_token_lets_in_with_its_roles_until_it_expires_and_nothing_else_does() {
    let forever = token("ci", &[Role::Execute], None);
    let expired = token("old", &[Role::Admin], Some("1970-01-01T00:00:00Z"));
    let valid = token(
        "new",
        &[Role::Admin, Role::Read],
        Some("1970-01-01T00:00:01Z"),
    );
    let tokens = [&forever, &expired, &valid].map(|made| made.token.clone());
    let access = Access::new(tokens.to_vec(), None);
    let who = |secret: &str| access.caller(secret.as_bytes(), NOW);
    let ci = who(&forever.secret).unwrap();
    assert_eq!(
        (ci.name.as_deref(), ci.roles.to_string()),
        (Some("ci"), "execute".into())
    );
    assert_eq!(who(&valid.secret).unwrap().roles.to_string(), "read+admin");
    assert_eq!(
        who(&expired.secret).unwrap_err(),
        Invalid::Expired("old".into())
    );
    for wrong in [
        "",
        "pmt_",
        &forever.secret[..67],
        &forever.token.digest.to_string(),
    ] {
        assert_eq!(who(wrong).unwrap_err(), Invalid::Unknown, "{wrong}");
    }
}

#[test]
fn secrets_differ_and_have_256_bits() {
    let (a, b) = (
        token("a", &[Role::Read], None),
        token("a", &[Role::Read], None),
    );
    assert_ne!(a.secret, b.secret);
    assert_eq!(a.secret.len(), "pmt_".len() + 64);
}

#[test]
fn what_token_new_prints_is_what_is_read() {
    for expires in [None, Some("2027-01-31T00:00:00Z")] {
        let made = token("ci.main-1_b", &[Role::Read, Role::Execute], expires).token;
        assert_eq!(made.to_string().parse::<Token>().unwrap(), made);
    }
}

#[test]
fn a_token_that_is_wrong_is_refused_and_never_repeated() {
    let digest = "0".repeat(64);
    let check = |line: &str, wanted: Expect| {
        let text = format!("# ours\n\n{line}\n");
        let error = parse(Path::new("tokens"), &text).unwrap_err().to_string();
        assert!(!error.contains("pmt_"), "{error}");
        wanted.assert_eq(&error);
    };
    check(
        "pmt_secret",
        expect![
            "tokens:3: is not a token: write `NAME:ROLE+ROLE:SHA256`, as `pointsman token new` prints it"
        ],
    );
    check(
        &format!(":read:{digest}"),
        expect!["tokens:3: the name is not 1 to 64 letters, digits, `-`, `_` and `.`"],
    );
    check(
        &format!("pmt_ secret:read:{digest}"),
        expect!["tokens:3: the name is not 1 to 64 letters, digits, `-`, `_` and `.`"],
    );
    check(
        &format!("a::{digest}"),
        expect![
            "tokens:3: the roles of `a` are not some of `execute`, `read` and `admin`, with `+` between them"
        ],
    );
    check(
        &format!("a:read+write:{digest}"),
        expect![
            "tokens:3: the roles of `a` are not some of `execute`, `read` and `admin`, with `+` between them"
        ],
    );
    check(
        "a:read:pmt_secret",
        expect![
            "tokens:3: the SHA-256 of `a` is not 64 hexadecimal digits: `pointsman token new` prints it"
        ],
    );
    check(
        &format!("a:read:é{}", "0".repeat(62)),
        expect![
            "tokens:3: the SHA-256 of `a` is not 64 hexadecimal digits: `pointsman token new` prints it"
        ],
    );
    check(
        &format!("a:read:{digest}:soon"),
        expect![
            "tokens:3: `a` expires at no time that is known: write it as `2027-01-31T00:00:00Z`"
        ],
    );
    check(
        &format!("a:read:{digest}\na:admin:{digest}"),
        expect!["tokens:4: there are two tokens `a`"],
    );
}

#[test]
fn every_token_is_compared_however_early_one_matches() {
    let tokens: Vec<_> = ["a", "b", "c"]
        .map(|name| token(name, &[Role::Read], None).token)
        .into();
    for wanted in &tokens {
        let mut compared = 0;
        let found = matching(tokens.iter(), |digest| {
            compared += 1;
            *digest == wanted.digest
        });
        assert_eq!((found, compared), (Some(wanted), tokens.len()));
    }
}
