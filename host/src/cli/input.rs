//! Owns where a command on the command line comes from: the argument itself,
//! standard input or a file.

use std::{
    io::{self, ErrorKind, Read as _},
    path::Path,
};

use anyhow::Context;

use crate::{diagnostic::Diagnostic, files};

/// What to do with a pipe or a device, which may never end.
pub(super) const PIPE_HINT: &str = "pipe it in, and write `-` to read standard input";

/// The command's text, of at most `max_bytes`.
pub(super) fn command(argument: &str, max_bytes: usize) -> anyhow::Result<Vec<u8>> {
    let text = match argument.strip_prefix('@') {
        Some(path) => return file(Path::new(path), max_bytes),
        None if argument == "-" => {
            let mut text = Vec::new();
            io::stdin()
                .lock()
                .take(max_bytes as u64 + 1)
                .read_to_end(&mut text)
                .context("standard input cannot be read")?;
            text
        }
        None => argument.into(),
    };
    if text.len() > max_bytes {
        return Err(too_large(max_bytes));
    }
    Ok(text)
}

fn file(path: &Path, max_bytes: usize) -> anyhow::Result<Vec<u8>> {
    let read = files::apart_blocking(path, move |path| files::read(path, max_bytes as u64));
    read.map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => too_large(max_bytes),
        _ => unreadable(path, &error).into(),
    })
}

fn too_large(max_bytes: usize) -> anyhow::Error {
    anyhow::anyhow!(
        "the command has more than {max_bytes} bytes: `host.command_max_bytes` sets the limit"
    )
}

/// Why a file with commands cannot be read.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let message = format!("cannot be read: {error}");
    let diagnostic = Diagnostic::error("unreadable", message).within(path.display().to_string());
    match error.kind() {
        // What is not a regular file.
        ErrorKind::InvalidInput => diagnostic.hint(PIPE_HINT),
        _ => diagnostic,
    }
}
