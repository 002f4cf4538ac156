//! Owns exact numbers: a JSON number is compared as the decimal that was
//! written, never as a binary fraction, so that 9007199254740993 is not
//! 9007199254740992 and 0.1 is 0.1.

use std::{cmp::Ordering, fmt};

use smallvec::SmallVec;

/// A decimal number: `0.digits × 10^exponent`, negative or not.
///
/// Invariant: `digits` has neither leading nor trailing zeros; zero has no
/// digits, exponent 0 and no sign. So equal numbers are equal structures,
/// however they were spelled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    negative: bool,
    exponent: i64,
    digits: SmallVec<[u8; 16]>,
}

/// Exponents saturate here. A pattern beyond it is refused
/// ([`Decimal::is_extreme`]), so a saturated number is only ever compared with
/// ordinary ones, and that comparison is right.
const EXTREME: i64 = 1_000_000_000_000;

impl Decimal {
    /// Reads a JSON number that the lexer has accepted.
    pub fn parse(text: &str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(e) => (&text[..e], parse_exponent(&text[e + 1..])),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: SmallVec<[u8; 16]> = whole
            .bytes()
            .chain(fraction.bytes())
            .skip_while(|&digit| digit == b'0')
            .collect();
        let leading_zeros = whole.len() + fraction.len() - digits.len();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return Self {
                negative: false,
                exponent: 0,
                digits,
            };
        }
        let point = whole.len() as i64 - leading_zeros as i64;
        let exponent = exponent.saturating_add(point).clamp(-EXTREME, EXTREME);
        Self {
            negative,
            exponent,
            digits,
        }
    }

    /// The number as JSON text.
    pub fn to_exact(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        format!(
            "{sign}0.{}e{}",
            String::from_utf8_lossy(&self.digits),
            self.exponent
        )
    }

    /// The number as an integer, where it is one and fits.
    pub fn to_i64(&self) -> Option<i64> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let zeros = usize::try_from(self.exponent)
            .ok()
            .filter(|&length| length <= 19)?
            .checked_sub(self.digits.len())?;
        let digits = self.digits.iter().chain(std::iter::repeat_n(&b'0', zeros));
        let mut value: i64 = 0;
        for digit in digits {
            let digit = i64::from(digit - b'0');
            let signed = if self.negative { -digit } else { digit };
            value = value.checked_mul(10)?.checked_add(signed)?;
        }
        Some(value)
    }

    /// Whether the exponent is beyond what can be compared.
    pub fn is_extreme(&self) -> bool {
        self.exponent.abs() >= EXTREME
    }

    /// Whether event-ruler can compare the number: the nearest `double`, written
    /// as short as possible, is the number itself.
    pub fn is_double(text: &str) -> bool {
        match text.parse::<f64>() {
            Ok(double) if double.is_finite() => {
                Self::parse(&format!("{double:e}")) == Self::parse(text)
            }
            _ => false,
        }
    }
}

/// The exponent after `e`, saturating.
fn parse_exponent(text: &str) -> i64 {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.trim_start_matches('0');
    let magnitude = if digits.is_empty() {
        0
    } else {
        digits.parse().unwrap_or(i64::MAX)
    };
    if negative { -magnitude } else { magnitude }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match (number.digits.is_empty(), number.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let by_sign = sign(self).cmp(&sign(other));
        if by_sign.is_ne() {
            return by_sign;
        }
        let by_magnitude = self
            .exponent
            .cmp(&other.exponent)
            .then_with(|| self.digits.cmp(&other.digits));
        if self.negative {
            by_magnitude.reverse()
        } else {
            by_magnitude
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = String::from_utf8_lossy(&self.digits);
        let sign = if self.negative { "-" } else { "" };
        match usize::try_from(self.exponent) {
            _ if digits.is_empty() => f.write_str("0"),
            Ok(exponent @ 1..=20) if digits.len() <= exponent => {
                write!(f, "{sign}{digits}{}", "0".repeat(exponent - digits.len()))
            }
            Ok(exponent @ 1..=20) => {
                write!(f, "{sign}{}.{}", &digits[..exponent], &digits[exponent..])
            }
            Ok(0) => write!(f, "{sign}0.{digits}"),
            _ if (-5..0).contains(&self.exponent) => {
                write!(
                    f,
                    "{sign}0.{}{digits}",
                    "0".repeat(self.exponent.unsigned_abs() as usize)
                )
            }
            _ => write!(f, "{sign}0.{digits}e{}", self.exponent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_matter() {
        for (a, b) in [
            ("300", "3.0e2"),
            ("0.1", "1E-1"),
            ("-0", "0.000"),
            ("100", "1e2"),
            ("5", "5.0"),
            ("0e999", "0"),
            ("0.010", "1e-2"),
            ("1e+3", "1000"),
        ] {
            assert_eq!(Decimal::parse(a), Decimal::parse(b), "{a} {b}");
        }
        assert_ne!(
            Decimal::parse("9007199254740993"),
            Decimal::parse("9007199254740992")
        );
    }

    #[test]
    fn numbers_are_ordered_as_decimals() {
        let ascending = [
            "-1e999999999999999999",
            "-200",
            "-1.5",
            "-1.25",
            "-1e-400",
            "0",
            "1e-400",
            "0.09",
            "0.1",
            "0.11",
            "1",
            "9",
            "10",
            "9007199254740992",
            "9007199254740993",
            "1e400",
            "1e99999999999999999999999",
        ];
        for pair in ascending.windows(2) {
            assert!(
                Decimal::parse(pair[0]) < Decimal::parse(pair[1]),
                "{pair:?}"
            );
        }
    }

    #[test]
    fn a_number_is_shown_as_people_write_it() {
        for (text, shown) in [
            ("1e2", "100"),
            ("-0.5", "-0.5"),
            ("12.50", "12.5"),
            ("0.001", "0.001"),
            ("0", "0"),
            ("1e30", "0.1e31"),
        ] {
            assert_eq!(Decimal::parse(text).to_string(), shown);
        }
    }

    #[test]
    fn what_a_double_can_hold_is_known() {
        for (text, holds) in [
            ("0.1", true),
            ("27.807807921694092", true),
            ("9007199254740993", false),
            ("2.0e422", false),
            ("1E-325", false),
        ] {
            assert_eq!(Decimal::is_double(text), holds, "{text}");
        }
    }
}
