//! Reports that no daemon has acknowledged.
//!
//! Invariant: a report is here from the moment the runner has told it until it is acknowledged; while there
//! is no session, each of them is also in the spool, as soon as the disk takes it.

use orchd_api::AttemptProgress;
use orchd_model::{AttemptReport, Progress, Token};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::reports::ReportSpool;

/// The reports and their spool.
pub(crate) struct Ledger {
    unacknowledged: BTreeMap<Token, AttemptReport>,
    spooled: BTreeSet<Token>,
    spool: ReportSpool,
    /// What attempts that are not acknowledged have said last of their progress, for a daemon that did not hear it.
    progress: BTreeMap<Token, Progress>,
}

impl Ledger {
    /// A ledger over a spool, with the reports that were in it.
    pub(crate) fn new(spool: ReportSpool, left: Vec<AttemptReport>) -> Self {
        let unacknowledged: BTreeMap<_, _> = left.into_iter().map(|report| (report.token, report)).collect();
        let spooled = unacknowledged.keys().copied().collect();
        Self { unacknowledged, spooled, spool, progress: BTreeMap::new() }
    }

    /// Remembers how far an attempt has come.
    pub(crate) fn note_progress(&mut self, progress: &AttemptProgress) {
        let before = self.progress.get(&progress.token);
        let word = progress.progress.clone().after(before);
        self.progress.insert(progress.token, word);
    }

    /// How far all of them have come.
    pub(crate) fn progress(&self) -> Vec<AttemptProgress> {
        let told = |(token, progress): (&Token, &Progress)| AttemptProgress {
            token: *token,
            progress: progress.clone(),
        };
        self.progress.iter().map(told).collect()
    }

    pub(crate) fn add(&mut self, report: AttemptReport) {
        self.unacknowledged.insert(report.token, report);
    }

    pub(crate) fn get(&self, token: Token) -> Option<&AttemptReport> {
        self.unacknowledged.get(&token)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &AttemptReport> {
        self.unacknowledged.values()
    }

    /// Forgets reports that are durable elsewhere.
    pub(crate) fn acknowledge(&mut self, tokens: &[Token]) {
        for token in tokens {
            self.unacknowledged.remove(token);
            self.progress.remove(token);
        }
        if self.unacknowledged.is_empty() && !self.spooled.is_empty() {
            match self.spool.clear() {
                Ok(()) => self.spooled.clear(),
                Err(error) => tracing::warn!(%error, "the spool of reports could not be emptied"),
            }
        }
    }

    /// Writes to the spool what is not there yet.
    pub(crate) fn secure(&mut self) -> io::Result<()> {
        let missing: Vec<Token> =
            self.unacknowledged.keys().filter(|token| !self.spooled.contains(token)).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        for token in &missing {
            let (progress, report) = (self.progress.get(token), self.unacknowledged.get_mut(token));
            if let Some(report) = report.filter(|report| report.progress.is_none()) {
                // It was told when nobody may have listened.
                report.progress = progress.cloned();
            }
        }
        self.spool.append(missing.iter().filter_map(|token| self.unacknowledged.get(token)))?;
        self.spooled.extend(missing);
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.unacknowledged.is_empty()
    }
}
