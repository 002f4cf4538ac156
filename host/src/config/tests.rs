//! Where settings come from, and how a wrong one is named.

use expect_test::{Expect, expect};

use super::{sources::at, *};

fn load(file: &str, env: &[(&str, &str)], flags: &[(&str, String)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pointsman.toml");
    std::fs::write(&path, file).unwrap();
    let env = env.iter().map(|(k, v)| (k.into(), v.into()));
    Config::load(Some(&path), env, flags).map_err(|error| {
        let folder = format!("{}/", folder.path().display());
        error.to_string().replace(&folder, "")
    })
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_defaults() {
    let file = "rules = \"r\"\n[http]\nlisten = \"127.0.0.1:1\"\n[limits]\ntimeout = '7ms'";
    let env = [
        ("POINTSMAN_HTTP_LISTEN", "127.0.0.1:2"),
        ("POINTSMAN_LIMITS_TIMEOUT", "8ms"),
        ("HOME", "/"),
    ];
    let config = load(file, &env, &[("http.listen", "127.0.0.1:3".into())]).unwrap();
    assert_eq!(config.rules, Path::new("r"));
    assert_eq!(config.plugins, Path::new("plugins"));
    assert_eq!(config.limits.timeout, std::time::Duration::from_millis(8));
    assert_eq!(config.http.listen.port(), 3);
}

#[test]
fn a_queue_that_could_not_work_is_refused() {
    for (setting, expected) in [
        ("share_percent = 0", "expected at least 1"),
        ("share_percent = 101", "expected 1 to 100"),
        ("run_at_max = '0s'", "expected at least 1ms"),
        ("lease = '0s'", "expected at least 1ms"),
        ("size_max_bytes = 1000", "expected at least 1048576"),
    ] {
        let error = load(&format!("[queue]\n{setting}"), &[], &[]).unwrap_err();
        assert!(error.ends_with(expected), "{error}");
    }
}

#[test]
fn a_setting_without_a_value_is_a_word_that_takes_back_what_is_below() {
    let file = "[host]\nmemory_max_bytes = 9\n[breaker]\nfailures = 5\n[queue]\nsize_max_bytes = 2000000\nroot_certificates = 'ca.pem'";
    let config = load(file, &[], &[]).unwrap();
    assert_eq!(config.host.memory_max_bytes, Some(9));
    assert_eq!(config.breaker.failures, Some(5));
    let env = [
        ("POINTSMAN_HOST_MEMORY_MAX_BYTES", "auto"),
        ("POINTSMAN_QUEUE_SIZE_MAX_BYTES", "none"),
        ("POINTSMAN_QUEUE_ROOT_CERTIFICATES", "none"),
    ];
    let taken_back = load(file, &env, &[("breaker.failures", "none".into())]).unwrap();
    assert_eq!(taken_back, Config::default());
    // That of a handler takes back the host's.
    let defaults = config.handler_defaults();
    let handler = |text| pointsman_sandbox::HandlerSettings::parse(Path::new("a"), text, &defaults);
    assert_eq!(handler("").unwrap().breaker.failures, Some(5));
    let without = handler("[breaker]\nfailures = 'none'").unwrap();
    assert_eq!(without.breaker.failures, None);
}

#[test]
fn what_used_to_say_that_there_is_no_value_is_refused_with_what_does() {
    let refused = |key: &str, value: &str, wanted: &str| {
        let (section, name) = key.split_once('.').unwrap();
        let error = load(&format!("[{section}]\n{name} = {value}"), &[], &[]).unwrap_err();
        assert_eq!(error, format!("pointsman.toml: `{key}`{wanted}"));
    };
    for key in [
        "host.descriptors_max",
        "host.compile_memory_max_bytes",
        "http.listeners_max",
    ] {
        refused(key, "0", ": 0 means nothing: write `auto`");
        refused(key, "'none'", ": is neither a number from 1 on nor `auto`");
        refused(
            key,
            "true",
            " is boolean true, expected string such as \"auto\"",
        );
    }
    for key in ["breaker.failures", "queue.size_max_bytes"] {
        refused(key, "0", ": 0 means nothing: write `none`");
        refused(key, "'off'", ": is neither a number from 1 on nor `none`");
    }
    refused("queue.url", "''", ": is empty: write `none`");
    refused(
        "queue.pooler",
        "'x'",
        ": unknown variant `x`, expected one of `auto`, `session`, `transaction`",
    );
    refused(
        "queue.engine",
        "'postgres'",
        ": `postgres` needs to know where the database is: set `queue.url` to postgres://user:password@host:port/database",
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn a_wrong_setting_is_named_with_its_place() {
    let check = |file: &str, env: &[(&str, &str)], wanted: Expect| {
        wanted.assert_eq(&load(file, env, &[]).unwrap_err());
    };
    check(
        "[limits]\ntimout = 7",
        &[],
        expect![[r#"
        pointsman.toml: unknown key `limits.timout`
          hint: did you mean `timeout`?"#]],
    );
    check(
        "[limits]\ntimeout_ms = 30000",
        &[],
        expect![[r#"
            pointsman.toml: unknown key `limits.timeout_ms`
              hint: write `timeout = "30s"`"#]],
    );
    check(
        "[queue.retention]\nage_hours = 96",
        &[],
        expect![[r#"
            pointsman.toml: unknown key `queue.retention.age_hours`
              hint: write `age = "96h"`"#]],
    );
    check(
        "",
        &[("POINTSMAN_LIMITS_TIMEOUT_MS", "1500")],
        expect![[r#"
            environment: unknown key `POINTSMAN_LIMITS_TIMEOUT_MS`
              hint: write `POINTSMAN_LIMITS_TIMEOUT=1500ms`"#]],
    );
    check(
        "[limits]\ntimeout = 7",
        &[],
        expect![[
            r#"pointsman.toml: `limits.timeout` is integer 7, expected string such as "30s""#
        ]],
    );
    check(
        "zzz = 7",
        &[],
        expect![[r#"
            pointsman.toml: unknown key `zzz`
              hint: known keys: `breaker`, `host`, `http`, `limits`, `plugins`, `queue`, `reload`, `rules`"#]],
    );
    check(
        "[limits]\ntimeout = \"7\"",
        &[],
        expect![[
            r#"pointsman.toml: `limits.timeout`: not a duration: write a number with its unit, such as `500ms`, `30s`, `5m` or `24h`, of at most a century"#
        ]],
    );
    check(
        "a = = 1",
        &[],
        expect!["pointsman.toml:1:5: extra `=`, expected nothing"],
    );
    check(
        "[limits]\nlog_lines_max = -7",
        &[],
        expect!["pointsman.toml: `limits.log_lines_max` is -7, expected 0 to 1000000000"],
    );
    check(
        "[limits]\ntimeout = '0ms'",
        &[],
        expect!["pointsman.toml: `limits.timeout` is 0s, expected at least 1ms"],
    );
    check(
        "[limits]\nmemory_max_bytes = 1000",
        &[],
        expect![
            "pointsman.toml: `limits.memory_max_bytes` is 1000, expected at least 65536, one page of memory"
        ],
    );
    check(
        "[limits]\nstack_max_bytes = 1",
        &[],
        expect!["pointsman.toml: `limits.stack_max_bytes` is 1, expected 32768 to 16777216"],
    );
    check(
        "[host]\ninstances_max = 0",
        &[],
        expect!["pointsman.toml: `host.instances_max` is 0, expected at least 1"],
    );
    check(
        "",
        &[("POINTSMAN_PORT", "3000")],
        expect![[r#"
        environment: unknown key `POINTSMAN_PORT`
          hint: `POINTSMAN_HTTP_LISTEN` sets the address and port to listen on, as in `127.0.0.1:3000`"#]],
    );
    check(
        "",
        &[("POINTSMAN_HTTP_LISTN", "x")],
        expect![[r#"
        environment: unknown key `POINTSMAN_HTTP_LISTN`
          hint: did you mean `POINTSMAN_HTTP_LISTEN`?"#]],
    );
    check(
        "[limits]\ntimeout = '0ms'",
        &[
            ("POINTSMAN_LIMITS_CPU_MAX", "0ms"),
            ("POINTSMAN_LIMITS_TIMEOUT", "7ms"),
        ],
        expect![
            "environment POINTSMAN_LIMITS_CPU_MAX: `limits.cpu_max` is 0s, expected at least 1ms"
        ],
    );
    check(
        "[host]\ninstances_max = 5000000000",
        &[],
        expect!["pointsman.toml: `host.instances_max` is 5000000000, expected 0 to 1000000"],
    );
    check(
        "[limits]\ntimeout = '7ms'",
        &[
            ("POINTSMAN_LIMITS_CPU_MAX", "7ms"),
            ("POINTSMAN_LIMITS_TIMEOUT", "0ms"),
            ("POINTSMAN_PLUGINS", "elsewhere"),
        ],
        expect![
            "environment POINTSMAN_LIMITS_TIMEOUT: `limits.timeout` is 0s, expected at least 1ms"
        ],
    );
    check(
        "",
        &[("POINTSMAN_LIMITS_TIMEOUT", "x")],
        expect![
            "environment POINTSMAN_LIMITS_TIMEOUT: `limits.timeout`: not a duration: write a number with its unit, such as `500ms`, `30s`, `5m` or `24h`, of at most a century"
        ],
    );
}

#[test]
fn every_number_has_an_upper_end_and_what_passes_works() {
    let table = table_of(&Config::default());
    let numbers: Vec<_> = leaves(&table)
        .into_iter()
        .filter(|key| {
            let set = [(key.as_str(), "2000000".into())];
            let is_number = |error: String| error.contains(" is 2000000, expected");
            at(&table, key).is_some_and(Value::is_integer)
                || at(&table, key).is_some_and(optional::is_word)
                    && load("", &[], &set).map_or_else(is_number, |_| true)
        })
        .collect();
    assert!(numbers.len() > 35, "{numbers:?}");
    for key in &numbers {
        // What has a word for it refuses 0, in other words.
        let least = u64::from(at(&table, key).is_some_and(optional::is_word));
        for value in [least, 1, u64::from(u32::MAX), 1 << 53, i64::MAX as u64] {
            let loaded = load("", &[], &[(key, value.to_string())]);
            let Ok(config) = loaded else {
                let error = loaded.unwrap_err();
                assert!(
                    error.starts_with(&format!("command line: `{key}` is {value}, expected")),
                    "{error}"
                );
                continue;
            };
            assert!(value <= 1 << 40, "{key} takes {value}");
            // What is made of numbers, and panics where they do not fit.
            let _ = tokio::sync::Semaphore::new(config.queue.concurrency);
            let _ = tokio::sync::Semaphore::new(config.host.compile_jobs_max.unwrap_or(1));
            let _ = tokio::sync::Semaphore::new(config.limits.instances_max);
        }
    }
}

#[test]
fn every_duration_has_an_upper_end_and_what_passes_works() {
    let table = table_of(&Config::default());
    let is_duration = |key: &String| {
        let text = at(&table, key).and_then(Value::as_str);
        text.is_some_and(|text| duration::parse(text).is_some())
    };
    let durations: Vec<_> = leaves(&table).into_iter().filter(is_duration).collect();
    assert!(durations.len() > 20, "{durations:?}");
    for key in &durations {
        for text in ["1ms", "36525d"] {
            load("", &[], &[(key, text.into())]).unwrap_or_else(|error| panic!("{error}"));
        }
        for text in ["36526d", "99999999999h", "10", "-1s", "soon"] {
            let error = load("", &[], &[(key, text.into())]).unwrap_err();
            let wanted = format!("command line: `{key}`: not a duration");
            assert!(error.starts_with(&wanted), "{error}");
        }
        // As it was written before durations had units.
        let error = load("", &[], &[(&format!("{key}_ms"), "1500".into())]).unwrap_err();
        assert!(error.ends_with(&format!("write `{key}=1500ms`")), "{error}");
    }
    // Some times are added up.
    let now = (std::time::Instant::now(), std::time::SystemTime::now());
    let _ = (now.0 + duration::MAX * 3, now.1 + duration::MAX * 3);
}

#[test]
fn an_address_is_taken_in_the_usual_forms_and_refused_with_what_to_write() {
    let listen = |text: &str| {
        let loaded = load("", &[], &[("http.listen", text.into())]);
        loaded.map(|config| config.http.listen.to_string())
    };
    assert_eq!(listen("localhost:3000").unwrap(), "127.0.0.1:3000");
    assert_eq!(listen("[::1]:3000").unwrap(), "[::1]:3000");
    for text in [
        ":3000",
        "3000",
        "0.0.0.0",
        "example.com:3000",
        "127.0.0.1:99999",
    ] {
        assert_eq!(
            listen(text).unwrap_err(),
            format!(
                "command line: `http.listen`: `{text}` is not an IP address with a port: write `127.0.0.1:3000` for this machine alone, `0.0.0.0:3000` or `[::]:3000` for all interfaces"
            )
        );
    }
}

#[test]
fn a_list_is_written_with_commas_outside_of_files() {
    let config = load(
        "[http]\nhosts = [\"a.example\"]",
        &[("POINTSMAN_HTTP_HOSTS", "b.example, c.example")],
        &[],
    );
    assert_eq!(config.unwrap().http.hosts, ["b.example", "c.example"]);
    assert_eq!(
        load("[http]\nhosts = [\"http://a.example\"]", &[], &[]).unwrap_err(),
        "pointsman.toml: `http.hosts` is `http://a.example`, expected names such as `pointsman.example.com`, without scheme and port"
    );
    assert_eq!(
        load("[http]\nhosts = [1]", &[], &[]).unwrap_err(),
        "pointsman.toml: `http.hosts[0]`: invalid type: integer `1`, expected a string"
    );
    assert_eq!(
        load("[queue]\nengine = \"redis\"", &[], &[]).unwrap_err(),
        "pointsman.toml: `queue.engine`: unknown variant `redis`, expected one of `off`, `sqlite`, `postgres`"
    );
}

#[test]
fn tokens_are_written_in_two_forms_and_a_wrong_one_is_named_without_its_text() {
    let digest = "ab".repeat(32);
    let text = format!("ci:execute+read:{digest}:2027-01-31T00:00:00Z");
    let table = format!(
        "{{ name = 'ci', roles = ['execute', 'read'], sha256 = '{digest}', expires = 2027-01-31T00:00:00Z }}"
    );
    let quoted = table.replace("2027-01-31T00:00:00Z", "'2027-01-31T00:00:00Z'");
    let from_text = load(&format!("[http]\ntokens = ['{text}']"), &[], &[]).unwrap();
    for table in [&table, &quoted] {
        let from_table = load(&format!("[http]\ntokens = [{table}]"), &[], &[]).unwrap();
        assert_eq!(from_table, from_text);
    }
    let variable = format!("{text}, ops:admin:{digest}");
    let from_variable = load("", &[("POINTSMAN_HTTP_TOKENS", &variable)], &[]).unwrap();
    assert_eq!(from_variable.http.tokens[..1], from_text.http.tokens);
    assert_eq!(
        from_variable.http.tokens[1].to_string(),
        format!("ops:admin:{digest}")
    );

    let refused = |tokens: &str, wanted: Expect| {
        let error = load(&format!("[http]\ntokens = [{tokens}]"), &[], &[]).unwrap_err();
        assert!(!error.contains("pmt_"), "{error}");
        wanted.assert_eq(&error);
    };
    refused(
        "'pmt_secret'",
        expect![
            "pointsman.toml: `http.tokens[0]`: is not a token: write `NAME:ROLE+ROLE:SHA256`, as `pointsman token new` prints it"
        ],
    );
    refused(
        &format!("'{text}', 'ci:read:pmt_secret'"),
        expect![
            "pointsman.toml: `http.tokens[1]`: the SHA-256 of `ci` is not 64 hexadecimal digits: `pointsman token new` prints it"
        ],
    );
    refused(
        &format!("'{text}', {table}"),
        expect!["pointsman.toml: `http.tokens[1]` is a second token `ci`, expected another name"],
    );
    refused(
        "{ name = 'ci', roles = ['execute'], sha256 = 'pmt_secret' }",
        expect![
            "pointsman.toml: `http.tokens[0]`: the SHA-256 of `ci` is not 64 hexadecimal digits: `pointsman token new` prints it"
        ],
    );
    refused(
        "{ name = 'ci', roles = [], sha256 = '' }",
        expect![
            "pointsman.toml: `http.tokens[0]`: the roles of `ci` are not some of `execute`, `read` and `admin`, with `+` between them"
        ],
    );
    refused(
        "{ name = 'ci', roles = ['write'], sha256 = '' }",
        expect![
            "pointsman.toml: `http.tokens[0].roles[0]`: unknown variant `write`, expected one of `execute`, `read`, `admin`"
        ],
    );
    refused(
        "{ name = 'ci', token = 'pmt_secret' }",
        expect![
            "pointsman.toml: `http.tokens[0].token`: unknown field `token`, expected one of `name`, `roles`, `sha256`, `expires`"
        ],
    );
    refused(
        "7",
        expect![
            "pointsman.toml: `http.tokens[0]`: invalid type: integer `7`, expected a token: `{ name, roles, sha256 }` or `NAME:ROLE+ROLE:SHA256`"
        ],
    );
}
