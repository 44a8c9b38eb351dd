//! One pass over one cache.

mod tell;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use kube::runtime::reflector::Store as Cache;
use xsld_journal::event::{Event, OperationId, Ordinal, Step};
use xsld_journal::record::text_for_event;
use xsld_journal::state::CacheState;

use super::findings::{Findings, hindrances};
use super::mark::{self, Put, Whose};
use super::resolve::resolve;
use super::standing::Standing;
use super::{Context, Error, Subject, credentials, grids, labels, objects, step, templates};
use crate::crd::{FINALIZER, XsldCache};
use crate::decide::watch::Watch;
use crate::decide::{
    Cascade, Decision, Inputs, Wanted, decide, deletion, replication, roll, spare, steps,
    undecided, views,
};
use crate::execute::Target;
use crate::manifests::{Budgets, CommittedTemplate, Evictions};
use crate::observation::{Blocks, Observation};
use crate::observe::{self, Access, Objects, facts};
use crate::status;
use crate::times::Times;
use crate::validate::{self, ValidCache};

/// Records that one pass may append before it looks again.
const RECORDS_MAX: usize = 16;

/// The next pass after something was done: at once, but never in a tight loop.
const SOON: Duration = Duration::from_millis(20);

/// One pass: everything that it found, and what it decided.
pub(super) struct Pass<'a> {
    pub(super) context: &'a Context,
    pub(super) object: &'a XsldCache,
    pub(super) subject: &'a Subject,
    pub(super) valid: Option<ValidCache>,
    pub(super) access: Option<Access>,
    pub(super) grids: grids::Grids,
    pub(super) wanted: Wanted,
    pub(super) template_json: String,
    pub(super) objects: Objects,
    pub(super) state: Arc<CacheState>,
    pub(super) seen: Observation,
    pub(super) watch: Watch,
    pub(super) standing: Standing<'a>,
}

/// Looks at one cache, does at most one thing, and says when to look again. What is refused or
/// cannot be read is told, and the pass goes on with what it may.
///
/// # Errors
/// When the term of leadership is over.
pub async fn reconcile(
    object: &XsldCache,
    context: &Context,
    caches: &Cache<XsldCache>,
) -> Result<Action, Error> {
    let Some(subject) = context.subject(object) else { return Ok(Action::await_change()) };
    let deleting = object.metadata.deletion_timestamp.is_some();
    let ours = object.metadata.finalizers.iter().flatten().any(|name| name == FINALIZER);
    if deleting && !ours {
        context.keep_watch(&subject.identity.uid, None);
        return Ok(Action::await_change());
    }
    if let Whose::Anothers(other) = context.whose(object) {
        mark::leave(context, object, &subject, other).await?;
        return Ok(Action::requeue(context.times.poll_idle));
    }
    let mut findings = Findings::of(context, &subject);
    // Nothing is done before the finalizer and the mark are seen: a cache that vanished in between
    // would leave behind what nobody knows of, and another operator might work on it as well.
    let put = mark::put(context, object, &subject);
    let put = findings.write(&objects::finalizer_of(object), "", put).await;
    let again = match put {
        Some(Put::Written) => Some(SOON),
        Some(Put::TooLate) => Some(context.times.poll_active),
        // An old version of a cache that is gone is told apart by that look only.
        None if context.begins_again(object, &subject) => {
            Some(findings.next(context.times.poll_active))
        }
        Some(Put::There) | None => None,
    };
    if let Some(again) = again {
        findings.tell().await;
        return Ok(Action::requeue(again));
    }
    let valid = validate::cache(object);
    let action = match (valid, deleting) {
        (Err(invalid), false) => {
            let unseen = (&*invalid, &[][..]);
            tell::tell_unseen(context, object, &subject, unseen, &mut findings).await;
            findings.next_action()
        }
        (valid, _) => {
            let ours = ours && context.whose(object) == Whose::Ours;
            let examined = Examined { object, subject: &subject, valid: valid.ok(), ours };
            examine(context, caches, examined, &mut findings).await?
        }
    };
    findings.tell().await;
    Ok(action)
}

/// The cache of one pass.
struct Examined<'a> {
    object: &'a XsldCache,
    subject: &'a Subject,
    valid: Option<ValidCache>,
    /// Whether our finalizer and our mark were seen on it.
    ours: bool,
}

