//! A person decided about the parked operation: what is recorded because of it.
//!
//! The decision itself is in the journal before anything here sees it. It is a person's word for
//! what no evidence decides, so it never weakens a precondition: each later step looks for itself,
//! a claim goes only when its member is seen to be absent, and a member that was vouched for and is
//! absent is found lost.

use xsld_journal::decision::Choice;
use xsld_journal::event::{End, Event};
use xsld_journal::state::{Decided, Operation};

use super::{Decision, Inputs, evidence};

/// What a person's decision leads to; none when there is none, or it is a word that was recorded by
/// hand and means nothing here.
pub(super) fn decided(inputs: Inputs<'_>) -> Option<Decision> {
    let operation = inputs.state.operation.as_ref()?;
    operation.parked.as_ref()?;
    let word = operation.decided.as_ref()?;
    let choice = Choice::parse(&word.decision)?;
    Some(Decision::Record(consequences(operation, word, choice)))
}

/// The records that follow from a decision. A step that was meant and is not in doubt any more needs
/// nothing: then the operation just goes on.
fn consequences(operation: &Operation, word: &Decided, choice: Choice) -> Vec<Event> {
    let said = format!("{} decided {}: {}", word.who, choice.name(), word.why);
    let proof = evidence(&serde_json::json!({
        "decided": choice.name(), "who": word.who, "why": word.why, "seq": word.seq,
    }));
    let mut events = vec![Event::OperationResumed { evidence: said.clone() }];
    let void = |key| Event::StepVoid { key, evidence: proof.clone() };
    // What was done aside goes first: the step itself cannot end before it.
    let aside = operation.cancel.as_ref().map(|open| open.key);
    let step = operation.step.as_ref().map(|open| open.key);
    match choice {
        Choice::Retry => {}
        Choice::Void => events.extend(aside.into_iter().chain(step).map(void)),
        Choice::Done => {
            events.extend(aside.map(void));
            events.extend(step.map(|key| Event::StepSucceeded {
                key,
                found_by_probe: false,
                flagged: Some(said),
                evidence: proof.clone(),
            }));
        }
        Choice::Abandon => {
            events.extend(aside.into_iter().chain(step).map(void));
            events.push(Event::OperationEnded { end: End::Failed { reason: said } });
        }
    }
    events
}
