//! Owns the page that says where a command goes, and of each rule why it fired or not.

use axum::{body::Bytes, extract::State as Extracted, http::HeaderMap, response::Response};
use maud::{Markup, html};

use super::{
    SharedUi, Ui,
    frame::{Failed, Page, Place, said},
    parts::{Shape, Text, Tone, badge, count, empty, rule_link},
    viewer::{Form, Viewer},
};
use crate::{
    command::CommandId,
    http::{parameters::Parameters, problem::Problem, queue_of},
    rules::{ClauseReport, Explanation, Miss, Overruled},
    text::escaped_json,
};

/// What is in the field when nothing was asked yet.
const EXAMPLE: &str = "{\n  \"requestType\": \"CreatePolicy\",\n  \"productType\": \"HighRisk\"\n}";

pub(super) async fn ask(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let id: Option<CommandId> = parameters.take("command")?;
    let Some(id) = id else {
        let intro = empty(
            "Where would it go?",
            &html! { p { "Paste a command to see which rules it fires, by which of its fields, and which other rules came nearest. Nothing is run." } },
        );
        return Ok(page(&viewer, EXAMPLE, &intro).answer(&ui, &viewer, &headers));
    };
    let command = queue_of(&ui.host)?.store().get(id).await?;
    let text = command.attributes.unwrap_or_default();
    let text = escaped_json(&text).into_owned();
    let answer = explained(&ui, text.clone()).await;
    Ok(page(&viewer, &text, &answer).answer(&ui, &viewer, &headers))
}

pub(super) async fn answer(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failed> {
    let mut form = Form::read(&viewer, &headers, &body)?;
    let text = form.take("command").unwrap_or_default();
    let answer = explained(&ui, text.clone()).await;
    Ok(page(&viewer, &text, &answer).answer(&ui, &viewer, &HeaderMap::new()))
}

fn page(viewer: &Viewer, text: &str, answer: &Markup) -> Page {
    let content = html! {
        form method="post" action="/ui/explain" class="list-form" {
            (viewer.field())
            label class="field" for="command" { "Command" }
            // The line break after the tag belongs to it, and not to the text.
            textarea id="command" name="command" rows="8" spellcheck="false" autocomplete="off" { "\n" (text) }
            div class="actions" { button type="submit" { "Explain" } }
        }
        section aria-label="Answer" aria-live="polite" { (answer) }
    };
    Page::new(Place::Explain, "Explain", content)
}

async fn explained(ui: &Ui, text: String) -> Markup {
    let parsed = ui.host.dispatcher().parse(text).await;
    let answer = match parsed {
        Ok(Ok(command)) => ui
            .host
            .dispatcher()
            .explain(command)
            .await
            .map_err(Problem::from),
        Ok(Err(error)) => Err(error.into()),
        Err(error) => Err(error.into()),
    };
    match answer {
        Ok(explanation) => explanation_of(&explanation),
        Err(problem) => said(problem.diagnostic()),
    }
}

fn explanation_of(explanation: &Explanation) -> Markup {
    html! {
        section class="panel" aria-label="Handlers" {
            @if explanation.matches.is_empty() {
                p { (badge(Tone::Warn, Shape::Slash, "no handler")) " No rule fires for this command." }
            } @else {
                p { "It goes to:" }
                ul class="plain" {
                    @for found in &explanation.matches {
                        li {
                            (badge(Tone::Good, Shape::Tick, "runs")) " "
                            a href={ "/ui/handlers#handler:" (Text(&found.handler)) } { (Text(&found.handler)) }
                            " by " @for rule in found.rules.iter() { code { (Text(rule)) } " " }
                        }
                    }
                }
            }
        }
        @for fired in &explanation.fired {
            section class="card" {
                (heading(Tone::Good, Shape::Tick, "fired", &fired.rule, (&fired.file, fired.line)))
                (clauses(&fired.clauses, Shape::Tick, Tone::Good, fired.clauses_more))
            }
        }
        @for overruled in &explanation.overruled { (yielded(overruled)) }
        @for miss in &explanation.misses { (missed(miss)) }
        @if explanation.more > 0 { p class="muted" { (count(explanation.more as u64)) " more rules fired or were overruled." } }
        @if explanation.incomplete { p class="muted" { "The search for misses took too long and was ended early." } }
    }
}

fn heading(
    tone: Tone,
    shape: Shape,
    word: &str,
    rule: &crate::name::RuleName,
    (file, line): (&str, u32),
) -> Markup {
    html! {
        h2 { (badge(tone, shape, word)) a href=(rule_link(rule)) { (Text(rule)) } code class="muted" { (Text(file)) ":" (line) } }
    }
}

fn yielded(overruled: &Overruled) -> Markup {
    html! {
        section class="card" {
            (heading(Tone::Calm, Shape::Slash, "overruled", &overruled.rule, (&overruled.file, overruled.line)))
            p {
                "It matched, but " code { (Text(&overruled.by)) } " of its group " code { (Text(&overruled.group)) }
                @if overruled.fallback { " matched too, and this one is the fallback." } @else { " comes first." }
            }
        }
    }
}

fn missed(miss: &Miss) -> Markup {
    html! {
        section class="card" {
            (heading(Tone::Calm, Shape::Ring, "did not match", &miss.rule, (&miss.file, miss.line)))
            @if let Some(reason) = &miss.reason { p { (Text(reason)) } }
            (clauses(&miss.failed, Shape::Cross, Tone::Bad, miss.failed_more))
            @if miss.held > 0 { p class="muted" { (count(miss.held as u64)) " other conditions held." } }
        }
    }
}

fn clauses(clauses: &[ClauseReport], shape: Shape, tone: Tone, more: usize) -> Markup {
    let word = if tone == Tone::Good { "held" } else { "failed" };
    html! {
        ul class="clauses" {
            @for clause in clauses {
                li {
                    (badge(tone, shape, word))
                    span { code { (Text(&clause.field)) } " is "
                        @if clause.seen.is_empty() { "absent" @if let Some(similar) = &clause.similar { " (the command has " code { (Text(similar)) } ")" } } @else { code { (Text(clause.seen.join(", "))) } }
                        @if clause.seen_more > 0 { " and " (clause.seen_more) " more" }
                        ", expected " (Text(&clause.wanted)) }
                }
            }
            @if more > 0 { li class="muted" { (count(more as u64)) " more" } }
        }
    }
}
