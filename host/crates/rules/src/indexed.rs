//! Owns [`IndexedFile`]: a rule file whose paths have the numbers of a rule set.

use std::sync::Arc;

use super::{
    RuleFile,
    conjunct::View,
    event::{Event, PathId},
    fuel::Fuel,
};

/// A file, and its path numbers in terms of the rule set's.
#[derive(Debug)]
pub(crate) struct IndexedFile {
    pub(crate) file: Arc<RuleFile>,
    pub(crate) paths: Box<[PathId]>,
}

impl IndexedFile {
    pub(crate) fn view<'v, 'e>(&'v self, event: &'v Event<'e>, fuel: &'v Fuel) -> View<'v, 'e> {
        View {
            event,
            paths: &self.paths,
            dialect: self.file.dialect(),
            fuel,
        }
    }
}
