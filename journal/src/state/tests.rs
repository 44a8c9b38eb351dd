use super::*;
use crate::codec::event_names;
use crate::event::{AdoptedMember, Goal, OperationKind, Receipt};
use crate::fixtures::every::{delete_volume, events, key, template};
use crate::fixtures::{
    append_to, begun, bootstrapped, cache, cache_opened, disjoin, ended, entries_of, genesis,
    incarnation, intended, join, journal_append, member, operation, scale, succeeded, survivor,
};

/// Folds events of operation 1 into an open stream, from sequence 2 on.
fn fold(events: &[Event]) -> Result<CacheState, IllegalTransition> {
    fold_into(CacheState::default(), std::iter::once(&cache_opened("demo")).chain(events))
}

fn fold_into<'a>(
    mut state: CacheState,
    events: impl Iterator<Item = &'a Event>,
) -> Result<CacheState, IllegalTransition> {
    for (index, event) in events.enumerate() {
        let (seq, time_us) = (index as u64 + 1, 1000 * (index as i64 + 1));
        state.apply(Stamp { seq, time_us, operation: Some(operation(1)) }, event)?;
    }
    Ok(state)
}

fn folded(events: &[Event]) -> CacheState {
    fold(events).unwrap_or_else(|illegal| panic!("{illegal}"))
}

fn refusal(events: &[Event]) -> String {
    fold(events).map_or_else(|illegal| illegal.reason, |state| panic!("accepted: {state:?}"))
}

fn key_of(step: &Step, attempt: u32) -> StepKey {
    StepKey::of(operation(1), &step.target(), attempt)
}

fn done(step: Step) -> Vec<Event> {
    vec![intended(operation(1), step.clone(), 1), succeeded(operation(1), &step, 1)]
}

/// An operation in which these steps succeeded, after the group was bootstrapped.
fn after(steps: impl IntoIterator<Item = Step>) -> Vec<Event> {
    let steps = steps.into_iter().flat_map(done);
    [bootstrapped(), begun(3)].into_iter().chain(steps).collect()
}

fn with(mut events: Vec<Event>, more: impl IntoIterator<Item = Event>) -> Vec<Event> {
    events.extend(more);
    events
}

fn failed(step: &Step, attempt: u32) -> Event {
    let (reason, evidence) = ("no".into(), "{}".into());
    Event::StepFailed { key: key_of(step, attempt), reason, evidence }
}

fn parked() -> Event {
    Event::OperationParked { reason: "Odd".into(), message: "look".into() }
}

/// The states in which every event is tried.
fn situations() -> Vec<(&'static str, Vec<Event>)> {
    let cancel = Step::CancelTask { member: member(1), task: 7 };
    let doubt = with(after([]), [intended(operation(1), join(1), 1)]);
    vec![
        ("open", vec![]),
        ("a group of two", with(after([join(1)]), [ended()])),
        ("an operation", vec![begun(3)]),
        ("a step in doubt", doubt.clone()),
        ("a cancellation in doubt", with(doubt, [intended(operation(1), cancel, 1)])),
        ("parked", vec![begun(3), parked()]),
        ("closed", vec![Event::CacheClosed { reason: "gone".into() }]),
    ]
}

/// The example of every event, made to fit the open step and the recorded members.
fn fitting(event: Event) -> Event {
    let key = key_of(&join(1), 1);
    match event {
        Event::StepAccepted { task, .. } => Event::StepAccepted { key, task },
        Event::StepUnknown { reason, .. } => Event::StepUnknown { key, reason },
        Event::StepSucceeded { found_by_probe, flagged, evidence, .. } => {
            Event::StepSucceeded { key, found_by_probe, flagged, evidence }
        }
        Event::StepFailed { reason, evidence, .. } => Event::StepFailed { key, reason, evidence },
        Event::StepVoid { evidence, .. } => Event::StepVoid { key, evidence },
        Event::StepNotSent { reason, .. } => Event::StepNotSent { key, reason },
        Event::MemberAbsent { member, .. } => {
            let receipt = Receipt::FoundAbsent { views: "[]".into() };
            Event::MemberAbsent { member, receipt }
        }
        other => other,
    }
}

