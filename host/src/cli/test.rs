//! `pointsman test`: the cases of handlers, run against their components.

mod junit;
mod show;
mod suite;

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{
    Exit, print, screen,
    terminal::{self, err, out},
};
use crate::{
    build,
    cases::{self, CaseFile, Runner, Subject},
    config::Config,
    diagnostic::Diagnostic,
    files,
    name::HandlerName,
    sources::{self, Sources},
};
pub(super) use show::{clear, suite as show_suite, summary as show_summary};
pub(super) use suite::{Suite, Writes};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pointsman test                      the handler in this folder, or all in plugins/
  pointsman test greet --watch
  pointsman test plugins/greet.wasm --cases greet/cases

Source folders are built first, but not installed: that is what `pointsman build`
and `pointsman dev` do. A test case is a file such as cases/greets.json:
  { \"command\": { \"name\": \"Ada\" }, \"expect\": { \"output\": { \"greeting\": \"hello Ada\" } } }

Exit codes: 0 all cases passed, 1 a case failed, 2 invalid usage or case file.")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(super) struct Args {
    /// Source folders or components [default: this folder, or all sources in the plugins folder]
    #[arg(value_name = "DIR|FILE.wasm")]
    targets: Vec<PathBuf>,
    /// Folder of the cases [default: `cases` in the source folder]
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Run only cases whose name contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Update the expectations in the case files to what the handler does
    #[arg(long)]
    update: bool,
    /// Send the requests that the cases grant under `http`, and write them with their responses into the case files
    #[arg(long, conflicts_with = "offline")]
    record: bool,
    /// Run again whenever a source, component or case changes
    #[arg(long, conflicts_with = "json")]
    pub(super) watch: bool,
    /// Do not build; test the installed component
    #[arg(long)]
    no_build: bool,
    /// Do not use the network
    #[arg(long)]
    offline: bool,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    /// Also write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// One handler to test.
struct Target {
    /// Its source folder, if it is to be built.
    source: Option<PathBuf>,
    /// The installed component, which is tested if there is no `source`.
    component: PathBuf,
    cases: PathBuf,
}

pub(super) async fn run(args: Args, config: Config) -> anyhow::Result<Exit> {
    let targets = targets(&args, &config)?;
    let runner = Runner::new(&config.runner_settings())?;
    let watched = targets.iter().flat_map(|target| {
        let built_from = target.source.as_ref().unwrap_or(&target.component);
        [built_from.clone(), target.cases.clone()]
    });
    let mut sources = Sources::new(watched.collect());
    loop {
        if args.watch {
            clear();
        }
        let ran = once(&args, &targets, &runner, &config);
        if !args.watch {
            return ran.await;
        }
        ran.await?;
        sources.built();
        out!(
            "{}",
            print::Styled(print::DIM, "waiting for changes; press Ctrl-C to stop")
        );
        if terminal::output_failure().is_some() {
            // Nobody reads the output.
            return Ok(Exit::Succeeded);
        }
        sources.changed().await;
    }
}

async fn once(
    args: &Args,
    targets: &[Target],
    runner: &Runner,
    config: &Config,
) -> anyhow::Result<Exit> {
    let mut suites = Vec::new();
    for target in targets {
        let suite = tested(args, target, runner, config).await;
        if !args.json {
            show::suite(&suite);
        }
        suites.push(suite);
    }
    let all = suites.iter().map(|suite| suite.cases.len()).sum::<usize>();
    if let Some(filter) = args.filter.as_deref().filter(|_| all == 0)
        && suites.iter().all(|suite| suite.error.is_none())
    {
        anyhow::bail!("no case has `{filter}` in its name");
    }
    if args.json {
        terminal::json(&show::json(&suites))?;
    } else {
        show::summary(&suites);
    }
    if let Some(path) = &args.junit {
        let xml = junit::document(&suites)?;
        std::fs::write(path, xml)
            .with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    Ok(suites
        .iter()
        .map(Suite::exit)
        .max_by_key(|exit| *exit as u8)
        .unwrap_or(Exit::Succeeded))
}

/// Builds the target if need be, and runs its cases.
async fn tested(args: &Args, target: &Target, runner: &Runner, config: &Config) -> Suite {
    let shown = target.source.as_ref().unwrap_or(&target.component);
    // Before the build, which may take a while.
    let mut files = match cases::read(&target.cases, &config.handler_defaults()) {
        Ok(files) => files,
        Err(error) => return Suite::unusable(shown, error.to_string()),
    };
    if let Some(filter) = &args.filter {
        files.retain(|file: &CaseFile| file.name.contains(filter.as_str()));
    }
    let component = match &target.source {
        Some(source) => built(source, args.offline).await,
        None => component(&target.component, config.host.plugin_max_bytes),
    };
    let loaded = match component {
        Ok((name, component)) => load(runner, name, shown, component).await,
        Err(error) => Err(error),
    };
    match loaded {
        Ok(subject) => {
            let writes = Writes {
                requests: args.record,
                expectations: args.update,
            };
            let _progress = screen::progress(format_args!("testing `{}`", subject.name()));
            Suite::run(&subject, files, config, writes).await
        }
        Err(error) => Suite::failed(shown, format!("{error:#}")),
    }
}

/// Builds the handler in `source`; returns its name and component.
pub(super) async fn built(source: &Path, offline: bool) -> anyhow::Result<(HandlerName, Vec<u8>)> {
    let _progress = screen::progress(format_args!("building {}", source.display()));
    let source = source.to_owned();
    let build = move || {
        let options = build::BuildOptions {
            offline,
            ..build::BuildOptions::default()
        };
        build::build(&source, &options, &|line| err!("{line}"))
    };
    let built = tokio::task::spawn_blocking(build).await??;
    Ok((built.about.name, built.component))
}

/// Checks a component against the contract, and compiles it.
pub(super) async fn load(
    runner: &Runner,
    name: HandlerName,
    path: &Path,
    component: Vec<u8>,
) -> anyhow::Result<Subject> {
    let _progress = screen::progress(format_args!("compiling `{name}`"));
    let (runner, path) = (runner.clone(), path.to_owned());
    let load = move || runner.load(&name, &path, component);
    Ok(tokio::task::spawn_blocking(load).await??)
}

/// The handler's name, and the bytes.
fn component(path: &Path, max_bytes: u64) -> anyhow::Result<(HandlerName, Vec<u8>)> {
    let bytes = files::read(path, max_bytes)
        .with_context(|| format!("{}: cannot be read", path.display()))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = HandlerName::parse(&stem).with_context(|| format!("{}", path.display()))?;
    Ok((name, bytes))
}

fn targets(args: &Args, config: &Config) -> anyhow::Result<Vec<Target>> {
    let here = PathBuf::from(".");
    let paths = match args.targets.as_slice() {
        // The root of a workspace with handlers has a build file too.
        [] if build::recognise(&here).is_ok()
            && (here.join(cases::FOLDER).is_dir() || !config.plugins.is_dir()) =>
        {
            vec![here]
        }
        [] => build::sources(&config.plugins).map_err(|error| {
            let message = format!("no handler to test: {error}");
            Diagnostic::error("no-source", message).hint(WHAT)
        })?,
        paths => paths.into(),
    };
    if paths.is_empty() {
        let message = format!(
            "no handler to test: found no source in {}",
            config.plugins.display()
        );
        return Err(Diagnostic::error("no-source", message).hint(WHAT).into());
    }
    if args.cases.is_some() && paths.len() > 1 {
        anyhow::bail!("`--cases` is for one handler, not for {}", paths.len());
    }
    let target = |path: PathBuf| target(path, args, config);
    paths.into_iter().map(target).collect()
}

/// The hint for a target that cannot be tested.
const WHAT: &str = "name a source folder or a component, such as `pointsman test greet`";

/// Warns that the cases run against an older build of the handler in `source`.
fn warn_if_stale(source: &Path, component: &Path) {
    let Ok(installed) = component.metadata().and_then(|file| file.modified()) else {
        return;
    };
    let Some((changed, _)) = sources::newest(source).filter(|(_, at)| *at > installed) else {
        return;
    };
    let message = format!("older than `{}`", changed.display());
    let warning = Diagnostic::warning("stale-component", message);
    let hint = format!(
        "`pointsman build {}` installs the change",
        print::argument(source)
    );
    super::warn_of(&[warning.within(component.display().to_string()).hint(hint)]);
}

fn target(path: PathBuf, args: &Args, config: &Config) -> anyhow::Result<Target> {
    if path.is_dir() {
        let cases = path.join(cases::FOLDER);
        let absolute = std::path::absolute(&path)?;
        // `.` and `..` have no name of their own.
        let absolute = absolute.canonicalize().unwrap_or(absolute);
        let name = absolute.file_name().unwrap_or_default();
        let component = config.plugins.join(name).with_extension("wasm");
        if args.no_build {
            warn_if_stale(&path, &component);
        }
        return Ok(Target {
            cases: args.cases.clone().unwrap_or(cases),
            source: (!args.no_build).then_some(path),
            component,
        });
    }
    if !path.is_file() {
        let error = Diagnostic::error("no-such-file", "no such file or folder");
        let error = error.within(path.display().to_string()).hint(WHAT);
        return Err(error.into());
    }
    // `plugins/greet.wasm` beside its source `plugins/greet`, or beside its cases.
    let beside = path.with_extension("").join(cases::FOLDER);
    let cases = if beside.is_dir() {
        beside
    } else {
        path.with_file_name(cases::FOLDER)
    };
    Ok(Target {
        source: None,
        component: path,
        cases: args.cases.clone().unwrap_or(cases),
    })
}
