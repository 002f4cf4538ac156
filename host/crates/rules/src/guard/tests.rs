mod bounds;
mod refused;

use super::*;
use crate::fuel::ROUTING_STEPS_MAX;

fn check(guard: &str, command: &str) -> Result<(), Unmet> {
    let guard = Guard::parse(guard).unwrap_or_else(|error| panic!("{guard}: {error:?}"));
    let command = Command::parse(command).unwrap_or_else(|error| panic!("{command}: {error}"));
    guard.check(
        &mut Attributes::new(&command),
        &Fuel::new(ROUTING_STEPS_MAX),
    )
}

fn reason(guard: &str, command: &str) -> String {
    check(guard, command).unwrap_err().to_string()
}

fn refused(guard: &str) -> String {
    let error = match Guard::parse(guard) {
        Ok(_) => panic!("accepted: {guard}"),
        Err(error) => error,
    };
    let hint = error
        .hint
        .map_or_else(String::new, |hint| format!(" ({hint})"));
    format!("{}: {}{hint}", error.at, error.message)
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn a_guard_sees_the_attributes() {
    for (guard, command) in [
        (
            "command.amount > command.limit",
            r#"{"amount":5,"limit":4}"#,
        ),
        (
            "size(command.items) == 2 && command.items[0].id == 'a'",
            r#"{"items":[{"id":"a"},{}]}"#,
        ),
        ("command.a == 1.5", r#"{"a":1.5}"#),
        ("command.n > 1", r#"{"n":18446744073709551615}"#),
        ("command['detail-type'] == 'x'", r#"{"detail-type":"x"}"#),
        (
            "has(command.a.b) && !has(command.a.c)",
            r#"{"a":{"b":null}}"#,
        ),
        ("!has(command.a.b)", r#"{"a":1}"#),
        ("command.a == null", r#"{"a":null}"#),
        (
            "'b' in command.tags && 'x' in command",
            r#"{"tags":["a","b"],"x":1}"#,
        ),
        (
            "command.tags.exists(t, t.startsWith('b'))",
            r#"{"tags":["a","bc"]}"#,
        ),
        (
            "command.tags.all(t, t.size() == 1)",
            r#"{"tags":["a","b"]}"#,
        ),
        (
            "command.n.exists_one(n, n > 2) && command.n.existsOne(n, n < 2)",
            r#"{"n":[1,2,3]}"#,
        ),
        ("command.n.map(n, n * 2) == [2, 4, 6]", r#"{"n":[1,2,3]}"#),
        (
            "command.n.map(n, n > 1, n * 2) == [4, 6]",
            r#"{"n":[1,2,3]}"#,
        ),
        (
            "command.n.filter(n, n > 1).map(n, n + 1) == [3, 4]",
            r#"{"n":[1,2,3]}"#,
        ),
        (
            "command.o.all(key, key in ['a', 'b'])",
            r#"{"o":{"a":1,"b":2}}"#,
        ),
        (
            "command.rows.all(r, command.rows.exists(s, s.id == r.parent))",
            r#"{"rows":[{"id":1,"parent":2},{"id":2,"parent":1}]}"#,
        ),
        (
            "command.a > 5 ? command.b : command.c",
            r#"{"a":6,"b":true}"#,
        ),
        ("{'x': [command.a]}.x[0] == 3", r#"{"a":3}"#),
        // An error on one side of a condition that the other side decides.
        ("command.missing > 1 || command.a == 1", r#"{"a":1}"#),
        ("!(command.missing > 1 && command.a == 2)", r#"{"a":1}"#),
        ("command.n.exists(n, n > 2)", r#"{"n":["x",3]}"#),
        (
            "command.name.matches('^A.*a$') && matches(command.name, 'd')",
            r#"{"name":"Ada"}"#,
        ),
        (
            "command.name.lowerAscii() == 'ada' && 'a'.upperAscii() == 'A'",
            r#"{"name":"ADA"}"#,
        ),
        (
            "timestamp(command.at) > timestamp('2024-01-01T00:00:00Z')",
            r#"{"at":"2025-06-01T12:30:00+02:00"}"#,
        ),
        (
            "timestamp(command.at).getHours() == 10 && timestamp(command.at).getMonth() == 5
             && timestamp(command.at).getDayOfWeek() == 0",
            r#"{"at":"2025-06-01T12:30:00+02:00"}"#,
        ),
        (
            "timestamp(command.to) - timestamp(command.from) <= duration('1h30m')
             && timestamp(command.from) + duration('90m') == timestamp(command.to)",
            r#"{"from":"2025-06-01T12:30:00Z","to":"2025-06-01T14:00:00Z"}"#,
        ),
        (
            "duration(command.d) == duration('1.5s') && duration('90s').getMinutes() == 1",
            r#"{"d":"1500ms"}"#,
        ),
        (
            "int(command.s) + 1 == 3 && string(command.n) == '3' && double('1.5') == command.f",
            r#"{"s":"2","n":3.0,"f":1.5}"#,
        ),
        (
            "bool(command.s) && dyn(command.n) == 1",
            r#"{"s":"true","n":1}"#,
        ),
        (
            "command.s == 'é\\n\\x41\\u00e9\\101' || command.s == r'\\n'",
            r#"{"s":"\\n"}"#,
        ),
        (
            "command.s == \"\"\"a'b\"\"\" // why\n && true",
            r#"{"s":"a'b"}"#,
        ),
        ("command.n == 0x10 && command.n == 16u", r#"{"n":16}"#),
        (
            "-command.n == -3 && command.n - 1 == 2 && -9223372036854775808 < command.n",
            r#"{"n":3}"#,
        ),
    ] {
        assert_eq!(check(guard, command), Ok(()), "{guard} on {command}");
    }
}

#[test]
fn a_number_is_what_it_is_however_it_is_spelled() {
    for guard in [
        "command.n * 1.2 > 100.0",
        "command.n * 2 == 198 && command.n * 2 == 198.0",
        "command.n / 2 == 49.5",
        "command.n + 0.5 > 99 && command.n + 5 == 104",
        "command.n in [98, 99] && command.n in [99.0]",
        "command.n % 2 == 1 && command.n == 99.0",
        "command.list[command.n - 98] == 2",
        "int(command.n) / 2 == 49",
        "string(command.n) == '99'",
    ] {
        for spelled in ["99", "99.0", "9.9e1", "0.99E+2", "990e-1"] {
            let command = format!(r#"{{"n":{spelled},"list":[1,2]}}"#);
            assert_eq!(check(guard, &command), Ok(()), "{guard} of {spelled}");
        }
    }
    for (guard, command) in [
        ("command.a + command.b > 10", r#"{"a":5.5,"b":6}"#),
        ("command.a + command.b == 11", r#"{"a":5.5,"b":5.5}"#),
        ("command.total / 2 >= 1.5", r#"{"total":3}"#),
        (
            "command.n == 9007199254740993",
            r#"{"n":9007199254740993.0}"#,
        ),
        ("command.n != 9007199254740993", r#"{"n":9007199254740992}"#),
        (
            "command.n < 1e19 && command.n > 9e18",
            r#"{"n":9223372036854775807}"#,
        ),
        (
            "command.n + 1 > 9223372036854775807",
            r#"{"n":9223372036854775807}"#,
        ),
        ("-command.n > 0", r#"{"n":-9223372036854775808}"#),
        ("command.n % -1 == 0", r#"{"n":-9223372036854775808}"#),
        // Literals are CEL's own.
        (
            "7 / 2 == 3 && 7.0 / 2.0 == 3.5 && command.n == 1",
            r#"{"n":1}"#,
        ),
        ("size(command.l) / 2 == 1", r#"{"l":[1,2,3]}"#),
    ] {
        assert_eq!(check(guard, command), Ok(()), "{guard} on {command}");
    }
}

#[test]
fn a_guard_that_does_not_hold_says_why() {
    for (guard, command, why) in [
        ("command.amount > 5", r#"{"amount":5}"#, "it is false"),
        ("command.amount > 5", "{}", "`amount` is absent"),
        ("command.a.b.c > 5", r#"{"a":{"b":1}}"#, "`c` is absent"),
        ("command.l[3] > 5", r#"{"l":[]}"#, "`[3]` is absent"),
        (
            "command.amount",
            r#"{"amount":5}"#,
            "its value is a number, neither true nor false",
        ),
        (
            "command.amount > 5",
            r#"{"amount":"x"}"#,
            "`>` of a string and a number",
        ),
        ("10 / command.n > 0", r#"{"n":0}"#, "`/` by zero"),
        ("10 % command.n > 0", r#"{"n":-0.0}"#, "`%` by zero"),
        (
            "command.n % 2 == 0",
            r#"{"n":4.5}"#,
            "`%` of numbers that are not whole",
        ),
        (
            "timestamp(command.at) > timestamp('2024-01-01T00:00:00Z')",
            r#"{"at":"soon"}"#,
            "`soon` is not an RFC 3339 time",
        ),
        (
            "size(command.n) > 0",
            r#"{"n":1}"#,
            "`size` does not take a number",
        ),
        (
            "command.n.all(n, n > 0)",
            r#"{"n":1}"#,
            "a macro over a number",
        ),
        ("command.n && true", r#"{"n":1}"#, "`&&` of a number"),
        (
            "command.l['a'] == 1",
            r#"{"l":[1]}"#,
            "a string as an index of a list",
        ),
    ] {
        assert_eq!(reason(guard, command), why, "{guard} on {command}");
    }
}

#[test]
fn a_guard_may_have_any_character_at_any_place() {
    let guard =
        "command.a.matches('^(a|b)+$') || 1.5e3 > -0x1f && [r'\\u00e9', '\\x41'][0] in {'a': 1}";
    for foreign in ["\u{e9}", "\u{493}", "\u{2603}", "\u{1f600}", "\u{a0}", "\0"] {
        for (at, _) in guard.char_indices() {
            let text = [&guard[..at], foreign, &guard[at..]].concat();
            if let Err(error) = Guard::parse(&text) {
                assert!(text.is_char_boundary(error.at), "{text}: {error:?}");
            }
        }
    }
    assert_eq!(refused("command.s\u{493}"), "9: unexpected `\u{493}`");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn numbers_and_times_are_what_they_say_or_an_error() {
    for (guard, command, holds) in [
        ("command.n == 0", r#"{"n":1e-400}"#, false),
        (
            "command.n > 0 && command.n == 1e-400",
            r#"{"n":1e-400}"#,
            true,
        ),
        ("command.n < 0", r#"{"n":-1e-400}"#, true),
        ("command.n == 0", r#"{"n":-0.0e-400}"#, true),
        ("uint(command.n) == 1u", r#"{"n":1}"#, true),
        ("uint(command.n) - 1u == 0", r#"{"n":1}"#, true),
        (
            "5u / 2u + 3u % 2u == 3u && command.n < 2u",
            r#"{"n":1}"#,
            true,
        ),
        // With a number of another kind, it is any number.
        ("1u - command.n == -1", r#"{"n":2}"#, true),
        (
            "timestamp(command.t) > timestamp(0)",
            r#"{"t":"2026-01-31t09:30:00.123456789+01:00"}"#,
            true,
        ),
    ] {
        assert_eq!(check(guard, command).is_ok(), holds, "{guard}");
    }
    let fault = |guard, command: &str| match check(guard, command) {
        Err(Unmet::Fault(fault)) => fault,
        other => panic!("{guard} {command}: {other:?}"),
    };
    for n in ["-1", "\"-1\""] {
        let fault = fault("uint(command.n) < 1", &format!(r#"{{"n":{n}}}"#));
        assert!(fault.contains("`uint` cannot convert"), "{fault}");
    }
    for guard in [
        "1u - uint(command.n) < 1",
        "uint('9223372036854775807') + uint(command.n) > 1u",
    ] {
        let fault = fault(guard, r#"{"n":2}"#);
        assert_eq!(&*fault, "a result beyond unsigned integers", "{guard}");
    }
    assert_eq!(
        refused("1u - 2u < command.n"),
        "3: this constant part has no value: a result beyond unsigned integers"
    );
    assert_eq!(
        refused("-1u < command.n"),
        "0: an unsigned number cannot be negated (write `-1`)"
    );
    for t in [
        "2026-01-31T09:30:00+01:00[Europe/Paris]",
        "2026-01-31 09:30:00Z",
        "20260131T093000Z",
        "2026-01-31T09:30Z",
        "+002026-01-31T09:30:00Z",
        "2026-01-31T09:30:00,5Z",
        "2026-01-31T09:30:00.Z",
        "2026-01-31T09:30:00+01",
        "2026-01-31T09:30:00",
    ] {
        let fault = fault(
            "timestamp(command.t) < timestamp(0)",
            &format!(r#"{{"t":"{t}"}}"#),
        );
        assert!(fault.contains("is not an RFC 3339 time"), "{fault}");
    }
    for t in ["9999-12-31T23:59:59Z", "2026-02-30T00:00:00Z"] {
        let fault = fault(
            "timestamp(command.t) < timestamp(0)",
            &format!(r#"{{"t":"{t}"}}"#),
        );
        assert!(
            fault.contains("is not a date and time up to 9999-12-30"),
            "{fault}"
        );
    }
}

/// What the `cel` crate 0.15 answered for each guard below, in their order: true,
/// false or an error. Of guards without arithmetic over mixed numbers, where
/// this evaluator goes its own way.
const CEL_ANSWERS: &str = include_str!("../../tests/cases/cel-answers.txt");

#[test]
fn guards_are_those_of_another_implementation_of_cel() {
    let terms = [
        "command.n > 1",
        "command.n == 2",
        "command.n + 1 <= 3",
        "command.n * 2 - 1 == 3",
        "command.n - 1 - 1 == 0",
        "command.s == 'b'",
        "command.s + 'c' == 'bc'",
        "command.s < 'c'",
        "command.s.startsWith('b')",
        "command.l.exists(x, x > 2)",
        "command.l.all(x, x > 0)",
        "command.l.exists_one(x, x == command.n)",
        "command.l.map(x, x + 1) == [2, 3]",
        "command.l.filter(x, x != 1)[0] == 2",
        "command.n in command.l",
        "size(command.l) == 2",
        "has(command.o.k)",
        "has(command.o.z)",
        "command.o.z == 1",
        "command.o.k == null",
        "command.l[0] == 1",
        "'k' in command.o",
        "command.b",
        "command.missing == 1",
    ];
    let command = serde_json::json!({
        "n": 2, "s": "b", "l": [1, 2], "o": {"k": null}, "b": true
    });
    let text = command.to_string();
    let mut answers = CEL_ANSWERS.chars().filter(|answer| *answer != '\n');
    for first in terms {
        for second in terms {
            for guard in [
                format!("{first} && {second}"),
                format!("!({first}) || {second}"),
                format!("({first}) ? {second} : !({second})"),
                format!("({first}) == ({second})"),
            ] {
                let ours = match check(&guard, &text) {
                    Ok(()) => 't',
                    Err(Unmet::False) => 'f',
                    Err(_) => '-',
                };
                assert_eq!(Some(ours), answers.next(), "{guard}");
            }
        }
    }
    assert_eq!(answers.next(), None);
}

#[test]
fn lists_are_joined() {
    let command = r#"{"a":[1]}"#;
    for joined in ["command.a + [2]", "[1] + command.a", "[1] + [2]"] {
        let guard = format!("size({joined}) == 2");
        assert!(check(&guard, command).is_ok(), "{guard}");
    }
}

#[test]
fn a_key_is_the_text_of_a_simple_value() {
    let of = |key: &str, command: &str| {
        let key = std::sync::Arc::new(Key::parse(key).unwrap());
        let command = Command::parse(command).unwrap();
        let mut all = Key::all(&[key], &command, ROUTING_STEPS_MAX);
        all.remove(0).map_err(|fault| fault.to_string())
    };
    for (key, command, expected) in [
        ("command.tenant", r#"{"tenant":"acme"}"#, "acme"),
        ("command.n", r#"{"n":9.90e1}"#, "99"),
        ("command.n", r#"{"n":1.5}"#, "1.5"),
        ("command.vip", r#"{"vip":true}"#, "true"),
        ("command.a + '/' + command.b", r#"{"a":"x","b":"y"}"#, "x/y"),
        ("has(command.t) ? command.t : 'none'", "{}", "none"),
    ] {
        assert_eq!(of(key, command).as_deref(), Ok(expected), "{key}");
    }
    for (command, why) in [
        ("{}", "`tenant` is absent"),
        (
            r#"{"tenant":null}"#,
            "its value is null, and a key is a string, a number or a boolean",
        ),
        (
            r#"{"tenant":[1]}"#,
            "its value is a list, and a key is a string, a number or a boolean",
        ),
    ] {
        assert_eq!(of("command.tenant", command), Err(why.to_owned()));
    }
    let command = Command::parse(r#"{"tenant":"acme"}"#).unwrap();
    let key = std::sync::Arc::new(Key::parse("command.tenant").unwrap());
    let few = Key::all(&[key], &command, 3).remove(0);
    assert!(matches!(few, Err(KeyFault::Limit(_))), "{few:?}");
    let refused = |text: &str| Key::parse(text).unwrap_err();
    assert_eq!(
        refused("[command.a]"),
        "at byte 0: its value is a list; a key is a string, a number or a boolean, such as `command.tenant`"
    );
    assert!(refused("command.").starts_with("at byte "));
}