/// The whole table, as a golden file: what each event does in each situation. A rule that changes
/// changes a line of it.
#[test]
fn every_event_is_accepted_or_refused_as_agreed() {
    let mut lines = Vec::new();
    for event in events() {
        lines.push(event.name().to_owned());
        let mut told = vec![("new", CacheState::default())];
        told.extend(situations().into_iter().map(|(name, events)| (name, folded(&events))));
        for (name, state) in told {
            let verdict = match fold_into(state, std::iter::once(&fitting(event.clone()))) {
                Ok(_) => "accepted".to_owned(),
                Err(illegal) => format!("refused, because {}", illegal.reason),
            };
            lines.push(format!("    {name}: {verdict}"));
        }
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("transitions", lines.join("\n")));
}

#[test]
fn nothing_is_recorded_before_a_stream_is_open_nor_after_it_is_closed() {
    let closed = folded(&[Event::CacheClosed { reason: "gone".into() }]);
    for event in events() {
        let one = || std::iter::once(&event);
        let refused = fold_into(closed.clone(), one()).unwrap_err();
        assert_eq!(
            (refused.event, refused.reason.as_str()),
            (event.name(), "the cache's stream is closed")
        );
        let is_first = matches!(event, Event::CacheOpened { .. });
        assert_eq!(fold_into(CacheState::default(), one()).is_ok(), is_first, "{}", event.name());
    }
}

#[test]
fn the_journals_own_events_and_a_caches_never_mix() {
    let own = ["genesis", "epoch_begun", "gap", "records_retired"];
    assert_eq!(events().len(), event_names().len());
    for event in events() {
        let mut log = LogState::default();
        log.apply(200, 0, &genesis()).unwrap();
        let is_own = own.contains(&event.name());
        let mut fresh = if event.name() == "genesis" { LogState::default() } else { log };
        assert_eq!(fresh.apply(200, 1, &event).is_ok(), is_own, "{}", event.name());
        let refused = is_own.then(|| refusal(&[event]));
        assert!(refused.is_none_or(|reason| reason.contains("journal itself")));
    }
}

#[test]
fn terms_of_leadership_only_go_up_and_after_the_genesis() {
    let begun = |holder: &str| Event::EpochBegun { holder: holder.into() };
    let mut log = LogState::default();
    assert!(log.apply(200, 1, &begun("a")).is_err());
    log.apply(200, 1, &genesis()).unwrap();
    assert_eq!(log.namespace_uid.as_deref(), Some("namespace-uid"));
    assert!(log.apply(200, 1, &genesis()).is_err());
    log.apply(200, 1, &begun("a")).unwrap();
    log.apply(200, 4, &begun("b")).unwrap();
    assert_eq!((log.epoch, log.holder.as_deref()), (4, Some("b")));
    for old in [0, 3, 4] {
        assert!(log.apply(200, old, &begun("c")).is_err(), "{old}");
    }
    assert_eq!((log.epoch, &log.gap), (4, &None));
}

#[test]
fn a_gap_is_remembered() {
    let mut log = LogState::default();
    let gap = events().swap_remove(2);
    assert!(log.apply(200, 1, &gap).is_err());
    log.apply(200, 1, &genesis()).unwrap();
    log.apply(200, 1, &gap).unwrap();
    assert!(
        matches!(gap, Event::Gap { old_journal, .. } if log.gap.unwrap().old_journal == old_journal)
    );
}

#[test]
fn a_retirement_goes_beyond_the_last_one_and_never_reaches_itself() {
    let retired = |through| Event::RecordsRetired {
        through,
        hash: "cd".into(),
        state: "ef".into(),
        base: "01".into(),
        records: 1,
        reason: "old".into(),
    };
    let mut log = LogState::default();
    assert!(log.apply(9, 1, &retired(4)).is_err(), "there is no genesis");
    log.apply(1, 1, &genesis()).unwrap();
    assert!(log.apply(9, 1, &retired(9)).is_err());
    log.apply(9, 1, &retired(8)).unwrap();
    assert!(log.apply(20, 1, &retired(8)).is_err() && log.apply(20, 1, &retired(3)).is_err());
    log.apply(20, 1, &retired(9)).unwrap();
    let told = log.retired.map(|retired| (retired.through, retired.base, retired.seq));
    assert_eq!(told, Some((9, "01".into(), 20)));
}

