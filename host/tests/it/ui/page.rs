//! One page of the dashboard, as it came.

use regex::Regex;
use reqwest::{Client, StatusCode, header::HeaderMap, redirect::Policy};

/// Those that need no command.
pub(crate) const PAGES: [&str; 8] = [
    "/ui",
    "/ui/commands",
    "/ui/queue",
    "/ui/dead",
    "/ui/schedules",
    "/ui/handlers",
    "/ui/rules",
    "/ui/explain",
];

#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

fn client() -> Client {
    Client::builder().redirect(Policy::none()).build().unwrap()
}

impl Page {
    pub(crate) async fn get(url: &str, path: &str) -> Self {
        Self::of(client().get(format!("{url}{path}"))).await
    }

    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        Self {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    /// Sends a form with the fields of this page's own that are not shown.
    pub(crate) async fn post(&self, url: &str, path: &str, fields: &[(&str, &str)]) -> Self {
        let csrf = self.csrf();
        Self::send(url, path, &[fields, &[("csrf", &csrf)]].concat()).await
    }

    /// Sends a form as it is.
    pub(crate) async fn send(url: &str, path: &str, fields: &[(&str, &str)]) -> Self {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = client().post(format!("{url}{path}"));
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        Self::of(request.body(body)).await
    }

    /// The token in the first form of the page.
    pub(crate) fn csrf(&self) -> String {
        self.between(r#"name="csrf" value=""#, "\"").to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .unwrap_or_else(|| panic!("no `{name}`"))
            .to_str()
            .unwrap()
    }

    pub(crate) fn count(&self, text: &str) -> usize {
        self.text.matches(text).count()
    }

    pub(crate) fn between(&self, before: &str, after: &str) -> &str {
        let rest = self
            .text
            .split_once(before)
            .unwrap_or_else(|| panic!("no {before}: {}", self.text))
            .1;
        rest.split_once(after).unwrap().0
    }

    /// The ids of the commands in a list, in its order.
    pub(crate) fn ids(&self) -> Vec<String> {
        let link = Regex::new(r#"<a class="id" href="/ui/commands/([0-9a-f-]{36})"#).unwrap();
        let found = link.captures_iter(&self.text);
        found.map(|found| found[1].to_owned()).collect()
    }

    /// Nothing in it runs or styles by itself, all of its elements are ours, and
    /// no character of it moves what is around it.
    pub(crate) fn assert_plain(&self, of: &str) {
        let inline = Regex::new(r#"<[a-z][^>]*\s(style|on[a-z]+)\s*="#).unwrap();
        let strings = Regex::new(r#""[^"]*""#).unwrap();
        let without = strings.replace_all(&self.text, "\"\"");
        assert!(!inline.is_match(&without), "{of}: {}", self.text);
        assert_eq!(self.count("<script"), 1, "{of}");
        assert_eq!(
            self.count(r#"<script src="/ui/script.js" defer>"#),
            1,
            "{of}"
        );
        for element in [
            "<style",
            "<iframe",
            "<img",
            "<object",
            "<base",
            "<b>",
            "=\"javascript:",
        ] {
            assert_eq!(self.count(element), 0, "{of}: {element}: {}", self.text);
        }
        for c in self.text.chars() {
            let is_safe = matches!(c, '\n' | '\t')
                || !c.is_control()
                    && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            assert!(is_safe, "{of}: {c:?}");
        }
    }
}
