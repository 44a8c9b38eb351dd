//! What an act of a family could be next. Pure: dice and the model in, acts out.

use serde_json::{Value, json};

use crate::act::{
    Act, CACHE, COLLIDING, Cascade, Holder, Kind, MEMBERS_MAX, NODES, Rewrite, SECOND, When,
};
use crate::dice::Dice;
use crate::faults;
use crate::fields::{FIELDS, Field, values};
use crate::model::{Model, Operator};
use crate::script::{Condition, Step, Wait};
use crate::weights::Family;

/// Steps whose intents a kill may wait for.
pub const STEPS: &[&str] = &[
    "set_template",
    "scale_stateful_set",
    "join_member",
    "disjoin_member",
    "delete_volume",
    "roll_member",
    "set_up_replication",
    "promote_primary",
    "reset_member",
    "remove_ghost_member",
    "cancel_task",
    "create_grid",
    "update_grid",
    "delete_grid",
    "upload_template",
    "delete_template",
    "grow_volume",
    "delete_stateful_set",
];

/// Resources whose writes a policy may refuse, with the operations.
const REFUSED: &[(&str, &str)] = &[
    ("statefulsets", "CREATE"),
    ("statefulsets", "UPDATE"),
    ("pods", "CREATE"),
    ("pods", "DELETE"),
    ("persistentvolumeclaims", "CREATE"),
    ("persistentvolumeclaims", "DELETE"),
    ("services", "CREATE"),
    ("services", "UPDATE"),
    ("secrets", "CREATE"),
    ("configmaps", "CREATE"),
    ("poddisruptionbudgets", "UPDATE"),
    ("networkpolicies", "UPDATE"),
    ("events", "CREATE"),
];

/// Objects that the first cache has or may have, by kind and name.
pub const OBJECTS: &[(Kind, &str)] = &[
    (Kind::StatefulSet, "c"),
    (Kind::Service, "c"),
    (Kind::Service, "c-client"),
    (Kind::Secret, "c-held"),
    (Kind::ConfigMap, "c-entrypoint"),
    (Kind::Budget, "c"),
    (Kind::Budget, "c.primary"),
    (Kind::NetworkPolicy, "c"),
];

/// Acts of a family; none when nothing of it makes sense now. Some belong together: what is killed
/// is started again.
pub fn propose(family: Family, dice: &mut Dice, model: &Model) -> Vec<Step> {
    let caches = real_caches(model);
    let acts = match family {
        Family::Create
        | Family::SecondCache
        | Family::CollidingCache
        | Family::Delete
        | Family::Grid
        | Family::Template => objects(family, dice, model),
        Family::Resize
        | Family::Image
        | Family::CacheField
        | Family::Broken
        | Family::Pause
        | Family::GridField
        | Family::TemplateField => change(family, dice, model),
        Family::Invalid => invalid(dice, model),
        Family::Rotate => vec![Act::Rotate {
            number: model.password + 1,
            first: if dice.chance(50) { Holder::Secret } else { Holder::Group },
        }],
        Family::Evict => on_member(dice, &caches, |cache, member| Act::Evict { cache, member }),
        Family::Drain | Family::Cordon | Family::NodeStop => nodes(family, dice, model),
        Family::Foreign
        | Family::Labels
        | Family::Finalizers
        | Family::DeleteObject
        | Family::DeleteClaim
        | Family::Annotate
        | Family::ByHand => by_hand(family, dice, model, &caches),
        Family::Refuse | Family::Rewrite | Family::Quota => policies(family, dice, model),
        Family::MemberFault => member_faults(dice, model, &caches),
        Family::Kill | Family::KillAtBoundary | Family::End | Family::Freeze => {
            return operators(family, dice, model);
        }
        Family::SecondOperator => match model.has_second {
            true => vec![Act::EndSecond],
            false => vec![Act::StartSecond { same_journal: dice.chance(30) }],
        },
        Family::JournalLost => vec![Act::LoseJournal],
        Family::JournalSetBack => match model.has_backup {
            true => vec![Act::SetBackJournal],
            false => vec![Act::BackUpJournal],
        },
        Family::AnchorLost => vec![Act::LoseAnchor],
    };
    let mut steps = Vec::new();
    for act in acts {
        steps.push(Step { wait: wait(dice, model), act });
    }
    steps
}

/// The caches that come up: not the one whose name is taken.
fn real_caches(model: &Model) -> Vec<String> {
    model.names(Kind::Cache).into_iter().filter(|name| name != COLLIDING).collect()
}