#[test]
fn a_stream_is_opened_once_and_with_a_name() {
    let state = folded(&[]);
    assert_eq!((state.namespace.as_str(), state.name.as_str()), ("caches", "demo"));
    assert!(refusal(&[cache_opened("other")]).contains("open already"));
    let nameless = fold_into(CacheState::default(), std::iter::once(&cache_opened("")));
    assert!(nameless.is_err());
}

#[test]
fn one_operation_is_open_at_a_time_and_the_record_names_it() {
    let state = folded(&[begun(3)]);
    let open = state.operation.unwrap();
    assert_eq!((open.id, open.begun_seq, open.begun_us), (operation(1), 2, 2000));
    assert_eq!((open.kind, open.records, open.steps_done), (OperationKind::ScaleUp, 1, 0));
    assert_eq!(open.goal, Goal::Members { size: 3, catalogs: 1 });
    assert!(refusal(&[begun(3), begun(4)]).contains("another operation is open"));
    let mut nameless = folded(&[]);
    let stamp = Stamp { seq: 2, time_us: 0, operation: None };
    assert!(nameless.apply(stamp, &begun(3)).unwrap_err().reason.contains("names no operation"));
}

#[test]
fn what_belongs_to_another_operation_is_refused() {
    let other = Stamp { seq: 9, time_us: 0, operation: Some(operation(2)) };
    let step = intended(operation(2), scale(0, 1), 1);
    for event in [step, parked(), ended()] {
        let mut state = folded(&[begun(3)]);
        let reason = state.apply(other, &event).unwrap_err().reason;
        assert!(reason.contains("another operation"), "{}: {reason}", event.name());
    }
}

#[test]
fn an_intent_is_in_doubt_until_its_outcome() {
    let step = scale(0, 3);
    let mut events = vec![begun(3), intended(operation(1), step.clone(), 1)];
    let state = folded(&events);
    let open = state.open_step().unwrap();
    assert_eq!((&open.step, open.attempt, open.key), (&step, 1, key_of(&step, 1)));
    assert_eq!(
        (open.intended_seq, open.intended_us, &open.progress),
        (3, 3000, &Progress::Intended)
    );
    assert_eq!(state.committed.replicas, None);
    events.push(Event::StepAccepted { key: key_of(&step, 1), task: Some(4) });
    let accepted = Progress::Accepted { task: Some(4) };
    assert_eq!(folded(&events).open_step().unwrap().progress, accepted);
    events.push(Event::StepUnknown { key: key_of(&step, 1), reason: "lost".into() });
    let unknown = Progress::Unknown { reason: "lost".into() };
    assert_eq!(folded(&events).open_step().unwrap().progress, unknown);
    events.push(succeeded(operation(1), &step, 1));
    let state = folded(&events);
    assert_eq!((state.open_step(), state.committed.replicas), (None, Some(3)));
    assert_eq!(state.operation.unwrap().steps_done, 1);
}

#[test]
fn an_intent_is_refused_while_another_is_open_or_the_operation_is_parked() {
    let intent = |attempt| intended(operation(1), scale(0, 3), attempt);
    assert!(refusal(&[intent(1)]).contains("no operation is open"));
    assert!(refusal(&[begun(3), intent(1), intent(2)]).contains("a step is open"));
    assert!(refusal(&[begun(3), parked(), intent(1)]).contains("parked"));
}

