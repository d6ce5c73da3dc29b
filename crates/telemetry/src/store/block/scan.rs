//! All of a block, series after series: for merging.

use std::{collections::VecDeque, sync::Arc};

use super::read::Opened;
use crate::{Labels, Sample, store::StoreError};

/// Series that are read at once, and about how many samples: what a merge holds of each block.
const SERIES: u64 = 4096;
const SAMPLES: u64 = 1 << 19;

/// Reads a block through.
pub(crate) struct Scan {
    opened: Arc<Opened>,
    next: u64,
    rows: VecDeque<super::SeriesRow>,
    ready: VecDeque<(Labels, Vec<Sample>)>,
}

impl Scan {
    pub(crate) fn new(opened: Arc<Opened>) -> Self {
        Self { opened, next: 0, rows: VecDeque::new(), ready: VecDeque::new() }
    }

    /// Labels of the next series; none at the end.
    pub(crate) fn peek(&mut self) -> Result<Option<&Labels>, StoreError> {
        if self.ready.is_empty() {
            self.load()?;
        }
        Ok(self.ready.front().map(|(labels, _)| labels))
    }

    /// Samples of the series whose labels were just looked at.
    pub(crate) fn take(&mut self) -> Vec<Sample> {
        self.ready.pop_front().map(|(_, samples)| samples).unwrap_or_default()
    }

    fn load(&mut self) -> Result<(), StoreError> {
        if self.rows.is_empty() {
            let part = self.opened.part(self.next, SERIES)?;
            self.next += part.len() as u64;
            self.rows = part.into();
        }
        let mut taken = Vec::new();
        let mut samples = 0;
        while let Some(row) = self.rows.pop_front() {
            samples += row.rows;
            taken.push(row);
            if samples >= SAMPLES {
                break;
            }
        }
        let read = self.opened.samples(&taken)?;
        self.ready = taken.into_iter().map(|row| row.labels).zip(read).collect();
        Ok(())
    }
}