/// What is waited for before an act.
pub fn wait(dice: &mut Dice, model: &Model) -> Wait {
    let cache = dice.pick(&real_caches(model)).cloned();
    match (dice.roll(10), cache) {
        (0..=2, Some(cache)) if model.operator == Operator::Runs => {
            Wait::until(Condition::Ready(cache), 30_000)
        }
        (3..=4, Some(_)) => {
            let effects = [
                "join_started",
                "member_listed",
                "joined",
                "disjoin_started",
                "disjoined",
                "replication_started",
                "grid_created",
                "grid_online",
            ];
            let effect = dice.pick(&effects).copied().unwrap_or("joined");
            Wait::until(Condition::Effect(effect.to_owned()), 8_000)
        }
        (5..=6, Some(_)) if model.operator == Operator::Runs => {
            let step = dice.pick(STEPS).copied().unwrap_or("join_member");
            Wait::until(Condition::Intent(step.to_owned()), 6_000)
        }
        (7, _) => Wait::default(),
        _ => Wait::time(dice.between(50, 5_000)),
    }
}

fn objects(family: Family, dice: &mut Dice, model: &Model) -> Vec<Act> {
    let name = match family {
        Family::SecondCache => SECOND,
        Family::CollidingCache => COLLIDING,
        _ => CACHE,
    };
    match family {
        Family::Create | Family::SecondCache | Family::CollidingCache => {
            if model.has(Kind::Cache, name) {
                return Vec::new();
            }
            let size = dice.between(1, if name == CACHE { 3 } else { 2 }) as u32;
            vec![Act::CreateCache { cache: name.to_owned(), size, spec: json!({}) }]
        }
        Family::Delete => delete(dice, model),
        Family::Grid => grids(dice, model),
        _ => templates(dice, model),
    }
}

/// A cache goes, and mostly comes back on the volumes that it left.
fn delete(dice: &mut Dice, model: &Model) -> Vec<Act> {
    let Some(cache) = dice.pick(&model.names(Kind::Cache)).cloned() else { return Vec::new() };
    let cascades = [Cascade::Background, Cascade::Foreground, Cascade::Orphan];
    let cascade = dice.pick(&cascades).copied().unwrap_or(Cascade::Background);
    let mut acts = vec![Act::DeleteCache { cache: cache.clone(), cascade }];
    if dice.chance(75) {
        let size = dice.between(1, 3) as u32;
        acts.push(Act::CreateCache { cache, size, spec: json!({}) });
    }
    acts
}

fn grids(dice: &mut Dice, model: &Model) -> Vec<Act> {
    let grids = model.names(Kind::Grid);
    if grids.len() >= 3 || (!grids.is_empty() && dice.chance(35)) {
        let grid = dice.pick(&grids).cloned().unwrap_or_default();
        return vec![Act::DeleteGrid { grid }];
    }
    let free = |name: &&str| !model.has(Kind::Grid, name);
    let Some(grid) = ["g", "h", "i"].into_iter().find(free) else { return Vec::new() };
    let caches = real_caches(model);
    // A grid that names no cache takes what there is, and is told when there are two.
    let cache = if dice.chance(85) { dice.pick(&caches).cloned() } else { None };
    let template = dice.pick(&model.names(Kind::Template)).cloned();
    let spec = match template {
        Some(template) if dice.chance(60) => {
            json!({"gridType": "Custom", "templateName": null, "templateRef": {"name": template}})
        }
        _ => json!({}),
    };
    vec![Act::CreateGrid { grid: grid.to_owned(), cache, spec }]
}

fn templates(dice: &mut Dice, model: &Model) -> Vec<Act> {
    if model.has(Kind::Template, "t") {
        return vec![Act::DeleteTemplate { template: "t".to_owned() }];
    }
    let Some(cache) = dice.pick(&real_caches(model)).cloned() else { return Vec::new() };
    vec![Act::CreateTemplate { template: "t".to_owned(), cache }]
}

