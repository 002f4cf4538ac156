//! Owns who looks at the dashboard, and that a form which changes something comes
//! from a page of ours.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Bytes,
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use maud::{Markup, html};
use sha2::{Digest, Sha256};

use super::SharedUi;
use crate::{
    access::{Caller, Role, Roles},
    http::{access, problem::Problem},
};

/// Whoever asks for a page.
#[derive(Clone, Debug, Default)]
pub(super) struct Viewer {
    /// What the forms of this viewer carry.
    csrf: String,
    /// None where the host asks for no token.
    pub(super) name: Option<Arc<str>>,
    roles: Roles,
}

impl FromRequestParts<SharedUi> for Viewer {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, ui: &SharedUi) -> Result<Self, Infallible> {
        let caller = head.extensions.get::<Caller>();
        let session = access::session(ui.host.access(), &head.headers).unwrap_or_default();
        Ok(Self {
            csrf: ui.key.sign(session.as_bytes()),
            name: caller.and_then(|caller| caller.name.clone()),
            roles: caller.map_or_else(Roles::default, |caller| caller.roles),
        })
    }
}

impl Viewer {
    /// Whether the forms that need this role are shown; their routes ask for it themselves.
    pub(super) fn may(&self, role: Role) -> bool {
        self.roles.has(role)
    }

    /// The field that each form with a change needs.
    pub(super) fn field(&self) -> Markup {
        html! { input type="hidden" name=(FIELD) value=(self.csrf); }
    }
}

const FIELD: &str = "csrf";

/// Drawn when the host starts: what was signed before it is of no use after.
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn draw() -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the system gives random bytes");
        Self(key)
    }

    /// A text that only this key makes of `message`.
    fn sign(&self, message: &[u8]) -> String {
        // The outer digest keeps a longer message from being signed with this one.
        let inner = Sha256::new().chain_update(self.0).chain_update(message);
        let outer = Sha256::new()
            .chain_update(self.0)
            .chain_update(inner.finalize());
        format!("{:x}", outer.finalize())
    }
}

/// The fields of a form that was sent from a page of this viewer.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// # Errors
    /// Where it is no form, or one that another page made up.
    pub(super) fn read(
        viewer: &Viewer,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Self, Problem> {
        const MEDIA: &str = "application/x-www-form-urlencoded";
        let media = headers.get(header::CONTENT_TYPE);
        let media = media.map(|media| String::from_utf8_lossy(media.as_bytes()));
        if media.as_deref() != Some(MEDIA) {
            return Err(Problem::not_a_form(media.as_deref()));
        }
        let fields = form_urlencoded::parse(body).into_owned();
        let mut form = Self(fields.collect());
        let sent = form.take(FIELD).unwrap_or_default();
        // How long it takes to compare digests says nothing of what they are of.
        if viewer.csrf.is_empty() || Sha256::digest(&sent) != Sha256::digest(&viewer.csrf) {
            return Err(Problem::stale_form());
        }
        Ok(form)
    }

    /// The first field of this name; the others stay.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    /// All fields of this name.
    pub(super) fn take_all(&mut self, name: &str) -> Vec<String> {
        std::iter::from_fn(|| self.take(name)).collect()
    }
}
