//! C: bindings of the contract by `wit-bindgen-c`, compiled by the clang and
//! the C library that Zig brings, as one download from the Python Package
//! Index. The result is a core module; the caller lifts it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;
use wit_bindgen_core::{Files, wit_parser::Resolve};

use super::{
    About, BuildError, BuildOptions, contract, read_bytes, read_text, scratch, tool, world,
};
use pointsman_core::name::HandlerName;

const ZIG: tool::Packaged = tool::Packaged {
    package: "ziglang",
    version: "0.17.1",
    program: "zig",
    version_argument: "version",
    module: Some("ziglang"),
    wheels: &[
        "ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54", // Linux x86_64
        "b7c5f02fccd40f89b999ee16a1f5ddced56e6182370f8affe494bcf8a28cf07e", // Linux aarch64
        "d0549d5db63961ad9ed83ef628a45e3309542410dbcb6010116f4f2a3274d966", // Linux i686
        "7ec229ead4a08f3bc537ed33fa8c0f811739b81a0d05afbea89db30afb4df1cc", // Linux armv7l
        "d65ae4223b0c351cb3b4596262b8d9773acc9ca94ef8ea9b5fe3ddfa07dd204f", // Linux riscv64
        "d3bf27478d4593f2df7daf5c59b616a543b8f9e2cc9235bef84d8e54862a4334", // Linux ppc64le
        "87f24e5cdca55f5d47c1e20570eebb61a53957fafe4c35c69740e13affe407ba", // Linux s390x
        "4e0b4b9c02b8d0d220e9948010f860b62ff11d96abb39762eca5fa2ef3f7bc97", // macOS x86_64
        "09953b6af7f64168b915180a42774f520f92d86ef6331b28e33915c7e1f0bb23", // macOS arm64
        "69c3dfc3aff6a297ec4017aa904782c0e450eb988982d7f675d83edce27526fb", // Windows x86_64
        "27a8da5f8eaa0e76ebbc7c2594130ed4646c1101ada2ce0aa86fe580c74154b9", // Windows arm64
        "ae28f1f1150b95c8b1bb5e185d18e6c542877dc480e2476ccc81dac41f191b71", // Windows x86
    ],
};

/// `handler.toml`: C has no build file of its own that says these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HandlerToml {
    name: HandlerName,
    version: Option<String>,
    description: Option<String>,
    license: Option<String>,
    /// Leaves room for other languages without a build file.
    #[serde(rename = "language")]
    _language: OnlyC,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnlyC {
    C,
}

pub(super) fn build(
    folder: &Path,
    options: &BuildOptions,
    progress: &dyn Fn(&str),
) -> Result<(About, Vec<u8>), BuildError> {
    let path = folder.join("handler.toml");
    let about: HandlerToml =
        toml::from_str(&read_text(&path)?).map_err(|error| BuildError::build_file(&path, error))?;
    let wit = contract(folder)?;
    let sources = sources(folder)?;
    let zig = ZIG.command(options, progress)?;
    let build = scratch(folder)?;
    // The linker leaves out what a handler does not call: there is one world for all.
    let world = match folder.join("src/pointsman_http.c").is_file() {
        true => world::with_http(&wit, &build, world::Versions::True)?,
        // A folder of an earlier release knows the contract alone.
        false => wit,
    };
    let bindings = bindings(&world, &build.join("bindings"))?;
    progress("zig cc (the first time on a machine it compiles the C library, too)");
    let module = build.join("handler.wasm");
    let mut command: Command = tool::command(&zig);
    tool::run(
        command
            .current_dir(folder)
            .args([
                "cc",
                "-target",
                "wasm32-wasi",
                "-mexec-model=reactor",
                "-std=gnu17",
                "-Os",
                "-Wall",
                "-Wextra",
            ])
            .args(["-I", "src", "-I", "build/bindings"])
            .args(sources)
            .args(bindings)
            .arg("-o")
            .arg(&module),
        "apt install python3 python3-venv",
    )?;
    let HandlerToml {
        name,
        version,
        description,
        license,
        ..
    } = about;
    Ok((
        About {
            name,
            version,
            description,
            license,
        },
        read_bytes(&module)?,
    ))
}

/// The `.c` files in `src/`, by name, relative to the folder: so compiler
/// messages name them as the author does.
fn sources(folder: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let src = folder.join("src");
    let mut sources = Vec::new();
    for entry in fs::read_dir(&src).map_err(BuildError::io(&src))? {
        let name = PathBuf::from(entry.map_err(BuildError::io(&src))?.file_name());
        if name.extension().is_some_and(|extension| extension == "c") {
            sources.push(Path::new("src").join(name));
        }
    }
    if sources.is_empty() {
        return Err(BuildError::build_file(src, "contains no `.c` file"));
    }
    sources.sort();
    Ok(sources)
}

/// Writes the C bindings of the contract to `into`; gives what must be compiled and linked.
fn bindings(wit: &Path, into: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let wrong = |error: anyhow::Error| BuildError::build_file(wit, format!("{error:#}"));
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit).map_err(wrong)?;
    let world = resolve
        .select_world(&[package], Some("handler"))
        .map_err(wrong)?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default()
        .build()
        .generate(&mut resolve, world, &mut files)
        .map_err(wrong)?;
    fs::create_dir_all(into).map_err(BuildError::io(into))?;
    let mut compiled = Vec::new();
    for (name, bytes) in files.iter() {
        let path = into.join(name);
        fs::write(&path, bytes).map_err(BuildError::io(&path))?;
        if !name.ends_with(".h") {
            compiled.push(path);
        }
    }
    Ok(compiled)
}
