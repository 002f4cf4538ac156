//! Owns the dead letters: those that match a filter, why they failed, and retrying or
//! discarding the chosen ones or all that match, once the number is confirmed.

use axum::{
    body::Bytes,
    extract::State as Extracted,
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};

use super::{
    SharedUi, Ui,
    commands::queue_off,
    filters::{self, Range, instant},
    frame::{Failed, Page, Place},
    overview::{Standing, names},
    parts::{self, Query, Text, count, counted, empty, exact, headline, time},
    viewer::{Form, Viewer},
};
use crate::{
    access::Role,
    http::{
        parameters::{Parameters, parse},
        problem::Problem,
        queue_of,
    },
    name::HandlerName,
    outcome::Status,
    queue::{
        DeadCursor, DeadFilter, DeadLetter, DeliveryId, Ending, PAGE_MAX, Page as StorePage,
        QueueError, State, Store,
    },
};

/// Dead letters of one page.
const PAGE: usize = 50;

fn query(filter: &DeadFilter) -> Query {
    Query::default()
        .with("handler", filter.handler.as_ref())
        .with("status", filter.status)
        .with("from", filter.finished_from.map(exact))
        .with("until", filter.finished_until.map(exact))
}

pub(super) async fn list(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let Some(queue) = ui.host.queue() else {
        let page = Page::new(Place::Dead, "Dead letters", queue_off());
        return Ok(page.answer(&ui, &viewer, &headers));
    };
    parameters.drop_empty();
    let done = [("retried", "requeued"), ("discarded", "discarded")];
    let mut said = html! {};
    for (name, what) in done {
        if let Some(number) = parameters.number(name, 0..=u64::MAX)? {
            said = html! { p class="panel notice good" role="status" { (counted(number, "delivery was ", "deliveries were ")) (what) "." } };
        }
    }
    let range = Range::take(&mut parameters)?;
    let filter = DeadFilter {
        delivery: None,
        handler: parameters.handler()?,
        status: parameters.take("status")?,
        finished_from: range.from,
        finished_until: range.until,
    };
    let page: StorePage<DeadCursor> = StorePage {
        after: parameters.take("after")?,
        limit: PAGE,
    };
    let standing = ui.figures.of(queue).await;
    let letters = queue.store().dead(filter.clone(), page).await?;
    let weight: usize = letters.iter().map(|letter| letter.delivery.weight()).sum();
    let _share = ui.host.budgets().answers.take(weight as u64)?;
    let next = letters.last().map(DeadLetter::cursor);
    let next = next.filter(|_| page.goes_on(letters.len(), weight));
    let handlers = names(&ui.host.snapshot(), Some(&standing));
    let content = html! {
        (said)
        (summary(&standing, &filter))
        (form(&filter, &handlers))
        @if letters.is_empty() { (nothing(&filter, page.after.is_some())) } @else { (table(&viewer, &filter, &letters)) }
        (filters::pages("/ui/dead", &query(&filter), page.after.is_some(), next))
    };
    Ok(Page::new(Place::Dead, "Dead letters", content).answer(&ui, &viewer, &headers))
}

/// How many there are by handler, each of them a filter.
fn summary(standing: &Standing, filter: &DeadFilter) -> Markup {
    let depths = standing
        .depths
        .iter()
        .filter(|depth| depth.state == State::Discarded);
    html! {
        ul class="plain chips" {
            @for depth in depths {
                li {
                    a href=(query(filter).with("handler", Some(&depth.handler)).link("/ui/dead"))
                        aria-current=[(filter.handler.as_ref() == Some(&depth.handler)).then_some("true")] {
                        (Text(&depth.handler)) " " strong { (count(depth.count)) }
                    }
                }
            }
        }
    }
}

fn form(filter: &DeadFilter, handlers: &[HandlerName]) -> Markup {
    // In the order of the table of outcomes; a success does not end here.
    let endings = Status::ALL
        .into_iter()
        .filter(|status| *status != Status::Succeeded);
    let endings = endings.map(Ending::Ran).chain([Ending::HostLost]);
    html! {
        form class="filters" method="get" action="/ui/dead" {
            (filters::handler(filter.handler.as_ref(), handlers))
            label {
                span { "Last failure" }
                select name="status" {
                    option value="" { "any" }
                    @for ending in endings { option value=(ending.as_str()) selected[filter.status == Some(ending)] { (ending.as_str()) } }
                }
            }
            (filters::range(&Range { from: filter.finished_from, until: filter.finished_until }, "Ended"))
            div class="actions" {
                button type="submit" { "Filter" }
                @if !query(filter).is_empty() { a class="button quiet" href="/ui/dead" { "Clear" } }
            }
        }
    }
}

