//! Members are brought to another image or other settings, one at a time, and nothing is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use jiff::Timestamp;
use serde_json::{Value, json};
use xsld_journal::event::{Event, OperationKind, Step};

use super::bootstrap::MINUTE;
use crate::context::records::{Intent, outcome};
use crate::context::{Context, IMAGE, Kind, Seen};
use crate::kill::{Kill, Moment};
use crate::{Result, Scenario};

/// One member's end, start and return, on a loaded machine.
pub(super) const MEMBER: Duration = Duration::from_secs(45);
/// Another image of the cache.
pub(super) const NEW: &str = "ibmcom/xsld:8614";
/// An image that cannot be pulled.
const MISSING: &str = "ibmcom/xsld:missing-1";
/// An image whose process runs and never serves.
const SILENT: &str = "ibmcom/xsld:silent-1";
/// Entries that each scenario with a grid stores.
const ENTRIES: usize = 24;

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new("roll::one_at_a_time_and_the_primary_last", |c| Box::pin(in_order(c))),
        Scenario::new("roll::a_partition_is_a_canary", |c| Box::pin(canary(c))),
        Scenario::new("roll::a_member_that_does_not_come_back_halts_it", |c| Box::pin(halted(c))),
        Scenario::new("roll::a_rollback_brings_the_former_image_back", |c| Box::pin(rollback(c))),
        Scenario::new("roll::a_reverted_spec_deletes_the_stuck_pod", |c| Box::pin(reverted(c))),
        Scenario::new("roll::another_image_never_takes_two_members_down", |c| {
            Box::pin(changed_again(c))
        }),
        Scenario::new("roll::changed_resources_are_rolled", |c| Box::pin(resources(c))),
        Scenario::new("roll::a_running_scale_goes_first", |c| Box::pin(after_scale(c))),
        Scenario::new("roll::a_pause_commits_the_former_template", |c| Box::pin(paused(c))),
        Scenario::new("roll::a_bad_first_image_does_not_hold_up_its_fix", |c| {
            Box::pin(bad_from_the_start(c))
        }),
    ];
    for (moment, nth) in
        [(Moment::Intended, 1), (Moment::Running, 1), (Moment::Intended, 2), (Moment::Running, 2)]
    {
        let kill = Kill { step: "roll_member", nth, moment };
        let name = format!("roll::it_survives_a_kill/{}/{nth}", moment.word());
        all.push(Scenario::new(name, move |c| Box::pin(killed(c, kill))));
    }
    let kill = Kill::at("set_template", Moment::Intended);
    all.push(Scenario::new("roll::it_survives_a_kill/set_template", move |c| {
        Box::pin(killed(c, kill))
    }));
    all
}

/// A cache with a grid and entries in it.
pub(super) async fn with_data(c: &Context, size: u32, more: Value) -> Result {
    c.create_with("c", size, more).await?;
    c.ready("c", size, MINUTE * (size + 1)).await?;
    c.create_grid("g", json!({})).await?;
    c.grid_online("g", MINUTE).await?;
    for number in 0..ENTRIES {
        c.store("c-0", "g", &format!("k{number}"), &format!("v{number}")).await?;
    }
    Ok(())
}

/// Every entry is still there.
pub(super) async fn has_data(c: &Context) -> Result {
    for number in 0..ENTRIES {
        let found = c.load("c-0", "g", &format!("k{number}")).await?;
        ensure!(found == Some(format!("v{number}")), "k{number} is {found:?}");
    }
    Ok(())
}

pub(super) async fn set_image(c: &Context, image: &str) -> Result {
    c.patch(Kind::Cache, "c", json!({"spec": {"image": image}})).await.map(drop)
}

