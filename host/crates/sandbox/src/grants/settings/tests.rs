use expect_test::{Expect, expect};

use super::*;

fn parse(text: &str) -> Result<HandlerSettings, SettingsError> {
    HandlerSettings::parse(Path::new("a.toml"), text, &HandlerDefaults::default())
}

#[test]
fn grants_are_read_from_the_file() {
    let settings = parse(
        r#"
            [config]
            scale = 0.1
            [env]
            WORKERS = 3
            [secrets]
            token = { env = "TOKEN" }
            key = { file = "../key" }
            bearer = { env = "B", inject = "https://api.example.com/*", header = "Authorization: Bearer {}" }
            [[folders]]
            host = "data"
            guest = "/data"
            [http]
            allow = ["GET https://example.com"]
            "#,
    )
    .unwrap();
    assert_eq!(settings.config["scale"], "0.1");
    assert_eq!(settings.env["WORKERS"], "3");
    assert_eq!(
        settings.secrets["token"].source,
        SecretSource::Env("TOKEN".into())
    );
    assert_eq!(
        settings.secrets["key"].source,
        SecretSource::File("../key".into())
    );
    let injection = settings.secrets["bearer"].inject.as_ref().unwrap();
    assert_eq!(injection.to.to_string(), "* https://api.example.com/*");
    assert_eq!(injection.header.to_string(), "authorization: Bearer {}");
    assert!(!settings.folders[0].write);
    assert_eq!(settings.http.allow.len(), 1);
}

