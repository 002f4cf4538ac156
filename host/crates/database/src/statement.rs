//! Owns which statements a handler may send at all. What a statement does to
//! tables is the database's to judge; what is refused here would reach past the
//! call: transactions that the session has to know of, settings of a connection
//! that others use next, other files.

use crate::error::SqlError;

/// First words that no statement may have, and what to do instead.
const REFUSED: [(&str, &str); 24] = [
    ("ABORT", TRANSACTION),
    ("ATTACH", "grant the other file under a name of its own"),
    ("BEGIN", TRANSACTION),
    ("COMMIT", TRANSACTION),
    ("COPY", "insert rows, or select them"),
    ("DEALLOCATE", SESSION),
    ("DETACH", "grant the other file under a name of its own"),
    ("DISCARD", SESSION),
    ("END", TRANSACTION),
    ("EXECUTE", SESSION),
    ("LISTEN", SESSION),
    ("LOAD", SESSION),
    ("PRAGMA", SESSION),
    ("PREPARE", SESSION),
    ("REASSIGN", SESSION),
    ("RELEASE", TRANSACTION),
    ("RESET", SESSION),
    ("ROLLBACK", TRANSACTION),
    ("SAVEPOINT", TRANSACTION),
    ("SET", SESSION),
    ("SHOW", "`SELECT current_setting('…')` reads a setting"),
    ("START", TRANSACTION),
    ("UNLISTEN", SESSION),
    ("VACUUM", "the operator maintains the database"),
];
const TRANSACTION: &str = "the functions `begin`, `commit` and `rollback` do that";
const SESSION: &str = "a connection serves other calls next, which must not see a difference";

/// The longest statement, in bytes.
const STATEMENT_MAX_BYTES: usize = 1 << 20;

/// # Errors
/// Where the statement is none that a handler may send.
pub(crate) fn check(statement: &str) -> Result<(), SqlError> {
    if statement.len() > STATEMENT_MAX_BYTES {
        return Err(SqlError::refused(format!(
            "the statement has {} bytes, and {STATEMENT_MAX_BYTES} are the limit; values are parameters",
            statement.len()
        )));
    }
    if statement.contains('\0') {
        return Err(SqlError::refused("the statement contains a NUL byte"));
    }
    let word = first_word(statement).to_ascii_uppercase();
    match REFUSED.iter().find(|(refused, _)| *refused == word) {
        Some((_, instead)) => Err(SqlError::refused(format!(
            "a handler cannot send `{word}`: {instead}"
        ))),
        None => Ok(()),
    }
}

/// The first word behind white space, comments, semicolons and parentheses, as
/// PostgreSQL reads them. SQLite reads some of it in another way: there, what a
/// statement does is judged again while it is prepared.
fn first_word(statement: &str) -> &str {
    let mut rest = statement;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || ";(\u{feff}".contains(c));
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.find(['\n', '\r']).map_or("", |end| &comment[end..]);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = after_comment(comment);
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            return &rest[..end.unwrap_or(rest.len())];
        }
    }
}

/// What follows a comment, in which others may be nested.
fn after_comment(mut rest: &str) -> &str {
    let mut depth = 1;
    while depth > 0 {
        match (rest.find("/*"), rest.find("*/")) {
            (Some(open), Some(end)) if open < end => (depth, rest) = (depth + 1, &rest[open + 2..]),
            (_, Some(end)) => (depth, rest) = (depth - 1, &rest[end + 2..]),
            (_, None) => return "",
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reaches_past_the_call_is_refused_however_it_is_written() {
        for statement in [
            "COMMIT",
            "commit;",
            " \n\t; ROLLBACK",
            "-- a note\nSET x = 1",
            "--a\rSET x = 1",
            "/* a */ /* b */ begin",
            "/**/attach 'x' AS y",
            "/* /* */ SELECT */ COMMIT",
            "PRAGMA query_only = 0",
            "(((COPY t TO PROGRAM 'x'",
            "\u{feff}VACUUM INTO 'x'",
            "Set x = 1",
        ] {
            assert!(check(statement).is_err(), "{statement}");
        }
        assert!(check("SELECT 1\0").is_err());
        assert!(check(&" ".repeat(STATEMENT_MAX_BYTES + 1)).is_err());
    }

    #[test]
    fn what_works_on_tables_passes() {
        for statement in [
            "SELECT 1",
            "(SELECT 1)",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "INSERT INTO settings VALUES ($1)",
            "/* commit */ UPDATE t SET a = 1",
            "CREATE TABLE begin_at (a int)",
            "REPLACE INTO t VALUES (1)",
            "setting",
            "",
        ] {
            assert!(check(statement).is_ok(), "{statement}");
        }
    }
}