#[test]
fn attempts_follow_each_other_and_each_has_its_own_key() {
    let step = scale(0, 3);
    let intent = |attempt| intended(operation(1), step.clone(), attempt);
    assert!(refusal(&[begun(3), intent(2)]).contains("does not follow"));
    let once = vec![begun(3), intent(1), failed(&step, 1)];
    assert!(refusal(&with(once.clone(), [intent(1)])).contains("does not follow"));
    let twice = folded(&with(once, [intent(2)]));
    let open = twice.operation.unwrap();
    assert_eq!(open.attempts_of(&step.target()), 2);
    assert_eq!(open.attempts[&step.target()], [key_of(&step, 1), key_of(&step, 2)]);
    assert_eq!(open.last_failure.as_deref(), Some("no"));
    let foreign = Event::StepIntended { step, attempt: 1, key: key(), evidence: "{}".into() };
    assert!(refusal(&[begun(3), foreign]).contains("key is not"));
}

#[test]
fn only_the_open_steps_key_is_listened_to() {
    let step = scale(0, 3);
    let open = [begun(3), intended(operation(1), step.clone(), 1)];
    let (reason, evidence) = (String::from("why"), String::from("{}"));
    let told = [
        Event::StepAccepted { key: key(), task: None },
        Event::StepUnknown { key: key(), reason: reason.clone() },
        Event::StepFailed { key: key(), reason: reason.clone(), evidence: evidence.clone() },
        Event::StepVoid { key: key(), evidence },
        Event::StepNotSent { key: key(), reason },
        succeeded(operation(1), &step, 2),
    ];
    for event in told {
        let reason = refusal(&with(open.to_vec(), [event.clone()]));
        assert!(reason.contains("its key is not"), "{}: {reason}", event.name());
        let reason = refusal(&[begun(3), event.clone()]);
        assert!(reason.contains("no step is open"), "{}: {reason}", event.name());
    }
    let settled = with(open.to_vec(), [failed(&step, 1), failed(&step, 1)]);
    assert!(refusal(&settled).contains("no step is open"));
}

#[test]
fn a_step_that_had_no_effect_changes_nothing_but_the_count_of_attempts() {
    let (step, key) = (scale(0, 3), key_of(&scale(0, 3), 1));
    let (reason, evidence) = (String::from("why"), String::from("{}"));
    let outcomes = [
        Event::StepFailed { key, reason: reason.clone(), evidence: evidence.clone() },
        Event::StepVoid { key, evidence },
        Event::StepNotSent { key, reason },
    ];
    for outcome in outcomes {
        let state = folded(&[begun(3), intended(operation(1), step.clone(), 1), outcome]);
        assert_eq!((state.open_step(), state.committed.replicas), (None, None));
        let open = state.operation.unwrap();
        assert_eq!((open.steps_done, open.attempts_of(&step.target())), (0, 1));
        assert!(open.last_failure.is_some());
    }
}

#[test]
fn the_task_of_an_open_step_can_be_cancelled_beside_it() {
    let cancel = Step::CancelTask { member: member(1), task: 7 };
    let doubt = with(after([]), [intended(operation(1), join(1), 1)]);
    assert!(
        refusal(&with(after([]), [intended(operation(1), cancel.clone(), 1)])).contains("no step")
    );
    let both = with(doubt, [intended(operation(1), cancel.clone(), 1)]);
    let state = folded(&both);
    assert_eq!(state.open_cancel().map(|open| &open.step), Some(&cancel));
    assert_eq!(state.open_step().map(|open| &open.step), Some(&join(1)));
    let joined = succeeded(operation(1), &join(1), 1);
    assert!(refusal(&with(both.clone(), [joined.clone()])).contains("cancellation"));
    assert!(refusal(&with(both.clone(), [ended()])).contains("a step is open"));
    let again = with(both, [succeeded(operation(1), &cancel, 1), joined]);
    assert_eq!(folded(&again).members.len(), 2);
}

#[test]
fn a_parked_operation_goes_on_only_when_it_is_resumed() {
    let resumed = Event::OperationResumed { evidence: "{}".into() };
    assert!(refusal(&[parked()]).contains("no operation is open"));
    assert!(refusal(&[begun(3), resumed.clone()]).contains("not parked"));
    let state = folded(&[begun(3), parked()]);
    let why = state.operation.unwrap().parked.unwrap();
    assert_eq!((why.reason.as_str(), why.message.as_str(), why.seq), ("Odd", "look", 3));
    assert!(refusal(&[begun(3), parked(), parked()]).contains("parked already"));
    let state = folded(&[begun(3), parked(), resumed]);
    assert_eq!(state.operation.unwrap().parked, None);
}

