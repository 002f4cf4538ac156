use std::{fs, os::unix::fs::PermissionsExt as _, thread};

use super::*;

/// The smallest component.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A compiler whose program is this shell script, within `memory`. The script
/// has the job in `$2`, and reads its standard input.
fn compiler(folder: &Path, script: &str, memory: Memory) -> Compiler {
    let program = folder.join("program");
    fs::write(&program, format!("#!/bin/sh\ncat > /dev/null\n{script}")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    Compiler {
        program,
        timeout_ms: 60_000,
        memory,
        records: None,
        _private: None,
    }
}

fn compile(compiler: &Compiler, stop: &CancellationToken) -> Result<(), Failure> {
    compiler.compile(Request {
        component: COMPONENT,
        digest: "digest",
        engine: (512 << 10, AddressSpace::Plenty),
        stop,
        leaves_note: false,
    })
}

#[test]
fn compilations_wait_for_the_memory_that_all_have_together() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let script = format!(
        "echo begun >> '{log}'\nsleep 0.3\necho ended >> '{log}'\necho '\"compiled\"'\n",
        log = log.display()
    );
    // Each could have all of it.
    let compiler = compiler(folder.path(), &script, Memory::of(1 << 20, 1 << 20));
    let stop = CancellationToken::new();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| compile(&compiler, &stop).unwrap());
        }
    });
    let log = fs::read_to_string(log).unwrap();
    assert_eq!(log, "begun\nended\n".repeat(3), "one after another");
}

#[test]
fn one_that_waits_for_memory_hears_that_the_host_stops() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = compiler(folder.path(), "", Memory::of(1 << 20, 1 << 20));
    let stop = CancellationToken::new();
    let taken = compiler.memory.wait(1 << 20, &stop);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| compile(&compiler, &stop));
        stop.cancel();
        let ended = waiting.join().unwrap();
        assert!(matches!(ended, Err(Failure::Stopped)), "{ended:?}");
    });
    drop(taken);
}

#[test]
fn what_needs_more_memory_than_is_usual_is_tried_with_all_that_one_may_have() {
    let folder = tempfile::tempdir().unwrap();
    // 1 GiB is more than this component is tried with first.
    let script = format!(
        "case \"$2\" in\n*'\"memory_max_bytes\":{},'*) echo '\"compiled\"' ;;\n*) echo '\"out-of-memory\"' ;;\nesac\n",
        1 << 30
    );
    let compiler = compiler(folder.path(), &script, Memory::of(1 << 30, 1 << 30));
    assert!(compiler.memory.usual(COMPONENT.len()) < 1 << 30);
    compile(&compiler, &CancellationToken::new()).unwrap();
}
