//! Owns the one table of routes: what each is called, which parameters it knows, who
//! may use it and whether the audit log tells of it.

use axum::http::Method;

use crate::access::{Role, Roles};

/// What a caller needs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Needs {
    /// Nothing, not even a token: probes.
    Nothing,
    /// A token.
    Token,
    /// A token with one of these roles.
    OneOf(&'static [Role]),
}

impl Needs {
    pub(super) fn allows(self, roles: Roles) -> bool {
        match self {
            Self::Nothing | Self::Token => true,
            Self::OneOf(some) => some.iter().any(|role| roles.has(*role)),
        }
    }

    /// The role to ask for, as `execute or read`.
    pub(super) fn text(self) -> String {
        match self {
            Self::Nothing | Self::Token => String::new(),
            Self::OneOf(some) => {
                let names: Vec<_> = some.iter().map(|role| role.as_str()).collect();
                names.join(" or ")
            }
        }
    }
}

const EXECUTE: Needs = Needs::OneOf(&[Role::Execute]);
const READ: Needs = Needs::OneOf(&[Role::Read]);
const ADMIN: Needs = Needs::OneOf(&[Role::Admin]);
/// Whoever sent a command knows its id, which nobody guesses.
const EXECUTE_OR_READ: Needs = Needs::OneOf(&[Role::Execute, Role::Read]);

/// One route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    /// As axum matches it.
    pub(super) path: &'static str,
    /// The parameters behind `?` that it knows.
    pub(super) parameters: &'static [&'static str],
    pub(super) needs: Needs,
    /// What the audit log calls it; none for what changes nothing.
    pub(super) action: Option<&'static str>,
}

