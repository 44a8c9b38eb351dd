//! What a roll promises, told on a small world.

mod again;
mod corrections;

use std::time::Duration;

use xsld_journal::event::{Event, Goal, OperationKind, Ordinal, Step, Text};

use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::testing::{World, incarnation};
use crate::decide::{Decision, roll};
use crate::xsld::view::{Answer, GridStatus, GridView};

/// What a decision is, in short.
fn told(decision: &Decision) -> String {
    match decision {
        Decision::Run { step: Step::RollMember { member, template }, .. } => {
            format!("roll {} to {template}", member.name)
        }
        Decision::Run { step: Step::SetTemplate { digest, .. }, .. } => format!("set {digest}"),
        Decision::Run { step, .. } => step.name().to_owned(),
        Decision::Begin { kind, .. } => format!("begin {}", kind.name()),
        Decision::Record(events) => match events.as_slice() {
            [Event::OperationEnded { end }] => format!("end {}", end.name()),
            [Event::OperationParked { reason, .. }] => format!("park {reason}"),
            events => events.iter().map(Event::name).collect::<Vec<_>>().join(" "),
        },
        Decision::Wait(waiting) => format!("wait {}", waiting.reason.as_str()),
        Decision::Rest => "rest".to_owned(),
        other => format!("{other:?}"),
    }
}

impl World {
    /// The spec asks for the pods of this template now.
    fn want(&mut self, digest: &str) {
        self.wanted.generation += 1;
        self.wanted.template = (digest.to_owned(), Text::Inline(format!("{{\"d\":\"{digest}\"}}")));
        let committed = self.state.committed.template.as_ref().unwrap();
        self.wanted.may_roll = committed.digest != digest;
    }

    /// The effect of the open step, and of what Kubernetes does then.
    fn take_effect(&mut self) {
        let open = self.state.open_step().unwrap().clone();
        match &open.step {
            Step::SetTemplate { digest, .. } => {
                let set = self.seen.stateful_set.as_mut().unwrap();
                set.template_digest = Some(digest.clone());
                set.update_revision = Some(format!("r-{digest}"));
            }
            Step::RollMember { member, template } => {
                let (ordinal, life) = (member.ordinal, self.life(member.ordinal) + 1);
                let listed: Vec<_> = self.state.members.keys().copied().collect();
                self.made(ordinal, life, template);
                self.report(ordinal, &listed);
            }
            other => panic!("{other:?}"),
        }
        let mut decision = self.settled();
        if told(&decision) == "member_seen" {
            self.follow(decision);
            decision = self.settled();
        }
        assert_eq!(told(&decision), "step_succeeded");
        self.follow(decision);
        let wanted = self.wanted.template.0.clone();
        self.wanted.may_roll = self.state.committed.template.as_ref().unwrap().digest != wanted;
    }

    fn life(&self, ordinal: Ordinal) -> u32 {
        self.seen.pods[&ordinal].incarnation.restarts + 1
    }

    /// A new pod that was made from a template.
    fn made(&mut self, ordinal: Ordinal, life: u32, template: &str) {
        self.pod_with(ordinal, life);
        let pod = self.seen.pods.get_mut(&ordinal).unwrap();
        pod.incarnation = incarnation(ordinal, life);
        pod.incarnation.pod_uid = format!("pod-{ordinal}-{life}");
        pod.revision = Some(format!("r-{template}"));
        pod.template = Some(template.to_owned());
    }

    /// The member's pod does not start.
    fn breaks(&mut self, ordinal: Ordinal, why: Option<&str>) {
        let pod = self.seen.pods.get_mut(&ordinal).unwrap();
        (pod.ready, pod.running) = (false, why.is_none());
        pod.waiting = why.map(str::to_owned);
        self.seen.reports.remove(&ordinal);
    }