#[test]
fn a_step_in_doubt_can_be_parked_and_still_be_settled() {
    let step = scale(0, 3);
    let events = [
        begun(3),
        intended(operation(1), step.clone(), 1),
        parked(),
        succeeded(operation(1), &step, 1),
    ];
    assert_eq!(folded(&events).committed.replicas, Some(3));
}

#[test]
fn an_operation_ends_between_steps_and_is_remembered() {
    assert!(refusal(&[ended()]).contains("no operation is open"));
    let open = [begun(3), intended(operation(1), scale(0, 3), 1), ended()];
    assert!(refusal(&open).contains("a step is open"));
    let state = folded(&with(after([scale(0, 3)]), [ended()]));
    assert_eq!(state.operation, None);
    let last = state.recent.back().unwrap();
    assert_eq!((last.id, last.begun_seq, last.ended_seq), (operation(1), 3, 6));
    assert_eq!((last.ended_us, last.steps_done, &last.end), (6000, 1, &End::Succeeded));
}

#[test]
fn only_the_last_ended_operations_are_remembered() {
    let mut appends = vec![journal_append(0, vec![genesis()])];
    appends.push(append_to(cache(1), 0, None, vec![cache_opened("demo")]));
    for number in 0..15_u64 {
        let id = operation(u128::from(number));
        appends.push(append_to(cache(1), 1 + number * 2, Some(id), vec![begun(3), ended()]));
    }
    let records: Vec<_> = entries_of(&appends).into_iter().map(|entry| entry.record).collect();
    let state = crate::replay::fold(&records).unwrap().streams.remove(&cache(1)).unwrap();
    let ids: Vec<_> = state.recent.iter().map(|ended| ended.id).collect();
    assert_eq!(ids, (3..15).map(operation).collect::<Vec<_>>());
    assert_eq!(ids.len(), RECENT_OPERATIONS_MAX);
}

#[test]
fn the_first_member_is_the_group_when_it_is_bootstrapped() {
    let state = folded(&[bootstrapped()]);
    let first = &state.members[&0];
    assert_eq!((first.name.as_str(), first.address.as_str()), ("demo-0", "10.0.0.10"));
    assert!(first.catalog && state.bootstrapped && !state.adopted);
    assert_eq!(state.joins["claim-uid-0"], JoinHistory::Joined);
    assert!(refusal(&with(after([join(1)]), [bootstrapped()])).contains("other members"));
    let (address, evidence) = (String::new(), String::new());
    let second = Event::Bootstrapped { member: member(1), address, evidence };
    assert!(refusal(&[second]).contains("first member"));
}

#[test]
fn a_join_makes_a_member_and_its_history_is_kept_by_claim() {
    let doubt = with(after([]), [intended(operation(1), join(1), 1)]);
    assert_eq!(folded(&doubt).joins["claim-uid-1"], JoinHistory::InDoubt);
    let lost = folded(&with(doubt.clone(), [failed(&join(1), 1)]));
    assert_eq!(lost.joins["claim-uid-1"], JoinHistory::WithoutEffect);
    assert!(!lost.members.contains_key(&1));
    let state = folded(&with(doubt, [succeeded(operation(1), &join(1), 1)]));
    assert_eq!(state.joins["claim-uid-1"], JoinHistory::Joined);
    let joined = &state.members[&1];
    assert_eq!((&joined.incarnation, joined.since_seq), (&incarnation(1), 5));
}

