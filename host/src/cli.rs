//! Owns the command line: the flags that all subcommands share, the way from
//! them to a [`Config`], and the exit codes. One file per subcommand.

mod build;
mod check;
mod check_files;
mod completions;
mod config;
mod dev;
mod doctor;
mod enqueue;
mod enqueue_lines;
mod explain;
mod health;
mod init;
mod input;
mod kept;
mod list;
mod log_fields;
mod log_lines;
mod new;
mod notify;
mod pauses;
mod print;
mod queue;
mod remote;
mod rules;
mod run;
mod runtime;
mod schedule;
mod screen;
mod serve;
mod signals;
mod stats;
mod table;
mod terminal;
mod test;
mod token;
mod trust;
mod usage;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anstream::ColorChoice;
use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use tokio::task::spawn_blocking;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{
    config::{Config, Setting},
    diagnostic::Diagnostic,
    host::Unloaded,
    log::Log,
    queue::QueueError,
    sandbox::{COMPILE_SUBCOMMAND, compile_component, forget_unfinished},
    text::escaped,
};
use signals::Signals;

/// How a run ended, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    /// All handlers succeeded.
    Succeeded = 0,
    /// Some handler did not succeed, some file is broken, or standard output
    /// could not be written.
    Failed = 1,
    /// Invalid usage, setting or command: nothing ran.
    Usage = 2,
    /// No handler matched.
    NoMatch = 3,
    /// Standard output could not be written: the output is incomplete.
    Output = 4,
    /// The terminal was closed.
    HungUp = 129,
    /// Ctrl-C.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

/// After a signal, work that is not done within this time is abandoned.
const QUIT_WITHIN: Duration = Duration::from_millis(500);
/// How long flushing the log may take on exit.
const FLUSH_MAX: Duration = Duration::from_millis(500);

/// The heading of the flags that every subcommand has.
const GLOBAL: &str = "Global options";
/// The heading of the flags for sending a request to a running server.
const SERVER: &str = "Server options";
const SETTINGS_FILE: &str = "pointsman.toml";

/// Routes JSON commands to sandboxed WebAssembly handlers
#[derive(Debug, Parser)]
#[command(
    name = "pointsman",
    version,
    long_version = usage::version(),
    after_help = "\
Examples:
  pointsman build                                build all handlers in plugins/
  pointsman run '{\"requestType\":\"CreatePolicy\"}'   run a command and show the report
  pointsman serve                                start the HTTP server on 127.0.0.1:3000
  pointsman list                                 list handlers, their rules and any problems

Flags take precedence over POINTSMAN_* environment variables, which take
precedence over pointsman.toml.

Exit codes: 0 success, 1 a handler or a file failed, 2 invalid usage, setting or
command, 3 no handler matched, 4 standard output could not be written; 129, 130
and 143 after SIGHUP, Ctrl-C and SIGTERM."
)]
struct Cli {
    /// Settings file [default: pointsman.toml, if it exists]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the handlers' components [default: plugins]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Folder of the rule files [default: rules]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Set any other setting, for example limits.timeout=500ms
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "KEY=VALUE", add = completions::settings())]
    set: Vec<String>,
    /// When to use color: `always`, `never`, or `auto`: on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "WHEN", value_enum, default_value_t, hide_possible_values = true)]
    color: Color,
    /// Log level or filter, in the syntax of RUST_LOG
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILTER", env = "RUST_LOG")]
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
    /// Run a command and show what its handlers do
    Run(run::Args),
    /// Enqueue a command for a running server to process
    Enqueue(enqueue::Args),
    /// Inspect the queue: list, cancel, retry, discard and pause
    Queue(queue::Args),
    /// List, pause, resume or run the schedules of the rule files
    Schedule(schedule::Args),
    /// Run the HTTP server; hot-reloads handlers and rules
    Serve(serve::Args),
    /// Create a folder with an example handler, a rule and settings
    Init(init::Args),
    /// Create a new handler from a template
    New(new::Args),
    /// Build handlers from source and install them
    Build(build::Args),
    /// Rebuild, install and test a handler whenever its source changes
    Dev(dev::Args),
    /// Run the test cases of handlers
    Test(test::Args),
    /// List handlers, their rules and any problems
    List(list::Args),
    /// Test and lint the rules, or check component files
    Check(check::Args),
    /// Explain why each rule did or did not match a command
    Explain(explain::Args),
    /// Show or check the settings
    Config(config::Args),
    /// Check whether this machine has what the server and builds need
    Doctor(doctor::Args),
    /// Ask a running server whether it is healthy
    Health(health::Args),
    /// Compare two versions of the rules
    Rules(rules::Args),
    /// Make tokens for clients of the HTTP server
    Token(token::Args),
    /// Print the WIT contract between host and handlers
    #[command(after_help = "Example:\n  pointsman wit > wit/handler.wit")]
    Wit,
    /// Print a shell completion script
    #[command(after_help = "\
