//! Owns the reading of the requests that a case expects.

use http::{HeaderName, HeaderValue, Method, Uri, header::CONTENT_TYPE};
use pointsman_core::{
    json::{Member, Node, NodeValue},
    source::excerpt,
};
use pointsman_sandbox::{Received, RequestFailure};

use super::fields::{Read, Reader, find};
use crate::cases::requests::{ExpectedBody, ExpectedRequest, KEY};

const REQUEST_KEYS: [&str; 7] = [
    "body", "delay_ms", "fails", "headers", "json", "request", "response",
];
const RESPONSE_KEYS: [&str; 4] = ["body", "headers", "json", "status"];

impl Reader<'_, '_> {
    pub(super) fn requests(&self, node: &Node<'_>) -> Read<Vec<ExpectedRequest>> {
        let NodeValue::Array(items) = &node.value else {
            return Err(self.wrong_kind(node, &format!("`{KEY}`"), "an array"));
        };
        items
            .iter()
            .map(|item| self.expected_request(item))
            .collect()
    }

    fn expected_request(&self, node: &Node<'_>) -> Read<ExpectedRequest> {
        let members = self.object(node, "a request", &REQUEST_KEYS)?;
        let Some(line) = find(members, "request") else {
            let hint = r#"write it as `{ "request": "GET https://api.example.com/v1/rates" }`"#;
            let message = "a request needs its `request`: the method and the URL";
            let error = self
                .source
                .error_with_hint(node.at, "missing-key", message, hint);
            return Err(error);
        };
        let (method, url) = self.line_of_request(line)?;
        let delay_ms = find(members, "delay_ms")
            .map(|node| self.number(node, "`delay_ms`"))
            .transpose()?;
        let headers = self.headers(members)?.into_iter();
        Ok(ExpectedRequest {
            method,
            url,
            headers: headers.map(|(name, _, text)| (name, text)).collect(),
            body: self.body(members)?,
            delay_ms: delay_ms.unwrap_or(0),
            received: self.received(members)?,
        })
    }

    fn line_of_request(&self, node: &Node<'_>) -> Read<(Method, Uri)> {
        let text = self.text(node, "`request`")?;
        let parsed = text.split_once(' ').and_then(|(method, url)| {
            let url: Uri = url.parse().ok()?;
            let is_url = ["http", "https"].contains(&url.scheme_str()?) && url.host().is_some();
            Some((Method::from_bytes(method.as_bytes()).ok()?, url)).filter(|_| is_url)
        });
        parsed.ok_or_else(|| {
            let message = format!("`{}` is not a method and a URL", excerpt(text));
            let hint = "write it as `GET https://api.example.com/v1/rates?base=EUR`";
            self.source
                .error_with_hint(node.at, "invalid-request", message, hint)
        })
    }

    fn received(&self, members: &[Member<'_>]) -> Read<Received> {
        let failure = match find(members, "fails") {
            None => None,
            Some(node) => {
                let names = RequestFailure::ALL.map(|failure| failure.name());
                Some(RequestFailure::ALL[self.one_of(node, "`fails`", &names)?])
            }
        };
        match (find(members, "response"), failure) {
            (None, Some(failure)) => Ok(Received::Failure(failure)),
            (None, None) => Ok(Received::Response(http::Response::default(), None)),
            (Some(node), failure) => Ok(Received::Response(self.response(node)?, failure)),
        }
    }

    fn response(&self, node: &Node<'_>) -> Read<http::Response<Vec<u8>>> {
        let members = self.object(node, "a response", &RESPONSE_KEYS)?;
        let mut response = http::Response::default();
        if let Some(node) = find(members, "status") {
            let status = u16::try_from(self.number(node, "`status`")?).ok();
            let status = status.and_then(|status| status.try_into().ok());
            let wrong = || self.wrong_kind(node, "`status`", "a number from 100 to 999");
            *response.status_mut() = status.ok_or_else(wrong)?;
        }
        let body = self.body(members)?;
        if let Some(ExpectedBody::Json(_)) = body {
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
        }
        for (name, value, _) in self.headers(members)? {
            response.headers_mut().insert(name, value);
        }
        *response.body_mut() = match body {
            None => Vec::new(),
            Some(ExpectedBody::Json(text) | ExpectedBody::Text(text)) => text.into(),
        };
        Ok(response)
    }

    /// `json`, or `body` as a text.
    fn body(&self, members: &[Member<'_>]) -> Read<Option<ExpectedBody>> {
        match (find(members, "json"), find(members, "body")) {
            (Some(_), Some(node)) => {
                let message = "a body is `json` or `body`, not both";
                Err(self.source.error(node.at, "both", message))
            }
            (Some(node), None) => {
                let text = self.source.text[node.at..node.end].to_owned();
                Ok(Some(ExpectedBody::Json(text)))
            }
            (None, Some(node)) => {
                let text = self.text(node, "`body`")?;
                Ok(Some(ExpectedBody::Text(text.to_owned())))
            }
            (None, None) => Ok(None),
        }
    }

    /// `headers`, with each value as it stands in the file.
    fn headers(&self, members: &[Member<'_>]) -> Read<Vec<(HeaderName, HeaderValue, String)>> {
        let Some(node) = find(members, "headers") else {
            return Ok(Vec::new());
        };
        let NodeValue::Object(members) = &node.value else {
            return Err(self.wrong_kind(node, "`headers`", "an object"));
        };
        let mut headers = Vec::new();
        for member in members {
            let text = self.text(&member.value, "a header")?;
            let wrong = |at, what: &str| {
                let message = format!("{what} of header `{}` is not valid", excerpt(&member.key));
                self.source.error(at, "invalid-header", message)
            };
            let name = HeaderName::from_bytes(member.key.as_bytes());
            let name = name.map_err(|_| wrong(member.key_at, "the name"))?;
            let value = HeaderValue::from_str(text);
            let value = value.map_err(|_| wrong(member.value.at, "the value"))?;
            headers.push((name, value, text.to_owned()));
        }
        Ok(headers)
    }
}
