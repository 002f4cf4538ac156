//! Guards that would take too much: refused at load, or ended within their steps.

use super::*;

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
