//! Owns the page of the handlers: what is loaded, what each may use and do, and what
//! keeps the others from being loaded.

use axum::{extract::State as Extracted, http::HeaderMap, response::Response};
use maud::{Markup, html};

use super::{
    SharedUi,
    frame::{Page, Place},
    overview::handler_state,
    parts::{Text, bytes, count, counted, diagnostic, duration, empty, rule_link, snippet},
    rules::file_state,
    viewer::Viewer,
};
use crate::{
    diagnostic::Diagnostic,
    sandbox::{Handler, HandlerSettings, InstanceMode},
    snapshot::{FileState, HandlerView, Snapshot},
};

/// Handlers on the page, and problems.
const SHOWN_MAX: usize = 200;
/// Rules of a handler that are named.
const RULES_SHOWN: usize = 20;

pub(super) async fn list(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    headers: HeaderMap,
) -> Response {
    let snapshot = ui.host.snapshot();
    let view = snapshot.handlers_view();
    let in_rules = |problem: &&Diagnostic| {
        snapshot
            .rule_files
            .iter()
            .any(|file| *problem.path() == *file.path.to_string_lossy())
    };
    let problems = view.problems.iter().filter(|problem| !in_rules(problem));
    let problems: Vec<_> = problems.take(SHOWN_MAX).collect();
    let live = html! {
        @if !problems.is_empty() {
            section class="panel" aria-labelledby="problems" {
                h2 id="problems" { "To fix" }
                ul class="plain" { @for problem in problems { (diagnostic(problem)) } }
            }
        }
        @if view.handlers.is_empty() {
            (empty("No handlers yet", &html! {
                p { "A handler is a WebAssembly component in " code { (Text(ui.host.config().plugins.display())) } ". Make one:" }
                (snippet("pointsman new greet && pointsman build greet"))
            }))
        } @else {
            p class="muted" { (counted(view.handlers.len() as u64, "component", "components")) " of generation " (view.generation) }
            div class="cards" { @for handler in view.handlers.iter().take(SHOWN_MAX) { (card(&snapshot, handler)) } }
            @if view.handlers.len() > SHOWN_MAX {
                p class="muted" { (count((view.handlers.len() - SHOWN_MAX) as u64)) " more are in " a href="/plugins" { "the JSON of all" } "." }
            }
        }
    };
    Page::live(Place::Handlers, "Handlers", live).answer(&ui, &viewer, &headers)
}

fn card(snapshot: &Snapshot, view: &HandlerView) -> Markup {
    let loaded = view
        .handler
        .as_ref()
        .and_then(|name| snapshot.handlers.get(name));
    let name = view.handler.as_ref().map(ToString::to_string);
    html! {
        article class="card" id=[name.as_ref().map(|name| Text(format!("handler:{name}")))] data-row {
            h2 {
                @match (&view.handler, view.state) {
                    (Some(handler), FileState::Loaded) => (handler_state(snapshot, handler)),
                    (_, state) => (file_state(state)),
                }
                @match &name { Some(name) => a href={ "#handler:" (Text(name)) } { (Text(name)) }, None => span { "no handler" } }
                code class="muted" { (Text(&view.file)) }
            }
            @if let Some(error) = &view.error {
                p { (Text(&error.reason)) }
                @if let Some(hint) = &error.hint { p class="muted" { "Hint: " (Text(hint)) } }
            }
            @if let Some(description) = &view.description { p { (Text(crate::text::cut(description.to_string(), 500))) } }
            dl class="facts" {
                @if let Some(version) = &view.version { div { dt { "Version" } dd { (Text(crate::text::cut(version.to_string(), 100))) } } }
                @if let Some(digest) = &view.digest { div { dt { "Digest" } dd { code title=(Text(digest)) { (Text(digest.chars().take(12).collect::<String>())) } } } }
                @if let Some(size) = view.size_bytes { div { dt { "Size" } dd { (bytes(size)) } } }
                div {
                    dt { "Rules" }
                    dd {
                        @for rule in view.rules.iter().take(RULES_SHOWN) { a href=(rule_link(rule)) { (Text(rule)) } " " }
                        @if view.rules.len() > RULES_SHOWN { "and " (view.rules.len() - RULES_SHOWN) " more" }
                        @if view.rules.is_empty() { span class="muted" { "none sends commands to it" } }
                    }
                }
            }
            @if let Some(handler) = loaded { (limits(handler)) (grants(&handler.settings)) }
        }
    }
}