fn change(family: Family, dice: &mut Dice, model: &Model) -> Vec<Act> {
    let is_it = |field: &&Field| match family {
        Family::Resize => field.path == "/size",
        Family::Image => field.path == "/image",
        Family::Pause => field.path == "/paused",
        Family::CacheField => {
            field.kind == Kind::Cache
                && !field.good.is_empty()
                && !["/size", "/image", "/paused"].contains(&field.path)
        }
        Family::Broken => !field.broken.is_empty() && field.path != "/paused",
        Family::GridField => field.kind == Kind::Grid && !field.good.is_empty(),
        _ => field.kind == Kind::Template && !field.good.is_empty(),
    };
    let fields: Vec<&Field> = FIELDS.iter().filter(is_it).collect();
    let Some(field) = dice.pick(&fields).copied() else { return Vec::new() };
    let names = match field.kind {
        Kind::Cache => real_caches(model),
        kind => model.names(kind),
    };
    let Some(name) = dice.pick(&names).cloned() else { return Vec::new() };
    let broken = family == Family::Broken || (family == Family::Pause && dice.chance(60));
    let texts = if broken { field.broken } else { field.good };
    let Some(value) = dice.pick(&values(texts)).cloned() else { return Vec::new() };
    let path = field.path.to_owned();
    let mut acts = vec![Act::Change { kind: field.kind, name: name.clone(), path, value, broken }];
    // There and back, before anything can have come of it or in the middle of it.
    let back = values(field.good);
    if !back.is_empty() && dice.chance(25) {
        let value = back[dice.roll(back.len() as u64) as usize].clone();
        let path = field.path.to_owned();
        acts.push(Act::Change { kind: field.kind, name, path, value, broken: false });
    }
    acts
}

fn invalid(dice: &mut Dice, model: &Model) -> Vec<Act> {
    let fields: Vec<&Field> = FIELDS.iter().filter(|field| !field.refused.is_empty()).collect();
    let Some(field) = dice.pick(&fields).copied() else { return Vec::new() };
    let Some(name) = dice.pick(&model.names(field.kind)).cloned() else { return Vec::new() };
    let Some(value) = dice.pick(&values(field.refused)).cloned() else { return Vec::new() };
    vec![Act::Invalid { kind: field.kind, name, path: field.path.to_owned(), value }]
}

fn on_member(dice: &mut Dice, caches: &[String], act: impl FnOnce(String, u32) -> Act) -> Vec<Act> {
    let member = dice.roll(u64::from(MEMBERS_MAX)) as u32;
    dice.pick(caches).cloned().map(|cache| act(cache, member)).into_iter().collect()
}

fn nodes(family: Family, dice: &mut Dice, model: &Model) -> Vec<Act> {
    let node = dice.roll(u64::from(NODES)) as u32;
    let now = model.nodes[node as usize];
    match family {
        Family::Drain if now.is_cordoned => vec![Act::Uncordon { node }],
        Family::Drain => vec![Act::Drain { node }],
        Family::Cordon if now.is_cordoned => vec![Act::Uncordon { node }],
        Family::Cordon => vec![Act::Cordon { node }],
        _ if now.is_stopped => vec![Act::StartNode { node }],
        _ => vec![Act::StopNode { node }],
    }
}

fn by_hand(family: Family, dice: &mut Dice, model: &Model, caches: &[String]) -> Vec<Act> {
    let (kind, name) = dice.pick(OBJECTS).copied().unwrap_or((Kind::Service, "c"));
    let name = name.to_owned();
    let member = dice.roll(u64::from(MEMBERS_MAX));
    let cascades = [Cascade::Background, Cascade::Orphan];
    let cascade = dice.pick(&cascades).copied().unwrap_or(Cascade::Background);
    match family {
        // One that is there keeps its name: what counts is who comes first.
        Family::Foreign if kind != Kind::StatefulSet || !model.has(Kind::Cache, CACHE) => {
            vec![Act::MakeForeign { kind, name }]
        }
        Family::Foreign => vec![Act::MakeForeign { kind: Kind::Secret, name: "c-held".to_owned() }],
        Family::Labels => {
            let (kind, name) = match dice.roll(4) {
                0 => (Kind::Pod, format!("c-{member}")),
                1 => (Kind::Claim, format!("vol-c-{member}")),
                _ => (kind, name),
            };
            vec![Act::RemoveLabels { kind, name }]
        }
        Family::Finalizers => match dice.pick(&model.names(Kind::Cache)).cloned() {
            Some(name) => vec![Act::StripFinalizers { kind: Kind::Cache, name }],
            None => Vec::new(),
        },
        Family::DeleteObject => {
            let force = dice.chance(30);
            let (kind, name) = match dice.roll(3) {
                0 => (Kind::Pod, format!("c-{member}")),
                1 => (Kind::StatefulSet, "c".to_owned()),
                _ => (kind, name),
            };
            vec![Act::DeleteObject { kind, name, cascade, force }]
        }
        Family::DeleteClaim => {
            let name = format!("vol-c-{member}");
            vec![Act::DeleteObject { kind: Kind::Claim, name, cascade, force: false }]
        }
        Family::Annotate => {
            let own = [
                (Kind::ConfigMap, "xsld-operator-journal"),
                (Kind::Lease, "xsld-operator"),
                (Kind::Cache, "c"),
                (Kind::StatefulSet, "c"),
                (Kind::Service, "c-client"),
            ];
            let (kind, name) = dice.pick(&own).copied().unwrap_or((Kind::Cache, "c"));
            vec![Act::Annotate { kind, name: name.to_owned() }]
        }
        _ => {
            let roll = dice.roll(3);
            let replicas = dice.between(0, 5) as u32;
            let act = |cache| match roll {
                0 => Act::RestartByHand { cache },
                1 => Act::SetEnvironmentByHand { cache },
                _ => Act::ScaleByHand { cache, replicas },
            };
            dice.pick(caches).cloned().map(act).into_iter().collect()
        }
    }
}

