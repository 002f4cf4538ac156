//! The lines of ordering keys: their locks, and who is freed. What enters a line or
//! leaves it does so under the lock of the line, held until its transaction ends: it
//! sees who came before, and is seen by who comes after. What enters takes its
//! position under the lock, too, or it could come before one that was there first.

use tokio_postgres::Row;

use super::{fault::Fault, session::Scope, tx::Tx};

/// A delivery in the line of its ordering key.
pub(super) struct InLine {
    pub(super) row: i64,
    handler: String,
    key: String,
}

impl InLine {
    /// The name of the lock of its line.
    pub(super) fn name(&self) -> String {
        name(&self.handler, &self.key)
    }

    /// Of its row, handler and ordering key, from `first` on; none without a key.
    pub(super) fn read(row: &Row, first: usize) -> Option<Self> {
        let key: Option<String> = row.get(first + 2);
        Some(Self {
            row: row.get(first),
            handler: row.get(first + 1),
            key: key?,
        })
    }
}

/// The name of a line's lock.
pub(super) fn name(handler: &str, key: &str) -> String {
    format!("o/{handler}/{key}")
}

/// Takes these locks in one order, so that two transactions with the same ones do not
/// wait for each other.
pub(super) async fn lock_all(tx: &Scope<'_>, mut names: Vec<String>) -> Result<(), Fault> {
    names.sort_unstable();
    names.dedup();
    for name in names {
        tx.lock(&name).await?;
    }
    Ok(())
}

/// Locks the lines that deliveries are about to enter.
pub(super) async fn lock(tx: &Scope<'_>, entrants: &[InLine]) -> Result<(), Fault> {
    let names = entrants.iter().map(|one| name(&one.handler, &one.key));
    lock_all(tx, names.collect()).await
}

/// Lets the first in each line go on, of lines that are locked. Says whether one was freed.
pub(super) async fn free(tx: &mut Tx<'_>, lines: &[InLine]) -> Result<bool, Fault> {
    let mut freed = 0;
    for line in lines {
        let sql = include_str!("sql/unblock.sql");
        freed += tx.execute(sql, &[&line.row]).await?;
    }
    tx.news.work |= freed > 0;
    Ok(freed > 0)
}

/// Lets others go on where these ended.
pub(super) async fn leave(tx: &mut Tx<'_>, ended: &[InLine]) -> Result<bool, Fault> {
    lock(tx, ended).await?;
    free(tx, ended).await
}