#[test]
fn a_disjoined_member_is_leaving_until_its_claim_is_settled() {
    let left = after([join(1), disjoin(1)]);
    let state = folded(&left);
    assert!(!state.members.contains_key(&1));
    let leaving = &state.leaving[&1];
    assert_eq!((leaving.name.as_str(), leaving.claim_uid.as_str()), ("demo-1", "claim-uid-1"));
    assert_eq!(leaving.receipt, Receipt::Disjoined { seq: 7 });
    let retained = Event::VolumeRetained { ordinal: 1, claim_uid: "claim-uid-1".into() };
    assert!(folded(&with(left.clone(), [retained])).leaving.is_empty());
    let other = Event::VolumeRetained { ordinal: 1, claim_uid: "another".into() };
    assert!(refusal(&with(left.clone(), [other])).contains("leaving"));
    let mut delete = delete_volume(Receipt::Disjoined { seq: 7 });
    if let Step::DeleteVolume { claim_uid, .. } = &mut delete {
        "claim-uid-1".clone_into(claim_uid);
    }
    let state = folded(&with(left, done(delete)));
    assert!(state.leaving.is_empty() && !state.joins.contains_key("claim-uid-1"));
}

#[test]
fn a_wrong_intent_is_refused_before_anything_is_done() {
    let intend = |events: Vec<Event>, step: Step| {
        let attempt = 1;
        let key = key_of(&step, attempt);
        refusal(&with(events, [Event::StepIntended { step, attempt, key, evidence: "{}".into() }]))
    };
    assert!(intend(after([join(1)]), join(1)).contains("it is a member"));
    assert!(intend(after([]), scale(7, 9)).contains("other replicas"));
    let gone = after([join(1), disjoin(1)]);
    let other = Receipt::Disjoined { seq: 1 };
    assert!(intend(gone.clone(), delete_volume(other)).contains("this receipt"));
    assert!(intend(gone, delete_volume(Receipt::CacheDeleted)).contains("not being deleted"));
    let mut of_a_member = delete_volume(Receipt::Disjoined { seq: 7 });
    if let Step::DeleteVolume { claim_uid, .. } = &mut of_a_member {
        "claim-uid-1".clone_into(claim_uid);
    }
    assert!(intend(after([join(1)]), of_a_member).contains("a member's"));
}

#[test]
fn what_may_have_been_sent_is_never_recorded_as_not_sent() {
    let mut events = after([]);
    let step = join(1);
    let key = key_of(&step, 1);
    events.push(Event::StepIntended { step, attempt: 1, key, evidence: "{}".into() });
    let not_sent = Event::StepNotSent { key, reason: "x".into() };
    folded(&with(events.clone(), [not_sent.clone()]));
    events.push(Event::StepAccepted { key, task: None });
    assert!(refusal(&with(events, [not_sent])).contains("may have been sent"));
}

#[test]
fn a_ghost_is_forgotten_and_a_reset_member_is_wholly_new() {
    let ghost = Step::RemoveGhostMember { member: member(1), survivor: survivor(0) };
    let state = folded(&after([join(1), ghost]));
    assert!(!state.members.contains_key(&1) && state.leaving.is_empty());
    let pin = Event::TrustPinned {
        ordinal: 1,
        claim_uid: "claim-uid-1".into(),
        fingerprint: "f1".into(),
    };
    let pinned = with(after([join(1)]), [pin]);
    assert_eq!(folded(&pinned).pins["claim-uid-1"], "f1");
    let state = folded(&with(pinned, done(Step::ResetMember { member: member(1) })));
    assert!(!state.members.contains_key(&1) && !state.joins.contains_key("claim-uid-1"));
    assert!(state.pins.is_empty());
}

#[test]
fn an_absent_member_leaves_only_with_a_receipt_of_absence() {
    let views = String::from("[]");
    let absent = |receipt| Event::MemberAbsent { member: member(1), receipt };
    let proofs = [
        Receipt::NeverJoined { views: views.clone() },
        Receipt::FoundAbsent { views: views.clone() },
        Receipt::Adopted { views },
    ];
    for receipt in proofs {
        let state = folded(&[absent(receipt.clone())]);
        assert_eq!(state.leaving[&1].receipt, receipt);
    }
    for receipt in [Receipt::Disjoined { seq: 1 }, Receipt::CacheDeleted] {
        assert!(refusal(&[absent(receipt)]).contains("not about absence"));
    }
}

