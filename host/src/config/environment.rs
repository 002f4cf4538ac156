//! Owns which variables of the environment are settings. Others write into the
//! same names: the container platforms tell each process of the services beside
//! it, and one of those may be called `pointsman`.

use std::ffi::OsString;

use pointsman_core::settings::{SettingsError, hint};

use super::{ENV_PREFIX, renamed};

/// The token that the command line sends to a server: no setting, and never shown.
pub(crate) const TOKEN_VARIABLE: &str = "POINTSMAN_TOKEN";

/// The files that the command line speaks TLS to a server with: no settings either.
pub(crate) const CA_VARIABLE: &str = "POINTSMAN_CA";
pub(crate) const CLIENT_CERTIFICATE_VARIABLE: &str = "POINTSMAN_CLIENT_CERTIFICATE";
pub(crate) const CLIENT_KEY_VARIABLE: &str = "POINTSMAN_CLIENT_KEY";

/// What the command line reads itself.
const OF_CLIENTS: [&str; 4] = [
    TOKEN_VARIABLE,
    CA_VARIABLE,
    CLIENT_CERTIFICATE_VARIABLE,
    CLIENT_KEY_VARIABLE,
];

/// A variable that sets a key.
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) key: String,
    pub(super) text: String,
}

/// The variables that set one of `keys`, by name. Empty ones are not set.
///
/// # Errors
/// [`SettingsError`], for a name with our prefix that is no key and nobody else's,
/// and for a text that is not UTF-8.
pub(super) fn settings(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    keys: &[String],
) -> Result<Vec<Variable>, SettingsError> {
    let mut variables = Vec::new();
    for (name, text) in environment {
        // A name that is not UTF-8 is not ours.
        let Some(name) = name.to_str().filter(|name| name.starts_with(ENV_PREFIX)) else {
            continue;
        };
        if OF_CLIENTS.contains(&name)
            || text.is_empty()
            || is_of_a_platform(name, &text.to_string_lossy())
        {
            continue;
        }
        let Some(key) = keys.iter().find(|key| env_name(key) == name) else {
            let names: Vec<_> = keys.iter().map(|key| env_name(key)).collect();
            return Err(SettingsError::UnknownKey {
                origin: "environment".into(),
                hint: match &name[ENV_PREFIX.len()..] {
                    "PORT" | "HOST" | "ADDRESS" | "BIND" => format!(
                        "`{}` sets the address and port to listen on, as in `127.0.0.1:3000`",
                        env_name("http.listen")
                    ),
                    _ => renamed(name, &text.to_string_lossy(), &names)
                        .unwrap_or_else(|| hint(name, names.iter().map(String::as_str))),
                },
                key: name.into(),
            });
        };
        let Ok(text) = text.into_string() else {
            return Err(SettingsError::WrongValue {
                origin: format!("environment {name}"),
                key: key.clone(),
                found: "not UTF-8".into(),
                expected: "text in UTF-8".into(),
            });
        };
        variables.push(Variable {
            name: name.into(),
            key: key.clone(),
            text,
        });
    }
    variables.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(variables)
}

/// The variable that sets a key: `POINTSMAN_HTTP_LISTEN` sets `http.listen`.
pub(super) fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// Whether Kubernetes writes the variable for a service, or Docker for a linked
/// container, whose name is `pointsman` or begins so.
fn is_of_a_platform(name: &str, text: &str) -> bool {
    let rest = &name[ENV_PREFIX.len() - 1..];
    let is_link = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    rest.ends_with("_SERVICE_HOST")
        || rest.ends_with("_SERVICE_PORT")
        || rest.contains("_SERVICE_PORT_")
        // A key may end so one day, but hold no URL.
        || rest.ends_with("_PORT") && is_link
        || rest.ends_with("_NAME") && text.starts_with('/')
        || rest.contains("_ENV_")
        || rest.rsplit_once("_PORT_").is_some_and(|(_, port)| is_port(port))
        || rest
            .strip_suffix("_PORT")
            .and_then(|rest| rest.rsplit_once("_PORT_"))
            .is_some_and(|(_, port)| is_port(port))
}

/// `3000_TCP`, perhaps with `_PROTO`, `_PORT`, `_ADDR`, `_START` or `_END` behind it.
fn is_port(text: &str) -> bool {
    let mut parts = text.split('_');
    let number = parts.next().unwrap_or_default();
    !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
        && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
        && matches!(
            parts.next(),
            None | Some("PROTO" | "PORT" | "ADDR" | "START" | "END")
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_platforms_write_for_services_of_our_name_is_theirs() {
        let link = "tcp://10.0.0.1:3000";
        for (name, text) in [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "3000"),
            ("SERVICE_PORT_HTTP", "3000"),
            ("PORT", link),
            ("PORT_3000_TCP", link),
            ("PORT_3000_TCP_PROTO", "tcp"),
            ("PORT_3000_TCP_PORT", "3000"),
            ("PORT_3000_UDP_ADDR", "10.0.0.1"),
            ("PORT_3000_SCTP", "sctp://10.0.0.1:3000"),
            // A service whose name only begins as ours.
            ("METRICS_SERVICE_HOST", "10.0.0.2"),
            ("METRICS_PORT_9090_TCP_PORT", "9090"),
            ("METRICS_PORT", link),
            // Docker's links.
            ("NAME", "/web/pointsman"),
            ("ENV_LANG", "C"),
            ("DB_ENV_POSTGRES_VERSION", "17"),
            ("PORT_3000_TCP_START", link),
        ] {
            let name = format!("{ENV_PREFIX}{name}");
            assert!(is_of_a_platform(&name, text), "{name}={text}");
        }
        for (name, text) in [
            ("HTTP_PORT", "3000"),
            ("PORT", "3000"),
            ("PORTS_3000_TCP", "x"),
            ("PORT_HTTP_TCP", "x"),
            ("PORT_3000_QUIC", "x"),
            ("QUEUE_NAME", "orders"),
            ("SERVICE_HOSTS", "10.0.0.1"),
        ] {
            let name = format!("{ENV_PREFIX}{name}");
            assert!(!is_of_a_platform(&name, text), "{name}={text}");
        }
    }

    #[test]
    fn an_empty_variable_is_not_set_and_one_that_is_not_utf8_is_refused() {
        use std::os::unix::ffi::OsStringExt as _;
        let keys = ["http.listen".to_owned()];
        let settings = |name: &str, text: &[u8]| {
            let pair = (name.into(), OsString::from_vec(text.to_vec()));
            settings([pair], &keys).map(|variables| variables.len())
        };
        assert_eq!(settings("POINTSMAN_HTTP_LISTEN", b"x").unwrap(), 1);
        assert_eq!(settings("POINTSMAN_HTTP_LISTEN", b"").unwrap(), 0);
        assert_eq!(settings("POINTSMAN_LISTEN", b"").unwrap(), 0);
        assert_eq!(settings("HOME", b"\xff").unwrap(), 0);
        assert_eq!(
            settings("POINTSMAN_HTTP_LISTEN", b"\xa3")
                .unwrap_err()
                .to_string(),
            "environment POINTSMAN_HTTP_LISTEN: `http.listen` is not UTF-8, expected text in UTF-8"
        );
    }
}
