//! Owns the page where a browser presents a token, and what it gets for it: a session.

use axum::{
    body::Bytes,
    extract::State as Extracted,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    SharedUi,
    frame::{Failed, Page, said},
    parts::Text,
    viewer::{Form, Viewer},
};
use crate::{
    access::{Digest, SESSION_LASTS},
    http::{access, audit, parameters::Parameters, problem::Problem},
};

pub(super) async fn ask(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let to = target(parameters.take("to")?);
    if !ui.host.access().is_required() {
        return Ok(Redirect::to(&to).into_response());
    }
    let content = form(&viewer, &to, &html! {});
    Ok(Page::alone("Sign in", content).answer(&ui, &viewer, &headers))
}

fn form(viewer: &Viewer, to: &str, problem: &Markup) -> Markup {
    html! {
        (problem)
        form method="post" action="/ui/login" class="panel login" {
            (viewer.field())
            input type="hidden" name="to" value=(Text(to));
            label class="field" for="token" { "Token" }
            input id="token" name="token" type="password" required autofocus autocomplete="current-password" spellcheck="false";
            div class="actions" { button type="submit" { "Sign in" } }
            p class="muted" { "It needs the role " code { "read" } " to look, and " code { "admin" } " to cancel, retry, discard and pause. An administrator makes one with " code { "pointsman token new" } "." }
        }
    }
}

/// Where a login leads: a page of ours.
fn target(to: Option<String>) -> String {
    let is_ours = |to: &String| {
        (to == "/ui" || to.starts_with("/ui/") || to.starts_with("/ui?"))
            && to.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    };
    to.filter(is_ours).unwrap_or_else(|| "/ui".to_owned())
}

pub(super) async fn begin(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failed> {
    let mut form_sent = Form::read(&viewer, &headers, &body)?;
    let to = target(form_sent.take("to"));
    let token = form_sent.take("token").unwrap_or_default();
    let token = token.trim();
    let all = ui.host.access();
    let Ok(caller) = all.caller(token.as_bytes(), Timestamp::now()) else {
        let problem = Problem::invalid_token();
        let content = form(&viewer, &to, &said(problem.diagnostic()));
        let page = Page::alone("Sign in", content).answer(&ui, &viewer, &HeaderMap::new());
        return Ok((StatusCode::UNAUTHORIZED, page).into_response());
    };
    // A session that the browser had before is of no use to whoever gave it to it.
    end_session(&ui, &headers);
    let id = all.sessions().begin(Digest::of(token.as_bytes()));
    tracing::info!(target: audit::TARGET, action = "sign-in", token = caller.name.as_deref());
    let cookie = access::cookie(all, &id, SESSION_LASTS.as_secs());
    Ok(with_cookie(&to, &cookie))
}

pub(super) async fn end(
    Extracted(ui): Extracted<SharedUi>,
    viewer: Viewer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failed> {
    Form::read(&viewer, &headers, &body)?;
    end_session(&ui, &headers);
    let cookie = access::cookie(ui.host.access(), "", 0);
    Ok(with_cookie("/ui/login", &cookie))
}

fn end_session(ui: &SharedUi, headers: &HeaderMap) {
    if let Some(id) = access::session(ui.host.access(), headers) {
        ui.host.access().sessions().end(id);
    }
}

fn with_cookie(to: &str, cookie: &str) -> Response {
    let cookie = HeaderValue::try_from(cookie).expect("visible characters");
    ([(header::SET_COOKIE, cookie)], Redirect::to(to)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_pages_of_ours_alone() {
        for ours in ["/ui", "/ui/dead?handler=a&status=rejected", "/ui?span=day"] {
            assert_eq!(target(Some(ours.to_owned())), ours);
        }
        for foreign in [
            "",
            "//evil.example",
            "/uix",
            "/ui/\\evil.example",
            "https://evil.example",
            "/commands",
            "/ui/\r\nx:y",
            "/\\evil.example",
        ] {
            assert_eq!(target(Some(foreign.to_owned())), "/ui", "{foreign}");
        }
        assert_eq!(target(None), "/ui");
    }
}
