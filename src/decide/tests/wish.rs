//! What is still to be done of a step on a member when it would be sent again.

use super::*;

#[test]
fn a_wipe_in_doubt_is_not_sent_again_once_it_is_forbidden_but_carried_to_its_end() {
    let mut world = joining(2, 2).0;
    let key = world.state.open_step().unwrap().key;
    world.report(2, &[2, 7]);
    world.task(2, key, TaskStatus::Failed);
    let decision = world.settled();
    world.follow(decision);
    world.seen.reports.get_mut(&2).unwrap().lists_grids = Some(false);
    let decision = world.settled();
    assert_eq!(step(&decision), "reset_member");
    world.follow(decision);
    assert!(matches!(world.settled(), Decision::Resend { .. }), "it is still to be wiped");
    world.wanted.reset_half_joined = false;
    assert_eq!(events(&world.settled()), ["step_void"]);
    world.seen.claims.get_mut(&2).unwrap().deleting = true;
    assert!(matches!(world.settled(), Decision::Resend { .. }), "its claim waits for its pod");
    world.seen.claims.remove(&2);
    assert!(matches!(world.settled(), Decision::Resend { .. }), "its pod is still to go");
}
