//! Owns the command line: the flags that all subcommands share, the way from
//! them to a [`Config`], and the exit codes. One file a subcommand.

mod build;
mod check;
mod check_files;
mod dev;
mod enqueue;
mod explain;
mod kept;
mod list;
mod log_fields;
mod new;
mod print;
mod queue;
mod remote;
mod rules;
mod run;
mod serve;
mod terminal;
mod test;

use std::{
    ffi::OsString,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anstream::ColorChoice;
use anyhow::{Context, anyhow};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{
    app::App,
    config::{Config, ENV_PREFIX},
    plugin::{COMPILE_SUBCOMMAND, compile_component},
    queue::{Queue, QueueError},
    text::escaped,
};

/// How a run ended, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    /// All handlers succeeded.
    Succeeded = 0,
    /// Some handler did not succeed, some file is broken, or standard output
    /// could not be written.
    Failed = 1,
    /// Bad usage, a bad setting or a bad command: nothing ran.
    Usage = 2,
    /// No handler matched.
    NoMatch = 3,
}

const SETTINGS_FILE: &str = "pointsman.toml";

/// Routes JSON commands to sandboxed WebAssembly handlers
#[derive(Debug, Parser)]
#[command(
    name = "pointsman",
    version,
    after_help = "\
Examples:
  pointsman build                                build all handlers below plugins/
  pointsman run '{\"requestType\":\"CreatePolicy\"}'   run one command and show what happens
  pointsman serve                                take commands on http://127.0.0.1:3000
  pointsman list                                 show handlers, their rules and what is broken

Settings come, in rising order, from pointsman.toml, POINTSMAN_* variables and flags.

Exit codes: 0 all succeeded, 1 some handler did not, 2 bad usage or bad command,
3 no handler matched."
)]
struct Cli {
    /// The settings file [default: pointsman.toml, where there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder with the components [default: plugins]
    #[arg(long, global = true, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// The folder with the rule files [default: rules]
    #[arg(long, global = true, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Any other setting, such as limits.timeout_ms=500
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// When to colour what is printed
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    color: Color,
    /// What the host logs: a level, or filters as in RUST_LOG
    #[arg(long, global = true, value_name = "FILTER", env = "RUST_LOG")]
    log: Option<String>,
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// Run one command and show what its handlers do
    Run(run::Args),
    /// Keep one command in the queue, for a host that serves
    Enqueue(enqueue::Args),
    /// Show the queue; cancel commands, retry or discard what lies in its dead letter
    Queue(queue::Args),
    /// Take commands over HTTP, and changed files while running
    Serve(serve::Args),
    /// Write the source folder of a new handler
    New(new::Args),
    /// Build handlers from source and install them
    Build(build::Args),
    /// Build, install and test a handler again whenever its source changes
    Dev(dev::Args),
    /// Run the cases of handlers against their components
    Test(test::Args),
    /// Show handlers, their rules and what is broken
    List(list::Args),
    /// Test and lint the rules against the loaded handlers, or check components
    Check(check::Args),
    /// Show why each rule did or did not fire for a command
    Explain(explain::Args),
    /// Compare two versions of the rules
    Rules(rules::Args),
    /// Print the contract between host and handler
    #[command(after_help = "Example:\n  pointsman wit > wit/handler.wit")]
    Wit,
    /// Print the completion script of a shell
    #[command(
        after_help = "Example:\n  pointsman completions bash > /etc/bash_completion.d/pointsman"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Compile one component within limits, for the host that started this process
    #[command(name = COMPILE_SUBCOMMAND, hide = true)]
    CompileComponent {
        /// What to do, as JSON
        job: String,
    },
}

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Arguments may be names of files, which others choose; clap escapes nothing.
            let is_plain = |argument: OsString| {
                let shown = argument.to_string_lossy();
                escaped(&shown).to_string() == shown
            };
            if !error.use_stderr() || std::env::args_os().all(is_plain) {
                error.exit();
            }
            terminal::err_lines!(2, "{}", error.render());
            return ExitCode::from(Exit::Usage as u8);
        }
    };
    if let Cmd::CompileComponent { job } = &cli.command {
        return match compile_component(job, io::stdin().lock()) {
            Ok(answer) => {
                terminal::raw(answer.as_bytes());
                ExitCode::SUCCESS
            }
            Err(error) => {
                terminal::err!("error: {error}");
                ExitCode::from(Exit::Usage as u8)
            }
        };
    }
    match cli.color {
        Color::Auto => {}
        Color::Always => ColorChoice::Always.write_global(),
        Color::Never => ColorChoice::Never.write_global(),
    }
    let exit = cli.run().unwrap_or_else(|error| {
        print::error(&error);
        Exit::Usage
    });
    match terminal::output_failure() {
        Some(failure) if exit == Exit::Succeeded => {
            print::error(&anyhow::anyhow!(
                "standard output cannot be written: {failure}"
            ));
            ExitCode::from(Exit::Failed as u8)
        }
        _ => ExitCode::from(exit as u8),
    }
}