    /// Follows decisions until one of these, and returns what was decided on the way.
    fn until(&mut self, last: &[&str]) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..100 {
            let decision = self.settled();
            let text = told(&decision);
            if text != "member_seen" {
                all.push(text.clone());
            }
            if last.contains(&text.as_str()) {
                return all;
            }
            let runs = matches!(decision, Decision::Run { .. });
            self.follow(decision);
            if runs {
                self.take_effect();
            }
        }
        panic!("{all:#?}");
    }

    /// Follows decisions up to this one, whose intent is recorded.
    fn up_to(&mut self, last: &str) {
        self.until(&[last]);
        let decision = self.settled();
        self.follow(decision);
    }
}

/// A group with two containers-only members, at rest.
fn group(size: u32) -> World {
    let mut world = World::group(size);
    world.seen.grids = Some(Answer::Known([].into()));
    world.wanted.replicate = false;
    for (ordinal, member) in &mut world.state.members {
        member.catalog = *ordinal < 2;
    }
    world
}

#[test]
fn members_are_rolled_one_at_a_time_and_the_primary_last() {
    let mut world = group(4);
    world.want("d2");
    let decisions = world.until(&["rest"]);
    assert_eq!(
        decisions,
        [
            "begin image_roll",
            "set d2",
            "roll c-3 to d2",
            "roll c-2 to d2",
            "roll c-1 to d2",
            "roll c-0 to d2",
            "end succeeded",
            "rest"
        ]
    );
    assert_eq!(world.state.former, None);
}

#[test]
fn the_primarys_role_moves_to_the_replica_before_its_pod_goes() {
    let mut world = group(2);
    world.want("d2");
    world.up_to("roll c-1 to d2");
    world.take_effect();
    for report in world.seen.reports.values_mut() {
        for answer in [Some(&mut report.group), report.group_again.as_mut()].into_iter().flatten() {
            let Answer::Known(view) = answer else { panic!("no view") };
            for member in &mut view.members {
                let first = member.name == "c-0";
                member.primary = Some(first);
                member.replication = Some(if first { "master" } else { "slave" }.to_owned());
            }
        }
    }
    assert_eq!(told(&world.settled()), "promote_primary", "c-0 is the last and the primary");
}

#[test]
fn nothing_is_rolled_while_a_member_is_away_or_a_grid_is_not_placed() {
    let mut world = group(3);
    world.want("d2");
    world.until(&["roll c-2 to d2"]);
    world.seen.grids = Some(Answer::Known(
        [(
            "g".to_owned(),
            GridView { name: "g".into(), status: GridStatus::Created, fields: [].into() },
        )]
        .into(),
    ));
    assert_eq!(told(&world.settled()), "wait WaitingForPlacement");
    world.seen.grids = None;
    assert_eq!(told(&world.settled()), "wait GroupUnreachable");
    let mut unread = crate::observation::Shown::default();
    let reason = "refused 403: no".to_owned();
    unread.cannot_read("g".into(), crate::observation::Unread { reason, listed: None });
    world.seen.grids = Some(Answer::Known(unread));
    assert_eq!(told(&world.settled()), "wait GroupUnreachable");
    world.seen.grids = Some(Answer::Known([].into()));
    world.breaks(1, None);
    assert_eq!(told(&world.settled()), "wait WaitingForPods");
}

#[test]
fn a_single_member_is_rolled() {
    let mut world = group(1);
    world.want("d2");
    assert!(world.until(&["rest"]).contains(&"roll c-0 to d2".to_owned()));
}

#[test]
fn only_members_from_the_partition_on_are_rolled_and_the_former_template_comes_back() {
    let mut world = group(3);
    world.wanted.rollout.partition = 2;
    world.want("d2");
    let decisions = world.until(&["rest"]);
    assert_eq!(
        decisions,
        ["begin image_roll", "set d2", "roll c-2 to d2", "set d1", "end succeeded", "rest"]
    );
    assert_eq!(roll::waits(world.inputs()).unwrap().reason, Reason::PartitionReached);
    world.wanted.rollout.partition = 0;
    let decisions = world.until(&["rest"]);
    assert_eq!(
        decisions,
        ["begin image_roll", "set d2", "roll c-1 to d2", "roll c-0 to d2", "end succeeded", "rest"]
    );
}

