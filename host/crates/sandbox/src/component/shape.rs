//! Owns the bounds on the shape of a component. What costs a compiler far more
//! than its length, or makes a parser recurse, is found in one pass over the
//! bytes that itself neither recurses nor allocates with the input.
//!
//! CPython as a component, the largest that a template makes, stands beside
//! each bound: what compilers write stays far below.

mod types;

use wasmparser::{
    BinaryReaderError, ComponentTypeSectionReader, FunctionBody, Operator, Parser, Payload,
};

/// What a component may be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// What is counted, to stand before "exceeds the limit".
    what: &'static str,
    max: u64,
    hint: &'static str,
}

const fn bound(what: &'static str, max: u64, hint: &'static str) -> Bound {
    Bound { what, max, hint }
}

const SMALLER_FUNCTIONS: &str = "split the function, or build it with optimization for size \
                                 (such as `opt-level = \"s\"`), which inlines less";
const FEWER_PARTS: &str = "build it again: compilers write far fewer; split what is generated \
                           over several handlers";

/// Components in components; CPython: 2. wasmtime walks them recursively, and
/// what it keeps of each grows with the depth.
const NESTING: Bound = bound("the nesting of components", 32, FEWER_PARTS);
/// Component and instance types in each other; WASI: 2. Parsers recurse.
const TYPE_NESTING: Bound = bound("the nesting of component types", 32, FEWER_PARTS);
/// Bytes of all component types; CPython: 9 KB. A type can stand for many
/// times its bytes where it is used.
const TYPE_BYTES: Bound = bound(
    "the size of the component types in bytes",
    1 << 20,
    FEWER_PARTS,
);
/// Core modules and components in all; CPython: 16.
const PARTS: Bound = bound("the number of modules and components", 1_000, FEWER_PARTS);
/// Instances in all; CPython: 70.
const INSTANCES: Bound = bound("the number of instances", 10_000, FEWER_PARTS);
/// Functions that pass between component and core module; CPython: 128. Each
/// one is code to be compiled, as large as its type.
const CANONICAL: Bound = bound("the number of component functions", 10_000, FEWER_PARTS);
/// Functions in all; CPython: 13,360. 300,000 empty ones take 1.9 GB to compile.
const FUNCTIONS: Bound = bound("the number of functions", 100_000, FEWER_PARTS);
/// Bytes of all functions; CPython: 6.5 MB. 120 MiB take 2 GiB to compile.
const CODE_BYTES: Bound = bound("the size of the code in bytes", 48 << 20, FEWER_PARTS);
/// Types, imports, exports, globals, segments and the like, each kind in all;
/// CPython: 4,190 exports.
const ITEMS: Bound = bound(
    "the number of definitions of one kind",
    100_000,
    FEWER_PARTS,
);
/// Bytes of one function; CPython: 427 KB. One of 6.8 MB takes 1.6 GB to compile.
const FUNCTION_BYTES: Bound = bound(
    "the size of a function in bytes",
    1 << 20,
    SMALLER_FUNCTIONS,
);
/// Blocks in blocks in one function; CPython: 782, the cases of a `switch`.
const BLOCK_DEPTH: Bound = bound(
    "the nesting of blocks in a function",
    5_000,
    SMALLER_FUNCTIONS,
);
/// Loops in loops in one function. 1,000 of them around 100 locals take 21 s to
/// compile, in 16 KB of code.
const LOOP_DEPTH: Bound = bound("the nesting of loops in a function", 100, SMALLER_FUNCTIONS);
/// Locals of one function; CPython: 271.
const LOCALS: Bound = bound(
    "the number of locals of a function",
    10_000,
    SMALLER_FUNCTIONS,
);
/// Locals times loops of one function; CPython: 8,401. Each local may be a
/// value to be merged at the head of each loop: 300,000 in 16 KB of code take
/// minutes to compile.
const LOCALS_IN_LOOPS: Bound = bound(
    "the number of locals times the number of loops of a function",
    100_000,
    SMALLER_FUNCTIONS,
);

/// Why a component is not to be compiled.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is over a bound.
    TooComplex(Bound),
    /// It is no WebAssembly as far as it could be read.
    Invalid(BinaryReaderError),
}

impl From<BinaryReaderError> for Refused {
    fn from(error: BinaryReaderError) -> Self {
        Self::Invalid(error)
    }
}

impl Bound {
    pub(crate) fn reason(&self) -> String {
        format!("{} exceeds the limit of {}", self.what, self.max)
    }

    pub(crate) fn hint(&self) -> &'static str {
        self.hint
    }

    fn check(self, found: u64) -> Result<(), Refused> {
        if found > self.max {
            return Err(Refused::TooComplex(self));
        }
        Ok(())
    }
}

