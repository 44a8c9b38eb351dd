//! One step: its intent durable, then checked once more, then fenced, then its one effect, then
//! its outcome durable.

use xsld_journal::event::{Event, Step, StepKey, Text, bounded};
use xsld_journal::state::{OpenStep, Progress};

use super::pass::Pass;
use super::{Context, Error, mark};
use crate::crd::{ConditionReason as Reason, XsldCache};
use crate::decide::{Decision, decide};
use crate::execute::{Effect, execute};

/// Runs a new attempt of a step. `None` when it was tried; else what is waited for.
pub(super) async fn run(
    pass: &mut Pass<'_>,
    step: Step,
    evidence: String,
) -> Result<Option<Decision>, Error> {
    if let Some(waiting) = not_yet(pass, &step).await? {
        return Ok(Some(waiting));
    }
    let before = pass.state.clone();
    let Some(operation) = &before.operation else { return Ok(None) };
    let (id, target) = (operation.id, step.target());
    let attempt = operation.attempts_of(&target).saturating_add(1);
    let key = StepKey::of(id, &target, attempt);
    let blobs = match &step {
        // A former template is in the audit file already.
        Step::SetTemplate { template: Text::External { .. }, digest }
            if *digest == pass.wanted.template.0 =>
        {
            vec![pass.template_json.clone()]
        }
        _ => vec![],
    };
    let intent = Event::StepIntended { step: step.clone(), attempt, key, evidence };
    pass.append(Some(id), vec![intent], blobs).await?;

    let refusal = if step.is_destructive() {
        // From here on a lost journal is detected before anything else can be destroyed.
        pass.context.move_anchor().await?;
        pass.look_again().await?;
        let again = decide(pass.inputs(&before));
        let same = matches!(&again, Decision::Run { step: now, .. } if *now == step);
        match same {
            true => mark::taken(pass.context, pass.object).await?,
            false => Some("the world changed before it was sent".to_owned()),
        }
    } else {
        None
    };
    let refusal = refusal.or_else(|| fenced(pass));
    let effect = match refusal {
        Some(reason) => Effect::NotSent { reason },
        None => carry_out(pass, &step, key).await,
    };
    if matches!(effect, Effect::Accepted { .. }) {
        pass.watch.sent_here = Some(key);
    }
    // What comes next must be proven from after this request: one that was not answered may still
    // take effect, and a refused one is not to be repeated in a burst.
    pass.watch.unsettle();
    pass.append(Some(id), vec![outcome(key, effect)], vec![]).await?;
    Ok(None)
}

/// Sends the open attempt once more. Only what says more than is known already is recorded, and a
/// refusal now says nothing about the request before.
pub(super) async fn resend(pass: &mut Pass<'_>, key: StepKey) -> Result<Option<Decision>, Error> {
    let state = pass.state.clone();
    let open: Option<&OpenStep> =
        state.open_cancel().into_iter().chain(state.open_step()).find(|open| open.key == key);
    let (Some(open), Some(operation)) = (open, &state.operation) else { return Ok(None) };
    if let Some(waiting) = not_yet(pass, &open.step).await? {
        return Ok(Some(waiting));
    }
    if open.step.is_destructive() {
        pass.context.move_anchor().await?;
        pass.look_again().await?;
        if decide(pass.inputs(&state)) != (Decision::Resend { key }) {
            return Ok(Some(Decision::wait(
                Reason::InDoubt,
                format!("{}: the world changed before it was sent again", open.step.describe()),
            )));
        }
    }
    if let Some(reason) = fenced(pass) {
        return Ok(Some(Decision::wait(Reason::WaitingForLease, reason)));
    }
    let event = match carry_out(pass, &open.step, key).await {
        effect @ (Effect::Done { .. } | Effect::Accepted { .. }) => {
            pass.watch.sent_here = Some(key);
            outcome(key, effect)
        }
        Effect::Refused { reason } | Effect::Unknown { reason } => {
            if open.progress == (Progress::Unknown { reason: bounded(&reason) }) {
                pass.watch.unsettle();
                return Ok(Some(Decision::wait(Reason::InDoubt, reason)));
            }
            Event::StepUnknown { key, reason }
        }
        Effect::NotSent { reason } => {
            pass.watch.unsettle();
            return Ok(Some(Decision::wait(Reason::InDoubt, reason)));
        }
    };
    // What comes next must be proven from after this request.
    pass.watch.unsettle();
    pass.append(Some(operation.id), vec![event], vec![]).await?;
    Ok(None)
}

