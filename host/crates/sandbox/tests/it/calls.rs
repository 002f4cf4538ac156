//! A component that was built for a released contract, loaded and called without
//! a host around it.

use std::{fs, path::Path, sync::Arc, time::Instant};

use expect_test::expect;
use pointsman_core::{command::Command, name::HandlerName, outcome::Status};
use pointsman_machine::budget::{BudgetSettings, Budgets};
use pointsman_sandbox::{
    Call, ComponentFile, Grants, Handler, HandlerDefaults, HandlerSettings, LoadError, LoadFault,
    Runtime, SandboxSettings, Services, load,
};
use tokio_util::sync::CancellationToken;

fn plugin(bytes: &[u8]) -> Result<Handler, LoadError> {
    let defaults = HandlerDefaults::default();
    let sandbox = SandboxSettings {
        instances_max: 16,
        compile_cache: false,
        ..SandboxSettings::default()
    };
    let budgets = Budgets::here(&BudgetSettings::default());
    let runtime = Runtime::new(&sandbox, &defaults.limits, &budgets).unwrap();
    let name = HandlerName::parse("greet").unwrap();
    let mut settings = HandlerSettings::new(&defaults);
    let greeting = ("greeting".to_owned(), "good day".to_owned());
    settings.config.extend([greeting]);
    let grants = Grants::read(name.clone(), &settings, Path::new("plugins/greet.toml"))?;
    let file = ComponentFile {
        name,
        path: Path::new("plugins/greet.wasm"),
        bytes,
        digest: "digest".into(),
    };
    load(&runtime, file, Arc::new(settings), Arc::new(grants))
}

fn released() -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/contract");
    fs::read(fixtures.join("greet-0.1.0.wasm")).unwrap()
}

#[tokio::test]
async fn a_component_is_loaded_and_called() {
    let plugin = plugin(&released()).unwrap();
    let stop = CancellationToken::new();
    let call = async |command: &str| {
        let command = Command::parse(command).unwrap();
        let call = Call {
            attempt: 1,
            started: Instant::now(),
            on_line: None,
            cancel: &stop,
            simulation: None,
            services: &Services::NONE,
            depth: 0,
        };
        plugin.call(&command, call).await.outcome
    };
    let output = call(r#"{"name":"Ada"}"#).await.result.unwrap().unwrap();
    assert_eq!(output.get(), r#"{"greeting":"good day Ada"}"#);
    assert_eq!(call("{}").await.status(), Status::Rejected);
    stop.cancel();
    assert_eq!(call("{}").await.status(), Status::Cancelled);
}

#[test]
fn what_is_no_component_says_what_is_wrong_with_it() {
    let error = plugin(&released()[..100]).unwrap_err();
    assert_eq!(error.fault, LoadFault::Component);
    assert!(!error.hint.is_empty());
}

#[test]
fn types_that_the_reader_of_wit_panics_on_are_refused_with_a_reason() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/components");
    let bytes = fs::read(corpus.join("panics-the-wit-reader")).unwrap();
    let error = plugin(&bytes).err().unwrap();
    assert!(!error.reason.contains("failed"), "{error:?}");
    expect![[r#"
        plugins/greet.wasm: does not match the contract in 2 places
          imports `pwintsman:handler/types@0.0.0`, which the host does not provide
          missing export `pointsman:handler/command-handler@0.2.0`; it exports nothing
          hint: a handler may import the interfaces of the contract, and WASI 0.2; build it against wit/ (pointsman:handler@0.2.0), e.g. with `pointsman build`"#]].assert_eq(&error.to_string());
}
