//! Owns the functions of guards: their names, what they take and what they
//! make of it. All but `matches`, which is compiled with the rule.

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use pointsman_core::{integer, name::nearest, source::excerpt};

use super::{
    meter::{Meter, Stop},
    types::Type,
    value::{Text, Value},
};

/// A function and how it may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    LowerAscii,
    UpperAscii,
    Int,
    Uint,
    Double,
    String,
    Bool,
    Dyn,
    Timestamp,
    Duration,
    FullYear,
    Month,
    Date,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

/// How a function is called: `f(x)` or `x.f()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Global,
    Method,
}

use Style::{Global, Method};

/// Each function by name, and the styles it takes.
const FUNCTIONS: [(&str, Function, &[Style]); 25] = [
    ("size", Function::Size, &[Global, Method]),
    ("contains", Function::Contains, &[Method]),
    ("startsWith", Function::StartsWith, &[Method]),
    ("endsWith", Function::EndsWith, &[Method]),
    ("matches", Function::Matches, &[Global, Method]),
    ("lowerAscii", Function::LowerAscii, &[Method]),
    ("upperAscii", Function::UpperAscii, &[Method]),
    ("int", Function::Int, &[Global]),
    ("uint", Function::Uint, &[Global]),
    ("double", Function::Double, &[Global]),
    ("string", Function::String, &[Global]),
    ("bool", Function::Bool, &[Global]),
    ("dyn", Function::Dyn, &[Global]),
    ("timestamp", Function::Timestamp, &[Global]),
    ("duration", Function::Duration, &[Global]),
    ("getFullYear", Function::FullYear, &[Method]),
    ("getMonth", Function::Month, &[Method]),
    ("getDate", Function::Date, &[Method]),
    ("getDayOfMonth", Function::DayOfMonth, &[Method]),
    ("getDayOfWeek", Function::DayOfWeek, &[Method]),
    ("getDayOfYear", Function::DayOfYear, &[Method]),
    ("getHours", Function::Hours, &[Method]),
    ("getMinutes", Function::Minutes, &[Method]),
    ("getSeconds", Function::Seconds, &[Method]),
    ("getMilliseconds", Function::Milliseconds, &[Method]),
];

/// `no arguments`, `1 argument`, `2 arguments`
pub(super) fn counted(count: usize) -> String {
    match count {
        0 => "no arguments".to_owned(),
        1 => "1 argument".to_owned(),
        count => format!("{count} arguments"),
    }
}

impl Function {
    /// The function of this name.
    ///
    /// # Errors
    /// A message, and how to fix it where that is known.
    pub(super) fn find(
        name: &str,
        style: Style,
        macros: [&str; 6],
    ) -> Result<Self, (String, Option<String>)> {
        let found = FUNCTIONS.iter().find(|(known, ..)| *known == name);
        let Some((_, function, styles)) = found else {
            let known = FUNCTIONS.iter().map(|(known, ..)| *known).chain(macros);
            let near = nearest(name, known).map(|near| format!("did you mean `{near}`?"));
            let all: Vec<&str> = FUNCTIONS.iter().map(|(known, ..)| *known).collect();
            let hint = near.unwrap_or_else(|| format!("known functions: {}", all.join(", ")));
            return Err((format!("unknown function `{}`", excerpt(name)), Some(hint)));
        };
        if styles.contains(&style) {
            return Ok(*function);
        }
        let hint = match style {
            Global => format!("call it on a value: `command.field.{name}(…)`"),
            Method => format!("write `{name}(…)`"),
        };
        Err((format!("`{name}` is not called like this"), Some(hint)))
    }

