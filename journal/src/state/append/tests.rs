//! What a new record must agree with, and what was found of a group.

use super::*;
use crate::event::{AdoptedMember, HeldClaim, StepKey, Text};
use crate::fixtures::{
    begun, bootstrapped, cache_opened, disjoin, intended, join, member, operation, succeeded,
};

fn folded(events: &[Event]) -> CacheState {
    let mut state = CacheState::default();
    for (seq, event) in (1..).zip([cache_opened("demo")].iter().chain(events)) {
        let stamp = Stamp { seq, time_us: 0, operation: Some(operation(1)) };
        state.apply(stamp, event).unwrap();
    }
    state
}

fn never_joined() -> Event {
    let receipt = Receipt::NeverJoined { views: "{}".into() };
    Event::MemberAbsent { member: member(1), receipt }
}

fn adopted(ordinals: &[u32]) -> Vec<Event> {
    let adopted = |ordinal: &u32| AdoptedMember {
        member: member(*ordinal),
        catalog: true,
        address: String::new(),
    };
    let members: Vec<_> = ordinals.iter().map(adopted).collect();
    let held = members.iter().map(|adopted| HeldClaim {
        name: adopted.member.name.clone(),
        claim_uid: adopted.member.claim_uid.clone(),
    });
    let noted = Event::AdoptionNoted { held: held.collect(), template: Some("d2".into()) };
    vec![Event::Adopted { members, replicas: Some(3), template: None }, noted]
}

#[test]
fn who_joined_or_may_have_is_never_recorded_as_one_who_never_did() {
    let begun = || vec![bootstrapped(), begun(3)];
    let join_intended = intended(operation(1), join(1), 1);
    let key = StepKey::of(operation(1), &join(1).target(), 1);
    let failed = Event::StepFailed { key, reason: "no".into(), evidence: "{}".into() };
    let joined = succeeded(operation(1), &join(1), 1);
    let lost = Event::MemberLost { ordinal: 1, evidence: "{}".into() };
    let with = |more: Vec<Event>| folded(&[begun(), more].concat());
    let truths = [with(vec![]), with(vec![join_intended.clone(), failed])];
    for state in truths {
        assert_eq!(state.check_append(&never_joined()), Ok(()));
    }
    let doubt = with(vec![join_intended.clone()]);
    let member = with(vec![join_intended.clone(), joined.clone()]);
    let lost = with(vec![join_intended, joined, lost]);
    for (state, why) in [(doubt, "in doubt"), (member, "is a member"), (lost, "it joined")] {
        let refused = state.check_append(&never_joined()).unwrap_err();
        assert!(refused.reason.contains(why), "{refused}");
        // Older releases recorded it, and their journals are read as ever.
        let stamp = Stamp { seq: 99, time_us: 0, operation: Some(operation(1)) };
        assert_eq!(state.clone().apply(stamp, &never_joined()), Ok(()));
    }
}

#[test]
fn what_an_adopted_group_listed_is_neither_wiped_nor_said_to_have_never_joined() {
    let state = folded(&[adopted(&[0, 1]), vec![begun(3)]].concat());
    assert_eq!(state.held.len(), 2);
    assert_eq!(state.held_template.as_deref(), Some("d2"));
    let reset = intended(operation(1), Step::ResetMember { member: member(1) }, 1);
    assert!(state.check_append(&reset).unwrap_err().reason.contains("a person decides"));
    assert!(state.check_append(&never_joined()).is_err());
}

#[test]
fn what_becomes_of_a_volume_after_a_join_or_disjoin_of_ours_is_known() {
    let with = |step: Step| {
        let lost = Event::MemberLost { ordinal: 1, evidence: "{}".into() };
        let before = if matches!(step, Step::JoinMember { .. }) { vec![lost] } else { vec![] };
        let done = vec![
            begun(3),
            intended(operation(1), step.clone(), 1),
            succeeded(operation(1), &step, 1),
        ];
        folded(&[adopted(&[0, 1]), before, done].concat())
    };
    assert!(!with(join(1)).held.contains_key(&member(1).claim_uid));
    assert!(!with(disjoin(1)).held.contains_key(&member(1).claim_uid));
}

#[test]
fn after_an_adoption_nobody_is_said_to_have_never_joined_for_want_of_records() {
    let state = folded(&[adopted(&[0]), vec![begun(3)]].concat());
    let refused = state.check_append(&never_joined()).unwrap_err();
    assert!(refused.reason.contains("nobody knows"), "{refused}");
}

#[test]
fn a_template_that_was_rolled_out_by_consent_waits_no_more() {
    let set = Step::SetTemplate { digest: "d2".into(), template: Text::Inline("{}".into()) };
    let done =
        vec![begun(3), intended(operation(1), set.clone(), 1), succeeded(operation(1), &set, 1)];
    assert_eq!(folded(&[adopted(&[0, 1]), done].concat()).held_template, None);
}

#[test]
fn a_late_member_is_adopted_once_and_only_into_a_group() {
    let late = |ordinal| Event::MemberAdopted {
        member: AdoptedMember {
            member: member(ordinal),
            catalog: true,
            address: "10.0.0.9".into(),
        },
        evidence: "{}".into(),
    };
    let stamp = Stamp { seq: 9, time_us: 0, operation: None };
    assert!(folded(&[]).apply(stamp, &late(2)).is_err(), "there is no group");
    let mut state = folded(&adopted(&[0, 1]));
    assert!(state.clone().apply(stamp, &late(1)).is_err(), "it is a member");
    state.apply(stamp, &late(2)).unwrap();
    assert_eq!(state.members[&2].address, "10.0.0.9");
    assert!(state.held.contains_key(&member(2).claim_uid));
}
