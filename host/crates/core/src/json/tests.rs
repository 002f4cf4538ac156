use std::fmt::Write;

use proptest::prelude::*;

use super::*;

/// The value as JSON text, read through the index.
fn write(value: Value<'_>, out: &mut String) {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    match value.kind() {
        Kind::Null => out.push_str("null"),
        Kind::Bool(value) => write!(out, "{value}").unwrap(),
        Kind::Number(text) => out.push_str(text),
        Kind::String => out.push_str(&quoted(&value.string())),
        Kind::Array(elements) => {
            out.push('[');
            for (index, element) in elements.enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                write(element, out);
            }
            out.push(']');
        }
        Kind::Object(entries) => {
            out.push('{');
            for (index, (key, value)) in entries.enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                out.push_str(&quoted(&key));
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
    }
}

/// Holds all readings of `text` against serde_json's.
fn compare(text: &str) {
    let theirs = serde_json::from_str::<serde_json::Value>(text);
    let checked = check(text);
    match Index::of(text) {
        Ok(index) => {
            assert_eq!(checked, Ok(()), "{text}");
            let theirs = theirs.unwrap_or_else(|error| panic!("{text}: {error}"));
            let mut written = String::new();
            write(Value::new(text, &index), &mut written);
            let again: serde_json::Value = serde_json::from_str(&written).unwrap();
            assert_eq!(again, theirs, "{text}");
        }
        Err(error) => {
            assert_eq!(checked, Err(error.clone()), "{text}");
            assert!(error.at <= text.len() && text.is_char_boundary(error.at));
            match (&error.reason, theirs) {
                // What serde_json leaves to its user, and the levels that are left to a report.
                (Reason::DuplicateKey(_) | Reason::TooDeep, Ok(_)) => {}
                (_, theirs) => assert!(theirs.is_err(), "{text}: {error:?}"),
            }
        }
    }
    // A tree leaves keys and the range of numbers to its reader.
    let in_tree = parse(text);
    match checked.map_err(|error| error.reason) {
        Ok(()) | Err(Reason::DuplicateKey(_) | Reason::NumberOutOfRange) => {}
        Err(reason) => assert_eq!(in_tree.map_err(|error| error.reason).err(), Some(reason)),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn json_is_read_as_strictly_as_serde_json_reads_it() {
    let texts = [
        "null",
        "true",
        "-0",
        "1e5",
        "01",
        "-01",
        "1.",
        ".5",
        "[1,]",
        "[1 2]",
        "[,]",
        "{,}",
        r#"{"a":1,}"#,
        r#"{"a" 1}"#,
        r#"{"a"}"#,
        r#"{a:1}"#,
        r#"{"a":1 "b":2}"#,
        r#"{1:2}"#,
        r#""\u00e9""#,
        r#""\ud83d\ude00""#,
        r#""\ud83d""#,
        r#""\ude00""#,
        r#""\x""#,
        r#""\u+041""#,
        "\"a\nb\"",
        "\"a\u{1f}b\"",
        "\"a\u{7f}b\"",
        "\"12345678\u{0}\"",
        "\"open",
        "\"\u{80}",
        "",
        " ",
        "\u{a0}1",
        "\u{b}1",
        "\0",
        "nul",
        "nulll",
        "True",
        "[[[]]]",
        r#"{"a":{"b":[{}]}}"#,
        "1 1",
        "-",
        "1e",
        "1e+",
        "\"\\",
        r#""\ud83d\u0041""#,
        r#""\u12""#,
        r#""\ud83d\ud83d""#,
        "1e308",
        "1.7976931348623157e308",
        "-1.7976931348623157e308",
        "1e309",
        "-1e309",
        "1e400",
        "1e99999999999999999999",
        "0e99999999999999999999",
        "1e-400",
        "0.0e400",
        "[1,2",
        "{",
        "[",
        "\u{feff}1",
        "Infinity",
        "NaN",
        "+1",
        "0x1",
        "'a'",
        "// 1\n1",
        "18446744073709551616",
    ];
    for text in texts {
        compare(text);
        compare(&format!("{{\"a\":{text},\"b\":[{text}]}}"));
    }
    compare(&format!("1{}", "0".repeat(308)));
    compare(&format!("1{}", "0".repeat(309)));
    compare(&format!("1{}e-200", "0".repeat(400)));
    compare(&format!("0.{}1e500", "0".repeat(400)));
}

#[test]
fn nesting_has_a_limit() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for levels in [DEPTH_MAX - 1, DEPTH_MAX, DEPTH_MAX + 1, 10_000] {
            let text = format!("{}1{}", open.repeat(levels), close.repeat(levels));
            compare(&text);
            let refused = (levels > DEPTH_MAX).then_some(Reason::TooDeep);
            assert_eq!(check(&text).map_err(|error| error.reason).err(), refused);
            assert_eq!(parse(&text).map_err(|error| error.reason).err(), refused);
        }
    }
}

/// Pieces of JSON, whole and broken.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\\", " ", "\n", "null", "true", "false", "0", "-",
            ".", "e", "1e308", "12", "\"a\"", "\"a\":", "\"\\u0061\":", "\"b\":1", "{\"a\":1}", "[]",
            "\\u", "d83d", "\\ude00", "\\n", "é", "😀", "\u{1}",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A value, written with white space and escapes of all kinds.
fn values() -> impl Strategy<Value = String> {
    let text = || {
        let unit = prop_oneof![
            3 => "[a-c]".prop_map(String::from),
            1 => prop::sample::select(vec!["\\u0061", "\\n", "\\\"", "\\ud83d\\ude00", "é", "\\/", "\\\\"])
                .prop_map(str::to_owned),
        ];
        prop::collection::vec(unit, 0..12).prop_map(|units| format!("\"{}\"", units.concat()))
    };
    let number = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?";
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        number.prop_map(String::from),
        text(),
    ];
    leaf.prop_recursive(5, 60, 24, move |inner| {
        let space = || "[ \n\t]{0,2}";
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..8), space()).prop_map(
                |(items, space)| format!("[{}{space}]", items.join(&format!("{space},")))
            ),
            (prop::collection::vec((text(), inner), 0..24), space()).prop_map(
                |(members, space)| {
                    let member = |(key, value)| format!("{key}{space}:{value}{space}");
                    let members: Vec<String> = members.into_iter().map(member).collect();
                    format!("{{{space}{}}}", members.join(","))
                }
            ),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn broken_texts_are_refused_where_serde_json_refuses_them(text in pieces()) {
        compare(&text);
    }

    #[test]
    fn values_are_read_as_serde_json_reads_them(text in values()) {
        compare(&text);
    }

    #[test]
    fn a_value_with_one_byte_changed_is_read_as_serde_json_reads_it(
        text in values(),
        at in any::<prop::sample::Index>(),
        byte in 0_u8..128,
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(text) = String::from_utf8(bytes) {
            compare(&text);
        }
    }
}
