#![doc = include_str!("../README.md")]

pub mod budget;
pub mod files;
pub mod shutdown;
