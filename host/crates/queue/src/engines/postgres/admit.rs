//! Owns how full the queue is: counted rarely, and estimated in between.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use super::{fault::to, session::Scope};
use crate::{QueueError, policy::admit};

/// The unfinished deliveries, as last counted and with what came since.
#[derive(Debug)]
pub(super) struct Admission {
    max: u64,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    depth: u64,
    /// Not before this is it counted again: counting takes a tenth of the time.
    next: Option<Instant>,
}

impl Admission {
    pub(super) fn new(max: u64) -> Self {
        Self {
            max,
            counted: Mutex::default(),
        }
    }

    /// Refuses where `added` more would be too many. Counts only when what is
    /// known says so.
    pub(super) async fn admit(&self, tx: &Scope<'_>, added: u64) -> Result<(), QueueError> {
        let fits = |counted: &mut Counted| {
            let fits = counted.next.is_some() && admit(counted.depth, added, self.max).is_ok();
            counted.depth += if fits { added } else { 0 };
            fits
        };
        {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            if fits(&mut counted) {
                return Ok(());
            }
            if counted.next.is_some_and(|next| Instant::now() < next) {
                return Err(QueueError::Full { max: self.max });
            }
        }
        let started = Instant::now();
        let limit = i64::try_from(self.max).unwrap_or(i64::MAX);
        let row = tx
            .query_opt(include_str!("sql/unfinished.sql"), &[&limit])
            .await
            .map_err(to("count the queue"))?;
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.depth = row.map_or(0, |row| row.get::<_, i64>(0)).cast_unsigned();
        counted.next = Some(Instant::now() + started.elapsed() * 9);
        if fits(&mut counted) {
            Ok(())
        } else {
            Err(QueueError::Full { max: self.max })
        }
    }
}
