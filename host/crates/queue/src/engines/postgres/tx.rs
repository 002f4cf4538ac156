//! Owns one transaction of the store: the time by which it decides, and what it
//! changes, to be told after its commit.

use std::ops::Deref;

use super::{fault::to, session::Scope};
use crate::{QueueError, Timestamp, signals::News};

/// A transaction, which is undone unless it is committed.
pub(super) struct Tx<'l> {
    scope: Scope<'l>,
    pub(super) now: Timestamp,
    pub(super) news: News,
}

impl<'l> Tx<'l> {
    pub(super) fn new(scope: Scope<'l>, now: Timestamp) -> Self {
        Self {
            scope,
            now,
            news: News::default(),
        }
    }

    /// Commits; what is to be told.
    pub(super) async fn commit(self) -> Result<News, QueueError> {
        self.scope.commit().await.map_err(to("commit"))?;
        Ok(self.news)
    }
}

impl<'l> Deref for Tx<'l> {
    type Target = Scope<'l>;

    fn deref(&self) -> &Scope<'l> {
        &self.scope
    }
}
