//! Owns what a token is: its name, its roles, the digest of its secret and when it
//! expires; and the two forms in which it is written.

use std::{fmt, str::FromStr, sync::Arc};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};
use sha2::{Digest as _, Sha256};
use toml::Value;

/// Names appear in each line of the audit log.
const NAME_MAX_BYTES: usize = 64;
/// What every token begins with, so that scanners of repositories and logs find one.
const PREFIX: &str = "pmt_";
/// 256 bits: nobody guesses one, so a fast digest is enough to keep.
const SECRET_BYTES: usize = 32;

/// What a token may be used for. No role includes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Run and enqueue commands, and read one command by its id.
    Execute,
    /// List commands and deliveries; read handlers, rules, explanations and metrics.
    Read,
    /// Cancel, retry, discard, pause, resume and run schedules.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Execute, Self::Read, Self::Admin];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let role = Self::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or(())
    }
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Every role.
    #[must_use]
    pub const fn all() -> Self {
        Self(0b111)
    }

    /// Whether `role` is among them.
    #[must_use]
    pub const fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }

    /// Those that are in it, in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        let add = |set, role| set | 1 << role as u8;
        Self(roles.into_iter().fold(0, add))
    }
}

/// As in `execute+read`.
impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Role::as_str).collect();
        f.write_str(&names.join("+"))
    }
}

/// The SHA-256 of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of what a client presents.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Its bytes, for a comparison in constant time.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A token that is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What the audit log calls whoever has it.
    pub name: Arc<str>,
    /// What it may be used for.
    pub roles: Roles,
    /// The digest of its secret.
    pub digest: Digest,
    /// From then on it is refused.
    pub expires: Option<Timestamp>,
}

/// Why a text is not a token. Never repeats it: it may be the secret itself.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It has too few parts.
    #[error("is not a token: write `NAME:ROLE+ROLE:SHA256`, as `pointsman token new` prints it")]
    Form,
    /// Its name is empty, too long or has other characters.
    #[error("the name is not 1 to {NAME_MAX_BYTES} letters, digits, `-`, `_` and `.`")]
    Name,
    /// A role that does not exist, or none at all.
    #[error(
        "the roles of `{0}` are not some of `execute`, `read` and `admin`, with `+` between them"
    )]
    Roles(String),
    /// The digest is not one.
    #[error("the SHA-256 of `{0}` is not 64 hexadecimal digits: `pointsman token new` prints it")]
    Digest(String),
    /// The time is not one.
    #[error("`{0}` expires at no time that is known: write it as `2027-01-31T00:00:00Z`")]
    Expires(String),
}

fn checked_name(name: &str) -> Result<Arc<str>, TokenError> {
    let is_known = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    match name.len() {
        1..=NAME_MAX_BYTES if name.bytes().all(is_known) => Ok(name.into()),
        _ => Err(TokenError::Name),
    }
}

impl FromStr for Token {
    type Err = TokenError;

    /// `name:role+role:sha256`, perhaps with `:expires` behind it.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.splitn(4, ':');
        let (Some(name), Some(roles), Some(digest)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Form);
        };
        let name = checked_name(name)?;
        let roles: Result<Roles, ()> = roles.split('+').map(str::parse).collect();
        let said = || name.to_string();
        Ok(Self {
            roles: roles.map_err(|()| TokenError::Roles(said()))?,
            digest: Digest::parse(digest).ok_or_else(|| TokenError::Digest(said()))?,
            expires: match parts.next() {
                None => None,
                Some(time) => Some(time.parse().map_err(|_| TokenError::Expires(said()))?),
            },
            name,
        })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            roles,
            digest,
            expires,
        } = self;
        write!(f, "{name}:{roles}:{digest}")?;
        expires.map_or(Ok(()), |expires| write!(f, ":{expires}"))
    }
}

/// The same as a table of `pointsman.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    roles: Vec<Role>,
    sha256: String,
    // A time of TOML, or the text of one.
    expires: Option<Value>,
}

impl TryFrom<Table> for Token {
    type Error = TokenError;

    fn try_from(table: Table) -> Result<Self, TokenError> {
        let name = checked_name(&table.name)?;
        let said = || name.to_string();
        let time = |value: Value| match value {
            Value::Datetime(time) => time.to_string().parse().ok(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        if table.roles.is_empty() {
            return Err(TokenError::Roles(said()));
        }
        Ok(Self {
            roles: table.roles.into_iter().collect(),
            digest: Digest::parse(&table.sha256).ok_or_else(|| TokenError::Digest(said()))?,
            expires: match table.expires {
                None => None,
                Some(value) => Some(time(value).ok_or_else(|| TokenError::Expires(said()))?),
            },
            name,
        })
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Token;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token: `{ name, roles, sha256 }` or `NAME:ROLE+ROLE:SHA256`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Token, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Token, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                table.try_into().map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// A token that was made just now: the only time that its secret is known here.
pub struct NewToken {
    /// What a client sends.
    pub secret: String,
    /// What the host is told.
    pub token: Token,
}

impl NewToken {
    /// Makes one.
    ///
    /// # Errors
    /// [`TokenError`] for the name or where there are no roles, and where the system
    /// gives no random bytes.
    pub fn make(name: &str, roles: Roles, expires: Option<Timestamp>) -> anyhow::Result<Self> {
        let name = checked_name(name)?;
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes)?;
        let secret = format!("{PREFIX}{}", Digest(bytes));
        Ok(Self {
            token: Token {
                name,
                roles,
                digest: Digest::of(secret.as_bytes()),
                expires,
            },
            secret,
        })
    }
}
