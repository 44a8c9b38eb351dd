//! A spec that is older than one that was acted on: the API server was set back, or somebody restored
//! the object from a backup.
//!
//! What an older spec asks for is as old as its backup. So nothing is done for it, as in a pause, until
//! a person confirms it with an annotation; what was sent before is settled, and what would take
//! somebody away is not sent again. Where the cache is deleted meanwhile, its volumes stay. That it was
//! found is recorded, so that it stays so whatever generations are counted from there on; and so is its
//! confirmation, before which nothing that was acted on counts any more.
//!
//! Another object of the same name (another UID) has another stream: it is new and not older.

use xsld_journal::event::Event;
use xsld_journal::state::Older;

use super::{Inputs, Waiting, Wanted};
use crate::crd::conditions::ConditionReason as Reason;

/// Annotation on an XsldCache by which a person confirms an older spec: its generation, `@` and the
/// number of the record that found it. No backup holds the number of a record that is younger than it.
pub const ANNOTATION_CONFIRM: &str = "xsld.ibm.com/confirm-generation";

/// The record of an older spec that was not found before, or of its confirmation.
pub(super) fn news(inputs: Inputs<'_>) -> Option<Event> {
    let Inputs { wanted, state, .. } = inputs;
    let (generation, size) = (wanted.generation, wanted.size);
    if let Some(older) = &state.older {
        let confirmed = wanted.confirms.as_deref().map(str::trim);
        // What goes with the cache was told when it was deleted.
        let is_confirmed = !wanted.deleting && confirmed == Some(&*word(generation, older));
        return is_confirmed.then_some(Event::SpecConfirmed { generation, size });
    }
    let acted = state.acted_after(wanted.acted_before)?;
    let is_older = acted.unconfirmed || generation < acted.generation;
    is_older.then_some(Event::SpecOlder {
        generation,
        size,
        acted: acted.generation,
        acted_size: acted.size,
    })
}

/// What the annotation says of the spec of this generation.
fn word(generation: i64, older: &Older) -> String {
    format!("{generation}@{}", older.seq)
}

/// What is told of an older spec as long as nobody confirmed it, and how that is done.
pub fn told(wanted: &Wanted, older: &Older) -> Waiting {
    let object = (wanted.namespace.as_str(), wanted.name.as_str());
    Waiting::new(Reason::SpecOlder, words(object, wanted.generation, wanted.size, older))
}

/// The same, of the spec as the API server has it.
pub fn words((namespace, name): (&str, &str), generation: i64, size: u32, older: &Older) -> String {
    let size_was = older.acted_size.map(|size| format!(" with size {size}")).unwrap_or_default();
    let word = word(generation, older);
    format!(
        "the spec is of generation {generation} and asks for size {size}, and generation {}{size_was} \
         was acted on: it may come from a backup. Nothing is done for it, as in a pause, before somebody \
         has corrected it where need be and confirms it: kubectl annotate xsldcache {name} -n \
         {namespace} --overwrite {ANNOTATION_CONFIRM}={word}",
        older.acted
    )
}

#[cfg(test)]
mod tests;