async fn examine(
    context: &Context,
    caches: &Cache<XsldCache>,
    examined: Examined<'_>,
    findings: &mut Findings<'_>,
) -> Result<Action, Error> {
    let Examined { object, subject, valid, ours } = examined;
    let deleting = object.metadata.deletion_timestamp.is_some();
    let generation = object.metadata.generation.unwrap_or(0);
    let access = match &valid {
        Some(valid) => resolve(context, subject, valid, generation, findings).await,
        None => None,
    };
    let beside = caches.state();
    let judged = (object, valid.as_ref());
    let mut standing = Standing::of(context, subject, judged, &beside, findings).await;
    let makes = ours && !deleting && !standing.stops();
    if let (Some(valid), true) = (&valid, makes) {
        objects::apply_supporting(context, subject, valid, &mut standing, findings).await;
    }
    let grids = grids::wanted(context, subject, caches, findings).await;
    let makes = makes && valid.is_some();
    let looked = Pass::look(context, object, subject, valid, access, grids, standing).await;
    let Some(mut pass) = findings.ended(looked)? else {
        let problems = findings.problems().to_vec();
        // What is not told yet changes nothing of what was told.
        if !problems.is_empty() {
            tell::tell_unseen(context, object, subject, (&[], &problems), findings).await;
        }
        return Ok(Action::requeue(findings.next(context.times.poll_active)));
    };
    if makes {
        let budgets = pass.budgets();
        objects::apply_budgets(context, subject, &budgets, &mut pass.standing, findings).await;
        labels::restore(context, subject, &pass.objects.unlabelled, findings).await;
    }
    pass.wanted.held = findings.holds_first_pods();
    hindrances::ask(&mut pass, findings).await;
    let stays = deletion::leaves_all(pass.inputs(&pass.state))
        && pass.standing.cascade != Cascade::Orphaning;
    let may = ours && (!stays || objects::let_go(context, subject, &pass.standing, findings).await);
    let acted = if may { pass.act().await.map(Some) } else { Ok(None) };
    let acted = findings.ended(acted)?.flatten();
    context.keep_watch(&subject.identity.uid, Some(pass.watch.clone()));
    if pass.state.closed && objects::release(context, object, findings).await {
        context.keep_watch(&subject.identity.uid, None);
        return Ok(Action::await_change());
    }
    pass.end(acted, findings).await
}

/// What came of deciding.
enum Acted {
    /// Something was done.
    Done,
    /// Nothing: this is waited for.
    Waits(Box<Decision>),
}

impl<'a> Pass<'a> {
    /// Observes, and puts together what is wanted. It reads and keeps nothing.
    pub(super) async fn look(
        context: &'a Context,
        object: &'a XsldCache,
        subject: &'a Subject,
        valid: Option<ValidCache>,
        access: Option<Access>,
        grids: grids::Grids,
        standing: Standing<'a>,
    ) -> Result<Self, Error> {
        let (mut wanted, template_json) = wanted::wanted(object, subject, valid.as_ref(), &grids);
        wanted.cascade = standing.cascade;
        wanted.acted_before = context.acted_before(subject);
        let state = context.store.state(subject.stream).unwrap_or_default();
        wanted.may_roll = wanted::may_roll(context, object, subject, valid.as_ref(), &state);
        let (objects, mut seen) =
            look(context, object, subject, &state, access.as_ref(), &grids).await?;
        standing.told_in(&mut seen);
        let watch = context.watch(&subject.identity.uid);
        let mut pass = Self {
            context,
            object,
            subject,
            valid,
            access,
            grids,
            wanted,
            template_json,
            objects,
            state,
            seen,
            watch,
            standing,
        };
        pass.watched();
        Ok(pass)
    }

    /// Observes once more, for the step whose intent is durable now.
    pub(super) async fn look_again(&mut self) -> Result<(), Error> {
        let (context, access) = (self.context, self.access.as_ref());
        let (objects, mut seen) =
            look(context, self.object, self.subject, &self.state, access, &self.grids).await?;
        seen.keep_hindrances(&self.seen);
        (self.objects, self.seen) = (objects, seen);
        self.standing.told_in(&mut self.seen);
        self.watched();
        Ok(())
    }

