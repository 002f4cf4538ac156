//! Owns the tokens of `http.tokens_file`: one a line, looked at again while the host
//! runs. A version that cannot be used leaves the last one in force.

use std::{io, path::Path, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Access, Token};
use crate::{
    diagnostic::Diagnostic,
    files::{apart, follow, read_text},
};

/// Some 10,000 tokens.
const FILE_MAX_BYTES: u64 = 1 << 20;

impl Access {
    /// Reads `http.tokens_file`, if there is one and it has changed. Says how many tokens
    /// are in force from it then.
    ///
    /// # Errors
    /// Where it cannot be used; the tokens before stay in force. A text is told of once.
    pub async fn reload(&self) -> Result<Option<usize>, Diagnostic> {
        let Some(path) = &self.file else {
            return Ok(None);
        };
        let text = apart(path, |path| read_text(path, FILE_MAX_BYTES)).await;
        let text = text.map_err(|error| unreadable(path, &error))?;
        if !self.is_new(&text) {
            return Ok(None);
        }
        let tokens = parse(path, &text)?;
        let count = tokens.len();
        self.replace(tokens);
        Ok(Some(count))
    }

    /// Follows the file until `stop`.
    pub(crate) async fn follow(&self, every: Duration, stop: CancellationToken) {
        let news = |tokens| tracing::info!(tokens, "reloaded the tokens of `http.tokens_file`");
        follow(every, &stop, UNREADABLE, || self.reload(), news).await;
    }
}

const UNREADABLE: &str = "tokens-unreadable";

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error(UNREADABLE, format!("cannot be read: {error}"))
        .within(path.display().to_string())
        .hint("`http.tokens_file` names it; tokens that were read before stay in force")
}

/// One token a line; empty lines and those with `#` at their start are passed over.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Token>, Diagnostic> {
    let mut tokens: Vec<Token> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |message: String| {
            let place = format!("{}:{}", path.display(), at + 1);
            Diagnostic::error("invalid-token", message).within(place)
        };
        let token: Token = line.parse().map_err(|error| wrong(format!("{error}")))?;
        if tokens.iter().any(|other| other.name == token.name) {
            return Err(wrong(format!("there are two tokens `{}`", token.name)));
        }
        tokens.push(token);
    }
    Ok(tokens)
}