/// Refuses bytes that could cost more to read or to compile than their length
/// lets expect. Does not validate what it lets pass.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Refused> {
    let mut totals = Totals::default();
    for payload in Parser::new(0).parse_all(bytes) {
        totals.add(bytes, &payload?)?;
    }
    Ok(())
}

/// What has been seen of the whole file so far.
#[derive(Default)]
struct Totals {
    depth: u64,
    type_bytes: u64,
    parts: u64,
    instances: u64,
    canonical: u64,
    functions: u64,
    code_bytes: u64,
    // By the kind of definition.
    items: [u64; KINDS],
}

const KINDS: usize = 10;

impl Totals {
    fn add(&mut self, bytes: &[u8], payload: &Payload<'_>) -> Result<(), Refused> {
        let (kind, count) = match payload {
            Payload::Version { .. } => {
                self.depth += 1;
                // Modules are in a component, and nothing is in them.
                return NESTING.check(self.depth - 1);
            }
            Payload::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                return Ok(());
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                return PARTS.count(&mut self.parts, 1);
            }
            Payload::InstanceSection(section) => {
                return INSTANCES.count(&mut self.instances, section.count());
            }
            Payload::ComponentInstanceSection(section) => {
                return INSTANCES.count(&mut self.instances, section.count());
            }
            Payload::ComponentCanonicalSection(section) => {
                return CANONICAL.count(&mut self.canonical, section.count());
            }
            Payload::ComponentTypeSection(section) => return self.types(bytes, section),
            Payload::FunctionSection(section) => {
                return FUNCTIONS.count(&mut self.functions, section.count());
            }
            Payload::CodeSectionStart { size, .. } => {
                return CODE_BYTES.count(&mut self.code_bytes, *size);
            }
            Payload::CodeSectionEntry(body) => return function(body),
            Payload::TypeSection(section) => (0, section.count()),
            Payload::CoreTypeSection(section) => (0, section.count()),
            Payload::ImportSection(section) => (1, section.count()),
            Payload::ComponentImportSection(section) => (1, section.count()),
            Payload::ExportSection(section) => (2, section.count()),
            Payload::ComponentExportSection(section) => (2, section.count()),
            Payload::GlobalSection(section) => (3, section.count()),
            Payload::ElementSection(section) => (4, section.count()),
            Payload::DataSection(section) => (5, section.count()),
            Payload::ComponentAliasSection(section) => (6, section.count()),
            Payload::TableSection(section) => (7, section.count()),
            Payload::MemorySection(section) => (8, section.count()),
            Payload::TagSection(section) => (9, section.count()),
            _ => return Ok(()),
        };
        ITEMS.count(&mut self.items[kind], count)
    }

    fn types(
        &mut self,
        bytes: &[u8],
        section: &ComponentTypeSectionReader<'_>,
    ) -> Result<(), Refused> {
        let range = section.range();
        self.type_bytes += (range.end - range.start) as u64;
        TYPE_BYTES.check(self.type_bytes)?;
        ITEMS.count(&mut self.items[0], section.count())?;
        types::check(bytes, section, TYPE_NESTING)
    }
}

impl Bound {
    fn count(self, total: &mut u64, more: u32) -> Result<(), Refused> {
        *total += u64::from(more);
        self.check(*total)
    }
}

/// A block takes three bytes at least: its start, its type and its end.
const BLOCK_BYTES_MIN: u64 = 3;

fn function(body: &FunctionBody<'_>) -> Result<(), Refused> {
    let range = body.range();
    let bytes = (range.end - range.start) as u64;
    FUNCTION_BYTES.check(bytes)?;
    let mut locals = 0;
    for group in body.get_locals_reader()? {
        LOCALS.count(&mut locals, group?.0)?;
    }
    // Most functions are so short that they need not be read.
    let blocks_max = bytes / BLOCK_BYTES_MIN;
    if blocks_max <= LOOP_DEPTH.max && locals * blocks_max <= LOCALS_IN_LOOPS.max {
        return Ok(());
    }
    let mut loops = 0;
    // Whether each block that has been begun is a loop.
    let mut blocks = Vec::new();
    let mut loop_depth = 0;
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        match operators.read()? {
            Operator::Loop { .. } => {
                loops += 1;
                LOCALS_IN_LOOPS.check(locals * loops)?;
                loop_depth += 1;
                LOOP_DEPTH.check(loop_depth)?;
                blocks.push(true);
            }
            Operator::Block { .. }
            | Operator::If { .. }
            | Operator::Try { .. }
            | Operator::TryTable { .. } => blocks.push(false),
            Operator::End => {
                if blocks.pop() == Some(true) {
                    loop_depth -= 1;
                }
            }
            _ => continue,
        }
        BLOCK_DEPTH.check(blocks.len() as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