    fn watched(&mut self) {
        let now = self.context.clock.now();
        self.watch = steps::observed(self.inputs(&self.state), now);
        self.note_operation();
        self.watch.note_lost_primary(replication::unseen_primary(&self.seen, &self.state));
        let undecided = undecided(self.inputs(&self.state));
        self.watch.note_undecided(undecided);
        self.watch.note_missed(views::missed_an_answer(&self.seen, &self.state));
        // While nobody is evicted at all it does not matter which budget forbids it.
        if self.watch.movable_primary().is_none() || self.evictions() == Evictions::One {
            let kept = replication::primary_to_keep(&self.wanted, &self.seen, &self.state);
            self.watch.note_movable(kept);
        }
        if self.seen.any_task_running() {
            self.watch.busy();
        }
    }

    /// Who may be evicted now. Nothing is moved while the cache is paused, so no eviction waits for
    /// it then.
    fn budgets(&self) -> Budgets {
        Budgets {
            evictions: self.evictions(),
            primary: self.own_budget(),
            members: self.state.committed.replicas.unwrap_or(0),
        }
    }

    /// The primary, where it has a budget of its own.
    fn own_budget(&self) -> Option<Ordinal> {
        let still = self.inputs(&self.state).standstill();
        self.watch.movable_primary().filter(|_| still.is_none())
    }

    /// How many may be evicted: none while that would finish off a volume whose claim was deleted.
    fn evictions(&self) -> Evictions {
        let mut members = self.state.members.iter();
        let going = members.any(|(ordinal, member)| {
            let claim = self.seen.claims.get(ordinal);
            claim.is_some_and(|claim| claim.deleting && claim.uid == member.claim_uid)
        });
        let own = self.own_budget();
        match going || spare::forbids(self.inputs(&self.state), own) {
            true => Evictions::None,
            false => Evictions::One,
        }
    }

    /// Whether a look or two that a member missed are all that is new since this very spec's status
    /// was told.
    fn is_hiccup(&self, deleting: bool) -> bool {
        let told = self.object.status.as_ref().and_then(|status| status.observed_generation);
        !deleting
            && told.is_some()
            && told == self.object.metadata.generation
            && self.watch.is_hiccup()
    }

    /// What a decision looks at, with `state` in the place of the journal's.
    pub(super) fn inputs<'b>(&'b self, state: &'b CacheState) -> Inputs<'b> {
        let (watch, context) = (&self.watch, self.context);
        let now = (context.clock.wall().as_microsecond(), context.server_time.now_us());
        let by = (watch, &context.times, now);
        inputs(&self.wanted, &self.seen, state, by, self.access.as_ref())
    }

    /// Decides and does it.
    async fn act(&mut self) -> Result<Acted, Error> {
        let waits = self.decided().await?;
        Ok(waits.map_or(Acted::Done, |decision| Acted::Waits(Box::new(decision))))
    }

    /// Decides and does it. `None` when something was done; else what is waited for.
    async fn decided(&mut self) -> Result<Option<Decision>, Error> {
        let evictions_before = self.evictions();
        for _ in 0..RECORDS_MAX {
            // The disruption budget follows the operation before its first step and after its end.
            if self.evictions() != evictions_before {
                return Ok(None);
            }
            match decide(self.inputs(&self.state)) {
                Decision::Record(events) => {
                    if let Some(waiting) =
                        step::unproven(self.context, self.object, &events).await?
                    {
                        return Ok(Some(waiting));
                    }
                    let operation = self.state.operation.as_ref().map(|operation| operation.id);
                    if !self.note(operation, events).await? {
                        return Ok(None);
                    }
                }
                Decision::Begin { kind, goal, cause } => {
                    let event = Event::OperationBegun { kind, goal, cause };
                    let id = self.context.ids.operation();
                    if !self.note(Some(id), vec![event]).await? {
                        return Ok(None);
                    }
                }
                Decision::Run { step, evidence } => return step::run(self, step, evidence).await,
                Decision::Resend { key } => return step::resend(self, key).await,
                decision @ (Decision::Rest | Decision::Wait(_) | Decision::InDoubt(_)) => {
                    return Ok(Some(decision));
                }
            }
        }
        Ok(None)
    }