    pub(super) fn name(self) -> &'static str {
        let found = FUNCTIONS.iter().find(|(_, function, _)| *function == self);
        found.map_or("", |(name, ..)| name)
    }

    /// How many arguments it takes, the receiver included.
    pub(super) fn arguments(self) -> usize {
        match self {
            Self::Contains | Self::StartsWith | Self::EndsWith | Self::Matches => 2,
            _ => 1,
        }
    }

    /// What each argument may be.
    pub(super) fn takes(self) -> &'static [Type] {
        use Type::{Bool, Duration, List, Map, Number, Text, Timestamp};
        match self {
            Self::Size => &[Text, List, Map],
            Self::Contains
            | Self::StartsWith
            | Self::EndsWith
            | Self::Matches
            | Self::LowerAscii
            | Self::UpperAscii => &[Text],
            Self::Int => &[Number, Text, Timestamp],
            Self::Uint => &[Number, Text],
            Self::Double => &[Number, Text],
            Self::String => &[Number, Text, Bool, Timestamp, Duration],
            Self::Bool => &[Bool, Text],
            Self::Dyn => &[],
            Self::Timestamp => &[Text, Number, Timestamp],
            Self::Duration => &[Text, Duration],
            Self::Hours | Self::Minutes | Self::Seconds | Self::Milliseconds => {
                &[Timestamp, Duration]
            }
            _ => &[Timestamp],
        }
    }

    pub(super) fn makes(self) -> Type {
        match self {
            Self::Contains | Self::StartsWith | Self::EndsWith | Self::Matches | Self::Bool => {
                Type::Bool
            }
            Self::LowerAscii | Self::UpperAscii | Self::String => Type::Text,
            Self::Dyn => Type::Dyn,
            Self::Timestamp => Type::Timestamp,
            Self::Duration => Type::Duration,
            _ => Type::Number,
        }
    }

    /// The value for these arguments.
    pub(super) fn call<'c>(
        self,
        arguments: &[Value<'c>],
        meter: &Meter<'_>,
    ) -> Result<Value<'c>, Stop> {
        let Some(first) = arguments.first() else {
            return Err(Stop::fault("a function without arguments"));
        };
        match (self, first) {
            (Self::Dyn, value) => Ok(value.clone()),
            (Self::Size, Value::Text(text)) => {
                meter.read(text.len())?;
                Ok(Value::count(text.chars().count()))
            }
            (Self::Size, Value::List(items)) => Ok(Value::count(items.len())),
            (Self::Size, Value::Map(map)) => Ok(Value::count(map.len())),
            (Self::Int | Self::Uint | Self::Double | Self::String | Self::Bool, value) => {
                self.convert(value, meter)
            }
            (Self::Timestamp, value) => {
                meter.heavy()?;
                timestamp(value)
            }
            (Self::Duration, Value::Text(text)) => {
                meter.heavy()?;
                duration(text).map(Value::Duration)
            }
            (Self::Duration, Value::Duration(_)) => Ok(first.clone()),
            (_, Value::Text(text)) => self.of_text(text, arguments.get(1), meter),
            (_, Value::Timestamp(at)) => {
                let at = at.to_zoned(TimeZone::UTC).datetime();
                self.of_time(at).ok_or_else(|| self.unfit(first))
            }
            (_, Value::Duration(span)) => {
                let count = match self {
                    Self::Hours => span.as_hours(),
                    Self::Minutes => span.as_mins(),
                    Self::Seconds => span.as_secs(),
                    Self::Milliseconds => i64::try_from(span.as_millis()).unwrap_or(i64::MAX),
                    _ => return Err(self.unfit(first)),
                };
                Ok(Value::Int(count))
            }
            (_, value) => Err(self.unfit(value)),
        }
    }

    fn unfit(self, value: &Value<'_>) -> Stop {
        Stop::fault(format_args!(
            "`{}` does not take {}",
            self.name(),
            value.kind()
        ))
    }

    fn of_text<'c>(
        self,
        text: &Text<'c>,
        other: Option<&Value<'c>>,
        meter: &Meter<'_>,
    ) -> Result<Value<'c>, Stop> {
        let made = |text: String| {
            meter.write(text.len())?;
            Ok(Value::from(text))
        };
        match (self, other) {
            (Self::LowerAscii | Self::UpperAscii, _) => meter.read(text.len())?,
            // Looking for it first prepares all of what is looked for.
            (Self::Contains, Some(Value::Text(other))) if other.len() <= text.len() => {
                meter.scan((text.len() + other.len()) / 2)?;
            }
            (_, Some(Value::Text(other))) => meter.read(other.len().min(text.len()))?,
            _ => {}
        }
        match (self, other) {
            (Self::LowerAscii, _) => return made(text.to_ascii_lowercase()),
            (Self::UpperAscii, _) => return made(text.to_ascii_uppercase()),
            _ => {}
        }
        let Some(Value::Text(other)) = other else {
            return Err(match other {
                Some(other) => self.unfit(other),
                None => self.unfit(&Value::Text(text.clone())),
            });
        };
        Ok(Value::Bool(match self {
            Self::Contains => {
                other.len() <= text.len()
                    && memchr::memmem::find(text.as_bytes(), other.as_bytes()).is_some()
            }
            Self::StartsWith => text.starts_with(&**other),
            Self::EndsWith => text.ends_with(&**other),
            _ => return Err(self.unfit(&Value::Text(text.clone()))),
        }))
    }

    fn of_time<'c>(self, at: DateTime) -> Option<Value<'c>> {
        Some(Value::Int(match self {
            Self::FullYear => at.year().into(),
            // Months, days of the month and days of the year count from 0; `getDate` from 1.
            Self::Month => i64::from(at.month()) - 1,
            Self::Date => at.day().into(),
            Self::DayOfMonth => i64::from(at.day()) - 1,
            Self::DayOfWeek => at.weekday().to_sunday_zero_offset().into(),
            Self::DayOfYear => i64::from(at.day_of_year()) - 1,
            Self::Hours => at.hour().into(),
            Self::Minutes => at.minute().into(),
            Self::Seconds => at.second().into(),
            Self::Milliseconds => at.millisecond().into(),
            _ => return None,
        }))
    }

    fn convert<'c>(self, value: &Value<'c>, meter: &Meter<'_>) -> Result<Value<'c>, Stop> {
        match (self, value) {
            (Self::Int | Self::Uint | Self::Double, Value::Text(text)) => meter.number(text)?,
            (_, Value::Text(text)) => meter.read(text.len())?,
            _ => {}
        }
        let unsigned = |value: i64| (value >= 0).then_some(Value::Unsigned(value));
        let made = match (self, value) {
            (Self::Int, Value::Text(text)) => text.parse().ok().map(Value::Int),
            (Self::Int, Value::Timestamp(at)) => Some(Value::Int(at.as_second())),
            (Self::Int, value) => value.to_int().map(Value::Int),
            // As in cel-go, `int` takes a leading `+`, `uint` does not.
            (Self::Uint, Value::Text(text)) => integer::parse(text).and_then(unsigned),
            (Self::Uint, value) => value.to_int().and_then(unsigned),
            (Self::Double, Value::Text(text)) => text.parse().ok().map(Value::Double),
            (Self::Double, value) => value.to_double().map(Value::Double),
            (Self::Bool, Value::Bool(_)) | (Self::String, Value::Text(_)) => Some(value.clone()),
            (Self::Bool, Value::Text(text)) => match &**text {
                "true" | "True" | "TRUE" | "t" | "1" => Some(Value::Bool(true)),
                "false" | "False" | "FALSE" | "f" | "0" => Some(Value::Bool(false)),
                _ => None,
            },
            (Self::String, value) => {
                meter.heavy()?;
                let text = value.spelled();
                meter.write(text.as_ref().map_or(0, String::len))?;
                text.map(Value::from)
            }
            _ => None,
        };
        made.ok_or_else(|| {
            Stop::fault(format_args!(
                "`{}` cannot convert {}",
                self.name(),
                value.shown()
            ))
        })
    }
}