/// Why nothing may be sent yet, or not any more.
async fn not_yet(pass: &Pass<'_>, step: &Step) -> Result<Option<Decision>, Error> {
    if let Some(waiting) = waits_for_its_term(pass, step) {
        return Ok(Some(waiting));
    }
    let taken = mark::taken(pass.context, pass.object).await?;
    Ok(taken.map(|why| Decision::wait(Reason::Deferred, format!("nothing is done: {why}"))))
}

/// Why what was found may not be recorded yet: an old version of a cache, which a slow watch may show,
/// has an older spec as one that was restored has. The live one tells them apart.
pub(super) async fn unproven(
    context: &Context,
    object: &XsldCache,
    events: &[Event],
) -> Result<Option<Decision>, Error> {
    let rests_on_the_spec =
        |event: &Event| matches!(event, Event::SpecOlder { .. } | Event::SpecConfirmed { .. });
    if !events.iter().any(rests_on_the_spec) {
        return Ok(None);
    }
    let taken = mark::taken(context, object).await?;
    Ok(taken.map(|why| Decision::wait(Reason::Deferred, format!("nothing is recorded: {why}"))))
}

/// Why nothing may be sent yet in this term.
fn waits_for_its_term(pass: &Pass<'_>, step: &Step) -> Option<Decision> {
    let context = pass.context;
    let now = context.clock.now();
    if now < context.acts_from {
        let message = "requests of the operator before may still be on their way";
        return Some(Decision::wait(Reason::WaitingForLease, message));
    }
    if step.is_destructive() && now < context.destroys_from {
        let message = "the anchor was lost: nothing is destroyed before the rebuild quiet is over";
        return Some(Decision::wait(Reason::Rebuilding, message));
    }
    fenced(pass).map(|reason| Decision::wait(Reason::WaitingForLease, reason))
}

/// The effect, and nothing of it once the term has run out.
async fn carry_out(pass: &Pass<'_>, step: &Step, key: StepKey) -> Effect {
    let target = pass.target();
    let carried_out = pass.context.leadership.within(execute(&target, step, key)).await;
    let stood_still = "the term of leadership ran out while it was being sent";
    carried_out.unwrap_or_else(|| Effect::Unknown { reason: stood_still.to_owned() })
}

/// Leadership must outlast the request.
fn fenced(pass: &Pass<'_>) -> Option<String> {
    let context = pass.context;
    let covered = context.leadership.covers(context.times.request);
    (!covered).then(|| "the lease may end before the request does".to_owned())
}

fn outcome(key: StepKey, effect: Effect) -> Event {
    match effect {
        Effect::Done { evidence } => {
            Event::StepSucceeded { key, found_by_probe: false, flagged: None, evidence }
        }
        Effect::Accepted { task } => Event::StepAccepted { key, task },
        Effect::Refused { reason } => Event::StepFailed { key, reason, evidence: "{}".to_owned() },
        Effect::NotSent { reason } => Event::StepNotSent { key, reason },
        Effect::Unknown { reason } => Event::StepUnknown { key, reason },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::rehearse::tests::{context, server};
    use super::*;

    fn cache(generation: i64, mark: &str) -> XsldCache {
        serde_json::from_value(json!({
            "apiVersion": "xsld.ibm.com/v1alpha1", "kind": "XsldCache",
            "metadata": {"name": "c", "namespace": "team", "uid": "u", "generation": generation,
                "annotations": {"xsld.ibm.com/operated-by": mark}},
            "spec": {"license": "accept", "size": 1},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_spec_that_looks_older_is_recorded_only_if_the_live_one_is() {
        let mark = "team/00000000-0000-0000-0000-000000000001";
        let found = Event::SpecOlder { generation: 3, size: 1, acted: 7, acted_size: Some(3) };
        let confirmed = Event::SpecConfirmed { generation: 3, size: 1 };
        for (live, is_proven) in [(3, true), (8, false)] {
            let path = "/apis/xsld.ibm.com/v1alpha1/namespaces/team/xsldcaches/c";
            let (client, asked) = server(json!({path: cache(live, mark)}));
            let (context, _store) = context(&client);
            let seen = cache(3, mark);
            for event in [&found, &confirmed] {
                let waits = unproven(&context, &seen, std::slice::from_ref(event)).await.unwrap();
                assert_eq!(waits.is_none(), is_proven, "{waits:?}");
            }
            assert_eq!(asked.lock().unwrap().len(), 2);
            let other = Event::OperationResumed { evidence: String::new() };
            assert_eq!(unproven(&context, &seen, &[other]).await.unwrap(), None);
            assert_eq!(asked.lock().unwrap().len(), 2, "what rests on no spec costs no read");
        }
    }
}
