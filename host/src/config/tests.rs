//! Where settings come from, and how a wrong one is named.

use expect_test::{Expect, expect};

use super::*;

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
    let file = "rules = \"r\"\n[http]\nlisten = \"127.0.0.1:1\"\n[limits]\ntimeout_ms = 7";
    let env = [
        ("POINTSMAN_HTTP_LISTEN", "127.0.0.1:2"),
        ("POINTSMAN_LIMITS_TIMEOUT_MS", "8"),
        ("HOME", "/"),
    ];
    let config = load(file, &env, &[("http.listen", "127.0.0.1:3".into())]).unwrap();
    assert_eq!(config.rules, Path::new("r"));
    assert_eq!(config.plugins, Path::new("plugins"));
    assert_eq!(config.limits.timeout_ms, 8);
    assert_eq!(config.http.listen.port(), 3);
}

#[test]
fn a_queue_that_could_not_work_is_refused() {
    for (setting, expected) in [
        ("share_percent = 0", "expected at least 1"),
        ("share_percent = 101", "expected 1 to 100"),
        ("run_at_max_days = 0", "expected at least 1"),
        ("size_max_bytes = 1000", "expected 0 or at least 1048576"),
    ] {
        let error = load(&format!("[queue]\n{setting}"), &[], &[]).unwrap_err();
        assert!(error.ends_with(expected), "{error}");
    }
}

#[test]
fn a_wrong_setting_is_named_with_its_place() {
    let check = |file: &str, env: &[(&str, &str)], wanted: Expect| {
        wanted.assert_eq(&load(file, env, &[]).unwrap_err());
    };
    check(
        "[limits]\ntimeout = 7",
        &[],
        expect![[r#"
        pointsman.toml: unknown key `limits.timeout`
          hint: did you mean `timeout_ms`?"#]],
    );
    check(
        "zzz = 7",
        &[],
        expect![[r#"
            pointsman.toml: unknown key `zzz`
              hint: known here: `breaker`, `host`, `http`, `limits`, `plugins`, `queue`, `reload`, `rules`"#]],
    );
    check(
        "[limits]\ntimeout_ms = \"7\"",
        &[],
        expect![[
            r#"pointsman.toml: `limits.timeout_ms` is a string, expected integer such as 30000"#
        ]],
    );
    check(
        "a = = 1",
        &[],
        expect!["pointsman.toml:1:5: extra `=`, expected nothing"],
    );
    check(
        "[limits]\ntimeout_ms = -7",
        &[],
        expect!["pointsman.toml: `limits.timeout_ms` is -7, expected 0 to 31536000000"],
    );
    check(
        "[limits]\ntimeout_ms = 0",
        &[],
        expect!["pointsman.toml: `limits.timeout_ms` is 0, expected at least 1"],
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
        "[limits]\ntimeout_ms = 0",
        &[
            ("POINTSMAN_LIMITS_CPU_MAX_MS", "0"),
            ("POINTSMAN_LIMITS_TIMEOUT_MS", "7"),
        ],
        expect![
            "environment POINTSMAN_LIMITS_CPU_MAX_MS: `limits.cpu_max_ms` is 0, expected at least 1"
        ],
    );
    check(
        "[host]\ninstances_max = 5000000000",
        &[],
        expect!["pointsman.toml: `host.instances_max` is 5000000000, expected 0 to 1000000"],
    );
    check(
        "[limits]\ntimeout_ms = 7",
        &[
            ("POINTSMAN_LIMITS_CPU_MAX_MS", "7"),
            ("POINTSMAN_LIMITS_TIMEOUT_MS", "0"),
            ("POINTSMAN_PLUGINS", "elsewhere"),
        ],
        expect![
            "environment POINTSMAN_LIMITS_TIMEOUT_MS: `limits.timeout_ms` is 0, expected at least 1"
        ],
    );
    check(
        "",
        &[("POINTSMAN_LIMITS_TIMEOUT_MS", "x")],
        expect![
            "environment POINTSMAN_LIMITS_TIMEOUT_MS: `limits.timeout_ms` is `x`, expected integer such as 30000"
        ],
    );
}

#[test]
fn every_number_has_an_upper_end_and_what_passes_works() {
    let table = table_of(&Config::default());
    let numbers: Vec<_> = leaves(&table)
        .into_iter()
        .filter(|key| matches!(at(&table, key), Some(Value::Integer(_))))
        .collect();
    assert!(numbers.len() > 40, "{numbers:?}");
    for key in &numbers {
        for value in [0, 1, u64::from(u32::MAX), 1 << 53, i64::MAX as u64] {
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
            let _ = tokio::sync::Semaphore::new(config.host.compile_jobs_max);
            let _ = tokio::sync::Semaphore::new(config.limits.instances_max);
            let now = (std::time::Instant::now(), std::time::SystemTime::now());
            let longest = [
                config.host.shutdown_grace(),
                config.limits.timeout(),
                pointsman_queue::hours(config.queue.retention.dead_age_hours),
                std::time::Duration::from_millis(config.queue.lease_ms),
            ];
            for duration in longest {
                // Some times are added up.
                let _ = (now.0 + duration * 3, now.1 + duration * 3);
            }
        }
    }
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
                "command line: `http.listen`: `{text}` is no IP address with a port: write `127.0.0.1:3000` for this machine alone, `0.0.0.0:3000` or `[::]:3000` for all interfaces"
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
