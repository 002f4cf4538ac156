//! Owns the search for rules that another rule makes pointless. For each rule a
//! witness is made, a command that it matches; only rules that match the
//! witness too can stand in its light, and the index finds them.

use pointsman_core::command::Command;
use rustc_hash::FxHashMap;
use serde_json::Value;

use super::Finding;
use crate::{
    Dialect,
    conjunct::{Clause, Conjunct, View},
    decimal::Decimal,
    event::Event,
    fold::fold_text,
    fuel::Fuel,
    group,
    indexed::IndexedFile,
    matcher::{Bound, Matcher, Range, Scalar},
    rule::{Rule, Select},
    set::RuleSet,
};
use pointsman_core::diagnostic::Severity;

/// How many rules that match the witness are compared: with more, a rule set of
/// 100,000 would take minutes, and the answer would hardly surprise.
const MAX_COMPARED: usize = 64;

/// The steps of looking for the rules that match one witness.
const STEPS_MAX: u64 = 100_000;

/// How many pairs of alternatives of two clauses are compared.
const MAX_PAIRS: usize = 100_000;

/// The files of a rule set by path.
pub(super) type Files<'r> = FxHashMap<&'r str, &'r IndexedFile>;

/// The rule that makes `rule` pointless, if one does.
pub(super) fn find(
    rules: &RuleSet,
    files: &Files<'_>,
    indexed: &IndexedFile,
    rule: &Rule,
) -> Option<Finding> {
    let witness = witness(indexed, rule)?;
    let event = Event::read(&witness, &rules.trie);
    // One that so many rules could match hides nothing.
    let candidates = rules.matching(&event, &Fuel::new(STEPS_MAX)).ok()?;
    candidates
        .iter()
        .take(MAX_COMPARED)
        .filter(|other| !std::ptr::eq(**other, rule))
        .find_map(|other| compare(rules, (indexed, rule), (files.get(other.file())?, other)))
}

fn compare(
    rules: &RuleSet,
    (indexed, rule): (&IndexedFile, &Rule),
    (theirs, other): (&IndexedFile, &Rule),
) -> Option<Finding> {
    let same_guard = other.guard().is_none() || other.guard() == rule.guard();
    if !same_guard || !includes((theirs, other), (indexed, rule)) {
        return None;
    }
    let finding = |code, message| Some(Finding::at(rule, Severity::Warning, code, message, None));
    match (rule.group(), other.group()) {
        (None, None) => {
            let named = rule
                .handlers
                .iter()
                .all(|handler| other.handlers.contains(handler));
            // Of two equal rules, only the later one is in the way.
            let equal = other.handlers.len() == rule.handlers.len()
                && rule.guard() == other.guard()
                && includes((indexed, rule), (theirs, other));
            if !named || equal && rule.position() < other.position() {
                return None;
            }
            let message = format!(
                "rule `{}` changes nothing: {} matches whenever it does and names its handlers",
                rule.name,
                other.reference()
            );
            finding("shadowed", message)
        }
        (Some(ours), Some(group)) if ours == group => {
            let first =
                (group::rank(other), other.position()) < (group::rank(rule), rule.position());
            let yields = match rules.select_of(group) {
                Select::First => first,
                Select::All => rule.is_fallback() && !other.is_fallback(),
            };
            if !yields {
                return None;
            }
            let message = format!(
                "rule `{}` never fires: {} of the same group matches whenever it does and comes first",
                rule.name,
                other.reference()
            );
            finding("never-fires", message)
        }
        _ => None,
    }
}

/// Whether `wide` surely matches whatever `narrow` matches.
fn includes(
    (wide_file, wide): (&IndexedFile, &Rule),
    (narrow_file, narrow): (&IndexedFile, &Rule),
) -> bool {
    let dialect = narrow_file.file.dialect();
    let path = |indexed: &IndexedFile, clause: &Clause| indexed.paths[clause.path as usize];
    let conjunct_includes = |wide: &Conjunct, narrow: &Conjunct| {
        // `exists: false` depends on the other clauses where arrays are in play.
        let absence = wide.clauses.iter().any(Clause::allows_absence);
        (!absence || wide.clauses.len() == narrow.clauses.len())
            && wide.clauses.iter().all(|wanted| {
                let same_field = narrow
                    .clauses
                    .iter()
                    .find(|clause| path(narrow_file, clause) == path(wide_file, wanted));
                same_field.is_some_and(|clause| {
                    clause.matchers.len() * wanted.matchers.len() <= MAX_PAIRS
                        && clause.matchers.iter().all(|narrow| {
                            wanted
                                .matchers
                                .iter()
                                .any(|wide| implies(narrow, wide, dialect))
                        })
                })
            })
    };
    wide_file.file.dialect() == dialect
        && narrow.conjuncts.iter().all(|narrow| {
            wide.conjuncts
                .iter()
                .any(|wide| conjunct_includes(wide, narrow))
        })
}