#[test]
fn a_member_that_does_not_come_back_halts_the_roll_on_the_former_template() {
    let mut world = group(3);
    world.want("d2");
    world.up_to("roll c-2 to d2");
    world.take_effect();
    world.breaks(2, Some("ImagePullBackOff"));
    assert_eq!(told(&world.settled()), "wait WaitingForPods");
    let deadline = world.wanted.rollout.deadline;
    let decision = world.after(deadline);
    assert_eq!(told(&decision), "set d1");
    world.follow(decision);
    world.take_effect();
    let decision = world.settled();
    assert_eq!(told(&decision), "park RolloutHalted");
    world.follow(decision);
    assert_eq!(told(&world.settled()), "wait RolloutHalted");
    // The image is there now: the roll goes on by itself.
    world.made(2, 9, "d2");
    world.report(2, &[0, 1, 2]);
    let decisions = world.until(&["rest"]);
    assert_eq!(
        decisions,
        [
            "operation_resumed",
            "set d2",
            "roll c-1 to d2",
            "roll c-0 to d2",
            "end succeeded",
            "rest"
        ]
    );
}

#[test]
fn a_rollback_brings_every_member_to_the_former_template_and_is_not_tried_again() {
    let mut world = group(3);
    world.wanted.rollout.rollback = true;
    world.want("d2");
    world.up_to("roll c-1 to d2");
    world.take_effect();
    world.breaks(1, None);
    let deadline = world.wanted.rollout.deadline;
    let decision = world.after(deadline);
    assert_eq!(told(&decision), "set d1");
    world.follow(decision);
    world.take_effect();
    let decisions = world.until(&["rest"]);
    assert_eq!(decisions, ["roll c-1 to d1", "roll c-2 to d1", "end failed", "rest"]);
    let waits = roll::waits(world.inputs()).unwrap();
    assert_eq!(waits.reason, Reason::RolloutHalted);
    assert!(waits.message.starts_with("c-1 did not come back"), "{}", waits.message);
    world.want("d3");
    assert_eq!(told(&world.settled()), "begin image_roll");
}

/// The operator dies between the intent to bring the stuck member back and its effect.
#[test]
fn a_rollback_whose_first_deletion_had_no_effect_is_carried_on() {
    for restarted in [false, true] {
        let mut world = group(3);
        world.wanted.rollout.rollback = true;
        world.want("d2");
        world.up_to("roll c-2 to d2");
        world.take_effect();
        // Its pod is ready, and nobody of the group lists it.
        world.seen.reports.remove(&2);
        let deadline = world.wanted.rollout.deadline;
        let decision = world.after(deadline);
        assert_eq!(told(&decision), "set d1");
        world.follow(decision);
        world.take_effect();
        let mut decision = world.after(deadline);
        assert_eq!(told(&decision), "roll c-2 to d1");
        world.follow(decision.clone());
        if restarted {
            world.watch = Default::default();
            world.observe();
        }
        for _ in 0..5 {
            decision = world.after(deadline);
            if matches!(decision, Decision::Resend { .. } | Decision::Run { .. }) {
                break;
            }
            assert_ne!(told(&decision), "park RolloutHalted", "restarted: {restarted}");
            world.follow(decision.clone());
        }
        let again =
            matches!(decision, Decision::Resend { .. }) || told(&decision) == "roll c-2 to d1";
        assert!(again, "restarted: {restarted}: {decision:?}");
    }
}

#[test]
fn a_spec_that_is_reverted_deletes_the_stuck_pod() {
    for parked in [false, true] {
        let mut world = group(3);
        world.want("d2");
        world.up_to("roll c-2 to d2");
        world.take_effect();
        world.breaks(2, Some("ImagePullBackOff"));
        if parked {
            let decision = world.after(world.wanted.rollout.deadline);
            world.follow(decision);
            world.take_effect();
            let decision = world.settled();
            world.follow(decision);
        }
        world.want("d1");
        let mut decisions = world.until(&["rest"]);
        decisions.retain(|decision| decision != "set d1");
        assert_eq!(
            decisions,
            ["end superseded", "begin image_roll", "roll c-2 to d1", "end succeeded", "rest"],
            "parked: {parked}"
        );
    }
}