fn nothing(filter: &DeadFilter, is_later: bool) -> Markup {
    if is_later {
        return empty(
            "No more dead letters",
            &html! { p { "This is the end of the list." } },
        );
    }
    if !query(filter).is_empty() {
        return empty(
            "No dead letter matches",
            &html! { p { a href="/ui/dead" { "Clear the filter" } " to see all." } },
        );
    }
    empty(
        "No dead letters",
        &html! { p { "A delivery that fails permanently, or more often than the retries of its handler allow, waits here until you retry or discard it." } },
    )
}

fn table(viewer: &Viewer, filter: &DeadFilter, letters: &[DeadLetter]) -> Markup {
    html! {
        form method="post" action="/ui/dead/retry" class="list-form" {
            (viewer.field())
            (query(filter).fields())
            @if viewer.may(Role::Admin) { div class="actions" {
                button type="submit" name="which" value="chosen" { "Retry chosen" }
                button type="submit" name="which" value="chosen" formaction="/ui/dead/discard" class="danger" { "Discard chosen" }
                button type="submit" name="which" value="matching" class="quiet" { "Retry all that match" }
                button type="submit" name="which" value="matching" formaction="/ui/dead/discard" class="quiet" { "Discard all that match" }
            } }
            div class="scroll" tabindex="0" role="region" aria-label="Dead letters" {
                table {
                    thead {
                        tr {
                            th scope="col" { input type="checkbox" data-all aria-label="Choose all of this page"; }
                            th scope="col" { "Handler" } th scope="col" { "Failure" } th scope="col" class="number" { "Attempts" } th scope="col" { "Command" } th scope="col" { "Ended" }
                        }
                    }
                    tbody { @for letter in letters { (row(letter)) } }
                }
            }
        }
    }
}

fn row(letter: &DeadLetter) -> Markup {
    let delivery = &letter.delivery;
    let link = format!(
        "/ui/commands/{}#handler:{}",
        delivery.id.command, delivery.id.handler
    );
    html! {
        tr data-row {
            td { input type="checkbox" name="delivery" value=(Text(&delivery.id)) aria-label={ "Choose " (Text(&delivery.id)) }; }
            th scope="row" { a href=(Text(&link)) { (Text(&delivery.id.handler)) } }
            td class="message" {
                @if let Some(failure) = &delivery.last_failure { strong { (failure.status.as_str()) } " " (Text(headline(&failure.message))) }
            }
            td class="number" { (delivery.attempt) }
            td { a class="id" href=(Text(&link)) { (delivery.id.command) } }
            td { @if let Some(at) = delivery.finished { (time(at)) } }
        }
    }
}

/// What is done with dead letters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Retry,
    Discard,
}

impl Deed {
    fn path(self) -> &'static str {
        match self {
            Self::Retry => "/ui/dead/retry",
            Self::Discard => "/ui/dead/discard",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Retry => "Retry",
            Self::Discard => "Discard",
        }
    }

    async fn perform(self, store: &dyn Store, filter: DeadFilter) -> Result<u64, QueueError> {
        match self {
            Self::Retry => store.retry_dead(filter).await,
            Self::Discard => store.discard_dead(filter).await,
        }
    }
}