/// Whether every value that `narrow` matches surely matches `wide` too.
fn implies(narrow: &Matcher, wide: &Matcher, dialect: Dialect) -> bool {
    match (narrow, wide) {
        _ if narrow == wide => true,
        (Matcher::Absent, _) => false,
        (_, Matcher::Exists) => true,
        (Matcher::Null, _) => wide.matches(&Scalar::Null, dialect),
        (Matcher::Bool(value), _) => wide.matches(&Scalar::Bool(*value), dialect),
        (Matcher::Number(number), _) => wide.matches(&Scalar::Number(&number.1), dialect),
        (Matcher::Exact(text), _) => wide.matches(&Scalar::String((&**text).into()), dialect),
        (
            Matcher::Address(narrow) | Matcher::Cidr(narrow),
            Matcher::Address(wide) | Matcher::Cidr(wide),
        ) => wide.0.includes(&narrow.0),
        (Matcher::Prefix(narrow), Matcher::Prefix(wide)) => narrow.starts_with(&**wide),
        (Matcher::Suffix(narrow), Matcher::Suffix(wide)) => narrow.ends_with(&**wide),
        (Matcher::Prefix(narrow), Matcher::PrefixIgnoreCase(wide)) => {
            fold_text(narrow).starts_with(&**wide)
        }
        (Matcher::Suffix(narrow), Matcher::SuffixIgnoreCase(wide)) => {
            fold_text(narrow).ends_with(&**wide)
        }
        (
            Matcher::PrefixIgnoreCase(narrow) | Matcher::EqualsIgnoreCase(narrow),
            Matcher::PrefixIgnoreCase(wide),
        ) => narrow.starts_with(&**wide),
        (
            Matcher::SuffixIgnoreCase(narrow) | Matcher::EqualsIgnoreCase(narrow),
            Matcher::SuffixIgnoreCase(wide),
        ) => narrow.ends_with(&**wide),
        (Matcher::Numeric(narrow), Matcher::Numeric(wide)) => range_includes(wide, narrow),
        _ => false,
    }
}

fn range_includes(wide: &Range, narrow: &Range) -> bool {
    let end_includes = |wide: &Option<Bound>,
                        narrow: &Option<Bound>,
                        beyond: std::cmp::Ordering| match (wide, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => match narrow.value.cmp(&wide.value) {
            std::cmp::Ordering::Equal => wide.inclusive || !narrow.inclusive,
            order => order == beyond,
        },
    };
    end_includes(&wide.low, &narrow.low, std::cmp::Ordering::Greater)
        && end_includes(&wide.high, &narrow.high, std::cmp::Ordering::Less)
}

/// A command that the first combination of the rule matches; none if one is not
/// easily made.
fn witness(indexed: &IndexedFile, rule: &Rule) -> Option<Command> {
    let dialect = indexed.file.dialect();
    let conjunct = rule.conjuncts.first()?;
    let mut members = Vec::new();
    for clause in conjunct
        .clauses
        .iter()
        .filter(|clause| !clause.allows_absence())
    {
        let value = example(clause.matchers.first()?, dialect)?;
        // A key with dots names the same field as nested objects do.
        members.push(format!(
            "{}:{value}",
            Value::from(indexed.file.trie.name(clause.path))
        ));
    }
    let text = format!("{{{}}}", members.join(","));
    let command = Command::parse(text).ok()?;
    let event = Event::read(&command, &indexed.file.trie);
    let paths: Vec<u32> = (0..indexed.file.trie.len() as u32).collect();
    let fuel = Fuel::new(STEPS_MAX);
    let holds = conjunct.holds(View {
        event: &event,
        paths: &paths,
        dialect,
        fuel: &fuel,
    });
    drop(event);
    (holds && !fuel.is_spent()).then_some(command)
}

/// A value that `matcher` matches, as JSON text.
fn example(matcher: &Matcher, dialect: Dialect) -> Option<String> {
    let text = |text: &str| Some(Value::from(text).to_string());
    match matcher {
        Matcher::Null => Some("null".into()),
        Matcher::Bool(value) => Some(value.to_string()),
        Matcher::Number(number) => Some(number.1.to_string()),
        Matcher::Exact(exact)
        | Matcher::Prefix(exact)
        | Matcher::Suffix(exact)
        | Matcher::EqualsIgnoreCase(exact)
        | Matcher::PrefixIgnoreCase(exact)
        | Matcher::SuffixIgnoreCase(exact) => text(exact),
        Matcher::Address(network) | Matcher::Cidr(network) => text(&network.0.example()),
        Matcher::Wildcard(wildcard) => text(&wildcard.example()),
        Matcher::Numeric(range) => number_in(range),
        Matcher::Exists => text("any"),
        Matcher::Absent => None,
        Matcher::AnythingBut(_) => ["something", "\u{1}", "0"]
            .into_iter()
            .find(|value| matcher.matches(&Scalar::String((*value).into()), dialect))
            .and_then(text),
    }
}

fn number_in(range: &Range) -> Option<String> {
    let double = |bound: &Bound| bound.value.to_exact().parse::<f64>().ok();
    let guess = match (&range.low, &range.high) {
        (Some(low), Some(high)) => (double(low)? + double(high)?) / 2.0,
        (Some(low), None) => double(low)? + 1.0,
        (None, Some(high)) => double(high)? - 1.0,
        (None, None) => 0.0,
    };
    let text = format!("{guess:e}");
    (guess.is_finite() && range.contains(&Decimal::parse(&text))).then_some(text)
}
