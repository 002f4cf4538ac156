//! Component files: read, bounded, compiled and checked against the contract, before
//! any of their code runs.
//!
//! | file | contains |
//! |---|---|
//! | `header` | the file header |
//! | `shape` | bounds on constructs that are expensive to compile for their size |
//! | `parts` | memories, tables and core instances of one instance |
//! | `config` | the configuration of wasmtime, here and in the compiling process |
//! | `compiler` | compilation in separate processes, with limits |
//! | `contract` | the released versions, and where a component differs |
//! | `inspect` | the metadata of a component |

pub(crate) mod compiler;
pub(crate) mod config;
pub(crate) mod contract;
pub(crate) mod header;
pub(crate) mod inspect;
pub(crate) mod parts;
pub(crate) mod shape;
