//! What a pass found in its way: each refusal and each silence of the API server is one finding
//! about one object. It is told, and it never ends the pass.
//!
//! A refusal is told at once. What may pass by itself (no answer in time, an error of the server, a
//! conflict) is told once it lasts. A write that was refused is tried again less and less often,
//! and at once when something else is to be written.

pub mod hindrances;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::controller::Action;
use secrecy::SecretString;
use tracing::{info, warn};

use self::hindrances::Heard;
use super::{Context, Error, Subject};
use crate::clock::Moment;
use crate::crd::ConditionReason as Reason;
use crate::decide::Waiting;
use crate::events::{self, Note};
use crate::execute::Effect;
use crate::metrics::ErrorLabels;
use crate::observe::Access;
use crate::recover::is_passing;
use crate::status::Problem;
use crate::telemetry::chain;
use crate::times::Times;
use crate::xsld::text::{Redactor, bounded};

/// In so many passes in a row something that may pass by itself must fail before it is told.
const LASTS: u32 = 3;

/// An object that was to be read or written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thing {
    /// Its kind, or which part of an object it is.
    pub kind: String,
    /// Its name; empty for a list of all of them.
    pub name: String,
}

impl Thing {
    /// An object by kind and name.
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), name: name.into() }
    }

    /// All objects of a kind.
    pub fn all(kind: impl Into<String>) -> Self {
        Self::new(kind, "")
    }

    fn words(&self) -> String {
        format!("{} {}", self.kind, self.name).trim_end().to_owned()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Read,
    Write,
}

/// What happened to one thing in the last passes.
#[derive(Clone, Debug)]
struct Trouble {
    problem: Problem,
    /// Passes in a row in which it failed.
    passes: u32,
    /// Digest of what was to be written.
    wish: String,
    again_at: Moment,
    told: bool,
}

impl Trouble {
    fn is_told(&self) -> bool {
        self.problem.reason != Reason::ApiUnavailable || self.passes >= LASTS
    }
}

/// What the process remembers of one object's findings between two passes.
#[derive(Clone, Default)]
struct Memory {
    troubles: BTreeMap<(Deed, Thing), Trouble>,
    /// How the members were spoken to last, and for which generation of the spec.
    access: Option<(i64, Access)>,
    /// What Events said of what is missing.
    heard: Heard,
}

/// The memories of all objects, by UID. They live in the process only.
#[derive(Default)]
pub struct Memories(Mutex<HashMap<String, Memory>>);

impl Memories {
    /// An object that is gone has none.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    fn of(&self, uid: &str) -> Memory {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(uid).cloned().unwrap_or_default()
    }

    fn keep(&self, uid: &str, memory: Memory) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.troubles.is_empty() && memory.access.is_none() && memory.heard.is_empty() {
            all.remove(uid);
        } else {
            all.insert(uid.to_owned(), memory);
        }
    }
}

/// The findings of one pass over one object.
pub struct Findings<'a> {
    context: &'a Context,
    regarding: &'a ObjectReference,
    uid: &'a str,
    memory: Memory,
    problems: Vec<Problem>,
    untold: bool,
    /// What this pass read, wrote or left for later.
    touched: BTreeSet<(Deed, Thing)>,
}

impl<'a> Findings<'a> {
    /// None yet, in a pass over this cache.
    pub fn of(context: &'a Context, subject: &'a Subject) -> Self {
        Self::about(context, &subject.reference, &subject.identity.uid)
    }

    /// None yet, in a pass over this object.
    pub fn about(context: &'a Context, regarding: &'a ObjectReference, uid: &'a str) -> Self {
        let memory = context.findings.of(uid);
        let (problems, touched) = Default::default();
        Self { context, regarding, uid, memory, problems, untold: false, touched }
    }

    /// What is to be told.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Whether something was found that is not told yet, because it may pass by itself.
    pub fn has_untold(&self) -> bool {
        self.untold
    }

