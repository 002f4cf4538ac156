use super::*;

/// A command to these handlers, in the line `key`, that is to run at a time.
fn ordered(handlers: &[&str], key: Option<&str>, run_at_ms: Option<i64>) -> NewCommand {
    let delivery = |handler: &&str| NewDelivery {
        handler: (*handler).to_owned().try_into().unwrap(),
        digest: String::new(),
        rules: Vec::new(),
        key: None,
    };
    NewCommand {
        ordering_key: key.map(str::to_owned),
        run_at: run_at_ms.map(Timestamp::from_millis),
        ..NewCommand::new("{}", handlers.iter().map(delivery).collect())
    }
}

#[test]
fn a_new_delivery_enters_the_line_of_its_handler_and_key_unless_it_is_scheduled() {
    let commands = [
        ordered(&["a", "b"], Some("x"), None),
        ordered(&["a"], Some("x"), Some(100)),
        ordered(&["a"], Some("y"), Some(99)),
        ordered(&["a"], Some("x"), Some(101)),
        ordered(&["b"], None, None),
        ordered(&["b"], None, Some(500)),
        ordered(&["b"], Some("z"), Some(500)),
        ordered(&["b"], Some("z"), None),
    ];
    let placed = place(&commands, Timestamp::from_millis(100));
    let told: Vec<_> = placed
        .iter()
        .map(|one| {
            let handler = one.delivery.handler.as_str();
            (handler, one.state, one.run_at.as_millis(), one.entry)
        })
        .collect();
    use State::{Available, Scheduled};
    let expected = [
        ("a", Available, 100, Entry::AtEnd),
        ("b", Available, 100, Entry::AtEnd),
        ("a", Available, 100, Entry::Behind),
        ("a", Available, 99, Entry::AtEnd),
        ("a", Scheduled, 101, Entry::None),
        ("b", Available, 100, Entry::None),
        ("b", Scheduled, 500, Entry::None),
        ("b", Scheduled, 500, Entry::None),
        ("b", Available, 100, Entry::AtEnd),
    ];
    assert_eq!(told, expected);
    let owners: Vec<_> = placed.iter().map(|one| one.command.id).collect();
    assert_eq!((owners[0], owners[1]), (commands[0].id, commands[0].id));
    assert_eq!(owners[8], commands[7].id);
}

#[test]
fn what_falls_due_together_enters_its_line_in_the_order_of_its_times() {
    let entrant = |run_at_ms, position, row| Entrant {
        run_at_ms,
        position,
        row,
    };
    let expected = [
        entrant(1, 9, 9),
        entrant(2, 3, 8),
        entrant(2, 3, 9),
        entrant(2, 4, 1),
    ];
    let mut entrants = expected;
    entrants.reverse();
    entrants.sort_unstable();
    assert_eq!(entrants, expected);
}

/// Every file of SQL, with its text.
fn sql() -> Vec<(std::path::PathBuf, String)> {
    let engines = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engines");
    let folders = ["sqlite", "sqlite/sql", "postgres", "postgres/sql"];
    let files = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(engines.join(folder)).unwrap());
    let paths = files.map(|file| file.unwrap().path());
    let sql = paths.filter(|path| path.extension().is_some_and(|ending| ending == "sql"));
    sql.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

/// The states of a list in SQL, such as `'available', 'running')`.
fn listed(list: &str) -> Vec<State> {
    let names = list.split(',').map(|name| name.trim().trim_matches('\''));
    let mut states: Vec<State> = names.map(|name| name.parse().unwrap()).collect();
    states.sort_unstable();
    states
}

#[test]
fn the_states_in_the_sql_of_both_engines_are_those_of_the_policy() {
    let of = |is: fn(&State) -> bool| State::ALL.into_iter().filter(is).collect::<Vec<_>>();
    let unfinished = of(|state| !state.is_final());
    let delayed = of(|state| matches!(state, State::Retryable | State::Scheduled));
    let waiting = of(|state| !state.is_final() && *state != State::Running);
    // Replaced by a newer command of their deduplication key.
    let not_begun = of(|state| matches!(state, State::Available | State::Scheduled));
    let ended_badly = of(|state| state.is_final() && *state != State::Completed);
    let known = [&unfinished, &delayed, &waiting, &not_begun, &ended_badly];
    let (mut lists, mut lines) = (0, 0);
    for (path, text) in sql() {
        let path = path.display();
        for part in text.split("state IN (").skip(1) {
            let (list, rest) = part.split_once(')').unwrap();
            let list = listed(list);
            assert!(known.contains(&&list), "{path}: {list:?}");
            lists += 1;
            // Less one: what is in line.
            let but = rest.trim_start().strip_prefix("AND ");
            let but = but.and_then(|rest| rest.split_once("state <> '"));
            if let Some((_, rest)) = but.filter(|(alias, _)| alias.len() < 6) {
                let but: State = rest.split('\'').next().unwrap().parse().unwrap();
                let left = list.iter().filter(|state| **state != but);
                assert!(left.copied().eq(of(|state| in_line(*state))), "{path}");
                lines += 1;
            }
        }
        for part in text.split("state = '").skip(1) {
            let state = part.split('\'').next().unwrap().parse::<State>();
            assert!(state.is_ok(), "{path}: {state:?}");
        }
    }
    assert!(lists > 20, "{lists} lists");
    assert_eq!(lines, 5);
}
