//! Where settings come from, and how a wrong one is named.

use expect_test::{Expect, expect};

use super::*;

fn load(file: &str, env: &[(&str, &str)], flags: &[(&str, String)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pointsman.toml");
    std::fs::write(&path, file).unwrap();
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
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
            r#"pointsman.toml: `limits.timeout_ms` is string "7", expected integer such as 30000"#
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
        expect!["settings: invalid value: integer `-7`, expected 0 or more in `limits.timeout_ms`"],
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
        expect![
            "settings: invalid value: integer `5000000000`, expected 0 to 4294967295 in `host.instances_max`"
        ],
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