    /// Adds what somebody else found.
    pub fn add(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// What was read; none when it was not, and that is a finding.
    pub fn read<T>(&mut self, thing: &Thing, read: Result<T, Error>) -> Option<T> {
        match read {
            Ok(value) => {
                self.memory.troubles.remove(&(Deed::Read, thing.clone()));
                Some(value)
            }
            Err(error) => {
                self.note(Deed::Read, thing, "", &error.to_trouble(&Redactor::new()));
                None
            }
        }
    }

    /// Whether this may be written now. A write of the same `wish` that was refused a moment ago is
    /// not tried again yet: its finding stands.
    pub fn may_write(&mut self, thing: &Thing, wish: &str) -> bool {
        self.touched.insert((Deed::Write, thing.clone()));
        let now = self.context.clock.now();
        let Some(trouble) = self.memory.troubles.get(&(Deed::Write, thing.clone())) else {
            return true;
        };
        if trouble.wish != wish || now >= trouble.again_at {
            return true;
        }
        let (problem, told) = (trouble.problem.clone(), trouble.is_told());
        self.show(problem, told);
        false
    }

    /// What the write gave; none when it was refused, and that is a finding. The API server's words
    /// are told without `secrets`.
    pub fn wrote<T>(
        &mut self,
        thing: &Thing,
        wish: &str,
        secrets: &[SecretString],
        written: Result<T, Error>,
    ) -> Option<T> {
        match written {
            Ok(value) => {
                self.is_well(thing);
                Some(value)
            }
            Err(error) => {
                let redactor = secrets.iter().fold(Redactor::new(), Redactor::with);
                self.note(Deed::Write, thing, wish, &error.to_trouble(&redactor));
                None
            }
        }
    }

    /// Writes, unless the same was refused a moment ago; none when it was refused, then or now.
    pub async fn write<T>(
        &mut self,
        thing: &Thing,
        wish: &str,
        write: impl Future<Output = Result<T, Error>>,
    ) -> Option<T> {
        if !self.may_write(thing, wish) {
            return None;
        }
        let written = write.await;
        self.wrote(thing, wish, &[], written)
    }

    /// The same of an effect.
    pub fn took_effect(&mut self, thing: &Thing, wish: &str, effect: &Effect) {
        let passing = |words: &str| Words { passing: true, text: bounded(words) };
        let words = match effect {
            Effect::Done { .. } | Effect::Accepted { .. } => return self.is_well(thing),
            Effect::Refused { reason } => Words { passing: false, text: bounded(reason) },
            Effect::NotSent { reason } | Effect::Unknown { reason } => passing(reason),
        };
        self.note(Deed::Write, thing, wish, &words);
    }

    /// The pass came to its end: what it did not read is read no more, and what failed once is over.
    /// At rest it met all that it would write, so the same holds for that: nothing is polled for a
    /// write that nobody wants any more.
    pub fn came_to_its_end(&mut self, at_rest: bool) {
        let touched = std::mem::take(&mut self.touched);
        self.memory
            .troubles
            .retain(|key, _| touched.contains(key) || (key.0 == Deed::Write && !at_rest));
    }

    /// The thing is as it should be.
    pub fn is_well(&mut self, thing: &Thing) {
        if self.memory.troubles.remove(&(Deed::Write, thing.clone())).is_some() {
            info!(object = thing.words(), "what was refused is done now");
        }
    }

    /// A pass's decision ended early: why. What ends the whole process is given back.
    ///
    /// # Errors
    /// When the term of leadership is over.
    pub fn ended<T>(&mut self, done: Result<T, Error>) -> Result<Option<T>, Error> {
        let anchor = Thing::new("ConfigMap", crate::recover::anchor::ANCHOR_NAME);
        match done {
            Ok(value) => {
                self.is_well(&anchor);
                Ok(Some(value))
            }
            Err(Error::TermEnded) => Err(Error::TermEnded),
            Err(error @ Error::Append(_)) => {
                self.count(&error);
                warn!(error = chain(&error), "the journal refused a record");
                let message = format!("the journal refused a record: {}", chain(&error));
                self.add(Problem { reason: Reason::JournalFailed, message: bounded(&message) });
                Ok(None)
            }
            Err(error @ Error::Anchor(_)) => {
                self.note(Deed::Write, &anchor, "", &error.to_trouble(&Redactor::new()));
                Ok(None)
            }
            Err(error) => {
                let thing = Thing::new(error.thing(), "");
                self.note(Deed::Read, &thing, "", &error.to_trouble(&Redactor::new()));
                Ok(None)
            }
        }
    }

    fn note(&mut self, deed: Deed, thing: &Thing, wish: &str, words: &Words) {
        let key = (deed, thing.clone());
        self.touched.insert(key.clone());
        let former = self.memory.troubles.get(&key).cloned();
        let problem = words.problem(deed, thing);
        let same = former.as_ref().filter(|former| former.problem == problem);
        let passes = former.as_ref().map_or(0, |former| former.passes).saturating_add(1);
        if same.is_none() {
            warn!(
                object = thing.words(),
                message = problem.message,
                "the API server did not comply"
            );
        }
        let again_at = self.context.clock.now().plus(delay(&self.context.times, passes));
        let told = same.is_some_and(|former| former.told);
        let trouble =
            Trouble { problem: problem.clone(), passes, wish: wish.to_owned(), again_at, told };
        let is_told = trouble.is_told();
        self.memory.troubles.insert(key, trouble);
        let category = match deed {
            Deed::Read => "observe",
            Deed::Write => "write",
        };
        self.context.metrics.errors.get_or_create(&ErrorLabels { category }).inc();
        self.show(problem, is_told);
    }

    fn show(&mut self, problem: Problem, is_told: bool) {
        if !is_told {
            self.untold = true;
        } else if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn count(&self, error: &Error) {
        let labels = ErrorLabels { category: error.category() };
        self.context.metrics.errors.get_or_create(&labels).inc();
    }

    /// When to look again: as otherwise, and not later than the next try of what was refused.
    pub fn next(&self, otherwise: Duration) -> Duration {
        let now = self.context.clock.now();
        let writes = self.memory.troubles.iter().filter(|((deed, _), _)| *deed == Deed::Write);
        let due = writes.map(|(_, trouble)| trouble.again_at.since(now));
        // Never at once: what is due now was not tried in this pass.
        let due = due.map(|due| due.max(self.context.times.poll_active));
        due.min().map_or(otherwise, |due| due.min(otherwise))
    }

    /// When to look again at what is otherwise looked at when it changes.
    pub fn next_action(&self) -> Action {
        if self.memory.troubles.is_empty() {
            return Action::await_change();
        }
        Action::requeue(self.next(self.context.times.poll_idle))
    }

    /// Whether all that is in the way was refused: it is tried again in its own time, and nothing
    /// else is looked for more often than otherwise.
    pub fn is_all_refused(&self) -> bool {
        let refused = |problem: &Problem| {
            matches!(problem.reason, Reason::WriteRefused | Reason::ReadRefused)
        };
        !self.untold && self.problems.iter().all(refused)
    }

    /// The way to speak to members that was kept for this generation of the spec, because what it
    /// is made of cannot be read just now.
    pub fn former_access(&self, generation: i64) -> Option<Access> {
        let (kept, access) = self.memory.access.as_ref()?;
        (*kept == generation).then(|| access.clone())
    }

    /// Keeps the way to speak to members for a pass that cannot read what it is made of.
    pub fn keep_access(&mut self, generation: i64, access: Option<&Access>) {
        self.memory.access = access.map(|access| (generation, access.clone()));
    }

    /// What the first pods would rest on and cannot: a secret that the product does not take.
    pub fn holds_first_pods(&self) -> Option<Waiting> {
        let invalid = |problem: &&Problem| problem.reason == Reason::SecretInvalid;
        let problem = self.problems.iter().find(invalid)?;
        Some(Waiting::new(problem.reason, problem.message.clone()))
    }

    /// Writes an Event for each refusal that is new, and remembers what was found.
    pub async fn tell(mut self) {
        let mut notes = Vec::new();
        for trouble in self.memory.troubles.values_mut() {
            if trouble.is_told() && !std::mem::replace(&mut trouble.told, true) {
                notes.push(note(&trouble.problem));
            }
        }
        let context = self.context;
        context.findings.keep(self.uid, self.memory);
        if !notes.is_empty() {
            let (wall, timeout) = (context.clock.wall(), context.times.request);
            let by = &context.instance;
            events::publish(&context.client, self.regarding, &notes, by, wall, timeout).await;
        }
    }
}

fn note(problem: &Problem) -> Note {
    Note {
        reason: problem.reason.as_str(),
        warning: true,
        message: problem.message.clone(),
        operation: None,
        seq: None,
        action: "Reconcile",
    }
}

/// How long after so many failures in a row the next try is due.
fn delay(times: &Times, passes: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(passes.saturating_sub(1).min(8));
    times.poll_active.saturating_mul(doubled).min(times.poll_idle.saturating_mul(4))
}

/// What the API server said, or that it said nothing.
struct Words {
    /// Whether the same may succeed a moment later.
    passing: bool,
    text: String,
}

impl Words {
    fn problem(&self, deed: Deed, thing: &Thing) -> Problem {
        let (object, words) = (thing.words(), &self.text);
        let verb = match deed {
            Deed::Read => "read",
            Deed::Write => "write",
        };
        let (reason, message) = match (self.passing, deed) {
            (false, Deed::Read) => (
                Reason::ReadRefused,
                format!("the API server refuses to let the operator {verb} the {object}: {words}"),
            ),
            (false, Deed::Write) => (
                Reason::WriteRefused,
                format!("the API server refuses to let the operator {verb} the {object}: {words}"),
            ),
            (true, _) => (
                Reason::ApiUnavailable,
                format!("the operator could not {verb} the {object} just now: {words}"),
            ),
        };
        Problem { reason, message: bounded(&message) }
    }
}

impl Error {
    /// What the API server said about a read or a write.
    fn to_trouble(&self, redactor: &Redactor) -> Words {
        let passing = match self.source_of_api() {
            Some(error) => is_passing(error),
            None => true,
        };
        let text = match self.source_of_api() {
            Some(kube::Error::Api(status)) => status.message.clone(),
            Some(error) => chain(error),
            None => chain(self),
        };
        Words { passing, text: bounded(&redactor.text(&text)) }
    }

    fn source_of_api(&self) -> Option<&kube::Error> {
        use super::{anchor, observe};
        use crate::status::publish;
        match self {
            Self::Write { source, .. }
            | Self::Observe(observe::Error::Api { source, .. })
            | Self::Anchor(anchor::Error::Api { source, .. })
            | Self::Status(publish::Error::Api { source, .. }) => Some(source),
            Self::Observe(observe::Error::Timeout { .. })
            | Self::Append(_)
            | Self::Anchor(_)
            | Self::Timeout { .. }
            | Self::Status(publish::Error::Timeout { .. })
            | Self::TermEnded => None,
        }
    }

    /// What was read when it failed.
    pub(super) fn thing(&self) -> String {
        use super::observe;
        let what = match self {
            Self::Observe(observe::Error::Api { what, .. } | observe::Error::Timeout { what }) => {
                what.trim_start_matches("the ")
            }
            _ => "objects of the cache",
        };
        what.to_owned()
    }
}

#[cfg(test)]
mod tests;
