//! Owns the list of commands: its filters, which are all in the address, and its pages.

use axum::{
    extract::State as Extracted,
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};

use super::{
    SharedUi,
    filters::{self, Range},
    frame::{Failed, Page, Place},
    overview::names,
    parts::{Query, Text, count, counted, empty, exact, glance, snippet, state, time, word},
    viewer::Viewer,
};
use crate::{
    command::CommandId,
    http::{parameters::Parameters, problem::Problem},
    name::HandlerName,
    queue::{CommandFilter, CommandView, DeliveryId, Page as StorePage, QueueError, State, Store},
};

/// Commands of one page.
const PAGE: usize = 50;
/// A search for text reads so many commands for one page; the next page reads on.
const SEARCHED_MAX: usize = 2_000;
/// Handlers of a command that are named in its row.
const HANDLERS_SHOWN: usize = 4;

/// What the address asks for.
struct Asked {
    filter: CommandFilter,
    text: Option<String>,
    after: Option<CommandId>,
    // The same, to be asked again.
    query: Query,
}

impl Asked {
    fn read(mut parameters: Parameters) -> Result<Self, Problem> {
        parameters.drop_empty();
        let range = Range::take(&mut parameters)?;
        let text: Option<String> = parameters.take("q")?;
        let filter = CommandFilter {
            state: parameters.take("state")?,
            handler: parameters.handler()?,
            created_from: range.from,
            created_until: range.until,
        };
        let query = Query::default()
            .with("q", text.as_ref())
            .with("state", filter.state)
            .with("handler", filter.handler.as_ref())
            .with("from", range.from.map(exact))
            .with("until", range.until.map(exact));
        Ok(Self {
            after: parameters.take("after")?,
            text: text
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty()),
            filter,
            query,
        })
    }

    /// The page of the one command that is searched for by its id.
    fn one(&self) -> Option<String> {
        let text = self.text.as_ref()?;
        if let Ok(id) = text.parse::<CommandId>() {
            return Some(format!("/ui/commands/{id}"));
        }
        let id: DeliveryId = text.parse().ok()?;
        Some(format!(
            "/ui/commands/{}#handler:{}",
            id.command, id.handler
        ))
    }
}

/// A page of commands.
struct Found {
    commands: Vec<CommandView>,
    next: Option<CommandId>,
    // How many were read for it, where text is searched for.
    searched: usize,
}

pub(super) async fn list(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let Some(queue) = ui.host.queue() else {
        let page = Page::new(Place::Commands, "Commands", queue_off());
        return Ok(page.answer(&ui, &viewer, &headers));
    };
    let asked = Asked::read(parameters)?;
    if let Some(page) = asked.one() {
        return Ok(Redirect::to(&page).into_response());
    }
    let found = find(queue.store(), &asked).await?;
    let weight: usize = found.commands.iter().map(CommandView::weight).sum();
    let _share = ui.host.budgets().answers.take(weight as u64)?;
    let handlers = names(&ui.host.snapshot(), None);
    let page = Page {
        content: form(&asked, &handlers),
        ..Page::live(Place::Commands, "Commands", results(&asked, &found))
    };
    Ok(page.answer(&ui, &viewer, &headers))
}

async fn find(store: &dyn Store, asked: &Asked) -> Result<Found, QueueError> {
    let page = StorePage {
        after: asked.after,
        limit: PAGE,
    };
    let Some(text) = &asked.text else {
        let commands = store.list(asked.filter.clone(), page).await?;
        let weight = commands.iter().map(CommandView::weight).sum();
        let goes_on = page.goes_on(commands.len(), weight);
        return Ok(Found {
            next: commands.last().map(|last| last.id).filter(|_| goes_on),
            commands,
            searched: 0,
        });
    };
    let text = text.to_lowercase();
    let mut found = Found {
        commands: Vec::new(),
        next: asked.after,
        searched: 0,
    };
    while found.searched < SEARCHED_MAX {
        let page = StorePage {
            after: found.next,
            limit: crate::queue::PAGE_MAX,
        };
        let commands = store.list(asked.filter.clone(), page).await?;
        let weight = commands.iter().map(CommandView::weight).sum();
        let goes_on = page.goes_on(commands.len(), weight);
        let (last, read) = (commands.last().map(|last| last.id), commands.len());
        found.searched += read;
        for command in commands {
            let is_in = |attributes: &String| attributes.to_lowercase().contains(&text);
            if command.attributes.as_ref().is_some_and(is_in) {
                found.next = Some(command.id);
                found.commands.push(command);
                if found.commands.len() == PAGE {
                    return Ok(found);
                }
            }
        }
        found.next = last.filter(|_| goes_on);
        if found.next.is_none() {
            break;
        }
    }
    Ok(found)
}

