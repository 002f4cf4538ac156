//! Owns the page of the rules: a list to search, what is wrong with their files, and
//! what the linter finds.

use axum::{extract::State as Extracted, http::HeaderMap, response::Response};
use maud::{Markup, html};

use super::{
    SharedUi,
    frame::{Failed, Page, Place},
    parts::{
        Query, Shape, Text, Tone, badge, count, counted, diagnostic, empty, json, rule_link,
        snippet,
    },
    viewer::Viewer,
};
use crate::{
    diagnostic::Diagnostic,
    http::parameters::Parameters,
    rules::Rule,
    snapshot::{FileState, Snapshot},
};

/// Rules of one page; there may be hundreds of thousands.
const PAGE: usize = 100;
/// Files and problems that are shown.
const SHOWN_MAX: usize = 50;

pub(super) async fn list(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    parameters.drop_empty();
    let text: Option<String> = parameters.take("q")?;
    let skipped = parameters.number("after", 0..=usize::MAX)?.unwrap_or(0);
    let snapshot = ui.host.snapshot();
    let searched = text.as_deref().unwrap_or_default().trim().to_lowercase();
    let found = snapshot
        .rules
        .rules()
        .filter(|rule| is_found(rule, &searched));
    let mut found = found.skip(skipped);
    let rules: Vec<_> = found.by_ref().take(PAGE).collect();
    let next = found.next().map(|_| skipped + PAGE);
    let query = Query::default().with("q", text.as_ref());
    let content = html! {
        (files(&snapshot))
        form class="filters" method="get" action="/ui/rules" role="search" {
            label { span { "Name, handler, field or text" } input name="q" type="search" value=[text.as_ref().map(Text)] autocomplete="off"; }
            div class="actions" {
                button type="submit" { "Search" }
                @if text.is_some() { a class="button quiet" href="/ui/rules" { "Clear" } }
            }
        }
        p class="muted" { (counted(snapshot.rules.len() as u64, "rule", "rules")) " of generation " (snapshot.generation) }
        @if rules.is_empty() { (nothing(&snapshot, text.is_some())) } @else {
            div class="cards" { @for rule in &rules { (card(rule)) } }
        }
        (super::filters::pages("/ui/rules", &query, skipped > 0, next))
    };
    Ok(Page::new(Place::Rules, "Rules", content).answer(&ui, &viewer, &headers))
}

fn is_found(rule: &Rule, searched: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(searched);
    searched.is_empty()
        || has(rule.name().as_str())
        || rule.handlers().iter().any(|handler| has(handler.as_str()))
        || rule.description().is_some_and(has)
        || has(rule.pattern())
        || rule.group().is_some_and(has)
        || rule.guard().is_some_and(has)
        || has(rule.file())
}

fn files(snapshot: &Snapshot) -> Markup {
    let in_rules = |problem: &&Diagnostic| {
        snapshot
            .rule_files
            .iter()
            .any(|file| *problem.path() == *file.path.to_string_lossy())
    };
    let problems: Vec<_> = snapshot
        .problems
        .iter()
        .filter(in_rules)
        .take(SHOWN_MAX)
        .collect();
    html! {
        @if !problems.is_empty() {
            section class="panel" aria-labelledby="problems" {
                h2 id="problems" { "To fix" }
                ul class="plain" { @for problem in problems { (diagnostic(problem)) } }
            }
        }
        ul class="plain rows" {
            @for file in snapshot.rule_files.iter().take(SHOWN_MAX) {
                li {
                    (file_state(file.state()))
                    code class="grow" { (Text(file.path.display())) }
                    span class="muted" { (counted(file.file.as_ref().map_or(0, |file| file.rules().len()) as u64, "rule", "rules")) " in use" }
                }
            }
            @if snapshot.rule_files.len() > SHOWN_MAX { li class="muted" { (count((snapshot.rule_files.len() - SHOWN_MAX) as u64)) " more files" } }
        }
    }
}

/// Whether a file is in use as it is.
pub(super) fn file_state(state: FileState) -> Markup {
    let (tone, shape) = match state {
        FileState::Loaded => (Tone::Good, Shape::Tick),
        FileState::Compiling => (Tone::Busy, Shape::Again),
        FileState::Stale => (Tone::Warn, Shape::Bang),
        FileState::Failed => (Tone::Bad, Shape::Cross),
    };
    badge(tone, shape, state.as_str())
}

fn nothing(snapshot: &Snapshot, is_searched: bool) -> Markup {
    if is_searched && !snapshot.rules.is_empty() {
        return empty(
            "No rule matches",
            &html! { p { a href="/ui/rules" { "Clear the search" } " to see all." } },
        );
    }
    empty(
        "No rules yet",
        &html! {
            p { "A rule says which handlers a command goes to. Put a file such as this in the rules folder:" }
            (snippet("{\"rules\": [{\"name\": \"greetings\", \"match\": {\"requestType\": [\"Greet\"]}, \"handlers\": [\"greet\"]}]}"))
        },
    )
}

fn card(rule: &Rule) -> Markup {
    let name = rule.name();
    html! {
        article class="card" id={ "rule:" (Text(name)) } data-row {
            h2 { a href=(rule_link(name)) { (Text(name)) } code class="muted" { (Text(rule.file())) ":" (rule.line()) } }
            @if let Some(description) = rule.description() { p { (Text(description)) } }
            dl class="facts" {
                div { dt { "Handlers" } dd { @for handler in rule.handlers() { a href={ "/ui/handlers#handler:" (Text(handler)) } { (Text(handler)) } " " } } }
                @if let Some(group) = rule.group() {
                    div { dt { "Group" } dd { code { (Text(group)) } @if rule.is_fallback() { " as its fallback" } } }
                }
                @if let Some(priority) = rule.priority() { div { dt { "Priority" } dd { (priority) } } }
                @if let Some(guard) = rule.guard() { div { dt { "Guard" } dd { code { (Text(guard)) } } } }
            }
            (json(&format!("match-{name}"), "match", rule.pattern()))
        }
    }
}
