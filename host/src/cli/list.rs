//! `pointsman list`: what is loaded, what is not, and why.

use super::{
    Exit,
    print::{self, PLAIN, Styled},
    remote::Server,
    screen,
    table::{self, Column, Gives},
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
    let progress = screen::progress("loading handlers and rules");
    let view = match args.server.remote()? {
        Some(host) => host.get("/plugins").await?,
        None => Host::load(config).await?.snapshot().handlers_view(),
    };
    drop(progress);
    let HandlersView {
        handlers, problems, ..
    } = &view;
    if args.json {
        terminal::json(&view)?;
    } else {
        let rows: Vec<_> = handlers.iter().map(row).collect();
        table::print(COLUMNS, &rows, screen::output_width());
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

/// In a narrow terminal the rules are shortened, and what says which file it is goes first.
const COLUMNS: &[Column] = &[
    column("HANDLER", Gives::Nothing),
    column("VERSION", Gives::All(1)),
    column("DIGEST", Gives::All(0)),
    Column {
        is_number: true,
        ..column("SIZE", Gives::All(2))
    },
    column("STATE", Gives::Nothing),
    column("RULES", Gives::Some),
];

const fn column(title: &'static str, gives: Gives) -> Column {
    Column {
        title,
        is_number: false,
        gives,
    }
}

fn row(view: &HandlerView) -> Vec<Styled<String>> {
    let name = view.handler.as_ref().map_or_else(
        || text::escaped(&view.file).to_string(),
        ToString::to_string,
    );
    // As long as the component's author likes.
    let version = text::bounded(view.version.as_deref().unwrap_or("-"), VERSION_MAX_BYTES);
    // That of another host may be anything.
    let digest = view
        .digest
        .as_deref()
        .map_or("-", |digest| digest.get(..12).unwrap_or(digest));
    let size = view.size_bytes.map_or_else(|| "-".into(), print::bytes);
    let Styled(state_style, state) = print::state(view);
    let rules = match view.rules.is_empty() {
        true => "-".into(),
        false => view.rules.join(", "),
    };
    vec![
        print::handler(name),
        Styled(PLAIN, version.to_string()),
        Styled(PLAIN, digest.to_owned()),
        Styled(PLAIN, size),
        Styled(state_style, state.to_owned()),
        Styled(PLAIN, rules),
    ]
}
