//! `pointsman run`: one command, its handlers' lines as they come, its report.

use std::sync::Arc;

use super::{
    Exit, build, input, print, screen,
    terminal::{self, err, out, out_lines},
    warn_of,
};
use crate::{
    command::Command,
    config::Config,
    dispatcher::{DispatchError, DispatchOptions, Event, Observer},
    host::{Host, Unloaded},
    name::HandlerName,
    outcome::{HandlerReport, LogLine, Report, ReportStatus},
    reload::Wait,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pointsman run '{\"requestType\":\"CreatePolicy\",\"productType\":\"HighRisk\"}'
  pointsman run @command.json --json
  echo '{\"requestType\":\"CreatePolicy\"}' | pointsman run -

Exit codes: 0 all handlers succeeded, 1 a handler failed, 2 invalid usage, setting
or command, 3 no handler matched, 4 standard output could not be written. Ctrl-C,
SIGTERM and SIGHUP cancel the handlers: 130, 143, 129.")]
pub(super) struct Args {
    /// Command as JSON, `-` to read standard input, `@FILE` to read a file
    command: String,
    /// Print the report as JSON and nothing else
    #[arg(long)]
    json: bool,
    /// First build every handler whose source is in the plugins folder. Builds run
    /// code of these sources, such as build scripts, outside the sandbox
    #[arg(long)]
    build: bool,
    /// Cancel the other handlers as soon as one fails
    #[arg(long)]
    fail_fast: bool,
}

pub(super) async fn run(args: Args, config: Config) -> anyhow::Result<Exit> {
    let command = Command::parse(input::command(
        &args.command,
        config.host.command_max_bytes,
    )?)?;
    if args.build {
        let plugins = config.plugins.clone();
        let built = tokio::task::spawn_blocking(move || build::all(&plugins, &Default::default()))
            .await??;
        if built != Exit::Succeeded {
            return Ok(built);
        }
    }
    let progress = screen::progress("loading handlers and rules");
    let host = Unloaded::new(config)?;
    let host = host.load(Wait::WhileLoading).await;
    // Only what this command needs is waited for, however long it compiles.
    if let Ok(routed) = host.dispatcher().route(&command).await {
        let needed = routed.matches.iter().map(|one| one.handler.clone());
        host.wait_for(&needed.collect::<Vec<_>>()).await;
    }
    drop(progress);
    warn_of(&host.snapshot().problems);
    let options = DispatchOptions {
        fail_fast: args.fail_fast,
        cancel_on_drop: true,
        observer: (!args.json).then(|| observer(&host)),
        ..DispatchOptions::default()
    };
    let report = match host.dispatch(command, options).await {
        Ok(report) => report,
        Err(error @ DispatchError::NoMatchingHandler { .. }) => {
            print::error(&error.into());
            return Ok(Exit::NoMatch);
        }
        Err(error) => return Err(error.into()),
    };
    if args.json {
        terminal::json(&report)?;
    } else {
        show_summary(&report);
    }
    Ok(match report.status {
        ReportStatus::Succeeded => Exit::Succeeded,
        ReportStatus::Partial | ReportStatus::Failed => Exit::Failed,
    })
}

fn observer(host: &Host) -> Observer {
    let names = host.snapshot();
    let width = names
        .handlers
        .keys()
        .map(|name| name.as_str().len())
        .max()
        .unwrap_or(0);
    Arc::new(move |event| match event {
        Event::Started(_) => {}
        Event::Log(handler, line) => show_line(handler, width, line),
        Event::Finished(report) => {
            show_report(width, report);
        }
    })
}

/// A line of a handler, as it comes.
pub(super) fn show_line(handler: &HandlerName, width: usize, line: &LogLine) {
    out!(
        "{:width$}  {}  {}",
        print::handler(handler),
        print::Styled(
            print::DIM,
            format_args!("{:>8.3} s", line.after.as_secs_f64())
        ),
        print::Styled(print::level(line.level), &line.message),
    );
}

/// How a handler's call went.
pub(super) fn show_report(width: usize, report: &HandlerReport) {
    let outcome = &report.outcome;
    let name = print::handler(&report.handler);
    let status = print::status(outcome.status());
    let took = print::duration(report.duration);
    match &outcome.result {
        Ok(Some(output)) => out_lines!(4, "{name:width$}  {status} in {took}  {output}"),
        Ok(None) => out!("{name:width$}  {status} in {took}"),
        Err(failure) => {
            out_lines!(
                4,
                "{name:width$}  {status} after {took}: {}",
                failure.message
            );
            for frame in &failure.backtrace {
                err!("{:width$}    at {frame}", "");
            }
        }
    }
    if outcome.logs.dropped > 0 {
        let lines = match outcome.logs.dropped {
            1 => "1 log line".into(),
            dropped => format!("{dropped} log lines"),
        };
        out!(
            "{name:width$}  {lines} dropped: `limits.log_lines_max` and `limits.log_max_bytes` in plugins/{}.toml set the limits",
            report.handler
        );
    }
}

fn show_summary(report: &Report) {
    let all = report.handlers.len();
    let succeeded = report
        .handlers
        .iter()
        .filter(|handler| handler.outcome.result.is_ok())
        .count();
    let sum = report.handlers.iter().map(|handler| handler.duration).sum();
    out!(
        "{}",
        print::Styled(
            print::BOLD,
            format_args!(
                "{succeeded} of {all} handlers succeeded in {} ({} one after another)",
                print::duration(report.duration),
                print::duration(sum)
            )
        )
    );
}
