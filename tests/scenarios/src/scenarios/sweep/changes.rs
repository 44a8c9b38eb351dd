//! Stories of images, volumes, grids and templates that change, and of a cache that goes.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::bootstrap::MINUTE;
use super::{has_data, whole};
use crate::Result;
use crate::context::{Context, IMAGE, Kind, Seen, is_true};
use crate::sweep::{grid_of, template_of};

/// Longest time of a change of all members, on a loaded machine.
const CHANGE: Duration = Duration::from_secs(180);
/// Another image of the cache.
pub(super) const NEW: &str = "ibmcom/xsld:8614";
/// An image that cannot be pulled.
const MISSING: &str = "ibmcom/xsld:missing-1";

pub(super) async fn set_image(c: &Context, cache: &str, image: &str) -> Result {
    c.patch(Kind::Cache, cache, json!({"spec": {"image": image}})).await.map(drop)
}

/// Both members run the image that the spec asks for, and nothing is under way or lost.
pub(super) async fn rolled(c: &Context, cache: &str, image: &str) -> Result {
    updated(c, cache, image).await?;
    whole(c, cache, 2).await?;
    has_data(c, cache).await
}

/// Both members run the image that the spec asks for, and nothing is under way.
pub(super) async fn updated(c: &Context, cache: &str, image: &str) -> Result {
    c.wait_for(Kind::Cache, cache, &format!("two members on {image}"), CHANGE, |cache| {
        is_true(cache, "Ready", None)
            && cache["status"]["observedGeneration"] == cache["metadata"]["generation"]
            && cache["status"]["image"]["updated"] == 2
            && cache["status"]["image"]["current"] == image
            && cache["status"]["operation"].is_null()
    })
    .await
    .map(drop)
}

pub(super) async fn image(c: &Context, cache: &str) -> Result {
    set_image(c, cache, NEW).await?;
    rolled(c, cache, NEW).await
}

/// A member that is not back in time is returned to the former image.
pub(super) fn rollback() -> Value {
    json!({"rollout": {"progressDeadlineSeconds": 8, "onFailure": "Rollback"}})
}

pub(super) async fn bad_image(c: &Context, cache: &str) -> Result {
    set_image(c, cache, MISSING).await?;
    let halted = ("NeedsAttention", "True", "RolloutHalted");
    c.wait_condition(Kind::Cache, cache, halted, CHANGE).await?;
    set_image(c, cache, IMAGE).await?;
    rolled(c, cache, IMAGE).await
}

pub(super) async fn grid(c: &Context, cache: &str) -> Result {
    let grid = grid_of(cache);
    c.create_grid(&grid, json!({"cacheRef": {"name": cache}})).await?;
    c.grid_online(&grid, 2 * MINUTE).await?;
    c.patch(Kind::Grid, &grid, json!({"spec": {"lockTimeout": 20}})).await?;
    c.grid_online(&grid, 2 * MINUTE).await?;
    c.delete(Kind::Grid, &grid).await?;
    c.gone(Kind::Grid, &grid, 2 * MINUTE).await
}

fn descriptor(timeout: u32) -> String {
    format!("<objectGridConfig><objectGrid name=\"o\" txTimeout=\"{timeout}\"/></objectGridConfig>")
}

pub(super) async fn template(c: &Context, cache: &str) -> Result {
    let name = template_of(cache);
    let policy = "<deploymentPolicy><mapSet name=\"o\"/></deploymentPolicy>";
    let object = json!({"metadata": {"name": name}, "spec": {
        "objectGridXml": {"inline": descriptor(30)},
        "deploymentPolicyXml": {"inline": policy},
    }});
    c.apply(Kind::Template, object).await?;
    uploaded(c, cache, &name, 30).await?;
    let other = json!({"spec": {"objectGridXml": {"inline": descriptor(60)}}});
    c.patch(Kind::Template, &name, other).await?;
    uploaded(c, cache, &name, 60).await?;
    c.delete(Kind::Template, &name).await?;
    c.gone(Kind::Template, &name, 2 * MINUTE).await
}

/// The group has the descriptor, and the status says so.
async fn uploaded(c: &Context, cache: &str, name: &str, timeout: u32) -> Result {
    let wanted = descriptor(timeout);
    let path = format!("/gridTemplate/{name}");
    c.wait("the group to have the template", 2 * MINUTE, async || {
        Ok(match c.ask(&format!("{cache}-0"), &path).await {
            Ok(told) => Seen::when(told["objectGridXml"] == wanted.as_str(), || told.to_string()),
            Err(error) => Seen::NotYet(format!("{error:#}")),
        })
    })
    .await?;
    c.wait_for(Kind::Template, name, "uploaded", MINUTE, |template| {
        is_true(template, "Ready", Some("Uploaded"))
            && template["status"]["observedGeneration"] == template["metadata"]["generation"]
    })
    .await
    .map(drop)
}

pub(super) async fn volumes(c: &Context, cache: &str) -> Result {
    let storage = json!({"spec": {"storage": {"size": "2Gi"}}});
    c.patch(Kind::Cache, cache, storage).await?;
    for ordinal in 0..2 {
        let claim = format!("vol-{cache}-{ordinal}");
        c.wait_for(Kind::Claim, &claim, "grown", 2 * MINUTE, |claim| {
            claim["status"]["capacity"]["storage"] == "2Gi"
        })
        .await?;
    }
    whole(c, cache, 2).await?;
    has_data(c, cache).await
}

pub(super) async fn deleted(c: &Context, cache: &str) -> Result {
    c.delete(Kind::Cache, cache).await?;
    c.gone(Kind::Cache, cache, CHANGE).await?;
    for ordinal in 0..2 {
        c.gone(Kind::Claim, &format!("vol-{cache}-{ordinal}"), MINUTE).await?;
    }
    Ok(())
}