#[test]
fn a_members_return_and_loss_need_a_recorded_member() {
    let mut again = incarnation(1);
    again.restarts = 2;
    let address = String::from("10.0.0.99");
    let seen =
        Event::MemberSeen { ordinal: 1, incarnation: again.clone(), address: address.clone() };
    let lost = Event::MemberLost { ordinal: 1, evidence: "{}".into() };
    for event in [&seen, &lost] {
        assert!(refusal(std::slice::from_ref(event)).contains("not a recorded member"));
    }
    let state = folded(&with(after([join(1)]), [seen]));
    assert_eq!((&state.members[&1].incarnation, &state.members[&1].address), (&again, &address));
    let state = folded(&with(after([join(1)]), [lost]));
    assert!(!state.members.contains_key(&1));
}

#[test]
fn adoption_takes_the_world_as_it_is() {
    let adopted = |ordinal| AdoptedMember {
        member: member(ordinal),
        catalog: ordinal == 0,
        address: format!("10.0.0.{ordinal}"),
    };
    let event = Event::Adopted {
        members: vec![adopted(0), adopted(2)],
        replicas: Some(3),
        template: Some(("d1".into(), Text::Inline("{}".into()))),
    };
    let state = folded(std::slice::from_ref(&event));
    assert_eq!(state.members.keys().copied().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(state.members[&2].address, "10.0.0.2");
    assert_eq!(state.committed.replicas, Some(3));
    assert_eq!(state.committed.template.unwrap().digest, "d1");
    assert!(state.bootstrapped && state.adopted);
    let doubt = with(after([]), [intended(operation(1), join(1), 1), event]);
    assert!(refusal(&doubt).contains("a step is open"));
}

#[test]
fn grids_are_known_by_their_objects_uid() {
    let (grid_uid, name) = (String::from("g"), String::from("sessions"));
    let through = survivor(0);
    let digest = String::from("d1");
    let create = Step::CreateGrid {
        grid_uid: grid_uid.clone(),
        name: name.clone(),
        digest,
        through: through.clone(),
    };
    let update = Step::UpdateGrid {
        grid_uid: grid_uid.clone(),
        name: name.clone(),
        digest: "d2".into(),
        through: through.clone(),
    };
    let delete = Step::DeleteGrid { grid_uid: grid_uid.clone(), name: name.clone(), through };
    assert_eq!(folded(&after([create.clone()])).grids["g"].digest, "d1");
    let updated = folded(&after([create.clone(), update.clone()]));
    assert_eq!((updated.grids["g"].digest.as_str(), updated.grids["g"].seq), ("d2", 7));
    assert!(folded(&after([create, update, delete])).grids.is_empty());
    let adopted = Event::GridAdopted { grid_uid, name, digest: "d3".into() };
    assert_eq!(folded(&[adopted]).grids["g"].digest, "d3");
}

#[test]
fn the_template_and_the_sets_deletion_are_committed() {
    let state = folded(&after([template(), scale(0, 2), join(1)]));
    assert_eq!(state.committed.template.as_ref().unwrap().digest, "d1");
    let gone = Step::DeleteStatefulSet { uid: "u".into() };
    let state = folded(&after([template(), scale(0, 2), join(1), gone]));
    assert_eq!(state.committed, Committed::default());
    assert!(state.members.is_empty() && state.leaving.is_empty());
}

#[test]
fn a_person_decides_about_an_open_operation_and_a_cache_closes_without_one() {
    let decided = Event::Decided { who: "ada".into(), decision: "wait".into(), why: "sure".into() };
    assert!(refusal(std::slice::from_ref(&decided)).contains("no operation is open"));
    folded(&[begun(3), parked(), decided]);
    let closed = Event::CacheClosed { reason: "gone".into() };
    assert!(refusal(&[begun(3), closed.clone()]).contains("an operation is open"));
    assert!(folded(&[closed]).closed);
}

#[test]
fn an_operations_records_are_counted() {
    let state = folded(&after([scale(0, 2), join(1)]));
    assert_eq!(state.operation.unwrap().records, 5);
}

mod left;
mod roll;
mod templates;
