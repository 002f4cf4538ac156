//! What a file is: read, bounded, compiled and held against the contract, before
//! anything in it runs.
//!
//! | file | owns |
//! |---|---|
//! | `header` | what the first bytes say |
//! | `shape` | bounds on what takes more to compile than its length says |
//! | `parts` | memories, tables and core instances of one instance |
//! | `config` | how wasmtime is set up, here and in the process that compiles |
//! | `compiler` | compilation in processes of their own, within limits |
//! | `contract` | the released versions, and where a component differs |
//! | `inspect` | what a component says of itself |

pub(crate) mod compiler;
pub(crate) mod config;
pub(crate) mod contract;
pub(crate) mod header;
pub(crate) mod inspect;
pub(crate) mod parts;
pub(crate) mod shape;
