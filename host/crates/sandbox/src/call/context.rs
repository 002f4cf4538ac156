//! Owns [`HandlerContext`]: what each instance of one handler has of it.

use std::sync::Arc;

use pointsman_core::name::HandlerName;
use pointsman_machine::budget::Budget;

use super::turns::Turns;
use crate::{
    grants::{granted::Grants, outgoing::Clients, settings::HandlerSettings},
    shares::Shares,
};

/// What a handler may do and take, the same for all its instances.
pub(crate) struct HandlerContext {
    pub(crate) name: HandlerName,
    /// Where the operator sets the limits: `plugins/<name>.toml`, or a case.
    pub(crate) place: Arc<str>,
    pub(crate) settings: Arc<HandlerSettings>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) shares: Arc<Shares>,
    /// Its connections to servers.
    pub(crate) clients: Arc<Clients>,
    pub(crate) turns: Turns,
    /// Of all handlers of the host.
    pub(crate) memory: Arc<Budget>,
    pub(crate) table_elements_max: usize,
}
