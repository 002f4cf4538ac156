#![doc = include_str!("../README.md")]

pub mod build;
pub mod new;
pub mod sources;
