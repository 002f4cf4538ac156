//! Sends HTTP requests with the SDK, as the command's `way` says, to its `url`.

use std::time::Duration;

use pointsman_sdk::{
    Command, Failure, Handler, Value, export,
    http::{self, ErrorKind, Request},
    json, serde_json,
};

struct Asks;

impl Handler for Asks {
    fn handle(command: Command) -> Result<Option<Value>, Failure> {
        let url: String = command.field("url")?;
        let way: String = command.field("way")?;
        let to = |path: &str| format!("{url}/{path}");
        let answer = match way.as_str() {
            "both" => {
                let [one, two] = http::send_all([
                    Request::get(to("both")),
                    Request::post(to("both")).json(&json!({ "a": 1 })),
                ]);
                json!([one?.json::<Value>()?, two?.json::<Value>()?])
            }
            "missing" => json!(http::get(to("missing"))?.status()),
            "caught" => match http::get(to("broken")) {
                Err(error) if error.kind() == ErrorKind::Failed => json!("caught"),
                other => json!(format!("{other:?}")),
            },
            "uncaught" => json!(http::get(to("broken"))?.text()),
            "ended" => {
                let never = Request::get(to("never")).timeout(Duration::from_millis(10));
                let [never, other] = http::send_all([never, Request::get(to("missing"))]);
                json!([
                    never.unwrap_err().kind() == ErrorKind::Timeout,
                    other?.status()
                ])
            }
            "text" => {
                let request = Request::get(url).timeout(Duration::from_secs(10));
                json!(request.send()?.text())
            }
            "follow" => {
                let request = Request::post(url).header("authorization", "hunter2");
                let request = request.header("content-type", "text/plain").body("end");
                let response = request.follow_redirects(3).send()?;
                json!([response.status(), response.url(), response.text()])
            }
            "status" => json!(http::get(to("missing"))?.error_for_status()?.text()),
            "config" => json!(pointsman_sdk::config(&command.field::<String>("key")?)),
            // One after the other, as often as the command says.
            "one-by-one" => {
                for _ in 0..command.field::<u32>("times")? {
                    let body: Value = http::get(&url)?.json()?;
                    if body["name"] != "Ada" {
                        return Err(Failure::rejected(body.to_string()));
                    }
                }
                json!("done")
            }
            // As the command says, in one request; its body and headers, or what kind of error.
            "request" => return request(&command, &url),
            other => return Err(Failure::rejected(format!("no way `{other}`"))),
        };
        Ok(Some(answer))
    }
}

fn request(command: &Command, url: &str) -> Result<Option<Value>, Failure> {
    let method: Option<String> = command.optional_field("method")?;
    let headers: Option<serde_json::Map<String, Value>> = command.optional_field("headers")?;
    let body: Option<String> = command.optional_field("body")?;
    let times: Option<usize> = command.optional_field("times")?;
    let mut request = Request::new(method.as_deref().unwrap_or("GET"), url);
    for (name, value) in headers.unwrap_or_default() {
        request = request.header(name, value.as_str().unwrap_or_default());
    }
    if let Some(body) = body {
        request = request.body(body);
    }
    let results = http::send_each(vec![request; times.unwrap_or(1)]);
    let shown = results.into_iter().map(|result| match result {
        Ok(response) => json!({ "status": response.status(), "text": response.text() }),
        Err(error) => {
            json!({ "error": format!("{:?}", error.kind()), "message": error.to_string() })
        }
    });
    Ok(Some(shown.collect()))
}

export!(Asks);