#[test]
fn another_image_in_the_middle_of_a_roll_never_takes_two_members_down() {
    let mut world = group(3);
    world.want("d2");
    world.up_to("roll c-2 to d2");
    world.take_effect();
    world.breaks(2, None);
    world.want("d3");
    let decisions = world.until(&["wait WaitingForPods", "rest"]);
    assert_eq!(
        decisions,
        [
            "end superseded",
            "begin image_roll",
            "set d3",
            "roll c-2 to d3",
            "roll c-1 to d3",
            "roll c-0 to d3",
            "end succeeded",
            "rest"
        ],
        "the one that is down goes first"
    );
    assert!(world.state.former.is_none());
}

#[test]
fn a_pause_commits_the_former_template_and_goes_on_afterwards() {
    let mut world = group(3);
    world.want("d2");
    world.up_to("roll c-2 to d2");
    world.take_effect();
    world.wanted.paused = true;
    assert_eq!(world.until(&["wait Paused"]), ["set d1", "wait Paused"]);
    world.wanted.paused = false;
    let decisions = world.until(&["rest"]);
    assert_eq!(decisions, ["set d2", "roll c-1 to d2", "roll c-0 to d2", "end succeeded", "rest"]);
}

#[test]
fn a_roll_waits_for_a_running_scale_and_ends_for_a_new_one() {
    let mut world = group(3);
    world.wanted.size = 4;
    world.want("d2");
    assert_eq!(told(&world.settled()), "begin scale_up");
    let mut world = group(3);
    world.want("d2");
    world.up_to("roll c-2 to d2");
    world.take_effect();
    world.wanted.size = 4;
    let decisions = world.until(&["scale_stateful_set"]);
    assert_eq!(decisions, ["end superseded", "begin scale_up", "scale_stateful_set"]);
}

/// A cache to be of two, whose pods cannot start; another template is wanted.
fn stuck_at_its_start() -> World {
    let mut world = World::new(2);
    world.follow(world.decide());
    world.follow(world.decide());
    world.run_and_succeed(Step::SetTemplate {
        digest: "d1".into(),
        template: Text::Inline("{}".into()),
    });
    world.run_and_succeed(Step::ScaleStatefulSet { from: 0, to: 2 });
    world.set_replicas(2);
    for ordinal in 0..2 {
        world.pod_up(ordinal);
        world.breaks(ordinal, Some("ImagePullBackOff"));
    }
    world.want("d2");
    world
}

/// What stumbles comes up by itself; what others do meanwhile does not matter.
#[test]
fn another_template_goes_first_only_where_a_pod_stays_unable_to_start() {
    for (stumbles, goes_first) in [(false, true), (true, false)] {
        let mut world = stuck_at_its_start();
        let mut ended = false;
        for second in 0..45 {
            world.pod_with(7, second + 2);
            for ordinal in 0..2 {
                let why = Some("ImagePullBackOff").filter(|_| !stumbles || second % 2 == 0);
                world.breaks(ordinal, why);
            }
            ended |= told(&world.after(Duration::from_secs(1))) == "end superseded";
        }
        assert_eq!(ended, goes_first, "stumbles: {stumbles}");
    }
}

#[test]
fn a_bad_image_does_not_hold_up_its_own_fix() {
    let mut world = stuck_at_its_start();
    let decision = world.settled();
    assert_eq!(told(&decision), "end superseded");
    world.follow(decision);
    let decisions: Vec<_> = (0..4)
        .map(|_| {
            let decision = world.settled();
            let text = told(&decision);
            let runs = matches!(decision, Decision::Run { .. });
            world.follow(decision);
            if runs {
                world.take_effect();
            }
            text
        })
        .collect();
    assert_eq!(decisions, ["begin image_roll", "set d2", "roll c-1 to d2", "roll c-0 to d2"]);
}

