#![doc = include_str!("../README.md")]

pub mod build;
pub mod cases;
pub mod new;
pub mod sources;
