//! What Pointsman takes of the machine it runs on, each with a bound.
//!
//! | module | owns |
//! |---|---|
//! | [`files`] | regular files, read with a limit of bytes and of time |
//! | [`budget`] | memory, descriptors, threads and connections, shared by all of a host |
//! | [`shutdown`] | tasks, how they are kept running, and how they end |

pub mod budget;
pub mod files;
pub mod shutdown;
