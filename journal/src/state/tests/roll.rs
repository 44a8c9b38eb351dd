//! A roll goes back to the template that was committed before its first change.

use super::*;

fn set(digest: &str) -> Step {
    Step::SetTemplate { digest: digest.into(), template: Text::Inline(digest.into()) }
}

fn rolls(digest: &str) -> Event {
    let goal = Goal::PodTemplate {
        digest: digest.into(),
        partition: 0,
        deadline_seconds: 60,
        rollback: false,
    };
    let cause = Cause { generation: 2, reason: "an image".into() };
    Event::OperationBegun { kind: OperationKind::ImageRoll, goal, cause }
}

/// A group on template d1 whose roll to d2 has begun.
fn rolling() -> Vec<Event> {
    let settled = with(after([set("d1"), scale(0, 2), join(1)]), [over(End::Succeeded)]);
    with(settled, [rolls("d2")])
}

fn over(end: End) -> Event {
    Event::OperationEnded { end }
}

/// The steps of a second operation: keys are counted by operation, and there is one id here.
fn then(events: Vec<Event>, steps: impl IntoIterator<Item = Step>) -> Vec<Event> {
    with(events, steps.into_iter().flat_map(done))
}

fn roll(template: &str) -> Step {
    Step::RollMember { member: member(1), template: template.into() }
}

#[test]
fn the_former_template_is_kept_until_the_roll_has_succeeded() {
    let open = then(rolling(), [set("d2"), roll("d2")]);
    let state = folded(&open);
    assert_eq!(state.former.unwrap().digest, "d1");
    assert_eq!(state.committed.template.unwrap().digest, "d2");
    let state = folded(&with(open.clone(), [over(End::Succeeded)]));
    assert_eq!(state.former, None);
    assert_eq!(state.rolled.unwrap().end, End::Succeeded);
    let superseded = with(open, [over(End::Superseded { by: "d3".into() })]);
    let state = folded(&then(with(superseded, [rolls("d3")]), [set("d3")]));
    assert_eq!(state.former.unwrap().digest, "d1", "not the one of the roll in between");
    assert_eq!(state.rolled, None);
}

#[test]
fn the_former_template_committed_again_is_no_former_one() {
    let state = folded(&then(rolling(), [set("d2"), set("d1")]));
    assert_eq!(state.former, None);
    let state = folded(&with(
        then(rolling(), [set("d2"), set("d1"), roll("d1")]),
        [over(End::Failed { reason: "it did not come back".into() })],
    ));
    assert!(matches!(state.rolled.unwrap().end, End::Failed { .. }));
}

#[test]
fn a_member_is_rolled_in_a_roll_only_and_to_the_committed_template() {
    let outside =
        with(after([set("d1"), scale(0, 2), join(1)]), [intended(operation(1), roll("d1"), 1)]);
    assert!(refusal(&outside).contains("no image roll"));
    let early = with(rolling(), [intended(operation(1), roll("d2"), 1)]);
    assert!(refusal(&early).contains("not the committed one"));
    let mut other = member(1);
    other.claim_uid = "another".into();
    let other = Step::RollMember { member: other, template: "d1".into() };
    let replaced = with(rolling(), [intended(operation(1), other, 1)]);
    assert!(refusal(&replaced).contains("with this volume"));
}
