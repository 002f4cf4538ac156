//! `pointsman doctor`: whether this machine has what a server and builds need,
//! and what to do where it does not.

use std::{fs, net::TcpListener, path::Path};

use pointsman_queue::{Engine, SqliteSettings};
use serde::Serialize;

use super::{
    Exit, print,
    terminal::{self, out, out_lines},
    usage,
};
use crate::{
    budget::Machine,
    build::{self, Language},
    config::Config,
    host::Unloaded,
    sandbox::cache_folders,
};

/// What the pool of instances and a few hundred connections take.
const DESCRIPTORS_LEAST: u64 = 4_096;
/// Linux' default: an instance with its guard pages takes some mappings.
const MAPPINGS_LEAST: u64 = 65_530;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Checks the machine, the folders, the address to listen on, and the tools that
handlers are built with.

Exit codes: 0 a server runs here, 1 something keeps it from that.")]
pub(super) struct Args {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    /// It works, or is needed for one thing alone.
    Warning,
    Bad,
}

/// One thing that was checked.
#[derive(Serialize)]
struct Finding {
    what: String,
    verdict: Verdict,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Finding {
    fn good(what: &str, detail: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            verdict: Verdict::Good,
            detail: detail.into(),
            hint: None,
        }
    }

    fn warning(what: &str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warning,
            hint: Some(hint.into()),
            ..Self::good(what, detail)
        }
    }

    fn bad(what: &str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Bad,
            ..Self::warning(what, detail, hint)
        }
    }
}

pub(super) fn run(args: &Args, config: &Config) -> anyhow::Result<Exit> {
    let machine = Machine::here();
    let mut findings = vec![
        Finding::good("version", usage::version()),
        memory(&machine),
        descriptors(&machine),
        address_space(),
    ];
    findings.extend(mappings());
    findings.push(sandbox(config));
    findings.push(folder("plugins", &config.plugins));
    findings.push(folder("rules", &config.rules));
    findings.extend(queue_folder(config));
    findings.push(cache(config));
    findings.push(address(config));
    findings.extend(Language::ALL.map(tools));
    if args.json {
        terminal::json(&serde_json::json!({ "findings": findings }))?;
    } else {
        findings.iter().for_each(show);
    }
    let is_bad = |finding: &Finding| finding.verdict == Verdict::Bad;
    Ok(match findings.iter().any(is_bad) {
        true => Exit::Failed,
        false => Exit::Succeeded,
    })
}

fn show(finding: &Finding) {
    let what = print::Styled(print::BOLD, &finding.what);
    match finding.verdict {
        Verdict::Good => out_lines!(4, "{} {what}: {}", print::good("✓"), finding.detail),
        Verdict::Warning => out_lines!(4, "{} {what}: {}", print::soso("!"), finding.detail),
        Verdict::Bad => out_lines!(4, "{} {what}: {}", print::bad("✗"), finding.detail),
    }
    if let Some(hint) = &finding.hint {
        out!("    hint: {hint}");
    }
}

fn memory(machine: &Machine) -> Finding {
    let detail = format!(
        "{} for this process; handlers may use half by default",
        print::bytes(machine.memory_bytes)
    );
    Finding::good("memory", detail)
}

fn descriptors(machine: &Machine) -> Finding {
    let detail = format!("{} for this process", machine.descriptors_max);
    if machine.descriptors_max < DESCRIPTORS_LEAST {
        let hint = format!(
            "raise the hard limit: `ulimit -Hn {DESCRIPTORS_LEAST}`, or `LimitNOFILE=` in a systemd unit"
        );
        return Finding::warning("open files", detail, hint);
    }
    Finding::good("open files", detail)
}

fn address_space() -> Finding {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        if let Some(limit) = getrlimit(Resource::As).current {
            let detail = format!(
                "limited to {}: instances are allocated one by one",
                print::bytes(limit)
            );
            return Finding::warning(
                "address space",
                detail,
                "remove the limit (`ulimit -v unlimited`) for fast starts of handlers",
            );
        }
    }
    Finding::good("address space", "unlimited")
}

