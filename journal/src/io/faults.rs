//! Makes I/Os of a test fail, notes their order, and tells what a power cut would leave.
//!
//! A test installs [`Faults`] on its directory; every I/O below it is then counted, whichever
//! thread does it. Other tests are not touched.
//!
//! The model of a power cut is a harsh one: of a file only the bytes of its last sync are left,
//! and of a directory only the names of its last sync. sled's files are not part of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Op, Path, PathBuf, fs, io};

/// How an I/O fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The device fails.
    Eio,
    /// The disk is full.
    Enospc,
    /// Half the bytes are written, then the disk is full.
    Short,
}

impl Fault {
    fn error(self) -> io::Error {
        // The numbers that the system gives, so that they are sorted as its own would be.
        let number = if self == Self::Eio { 5 } else { 28 };
        io::Error::from_raw_os_error(number)
    }
}

/// Which I/Os are to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The first one, counted from 0.
    pub(crate) at: usize,
    /// How.
    pub(crate) fault: Fault,
    /// Whether all later ones fail, too.
    pub(crate) for_ever: bool,
}

/// The faults of one directory, until it is dropped.
#[derive(Debug)]
pub(crate) struct Faults {
    dir: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    plan: Option<Plan>,
    done: Vec<(Op, PathBuf)>,
    /// The bytes of each file when it was last synced, by its number.
    bytes: HashMap<u64, Vec<u8>>,
    /// The names of each directory when it was last synced.
    names: BTreeMap<PathBuf, BTreeMap<PathBuf, u64>>,
    /// What was a directory when its name was noted.
    dirs: BTreeSet<PathBuf>,
}

/// All faults that are installed, by their directories.
static INSTALLED: Mutex<Vec<(PathBuf, Arc<Mutex<State>>)>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn state_of(path: &Path) -> Option<Arc<Mutex<State>>> {
    let installed = lock(&INSTALLED);
    let found = installed.iter().find(|(dir, _)| path.starts_with(dir));
    found.map(|(_, state)| Arc::clone(state))
}

impl Faults {
    /// Counts the I/Os below a directory, and fails those of the plan. What is there counts as
    /// synced.
    pub(crate) fn install(dir: &Path, plan: Option<Plan>) -> Self {
        let mut state = State { plan, ..State::default() };
        state.note_all(dir);
        let state = Arc::new(Mutex::new(state));
        lock(&INSTALLED).push((dir.to_owned(), Arc::clone(&state)));
        Self { dir: dir.to_owned(), state }
    }

    /// What was done until now, in order; failed ones too.
    pub(crate) fn done(&self) -> Vec<(Op, PathBuf)> {
        lock(&self.state).done.clone()
    }

    /// Fails other I/Os from now on, counted from the first one after the installation.
    pub(crate) fn set_plan(&self, plan: Option<Plan>) {
        lock(&self.state).plan = plan;
    }

    /// Writes what a power cut would leave into another directory.
    pub(crate) fn after_power_cut(&self, to: &Path) {
        let state = lock(&self.state);
        let mut waiting = vec![self.dir.clone()];
        while let Some(dir) = waiting.pop() {
            let there = to.join(dir.strip_prefix(&self.dir).unwrap());
            fs::create_dir_all(&there).unwrap();
            for (path, number) in state.names.get(&dir).into_iter().flatten() {
                if path.is_dir() || state.dirs.contains(path) {
                    // sled's directories are not modelled: they are gone.
                    let is_sled = path.join("db").exists() || !path.exists();
                    waiting.extend((!is_sled).then(|| path.clone()));
                    continue;
                }
                let bytes = state.bytes.get(number).map_or(&[][..], Vec::as_slice);
                fs::write(there.join(path.file_name().unwrap()), bytes).unwrap();
            }
        }
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        lock(&INSTALLED).retain(|(_, state)| !Arc::ptr_eq(state, &self.state));
    }
}

impl State {
    fn fault(&self) -> Option<Fault> {
        let plan = self.plan?;
        let number = self.done.len();
        let hit = number == plan.at || (plan.for_ever && number > plan.at);
        hit.then_some(plan.fault)
    }

    fn note_all(&mut self, dir: &Path) {
        self.note_dir(dir);
        for path in
            self.names.get(dir).into_iter().flatten().map(|it| it.0.clone()).collect::<Vec<_>>()
        {
            if path.is_dir() { self.note_all(&path) } else { self.note_file(&path) }
        }
    }

    fn note_file(&mut self, path: &Path) {
        if let (Ok(about), Ok(bytes)) = (fs::metadata(path), fs::read(path)) {
            self.bytes.insert(about.ino(), bytes);
        }
    }

    fn note_dir(&mut self, dir: &Path) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        let dirs = &mut self.dirs;
        let names = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.insert(entry.path());
            }
            Some((entry.path(), entry.metadata().ok()?.ino()))
        });
        self.names.insert(dir.to_owned(), names.collect());
    }

    /// What an I/O that went well makes durable, or makes anew.
    fn note(&mut self, op: Op, path: &Path, was_there: bool) {
        match op {
            Op::SyncData | Op::SyncAll => self.note_file(path),
            Op::SyncDir => self.note_dir(path),
            Op::Open if !was_there => {
                // The number may have been another file's.
                if let Ok(about) = fs::metadata(path) {
                    self.bytes.remove(&about.ino());
                }
            }
            _ => {}
        }
    }
}

/// Does one I/O, or fails it.
pub(super) fn guard<T, E: From<io::Error>>(
    op: Op,
    path: &Path,
    act: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let Some(state) = state_of(path) else { return act() };
    let was_there = path.exists();
    {
        let mut state = lock(&state);
        let fault = state.fault();
        state.done.push((op, path.to_owned()));
        if let Some(fault) = fault {
            return Err(fault.error().into());
        }
    }
    // The state is not locked meanwhile: what is done here may do I/O itself.
    let done = act()?;
    lock(&state).note(op, path, was_there);
    Ok(done)
}

/// The bytes that are written though the write will fail.
pub(super) fn short_write<'a>(path: &Path, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let state = state_of(path)?;
    let is_short = lock(&state).fault() == Some(Fault::Short);
    is_short.then(|| bytes.split_at(bytes.len() / 2).0)
}
