//! Groups decide which of the matching rules fire. A `fallback` yields to any other
//! rule of the group; `select: first` leaves only one.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{
    Diagnostic,
    rule::{Membership, Rule, Select},
};

/// Why a matching rule does not fire: the rule that won.
pub(crate) type Winner<'r> = &'r Rule;

/// Decides the groups among `matching`, which are sorted by file and line:
/// each rule comes back with the winner it yields to, if any.
///
/// `select_of` knows what a group selects.
pub(crate) fn decide<'r>(
    matching: &[&'r Rule],
    select_of: impl Fn(&str) -> Select,
) -> Vec<(&'r Rule, Option<Winner<'r>>)> {
    let mut firsts: FxHashMap<&str, &Rule> = FxHashMap::default();
    for &rule in matching {
        let Some(group) = rule.group() else { continue };
        let first = firsts.entry(group).or_insert(rule);
        if rank(rule) < rank(first) {
            *first = rule;
        }
    }
    let winner_over = |rule: &'r Rule| {
        let group = rule.group()?;
        let first = *firsts.get(group)?;
        let yields = match select_of(group) {
            Select::First => !std::ptr::eq(first, rule),
            Select::All => rule.is_fallback() && !first.is_fallback(),
        };
        yields.then_some(first)
    };
    matching
        .iter()
        .map(|&rule| (rule, winner_over(rule)))
        .collect()
}

/// Where a rule stands in its group: lower comes first. Equal ranks go by file and line.
pub(crate) fn rank(rule: &Rule) -> (bool, bool, Option<i64>) {
    let priority = rule.priority();
    (rule.is_fallback(), priority.is_none(), priority)
}

/// What each group selects, as its rules say.
pub(crate) type Selects = FxHashMap<Arc<str>, Select>;

/// Collects what the groups of `rules` select.
///
/// # Errors
/// [`Diagnostic`] at the first rule that contradicts an earlier one of its group.
pub(crate) fn selects<'r>(rules: impl Iterator<Item = &'r Rule>) -> Result<Selects, Diagnostic> {
    let mut said: FxHashMap<&Arc<str>, (&Rule, Select)> = FxHashMap::default();
    for rule in rules {
        let Some(Membership {
            group,
            select: Some(select),
            ..
        }) = rule.membership.as_deref()
        else {
            continue;
        };
        let (earlier, theirs) = *said.entry(group).or_insert((rule, *select));
        if theirs != *select {
            let message = format!(
                "rule `{}` and {} say different things about `select` of group `{group}`",
                rule.name,
                earlier.reference()
            );
            let hint = "it is enough if one rule of the group says it";
            return Err(rule.error("group-select", message, hint));
        }
    }
    Ok(said
        .into_iter()
        .map(|(group, (_, select))| (Arc::clone(group), select))
        .collect())
}