/// Linux alone has such a limit.
fn mappings() -> Option<Finding> {
    let text = fs::read_to_string("/proc/sys/vm/max_map_count").ok()?;
    let limit: u64 = text.trim().parse().ok()?;
    let detail = format!("{limit} per process");
    if limit < MAPPINGS_LEAST {
        let hint = format!("sysctl -w vm.max_map_count={MAPPINGS_LEAST}");
        return Some(Finding::warning("memory mappings", detail, hint));
    }
    Some(Finding::good("memory mappings", detail))
}

fn sandbox(config: &Config) -> Finding {
    match Unloaded::new(config.clone()) {
        Ok(_) => Finding::good("sandbox", "WebAssembly runs on this machine"),
        Err(error) => Finding::bad(
            "sandbox",
            format!("{error:#}"),
            "Linux, macOS and Windows on x86-64 and arm64 are supported",
        ),
    }
}

fn folder(what: &str, folder: &Path) -> Finding {
    let shown = folder.display();
    match fs::read_dir(folder) {
        Ok(_) => Finding::good(what, shown.to_string()),
        Err(error) => Finding::warning(
            what,
            format!("{shown}: {error}"),
            format!(
                "create the folder, or name another one with `--{what}`; `pointsman init` creates all"
            ),
        ),
    }
}

/// Where the SQLite queue is, or would be.
fn queue_folder(config: &Config) -> Option<Finding> {
    let Engine::Sqlite(SqliteSettings { folder, .. }) = &config.queue.engine else {
        return None;
    };
    Some(match writable(folder) {
        Ok(()) => Finding::good("queue", folder.display().to_string()),
        Err(error) => Finding::bad(
            "queue",
            format!("{}: {error}", folder.display()),
            "make it writable for this user, set `queue.folder`, or turn the queue off with `queue.engine = \"off\"`",
        ),
    })
}

fn cache(config: &Config) -> Finding {
    const WHAT: &str = "compile cache";
    if !config.host.sandbox.compile_cache {
        return Finding::good(WHAT, "off: every start compiles all components");
    }
    const HINT: &str = "set `XDG_CACHE_HOME` to a folder that only this user can write to";
    let mut failures = Vec::new();
    for folder in cache_folders() {
        match writable(&folder) {
            Ok(()) => return Finding::good(WHAT, folder.display().to_string()),
            Err(error) => failures.push(format!("{}: {error}", folder.display())),
        }
    }
    if failures.is_empty() {
        failures.push("this user has no home folder".into());
    }
    let failures = failures.join(", ");
    Finding::warning(
        WHAT,
        format!("{failures}: every start compiles all components"),
        HINT,
    )
}

/// Whether this user may write in `folder`, or create it.
fn writable(folder: &Path) -> std::io::Result<()> {
    let there = folder.ancestors().find(|path| path.exists());
    // A relative path begins here.
    let there = there.filter(|path| !path.as_os_str().is_empty());
    let there = there.unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(std::io::ErrorKind::NotADirectory.into());
    }
    #[cfg(unix)]
    rustix::fs::access(there, rustix::fs::Access::WRITE_OK)?;
    #[cfg(not(unix))]
    let _ = fs::metadata(there)?;
    Ok(())
}

fn address(config: &Config) -> Finding {
    let address = config.http.listen;
    match TcpListener::bind(address) {
        Ok(_) => Finding::good("address", format!("{address} is free")),
        Err(error) => Finding::warning(
            "address",
            format!("{address}: {error}"),
            "a server may be running there already; `--set http.listen=127.0.0.1:3001` takes another port",
        ),
    }
}

fn tools(language: Language) -> Finding {
    let what = format!("tools for {}", language.full_name());
    match build::check_tools(language) {
        Ok(()) => Finding::good(&what, "there"),
        Err(error) => Finding {
            what,
            verdict: Verdict::Warning,
            detail: error.to_string(),
            hint: None,
        },
    }
}
