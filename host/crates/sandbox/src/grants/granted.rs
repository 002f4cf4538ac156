//! Owns what one handler was granted, as its calls meet it: secrets read,
//! folders found, requests judged. Deny is the default; what is denied names
//! the line of `plugins/<name>.toml` that would grant it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    address::Reach,
    folders::{FolderGone, GrantedFolder, Preopened},
    injected::Injected,
    pattern::Target,
    secrets::{self, Secret},
    services::SqlGrant,
    settings::{HandlerSettings, HttpGrant},
};
use crate::{error::LoadError, shares::Shares};
use pointsman_core::name::{HandlerName, nearest};
use pointsman_database::Database;
use pointsman_machine::files::apart_blocking;

/// Denials of one handler that are reported; the URLs are the guest's choice,
/// and each is remembered.
const DENIALS_MAX: usize = 32;

/// Bytes of a path that a denial repeats.
const PATH_MAX_BYTES: usize = 200;

/// Bytes of a host and port that a denial repeats: the longest name has 253.
const AUTHORITY_MAX_BYTES: usize = 260;

/// What one handler was granted.
#[derive(Debug)]
pub struct Grants {
    name: HandlerName,
    secrets: BTreeMap<String, Secret>,
    injected: Vec<Injected>,
    folders: Vec<GrantedFolder>,
    http: Arc<HttpGrant>,
    databases: BTreeMap<String, Arc<Database>>,
    sql: BTreeMap<String, SqlGrant>,
    // The patterns that would have allowed what was denied.
    reported: Mutex<BTreeSet<String>>,
}

/// A use that was not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    /// The use and the line that grants it.
    pub(crate) message: String,
    pattern: String,
}

impl Denial {
    /// A request that a test did not expect, which says so.
    pub(super) fn unexpected(message: String) -> Self {
        Self {
            pattern: message.clone(),
            message,
        }
    }
}

/// A request that may go out, if where it leads is within reach.
#[derive(Debug)]
pub(super) struct Permit {
    pub(super) reach: Reach,
    /// The secrets that it gets, as their places in the grants.
    pub(super) injected: Vec<usize>,
    // What would grant it, as the guest wrote it.
    pattern: String,
}

impl Permit {
    /// The request without its query.
    pub(super) fn shown(&self) -> &str {
        &self.pattern
    }
}

impl Grants {
    /// Reads the secrets and finds the folders of `settings`, which stand in
    /// the file `settings_path`.
    ///
    /// # Errors
    /// [`LoadError`], which names the handler, the key and the fix.
    pub fn read(
        name: HandlerName,
        settings: &HandlerSettings,
        settings_path: &Path,
    ) -> Result<Self, LoadError> {
        let base = settings_path.parent().unwrap_or(Path::new(""));
        let (mut secrets, mut injected) = (BTreeMap::new(), Vec::new());
        for (key, secret) in &settings.secrets {
            let wrong = |reason: &str, hint: String| {
                let reason = format!("handler `{name}`: secret `{key}`: {reason}");
                LoadError::new(settings_path, reason, hint).of_settings()
            };
            let value = secrets::read(&secret.source, base)
                .map_err(|(reason, hint)| wrong(&reason, hint))?;
            let Some(injection) = &secret.inject else {
                secrets.insert(key.clone(), value);
                continue;
            };
            injected.push(Injected::new(injection, value.reveal()).ok_or_else(|| {
                let hint =
                    "a header cannot contain line breaks or control characters: check its source";
                wrong("its value cannot stand in a header", hint.into())
            })?);
        }
        let mut folders = Vec::new();
        for folder in &settings.folders {
            let granted = GrantedFolder::new(folder, base);
            let found = apart_blocking(granted.host(), |host| fs::read_dir(host).map(drop));
            if let Err(cause) = found {
                return Err(LoadError::new(
                    settings_path,
                    format!(
                        "handler `{name}`: folder `{}` for `{}`: {cause}",
                        granted.host().display(),
                        folder.guest
                    ),
                    "create the folder, make it readable for the host, or fix `host` in `[[folders]]`; a relative path starts at this file's folder",
                )
                .of_settings());
            }
            folders.push(granted);
        }
        let mut databases = BTreeMap::new();
        for (key, grant) in &settings.sql {
            let database = grant.open(key, base).map_err(|(reason, hint)| {
                let reason = format!("handler `{name}`: database `{key}`: {reason}");
                LoadError::new(settings_path, reason, hint).of_settings()
            })?;
            databases.insert(key.clone(), database);
        }
        Ok(Self {
            databases,
            sql: settings.sql.clone(),
            name,
            secrets,
            injected,
            folders,
            http: Arc::new(settings.http.clone()),
            reported: Mutex::default(),
        })
    }

