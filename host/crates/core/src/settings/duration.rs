//! Owns how a duration is written in settings: a number with its unit, such as
//! `"30s"`. For a field: `#[serde(with = "duration")]`.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

use crate::integer;

/// A century: past it is a wrong unit, and sums of times would not fit.
pub const MAX: Duration = Duration::from_secs(36_525 * 24 * 3600);

/// Suffixes of names that said the unit of a number.
const SUFFIXES: [(&str, u64); 3] = [("_ms", 1), ("_hours", 3_600_000), ("_days", 24 * 3_600_000)];

/// Reads `500ms`, `30s`, `5m`, `24h`, `3d` and sums of them, such as `1h30m`.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    // jiff also takes a sign and the form of ISO 8601, `PT30S`.
    text.starts_with(|c: char| c.is_ascii_digit())
        .then_some(())?;
    let span: Span = text.parse().ok()?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    let duration = Duration::try_from(signed).ok()?;
    (duration <= MAX).then_some(duration)
}

/// Writes it in the largest unit that it is a whole number of; days only from
/// ten on.
#[must_use]
pub fn text(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [
        ("d", 24 * 3_600_000, 10),
        ("h", 3_600_000, 1),
        ("m", 60_000, 1),
        ("s", 1_000, 1),
    ];
    let unit = units
        .into_iter()
        .find(|(_, size, least)| millis.is_multiple_of(*size) && millis / size >= *least);
    match unit {
        Some((unit, size, _)) => format!("{}{unit}", millis / size),
        None if millis == 0 => "0s".into(),
        None => format!("{millis}ms"),
    }
}

/// Of a name that says a unit, such as `timeout_ms`: the name without it, and
/// what stands there now for `amount`, where that is a number.
#[must_use]
pub fn renamed<'a>(name: &'a str, amount: &str) -> Option<(&'a str, String)> {
    let (short, unit) = SUFFIXES.iter().find_map(|(suffix, unit)| {
        let at = name.len().checked_sub(suffix.len())?;
        let (short, found) = name.split_at_checked(at)?;
        found.eq_ignore_ascii_case(suffix).then_some((short, *unit))
    })?;
    let millis = integer::parse::<u64>(amount)?.checked_mul(unit)?;
    Some((short, text(Duration::from_millis(millis))))
}

/// What is said of a text that is no duration. It is not repeated: it may be a
/// secret that was put into the wrong place.
pub(super) const WANTED: &str = "not a duration: write a number with its unit, such as `500ms`, `30s`, `5m` or `24h`, of at most a century";

/// Writes a field.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
}

/// Reads a field.
///
/// # Errors
/// Where the text is no duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| D::Error::custom(WANTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_with_its_unit() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("24h", 86_400_000),
            ("3d", 3 * 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "30",
            "-30s",
            "+30s",
            "PT30S",
            " 30s",
            "30 apples",
            "1y",
            "2mo",
            "99999999h",
            "s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (millis, written) in [
            (0, "0s"),
            (1, "1ms"),
            (1_500, "1500ms"),
            (75_000, "75s"),
            (60_000, "1m"),
            (72 * 3_600_000, "72h"),
            (30 * 24 * 3_600_000, "30d"),
        ] {
            let duration = Duration::from_millis(millis);
            assert_eq!(text(duration), written);
            assert_eq!(parse(written), Some(duration));
        }
        assert_eq!(parse(&text(MAX)), Some(MAX));
    }

    #[test]
    fn a_name_with_a_unit_tells_the_one_without() {
        let is = |name, text: &str| Some((name, text.to_owned()));
        assert_eq!(renamed("timeout_ms", "30000"), is("timeout", "30s"));
        assert_eq!(renamed("age_hours", "72"), is("age", "72h"));
        assert_eq!(renamed("POINTSMAN_X_MS", "5"), is("POINTSMAN_X", "5ms"));
        assert_eq!(renamed("timeout", "5"), None);
        assert_eq!(renamed("timeout_ms", "x"), None);
    }
}