/// Waits until every member runs what the spec asks for, and no operation is open.
pub(super) async fn rolled(c: &Context, size: u32, image: &str) -> Result {
    let what = format!("{size} members on {image}");
    c.wait_for(Kind::Cache, "c", &what, MEMBER * (size + 1), |cache| {
        crate::context::is_true(cache, "Ready", None)
            && cache["status"]["observedGeneration"] == cache["metadata"]["generation"]
            && cache["status"]["image"]["updated"] == size
            && cache["status"]["image"]["current"] == image
            && cache["status"]["operation"].is_null()
    })
    .await?;
    let images = images(c).await?;
    ensure!(images.values().all(|found| found == image), "{images:?}");
    c.wait_views("c", size, MINUTE).await
}

async fn pods(c: &Context) -> Result<BTreeMap<String, Value>> {
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    Ok(c.list(Kind::Pod).await?.into_iter().map(|pod| (name(&pod), pod)).collect())
}

async fn images(c: &Context) -> Result<BTreeMap<String, String>> {
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().map(str::to_owned);
    let pods = pods(c).await?;
    Ok(pods.iter().map(|(name, pod)| (name.clone(), image(pod).unwrap_or_default())).collect())
}

pub(super) async fn uids(c: &Context) -> Result<BTreeMap<String, Value>> {
    let pods = pods(c).await?;
    Ok(pods.into_iter().map(|(name, pod)| (name, pod["metadata"]["uid"].clone())).collect())
}

/// The members whose pods were deleted, in order, as the journal has it.
pub(super) fn order(c: &Context) -> Result<Vec<String>> {
    let records = c.records()?;
    let intents = records.iter().filter_map(Intent::of).collect::<Vec<_>>();
    let ends: BTreeMap<_, _> = records.iter().filter_map(outcome).collect();
    let member = |intent: Intent| match intent.step {
        Step::RollMember { member, .. } => {
            (ends.get(&intent.key) != Some(&"step_not_sent")).then_some(member.name)
        }
        _ => None,
    };
    Ok(intents.into_iter().filter_map(member).collect())
}

/// Fails when two members were without a running pod at the same time since then.
fn never_two_down(c: &Context, since: Timestamp) -> Result {
    let mut up: BTreeMap<String, bool> = BTreeMap::new();
    for change in c.history.of(Kind::Pod) {
        let pod = &change.object;
        let runs = pod["status"]["phase"] == "Running" && !change.gone;
        up.insert(change.name.clone(), runs && pod["metadata"]["deletionTimestamp"].is_null());
        let down: Vec<_> = up.iter().filter(|(_, up)| !**up).map(|(name, _)| name).collect();
        ensure!(change.at < since || down.len() < 2, "{down:?} were down at {}", change.at);
    }
    Ok(())
}

/// The image in the StatefulSet, which a pod takes that dies by itself.
pub(super) async fn committed(c: &Context) -> Result<String> {
    let set = c.get(Kind::StatefulSet, "c").await?;
    let image = &set["spec"]["template"]["spec"]["containers"][0]["image"];
    Ok(image.as_str().unwrap_or_default().to_owned())
}

async fn in_order(c: &Context) -> Result {
    with_data(c, 4, json!({"catalogs": 2})).await?;
    let (since, before) = (Timestamp::now(), uids(c).await?);
    set_image(c, NEW).await?;
    rolled(c, 4, NEW).await?;
    let order = order(c)?;
    ensure!(order == ["c-3", "c-2", "c-1", "c-0"], "rolled in the order {order:?}");
    let after = uids(c).await?;
    ensure!(before.iter().all(|(name, uid)| after[name] != *uid), "a pod was not made anew");
    never_two_down(c, since)?;
    ensure!(c.count("join_started", "")? == 3, "a member joined anew");
    has_data(c).await
}