fn limits(handler: &Handler) -> Markup {
    let (settings, name) = (&handler.settings, &handler.name);
    let limits = &settings.limits;
    html! {
        details data-key={ "limits-" (Text(name)) } {
            summary { "Limits" span class="muted" { (duration(limits.timeout)) ", " (bytes(limits.memory_max_bytes as u64)) } }
            dl class="grants" {
                dt { "Time" } dd { (duration(limits.timeout)) ", of it " (duration(limits.cpu_max)) " computing" }
                dt { "Memory" } dd { (bytes(limits.memory_max_bytes as u64)) }
                dt { "Output" } dd { (bytes(limits.output_max_bytes as u64)) }
                dt { "Log" } dd { (count(limits.log_lines_max as u64)) " lines, " (bytes(limits.log_max_bytes as u64)) }
                dt { "Calls at once" } dd { (count(limits.instances_max as u64)) }
                dt { "Deliveries at once" } dd { @match settings.queue.concurrency { Some(most) => (count(most as u64)), None => "as many as fit" } }
                dt { "Circuit breaker" }
                dd {
                    @match settings.breaker.failures {
                        Some(failures) => { (counted(failures as u64, "failure", "failures")) " within " (duration(settings.breaker.window)) " open it for " (duration(settings.breaker.cooldown)) },
                        None => "off",
                    }
                }
                dt { "Instances" } dd { @match settings.instances.mode { InstanceMode::Fresh => "a fresh one for each call", InstanceMode::Reuse => "reused" } }
            }
        }
    }
}

/// What a handler may do besides computing; values of its settings are not shown.
fn grants(settings: &HandlerSettings) -> Markup {
    let granted = [reaches(settings), keeps(settings)].concat();
    html! {
        @if granted.is_empty() {
            p class="muted" { "Granted nothing: it may compute, log and answer." }
        } @else {
            dl class="grants" { @for (what, how) in granted { dt { (what) } dd { code { (Text(how)) } } } }
        }
    }
}

/// What it reaches outside of the host.
fn reaches(settings: &HandlerSettings) -> Vec<(&'static str, String)> {
    let mut granted: Vec<(&str, String)> = Vec::new();
    let http = &settings.http;
    granted.extend(
        http.allow
            .iter()
            .map(|pattern| ("HTTP", pattern.to_string())),
    );
    let private = http.allow_private.iter();
    granted.extend(private.map(|pattern| ("HTTP", format!("{pattern}, private addresses too"))));
    granted.extend(settings.folders.iter().map(|folder| {
        let may = if folder.write {
            "read and write"
        } else {
            "read"
        };
        (
            "Folder",
            format!("{} as {}, {may}", folder.host.display(), folder.guest),
        )
    }));
    granted.extend(settings.sql.iter().map(|(name, grant)| {
        let may = if grant.read_only {
            "read"
        } else {
            "read and write"
        };
        ("Database", format!("{name}, {may}"))
    }));
    granted
}

/// What the host hands to it, and keeps for it.
fn keeps(settings: &HandlerSettings) -> Vec<(&'static str, String)> {
    let mut granted: Vec<(&str, String)> = Vec::new();
    granted.extend(
        settings
            .secrets
            .iter()
            .map(|(name, secret)| match &secret.inject {
                Some(injection) => (
                    "Secret",
                    format!("{name}, added by the host to {}", injection.to),
                ),
                None => ("Secret", format!("{name}, which it reads")),
            }),
    );
    granted.extend(settings.state.iter().map(|state| {
        let space = state
            .shared
            .as_ref()
            .map_or_else(String::new, |space| format!(", shared as {space}"));
        (
            "State",
            format!(
                "{} keys, {}{space}",
                count(state.keys_max),
                bytes(state.bytes_max)
            ),
        )
    }));
    granted.extend(settings.emit.iter().map(|emit| {
        (
            "Follow-up commands",
            format!("{} a call", count(emit.commands_max as u64)),
        )
    }));
    granted.extend(
        settings
            .env
            .keys()
            .map(|name| ("Environment", name.clone())),
    );
    granted.extend(
        settings
            .config
            .keys()
            .map(|name| ("Configuration", name.clone())),
    );
    granted
}
