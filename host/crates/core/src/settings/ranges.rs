//! Owns the upper ends of numbers in settings: past them a sum of times, a count
//! of permits or an allocation would not fit, and nobody means them.

use toml::{Table, Value};

use super::SettingsError;

/// 1 TiB: more than what a host of this kind keeps anywhere.
const BYTES_MAX: i64 = 1 << 40;
/// Of anything else that is counted.
const COUNT_MAX: i64 = 1_000_000_000;

/// What has a lower end than its unit says.
const KEYS: [(&str, i64); 17] = [
    // One buffer in memory each.
    ("host.command_max_bytes", 1 << 30),
    ("host.plugin_max_bytes", 4 << 30),
    ("limits.output_max_bytes", 1 << 30),
    ("limits.log_max_bytes", 1 << 30),
    // Each has a place in a pool, or a permit.
    ("host.instances_max", 1_000_000),
    ("host.waiting_max", 1_000_000),
    ("limits.instances_max", 1_000_000),
    ("limits.resources_max", 1_000_000),
    ("queue.concurrency", 1_000_000),
    ("queue.concurrency_per_key", 1_000_000),
    // A microsecond each, where it is for a second.
    ("queue.rate.limit", 1_000_000),
    // Threads, and connections of a database.
    ("host.compile_jobs_max", 1_024),
    ("host.blocking_max", 10_000),
    ("queue.connections", 10_000),
    ("host.table_elements_max", 100_000_000),
    // Deliveries on a disk.
    ("queue.depth_max", 1_000_000_000_000),
    ("http.header_max_bytes", 1 << 20),
];

/// The highest value of a key.
fn most(key: &str) -> i64 {
    let own = KEYS.iter().find(|(name, _)| *name == key);
    match own {
        Some((_, most)) => *most,
        None if key.ends_with("_bytes") || key.ends_with("bytes_max") => BYTES_MAX,
        None => COUNT_MAX,
    }
}

/// Refuses every number in `table` that is negative or past its upper end.
///
/// # Errors
/// [`SettingsError::WrongValue`], which names `origin` and the key.
pub fn check(table: &Table, origin: &str) -> Result<(), SettingsError> {
    below(table, origin, "")
}

fn below(table: &Table, origin: &str, prefix: &str) -> Result<(), SettingsError> {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            Value::Table(inner) => below(inner, origin, &format!("{key}."))?,
            Value::Integer(found) if !(0..=most(&key)).contains(found) => {
                return Err(SettingsError::WrongValue {
                    origin: origin.into(),
                    found: found.to_string(),
                    expected: format!("0 to {}", most(&key)),
                    key,
                });
            }
            _ => {}
        }
    }
    Ok(())
}