    /// Appends what was decided; not what another cache's pass was faster with.
    async fn note(
        &mut self,
        operation: Option<OperationId>,
        events: Vec<Event>,
    ) -> Result<bool, Error> {
        let context = self.context;
        let Some(_kept) = grids::keep(context, self.subject, &self.grids, &events).await else {
            return Ok(false);
        };
        let texts = self.texts_of(&events);
        self.append(operation, events, texts).await.map(|()| true)
    }

    /// The text of a live template that is taken over, where the journal does not hold it yet.
    fn texts_of(&self, events: &[Event]) -> Vec<String> {
        let template = events.iter().find_map(|event| match event {
            Event::Adopted { template: Some((_, text)), .. } => Some(text),
            _ => None,
        });
        let unknown = template.filter(|text| self.context.store.text(text).is_none());
        let Some(text) = unknown else { return vec![] };
        let live = self.objects.stateful_set.as_ref().and_then(facts::template_json);
        let known = [Some(self.template_json.clone()), live].into_iter().flatten();
        known.filter(|known| text_for_event(known.clone()).0 == *text).take(1).collect()
    }

    pub(super) async fn append(
        &mut self,
        operation: Option<OperationId>,
        events: Vec<Event>,
        blobs: Vec<String>,
    ) -> Result<(), Error> {
        self.state = self.context.append(self.subject, operation, events, blobs).await?;
        self.note_operation();
        Ok(())
    }

    /// What the watch counts by is in the records: a person who lets an operation go on begins its
    /// counts anew.
    fn note_operation(&mut self) {
        self.watch.note_roll(roll::marker(&self.state));
        self.watch.note_deletion(deletion::marker(&self.state));
        let open = self.state.operation.as_ref();
        self.watch.note_retried(open.map_or(0, |open| open.retried_seq));
        self.watch.note_parked(open.is_some_and(|open| open.parked.is_some()));
    }

    /// What effects on this cache need.
    pub(super) fn target(&self) -> Target<'_> {
        let committed = self.state.committed.template.as_ref();
        // The open step that commits a template carries the one to apply.
        let template = match self.state.open_step().map(|open| &open.step) {
            Some(Step::SetTemplate { digest, template }) => Some((template, digest)),
            _ => committed.map(|template| (&template.text, &template.digest)),
        };
        Target {
            client: &self.context.client,
            identity: &self.subject.identity,
            cache: self.valid.as_ref(),
            access: self.access.as_ref(),
            state: &self.state,
            seen: &self.seen,
            live: self.objects.stateful_set.as_ref(),
            template: template
                .and_then(|(text, digest)| Some((self.context.store.text(text)?, digest.clone()))),
            grids: &self.grids.bodies,
            templates: &self.grids.templates.documents,
            timeout: self.context.times.request,
        }
    }

    /// After the decision: what differs is set right, and all is told. `acted` is none when the
    /// decision was not made, or not to its end.
    async fn end(
        &self,
        acted: Option<Acted>,
        findings: &mut Findings<'_>,
    ) -> Result<Action, Error> {
        let context = self.context;
        let deleting = self.wanted.deleting;
        let waits = match &acted {
            Some(Acted::Waits(decision)) => Some(&**decision),
            Some(Acted::Done) | None => None,
        };
        // After a step the objects that were read are old: what differs now is looked at next time.
        let reasserted = waits.is_some() && self.reassert(deleting, findings).await;
        if let (false, Some(waits)) = (deleting, waits) {
            credentials::keep(self, waits, findings).await;
        }
        let active = context.times.poll_active;
        // One slow answer is no news: a status that followed it would be written back a moment later.
        if waits.is_some() && findings.problems().is_empty() && self.is_hiccup(deleting) {
            return Ok(Action::requeue(active));
        }
        // Nor is a decision that was not made for what may pass by itself.
        if acted.is_some() || !findings.problems().is_empty() {
            self.tell(findings, waits).await;
        }
        templates::finish(self);
        grids::finish(self, waits, findings).await;
        findings.came_to_its_end(waits == Some(&Decision::Rest));
        let at_rest = waits == Some(&Decision::Rest) && !reasserted && findings.is_all_refused();
        Ok(Action::requeue(match &acted {
            Some(Acted::Done) => SOON,
            Some(Acted::Waits(_)) if at_rest => findings.next(context.times.poll_idle),
            Some(Acted::Waits(_)) | None => active,
        }))
    }

    async fn reassert(&self, deleting: bool, findings: &mut Findings<'_>) -> bool {
        let changing = self.state.open_step().is_some_and(|open| {
            matches!(
                open.step,
                Step::SetTemplate { .. }
                    | Step::ScaleStatefulSet { .. }
                    | Step::DeleteStatefulSet { .. }
            )
        });
        let context = self.context;
        let may = !deleting
            && !changing
            && !self.seen.taken.iter().any(|taken| taken.blocks == Blocks::Cache)
            && context.clock.now() >= context.acts_from
            && context.leadership.covers(context.times.request);
        let (subject, object, target) = (self.subject, self.object, self.target());
        may && objects::reassert_stateful_set(context, subject, object, &target, findings).await
    }

    async fn tell(&self, findings: &mut Findings<'_>, decision: Option<&Decision>) {
        let context = self.context;
        let template = self.target().template;
        let committed =
            template.as_ref().and_then(|(text, digest)| CommittedTemplate::read(text, digest).ok());
        let update = self.valid.as_ref().and_then(|_| roll::waits(self.inputs(&self.state)));
        let problems = findings.problems().to_vec();
        let status = status::cache(&status::CacheInputs {
            object: self.object,
            invalid: &[],
            problems: &problems,
            asked: self.access.is_some(),
            seen: Some(&self.seen),
            state: &self.state,
            decision,
            head: context.store.stream_head(self.subject.stream),
            journal_id: context.store.head().journal_id,
            gap: context.store.log_state().gap.clone(),
            image: committed.as_ref().and_then(CommittedTemplate::image),
            target_image: self.valid.as_ref().map(|valid| valid.image.as_str()),
            wanted_template: Some(&self.wanted.template.0),
            update: update.as_ref(),
            no_evictions: spare::forbidden(self.inputs(&self.state), self.own_budget()),
            selector: self.subject.identity.selector_text(),
            now: context.clock.wall(),
        });
        tell::publish(context, self.object, &status, findings).await;
    }
}

