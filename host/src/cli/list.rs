//! `pointsman list`: what is loaded, what is not, and why.

use anstream::println;

use super::{Exit, print, warn_of};
use crate::{
    app::App,
    config::Config,
    snapshot::{FileState, PluginView},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 all files are in use, 1 some file is broken.")]
pub(super) struct Args {
    /// Print it as one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, config: Config) -> anyhow::Result<Exit> {
    let app = App::start(config).await?;
    let snapshot = app.snapshot();
    let view = snapshot.plugins_view();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&view)?);
    } else {
        table(&view.plugins);
        warn_of(&view.problems);
    }
    let broken = |state| state != FileState::Loaded;
    let rules_broken = snapshot.rule_files.iter().any(|file| broken(file.state()));
    let failed = rules_broken || view.plugins.iter().any(|plugin| broken(plugin.state));
    Ok(if failed {
        Exit::Failed
    } else {
        Exit::Succeeded
    })
}

fn table(plugins: &[PluginView]) {
    let name = |plugin: &PluginView| {
        plugin
            .handler
            .as_ref()
            .map_or_else(|| plugin.file.clone(), ToString::to_string)
    };
    let names: Vec<_> = plugins.iter().map(name).collect();
    let width = names
        .iter()
        .map(String::len)
        .max()
        .unwrap_or(0)
        .max("HANDLER".len());
    println!(
        "{}",
        print::Styled(
            print::BOLD,
            format_args!(
                "{:width$}  {:7}  {:12}  {:>9}  {:6}  RULES",
                "HANDLER", "VERSION", "DIGEST", "SIZE", "STATE"
            )
        )
    );
    for (plugin, name) in plugins.iter().zip(&names) {
        println!(
            "{:width$}  {:7}  {:12}  {:>9}  {:6}  {}",
            print::handler(name),
            plugin.version.as_deref().unwrap_or("-"),
            plugin.digest.as_deref().map_or("-", |digest| &digest[..12]),
            plugin.size_bytes.map_or_else(|| "-".into(), print::bytes),
            print::state(plugin.state),
            if plugin.rules.is_empty() {
                "-".into()
            } else {
                plugin.rules.join(", ")
            },
        );
    }
}
