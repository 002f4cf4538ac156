//! Owns which bodies are taken for commands by what their `Content-Type` says.

use axum::http::{HeaderMap, header};
use mime::Mime;

use super::problem::Problem;

/// Refuses what is not `application/json` or `application/…+json` in UTF-8, the only
/// encoding of JSON. Other parameters mean nothing to us, but each is there once:
/// whoever takes the first of two reads another body than who takes the last.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(found) = headers.get(header::CONTENT_TYPE) else {
        return Err(Problem::unsupported_media_type(None));
    };
    // What nearly all clients send.
    if found == "application/json" {
        return Ok(());
    }
    let found = String::from_utf8_lossy(found.as_bytes());
    match parse(&found) {
        Some(media) if is_json(&media) && is_utf_8(&media) && has_each_parameter_once(&media) => {
            Ok(())
        }
        _ => Err(Problem::unsupported_media_type(Some(&found))),
    }
}

/// None for what is malformed.
fn parse(text: &str) -> Option<Mime> {
    // HTTP allows white space before the first `;`, and the crate does not.
    match text.split_once(';') {
        None => text.trim().parse().ok(),
        Some((essence, parameters)) => format!("{};{parameters}", essence.trim()).parse().ok(),
    }
}

fn is_json(media: &Mime) -> bool {
    media.type_() == mime::APPLICATION
        && (media.suffix() == Some(mime::JSON)
            || media.suffix().is_none() && media.subtype() == mime::JSON)
}

fn is_utf_8(media: &Mime) -> bool {
    media
        .get_param(mime::CHARSET)
        .is_none_or(|charset| charset == mime::UTF_8)
}

fn has_each_parameter_once(media: &Mime) -> bool {
    let mut names: Vec<_> = media.params().map(|(name, _)| name.as_str()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    names.len() == count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_taken(content_type: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        require_json(&headers).is_ok()
    }

    #[test]
    fn json_in_utf_8_is_taken_however_it_is_written() {
        for content_type in [
            "application/json",
            "Application/JSON",
            "application/cloudevents+json",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json ; Charset=Utf-8;",
            "application/json; profile=x; charset=utf-8",
        ] {
            assert!(is_taken(content_type), "{content_type}");
        }
    }

    #[test]
    fn other_encodings_and_ambiguous_or_malformed_parameters_are_refused() {
        for content_type in [
            "application/json; charset=utf-16",
            "application/json; charset=\"iso-8859-1\"",
            "application/json; charset=",
            "application/json; charset",
            "application/json; charset=utf-8; charset=utf-16",
            "application/json; charset=utf-8; Charset=utf-8",
            "application/json; x=1; x=2",
            "application/json; charset=\"utf-8",
            "application/json; =utf-8",
            "application/json, text/plain",
            "application/jsonp",
            "text/json",
            "json",
            "",
        ] {
            assert!(!is_taken(content_type), "{content_type}");
        }
    }
}
