//! One step of a roll, as often as it may be tried.

use xsld_journal::event::{Event, Step};
use xsld_journal::state::Operation;

use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::question::Question;
use crate::decide::{ATTEMPTS_MAX, Decision, Inputs, evidence, views};

/// Runs a step; after it has failed as often as it may, a person is asked.
pub(super) fn run(inputs: Inputs<'_>, operation: &Operation, step: Step) -> Decision {
    let attempts = operation.tried(&step.target());
    if let Some(failure) = &operation.last_failure {
        if attempts >= ATTEMPTS_MAX {
            return Decision::Record(vec![Event::OperationParked {
                reason: Reason::StepFailed.as_str().to_owned(),
                message: format!(
                    "{} was tried {attempts} times: {failure}; change the spec to begin anew",
                    step.describe()
                ),
            }]);
        }
        if attempts > 0 && !Question::Elapsed.is_settled(inputs, inputs.times.settle) {
            let message = format!("{}: attempt {} is due soon", step.describe(), attempts + 1);
            return Decision::wait(Reason::StepFailed, message);
        }
    }
    Decision::Run { step, evidence: evidence(&views::told(inputs.seen)) }
}
