//! Any text as settings of a handler and of the host, from each of their sources:
//! settings, or a refusal in words of a bounded length.

use std::{path::Path, sync::LazyLock};

use pointsman::{config::Config, sandbox::HandlerSettings};

static DEFAULTS: LazyLock<Config> = LazyLock::new(Config::default);

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(error) = HandlerSettings::parse(
        Path::new("plugins/greet.toml"),
        text,
        &DEFAULTS.handler_defaults(),
    ) {
        refused(error, text);
    }
    let pairs: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let flags: Vec<_> = pairs
        .iter()
        .map(|(key, value)| (*key, (*value).to_owned()))
        .collect();
    if let Err(error) = Config::load(None, [], &flags) {
        refused(error, text);
    }
    let variables = pairs
        .iter()
        .map(|(key, value)| (format!("POINTSMAN_{key}").into(), value.into()));
    if let Err(error) = Config::load(None, variables, &[]) {
        refused(error, text);
    }
    let file = std::env::temp_dir().join(format!("pointsman-fuzz-{}.toml", std::process::id()));
    std::fs::write(&file, text).expect("the folder can be written");
    if let Err(error) = Config::load(Some(&file), [], &[]) {
        refused(error, text);
    }
    std::fs::remove_file(file).expect("it was written");
}

fn refused(error: impl std::fmt::Display, text: &str) {
    let said = error.to_string();
    assert!(!said.is_empty(), "{text:?}");
    assert!(
        said.len() <= 8 * text.len() + (16 << 10),
        "{}: {text:?}",
        said.len()
    );
}
