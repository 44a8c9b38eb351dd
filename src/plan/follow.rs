//! Asks `decide`, follows the decision in the ideal world, and asks again until it rests.

use std::ops::ControlFlow;
use std::time::Duration;

use xsld_journal::event::{Event, Ordinal};

use super::ideal::Ideal;
use super::story::{self, Story};
use super::{End, LOOKS_MAX, Plan, Standing, Wait};
use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::{Decision, Inputs, Waiting, decide, grids, roll, storage, templates, views};
use crate::observation::{Growth, Report};
use crate::xsld::view::Answer;

/// A grace that is longer than this is none that anybody waits for.
const GRACE_MAX: Duration = Duration::from_secs(10 * 86_400);

/// How long nothing has happened in the ideal world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// Something just did.
    Fresh,
    /// For the settle time.
    Settled,
    /// For as long as any proof of the operator needs.
    Exhausted,
}

/// A plan that is being made.
struct Rehearsal<'a> {
    ideal: Ideal<'a>,
    story: Story,
    patience: Patience,
}

/// The plan, and the world that it ends in.
pub(super) fn rehearse(inputs: Inputs<'_>) -> (Plan, Ideal<'_>) {
    let mut rehearsal =
        Rehearsal { ideal: Ideal::of(inputs), story: Story::of(inputs), patience: Patience::Fresh };
    let mut end = End::TooLong;
    for _ in 0..LOOKS_MAX {
        if let ControlFlow::Break(reached) = rehearsal.look() {
            end = reached;
            break;
        }
    }
    let put_off = put_off(rehearsal.ideal.inputs());
    let keeps = rehearsal.ideal.kept_with_the_cache();
    (rehearsal.story.told(inputs, end, keeps, put_off), rehearsal.ideal)
}

impl Rehearsal<'_> {
    /// One decision, and what follows from it.
    fn look(&mut self) -> ControlFlow<End> {
        let decision = decide(self.ideal.inputs());
        let followed = match decision {
            Decision::Rest | Decision::Wait(_) | Decision::InDoubt(_) => {
                return self.pass_time(&decision);
            }
            Decision::Record(events) => self.record(&events),
            Decision::Begin { kind, goal, cause } => {
                self.record(&[Event::OperationBegun { kind, goal, cause }])
            }
            Decision::Run { step, evidence } => {
                let told = story::told(self.ideal.inputs(), &step, Standing::Planned);
                self.ideal.run(step, evidence).map(|()| self.story.push(told))
            }
            Decision::Resend { key } => {
                self.ideal.resend(key);
                Ok(())
            }
        };
        self.patience = Patience::Fresh;
        self.story.commit();
        match followed {
            Ok(()) => ControlFlow::Continue(()),
            Err(refused) => ControlFlow::Break(End::Unknown { why: refused.to_string() }),
        }
    }

    fn record(&mut self, events: &[Event]) -> Result<(), xsld_journal::state::IllegalTransition> {
        for event in events {
            self.story.note(self.ideal.inputs(), event);
            self.ideal.record(event)?;
        }
        Ok(())
    }

    /// Nothing is to be done just now: what is on its way comes to its end, then proofs ripen. When
    /// neither changes the decision, it stands.
    fn pass_time(&mut self, decision: &Decision) -> ControlFlow<End> {
        if matches!(decision, Decision::Wait(it) if [Reason::Paused, Reason::SpecOlder].contains(&it.reason))
        {
            return ControlFlow::Break(stands(&self.ideal, decision));
        }
        if self.ideal.finish_running() {
            self.patience = Patience::Fresh;
            return ControlFlow::Continue(());
        }
        if self.ideal.ripen(&mut self.story) {
            self.patience = Patience::Fresh;
            return ControlFlow::Continue(());
        }
        let Inputs { times, wanted, .. } = self.ideal.inputs();
        let (next, span) = match self.patience {
            Patience::Fresh => (Patience::Settled, times.settle),
            Patience::Settled => {
                let grace = wanted.primary_grace.min(GRACE_MAX);
                let longest = times.orphan.max(times.rebuild_quiet).max(grace);
                (Patience::Exhausted, longest.max(times.settle.saturating_mul(16)))
            }
            Patience::Exhausted => return ControlFlow::Break(stands(&self.ideal, decision)),
        };
        self.patience = next;
        self.ideal.rest(span);
        ControlFlow::Continue(())
    }
}

/// What a decision that stands means for the plan.
fn stands(ideal: &Ideal<'_>, decision: &Decision) -> End {
    let inputs = ideal.inputs();
    let parked = inputs.state.operation.as_ref().and_then(|operation| operation.parked.as_ref());
    let (waiting, in_doubt) = match decision {
        Decision::Wait(waiting) => (waiting, false),
        Decision::InDoubt(waiting) => (waiting, true),
        _ => return at_rest(ideal),
    };
    if let Some(parked) = parked {
        let (reason, message) = (parked.reason.clone(), parked.message.clone());
        return End::Waits(Wait { reason, message });
    }
    if !in_doubt && !is_unseen(inputs, waiting) && ideal.not_told().is_none() {
        return End::Waits(waiting.into());
    }
    match (in_the_way(inputs), ideal.not_told()) {
        (Some(known), _) => End::Waits((&known).into()),
        (None, Some(why)) => End::Unknown { why },
        (None, None) => End::Unknown { why: waiting.message.clone() },
    }
}

/// Nothing is to be done, or nothing is known that would have to be done.
fn at_rest(ideal: &Ideal<'_>) -> End {
    let inputs = ideal.inputs();
    match (not_seen_at_rest(inputs), in_the_way(inputs)) {
        (None, _) => End::Settled,
        (Some(_), Some(known)) => End::Waits((&known).into()),
        (Some(why), None) => End::Unknown { why },
    }
}

