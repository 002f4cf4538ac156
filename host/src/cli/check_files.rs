//! `pointsman check FILE.wasm...`: does the host take it, and what is in it.

use std::{fs, path::PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::{
    Exit, print,
    terminal::{self, out, out_lines},
};
use crate::{
    budget::Budgets,
    config::Config,
    files,
    reload::load_file,
    sandbox::{Inspection, LoadError, Runtime},
    snapshot::HandlerFile,
    text::{self, MESSAGE_MAX_BYTES},
};

/// Nothing is printed unless every file can be read.
pub(super) fn run(files: &[PathBuf], as_json: bool, config: &Config) -> anyhow::Result<Exit> {
    let runtime = Runtime::new(
        &config.host.sandbox,
        &config.limits,
        &Budgets::here(&config.budgets()),
    )?;
    let mut checked = Vec::new();
    for path in files {
        fs::metadata(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        let file = load_file(config, &runtime, path)
            .with_context(|| format!("{}: is gone", path.display()))?;
        // What a damaged file says of itself is worth nothing, and what a bomb
        // says may have no end.
        let sound = |error: &LoadError| !error.mismatches.is_empty();
        let about = match file.error.as_ref().is_none_or(sound) {
            true => Inspection::of(
                &files::read(path, config.host.plugin_max_bytes)
                    .with_context(|| format!("{}: cannot be read", path.display()))?,
            ),
            false => Inspection::default(),
        };
        checked.push((file, about));
    }
    if as_json {
        let files: Vec<_> = checked
            .iter()
            .map(|(file, about)| document(file, about))
            .collect();
        terminal::json(&json!({ "files": files }))?;
    } else {
        for (file, about) in &checked {
            show(file, about);
        }
    }
    let fits = |(file, _): &(HandlerFile, _)| file.error.is_none();
    Ok(if checked.iter().all(fits) {
        Exit::Succeeded
    } else {
        Exit::Failed
    })
}

fn document(file: &HandlerFile, about: &Inspection) -> Value {
    let handler = file.handler.as_ref();
    let error = file.error.as_ref().map(|error| {
        let mismatches = error.mismatches.iter().map(|mismatch| {
            json!({
                "what": mismatch.what,
                "expected": mismatch.expected,
                "found": mismatch.found,
                "hint": mismatch.hint,
            })
        });
        json!({
            "reason": error.reason,
            "hint": error.hint,
            "mismatches": mismatches.collect::<Vec<_>>(),
        })
    });
    let needs = about.needs.iter().map(
        |need| json!({ "grant": need.grant, "purpose": need.purpose, "imports": need.imports }),
    );
    json!({
        "file": file.path,
        "fits": error.is_none(),
        "error": error,
        "contract": about.contract,
        "name": about.name,
        "version": about.version,
        "description": about.description,
        "license": about.license,
        "producers": about.producers,
        "sizeBytes": handler.map(|handler| handler.size_bytes),
        "digest": handler.map(|handler| &handler.digest),
        "imports": about.imports,
        "needs": needs.collect::<Vec<_>>(),
    })
}

fn show(file: &HandlerFile, about: &Inspection) {
    // What a component says of itself is as long as its author likes.
    let line = |label: &str, text: &str| {
        let text = text::bounded(text, MESSAGE_MAX_BYTES);
        out!("  {label:9} {text}");
    };
    if let Some(error) = &file.error {
        out_lines!(2, "{} {error}", print::bad("error:"));
        // What a damaged file says of itself is worth nothing.
        if error.mismatches.is_empty() {
            return;
        }
    }
    if let Some(handler) = &file.handler {
        let contract = about.contract.as_deref().unwrap_or_default();
        out!(
            "{} {} pointsman:handler@{contract}",
            print::Styled(print::BOLD, file.path.display()),
            print::good("fits"),
        );
        line("size", &print::bytes(handler.size_bytes));
        line("sha256", &handler.digest);
    }
    let named = [&about.name, &about.version].map(|text| text.as_deref());
    let named: Vec<_> = named.into_iter().flatten().collect();
    let texts = [
        ("name", (!named.is_empty()).then(|| named.join(" "))),
        ("about", about.description.clone()),
        ("licence", about.license.clone()),
    ];
    for (label, text) in texts {
        if let Some(text) = text {
            line(label, &text);
        }
    }
    for (field, label) in [("language", "language"), ("processed-by", "made by")] {
        if let Some(makers) = about.producers.get(field) {
            line(label, &makers.join(", "));
        }
    }
    if !about.imports.is_empty() {
        for (at, package) in by_package(&about.imports).iter().enumerate() {
            line(if at == 0 { "imports" } else { "" }, package);
        }
    }
    if file.error.is_some() {
        return;
    }
    for need in &about.needs {
        line(
            "may need",
            &format!(
                "{} for {} ({})",
                need.grant,
                need.purpose,
                need.imports.join(", ")
            ),
        );
    }
    if about
        .imports
        .iter()
        .any(|import| import.starts_with("wasi:"))
    {
        line(
            "",
            "std and interpreters import much of WASI whether they use it or not: grant what the handler does use",
        );
    }
}

/// One line a package: `wasi:io@0.2.6: error, poll, streams`.
fn by_package(imports: &[String]) -> Vec<String> {
    let mut packages: Vec<(String, Vec<&str>)> = Vec::new();
    for import in imports {
        let (name, version) = import.split_once('@').unwrap_or((import, ""));
        let (package, interface) = name.split_once('/').unwrap_or((name, ""));
        let package = match version {
            "" => package.to_owned(),
            version => format!("{package}@{version}"),
        };
        match packages.iter_mut().find(|(known, _)| *known == package) {
            Some((_, interfaces)) => interfaces.push(interface),
            None => packages.push((package, vec![interface])),
        }
    }
    let lines = packages.into_iter().map(|(package, interfaces)| {
        let interfaces = interfaces.join(", ");
        format!("{package}: {interfaces}")
    });
    lines.collect()
}