async fn canary(c: &Context) -> Result {
    with_data(c, 3, json!({"rollout": {"partition": 2}})).await?;
    let before = uids(c).await?;
    set_image(c, NEW).await?;
    let reached = ("Deferred", "True", "PartitionReached");
    let cache = c.wait_condition(Kind::Cache, "c", reached, 2 * MEMBER).await?;
    ensure!(cache["status"]["image"]["updated"] == 1, "{}", cache["status"]["image"]);
    let found = images(c).await?;
    ensure!(found["c-2"] == NEW && found["c-1"] == IMAGE && found["c-0"] == IMAGE, "{found:?}");
    ensure!(committed(c).await? == IMAGE, "a pod that dies would take the new image");
    let after = uids(c).await?;
    ensure!(after["c-0"] == before["c-0"] && after["c-1"] == before["c-1"], "not only c-2 went");
    c.patch(Kind::Cache, "c", json!({"spec": {"rollout": {"partition": 0}}})).await?;
    rolled(c, 3, NEW).await?;
    ensure!(order(c)? == ["c-2", "c-1", "c-0"], "{:?}", order(c)?);
    has_data(c).await
}

async fn halted(c: &Context) -> Result {
    with_data(c, 3, json!({"rollout": {"progressDeadlineSeconds": 8}})).await?;
    let (since, before) = (Timestamp::now(), uids(c).await?);
    set_image(c, SILENT).await?;
    let parked = ("NeedsAttention", "True", "Parked");
    c.wait_condition(Kind::Cache, "c", parked, 2 * MEMBER).await?;
    ensure!(committed(c).await? == IMAGE, "a pod that dies would take the bad image");
    let after = uids(c).await?;
    ensure!(after["c-0"] == before["c-0"] && after["c-1"] == before["c-1"], "not only c-2 went");
    // It forbids no drain once the grids are placed on the others: Kubernetes counts c-2 by itself.
    c.wait_for(Kind::Budget, "c", "a budget of one", MEMBER, |budget| {
        budget["spec"]["maxUnavailable"] != 0
    })
    .await?;
    c.patch(
        Kind::Cache,
        "c",
        json!({"spec": {"image": NEW, "rollout": {"progressDeadlineSeconds": 600}}}),
    )
    .await?;
    rolled(c, 3, NEW).await?;
    never_two_down(c, since)?;
    has_data(c).await
}

async fn rollback(c: &Context) -> Result {
    let rollout = json!({"progressDeadlineSeconds": 8, "onFailure": "Rollback"});
    with_data(c, 3, json!({"rollout": rollout})).await?;
    let (since, before) = (Timestamp::now(), uids(c).await?);
    set_image(c, MISSING).await?;
    let failed = ("NeedsAttention", "True", "RolloutHalted");
    c.wait_condition(Kind::Cache, "c", failed, 3 * MEMBER).await?;
    let found = images(c).await?;
    ensure!(found.values().all(|image| image == IMAGE), "{found:?}");
    let after = uids(c).await?;
    ensure!(after["c-0"] == before["c-0"] && after["c-1"] == before["c-1"], "not only c-2 went");
    ensure!(order(c)? == ["c-2", "c-2"], "{:?}", order(c)?);
    never_two_down(c, since)?;
    has_data(c).await?;
    set_image(c, IMAGE).await?;
    c.ready("c", 3, MEMBER).await?;
    ensure!(order(c)?.len() == 2, "the reverted spec rolled again: {:?}", order(c)?);
    Ok(())
}

/// The new pod of a member waits with this word.
async fn waits(c: &Context, pod: &str, word: &str) -> Result {
    c.wait_for(Kind::Pod, pod, word, MEMBER, |pod| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == word
    })
    .await
    .map(drop)
}

async fn reverted(c: &Context) -> Result {
    with_data(c, 3, json!({})).await?;
    let (since, before) = (Timestamp::now(), uids(c).await?);
    set_image(c, MISSING).await?;
    waits(c, "c-2", "ImagePullBackOff").await?;
    set_image(c, IMAGE).await?;
    rolled(c, 3, IMAGE).await?;
    let after = uids(c).await?;
    ensure!(after["c-0"] == before["c-0"] && after["c-1"] == before["c-1"], "not only c-2 went");
    never_two_down(c, since)?;
    has_data(c).await
}

/// Waits until the pod of a member was deleted.
pub(super) async fn taken(c: &Context, pod: &str, uid: &Value) -> Result {
    c.wait_for(Kind::Pod, pod, "another pod", MEMBER, |pod| {
        !pod["metadata"]["deletionTimestamp"].is_null() || pod["metadata"]["uid"] != *uid
    })
    .await
    .map(drop)
}

