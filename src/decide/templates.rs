//! The grid templates of a cache: uploaded before the grids that are made from them, deleted after
//! the grids are gone, one at a time, when nothing else is going on.

use xsld_journal::event::{Cause, End, Event, Goal, OperationKind, Step, Survivor};
use xsld_journal::state::{OpenStep, Operation, Progress};

use super::grids::{attempt, gave_up, give_way, is_past, not_yet, superseded, unread};
use super::question::Question;
use super::steps::{Standing, again, done};
use super::{Decision, Inputs, Waiting, WantedGrid, WantedTemplate, converge, evidence, views};
use crate::crd::conditions::ConditionReason as Reason;
use crate::observation::Shown;
use crate::xsld::view::{Answer, GridView};

/// The field of a grid that names its template.
const TEMPLATE_FIELD: &str = "templateName";

/// Carries on with the open operation, or begins the next one: uploads first, then what `grids`
/// decides, then deletions, because a grid needs its template as long as it is there.
pub(super) fn decide(inputs: Inputs<'_>, grids: impl Fn(Inputs<'_>) -> Decision) -> Decision {
    let first = match &inputs.state.operation {
        Some(operation) if matches!(operation.goal, Goal::Template { .. }) => {
            return give_way(inputs, operation, proceed(inputs, operation));
        }
        Some(_) => return grids(inputs),
        None => begin(inputs, Task::Upload),
    };
    converge::any(first, || converge::any(grids(inputs), || begin(inputs, Task::Delete)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Upload,
    Delete,
}

/// What a template needs, by what is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing, or it cannot be seen.
    Nothing,
    /// An operation.
    Work(Task),
    /// Only a record: the group has it already as it is wanted.
    Adoption,
}

fn needs(inputs: Inputs<'_>, uid: &str, template: &WantedTemplate) -> Need {
    let Ok(live) = inputs.seen.template(&template.name) else { return Need::Nothing };
    let recorded = inputs.state.templates.get(uid);
    if template.deleting {
        // One that somebody else deleted is still to be recorded as gone; ours says so.
        return if recorded.is_some() { Need::Work(Task::Delete) } else { Need::Nothing };
    }
    let as_wanted = live == Some(&template.digest);
    let as_recorded = recorded.is_some_and(|recorded| recorded.digest == template.digest);
    match (as_wanted, as_recorded) {
        (false, _) => Need::Work(Task::Upload),
        (true, false) => Need::Adoption,
        (true, true) => Need::Nothing,
    }
}

fn goal_of(uid: &str, template: &WantedTemplate) -> Goal {
    let digest = if template.deleting { String::new() } else { template.digest.clone() };
    Goal::Template { template_uid: uid.to_owned(), name: template.name.clone(), digest }
}

fn begin(inputs: Inputs<'_>, wanted: Task) -> Decision {
    if !inputs.state.bootstrapped {
        return Decision::Rest;
    }
    let mut held = Decision::Rest;
    for (uid, template) in &inputs.wanted.templates {
        let task = match needs(inputs, uid, template) {
            Need::Work(task) if task == wanted => task,
            Need::Adoption if wanted == Task::Upload => {
                return Decision::Record(vec![Event::TemplateAdopted {
                    template_uid: uid.clone(),
                    name: template.name.clone(),
                    digest: template.digest.clone(),
                }]);
            }
            Need::Nothing | Need::Work(_) | Need::Adoption => continue,
        };
        let goal = goal_of(uid, template);
        if let Some(waiting) = not_yet(inputs, &format!("template {}", template.name)) {
            held = Decision::Wait(waiting);
            continue;
        }
        if is_given_up(inputs, &goal) || in_use(inputs, uid, template).is_some() {
            continue;
        }
        let kind = match task {
            Task::Upload => OperationKind::TemplateUpload,
            Task::Delete => OperationKind::TemplateDelete,
        };
        let reason = reason(inputs, uid, template, task);
        let cause = Cause { generation: template.generation, reason };
        match converge::begin(inputs, kind, goal, cause) {
            // The others do not wait for it.
            waits @ Decision::Wait(_) => held = waits,
            begins => return begins,
        }
    }
    held
}

fn reason(inputs: Inputs<'_>, uid: &str, template: &WantedTemplate, task: Task) -> String {
    let name = &template.name;
    let recorded = inputs.state.templates.get(uid);
    let there = matches!(inputs.seen.template(name), Ok(Some(_)));
    match (task, recorded) {
        (Task::Delete, _) => {
            format!("no GridTemplate wants template {name} in this cache any more")
        }
        (Task::Upload, Some(recorded)) if recorded.digest != template.digest => {
            format!("the documents of template {name} have changed")
        }
        (Task::Upload, Some(_)) if there => {
            format!("template {name} was changed by somebody else")
        }
        (Task::Upload, Some(_)) => format!("template {name} was deleted by somebody else"),
        (Task::Upload, None) if there => {
            format!("the group has another template {name} than its GridTemplate")
        }
        (Task::Upload, None) => format!("the group has no template {name}"),
    }
}

/// What the group refused is not asked again until the documents change. A deletion has nothing
/// that could change: it is asked again when the group has long been the same.
fn is_given_up(inputs: Inputs<'_>, goal: &Goal) -> bool {
    let Some(last) = inputs.state.failed_at(goal) else { return false };
    last.kind != OperationKind::TemplateDelete || gave_up(inputs)
}

/// Why the group refused what is wanted of this template now, if it did.
pub fn refused<'a>(inputs: Inputs<'a>, uid: &str, template: &WantedTemplate) -> Option<&'a str> {
    inputs.state.failed_at(&goal_of(uid, template)).map(|failed| failed.reason.as_str())
}

