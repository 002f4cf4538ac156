//! Packages of npm and PyPI in handlers, with the real tools and registries,
//! where `POINTSMAN_LANGUAGES` asks for the language.

use std::fs;

use serde_json::{Value, json};

use super::languages::{asked_for, pointsman};
use crate::{
    cli,
    host::{Folders, only},
};

/// The answer of the handler `uses`, which `pointsman new` wrote and these files replace in part.
async fn answer(folders: &Folders, language: &str, files: &[(&str, &str)]) -> Value {
    pointsman(folders, &["new", "uses", "--lang", language]);
    for (file, text) in files {
        fs::write(folders.path().join("uses").join(file), text).unwrap();
    }
    pointsman(folders, &["build", "uses"]);
    folders.rules(
        "uses.json",
        r#"{"rules":[{"name":"uses","match":"*","handlers":["uses"]}]}"#,
    );
    let report = only(folders.start().await.host(), r#"{"name":"Ada"}"#).await;
    let output = report.outcome.result.unwrap().unwrap();
    serde_json::from_str(output.get()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_uses_packages_of_npm() {
    if asked_for(&["js"]).is_empty() {
        return;
    }
    let package = r#"{
  "name": "uses", "version": "0.1.0", "private": true, "type": "module", "main": "src/handler.js",
  "dependencies": { "date-fns": "^4.1.0", "lodash": "^4.17.21", "zod": "^4.1.0" },
  "devDependencies": { "componentize-qjs": "0.4.5", "esbuild": "0.28.2" }
}"#;
    let source = r#"
import { addDays, formatISO } from "date-fns";
import lodash from "lodash";
import { z } from "zod";

import { handler } from "./pointsman.js";

const Greeting = z.object({ name: z.string() });

export const commandHandler = handler(({ attributes }) => ({
  chunks: lodash.chunk([1, 2, 3], 2),
  day: formatISO(addDays(new Date(2026, 1, 27), 2), { representation: "date" }),
  name: Greeting.parse(attributes).name,
  wrong: Greeting.safeParse({}).success,
}));
"#;
    let folders = Folders::new();
    let files = [("package.json", package), ("src/handler.js", source)];
    let answer = answer(&folders, "js", &files).await;
    assert_eq!(
        answer,
        json!({ "chunks": [[1, 2], [3]], "day": "2026-03-01", "name": "Ada", "wrong": false })
    );
}

const PYPROJECT: &str = r#"[project]
name = "uses"
version = "0.1.0"
dependencies = ["jinja2", "python-dateutil", "PyYAML"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn python_uses_packages_of_pypi_and_locks_them() {
    if asked_for(&["python"]).is_empty() {
        return;
    }
    let source = r#"
import yaml
from dateutil.parser import parse
from jinja2 import Template

from pointsman import Command, export

TEMPLATE = Template("Hello {{ name }}")


def handle(command: Command):
    return [TEMPLATE.render(name=command.field("name", str)), parse("1 March 2026").isoformat(), yaml.safe_load("a: [1]")]


CommandHandler = export(handle)
"#;
    let folders = Folders::new();
    let files = [("pyproject.toml", PYPROJECT), ("handler.py", source)];
    let answer = answer(&folders, "python", &files).await;
    assert_eq!(
        answer,
        json!(["Hello Ada", "2026-03-01T00:00:00", { "a": [1] }])
    );
    // The lock file is what the next machine installs from.
    let lock = fs::read_to_string(folders.path().join("uses/requirements.lock")).unwrap();
    assert!(
        lock.starts_with("# locks: jinja2; python-dateutil; PyYAML\n"),
        "{lock}"
    );
    assert!(lock.contains("\nJinja2==") && lock.contains("--hash=sha256:"));
    fs::remove_dir_all(folders.path().join("uses/build")).unwrap();
    pointsman(&folders, &["build", "uses"]);
    let unchanged = fs::read_to_string(folders.path().join("uses/requirements.lock")).unwrap();
    assert_eq!(unchanged, lock);

    // One that is compiled through and through.
    let numbers = PYPROJECT.replace(r#""jinja2", "python-dateutil", "PyYAML""#, r#""numpy""#);
    fs::write(folders.path().join("uses/pyproject.toml"), numbers).unwrap();
    fs::write(
        folders.path().join("uses/handler.py"),
        "import numpy\nfrom pointsman import export\nCommandHandler = export(numpy.sum)\n",
    )
    .unwrap();
    let refused = cli::output(&folders, &["build", "uses"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(
        said.contains("compiled for a processor, and so left out: parts of `numpy`"),
        "{said}"
    );
}