fn timestamp<'c>(value: &Value<'c>) -> Result<Value<'c>, Stop> {
    let read = match value {
        Value::Timestamp(_) => return Ok(value.clone()),
        Value::Text(text) if is_rfc_3339(text) => match text.parse() {
            Ok(at) => Some(at),
            Err(_) => {
                return Err(Stop::fault(format_args!(
                    "`{}` is not a date and time up to {}",
                    excerpt(text),
                    Timestamp::MAX
                )));
            }
        },
        Value::Text(_) => None,
        value => value
            .to_int()
            .and_then(|second| Timestamp::from_second(second).ok()),
    };
    let fault = || Stop::fault(format_args!("{} is not an RFC 3339 time", value.shown()));
    read.map(Value::Timestamp).ok_or_else(fault)
}

/// Whether `text` has the form `2026-01-31T09:30:00.5Z`, or with `+01:00` at its end.
fn is_rfc_3339(text: &str) -> bool {
    let fits = |text: &str, form: &str| {
        text.len() == form.len()
            && text
                .bytes()
                .zip(form.bytes())
                .all(|(byte, wanted)| match wanted {
                    b'0' => byte.is_ascii_digit(),
                    b'+' => matches!(byte, b'+' | b'-'),
                    wanted => byte.eq_ignore_ascii_case(&wanted),
                })
    };
    let Some((seconds, rest)) = text.split_at_checked(19) else {
        return false;
    };
    let zone = match rest.strip_prefix('.') {
        Some(fraction) if fraction.starts_with(|c: char| c.is_ascii_digit()) => {
            fraction.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        _ => rest,
    };
    text.len() <= 64
        && fits(seconds, "0000-00-00T00:00:00")
        && (fits(zone, "Z") || fits(zone, "+00:00"))
}

/// Reads `1h30m`, `-1.5s`, `100ms`: numbers with the units `h`, `m`, `s`, `ms`, `us`, `ns`.
pub(super) fn duration(text: &str) -> Result<SignedDuration, Stop> {
    let read = || {
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut nanos = 0_f64;
        if rest.is_empty() || rest.len() > 64 {
            return None;
        }
        while !rest.is_empty() && rest != "0" {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let number: f64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let units = [
                ("ms", 1e6),
                ("us", 1e3),
                ("ns", 1.0),
                ("h", 3.6e12),
                ("m", 6e10),
                ("s", 1e9),
            ];
            let (unit, size) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
            nanos += number * size;
            rest = &rest[unit.len()..];
        }
        let nanos = if negative { -nanos } else { nanos };
        // A double counts the nanoseconds of 104 days exactly; beyond, to the microsecond.
        (nanos.abs() < 9.2e18).then(|| SignedDuration::from_nanos(nanos.round() as i64))
    };
    read().ok_or_else(|| {
        Stop::fault(format_args!(
            "`{}` is not a duration such as `1h30m`",
            excerpt(text)
        ))
    })
}