fn policies(family: Family, dice: &mut Dice, model: &Model) -> Vec<Act> {
    if model.has_policies && dice.chance(50) {
        return vec![Act::LiftPolicies];
    }
    match family {
        Family::Refuse => {
            let refused = dice.pick(REFUSED).copied().unwrap_or(REFUSED[0]);
            let (resource, operation) = (refused.0.to_owned(), refused.1.to_owned());
            vec![Act::RefuseWrites { resource, operation }]
        }
        Family::Rewrite => {
            let all = [Rewrite::PodLabel, Rewrite::TemplateEnvironment, Rewrite::ServiceAnnotation];
            dice.pick(&all).map(|what| Act::RewriteWrites { what: *what }).into_iter().collect()
        }
        _ => {
            let resources = ["pods", "persistentvolumeclaims", "services", "secrets", "configmaps"];
            let resource = dice.pick(&resources).copied().unwrap_or("pods").to_owned();
            vec![Act::LimitObjects { resource, count: dice.between(0, 3) as u32 }]
        }
    }
}

fn member_faults(dice: &mut Dice, model: &Model, caches: &[String]) -> Vec<Act> {
    let faulty: Vec<(String, u32)> = model.faults.iter().cloned().collect();
    if !faulty.is_empty() && dice.chance(35) {
        let (cache, member) = faulty[dice.roll(faulty.len() as u64) as usize].clone();
        if model.has(Kind::Cache, &cache) {
            return vec![Act::ClearFaults { cache, member }];
        }
    }
    let name = dice.pick(faults::NAMES).copied().unwrap_or("crash");
    let grids = model.names(Kind::Grid);
    let Some(cache) = dice.pick(caches).cloned() else { return Vec::new() };
    let fault: Value = faults::fault(name, dice, &cache, &grids);
    let member = dice.roll(u64::from(model.size(&cache).max(1)) + 1) as u32;
    vec![Act::FaultMember { member: member.min(MEMBERS_MAX - 1), cache, fault }]
}

/// The operator ends or stands still, and goes on after a while.
fn operators(family: Family, dice: &mut Dice, model: &Model) -> Vec<Step> {
    let later = |dice: &mut Dice| Wait::time(dice.between(0, 4_000));
    let (end, back) = match (family, model.operator) {
        (_, Operator::Down) => return vec![Step { wait: later(dice), act: Act::StartOperator }],
        (Family::Kill, _) => (Act::KillOperator { when: When::Now }, Act::StartOperator),
        (_, Operator::Frozen) => return vec![Step { wait: later(dice), act: Act::ThawOperator }],
        (Family::End, _) => (Act::EndOperator, Act::StartOperator),
        (Family::Freeze, _) => (Act::FreezeOperator, Act::ThawOperator),
        (_, Operator::Runs) => {
            let when = match dice.pick(STEPS) {
                Some(step) if dice.chance(50) => When::Intent((*step).to_owned()),
                _ => When::Records(dice.between(1, 6) as u32),
            };
            (Act::KillOperator { when }, Act::StartOperator)
        }
    };
    let wait = match &end {
        // It waits for its moment itself.
        Act::KillOperator { when: When::Records(_) | When::Intent(_) } => Wait::default(),
        _ => wait(dice, model),
    };
    // Longer than a lease, now and then.
    let longest = if family == Family::Freeze { 12_000 } else { 3_000 };
    let after = Wait::time(dice.between(0, longest));
    vec![Step { wait, act: end }, Step { wait: after, act: back }]
}