Also completes handlers, settings, states and languages.

Examples:
  source <(pointsman completions bash)               in ~/.bashrc
  source <(pointsman completions zsh)                in ~/.zshrc
  pointsman completions fish | source                in ~/.config/fish/config.fish")]
    Completions {
        /// Shell
        shell: Shell,
    },
    /// Write the manual pages
    #[command(after_help = "Example:\n  pointsman man /usr/local/share/man/man1")]
    Man {
        /// Folder for the pages
        dir: PathBuf,
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
    match completions::answer() {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => {
            terminal::err_lines!(2, "{}", error.render());
            return ExitCode::from(Exit::Usage as u8);
        }
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(mut error) => {
            usage::suggest_one(&mut error);
            // Arguments may be names of files, which others choose; clap escapes nothing.
            let is_plain = |argument: OsString| {
                let shown = argument.to_string_lossy();
                escaped(&shown).to_string() == shown
            };
            if !error.use_stderr() {
                // Help or the version.
                let printed = error.print().and_then(|()| terminal::flush());
                return exit_code(Exit::Succeeded, printed.err().as_ref());
            }
            if std::env::args_os().all(is_plain) {
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
    // A server must not block on whoever reads its log; everything else prints in order.
    let log = match cli.command {
        Cmd::Serve(_) => Log::queued().map_err(signals::no_thread),
        _ => Ok(Log::direct()),
    };
    let exit = log.and_then(|log| {
        let exit = cli.run(&log);
        screen::end_progress();
        forget_unfinished();
        log.flush(FLUSH_MAX);
        exit
    });
    let exit = exit.unwrap_or_else(|error| {
        print::error(&error);
        Exit::Usage
    });
    exit_code(exit, terminal::output_failure())
}

/// `exit`, unless standard output could not be written. A closed pipe, as with
/// `head`, is not a failure.
fn exit_code(exit: Exit, failure: Option<&io::Error>) -> ExitCode {
    let failure = failure.filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
    let Some(failure) = failure else {
        return ExitCode::from(exit as u8);
    };
    print::error(&anyhow::anyhow!(
        "standard output cannot be written: {failure}"
    ));
    ExitCode::from(Exit::Output as u8)
}

/// Silences one line per failed request: a handler may send thousands, and reporting
/// failures is up to the handler.
const GUESTS: &str = "wasmtime_wasi_http=off";

impl Cli {
    fn run(self, log: &Log) -> anyhow::Result<Exit> {
        match &self.command {
            Cmd::Completions { shell } => {
                terminal::raw(&completions::script(*shell)?);
                return Ok(Exit::Succeeded);
            }
            Cmd::Man { dir } => {
                clap_mangen::generate_to(Self::command(), dir)
                    .with_context(|| dir.display().to_string())?;
                return Ok(Exit::Succeeded);
            }
            Cmd::Wit => {
                terminal::raw(crate::new::CONTRACT.as_bytes());
                return Ok(Exit::Succeeded);
            }
            _ => {}
        }
        let (mut config, settings) = self.config()?;
        if let Cmd::Config(args) = &self.command {
            return config::run(args, &config, &settings);
        }
        self.start_log(log)?;
        let ends_within = match &self.command {
            Cmd::Serve(args) => {
                args.apply(&mut config);
                serve::ends_within(&config)
            }
            _ => QUIT_WITHIN,
        };
        let signals = Signals::listen(ends_within)?;
        let runtime = runtime::start()?;
        let exit = runtime.block_on(self.command.run(config, signals));
        // A guest that computes is left at its next tick; nothing is waited for twice.
        runtime.shutdown_background();
        exit
    }

    /// Sets up logging through `log`.
    fn start_log(&self, log: &Log) -> anyhow::Result<()> {
        let default = match self.command {
            Cmd::Serve(_) => "info",
            _ => "warn",
        };
        // Set to nothing, as by a compose file, a variable is not set.
        let asked = self.log.as_deref().filter(|log| !log.trim().is_empty());
        let asked = asked.unwrap_or(default);
        let filter = match asked.parse::<LevelFilter>() {
            // A bare level is ours: the compiler alone writes thousands of lines at `debug`.
            Ok(level) if level > LevelFilter::INFO => format!("info,pointsman={level},{GUESTS}"),
            Ok(level) => format!("{level},{GUESTS}"),
            Err(_) => asked.to_owned(),
        };
        let filter = EnvFilter::try_new(filter).with_context(|| {
            format!("`--log {asked}` (or RUST_LOG) is not a filter: write a level such as `debug`, or `info,pointsman::reload=debug`")
        })?;
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .fmt_fields(log_fields::OneLine)
            .with_writer(move || writer.clone())
            // It would print them to standard error, and panic where that is what fails.
            .log_internal_errors(false)
            .with_ansi(anstream::stderr().current_choice() != ColorChoice::Never)
            .event_format(log_lines::Lines::default())
            .init();
        log.log_panics();
        Ok(())
    }

    fn config(&self) -> anyhow::Result<(Config, Vec<Setting>)> {
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
                    "`--set` needs a key and a value: write `--set limits.timeout=500ms`"
                );
            };
            flags.push((key, value.to_owned()));
        }
        let environment = std::env::vars_os();
        let (mut config, settings) = Config::load_with_sources(file, environment, &flags)?;
        config.host.sandbox.compile_program = this_program();
        Ok((config, settings))
    }
}