const fn get(path: &'static str, needs: Needs, parameters: &'static [&'static str]) -> Route {
    Route {
        method: "GET",
        path,
        parameters,
        needs,
        action: None,
    }
}

const fn post(path: &'static str, needs: Needs, parameters: &'static [&'static str]) -> Route {
    Route {
        method: "POST",
        ..get(path, needs, parameters)
    }
}

impl Route {
    const fn audited(self, action: &'static str) -> Self {
        Self {
            action: Some(action),
            ..self
        }
    }
}

const DEAD: &[&str] = &["delivery", "handler", "status", "from", "until", "all"];

/// Every route, those that are asked for most first.
pub(super) const ROUTES: &[Route] = &[
    get("/", Needs::Token, &[]),
    post("/commands/execute", EXECUTE, &[]).audited("execute"),
    post("/rules/explain", READ, &[]),
    post(
        "/commands",
        EXECUTE,
        &[
            "priority",
            "runAt",
            "orderingKey",
            "rerunOf",
            "dedup",
            "mode",
            "ttl",
        ],
    )
    .audited("enqueue"),
    get(
        "/commands",
        READ,
        &["state", "handler", "from", "until", "after", "limit"],
    ),
    get("/commands/{id}", EXECUTE_OR_READ, &["wait"]),
    Route {
        method: "DELETE",
        ..get("/commands/{id}", ADMIN, &[]).audited("cancel")
    },
    get("/commands/{id}/events", EXECUTE_OR_READ, &[]),
    get("/queue", READ, &[]),
    get(
        "/queue/history",
        READ,
        &["handler", "from", "until", "step"],
    ),
    get("/queue/deliveries/{id}", READ, &[]),
    get(
        "/queue/dead",
        READ,
        &[
            "delivery", "handler", "status", "from", "until", "after", "limit",
        ],
    ),
    post("/queue/dead/retry", ADMIN, DEAD).audited("retry"),
    post("/queue/dead/discard", ADMIN, DEAD).audited("discard"),
    post(
        "/queue/pause",
        ADMIN,
        &["handler", "all", "reason", "by", "for"],
    )
    .audited("pause"),
    post("/queue/resume", ADMIN, &["handler", "all"]).audited("resume"),
    get("/schedules", READ, &["after", "limit"]),
    post("/schedules/{name}/pause", ADMIN, &[]).audited("pause"),
    post("/schedules/{name}/resume", ADMIN, &[]).audited("resume"),
    post("/schedules/{name}/run", ADMIN, &[]).audited("enqueue"),
    get("/plugins", READ, &[]),
    get("/rules", READ, &[]),
    get("/metrics", READ, &[]),
    get("/healthz", Needs::Nothing, &[]),
    get("/readyz", Needs::Nothing, &[]),
    get("/ui", READ, &["span"]),
    get(
        "/ui/commands",
        READ,
        &["q", "state", "handler", "from", "until", "after"],
    ),
    get("/ui/commands/{id}", READ, &[]),
    post("/ui/commands/{id}/cancel", ADMIN, &[]).audited("cancel"),
    post("/ui/commands/{id}/rerun", EXECUTE, &[]).audited("enqueue"),
    get("/ui/queue", READ, &[]),
    post("/ui/queue/pause", ADMIN, &[]).audited("pause"),
    post("/ui/queue/resume", ADMIN, &[]).audited("resume"),
    get(
        "/ui/dead",
        READ,
        &[
            "handler",
            "status",
            "from",
            "until",
            "after",
            "retried",
            "discarded",
        ],
    ),
    post("/ui/dead/retry", ADMIN, &[]).audited("retry"),
    post("/ui/dead/discard", ADMIN, &[]).audited("discard"),
    get("/ui/schedules", READ, &["after"]),
    post("/ui/schedules/{name}/pause", ADMIN, &[]).audited("pause"),
    post("/ui/schedules/{name}/resume", ADMIN, &[]).audited("resume"),
    post("/ui/schedules/{name}/run", ADMIN, &[]).audited("enqueue"),
    get("/ui/handlers", READ, &[]),
    get("/ui/rules", READ, &["q", "after"]),
    get("/ui/explain", READ, &["command"]),
    post("/ui/explain", READ, &[]),
    get("/ui/login", Needs::Nothing, &["to"]),
    post("/ui/login", Needs::Nothing, &[]),
    post("/ui/logout", Needs::Nothing, &[]),
    get("/ui/style.css", Needs::Nothing, &[]),
    get("/ui/script.js", Needs::Nothing, &[]),
];

/// The route that a request has matched; none for a method that its path does not take.
pub(super) fn find(method: &Method, path: &str) -> Option<&'static Route> {
    let method = match *method {
        Method::HEAD => "GET",
        ref method => method.as_str(),
    };
    ROUTES
        .iter()
        .find(|route| route.method == method && route.path == path)
}

/// Whether everyone may ask for this path, as it stands in a request.
pub(super) fn is_open(path: &str) -> bool {
    ROUTES
        .iter()
        .any(|route| matches!(route.needs, Needs::Nothing) && route.path == path)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// The routes in a source file, as `GET /path`.
    fn routes_in(text: &str, found: &mut BTreeSet<String>) {
        let method = regex::Regex::new(r"\b(get|post|put|patch|delete|any)\(").unwrap();
        for part in text.split(".route(").skip(1) {
            let mut depth = 1;
            let end = part.find(|it| {
                match it {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                depth == 0
            });
            let (path, handlers) = part[..end.unwrap()].split_once(',').unwrap();
            for handler in method.captures_iter(handlers) {
                let path = path.trim().trim_matches('"');
                found.insert(format!("{} {path}", handler[1].to_uppercase()));
            }
        }
    }

    #[test]
    fn every_route_of_the_router_is_in_the_table_that_guards_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = vec![folder.join("http.rs")];
        let mut folders = vec![folder.join("http")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let list = if path.is_dir() {
                    &mut folders
                } else {
                    &mut files
                };
                list.push(path);
            }
        }
        let mut routed = BTreeSet::new();
        for file in files.iter().filter(|it| !it.ends_with("routes.rs")) {
            let Ok(text) = fs::read_to_string(file) else {
                continue;
            };
            routes_in(&text, &mut routed);
        }
        let table: BTreeSet<_> = ROUTES
            .iter()
            .map(|route| format!("{} {}", route.method, route.path))
            .collect();
        assert_eq!(routed, table);
    }
}
