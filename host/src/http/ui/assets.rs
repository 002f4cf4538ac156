//! Owns the style sheet and the script of the dashboard, as they are in the program.

use std::sync::LazyLock;

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/css; charset=utf-8", include_str!("style.css")));
static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/javascript; charset=utf-8", include_str!("script.js")));

struct Asset {
    media: &'static str,
    text: &'static str,
    // A version of the program has a text of its own: browsers ask whether theirs is it.
    tag: HeaderValue,
}

impl Asset {
    fn new(media: &'static str, text: &'static str) -> Self {
        Self {
            media,
            text,
            tag: tag(text),
        }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let caching = [
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::ETAG, self.tag.clone()),
        ];
        if headers.get(header::IF_NONE_MATCH) == Some(&self.tag) {
            return (StatusCode::NOT_MODIFIED, caching).into_response();
        }
        (caching, [(header::CONTENT_TYPE, self.media)], self.text).into_response()
    }
}

/// The tag of a text for caches.
pub(super) fn tag(text: &str) -> HeaderValue {
    let digest = Sha256::digest(text);
    let digest = format!("\"{:x}\"", digest);
    HeaderValue::try_from(&digest).expect("hexadecimal digits")
}

pub(super) async fn style(headers: HeaderMap) -> Response {
    STYLE.answer(&headers)
}

pub(super) async fn script(headers: HeaderMap) -> Response {
    SCRIPT.answer(&headers)
}
