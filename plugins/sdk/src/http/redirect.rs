//! The request that a redirect leads to, as in browsers.

use super::{Error, ErrorKind, Request, Response, target::Target};

/// The maximum number of redirects per request: a longer chain is usually endless.
pub(super) const REDIRECTS_MAX: u32 = 10;

/// Headers that identify the sender; they are not sent to another origin.
const CREDENTIALS: [&str; 2] = ["authorization", "cookie"];

/// Headers that describe the body, and are removed along with it.
const OF_BODY: [&str; 5] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-type",
];

impl Request {
    /// Returns the request to send next if `response` is a redirect that is to be
    /// followed.
    ///
    /// # Errors
    /// If it leads to a URL that is not http or https, or if there are too many.
    pub(super) fn redirected(&self, response: &Response) -> Result<Option<Self>, Error> {
        let redirects = matches!(response.status, 301 | 302 | 303 | 307 | 308);
        let Some(location) = response.header("location").filter(|_| redirects) else {
            return Ok(None);
        };
        if self.redirects_max == 0 {
            return Ok(None);
        }
        let wrong = |reason: String| Error::new(ErrorKind::Redirect, &self.url, reason);
        if self.redirects == self.redirects_max {
            return Err(wrong(format!("more than {} redirects", self.redirects_max)));
        }
        let leads = |reason| wrong(format!("redirects to what cannot be requested: {reason}"));
        let from = Target::parse(&self.url).map_err(leads)?;
        let url = from.join(location);
        let to = Target::parse(&url).map_err(leads)?;
        let same_origin = from.origin() == to.origin();
        let becomes_get = match response.status {
            303 => !["GET", "HEAD"].contains(&self.method.as_str()),
            301 | 302 => self.method == "POST",
            _ => false,
        };
        let is_in = |list: &[&str], name: &str| list.iter().any(|it| it.eq_ignore_ascii_case(name));
        let mut next = self.clone();
        next.headers.retain(|(name, _)| {
            (same_origin || !is_in(&CREDENTIALS, name)) && (!becomes_get || !is_in(&OF_BODY, name))
        });
        if becomes_get {
            next.method = "GET".into();
            next.body = None;
        }
        next.redirects += 1;
        next.url = url;
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, location: &str) -> Response {
        Response {
            url: String::new(),
            status,
            headers: vec![("location".into(), location.into())],
            body: Vec::new(),
        }
    }

    fn post() -> Request {
        Request::post("https://a.example/b/c?d")
            .header("Authorization", "hunter2")
            .header("cookie", "hunter2")
            .header("x", "y")
            .json(&1)
            .follow_redirects(3)
    }

    #[test]
    fn a_post_becomes_a_get_where_browsers_have_it() {
        for (status, method, body) in [
            (301, "GET", None),
            (302, "GET", None),
            (303, "GET", None),
            (307, "POST", Some(&b"1"[..])),
            (308, "POST", Some(&b"1"[..])),
        ] {
            let next = post().redirected(&response(status, "e")).unwrap().unwrap();
            assert_eq!(next.url, "https://a.example/b/e");
            assert_eq!((next.method.as_str(), next.body.as_deref()), (method, body));
            let typed = next.headers.iter().any(|(name, _)| name == "content-type");
            assert_eq!(typed, body.is_some(), "{status}");
        }
        let put = Request::put("http://a.example").follow_redirects(1);
        let next = put.redirected(&response(301, "/")).unwrap().unwrap();
        assert_eq!(next.method, "PUT");
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        for (location, stay) in [
            ("/other", true),
            ("https://a.example:443/other", true),
            ("//A.example", true),
            ("https://a.example:444/", false),
            ("http://a.example/", false),
            ("https://b.example/", false),
            ("//a.example.b.example/", false),
        ] {
            let next = post().redirected(&response(307, location)).unwrap();
            let headers = next.unwrap().headers;
            let secret = headers.iter().any(|(_, value)| value == b"hunter2");
            assert_eq!(secret, stay, "{location}");
            assert!(headers.iter().any(|(name, _)| name == "x"));
        }
    }

    #[test]
    fn only_so_many_are_followed_and_none_unless_asked_for() {
        let mut request = post();
        for _ in 0..3 {
            request = request.redirected(&response(302, "/")).unwrap().unwrap();
        }
        let error = request.redirected(&response(302, "/")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Redirect);
        assert!(
            error.to_string().contains("more than 3 redirects"),
            "{error}"
        );
        let request = Request::get("http://a.example");
        assert!(request.redirected(&response(302, "/")).unwrap().is_none());
        let request = post().follow_redirects(1_000);
        assert_eq!(request.redirects_max, REDIRECTS_MAX);
        assert!(request.redirected(&response(304, "/")).unwrap().is_none());
    }

    #[test]
    fn a_redirect_to_what_is_no_url_is_an_error() {
        for location in [
            "ftp://a.example",
            "http://u:p@a.example/",
            "http://",
            "javascript:1",
            "a b",
        ] {
            let redirected = post().redirected(&response(302, location));
            assert!(redirected.is_err(), "{location}: {redirected:?}");
        }
    }
}