    /// Whether the other one grants the same, to the values of its secrets.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.secrets == other.secrets
            && self.injected == other.injected
            && self.folders == other.folders
            && self.http == other.http
            && self.sql == other.sql
    }

    /// The secret with this key.
    pub(crate) fn secret(&self, key: &str) -> Option<&Secret> {
        self.secrets.get(key)
    }

    /// Grants these databases instead of those of the settings: for tests.
    #[must_use]
    pub fn with_databases(mut self, databases: BTreeMap<String, Arc<Database>>) -> Self {
        self.databases = databases;
        self
    }

    /// The database with this name.
    pub(crate) fn database(&self, name: &str) -> Option<&Arc<Database>> {
        self.databases.get(name)
    }

    /// What a use of a database is denied for that nobody granted.
    pub(crate) fn no_database(&self, name: &str) -> Denial {
        let shown: String = name.chars().take(64).collect();
        let near = nearest(name, self.databases.keys().map(String::as_str))
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        Denial {
            message: format!(
                "database `{shown}` is not granted{near}; to grant it, add to plugins/{}.toml: [sql.{shown}] with `url = {{ env = \"DATABASE_URL\" }}`",
                self.name
            ),
            pattern: format!("sql {shown}"),
        }
    }

    /// What a use of a service is denied for that nobody granted.
    pub(crate) fn no_service(&self, what: &str, section: &str) -> Denial {
        Denial {
            message: format!(
                "{what} is not granted; to grant it, add to plugins/{}.toml: [{section}]",
                self.name
            ),
            pattern: section.to_owned(),
        }
    }

    /// Whether any HTTP request may go out.
    pub(crate) fn has_http(&self) -> bool {
        !self.http.allow.is_empty() || !self.http.allow_private.is_empty()
    }

    /// Where requests may go, and what they may take.
    pub(crate) fn http(&self) -> &Arc<HttpGrant> {
        &self.http
    }

    /// The folders, open for one instance.
    pub(crate) async fn open_folders(
        self: &Arc<Self>,
        shares: &Arc<Shares>,
    ) -> Result<Vec<Preopened>, FolderGone> {
        if self.folders.is_empty() {
            return Ok(Vec::new());
        }
        let (grants, for_folders) = (Arc::clone(self), Arc::clone(shares));
        let open = move || {
            let folders = grants.folders.iter();
            folders.map(|folder| folder.open(&for_folders)).collect()
        };
        shares.lane().await.run(open).await
    }

    /// Whether a request may go out. One that no pattern allows may go as far as
    /// `otherwise`.
    pub(super) fn judge(
        &self,
        method: &http::Method,
        uri: &http::Uri,
        otherwise: Option<Reach>,
    ) -> Result<Permit, Denial> {
        let target = Target::of(method, uri);
        let scheme = uri.scheme_str().unwrap_or("https");
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        // The query stays out: it may hold what should not be in a log.
        let path = uri.path();
        let plain = target.as_ref().is_some_and(Target::has_plain_path);
        let path = match path.len() <= PATH_MAX_BYTES && plain {
            true => path,
            false => "",
        };
        let shown = |authority: &str| format!("{method} {scheme}://{authority}{path}");
        if let Some(target) = target
            && let Some(reach) = self.reach(&target).or(otherwise)
        {
            let injected = self.injected.iter().enumerate();
            let injected = injected.filter(|(_, secret)| secret.is_for(&target));
            return Ok(Permit {
                reach,
                injected: injected.map(|(at, _)| at).collect(),
                pattern: shown(authority),
            });
        }
        if authority.len() > AUTHORITY_MAX_BYTES || authority.contains('@') {
            let pattern = format!("{method} {scheme}://…");
            let reason = "no pattern grants user names or a host of more than 253 characters";
            return Err(Denial {
                message: format!("HTTP request `{pattern}` is not granted: {reason}"),
                pattern,
            });
        }
        let pattern = shown(authority);
        Err(Denial {
            message: format!(
                "HTTP request `{pattern}` is not granted; to grant it, add to `[http]` in plugins/{}.toml: allow = [{pattern:?}]",
                self.name,
            ),
            pattern,
        })
    }

    /// Adds the secrets of a request, over what the guest put in their headers.
    pub(super) fn inject(&self, permit: &Permit, headers: &mut http::HeaderMap) {
        for at in &permit.injected {
            self.injected[*at].add_to(headers);
        }
    }

    /// How far the widest pattern for it reaches.
    fn reach(&self, target: &Target<'_>) -> Option<Reach> {
        let patterns = self.http.allow.iter();
        let reach = patterns.filter_map(|pattern| pattern.allows(target));
        let private = self.http.allow_private.iter();
        let private = private.filter_map(|pattern| pattern.allows(target));
        reach
            .chain(private.map(|reach| reach.max(Reach::Loopback)))
            .max()
    }

    /// What a request is denied for whose name leads to an address inside of its reach.
    pub(super) fn leads_inside(&self, permit: &Permit, inside: Reach) -> Denial {
        let pattern = &permit.pattern;
        let grant = match inside {
            Reach::Any => "only a pattern with the address itself grants it".to_owned(),
            _ => format!(
                "to grant it, add to `[http]` in plugins/{}.toml: allow_private = [{pattern:?}]",
                self.name
            ),
        };
        Denial {
            message: format!(
                "HTTP request `{pattern}` leads to a {} address; {grant}",
                inside.describe()
            ),
            pattern: format!("private {pattern}"),
        }
    }

    /// Tells the operator of a denial, once for each line that would grant it.
    pub(crate) fn report(&self, denial: &Denial) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() < DENIALS_MAX && reported.insert(denial.pattern.clone()) {
            tracing::warn!("`{}`: {}", self.name, denial.message);
        }
    }
}