#[test]
fn a_pod_whose_volume_is_another_one_is_not_deleted_for_the_roll() {
    let mut world = group(1);
    world.want("d2");
    world.seen.claims.get_mut(&0).unwrap().uid = "another".into();
    world.breaks(0, Some("ImagePullBackOff"));
    assert_eq!(
        world.until(&["wait WaitingForPods"]),
        ["begin image_roll", "set d2", "wait WaitingForPods"]
    );
    let Decision::Wait(waiting) = world.settled() else { panic!() };
    assert!(waiting.message.contains("c-0 has another volume"), "{}", waiting.message);
}

/// What the member's pod is to be deleted for may be over by the time that is sent again.
#[test]
fn a_roll_in_doubt_is_not_sent_again_once_it_would_not_be_begun() {
    type Change = fn(&mut World);
    let changes: [(&str, Change); 5] = [
        ("another member is away", |world| world.breaks(1, Some("CrashLoopBackOff"))),
        ("paused", |world| world.wanted.paused = true),
        ("reverted", |world| world.want("d1")),
        ("another template", |world| world.want("d3")),
        ("its volume would go", |world| world.seen.claims.get_mut(&2).unwrap().deleting = true),
    ];
    for (what, change) in changes {
        let mut world = group(3);
        world.want("d2");
        world.up_to("roll c-2 to d2");
        change(&mut world);
        let decision = world.settled();
        assert_eq!(told(&decision), "step_void", "{what}");
        world.follow(decision);
        let next = told(&world.settled());
        assert!(!next.starts_with("roll c-2"), "{what}: {next}");
    }
}

#[test]
fn a_roll_in_doubt_is_done_when_no_pod_has_that_uid() {
    let mut world = group(3);
    world.want("d2");
    world.up_to("roll c-2 to d2");
    assert!(matches!(world.settled(), Decision::Resend { .. }), "it is still there");
    world.seen.pods.get_mut(&2).unwrap().deleting = true;
    assert_eq!(told(&world.settled()), "wait RollingImage");
    world.seen.pods.remove(&2);
    assert_eq!(told(&world.settled()), "step_succeeded");
}

#[test]
fn what_was_decided_by_the_deadline_holds_once_the_intent_is_durable() {
    let mut world = group(3);
    world.wanted.rollout.rollback = true;
    world.want("d2");
    world.up_to("roll c-2 to d2");
    world.take_effect();
    world.breaks(2, None);
    let decision = world.after(world.wanted.rollout.deadline);
    world.follow(decision);
    world.take_effect();
    let decision = world.settled();
    let before = world.state.clone();
    world.follow(decision.clone());
    world.observe();
    world.state = before;
    assert_eq!(world.decide(), decision);
}

#[test]
fn a_template_that_only_the_operator_makes_otherwise_waits_for_consent() {
    let mut world = group(2);
    world.want("d2");
    world.wanted.may_roll = false;
    assert_eq!(told(&world.settled()), "rest");
    let waits = roll::waits(world.inputs()).unwrap();
    assert_eq!(waits.reason, Reason::RequiresUpdate);
    assert!(waits.message.contains("xsld.ibm.com/consent=d2"), "{}", waits.message);
    world.state.held_template = Some("d2".into());
    let waits = roll::waits(world.inputs()).unwrap();
    assert!(
        waits.message.starts_with("the group was adopted with other pods"),
        "{}",
        waits.message
    );
}

#[test]
fn the_goal_names_what_the_spec_says_about_the_roll() {
    let mut world = group(2);
    world.wanted.rollout =
        roll::Rollout { partition: 1, deadline: Duration::from_secs(60), rollback: true };
    world.want("d2");
    let Decision::Begin { kind, goal, .. } = world.settled() else { panic!() };
    assert_eq!(kind, OperationKind::ImageRoll);
    let digest = "d2".to_owned();
    let expected = Goal::PodTemplate { digest, partition: 1, deadline_seconds: 60, rollback: true };
    assert_eq!(goal, expected);
}
