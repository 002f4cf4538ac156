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
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn a_guard_that_can_never_hold_is_refused() {
    for (guard, why) in [
        ("", "0: found the end, expected a value"),
        ("command.a >", "11: found the end, expected a value"),
        ("command.a == 'x", "13: the string is not closed"),
        (
            "command.a 5",
            "10: found `5`, expected an operator or the end",
        ),
        (
            "command.a = 5",
            "10: found `=`, expected an operator or the end",
        ),
        (
            "command.a == b'x'",
            "13: bytes are not supported: JSON has none",
        ),
        (
            "command.amount > 5 && amnt < 3",
            "22: `amnt` is unknown (the command's attributes are under `command`, such as `command.amnt`)",
        ),
        (
            "has(command.vip) && vipp",
            "20: `vipp` is unknown (the command's attributes are under `command`, such as `command.vipp`)",
        ),
        (
            "command.a > 1 || commands.b",
            "17: `commands` is unknown (did you mean `command`?)",
        ),
        (
            "command.l.exists(item, itme > 1)",
            "23: `itme` is unknown (did you mean `item`?)",
        ),
        (
            "command.detail-type == 'x'",
            "15: `type` is unknown (for a field with a hyphen, write `command['detail-type']`)",
        ),
        (
            "command.name.startswith('A')",
            "13: there is no function `startswith` (did you mean `startsWith`?)",
        ),
        (
            "command.l.exist(i, i > 1)",
            "10: there is no function `exist` (did you mean `exists`?)",
        ),
        (
            "size(command.items, 2) > 1",
            "0: `size` takes 1 argument here, found 2",
        ),
        (
            "contains(command.a, 'x')",
            "0: `contains` is not called like this (call it on a value: `command.field.contains(…)`)",
        ),
        (
            "command.name.matches(command.re)",
            "13: the pattern of `matches` must be a string literal: it is compiled with the rule",
        ),
        (
            "command.name.matches('(')",
            "13: bad pattern of `matches`: unclosed group",
        ),
        (
            "has(command)",
            "0: `has` takes a field (such as `has(command.amount)`)",
        ),
        (
            "'Submit order'",
            "0: its value is a string, neither true nor false (a guard is a condition, such as `command.amount > 5`)",
        ),
        (
            "1",
            "0: its value is a number, neither true nor false (a guard is a condition, such as `command.amount > 5`)",
        ),
        (
            "command.name + 'x'",
            "13: its value is a string, neither true nor false (a guard is a condition, such as `command.amount > 5`)",
        ),
        (
            "command.items.map(i, i)",
            "14: its value is a list, neither true nor false (a guard is a condition, such as `command.amount > 5`)",
        ),
        (
            "'a' > 1",
            "4: `>` cannot take a string and a number (write `string(…)` around the number, or `double(…)` around the string)",
        ),
        (
            "size(command.a) == '1'",
            "16: `==` cannot take a number and a string (write `string(…)` around the number, or `double(…)` around the string)",
        ),
        (
            "timestamp(command.at) > '2024-01-01'",
            "22: `>` cannot take a timestamp and a string (write `timestamp('…')` around the string)",
        ),
        (
            "command.a > 1 && 'x'",
            "17: `&&` needs a boolean, found a string",
        ),
        ("1/0 > 1", "1: this constant part has no value: `/` by zero"),
        (
            "command.a > 1 / 0",
            "14: this constant part has no value: `/` by zero",
        ),
        (
            "command.a == [1][1]",
            "16: this constant part has no value: [1] is absent",
        ),
        (
            "timestamp('soon') < timestamp(command.at)",
            "0: this constant part has no value: `soon` is not an RFC 3339 time",
        ),
        (
            "command.a.?b == 1",
            "10: a field name follows the dot (such as `command.amount`, or `command['detail-type']`)",
        ),
        (
            "command.a == 9223372036854775808",
            "13: `9223372036854775808` is not a 64-bit integer (a larger number is written with a fraction, such as `1e20`)",
        ),
        ("command.if.a && for", "16: `for` is a reserved word"),
    ] {
        // Offsets of operators are those of the symbol.
        assert_eq!(
            refused(guard).split_once(": ").map(|(_, why)| why),
            why.split_once(": ").map(|(_, why)| why),
            "{guard}"
        );
    }
    assert_eq!(
        refused("command.amount > 5 && amnt < 3").split(':').next(),
        Some("22")
    );
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
fn a_guard_nested_too_deep_is_refused_whatever_nests() {
    type Chain = fn(usize) -> String;
    let chains: [Chain; 14] = [
        |k| format!("command.a{} > 0", "+1".repeat(k)),
        |k| format!("command.s{} != ''", "+'b'".repeat(k)),
        |k| format!("command.l{} == 1", "[0]".repeat(k)),
        |k| format!("command{} == 1", ".a".repeat(k)),
        |k| format!("{}true", "command.a>5?true:".repeat(k)),
        |k| format!("{}command.a", "!".repeat(k)),
        |k| format!("{}command.a < 0", "-".repeat(k)),
        |k| format!("{}command.a{} > 0", "(".repeat(k), ")".repeat(k)),
        |k| format!("{}1{} != []", "[".repeat(k), "]".repeat(k)),
        |k| format!("{}1{} != {{}}", "{'a':".repeat(k), "}".repeat(k)),
        |k| format!("true{}", "==true".repeat(k)),
        |k| {
            format!(
                "size({}command.s{}) > 0",
                "string(".repeat(k),
                ")".repeat(k)
            )
        },
        |k| format!("{}true{}", "command.x.all(a,".repeat(k), ")".repeat(k)),
        |k| format!("command.s{} == ''", ".lowerAscii()".repeat(k)),
    ];
    for chain in chains {
        let long = (1..4_096)
            .rev()
            .map(chain)
            .find(|text| text.len() <= MAX_GUARD_BYTES);
        let long = long.unwrap();
        assert!(refused(&long).contains("nested deeper than "), "{long}");
        // Below the limit it is read, asked and dropped on a small stack.
        let small = std::thread::Builder::new().stack_size(1 << 20);
        let asked = small.spawn(move || {
            // The longest that is read.
            let guard = (1..100).rev().find_map(|k| Guard::parse(&chain(k)).ok());
            let guard = guard.unwrap();
            let command = Command::parse(r#"{"a":1,"s":"x","l":[[1]],"x":[]}"#).unwrap();
            drop(guard.check(
                &mut Attributes::new(&command),
                &Fuel::new(ROUTING_STEPS_MAX),
            ));
        });
        asked.unwrap().join().unwrap();
    }
    // Conditions may be long.
    let many = vec!["command.a > 0"; 200].join(" && ");
    assert_eq!(check(&many, r#"{"a":1}"#), Ok(()));
    assert!(refused(&"1+".repeat(3_000)).contains("more than 4096 bytes"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn a_guard_takes_bounded_steps_and_memory() {
    let numbers = |count: usize| {
        let numbers: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        format!(
            r#"{{"x":[{}],"s":"{}"}}"#,
            numbers.join(","),
            "x".repeat(100_000)
        )
    };
    let (steps, memory) = (
        Unmet::Limit(Exceeded::Steps),
        Unmet::Limit(Exceeded::Memory),
    );
    for (guard, wanted) in [
        (
            "command.x.exists(x, command.x.exists(y, x == y + 1000000))",
            &steps,
        ),
        (
            "command.x.all(i, command.x.filter(j, j == i).size() == 1)",
            &steps,
        ),
        ("command.x.all(a, a in command.x)", &steps),
        ("command.x.all(a, command.x == command.x)", &steps),
        ("command.x.map(a, command.x.map(b, b)).size() > 0", &memory),
        (
            "command.x.all(a, (command.s + command.s).size() > 0)",
            &memory,
        ),
        ("command.x.all(a, command.s.upperAscii() != '')", &memory),
        (
            "[command.s].map(a, a+a+a+a+a+a+a+a).map(b, b+b+b+b+b+b+b+b).map(c, c+c+c+c).size() > 0",
            &memory,
        ),
        (
            "command.x.all(a, command.s.contains('y') || command.s.matches('y$') || true)",
            &steps,
        ),
        ("command.x.all(a, string(command.s) == command.s)", &steps),
    ] {
        let got = check(guard, &numbers(10_000)).unwrap_err();
        assert!(matches!(got, Unmet::Limit(_)), "{guard}: {got:?}");
        if *wanted == memory {
            assert_eq!(got, memory, "{guard}");
        }
    }
    // What people write stays within.
    let lines: Vec<String> = (0..16_000)
        .map(|n| format!(r#"{{"sku":"s{}"}}"#, n % 20))
        .collect();
    let skus: Vec<String> = (0..20).map(|n| format!(r#""s{n}""#)).collect();
    let command = format!(
        r#"{{"lines":[{}],"skus":[{}]}}"#,
        lines.join(","),
        skus.join(",")
    );
    assert_eq!(
        check("command.lines.all(l, l.sku in command.skus)", &command),
        Ok(())
    );
    // A constant guard is bounded when it is read.
    let nested = |depth: usize| {
        format!(
            "{}true{}",
            "[1,2,3,4,5,6,7,8,9].all(a,".repeat(depth),
            ")".repeat(depth)
        )
    };
    assert!(refused(&nested(12)).contains("takes too many steps"));
    assert_eq!(Guard::parse(&nested(2)).unwrap().constant(), Some(true));
    assert_eq!(Guard::parse("command.a == 1").unwrap().constant(), None);
    assert_eq!(
        Guard::parse("[1].exists(a, a > 1)").unwrap().constant(),
        Some(false)
    );
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
        "0: an unsigned number has no negative (write `-1`)"
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
            fault.contains("is no date and time up to 9999-12-30"),
            "{fault}"
        );
    }
}

/// The steps that the guard takes for the command.
fn steps(guard: &str, command: &str) -> u64 {
    let fuel = Fuel::new(u64::MAX);
    let guard = Guard::parse(guard).unwrap();
    let command = Command::parse(command).unwrap();
    drop(guard.check(&mut Attributes::new(&command), &fuel));
    fuel.steps()
}

#[test]
fn work_that_goes_byte_by_byte_costs_as_much() {
    let text = "ab".repeat(5_000);
    let keys: Vec<String> = (0..16).map(|n| format!(r#""{text}{n:02}":1"#)).collect();
    let long = format!("0.{}", "7".repeat(700));
    let command = format!(
        r#"{{"s":"{text}","k":"{text}07","m":{{{}}},"d":"{long}","t":"2026-01-01T00:00:00Z"}}"#,
        keys.join(",")
    );
    let base = steps("command.s != 1", &command);
    for (guard, least) in [
        ("command.s.matches('(a|b)*c{1,50}d')", 9_900),
        ("command.s.contains('bb')", 4_900),
        ("command.s.contains(command.s)", 9_900),
        // Each comparison reads what the keys share.
        ("command.k in command.m", 5 * 625),
        ("command.m[command.k] == 1", 5 * 625),
        ("{command.s: 1, command.k: 2}.size() == 2", 2 * 625),
        // Built twice: as text, and as a value.
        ("command.s + command.s != ''", 2 * 1_250),
        ("command.s.lowerAscii() != ''", 625 + 1_250),
        ("double(command.d) > 0", 6_000),
        ("timestamp(command.t) > timestamp(0)", 64),
        (
            "command.m.exists(k, command.m[k] == 'x' || k > 1)",
            16 * 5 * 625,
        ),
        ("command[command.s] == 1", 625),
    ] {
        let got = steps(guard, &command).saturating_sub(base);
        assert!(got >= least, "{guard}: {got}");
    }
    // The report's case ends with the steps, after 4 MB of text.
    let numbers = vec!["1"; 5_000].join(",");
    let command = format!(r#"{{"s":"{text}","l":[{numbers}]}}"#);
    assert_eq!(
        check(
            "command.l.exists(x, command.s.matches('(a|b)*c{1,50}d'))",
            &command
        ),
        Err(Unmet::Limit(Exceeded::Steps))
    );
    assert!(
        steps(
            "[1,2].exists(x, command.s.matches('(a|b)*c{1,50}d'))",
            &command
        ) > 20_000
    );
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
