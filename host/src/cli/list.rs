//! `pointsman list`: what is loaded, what is not, and why.

use super::{
    Exit, print,
    remote::Server,
    terminal::{self, out},
    warn_of,
};
use crate::{
    config::Config,
    diagnostic::Severity,
    host::Host,
    name::HandlerName,
    snapshot::{FileState, HandlerView, HandlersView},
    text,
};

/// What a version takes of a line.
const VERSION_MAX_BYTES: usize = 64;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Loads the folders as a server would. With --url, shows what a running server has
loaded, including handlers whose circuit breaker is open.

Examples:
  pointsman list
  pointsman list --url http://127.0.0.1:3000

Exit codes: 0 all files are loaded, 1 a file is broken.")]
pub(super) struct Args {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(args: Args, config: Config) -> anyhow::Result<Exit> {
    let view = match args.server.remote() {
        Some(host) => host.get("/plugins").await?,
        None => Host::load(config).await?.snapshot().handlers_view(),
    };
    let HandlersView {
        handlers, problems, ..
    } = &view;
    if args.json {
        terminal::json(&view)?;
    } else {
        table(handlers);
        secrets(handlers);
        warn_of(problems);
    }
    // Broken rule files too are among the problems.
    let broken = problems
        .iter()
        .any(|problem| problem.severity() == Severity::Error)
        || handlers
            .iter()
            .any(|handler| !matches!(handler.state, FileState::Loaded | FileState::Compiling));
    Ok(if broken {
        Exit::Failed
    } else {
        Exit::Succeeded
    })
}

/// Says of each secret who sees it.
fn secrets(handlers: &[HandlerView]) {
    for view in handlers.iter().filter(|it| !it.secrets.is_empty()) {
        let name = view.handler.as_ref().map_or("-", HandlerName::as_str);
        for secret in &view.secrets {
            let key = text::escaped(&secret.name);
            match &secret.injected_into {
                Some(to) => {
                    let to = to.strip_prefix("* ").unwrap_or(to);
                    out!(
                        "`{name}`: secret `{key}` is added to requests to {}",
                        text::escaped(to)
                    );
                }
                None => out!("`{name}`: secret `{key}` is readable by the handler"),
            }
        }
    }
}

fn table(handlers: &[HandlerView]) {
    let name = |view: &HandlerView| {
        view.handler.as_ref().map_or_else(
            || text::escaped(&view.file).to_string(),
            ToString::to_string,
        )
    };
    let names: Vec<_> = handlers.iter().map(name).collect();
    let width = names
        .iter()
        .map(String::len)
        .max()
        .unwrap_or(0)
        .max("HANDLER".len());
    out!(
        "{}",
        print::Styled(
            print::BOLD,
            format_args!(
                "{:width$}  {:7}  {:12}  {:>9}  {:11}  RULES",
                "HANDLER", "VERSION", "DIGEST", "SIZE", "STATE"
            )
        )
    );
    for (view, name) in handlers.iter().zip(&names) {
        out!(
            "{:width$}  {:7}  {:12}  {:>9}  {:11}  {}",
            print::handler(name),
            // As long as the component's author likes.
            text::bounded(view.version.as_deref().unwrap_or("-"), VERSION_MAX_BYTES),
            view.digest.as_deref().map_or("-", |digest| {
                // That of another host may be anything.
                digest.get(..12).unwrap_or(digest)
            }),
            view.size_bytes.map_or_else(|| "-".into(), print::bytes),
            print::state(view),
            if view.rules.is_empty() {
                "-".into()
            } else {
                view.rules.join(", ")
            },
        );
    }
}