/// Whether a wait is only because the group is not seen.
fn is_unseen(inputs: Inputs<'_>, waiting: &Waiting) -> bool {
    let unseen = inputs.state.bootstrapped
        && views::needed(inputs.seen, inputs.state, Ordinal::MAX).is_none();
    match waiting.reason {
        Reason::GroupUnreachable | Reason::ViewsDiffer | Reason::InDoubt => true,
        Reason::WaitingForPods
        | Reason::MemberUnreachable
        | Reason::MemberLost
        | Reason::SettingUpReplication
        | Reason::SwitchingPrimary
        | Reason::Rebuilding
        | Reason::Deferred => unseen,
        _ => false,
    }
}

/// A member of the group that answers and lets nobody in.
fn in_the_way(inputs: Inputs<'_>) -> Option<Waiting> {
    let Inputs { seen, state, .. } = inputs;
    let refused = |report: &Report| {
        matches!(report.group, Answer::Refused { status: 401 | 403, .. })
            || matches!(report.tasks, Answer::Refused { status: 401 | 403, .. })
    };
    let named = |holds: &dyn Fn(&Report) -> bool| {
        let members = state.members.iter();
        let mut found = members.filter(|(ordinal, _)| seen.reports.get(ordinal).is_some_and(holds));
        found.next().map(|(_, member)| member.name.clone())
    };
    if let Some(name) = named(&refused) {
        let message = format!("{name} refuses the credentials: check the password");
        return Some(Waiting::new(Reason::CredentialsInvalid, message));
    }
    let name = named(&|report| report.untrusted.is_some())?;
    let message = format!("{name} shows a certificate that is not trusted: not spoken to");
    Some(Waiting::new(Reason::CertificateChanged, message))
}

/// What was not seen, though something might have to be done about it.
fn not_seen_at_rest(inputs: Inputs<'_>) -> Option<String> {
    let Inputs { wanted, seen, state, .. } = inputs;
    if state.closed {
        return None;
    }
    if state.bootstrapped && views::needed(seen, state, Ordinal::MAX).is_none() {
        return Some("no member tells a present view of the group".to_owned());
    }
    let grids = wanted.grids.values().map(|grid| seen.grid(&grid.name).err());
    let templates = wanted.templates.values().map(|it| seen.template(&it.name).err());
    if let Some(unseen) = grids.chain(templates).flatten().next() {
        return Some(unseen);
    }
    let replicas = state.committed.replicas.unwrap_or(0);
    let (_, claim, _) = storage::smaller(seen, replicas, &wanted.storage)?;
    claim
        .growth
        .is_none()
        .then(|| format!("whether the claim {} may grow was not answered", claim.name))
}

/// What of the spec is not brought about, at the end of the plan.
fn put_off(inputs: Inputs<'_>) -> Vec<Wait> {
    let Inputs { wanted, seen, state, .. } = inputs;
    if state.closed || wanted.deleting {
        return vec![];
    }
    let mut put_off: Vec<Wait> = roll::waits(inputs).iter().map(Wait::from).collect();
    let mut add = |reason, message: String| put_off.push((&Waiting::new(reason, message)).into());
    for ordinal in state.members.keys() {
        if let Some(waiting) = views::volume_going(seen, state, *ordinal) {
            add(waiting.reason, waiting.message);
        }
    }
    let replicas = state.committed.replicas.unwrap_or(0);
    if let Some((_, claim, from)) = storage::smaller(seen, replicas, &wanted.storage)
        && let Some(Growth::Refused { reason }) = &claim.growth
    {
        let message = format!("{} stays at {from}: {reason}", claim.name);
        add(Reason::VolumesCannotGrow, message);
    }
    if let Some((claim, has)) = storage::larger(seen, replicas, &wanted.storage) {
        let message = storage::cannot_shrink(claim, has, &wanted.storage);
        add(Reason::VolumesCannotShrink, message);
    }
    if let Some(message) = catalogs(inputs) {
        add(Reason::RequiresUpdate, message);
    }
    for (uid, template) in &wanted.templates {
        if let Some(why) = templates::refused(inputs, uid, template) {
            add(Reason::Refused, format!("template {}: {why}", template.name));
        } else if let Some(message) = templates::in_use(inputs, uid, template) {
            add(Reason::TemplateInUse, message);
        }
    }
    for (uid, grid) in &wanted.grids {
        if let Some(why) = grids::refused_grid(inputs, uid, grid) {
            add(Reason::Refused, format!("grid {}: {why}", grid.name));
        } else if let Some(message) = templates::missing(inputs, grid).filter(|_| !grid.deleting) {
            add(Reason::TemplateMissing, format!("grid {}: {message}", grid.name));
        }
    }
    put_off
}

/// Members that run a catalog server otherwise than the spec says: no step changes that, only their
/// next join does.
fn catalogs(inputs: Inputs<'_>) -> Option<String> {
    let Inputs { wanted, state, .. } = inputs;
    let differ = state.members.iter().filter(|(ordinal, member)| {
        **ordinal < wanted.size && member.catalog != (**ordinal < wanted.catalogs)
    });
    let names: Vec<&str> = differ.map(|(_, member)| member.name.as_str()).collect();
    (!names.is_empty()).then(|| {
        let (catalogs, names) = (wanted.catalogs, names.join(", "));
        format!("catalogs {catalogs} applies to later joins; otherwise stay: {names}")
    })
}
