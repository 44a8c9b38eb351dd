//! The members' call log, read once for all scenarios of a run: it grows by thousands of lines a
//! minute, and they look at it again and again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use xsld_sim::calls::Call;

use crate::Result;

/// What was read of the log so far.
pub struct Calls {
    path: PathBuf,
    read: Mutex<Read>,
}

#[derive(Default)]
struct Read {
    offset: u64,
    /// The beginning of a line that is still being written.
    rest: Vec<u8>,
    by_namespace: BTreeMap<String, Vec<Call>>,
}

impl Calls {
    /// Begins at the first line.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), read: Mutex::default() }
    }

    /// All lines about the members of a namespace, oldest first.
    ///
    /// # Errors
    /// When the log cannot be read, or a whole line is not a call.
    pub fn of(&self, namespace: &str) -> Result<Vec<Call>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.catch_up(&self.path).context("cannot read the call log")?;
        Ok(read.by_namespace.get(namespace).cloned().unwrap_or_default())
    }
}

impl Read {
    fn catch_up(&mut self, path: &Path) -> Result {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut new = Vec::new();
        self.offset += file.read_to_end(&mut new)? as u64;
        self.rest.extend(new);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let tail = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, tail);
        for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let call: Call = serde_json::from_slice(line)?;
            // Reads without an effect are most of the log, and nobody asks about them.
            if call.method != "GET" || call.effect != "none" {
                self.by_namespace.entry(call.namespace.clone()).or_default().push(call);
            }
        }
        Ok(())
    }
}
