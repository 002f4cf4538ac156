//! `pointsman init`: creates a project with a handler, a rule and settings.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{Exit, completions, print, terminal::out};
use crate::{
    build::{self, Language},
    name::HandlerName,
    new::{self, NewRule},
};

/// The name of the example handler.
const HANDLER: &str = "greet";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  pointsman init orders
  cd orders
  pointsman run --build '{\"requestType\":\"Greet\",\"name\":\"Ada\"}'")]
pub(super) struct Args {
    /// Folder to create, or an empty one
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Language of the example handler [default: the first whose tools are installed]
    #[arg(long, value_name = "LANGUAGE", add = completions::languages())]
    lang: Option<Language>,
}

const SETTINGS: &str = r#"# Settings of this server. `pointsman config show` lists all with their defaults.

# [http]
# listen = "127.0.0.1:3000"

# [limits]                # of each handler, unless plugins/<name>.toml overrides them
# timeout = "30s"
"#;

const IGNORED: &str = "# Built components, and the queue.\n/plugins/*.wasm\n/data/\n";

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let dir = &args.dir;
    refuse_unless_empty(dir)?;
    let can_build = |language: &Language| build::check_tools(*language).is_ok();
    let language = args.lang.unwrap_or_else(|| {
        let found = Language::ALL.into_iter().find(can_build);
        found.unwrap_or(Language::Rust)
    });
    let write = |path: &str, text: &str| {
        let path = dir.join(path);
        fs::write(&path, text).with_context(|| path.display().to_string())
    };
    for folder in ["plugins", "rules"] {
        let folder = dir.join(folder);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    write("pointsman.toml", SETTINGS)?;
    write(".gitignore", IGNORED)?;
    let name = HandlerName::parse(HANDLER)?;
    let rule = NewRule::In(&dir.join("rules"));
    let handler = new::create(&dir.join("plugins"), &name, language, rule)?;
    said(dir, &handler, language);
    Ok(Exit::Succeeded)
}

fn said(dir: &Path, handler: &Path, language: Language) {
    let is_here = dir == Path::new(".");
    let shown = match is_here {
        true => "a project in this folder".to_owned(),
        false => dir.display().to_string(),
    };
    let handler = handler.strip_prefix(".").unwrap_or(handler);
    out!(
        "created {} with a handler in {}: {}",
        print::Styled(print::BOLD, shown),
        language.full_name(),
        handler.display()
    );
    if !is_here {
        out!("  go there:                 cd {}", print::argument(dir));
    }
    out!(
        "  run a command:            pointsman run --build '{{\"requestType\":\"Greet\",\"name\":\"Ada\"}}'"
    );
    out!("  test on every change:     pointsman dev plugins/{HANDLER}");
    out!("  start the server:         pointsman serve");
}

fn refuse_unless_empty(dir: &Path) -> anyhow::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| dir.display().to_string()),
    };
    for entry in entries {
        let name = entry
            .with_context(|| dir.display().to_string())?
            .file_name();
        // A Git repository may already exist.
        if name != ".git" {
            anyhow::bail!(
                "`{}` is not empty: it has `{}`; name a new folder, such as `pointsman init orders`",
                dir.display(),
                name.to_string_lossy()
            );
        }
    }
    Ok(())
}
