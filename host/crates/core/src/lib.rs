#![doc = include_str!("../README.md")]

pub mod command;
pub mod decimal;
pub mod delivery;
pub mod diagnostic;
pub mod integer;
pub mod json;
pub mod name;
pub mod outcome;
pub mod panics;
pub mod settings;
pub mod source;
pub mod state;
pub mod text;
pub mod toml;
