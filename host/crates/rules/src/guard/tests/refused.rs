//! Guards that can never hold: refused at load.

use super::*;

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
            "13: unknown function `startswith` (did you mean `startsWith`?)",
        ),
        (
            "command.l.exist(i, i > 1)",
            "10: unknown function `exist` (did you mean `exists`?)",
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
            "13: invalid pattern in `matches`: unclosed group",
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
        (
            "command.a in []",
            "0: this is never true: the list is empty",
        ),
        (
            "command.b && [].exists(x, x == command.a)",
            "0: this is never true: the list is empty",
        ),
        (
            "command.a[-1] == 1",
            "0: this is never true: the first index is 0",
        ),
        (
            "size(command.a) < 0",
            "0: this is never true: no size is negative",
        ),
        (
            "-command.a == 'x'",
            "0: this is never true: a number is not a string",
        ),
        (
            "command.a == 'x' && command.b > 1 && command.a == 'y'",
            "0: this is never true: `command.a` cannot equal two values (write `command.a in [..]` for one of several)",
        ),
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
fn what_only_looks_as_if_it_never_held_is_taken() {
    for guard in [
        "command.a in [] || command.b == 1",
        "!(command.a in [])",
        "command.a == 1 && command.a == 1.0",
        "command.a == 'x' || command.a == 'y'",
        "command.a.b == 'x' && command.a.c == 'y'",
        "size(command.a) <= 0",
        "command.a[0] == 1",
        "-command.a == 1",
    ] {
        assert!(Guard::parse(guard).is_ok(), "{guard}");
    }
}