#[test]
fn no_error_repeats_what_stands_where_secrets_do() {
    for text in [
        "secrets = \"hunter2\"",
        "[secrets]\nkey = \"hunter2\"",
        "[secrets]\nkey = { env = 5, value = \"hunter2\" }",
        "[secrets]\nkey = [\"hunter2\"]",
        "[secret]\nkey = \"hunter2\"",
        "[secrets]\nkey = \"hunter2",
        "[secrets]\nkey = { env = \"A\", inject = \"https://hunter2@a.example\", header = \"x: {}\" }",
        "[secrets]\nkey = { env = \"A\", inject = \"https://a.example\", header = \"x: hunter2\" }",
        "[secrets]\nkey = { env = \"A\", header = \"x: hunter2 {}\" }",
        "[secrets]\nkey = { env = \"A\", inject = [\"hunter2\"], header = \"x: {}\" }",
        "env = \"hunter2\"",
        "[env]\nKEY = [\"hunter2\"]",
        "config = \"hunter2\"",
        "[config]\nkey = hunter2",
        "[config]\nkey = \"hunter2\"\nkey = \"hunter2\"",
        "http = \"hunter2\"",
        "[http]\nallow = \"GET https://hunter2@example.com\"",
        "[http]\nallow = [\"GET https://user:hunter2@example.com\"]",
        "[http]\nallow = [\"https://example.com/services/hunter2\"]",
        "[http]\nallow_private = [\"hunter2\"]",
        "[http]\nallow = [{ url = \"hunter2\" }]",
        "[http]\ntoken = \"hunter2\"",
        "[limits]\ntimeout = \"hunter2\"",
    ] {
        let error = parse(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn a_wrong_grant_is_named_with_its_key() {
    let check = |text: &str, wanted: Expect| {
        wanted.assert_eq(&parse(text).unwrap_err().to_string());
    };
    check(
        "[config]\ntoken = 1\n[secrets]\ntoken = { env = \"T\" }",
        expect![
            "a.toml: `secrets.token` is also in `[config]` as `token`, expected it in one of the two, since a handler reads both with `config.get`"
        ],
    );
    check(
        "[limits]\nstack_max_bytes = 99999999",
        expect!["a.toml: `limits.stack_max_bytes` is 99999999, expected 32768 to 16777216"],
    );
    check(
        "[secrets]\ntoken = \"plain\"",
        expect![[
            r#"a.toml: `secrets.token` is no source, expected { env = "NAME" } or { file = "path" }: the value itself stays out of this file"#
        ]],
    );
    check(
        "[secrets]\ntoken = { vault = \"x\" }",
        expect![[
            r#"a.toml: `secrets.token` is no source, expected { env = "NAME" } or { file = "path" }: the value itself stays out of this file"#
        ]],
    );
    check(
        "[secrets]\ntoken = { env = \"T\", inject = \"https://a.example\" }",
        expect![[
            r#"a.toml: `secrets.token` is half an injection, expected both `inject = "https://api.example.com/*"` and `header = "Authorization: Bearer {}"`, or neither"#
        ]],
    );
    check(
        "[secrets]\ntoken = { env = \"T\", inject = \"https://*\", header = \"x: {}\" }",
        expect![
            "a.toml: `secrets.token`: `inject`: a pattern names no host, and a secret is not for all of them; expected `METHOD URL`, such as `GET https://api.example.com/v1/*` or `* https://*.example.com`"
        ],
    );
    check(
        "[secrets]\ntoken = { env = \"T\", inject = \"https://a.example\", header = \"x: y\" }",
        expect![
            "a.toml: `secrets.token.header`: has no `{}`; expected a header with `{}` for the secret, such as `Authorization: Bearer {}`"
        ],
    );
    check(
        "[http]\nallow = [\"GET example.com\"]",
        expect![
            "a.toml: `http.allow[0]`: a pattern has no scheme; expected `METHOD URL`, such as `GET https://api.example.com/v1/*` or `* https://*.example.com`"
        ],
    );
    check(
        "[[folders]]\nhost = \"a\"\nguest = \"/a\"\n[[folders]]\nhost = \"b\"\nguest = \"/a\"",
        expect![
            "a.toml: `folders[1].guest` is `/a`, as is another one, expected a path for each folder"
        ],
    );
    check(
        "[[folders]]\nhost = \"a\"",
        expect!["a.toml: `folders[0]`: missing field `guest`"],
    );
    check(
        "[env]\n\"A=B\" = 1",
        expect![
            "a.toml: `env.A=B` is no name of an environment variable, expected one without `=` and control characters"
        ],
    );
}

#[test]
fn a_handler_has_one_key_and_what_needs_one_says_so() {
    let queue = |text: &str| parse(&format!("[queue]\n{text}")).map(|settings| settings.queue);
    let limited = queue(
        "concurrency_per_key = 2\n[queue.rate]\nlimit = 10\nper = \"1m\"\nkey = \"command.t\"",
    );
    let limited = limited.unwrap();
    assert_eq!(limited.key(), Some("command.t"));
    assert_eq!(limited.concurrency_per_key, Some(2));
    assert_eq!(
        (limited.rate.limit, limited.rate.per.as_secs()),
        (Some(10), 60)
    );
    let held = queue("key = \"command.t\"\nretry_after_pauses = \"key\"").unwrap();
    assert_eq!(held.retry_after_pauses, RetryAfterPauses::Key);
    assert_eq!(
        queue("retry_after_pauses = \"handler\"").unwrap().key(),
        None
    );
    let check = |text: &str, wanted: Expect| {
        wanted.assert_eq(&queue(text).unwrap_err().to_string());
    };
    check(
        "concurrency_per_key = 2",
        expect![
            "a.toml: `queue.concurrency_per_key` is 2, expected a `queue.key` beside it, such as `command.tenant`"
        ],
    );
    check(
        "retry_after_pauses = \"key\"",
        expect![
            "a.toml: `queue.retry_after_pauses` is `key`, expected a `queue.key` beside it, such as `command.tenant`"
        ],
    );
    check(
        "key = \"command.a\"\n[queue.rate]\nlimit = 1\nkey = \"command.b\"",
        expect![
            "a.toml: `queue.rate.key` is `command.b`, expected the same as `queue.key`, or none: a handler has one key"
        ],
    );
    check(
        "[queue.rate]\nkey = \"command.a\"",
        expect![
            "a.toml: `queue.rate.limit` is none, expected a number, as there is a `queue.rate.key`"
        ],
    );
    check(
        "[queue.rate]\nlimit = 2000000",
        expect!["a.toml: `queue.rate.limit` is 2000000, expected 0 to 1000000"],
    );
    check(
        "[queue.rate]\nlimit = 1\nper = \"0s\"",
        expect!["a.toml: `queue.rate.per` is 0s, expected at least 1ms"],
    );
    check(
        "[queue.rate]\nlimit = 1\nper = \"31d\"",
        expect!["a.toml: `queue.rate.per` is 31d, expected at most 30 days"],
    );
}