/// What keeps a template that is to go from going: the grids that are made from it.
pub fn in_use(inputs: Inputs<'_>, uid: &str, template: &WantedTemplate) -> Option<String> {
    let recorded = inputs.state.templates.get(uid).filter(|_| template.deleting)?;
    let grids = match &inputs.seen.grids {
        Some(Answer::Known(grids)) => grids,
        Some(Answer::Refused { .. } | Answer::Unknown { .. }) | None => {
            let message = "no member tells which grids are made from it just now";
            return Some(format!("template {}: {message}", recorded.name));
        }
    };
    let uses_it = |grid: &&GridView| grid.fields.get(TEMPLATE_FIELD) == Some(&recorded.name);
    let using = grids.there().values().filter(uses_it).take(5);
    let names: Vec<&str> = using.map(|grid| grid.name.as_str()).collect();
    if let (Some((name, unread)), true) = (grids.unread().iter().next(), names.is_empty()) {
        return Some(format!(
            "template {} may be in use by grid {name}, which cannot be read ({}): it is deleted \
             once that grid can be read, or is gone",
            recorded.name, unread.reason
        ));
    }
    (!names.is_empty()).then(|| {
        format!(
            "template {} is in use by grid {}: delete it first",
            recorded.name,
            names.join(", ")
        )
    })
}

/// Whether the group has, by what was recorded and seen, the template that a grid is made from.
pub fn is_there(inputs: Inputs<'_>, name: &str) -> bool {
    let Ok(live) = inputs.seen.template(name) else { return false };
    let wanted = inputs.wanted.templates.iter().find(|(_, template)| template.name == name);
    wanted.is_some_and(|(uid, template)| {
        let recorded = inputs.state.templates.get(uid);
        !template.deleting
            && live == Some(&template.digest)
            && recorded.is_some_and(|recorded| recorded.digest == template.digest)
    })
}

