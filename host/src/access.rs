//! Owns who may do what: tokens with their roles, which ones are valid now, and
//! the comparison of what a client presents with them. Only digests are kept.

mod file;
mod sessions;
mod token;

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use subtle::ConstantTimeEq;

pub use sessions::{SESSION_LASTS, Sessions};
pub use token::{Digest, NewToken, Role, Roles, Token, TokenError};

/// The tokens of a host. Those of the settings stay as they are; those of
/// `http.tokens_file` are followed.
#[derive(Debug)]
pub struct Access {
    is_required: bool,
    is_over_tls: bool,
    of_settings: Vec<Token>,
    file: Option<PathBuf>,
    of_file: ArcSwap<Vec<Token>>,
    sessions: Sessions,
    // The text that `of_file` was read from, or that was refused.
    text: Mutex<Option<String>>,
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The name of the token; none where the host asks for no token.
    pub name: Option<Arc<str>>,
    /// What the caller may do.
    pub roles: Roles,
    /// Where the request comes from, where that is known.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// Whoever reaches a host that asks for no token.
    #[must_use]
    pub const fn anyone() -> Self {
        Self {
            name: None,
            roles: Roles::all(),
            address: None,
        }
    }
}

/// Why a token lets nobody in. Clients are not told which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// No token has this digest.
    Unknown,
    /// The token with this name has expired.
    Expired(Arc<str>),
}

impl Access {
    /// The tokens of the settings; those of the file are read by [`Access::reload`].
    /// Where there is neither, whoever reaches the host may do everything.
    #[must_use]
    pub fn new(tokens: Vec<Token>, file: Option<PathBuf>) -> Self {
        Self {
            is_required: !tokens.is_empty() || file.is_some(),
            is_over_tls: false,
            of_settings: tokens,
            file,
            of_file: ArcSwap::default(),
            sessions: Sessions::default(),
            text: Mutex::default(),
        }
    }

    /// The same for a host that speaks TLS alone.
    #[must_use]
    pub fn over_tls(self) -> Self {
        Self {
            is_over_tls: true,
            ..self
        }
    }

    /// Whether tokens and sessions come over TLS alone.
    #[must_use]
    pub fn is_over_tls(&self) -> bool {
        self.is_over_tls
    }

    /// Whether requests need a token.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.is_required
    }

    /// Whether there is a file to follow.
    #[must_use]
    pub(crate) fn is_followed(&self) -> bool {
        self.file.is_some()
    }

    /// Whose token `presented` is. How long this takes depends on the number of tokens
    /// alone: each digest is compared, in constant time.
    ///
    /// # Errors
    /// [`Invalid`], where it is nobody's or has expired.
    pub fn caller(&self, presented: &[u8], now: Timestamp) -> Result<Caller, Invalid> {
        self.caller_of(&Digest::of(presented), now)
    }

    /// The sessions of browsers.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Whose session `id` is.
    ///
    /// # Errors
    /// [`Invalid`], where there is no such session, or its token is no longer valid.
    pub fn caller_in(&self, id: &str, now: Timestamp) -> Result<Caller, Invalid> {
        let token = self.sessions.token(id).ok_or(Invalid::Unknown)?;
        self.caller_of(&token, now)
    }

    fn caller_of(&self, digest: &Digest, now: Timestamp) -> Result<Caller, Invalid> {
        let of_file = self.of_file.load();
        let tokens = self.of_settings.iter().chain(of_file.iter());
        let found = matching(tokens, |other| other.bytes().ct_eq(digest.bytes()).into());
        let token = found.ok_or(Invalid::Unknown)?;
        if token.expires.is_some_and(|expires| expires <= now) {
            return Err(Invalid::Expired(Arc::clone(&token.name)));
        }
        Ok(Caller {
            name: Some(Arc::clone(&token.name)),
            roles: token.roles,
            address: None,
        })
    }

    /// Takes up tokens in place of those that the file had before.
    fn replace(&self, tokens: Vec<Token>) {
        self.of_file.store(Arc::new(tokens));
    }

    fn is_new(&self, text: &str) -> bool {
        let mut last = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = last.as_deref() != Some(text);
        if is_new {
            *last = Some(text.to_owned());
        }
        is_new
    }
}

/// The token whose digest is the one. All are looked at, wherever it is.
fn matching<'a>(
    tokens: impl Iterator<Item = &'a Token>,
    mut is_it: impl FnMut(&Digest) -> bool,
) -> Option<&'a Token> {
    tokens.fold(None, |found, token| match is_it(&token.digest) {
        true => Some(token),
        false => found,
    })
}

#[cfg(test)]
mod tests;
