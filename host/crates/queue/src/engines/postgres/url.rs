//! Reads `queue.url`: [`pointsman_database::url`] does, and the settings of the queue
//! are named where one of them is what an option means.

use pointsman_database::url::{self, Target, Wanted};

use super::PostgresConfig;
use crate::QueueError;

/// # Errors
/// [`QueueError::Config`]: the option that is wrong, and what to do.
pub(super) fn target(settings: &PostgresConfig) -> Result<Target, QueueError> {
    let wanted = Wanted {
        url: &settings.url,
        root_certificates: settings.root_certificates.as_ref(),
        timeout: settings.timeout,
        read_only: false,
    };
    url::target(&wanted).map_err(|error| {
        let meant = error.unknown.as_deref().and_then(setting);
        let hint = meant.map_or(error.hint, str::to_owned);
        QueueError::config_with_hint(format!("`queue.url`: {}", error.reason), hint)
    })
}

/// The setting that an option of other programs means.
fn setting(option: &str) -> Option<&'static str> {
    match option {
        "schema" | "currentSchema" | "search_path" => Some("`queue.schema` names the schema"),
        "connection_limit" | "pool_size" | "max_connections" => {
            Some("`queue.connections` is the limit")
        }
        "pgbouncer" => Some("poolers are detected; `queue.pooler` overrides that"),
        "statement_timeout" | "socket_timeout" | "pool_timeout" => {
            Some("`queue.timeout` is the limit of a call")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_is_a_setting_of_the_queue_names_it() {
        for (option, named) in [
            ("schema=public", "hint: `queue.schema`"),
            ("connection_limit=5", "`queue.connections`"),
            ("pgbouncer=true", "`queue.pooler`"),
            ("aplication_name=a", "`application_name`"),
        ] {
            let settings = PostgresConfig::new(format!("postgres://u@h/x?{option}"));
            let error = target(&settings).unwrap_err().to_string();
            assert!(error.starts_with("`queue.url`: "), "{error}");
            assert!(error.contains(named), "{option}: {error}");
        }
    }
}
