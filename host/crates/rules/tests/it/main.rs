//! The rules from outside, as a user of the library sees them.

mod bounds;
mod cases;
mod files;
mod fuzzed;
mod property;
