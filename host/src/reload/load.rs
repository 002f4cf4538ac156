//! Owns the way from one handler file and its settings to a [`HandlerFile`].
//! Reads, hashes and compiles: not for an async thread.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use pointsman_core::settings::SettingsError;

use super::file::{Content, digest, read};
use crate::{
    config::{Config, FILE_MAX_BYTES as SETTINGS_MAX_BYTES},
    name::HandlerName,
    rules::Key,
    sandbox::{self, ComponentFile, Grants, Handler, HandlerSettings, LoadError, Runtime},
    snapshot::{HandlerFile, Stamp},
};

/// Loads one handler file, with its settings beside it, as a reload does; none
/// if the file is not there. Blocks while it compiles.
#[must_use]
pub fn load_file(config: &Config, runtime: &Runtime, path: &Path) -> Option<HandlerFile> {
    let load = Load {
        config: Arc::new(config.clone()),
        runtime: runtime.clone(),
        last_good: None,
        path: path.into(),
    };
    load.run()
}

/// One file to be loaded.
pub(super) struct Load {
    pub(super) config: Arc<Config>,
    pub(super) runtime: Runtime,
    /// What came of the file before.
    pub(super) last_good: Option<Arc<Handler>>,
    pub(super) path: PathBuf,
}

/// Set where component and settings were read whole.
pub(super) type Stamps = Option<(Stamp, Option<Stamp>)>;

impl Load {
    /// The file as it is now; none if it is gone.
    pub(super) fn run(self) -> Option<HandlerFile> {
        let mut stamps = None;
        let (handler, error) = match self.handler(&mut stamps).transpose()? {
            Ok(handler) => (Some(handler), None),
            Err(error) => (self.last_good, Some(error)),
        };
        Some(HandlerFile {
            path: self.path,
            stamps,
            handler,
            error,
            compiling: false,
        })
    }

    fn handler(&self, stamps: &mut Stamps) -> Result<Option<Arc<Handler>>, LoadError> {
        let host = &self.config.host;
        let settings_path = self.path.with_extension("toml");
        let settings_file = settings_file(&settings_path)?;
        let settings_stamp = settings_file.as_ref().map(|(stamp, _)| *stamp);
        let content = match read(&self.path, host.plugin_max_bytes) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => {
                return Err(self.error(
                    format!("cannot be read: {cause}"),
                    "make it readable for the host",
                ));
            }
        };
        *stamps = match (content.stamp, settings_stamp) {
            (Some(stamp), None) => Some((stamp, None)),
            (Some(stamp), Some(Some(settings_stamp))) => Some((stamp, Some(settings_stamp))),
            _ => None,
        };
        let name =
            handler_name(&self.path).map_err(|wrong| self.error(wrong, "rename the file"))?;
        let Some(bytes) = content.bytes else {
            return Err(self.error(
                format!(
                    "has {} bytes, more than {}",
                    content.len, host.plugin_max_bytes
                ),
                "raise `host.plugin_max_bytes` in pointsman.toml, or build it smaller",
            ));
        };
        let settings = match settings_file {
            Some((_, text)) => self.settings(&settings_path, text)?,
            None => HandlerSettings::new(&self.config.handler_defaults()),
        };
        let grants = Grants::read(name.clone(), &settings, &settings_path)?;
        let digest: Arc<str> = digest(&bytes).into();
        if let Some(last_good) = &self.last_good
            && last_good.digest == digest
            && *last_good.settings == settings
            && last_good.grants.same_as(&grants)
        {
            return Ok(Some(Arc::clone(last_good)));
        }
        let (runtime, settings, grants) = (&self.runtime, Arc::new(settings), Arc::new(grants));
        let file = ComponentFile {
            name,
            path: &self.path,
            bytes: &bytes,
            digest,
        };
        let handler = sandbox::load(runtime, file, settings, grants)?;
        Ok(Some(Arc::new(handler)))
    }

    fn settings(&self, path: &Path, text: Vec<u8>) -> Result<HandlerSettings, LoadError> {
        let wrong = |cause: String| {
            self.error(
                format!("invalid settings: {cause}"),
                match self.last_good {
                    Some(_) => "fix the settings: the handler keeps the last valid ones",
                    None => "fix the settings: the handler is not loaded until then",
                },
            )
            .of_settings()
        };
        let text = crate::text::decode(&text)
            .map_err(|cause| wrong(format!("{} {cause}", path.display())))?;
        parse_settings(path, text, &self.config).map_err(|cause| wrong(cause.to_string()))
    }

    fn error(&self, reason: String, hint: &str) -> LoadError {
        LoadError::new(&self.path, reason, hint)
    }
}

/// Reads the settings of a handler, the expression of its key included.
///
/// # Errors
/// [`SettingsError`], which names the file and the key.
pub fn parse_settings(
    path: &Path,
    text: &str,
    config: &Config,
) -> Result<HandlerSettings, SettingsError> {
    let settings = HandlerSettings::parse(path, text, &config.handler_defaults())?;
    let queue = &settings.queue;
    for (key, text) in [
        ("queue.key", &queue.key),
        ("queue.rate.key", &queue.rate.key),
    ] {
        let Some(text) = text else { continue };
        Key::parse(text).map_err(|message| SettingsError::Refused {
            origin: path.display().to_string(),
            key: key.to_owned(),
            message,
        })?;
    }
    Ok(settings)
}

/// A file that was read whole, and its stamp as [`Content`] has it.
type Whole = (Option<Stamp>, Vec<u8>);

/// The settings beside a handler; none where it has none.
fn settings_file(path: &Path) -> Result<Option<Whole>, LoadError> {
    let refused = |reason: String, hint| LoadError::new(path, reason, hint).of_settings();
    match read(path, SETTINGS_MAX_BYTES) {
        Ok(Content {
            stamp,
            bytes: Some(bytes),
            ..
        }) => Ok(Some((stamp, bytes))),
        Ok(Content { len, .. }) => Err(refused(
            format!("has {len} bytes, more than {SETTINGS_MAX_BYTES}"),
            "keep large values in a file: a `[secrets]` entry or a folder names it",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(refused(
            format!("cannot be read: {cause}"),
            "make it readable, or remove it",
        )),
    }
}

fn handler_name(path: &Path) -> Result<HandlerName, String> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let name = HandlerName::parse(stem.unwrap_or_default()).map_err(|wrong| wrong.to_string())?;
    if name.as_str() == HandlerName::ROUTER {
        let name = HandlerName::ROUTER;
        return Err(format!(
            "`{name}` is the name by which the queue routes commands: give the file another one"
        ));
    }
    Ok(name)
}
