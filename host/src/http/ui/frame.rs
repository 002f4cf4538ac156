//! Owns what all pages have around them: the head, the way from page to page, the
//! search, and how an error looks.

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};

use super::{
    Ui, assets,
    parts::{Shape, Text, Tone, badge},
    viewer::Viewer,
};
use crate::{diagnostic::Diagnostic, http::answer, http::problem::Problem};

/// The pages that every page leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Commands,
    Queue,
    Dead,
    Schedules,
    Handlers,
    Rules,
    Explain,
}

impl Place {
    /// In the order of the navigation, with the key that leads there after `g`.
    const ALL: [(Self, &'static str, &'static str, &'static str); 8] = [
        (Self::Overview, "Overview", "/ui", "o"),
        (Self::Commands, "Commands", "/ui/commands", "c"),
        (Self::Queue, "Queue", "/ui/queue", "q"),
        (Self::Dead, "Dead letters", "/ui/dead", "d"),
        (Self::Schedules, "Schedules", "/ui/schedules", "s"),
        (Self::Handlers, "Handlers", "/ui/handlers", "h"),
        (Self::Rules, "Rules", "/ui/rules", "r"),
        (Self::Explain, "Explain", "/ui/explain", "e"),
    ];
}

/// One page.
pub(super) struct Page {
    pub(super) place: Option<Place>,
    pub(super) title: String,
    /// What is fetched again while the page is looked at.
    pub(super) live: Option<Markup>,
    pub(super) content: Markup,
    /// Below what is live.
    pub(super) below: Markup,
}

impl Page {
    pub(super) fn new(place: Place, title: impl Into<String>, content: Markup) -> Self {
        Self {
            place: Some(place),
            title: title.into(),
            live: None,
            content,
            below: html! {},
        }
    }

    /// A page for whoever is not let in yet.
    pub(super) fn alone(title: &str, content: Markup) -> Self {
        Self {
            place: None,
            ..Self::new(Place::Overview, title, content)
        }
    }

    /// A page of which all is fetched again while it is looked at.
    pub(super) fn live(place: Place, title: impl Into<String>, content: Markup) -> Self {
        Self {
            live: Some(content),
            ..Self::new(place, title, html! {})
        }
    }

    pub(super) fn answer(self, ui: &Ui, viewer: &Viewer, headers: &HeaderMap) -> Response {
        let is_in = viewer.name.is_some() || !ui.host.access().is_required();
        let page = self.render(is_in.then_some(viewer)).into_string();
        let tag = assets::tag(&page);
        if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
            return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
        }
        let page = answer::html(&ui.host, page);
        ([(header::ETAG, tag)], page).into_response()
    }

    fn render(&self, viewer: Option<&Viewer>) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (Text(&self.title)) " · Pointsman" }
                    link rel="icon" href=(ICON);
                    link rel="stylesheet" href="/ui/style.css";
                    script src="/ui/script.js" defer {}
                }
                body {
                    a class="skip" href="#main" { "Skip to content" }
                    (self.side(viewer))
                    main id="main" tabindex="-1" {
                        h1 { (Text(&self.title)) }
                        (self.content)
                        @if let Some(live) = &self.live { div id="live" data-live { (live) } }
                        (self.below)
                    }
                }
            }
        }
    }

    fn side(&self, viewer: Option<&Viewer>) -> Markup {
        html! {
            header class="side" {
                a class="brand" href="/ui" { (MARK) "Pointsman" }
                @if let Some(viewer) = viewer {
                    form class="find" action="/ui/commands" role="search" {
                        label class="hidden" for="find" { "Find a command by id or text" }
                        input id="find" name="q" type="search" placeholder="Find a command" autocomplete="off" data-search;
                        kbd aria-hidden="true" { "/" }
                    }
                    nav aria-label="Pages" {
                        ul {
                            @for (place, name, path, key) in Place::ALL {
                                li {
                                    a href=(path) data-go=(key)
                                        aria-current=[(self.place == Some(place)).then_some("page")] { (name) }
                                }
                            }
                        }
                    }
                    @if let Some(name) = &viewer.name {
                        form class="who" method="post" action="/ui/logout" {
                            (viewer.field())
                            span { "Signed in as " strong { (Text(name)) } }
                            button type="submit" class="quiet" { "Sign out" }
                        }
                    }
                }
                p class="keys" aria-hidden="true" { kbd { "j" } kbd { "k" } " rows " kbd { "g" } " then a page's first letter" }
            }
        }
    }
}

/// Two tracks of which one is chosen.
const MARK: maud::PreEscaped<&str> = maud::PreEscaped(
    r#"<svg class="mark" viewBox="0 0 24 24" aria-hidden="true"><path d="M3 12h6c5 0 5-6 12-6"/><path class="faint" d="M9 12c5 0 5 6 12 6"/></svg>"#,
);
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='%232f6fde' stroke-width='2.5' stroke-linecap='round'%3E%3Cpath d='M3 12h6c5 0 5-6 12-6'/%3E%3Cpath opacity='.4' d='M9 12c5 0 5 6 12 6'/%3E%3C/svg%3E";

/// What went wrong with a page, as a page.
pub(super) struct Failed(Problem);

impl<E: Into<Problem>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let (status, diagnostic) = (self.0.status(), self.0.diagnostic());
        let page = Page {
            place: None,
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            live: None,
            content: said(diagnostic),
            below: html! {},
        };
        // Whoever is refused sees the way on, and nothing else of the host.
        let viewer = (status != StatusCode::UNAUTHORIZED).then(Viewer::default);
        let page = page.render(viewer.as_ref()).into_string();
        let html = [(header::CONTENT_TYPE, answer::HTML)];
        (status, html, page).into_response()
    }
}

/// What is wrong with a request, beside what was asked.
pub(super) fn said(diagnostic: &Diagnostic) -> Markup {
    html! {
        div class="panel notice bad" role="alert" {
            (badge(Tone::Bad, Shape::Cross, diagnostic.code()))
            p { (Text(diagnostic.message())) }
            @if let Some(hint) = diagnostic.hint_text() { p class="muted" { "Hint: " (Text(hint)) } }
        }
    }
}
