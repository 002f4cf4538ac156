//! `pointsman enqueue --lines`: puts many commands into the queue, in batches that are
//! stored whole or not at all.

use std::{
    io::{BufRead, BufReader, Read as _},
    path::Path,
};

use anyhow::Context as _;
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::{
    Exit, input,
    kept::Kept,
    print,
    terminal::{self, out},
    warn_of,
};
use crate::{
    diagnostic::Diagnostic,
    files,
    queue::{BULK_MAX, BulkError, EnqueueOptions, Faults},
};

/// As many faults are shown as fit on a screen.
const SHOWN_MAX: usize = 10;

/// What became of the lines.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    /// New ones.
    stored: usize,
    /// Those that were stored before.
    repeated: usize,
    /// The first line of which nothing is stored, where it did not go to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_at: Option<u64>,
}

/// Stores the commands of a file, or of standard input, one on each line.
pub(super) async fn run(
    path: &Path,
    kept: &Kept,
    options: EnqueueOptions,
    max_bytes: usize,
    json: bool,
) -> anyhow::Result<Exit> {
    let name = path.display().to_string();
    let mut lines = Lines::open(path, max_bytes)?;
    let mut summary = Summary::default();
    let failure = loop {
        let first = lines.next;
        // A pipe may wait for ever, and signals are to be heard.
        let batch;
        (lines, batch) = spawn_blocking(move || {
            let batch = lines.batch();
            (lines, batch)
        })
        .await?;
        let stored = match batch.with_context(|| format!("{name}: cannot be read")) {
            Ok(text) if text.is_empty() => break None,
            Ok(text) => kept.enqueue_lines((first, text), options.clone()).await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(entries) => {
                let repeated = entries.iter().filter(|entry| entry.repeated).count();
                summary.repeated += repeated;
                summary.stored += entries.len() - repeated;
            }
            Err(error) => break Some((first, error)),
        }
    };
    summary.stopped_at = failure.as_ref().map(|(first, _)| *first);
    kept.close().await?;
    show(&summary, &name, json)?;
    let Some((_, error)) = failure else {
        return Ok(Exit::Succeeded);
    };
    match error.downcast::<BulkError>() {
        Ok(BulkError::Lines(faults)) => warn_of(&within(&name, &faults)),
        Ok(error) => print::error(&error.into()),
        Err(error) => print::error(&error),
    }
    Ok(Exit::Usage)
}

fn show(summary: &Summary, name: &str, json: bool) -> anyhow::Result<()> {
    if json {
        return Ok(terminal::json(summary)?);
    }
    let stored = print::counted(summary.stored, "command");
    match summary.repeated {
        0 => out!("{stored} stored"),
        repeated => out!("{stored} stored, {repeated} stored before"),
    }
    if let Some(line) = summary.stopped_at {
        out!("stopped at {name}:{line}: nothing from this line on is stored");
    }
    Ok(())
}

/// The faults with where they are in the file.
fn within(name: &str, faults: &Faults) -> Vec<Diagnostic> {
    let shown = faults.told.iter().take(SHOWN_MAX);
    let shown = shown.map(|(line, fault)| {
        let line = u32::try_from(*line).unwrap_or(u32::MAX);
        fault.clone().on_line(name, line)
    });
    let mut all: Vec<_> = shown.collect();
    if let Some(more) = faults.count.checked_sub(all.len()).filter(|more| *more > 0) {
        let more = print::counted(more, "more command");
        all.push(Diagnostic::error(
            "invalid-lines",
            format!("{more} of this batch cannot be enqueued"),
        ));
    }
    all
}

/// Reads commands in batches.
struct Lines {
    reader: Box<dyn BufRead + Send>,
    /// What was read and did not fit into the batch before.
    left: Vec<u8>,
    /// The number of the next line.
    next: u64,
    max_bytes: usize,
}

impl Lines {
    fn open(path: &Path, max_bytes: usize) -> anyhow::Result<Self> {
        let reader: Box<dyn BufRead + Send> = if path == Path::new("-") {
            Box::new(BufReader::new(std::io::stdin()))
        } else {
            let file = files::apart_blocking(path, files::open)
                .map_err(|error| input::unreadable(path, &error))?;
            Box::new(BufReader::new(file))
        };
        Ok(Self {
            reader,
            left: Vec::new(),
            next: 1,
            max_bytes,
        })
    }

    /// The next lines, as many as go together; none at the end.
    fn batch(&mut self) -> anyhow::Result<Vec<u8>> {
        let (mut text, mut commands) = (Vec::new(), 0);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(text);
            }
            let is_blank = line.trim_ascii().is_empty();
            let is_full = commands == BULK_MAX || text.len() + line.len() > self.max_bytes;
            if is_full && !text.is_empty() {
                self.left = line;
                return Ok(text);
            }
            commands += usize::from(!is_blank);
            self.next += 1;
            text.extend_from_slice(&line);
        }
    }

    fn line(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut line = std::mem::take(&mut self.left);
        if !line.is_empty() {
            return Ok(line);
        }
        let most = self.max_bytes as u64 + 1;
        (&mut self.reader).take(most).read_until(b'\n', &mut line)?;
        if line.len() > self.max_bytes && !line.ends_with(b"\n") {
            anyhow::bail!(
                "line {}: the command has more than {} bytes: `host.command_max_bytes` sets the limit",
                self.next,
                self.max_bytes
            );
        }
        Ok(line)
    }
}
