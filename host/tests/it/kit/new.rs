//! The source folders that the program writes.

use expect_test::expect;
use pointsman::name::HandlerName;

use crate::{
    cli::{check, output, said},
    host::{Folders, root},
};

#[test]
fn new_writes_a_handler_and_overwrites_nothing() {
    let folders = Folders::new();
    for lang in ["rust", "ts", "js", "python", "c"] {
        let name = format!("greet-{lang}");
        assert_eq!(
            output(&folders, &["new", &name, "--lang", lang])
                .status
                .code(),
            Some(0)
        );
        let rule = std::fs::read_to_string(folders.path().join(&name).join("rule.json")).unwrap();
        folders.rules(&format!("{name}.json"), &rule);
        let wit =
            std::fs::read_to_string(folders.path().join(&name).join("wit/handler.wit")).unwrap();
        assert_eq!(wit, pointsman::new::CONTRACT);
    }
    // The rules that come along hold, but for the handlers, which are not built.
    let checked = String::from_utf8(output(&folders, &["check"]).stdout).unwrap();
    assert!(checked.contains("checked 5 rules in 5 files"), "{checked}");
    assert_eq!(
        checked.matches("names the unknown handler").count(),
        5,
        "{checked}"
    );
    check(
        &folders,
        &["new", "greet-c", "--lang", "c"],
        expect![[r#"
        error: ./greet-c: exists already
          hint: choose another name, or remove it first
        exit 2
    "#]],
    );
    let refused =
        String::from_utf8(output(&folders, &["new", "Greet", "--lang", "c"]).stderr).unwrap();
    assert!(
        refused.contains("`Greet` is not a handler name"),
        "{refused}"
    );
    let refused =
        String::from_utf8(output(&folders, &["new", "greet", "--lang", "cobol"]).stderr).unwrap();
    assert!(
        refused.contains("the languages are `rust`, `ts`, `js`, `python` and `c`"),
        "{refused}"
    );
}

#[test]
fn a_name_that_a_language_cannot_have_is_refused_before_anything_is_written() {
    let folders = Folders::new();
    let (code, _, said) = said(&folders, &["new", "pointsman-sdk", "--lang", "rust"]);
    assert_eq!(code, Some(2));
    assert_eq!(
        said,
        "error: `pointsman-sdk` cannot be the name of a handler in Rust: the crate that every handler depends on has it\n  hint: choose another name\n"
    );
    assert!(!folders.path().join("pointsman-sdk").exists());
    assert!(
        output(&folders, &["new", "pointsman-sdk", "--lang", "js"])
            .status
            .success()
    );
}

/// Every file below a folder.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

#[test]
fn no_file_of_a_template_or_of_the_sdk_is_left_behind() {
    let folders = Folders::new();
    let mut written = Vec::new();
    for lang in ["rust", "ts", "js", "python", "c"] {
        let folder = folders.path().join(lang);
        assert!(
            output(&folders, &["new", lang, "--lang", lang])
                .status
                .success()
        );
        written.extend(
            files(&folder)
                .iter()
                .map(|file| std::fs::read(file).unwrap()),
        );
    }
    let sources = ["host/crates/kit/templates", "plugins/sdk/src"];
    for file in sources
        .iter()
        .flat_map(|folder| files(&root().join(folder)))
    {
        let text = std::fs::read_to_string(&file).unwrap();
        // As `new` fills in the name of each language's folder.
        let named = ["rust", "ts", "js", "python", "c"].map(|name| {
            let request_type = pointsman::new::request_type(&HandlerName::parse(name).unwrap());
            let rule = "`rule.json` routes commands here: copy it into `rules/`.";
            let text = text.replace("{{rule}}", rule);
            text.replace("{{type}}", &request_type)
                .replace("{{name}}", name)
        });
        let is_written = named
            .iter()
            .any(|text| written.iter().any(|it| it == text.as_bytes()));
        assert!(
            is_written,
            "`pointsman new` does not write {}",
            file.display()
        );
    }
}
