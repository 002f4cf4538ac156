//! Owns commands that are enqueued together: all of them in one transaction, or none.

use pointsman_core::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};
use tokio::task::yield_now;

use super::{EnqueueError, EnqueueOptions, Queue, QueueError, accept_all};
use crate::command::{Command, CommandError, CommandId};

/// The most commands of one bulk: the store is held for some 100 ms by as many.
pub const BULK_MAX: usize = 1_000;
/// The most deliveries of one bulk: where rules fan out, few commands become many.
const BULK_DELIVERIES_MAX: usize = 10_000;
/// As many faults are told as somebody reads; the rest is counted.
const FAULTS_TOLD_MAX: usize = 100;

/// One command of a bulk.
#[derive(Debug)]
pub struct BulkItem {
    /// Where it stands, from 1.
    pub line: u64,
    /// The command.
    pub command: Command,
    /// What is asked of it.
    pub options: EnqueueOptions,
}

/// One that was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkEntry {
    /// Where it stands, from 1.
    pub line: u64,
    /// Its id: that of an earlier command where the idempotency key was known.
    #[serde(rename = "commandId")]
    pub id: CommandId,
    /// Whether it was stored before.
    pub repeated: bool,
}

/// What is wrong with some lines of a bulk.
#[derive(Debug, Default)]
pub struct Faults {
    /// The first of them, with the numbers of their lines.
    pub told: Vec<(u64, Diagnostic)>,
    /// How many there are.
    pub count: usize,
}

impl Faults {
    pub(crate) fn add(&mut self, line: u64, diagnostic: Diagnostic) {
        self.count += 1;
        if self.told.len() < FAULTS_TOLD_MAX {
            self.told.push((line, diagnostic));
        }
    }

    /// The commands, where none is wrong.
    pub(crate) fn or<T>(self, all: Vec<T>) -> Result<Vec<T>, BulkError> {
        match self.count {
            0 => Ok(all),
            _ => Err(BulkError::Lines(self)),
        }
    }
}

/// Why nothing of a bulk was stored.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// Some commands are wrong.
    #[error(
        "{} of the commands cannot be enqueued, so none was stored", .0.count
    )]
    Lines(Faults),
    /// Too many commands.
    #[error("the bulk has more than {BULK_MAX} commands: send the rest in another one")]
    TooMany,
    /// Too many deliveries.
    #[error(
        "the commands go to more than {BULK_DELIVERIES_MAX} handlers in all: send fewer at once"
    )]
    TooManyDeliveries,
    /// What keeps any command from being stored.
    #[error(transparent)]
    Whole(#[from] EnqueueError),
}

impl BulkError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Lines(_) => "invalid-lines",
            Self::TooMany | Self::TooManyDeliveries => "bulk-too-large",
            Self::Whole(error) => error.code(),
        }
    }
}

/// Where a command of a bulk stands, and the command.
pub type Numbered<T> = (u64, T);

/// The commands in a text with one on each line, from the line `first` on; blank lines
/// are left out.
///
/// # Errors
/// [`BulkError::Lines`], [`BulkError::TooMany`].
pub fn parse_lines(text: &[u8], first: u64) -> Result<Vec<Numbered<Command>>, BulkError> {
    let lines = text.split(|byte| *byte == b'\n').zip(first..);
    let lines = lines.filter(|(line, _)| !line.trim_ascii().is_empty());
    let (mut commands, mut faults) = (Vec::new(), Faults::default());
    for (line, number) in lines {
        if commands.len() + faults.count == BULK_MAX {
            return Err(BulkError::TooMany);
        }
        match Command::parse(line) {
            Ok(command) => commands.push((number, command)),
            Err(error) => faults.add(number, told(&error)),
        }
    }
    faults.or(commands)
}

fn told(error: &CommandError) -> Diagnostic {
    Diagnostic::error(error.code(), error.to_string())
}

/// The idempotency key of one command of a bulk that has one: it stands where it stood
/// when the bulk is sent again.
#[must_use]
pub fn key_of_line(key: &str, line: u64) -> String {
    format!("{key}/{line}")
}

impl Queue {
    /// Routes the commands and stores them with all their deliveries, in one transaction.
    /// Answers after the commit, in their order.
    ///
    /// # Errors
    /// [`BulkError`]; then nothing is stored (but see [`QueueError::Unavailable`]).
    pub async fn enqueue_all(&self, all: Vec<BulkItem>) -> Result<Vec<BulkEntry>, BulkError> {
        let stored = self.route_and_store_all(all).await;
        match &stored {
            Ok(_) => {}
            Err(BulkError::Lines(faults)) => {
                let metrics = self.dispatcher.metrics();
                (0..faults.count).for_each(|_| metrics.refused("invalid-lines"));
            }
            Err(error) => self.dispatcher.metrics().refused(error.code()),
        }
        stored
    }

    async fn route_and_store_all(&self, all: Vec<BulkItem>) -> Result<Vec<BulkEntry>, BulkError> {
        let (mut new, mut lines) = (Vec::new(), Vec::new());
        // Of those that the rules refuse, some may have been stored before.
        let (mut faults, mut unless_stored) = (Faults::default(), Faults::default());
        let mut deliveries = 0;
        for item in all {
            let span = self.dispatcher.telemetry();
            let span = span.map(|it| it.enqueue(&item.command));
            let traced = span.as_ref().map(|span| span.parent_of(&item.command));
            let command = traced.as_ref().unwrap_or(&item.command);
            let (command, refused) = match self.routed(command, item.options).await {
                Ok(routed) => routed,
                Err(EnqueueError::Dispatch(error)) if error.is_of_rules() => {
                    faults.add(item.line, error.diagnostic());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(error) = refused {
                unless_stored.add(item.line, error.diagnostic());
            }
            deliveries += command.deliveries.len();
            if deliveries > BULK_DELIVERIES_MAX {
                return Err(BulkError::TooManyDeliveries);
            }
            new.push(command);
            lines.push(item.line);
            // A command is routed in half a millisecond here, or elsewhere.
            yield_now().await;
        }
        let new = faults.or(new)?;
        let stored = match accept_all(self.store(), new).await {
            Err(QueueError::NotRepeated) => return Err(BulkError::Lines(unless_stored)),
            stored => stored.map_err(EnqueueError::from)?,
        };
        let entries = lines.into_iter().zip(stored);
        Ok(entries
            .map(|(line, stored)| BulkEntry {
                line,
                id: stored.id,
                repeated: stored.repeated,
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_that_is_not_blank_is_a_command_with_the_number_of_its_line() {
        let text = b"{\"a\":1}\r\n\n  \n{\"a\":2}";
        let lines = parse_lines(text, 11).unwrap();
        let lines: Vec<_> = lines
            .iter()
            .map(|(line, command)| (*line, command.attributes().trim()))
            .collect();
        assert_eq!(lines, [(11, "{\"a\":1}"), (14, "{\"a\":2}")]);
        assert!(parse_lines(b"", 1).unwrap().is_empty());
    }

    #[test]
    fn as_many_faults_are_told_as_somebody_reads() {
        let text = b"[]\n".repeat(BULK_MAX);
        let Err(BulkError::Lines(faults)) = parse_lines(&text, 1) else {
            panic!("it was taken");
        };
        assert_eq!((faults.count, faults.told.len()), (BULK_MAX, 100));
        assert_eq!(faults.told[99].0, 100);
        assert_eq!(faults.told[99].1.code(), "not-an-object");
        let text = b"{}\n".repeat(BULK_MAX + 1);
        let refused = parse_lines(&text, 1).unwrap_err();
        assert_eq!(refused.code(), "bulk-too-large");
    }
}
