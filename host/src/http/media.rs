//! Owns which bodies are taken for commands, or for many, by what their `Content-Type` says.

use axum::http::{HeaderMap, header};
use mime::Mime;

use super::problem::Problem;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// A JSON value.
    Json,
    /// A JSON value on each line.
    Lines,
    /// A CloudEvent in JSON.
    Event,
    /// An array of them.
    Events,
}

/// Refuses what is not `application/x-ndjson`, `application/json` or `application/…+json` in UTF-8, the only
/// encoding of JSON. Other parameters mean nothing to us, but each is there once:
/// whoever takes the first of two reads another body than who takes the last.
pub(super) fn of(headers: &HeaderMap) -> Result<Media, Problem> {
    let Some(found) = headers.get(header::CONTENT_TYPE) else {
        return Err(Problem::unsupported_media_type(None));
    };
    // What nearly all clients send.
    if found == "application/json" {
        return Ok(Media::Json);
    }
    let found = String::from_utf8_lossy(found.as_bytes());
    parse(&found)
        .filter(|media| is_utf_8(media) && has_each_parameter_once(media))
        .and_then(|media| kind(&media))
        .ok_or_else(|| Problem::unsupported_media_type(Some(&found)))
}

/// None for what is malformed.
fn parse(text: &str) -> Option<Mime> {
    // HTTP allows white space before the first `;`, and the crate does not.
    match text.split_once(';') {
        None => text.trim().parse().ok(),
        Some((essence, parameters)) => format!("{};{parameters}", essence.trim()).parse().ok(),
    }
}

fn kind(media: &Mime) -> Option<Media> {
    if media.type_() != mime::APPLICATION {
        return None;
    }
    match (media.subtype().as_str(), media.suffix()) {
        ("x-ndjson", None) => Some(Media::Lines),
        ("cloudevents", Some(suffix)) => (suffix == mime::JSON).then_some(Media::Event),
        ("cloudevents-batch", Some(suffix)) => (suffix == mime::JSON).then_some(Media::Events),
        (_, Some(suffix)) => (suffix == mime::JSON).then_some(Media::Json),
        (subtype, None) => (subtype == mime::JSON.as_str()).then_some(Media::Json),
    }
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

    fn taken(content_type: &str) -> Option<Media> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        of(&headers).ok()
    }

    #[test]
    fn json_in_utf_8_is_taken_however_it_is_written() {
        for content_type in [
            "application/json",
            "Application/JSON",
            "application/vnd.api+json",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json ; Charset=Utf-8;",
            "application/json; profile=x; charset=utf-8",
        ] {
            assert_eq!(taken(content_type), Some(Media::Json), "{content_type}");
        }
    }

    #[test]
    fn lines_and_events_are_told_from_a_command() {
        for (content_type, media) in [
            ("application/x-ndjson", Media::Lines),
            ("application/X-NDJSON; charset=utf-8", Media::Lines),
            ("application/cloudevents+json", Media::Event),
            (
                "application/cloudevents-batch+json;charset=UTF-8",
                Media::Events,
            ),
        ] {
            assert_eq!(taken(content_type), Some(media), "{content_type}");
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
            "application/cloudevents",
            "application/cloudevents+avro",
            "application/x-ndjson; charset=latin-1",
            "json",
            "",
        ] {
            assert_eq!(taken(content_type), None, "{content_type}");
        }
    }
}
