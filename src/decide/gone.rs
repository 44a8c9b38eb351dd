//! DataGrids and GridTemplates that are gone: nothing of them is remembered.
//!
//! An object whose finalizer somebody took off, or whose grid was to stay, ends without an operation
//! of ours. What the journal remembers of it ends here, so that a state never outgrows the objects
//! that are there.

use std::collections::BTreeMap;

use xsld_journal::event::Event;

use super::{Decision, Inputs};

/// Objects that one pass forgets.
const AT_ONCE: usize = 8;

/// Forgets what is not listed any more. The list is the API server's own, read in this pass.
pub(super) fn decide(inputs: Inputs<'_>) -> Decision {
    let Inputs { wanted, state, .. } = inputs;
    if state.operation.is_some() {
        return Decision::Rest;
    }
    let is_there = |uid: &str| {
        wanted.grids.contains_key(uid)
            || wanted.templates.contains_key(uid)
            || wanted.others.contains(uid)
    };
    let gone: BTreeMap<&str, &str> =
        state.known_objects().filter(|(uid, _)| !is_there(uid)).collect();
    if gone.is_empty() {
        return Decision::Rest;
    }
    let events = gone.into_iter().take(AT_ONCE).map(|(uid, name)| Event::ObjectGone {
        uid: uid.to_owned(),
        name: name.to_owned(),
        reason: "its object is gone; what the group has of that name stays".to_owned(),
    });
    Decision::Record(events.collect())
}
