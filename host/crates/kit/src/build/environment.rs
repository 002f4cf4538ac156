//! Owns what a build's tools see of the caller's environment: where things are,
//! how to reach the network, and nothing else. A flag for another build
//! (`RUSTFLAGS`, `NODE_ENV`, `PYTHONPATH`, `CFLAGS`) changes no handler, and the code
//! of a package sees no secret of the shell but the token of its own registry.

use std::{
    ffi::{OsStr, OsString},
    process::Command,
};

/// A command of `program` that inherits only what a build needs.
pub(super) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(std::env::vars_os().filter(is_kept));
    command
}

/// Variables that say where programs, homes and temporary files are, what the
/// terminal can do, and how to reach and trust servers.
const KEPT: &[&str] = &[
    // The system.
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "TEMP",
    "TMP",
    "DEVELOPER_DIR",
    "SDKROOT",
    "LOCALE_ARCHIVE",
    // That of Windows.
    "APPDATA",
    "COMSPEC",
    "HOMEDRIVE",
    "HOMEPATH",
    "LOCALAPPDATA",
    "NUMBER_OF_PROCESSORS",
    "OS",
    "PATHEXT",
    "PROCESSOR_ARCHITECTURE",
    "PROGRAMDATA",
    "PROGRAMFILES",
    "PROGRAMFILES(X86)",
    "SYSTEMDRIVE",
    "SYSTEMROOT",
    "USERPROFILE",
    "WINDIR",
    // The terminal.
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "FORCE_COLOR",
    // The network.
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "NIX_SSL_CERT_FILE",
    "SSH_AUTH_SOCK",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    // Where the tools' own files and registries are.
    "CARGO_HOME",
    "CARGO_BUILD_JOBS",
    "NPM_TOKEN",
    "NODE_AUTH_TOKEN",
    "PIP_CACHE_DIR",
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_CONFIG_FILE",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_INDEX_URL",
    "PIP_NO_INDEX",
    "PIP_PROXY",
    "PIP_RETRIES",
    "PIP_TRUSTED_HOST",
    "ZIG_GLOBAL_CACHE_DIR",
];

const KEPT_PREFIXES: &[&str] = &[
    "LC_",
    "XDG_",
    "NIX_LD",
    "RUSTUP_",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_TERM_",
];

/// Settings of npm, as `npm_config_registry` or `NPM_CONFIG_REGISTRY`.
const NPM_PREFIX: &str = "NPM_CONFIG_";
const NPM_KEPT: &[&str] = &[
    "CA",
    "CACHE",
    "CAFILE",
    "GLOBALCONFIG",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NOPROXY",
    "PROXY",
    "REGISTRY",
    "STRICT_SSL",
    "USERCONFIG",
];

fn is_kept((name, _): &(OsString, OsString)) -> bool {
    // Proxies are spelled in either case, and on Windows everything is.
    let name = name.to_string_lossy().to_uppercase();
    match name.strip_prefix(NPM_PREFIX) {
        Some(setting) => NPM_KEPT.contains(&setting.replace('-', "_").as_str()),
        None => {
            KEPT.contains(&name.as_str()) || KEPT_PREFIXES.iter().any(|it| name.starts_with(it))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_the_build_or_give_away_a_secret_is_left_out() {
        let is_kept = |name: &str| is_kept(&(name.into(), "x".into()));
        for kept in [
            "PATH",
            "HOME",
            "https_proxy",
            "LC_ALL",
            "npm_config_registry",
            "CARGO_HOME",
        ] {
            assert!(is_kept(kept), "{kept}");
        }
        for left_out in [
            "NODE_ENV",
            "NODE_OPTIONS",
            "NODE_PATH",
            "npm_config_omit",
            "NPM_CONFIG_IGNORE_SCRIPTS",
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_PROFILE_RELEASE_LTO",
            "RUSTC_WRAPPER",
            "RUSTC",
            "PYTHONPATH",
            "PYTHONHOME",
            "VIRTUAL_ENV",
            "PIP_TARGET",
            "PIP_USER",
            "CC",
            "CFLAGS",
            "CPATH",
            "C_INCLUDE_PATH",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "AWS_SECRET_ACCESS_KEY",
            "CARGO_REGISTRY_TOKEN",
            "POINTSMAN_QUEUE_URL",
            "",
        ] {
            assert!(!is_kept(left_out), "{left_out}");
        }
    }
}
