//! Owns the dashboard under `/ui`: pages that the server makes, one style sheet and
//! one small script of our own. Reading it works without the script.
//!
//! | file | owns |
//! |---|---|
//! | `frame`, `parts`, `filters` | what pages have around them, and what they are made of |
//! | `viewer` | who looks, and that a form comes from a page of ours |
//! | `overview`, `commands`, `command`, `queue`, `dead`, `schedules`, `handlers`, `rules`, `explain` | a page each |
//! | `chart`, `gantt` | pictures |
//! | `assets` | the style sheet and the script |

mod assets;
mod chart;
mod command;
mod commands;
mod dead;
mod explain;
mod filters;
mod frame;
mod gantt;
mod handlers;
mod history;
mod login;
mod overview;
mod parts;
mod queue;
mod rules;
mod schedules;
mod viewer;

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderName, HeaderValue, header},
    middleware::map_response,
    response::Response,
    routing::{get, post},
};

use self::{history::History, overview::Figures, viewer::Key};
use crate::host::Host;

/// What the pages of one host share.
struct Ui {
    host: Arc<Host>,
    key: Key,
    figures: Figures,
    history: History,
}

type SharedUi = Arc<Ui>;

/// The routes of the dashboard.
pub(super) fn routes(host: &Arc<Host>) -> Router<Arc<Host>> {
    let ui = Ui {
        host: Arc::clone(host),
        key: Key::draw(),
        figures: Figures::default(),
        history: History::default(),
    };
    Router::new()
        .route("/ui", get(overview::overview))
        .route("/ui/commands", get(commands::list))
        .route("/ui/commands/{id}", get(command::show))
        .route("/ui/commands/{id}/cancel", post(command::cancel))
        .route("/ui/commands/{id}/rerun", post(command::rerun))
        .route("/ui/queue", get(queue::show))
        .route("/ui/queue/pause", post(queue::pause))
        .route("/ui/queue/resume", post(queue::resume))
        .route("/ui/dead", get(dead::list))
        .route("/ui/dead/retry", post(dead::retry))
        .route("/ui/dead/discard", post(dead::discard))
        .route("/ui/handlers", get(handlers::list))
        .route("/ui/rules", get(rules::list))
        .route("/ui/explain", get(explain::ask).post(explain::answer))
        .route("/ui/login", get(login::ask).post(login::begin))
        .route("/ui/logout", post(login::end))
        .route("/ui/schedules", get(schedules::list))
        .route("/ui/schedules/{name}/pause", post(schedules::pause))
        .route("/ui/schedules/{name}/resume", post(schedules::resume))
        .route("/ui/schedules/{name}/run", post(schedules::run))
        .route("/ui/style.css", get(assets::style))
        .route("/ui/script.js", get(assets::script))
        .layer(map_response(guarded))
        .with_state(Arc::new(ui))
}

/// Nothing but our own files runs on a page or is loaded into it, no other site
/// shows it in a frame, and its forms lead to this server alone.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// `no-referrer` would have browsers send `Origin: null` with our own forms.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Pages show what not everyone may see: a shared cache keeps none of them.
    let caching = HeaderValue::from_static("private, no-cache");
    headers.entry(header::CACHE_CONTROL).or_insert(caching);
    response
}
