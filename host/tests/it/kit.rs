//! What an author of handlers works with: templates, builds, cases, the contract.

mod build_tools;
mod case_requests;
mod case_world;
mod cases;
pub(crate) mod contract;
mod failures;
mod languages;
mod new;
mod packages;
mod redirects;
mod requests;
mod typescript;
mod unit_tests;
