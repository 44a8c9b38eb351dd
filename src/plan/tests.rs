//! One plan for each kind of operation, told on the small world of the decisions.

mod always;
mod done;
mod members;
mod objects;
mod rolls;
mod troubles;
mod waits;

use std::collections::BTreeMap;

use xsld_journal::event::{Ordinal, Text};

use super::*;
use crate::decide::testing::World;
use crate::xsld::view::{Answer, GroupView};

/// A group at rest whose grids are seen, and there are none.
fn group(size: u32) -> World {
    let mut world = World::group(size);
    world.seen.grids = Some(Answer::Known([].into()));
    world
}

/// Changes what a member tells of the group.
fn change_view(world: &mut World, by: Ordinal, change: impl Fn(&mut GroupView)) {
    let Some(report) = world.seen.reports.get_mut(&by) else { return };
    for answer in std::iter::once(&mut report.group).chain(&mut report.group_again) {
        if let Answer::Known(view) = answer {
            change(view);
        }
    }
}

/// Every member shows these parts in replication.
fn roles(world: &mut World, primary: Ordinal, replica: Option<Ordinal>) {
    let all: Vec<Ordinal> = world.seen.reports.keys().copied().collect();
    for ordinal in all {
        change_view(world, ordinal, |view| {
            for member in &mut view.members {
                let is = |ordinal: Ordinal| member.name == format!("c-{ordinal}");
                let part = match (is(primary), replica) {
                    (true, Some(_)) => "master",
                    (false, Some(replica)) if is(replica) => "slave",
                    _ => "none",
                };
                member.primary = Some(is(primary));
                member.replication = Some(part.to_owned());
            }
        });
    }
}

/// The spec asks for pods of another template.
fn want_template(world: &mut World, digest: &str) {
    world.wanted.generation += 1;
    world.wanted.template = (digest.to_owned(), Text::Inline("{}".to_owned()));
    world.wanted.may_roll = true;
}

/// The plan of a world that has been looked at twice.
fn planned(world: &mut World) -> Plan {
    world.settled();
    plan(world.inputs())
}

/// What would be done, in short: operations by kind, steps by what they are about.
fn told(plan: &Plan) -> Vec<String> {
    let mut told = vec![];
    for operation in &plan.operations {
        let continues = if operation.continues { "continues " } else { "" };
        told.push(format!("{continues}{}", operation.kind.name()));
        told.extend(operation.steps.iter().map(|planned| short(&planned.step)));
    }
    told
}

/// A step, in short.
fn short(step: &Step) -> String {
    match step {
        Step::SetTemplate { digest, .. } => format!("- template {digest}"),
        Step::ScaleStatefulSet { to, .. } => format!("- replicas {to}"),
        Step::JoinMember { member, .. } => format!("- join {}", member.name),
        Step::DisjoinMember { member, .. } => format!("- disjoin {}", member.name),
        Step::RemoveGhostMember { member, .. } => format!("- remove {}", member.name),
        Step::ResetMember { member } => format!("- reset {}", member.name),
        Step::RollMember { member, .. } => format!("- roll {}", member.name),
        Step::DeleteVolume { claim, .. } => format!("- delete {claim}"),
        Step::GrowVolume { claim, to, .. } => format!("- grow {claim} to {to}"),
        Step::SetUpReplication { replica, .. } => format!("- replicate to {}", replica.name),
        Step::PromotePrimary { member, .. } => format!("- promote {}", member.name),
        Step::CancelTask { task, .. } => format!("- cancel {task}"),
        Step::CreateGrid { name, .. } => format!("- create grid {name}"),
        Step::UpdateGrid { name, .. } => format!("- update grid {name}"),
        Step::DeleteGrid { name, .. } => format!("- delete grid {name}"),
        Step::UploadTemplate { name, .. } => format!("- upload {name}"),
        Step::DeleteTemplate { name, .. } => format!("- delete template {name}"),
        Step::DeleteStatefulSet { .. } => "- delete the set".to_owned(),
    }
}

fn names(claims: &[Claim]) -> Vec<&str> {
    claims.iter().map(|claim| claim.name.as_str()).collect()
}
