//! Owns what became of the cases of one handler.

use std::{path::Path, path::PathBuf, time::Duration};

use crate::{
    cases::{self, CaseFile, Subject, Verdict},
    cli::Exit,
    config::Config,
};

/// The cases of one handler, run.
pub(in crate::cli) struct Suite {
    /// The handler, or the path where it should be.
    pub(super) handler: String,
    pub(super) cases: Vec<Ran>,
    /// Why no case was run.
    pub(super) error: Option<String>,
    // Whether that is the user's mistake.
    usage: bool,
}

/// What is written into the files of cases.
#[derive(Clone, Copy, Default)]
pub(in crate::cli) struct Writes {
    /// The requests that a case sends, with what comes of them.
    pub(in crate::cli) requests: bool,
    /// What the handler does, where something else is expected.
    pub(in crate::cli) expectations: bool,
}

/// One case, run.
pub(super) struct Ran {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) description: Option<String>,
    pub(super) result: Result<Verdict, Broken>,
    /// Whether its file was written.
    pub(super) updated: bool,
}

/// Why a case could not be run.
pub(super) struct Broken {
    pub(super) message: String,
    // Whether the file is at fault.
    in_file: bool,
}

impl Suite {
    /// No case was run, since what was asked for makes no sense.
    pub(super) fn unusable(path: &Path, error: String) -> Self {
        Self {
            usage: true,
            ..Self::failed(path, error)
        }
    }

    /// No case was run, since there is no handler to run them.
    pub(super) fn failed(path: &Path, error: String) -> Self {
        Self {
            handler: path.display().to_string(),
            cases: Vec::new(),
            error: Some(error),
            usage: false,
        }
    }

    /// Runs the cases, one after another.
    pub(in crate::cli) async fn run(
        subject: &Subject,
        files: Vec<CaseFile>,
        config: &Config,
        writes: Writes,
    ) -> Self {
        let mut cases = Vec::new();
        for file in files {
            cases.push(Ran::run(subject, file, config, writes).await);
        }
        Self {
            handler: subject.name().to_string(),
            cases,
            error: None,
            usage: false,
        }
    }

    pub(super) fn exit(&self) -> Exit {
        let in_file = |ran: &Ran| matches!(&ran.result, Err(broken) if broken.in_file);
        if self.usage || self.cases.iter().any(in_file) {
            Exit::Usage
        } else if self.error.is_some() || !self.cases.iter().all(Ran::passed) {
            Exit::Failed
        } else {
            Exit::Succeeded
        }
    }
}

impl Ran {
    async fn run(subject: &Subject, file: CaseFile, config: &Config, writes: Writes) -> Self {
        let mut ran = Self {
            name: file.name,
            path: file.path,
            description: None,
            result: Err(Broken {
                message: String::new(),
                in_file: false,
            }),
            updated: false,
        };
        ran.result = ran.verdict(subject, file.case, config, writes).await;
        ran
    }

    async fn verdict(
        &mut self,
        subject: &Subject,
        case: Result<cases::Case, cases::CaseError>,
        config: &Config,
        writes: Writes,
    ) -> Result<Verdict, Broken> {
        let in_file = |error: cases::CaseError| Broken {
            message: error.to_string(),
            in_file: true,
        };
        let not_run = |error: crate::sandbox::LoadError| Broken {
            message: error.to_string(),
            in_file: false,
        };
        let again = |path: &Path| {
            let file = CaseFile::read(path.to_owned(), &config.handler_defaults());
            file.case.map_err(in_file)
        };
        let mut case = case.map_err(in_file)?;
        self.description.clone_from(&case.description);
        if writes.requests && case.grants_requests() {
            let sent = subject.requests(&case).await.map_err(not_run)?;
            cases::record(&case, &sent).map_err(in_file)?;
            self.updated = true;
            case = again(&case.path)?;
        }
        let verdict = subject.run(&case).await.map_err(not_run)?;
        if !writes.expectations || !cases::update(&case, &verdict).map_err(in_file)? {
            return Ok(verdict);
        }
        self.updated = true;
        // Again, from the file: what was written must hold, and a second time.
        let case = again(&case.path)?;
        subject.run(&case).await.map_err(not_run)
    }

    pub(super) fn passed(&self) -> bool {
        self.result.as_ref().is_ok_and(Verdict::passed)
    }

    /// How long the call took; none where there was none.
    pub(super) fn took(&self) -> Option<Duration> {
        let verdict = self.result.as_ref().ok()?;
        Some(verdict.outcome.spent.wall)
    }
}
