//! `pointsman dev`: one handler, built, installed and tried whenever its source
//! changes.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{
    Exit, input, print, run, screen,
    terminal::{out, output_failure},
    test,
};
use crate::{
    build,
    cases::{self, Runner, Subject},
    command::Command,
    config::{Config, FILE_MAX_BYTES},
    files::read_text,
    reload::parse_settings,
    sandbox::{Call, HandlerSettings, Services},
    sources::Sources,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pointsman dev                                       run the cases of the handler in this folder
  pointsman dev greet --command '{\"name\":\"Ada\"}'      run this command instead

After each change, the handler is built, checked against the contract, installed in
the plugins folder, where a running `pointsman serve` reloads it, and tested. A
build that fails is not installed. Press Ctrl-C to stop.")]
pub(super) struct Args {
    /// Source folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Run this command instead of the cases, with plugins/<name>.toml and the real
    /// clock: JSON, or `@FILE`
    #[arg(long, value_name = "JSON")]
    command: Option<String>,
    /// Do not use the network
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(args: Args, config: Config) -> anyhow::Result<Exit> {
    build::recognise(&args.dir)?;
    let command = match &args.command {
        Some(command) => {
            let text = input::command(command, config.host.command_max_bytes)?;
            Some(Command::parse(text)?)
        }
        None => None,
    };
    let runner = Runner::new(&config.runner_settings())?;
    let mut sources = Sources::new(vec![args.dir.clone()]);
    loop {
        test::clear();
        let round = round(&args, command.as_ref(), &runner, &config, &mut sources);
        if let Err(error) = round.await {
            print::error(&error);
        }
        sources.built();
        out!(
            "{}",
            print::Styled(
                print::DIM,
                format_args!(
                    "waiting for changes in {}; press Ctrl-C to stop",
                    args.dir.display()
                )
            )
        );
        if output_failure().is_some() {
            // Nobody reads what comes.
            return Ok(Exit::Succeeded);
        }
        sources.changed().await;
    }
}

/// One build, and what is done with it.
async fn round(
    args: &Args,
    command: Option<&Command>,
    runner: &Runner,
    config: &Config,
    sources: &mut Sources,
) -> anyhow::Result<()> {
    let (name, component) = test::built(&args.dir, args.offline).await?;
    let size = print::bytes(component.len() as u64);
    let subject = test::load(runner, name, &args.dir, component.clone()).await?;
    let path = build::install(&component, &config.plugins, subject.name())?;
    out!(
        "installed {} ({size})",
        print::Styled(print::BOLD, path.display())
    );
    match command {
        Some(command) => {
            let settings_path = path.with_extension("toml");
            sources.add(settings_path.clone());
            call(&subject, command.clone(), &settings_path, config).await
        }
        None => {
            let files = cases::read(&args.dir.join(cases::FOLDER), &config.handler_defaults())?;
            let progress = screen::progress(format_args!("testing `{}`", subject.name()));
            let suite = test::Suite::run(&subject, files, config, test::Writes::default()).await;
            drop(progress);
            test::show_suite(&suite);
            test::show_summary(&[suite]);
            Ok(())
        }
    }
}

/// Runs one command as the host would, whatever the rules.
async fn call(
    subject: &Subject,
    mut command: Command,
    settings_path: &Path,
    config: &Config,
) -> anyhow::Result<()> {
    let settings = match read_text(settings_path, FILE_MAX_BYTES) {
        Ok(text) => parse_settings(settings_path, &text, config)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            HandlerSettings::new(&config.handler_defaults())
        }
        Err(error) => {
            return Err(error).with_context(|| format!("{}", settings_path.display()));
        }
    };
    let handler = subject.under(settings, settings_path).await?;
    // Another command each time, as a handler sees it.
    command.id = crate::command::CommandId::generate();
    let name = handler.name.clone();
    let width = name.as_str().len();
    let started = Instant::now();
    let call = Call {
        attempt: 1,
        started,
        on_line: Some(Arc::new({
            let name = name.clone();
            move |line| run::show_line(&name, width, line)
        })),
        cancel: &CancellationToken::new(),
        simulation: None,
        services: &Services::NONE,
        depth: 0,
    };
    let report = handler.call(&command, call).await;
    run::show_report(width, &report);
    Ok(())
}