pub(super) async fn retry(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failed> {
    act(
        &ui,
        &viewer,
        Form::read(&viewer, &headers, &body)?,
        Deed::Retry,
    )
    .await
}

pub(super) async fn discard(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failed> {
    act(
        &ui,
        &viewer,
        Form::read(&viewer, &headers, &body)?,
        Deed::Discard,
    )
    .await
}

/// The dead letters that a form is for.
enum Chosen {
    These(Vec<DeliveryId>),
    Matching(DeadFilter),
}

impl Chosen {
    fn read(form: &mut Form) -> Result<Self, Problem> {
        let which = form.take("which").unwrap_or_default();
        if which == "chosen" {
            let ids = form.take_all("delivery");
            if ids.is_empty() || ids.len() > PAGE_MAX {
                let wanted = format!("choose 1 to {PAGE_MAX} dead letters in the list");
                return Err(Problem::parameter("delivery", wanted));
            }
            let ids = ids.iter().map(|id| parse("delivery", id));
            return Ok(Self::These(ids.collect::<Result<_, _>>()?));
        }
        if which != "matching" {
            return Err(Problem::parameter("which", "is `chosen` or `matching`"));
        }
        let mut field = |name| form.take(name).filter(|value| !value.is_empty());
        let handler = field("handler")
            .map(|name| HandlerName::parse(&name))
            .transpose();
        let status = field("status").map(|status| parse("status", &status));
        let mut time = |name| field(name).map(|text| instant(name, &text)).transpose();
        Ok(Self::Matching(DeadFilter {
            delivery: None,
            finished_from: time("from")?,
            // What ends after the form was made is not meant.
            finished_until: Some(time("until")?.unwrap_or_else(parts::now)),
            handler: handler.map_err(|error| Problem::parameter("handler", error))?,
            status: status.transpose()?,
        }))
    }

    /// How many they are, and whether there may be more: counting all would take long.
    async fn count(&self, store: &dyn Store) -> Result<(u64, bool), QueueError> {
        match self {
            Self::These(ids) => Ok((ids.len() as u64, false)),
            Self::Matching(filter) => {
                let page = StorePage::first(PAGE_MAX);
                let letters = store.dead(filter.clone(), page).await?;
                let weight = letters.iter().map(|letter| letter.delivery.weight()).sum();
                Ok((letters.len() as u64, page.goes_on(letters.len(), weight)))
            }
        }
    }

    /// The same, as the fields of a form.
    fn fields(&self) -> Markup {
        html! {
            @match self {
                Self::These(ids) => {
                    input type="hidden" name="which" value="chosen";
                    @for id in ids { input type="hidden" name="delivery" value=(Text(id)); }
                },
                Self::Matching(filter) => {
                    input type="hidden" name="which" value="matching";
                    (query(filter).fields())
                },
            }
        }
    }
}

async fn act(ui: &Ui, viewer: &Viewer, mut form: Form, deed: Deed) -> Result<Response, Failed> {
    let is_confirmed = form.take("confirmed").is_some();
    let chosen = Chosen::read(&mut form)?;
    let store = queue_of(&ui.host)?.store();
    if !is_confirmed {
        let (number, may_be_more) = chosen.count(store).await?;
        let page = Page::new(
            Place::Dead,
            format!("{} dead letters", deed.title()),
            confirmation(viewer, &chosen, deed, (number, may_be_more)),
        );
        return Ok(page.answer(ui, viewer, &HeaderMap::new()));
    }
    let done = perform(store, chosen, deed).await?;
    ui.figures.forget().await;
    let name = match deed {
        Deed::Retry => "retried",
        Deed::Discard => "discarded",
    };
    Ok(Redirect::to(&format!("/ui/dead?{name}={done}")).into_response())
}

async fn perform(store: &dyn Store, chosen: Chosen, deed: Deed) -> Result<u64, QueueError> {
    let ids = match chosen {
        Chosen::Matching(filter) => return deed.perform(store, filter).await,
        Chosen::These(ids) => ids,
    };
    let mut done = 0;
    for delivery in ids {
        let one = DeadFilter {
            delivery: Some(delivery),
            ..DeadFilter::default()
        };
        match deed.perform(store, one).await {
            Ok(number) => done += number,
            // Somebody else was faster.
            Err(QueueError::NotDead { .. } | QueueError::UnknownDelivery(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn confirmation(
    viewer: &Viewer,
    chosen: &Chosen,
    deed: Deed,
    (number, may_be_more): (u64, bool),
) -> Markup {
    let all = match may_be_more {
        true => format!("{} or more deliveries", count(number)),
        false => counted(number, "delivery", "deliveries"),
    };
    html! {
        section class="panel" {
            @match deed {
                Deed::Retry => p { strong { (all) } " will be requeued behind those that wait, with all their retries again." },
                Deed::Discard => p { strong { (all) } " will be discarded: they become cancelled and do not run again." },
            }
            @if let Chosen::Matching(filter) = chosen {
                dl class="facts" {
                    div { dt { "Handler" } dd { @match &filter.handler { Some(handler) => (Text(handler)), None => "any" } } }
                    div { dt { "Last failure" } dd { (filter.status.map_or("any", Ending::as_str)) } }
                    @if let Some(from) = filter.finished_from { div { dt { "Ended from" } dd { (exact(from)) } } }
                    @if let Some(until) = filter.finished_until { div { dt { "Ended before" } dd { (exact(until)) } } }
                }
            }
            form method="post" action=(deed.path()) class="actions" {
                (viewer.field())
                (chosen.fields())
                input type="hidden" name="confirmed" value="yes";
                @if number > 0 {
                    button type="submit" autofocus class=[(deed == Deed::Discard).then_some("danger")] { (deed.title()) " " (all) }
                }
                a class="button quiet" href="/ui/dead" { "Back" }
            }
        }
    }
}