impl Cli {
    fn run(self) -> anyhow::Result<Exit> {
        if let Cmd::Completions { shell } = self.command {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Self::command(), "pointsman", &mut script);
            terminal::raw(&script);
            return Ok(Exit::Succeeded);
        }
        let mut config = self.config()?;
        if let Cmd::Serve(args) = &self.command {
            args.apply(&mut config);
        }
        let default_log = if matches!(self.command, Cmd::Serve(_)) {
            "info"
        } else {
            "warn"
        };
        let log = self.log.as_deref().unwrap_or(default_log);
        let filter = match log.parse::<LevelFilter>() {
            // A bare level is ours: the compiler alone writes thousands of lines at `debug`.
            Ok(level) if level > LevelFilter::INFO => format!("info,pointsman={level}"),
            _ => log.to_owned(),
        };
        let filter = EnvFilter::try_new(filter).with_context(|| {
            format!("`--log {log}` (or RUST_LOG) is no filter: write a level such as `debug`, or `info,pointsman::reload=debug`")
        })?;
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_target(false)
            .fmt_fields(log_fields::OneLine)
            .with_writer(std::io::stderr)
            .with_ansi(anstream::stderr().current_choice() != ColorChoice::Never)
            .init();
        match &self.command {
            Cmd::Build(args) => return build::run(args, &config.plugins),
            Cmd::New(args) => return new::run(args),
            Cmd::Rules(args) => return rules::run(args),
            Cmd::Wit => {
                terminal::raw(crate::new::CONTRACT.as_bytes());
                return Ok(Exit::Succeeded);
            }
            _ => {}
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let exit = runtime.block_on(async {
            match self.command {
                Cmd::Run(args) => run::run(args, config).await,
                Cmd::Enqueue(args) => enqueue::run(args, config).await,
                Cmd::Queue(args) => queue::run(args, config).await,
                Cmd::Serve(_) => serve::run(config).await,
                Cmd::Dev(args) => dev::run(args, config).await,
                Cmd::Test(args) => test::run(args, config).await,
                Cmd::List(args) => list::run(&args, config).await,
                Cmd::Check(args) => check::run(&args, config).await,
                Cmd::Explain(args) => explain::run(&args, config).await,
                Cmd::New(_)
                | Cmd::Build(_)
                | Cmd::Rules(_)
                | Cmd::Wit
                | Cmd::CompileComponent { .. }
                | Cmd::Completions { .. } => {
                    unreachable!("answered above")
                }
            }
        });
        // A guest that computes is left at its next tick; nothing is waited for twice.
        runtime.shutdown_background();
        exit
    }

    fn config(&self) -> anyhow::Result<Config> {
        let file = self.config.as_deref().or_else(|| {
            let default = Path::new(SETTINGS_FILE);
            default.is_file().then_some(default)
        });
        let mut flags = Vec::new();
        for (key, folder) in [("plugins", &self.plugins), ("rules", &self.rules)] {
            if let Some(folder) = folder {
                flags.push((key, folder.display().to_string()));
            }
        }
        for set in &self.set {
            let Some((key, value)) = set.split_once('=') else {
                // Not the text: it may be a secret that lost its key.
                anyhow::bail!(
                    "`--set` needs a key and a value: write `--set limits.timeout_ms=500`"
                );
            };
            flags.push((key, value.to_owned()));
        }
        let mut config = Config::load(file, environment()?, &flags)?;
        config.host.compile_program = this_program();
        Ok(config)
    }
}

/// The program that runs, also where another version has taken its place since.
fn this_program() -> Option<PathBuf> {
    if cfg!(target_os = "linux") {
        return Some("/proc/self/exe".into());
    }
    std::env::current_exe().ok()
}

/// The variables that may be settings. Others may be no UTF-8, as paths are.
fn environment() -> anyhow::Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else {
            continue;
        };
        if name.starts_with(ENV_PREFIX) {
            let value = value.into_string();
            let value = value.map_err(|_| anyhow!("environment {name}: is not UTF-8"))?;
            variables.push((name, value));
        }
    }
    Ok(variables)
}

/// The durable queue of an app, where the settings have one; `hint` says what
/// to do where another process works on its folder.
async fn open_queue<'a>(app: &'a mut App, hint: &str) -> anyhow::Result<Option<&'a Queue>> {
    match app.open_queue().await {
        Err(error @ QueueError::Locked(_)) => anyhow::bail!("{error}\n  hint: {hint}"),
        Err(error @ QueueError::Storage { .. }) => {
            let error = anyhow::Error::from(error);
            anyhow::bail!("the queue cannot be opened: {error:#}\n  hint: {hint}")
        }
        opened => opened.context("the queue cannot be opened"),
    }
}

fn no_queue() -> &'static str {
    "there is no queue: `queue.engine` is `off`; set it to `sqlite` or `postgres`"
}

/// Says on standard error what is to be mended.
fn warn_of(problems: &[crate::snapshot::Problem]) {
    for problem in problems {
        terminal::err_lines!(2, "{} {problem}", print::severity(problem.severity));
    }
}

/// The command's text, of at most one byte more than the limit.
fn read(command: &str, max_bytes: usize) -> anyhow::Result<Vec<u8>> {
    let limit = max_bytes as u64 + 1;
    let mut text = Vec::new();
    match command.strip_prefix('@') {
        Some(path) => {
            let file = fs::File::open(path).with_context(|| format!("{path}: cannot be read"))?;
            file.take(limit)
                .read_to_end(&mut text)
                .with_context(|| format!("{path}: cannot be read"))?;
        }
        None if command == "-" => {
            io::stdin()
                .lock()
                .take(limit)
                .read_to_end(&mut text)
                .context("standard input cannot be read")?;
        }
        None => text = command.into(),
    }
    if text.len() > max_bytes {
        anyhow::bail!(
            "the command has more than {max_bytes} bytes: `host.command_max_bytes` sets the limit"
        );
    }
    Ok(text)
}
