//! Owns what the first bytes of a file say: whether it is a component at all.

/// What is wrong, and what to do about it.
type Wrong = (String, String);

/// The first eight bytes tell a component from a core module and from anything else.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Wrong> {
    const MAGIC: &[u8] = b"\0asm";
    const MODULE: &[u8] = &[1, 0, 0, 0];
    const COMPONENT: &[u8] = &[0x0d, 0, 1, 0];
    let wrong = |reason: &str, hint: &str| Err((reason.to_owned(), hint.to_owned()));
    if bytes.is_empty() {
        return wrong("is empty", "copy or build it again");
    }
    if bytes.len() < 8 && (MAGIC.starts_with(bytes) || bytes.starts_with(MAGIC)) {
        return wrong("is cut short", "copy or build it again");
    }
    match (bytes.get(..4), bytes.get(4..8)) {
        (Some(MAGIC), Some(COMPONENT)) => Ok(()),
        (Some(MAGIC), Some(MODULE)) => wrong(
            "is a core WebAssembly module, not a component",
            "build it with `pointsman build`, or with `wasm-component-ld` as the linker",
        ),
        (Some(MAGIC), _) => wrong(
            "is WebAssembly of an unknown version",
            "build it with `pointsman build`",
        ),
        _ => wrong(
            "is no WebAssembly",
            "only built components belong beside the `.wasm` ending; build the source with `pointsman build`",
        ),
    }
}
