//! The source folders that the program writes.

use expect_test::expect;

use crate::{
    cli::{check, output, said},
    host::Folders,
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
    assert!(refused.contains("`Greet` is no handler name"), "{refused}");
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