async fn changed_again(c: &Context) -> Result {
    with_data(c, 3, json!({})).await?;
    let (since, before) = (Timestamp::now(), uids(c).await?);
    set_image(c, NEW).await?;
    taken(c, "c-2", &before["c-2"]).await?;
    set_image(c, "ibmcom/xsld:8615").await?;
    rolled(c, 3, "ibmcom/xsld:8615").await?;
    never_two_down(c, since)?;
    has_data(c).await
}

async fn resources(c: &Context) -> Result {
    with_data(c, 2, json!({})).await?;
    let since = Timestamp::now();
    let pod = json!({"resources": {"requests": {"memory": "17Mi"}}});
    c.patch(Kind::Cache, "c", json!({"spec": {"pod": pod}})).await?;
    c.wait("both members to have the memory", 3 * MEMBER, async || {
        let pods = pods(c).await?;
        let told =
            |pod: &Value| pod["spec"]["containers"][0]["resources"]["requests"]["memory"] == "17Mi";
        Ok(Seen::when(pods.len() == 2 && pods.values().all(told), || format!("{:?}", pods.keys())))
    })
    .await?;
    rolled(c, 2, IMAGE).await?;
    ensure!(order(c)? == ["c-1", "c-0"], "{:?}", order(c)?);
    never_two_down(c, since)?;
    has_data(c).await
}

async fn after_scale(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.resize("c", 3).await?;
    c.wait("the join of c-2", MINUTE, async || {
        Ok(Seen::when(c.count("join_started", "c-2")? > 0, || "it has not begun".to_owned()))
    })
    .await?;
    set_image(c, NEW).await?;
    rolled(c, 3, NEW).await?;
    let mut open = None;
    for record in c.records()? {
        match record.event {
            Event::OperationBegun { kind, .. } => open = Some(kind),
            Event::OperationEnded { .. } => open = None,
            Event::StepIntended { step: Step::RollMember { member, .. }, .. } => {
                ensure!(open == Some(OperationKind::ImageRoll), "{} during {open:?}", member.name);
            }
            _ => {}
        }
    }
    ensure!(c.count("joined", "c-2")? == 1, "c-2 did not join once");
    ensure!(order(c)?.last().map(String::as_str) == Some("c-0"), "{:?}", order(c)?);
    Ok(())
}

async fn paused(c: &Context) -> Result {
    with_data(c, 2, json!({})).await?;
    let before = uids(c).await?;
    set_image(c, NEW).await?;
    taken(c, "c-1", &before["c-1"]).await?;
    c.patch(Kind::Cache, "c", json!({"spec": {"paused": true}})).await?;
    c.wait("the former template", MEMBER, async || {
        let found = committed(c).await?;
        Ok(Seen::when(found == IMAGE, || found))
    })
    .await?;
    c.wait_condition(Kind::Cache, "c", ("Deferred", "True", "Paused"), MEMBER).await?;
    ensure!(uids(c).await?["c-0"] == before["c-0"], "c-0 went although the cache is paused");
    c.patch(Kind::Cache, "c", json!({"spec": {"paused": false}})).await?;
    rolled(c, 2, NEW).await?;
    has_data(c).await
}

async fn bad_from_the_start(c: &Context) -> Result {
    c.create_with("c", 2, json!({"image": MISSING})).await?;
    waits(c, "c-0", "ImagePullBackOff").await?;
    set_image(c, NEW).await?;
    rolled(c, 2, NEW).await
}

async fn killed(c: &Context, kill: Kill) -> Result {
    with_data(c, 3, json!({})).await?;
    let since = Timestamp::now();
    c.killed_during("c", kill, set_image(c, NEW)).await?;
    rolled(c, 3, NEW).await?;
    let order = order(c)?;
    ensure!(order == ["c-2", "c-1", "c-0"], "rolled in the order {order:?}");
    never_two_down(c, since)?;
    has_data(c).await
}