/// What a decision looks at. Without access to the members no task is known by its command.
pub(super) fn inputs<'a>(
    wanted: &'a Wanted,
    seen: &'a Observation,
    state: &'a CacheState,
    (watch, times, (now_us, server_us)): (&'a Watch, &'a Times, (i64, Option<i64>)),
    access: Option<&'a Access>,
) -> Inputs<'a> {
    let commands = access.map(|access| &access.profile.commands);
    Inputs {
        wanted,
        seen,
        state,
        watch,
        times,
        now_us,
        server_us,
        join_command: commands.map_or("", |commands| &commands.join.command),
        disjoin_command: commands.map_or("", |commands| &commands.disjoin.command),
        replication_command: commands
            .map_or("", |commands| &commands.configure_replication.command),
        promote_command: commands.map_or("", |commands| &commands.promote.command),
    }
}

async fn look(
    context: &Context,
    object: &XsldCache,
    subject: &Subject,
    state: &CacheState,
    access: Option<&Access>,
    grids: &grids::Grids,
) -> Result<(Objects, Observation), Error> {
    let deleting = object.metadata.deletion_timestamp.is_some();
    let sought = observe::Sought {
        identity: &subject.identity,
        made: object.metadata.creation_timestamp.as_ref(),
        size: if deleting { 0 } else { u32::try_from(object.spec.size).unwrap_or(0) },
        state,
    };
    let timeout = context.times.request;
    let at = context.clock.now();
    let (client, nodes) = (&context.client, &context.nodes);
    let known = access.and_then(Access::redactor);
    let objects = observe::objects(client, sought, nodes, known.as_ref(), timeout).await?;
    let asked = grids.asked(state);
    let mut seen = observe::group(&objects, state, access, &asked, at).await;
    if !deleting {
        let storage = (state.committed.replicas.unwrap_or(0), object.spec.storage.size.as_str());
        let (client, identity) = (&context.client, &subject.identity);
        observe::growth::ask(client, identity, &mut seen, storage, timeout).await;
    }
    Ok((objects, seen))
}