/// What a grid waits for before it can be made or changed: its template.
pub fn missing(inputs: Inputs<'_>, grid: &WantedGrid) -> Option<String> {
    let name = grid.template.as_ref().filter(|name| !is_there(inputs, name))?;
    let wanted = inputs.wanted.templates.values().find(|template| template.name == *name);
    Some(match wanted {
        None => format!(
            "there is no usable GridTemplate {name} for this cache: create it, or see its status"
        ),
        Some(template) if template.deleting => {
            format!("the GridTemplate {name} does not want its template in this cache any more")
        }
        Some(_) => format!("the GridTemplate {name} is not uploaded to this cache yet"),
    })
}

fn proceed(inputs: Inputs<'_>, operation: &Operation) -> Decision {
    let Goal::Template { template_uid, name, .. } = &operation.goal else { return Decision::Rest };
    let ended = |end: End| Decision::Record(vec![Event::OperationEnded { end }]);
    let Some(template) = inputs.wanted.templates.get(template_uid) else {
        return superseded(inputs, "the GridTemplate cannot be used now");
    };
    if let Some(parked) = &operation.parked {
        return Decision::wait(Reason::Parked, parked.message.clone());
    }
    if goal_of(template_uid, template) != operation.goal {
        return ended(End::Superseded { by: format!("generation {}", template.generation) });
    }
    if let Err(unseen) = inputs.seen.template(name) {
        return unread(inputs, Question::Template(name), unseen);
    }
    let task = match needs(inputs, template_uid, template) {
        Need::Nothing | Need::Adoption => return ended(End::Succeeded),
        Need::Work(task) => task,
    };
    if let Some(used) = in_use(inputs, template_uid, template) {
        return ended(End::Superseded { by: used });
    }
    let Some(through) = views::survivor(inputs.seen, inputs.state, u32::MAX) else {
        let message = format!("no member answers through which template {name} could go");
        return Decision::wait(Reason::GroupUnreachable, message);
    };
    let told = inputs.seen.templates.as_ref().and_then(Answer::as_known).map(Shown::there);
    let told = evidence(&told);
    attempt(inputs, operation, step(task, template_uid, template, through), told)
}

fn step(task: Task, uid: &str, template: &WantedTemplate, through: Survivor) -> Step {
    let (template_uid, name) = (uid.to_owned(), template.name.clone());
    match task {
        Task::Upload => {
            Step::UploadTemplate { template_uid, name, digest: template.digest.clone(), through }
        }
        Task::Delete => Step::DeleteTemplate { template_uid, name, through },
    }
}

/// How an open step stands: only what the group shows decides.
pub(super) fn standing(inputs: Inputs<'_>, open: &OpenStep) -> Standing {
    let (name, through, wanted) = match &open.step {
        Step::UploadTemplate { name, through, digest, .. } => (name, through, Some(digest)),
        Step::DeleteTemplate { name, through, .. } => (name, through, None),
        _ => return done(),
    };
    let asked = Question::TemplateAsked(name, through);
    let past = is_past(inputs, open, through, asked);
    let shown = match inputs.seen.template(name) {
        Ok(shown) => shown,
        Err(_) if past => return Standing::Void,
        Err(unseen) => {
            let message = format!("{} cannot be judged: {unseen}", open.step.describe());
            return Standing::InDoubt(Waiting::new(Reason::InDoubt, message));
        }
    };
    if shown == wanted {
        return done();
    }
    let message = format!("{} is not seen to be done", open.step.describe());
    match open.progress {
        // It was taken, and a request that was taken is not sent again under the same key.
        Progress::Accepted { .. } if asked.is_settled(inputs, inputs.times.settle) => {
            let shown = shown.map_or("no template", String::as_str);
            let reason = format!("{} was taken, and the group shows {shown}", open.step.describe());
            Standing::Failed { reason }
        }
        Progress::Accepted { .. } => Standing::InDoubt(Waiting::new(Reason::InDoubt, message)),
        Progress::Intended | Progress::Unknown { .. } if past => Standing::Void,
        Progress::Intended | Progress::Unknown { .. } => again(inputs, asked, &message),
    }
}

#[cfg(test)]
mod tests;