/// Where the queue is off, and how to turn it on.
pub(super) fn queue_off() -> Markup {
    empty(
        "The queue is off",
        &html! {
            p { "This server runs commands at once and keeps none. Keep them in a queue with this in " code { "pointsman.toml" } ", then restart it:" }
            (snippet("[queue]\nengine = { sqlite = { folder = \"data\" } }"))
        },
    )
}

fn form(asked: &Asked, handlers: &[HandlerName]) -> Markup {
    html! {
        form class="filters" method="get" action="/ui/commands" {
            label { span { "Id or text" } input name="q" type="search" value=[asked.query.get("q").map(Text)] autocomplete="off"; }
            label {
                span { "State" }
                select name="state" {
                    option value="" { "any" }
                    @for state in State::ALL {
                        option value=(state.as_str()) selected[asked.filter.state == Some(state)] { (word(state)) }
                    }
                }
            }
            (filters::handler(asked.filter.handler.as_ref(), handlers))
            (filters::range(&Range { from: asked.filter.created_from, until: asked.filter.created_until }, "Stored"))
            div class="actions" {
                button type="submit" { "Filter" }
                @if !asked.query.is_empty() { a class="button quiet" href="/ui/commands" { "Clear" } }
            }
        }
    }
}

fn results(asked: &Asked, found: &Found) -> Markup {
    html! {
        @if asked.text.is_some() {
            p class="muted" {
                "Searched the attributes of " (counted(found.searched as u64, "command", "commands"))
                @if found.next.is_some() { "; older ones follow on the next page" }
                "."
            }
        }
        @if found.commands.is_empty() { (nothing(asked, found)) } @else { (table(&found.commands)) }
        (filters::pages("/ui/commands", &asked.query, asked.after.is_some(), found.next))
    }
}

fn nothing(asked: &Asked, found: &Found) -> Markup {
    if found.next.is_some() {
        return empty(
            "None on this page",
            &html! { p { "Older commands may have it: go on to the next page." } },
        );
    }
    if asked.after.is_some() {
        return empty(
            "No more commands",
            &html! { p { "This is the end of the list." } },
        );
    }
    if !asked.query.is_empty() {
        return empty(
            "No command matches",
            &html! { p { a href="/ui/commands" { "Clear the filter" } " to see all." } },
        );
    }
    empty(
        "No commands yet",
        &html! {
            p { "Enqueue the first one:" }
            (snippet("curl -s localhost:3000/commands -H 'Content-Type: application/json' \\\n  -d '{\"requestType\": \"CreatePolicy\"}'"))
            p { "Where it goes, " a href="/ui/explain" { "explain" } " says beforehand." }
        },
    )
}

fn table(commands: &[CommandView]) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Commands" {
            table class="commands" {
                thead {
                    tr {
                        th scope="col" { "State" } th scope="col" { "Command" } th scope="col" { "Handlers" }
                        th scope="col" class="wide" { "Attributes" } th scope="col" { "Stored" }
                    }
                }
                tbody { @for command in commands { (row(command)) } }
            }
        }
    }
}

fn row(command: &CommandView) -> Markup {
    let rest = command.deliveries.len().saturating_sub(HANDLERS_SHOWN);
    html! {
        tr data-row {
            td { (state(command.state())) }
            th scope="row" { a class="id" href={ "/ui/commands/" (command.id) } { (command.id) } }
            td {
                @for delivery in command.deliveries.iter().take(HANDLERS_SHOWN) {
                    span class="handler" { (Text(&delivery.id.handler)) } " "
                }
                @if rest > 0 { span class="muted" { "+" (count(rest as u64)) } }
                @if command.deliveries.is_empty() { span class="muted" { "none matched" } }
            }
            td class="wide" {
                @match &command.attributes {
                    Some(attributes) => code class="glance" { (Text(glance(attributes))) },
                    None => span class="muted" { "long" },
                }
            }
            td { (time(command.created)) }
        }
    }
}