impl Cmd {
    /// Runs the subcommand until it is done or a signal ends it; the server
    /// handles signals itself.
    async fn run(self, config: Config, mut signals: Signals) -> anyhow::Result<Exit> {
        // Ctrl-C is the normal way to end a watch, so it is a success.
        let is_watching = match &self {
            Self::Serve(_) => return serve::run(config, signals).await,
            Self::Dev(_) => true,
            Self::Test(args) => args.watch,
            _ => false,
        };
        tokio::select! {
            biased;
            signal = signals.next() => {
                if is_watching {
                    return Ok(Exit::Succeeded);
                }
                screen::end_progress();
                print::error(&anyhow::anyhow!("interrupted by {signal}"));
                Ok(signal.into())
            }
            exit = self.run_alone(config) => exit,
        }
    }

    async fn run_alone(self, config: Config) -> anyhow::Result<Exit> {
        // Work that computes or waits for other programs must not block signal handling.
        match self {
            Self::Run(args) => run::run(args, config).await,
            Self::Enqueue(args) => enqueue::run(args, config).await,
            Self::Queue(args) => queue::run(args, config).await,
            Self::Schedule(args) => schedule::run(args, config).await,
            Self::Dev(args) => dev::run(args, config).await,
            Self::Test(args) => test::run(args, config).await,
            Self::List(args) => list::run(args, config).await,
            Self::Check(args) => check::run(&args, config).await,
            Self::Explain(args) => explain::run(&args, config).await,
            Self::Build(args) => spawn_blocking(move || build::run(&args, &config.plugins)).await?,
            Self::Init(args) => spawn_blocking(move || init::run(&args)).await?,
            Self::New(args) => new::run(&args),
            Self::Doctor(args) => spawn_blocking(move || doctor::run(&args, &config)).await?,
            Self::Health(args) => health::run(args).await,
            Self::Token(args) => token::run(&args),
            Self::Rules(args) => spawn_blocking(move || rules::run(&args)).await?,
            Self::Serve(_)
            | Self::Config(_)
            | Self::Man { .. }
            | Self::Wit
            | Self::CompileComponent { .. }
            | Self::Completions { .. } => {
                unreachable!("answered before")
            }
        }
    }
}

/// The running program, even if the file on disk has since been replaced by another version.
fn this_program() -> Option<PathBuf> {
    if cfg!(target_os = "linux") {
        return Some("/proc/self/exe".into());
    }
    std::env::current_exe().ok()
}

/// The host with its durable queue, if one is configured; `hint` says what to do if
/// another process is using its folder.
async fn open_queue(host: Unloaded, hint: &str) -> anyhow::Result<Unloaded> {
    match host.with_queue().await {
        Err(error @ QueueError::Locked(_)) => Err(error.diagnostic().hint(hint).into()),
        Err(error @ QueueError::Storage { .. }) => {
            let code = error.code();
            let error = anyhow::Error::from(error);
            let message = format!("the queue cannot be opened: {error:#}");
            Err(Diagnostic::error(code, message).hint(hint).into())
        }
        opened => opened.context("the queue cannot be opened"),
    }
}

fn no_queue() -> &'static str {
    "the queue is off: set `queue.engine` to `sqlite` or `postgres`"
}

/// Prints the problems to standard error.
fn warn_of(problems: &[Diagnostic]) {
    for problem in problems {
        terminal::err_lines!(2, "{} {problem}", print::severity(problem.severity()));
    }
}
