//! Another release: every name of the API that the profile can override is another one.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use xsld_sim::profile::Profile;

use super::bootstrap::MINUTE;
use crate::context::{Context, Kind};
use crate::{Result, Scenario};

const CHANGE: Duration = Duration::from_secs(120);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("profile::the_whole_story_on_a_release_with_every_other_name", |c| {
            Box::pin(story(c))
        }),
        Scenario::new("profile::a_wrong_profile_is_told_with_its_key_and_nothing_is_sent", |c| {
            Box::pin(wrong(c))
        }),
    ]
}

/// The release of `crds/samples/api-profile.yaml`, as the simulated members speak it.
fn spoken() -> Value {
    json!({
        "release": "9.9.9",
        "adminBase": "/admin/v9",
        "paths": {
            "tasks": "/jobs",
            "taskStatus": "/jobs/{id}/state",
            "cancelTask": "/jobs/{id}/stop",
            "group": "/nodes",
            "grids": "/maps",
            "grid": "/maps/{name}",
            "gridTemplates": "/patterns",
            "gridTemplate": "/patterns/{name}",
            "apiDocs": "/docs",
        },
        "commands": {
            "join": "EnterJoinJob", "disjoin": "LeaveDisjoinJob", "restart": "AgainJob",
            "replicate": "CopyJob", "promote": "RaiseJob",
        },
        "taskIdKey": "ticket",
        "wire": {
            "parameters": {
                "join": {
                    "secretKey": "groupKey", "memberName": "newcomer",
                    "cacheMemberGroupHost": "via", "isCatalog": "withCatalog",
                },
                "disjoin": {"memberName": "leaver"},
                "restart": {"memberName": "whom", "restartGridServers": "withGrids"},
                "replicate": {"slaveMemberName": "copyHolder"},
                "promote": {"memberName": "heir"},
            },
            "group": {"cacheMemberGroupName": "cluster", "members": "nodes", "stale": "outdated"},
            "member": {
                "memberName": "node", "hostName": "fqdn", "ipAddress": "ip", "status": "state",
                "capacity": "gigabytes", "usedCapacity": "megabytesHeld", "isCatalog": "hasCatalog", "isPrimary": "leads",
                "replicationRole": "part",
            },
            "task": {
                "taskId": "number", "command": "job", "description": "note", "status": "state",
                "progress": "percent", "message": "says", "memberName": "node",
                "startTime": "since",
            },
            "grid": {"gridName": "map", "status": "state"},
            "template": {"objectGridXml": "grids", "deploymentPolicyXml": "policy"},
            "memberWords": {
                "Online": "Up", "Starting": "Booting", "Stopped": "Down", "Unreachable": "Gone",
            },
            "taskWords": {"Running": "Busy", "Success": "Fine", "Failed": "Bad"},
            "gridWords": {"Created": "Made", "Online": "Serving", "Error": "Broken"},
            "replicationWords": {"master": "first", "slave": "second", "none": "nothing"},
            "taskStatusUnavailable": "Nobody knows",
        },
    })
}

async fn profile(c: &Context, text: String) -> Result {
    let map = json!({"metadata": {"name": "release"}, "data": {"profile.yaml": text}});
    c.apply(Kind::ConfigMap, map).await.map(drop)
}

async fn story(c: &Context) -> Result {
    let release: Profile = serde_json::from_value(spoken())?;
    c.speak(release);
    for ordinal in 0..3 {
        let behave = json!({"fault": "behave", "profile": spoken()});
        c.fault(&format!("c-{ordinal}"), behave).await?;
    }
    c.apply_file("crds/samples/api-profile.yaml").await?;
    c.create_with("c", 2, json!({"apiProfileConfigMap": "other-release"})).await?;
    c.ready("c", 2, 3 * MINUTE).await?;
    let document = |text: &str| json!({"inline": text});
    let template = json!({"metadata": {"name": "t"}, "spec": {
        "objectGridXml": document("<a/>"), "deploymentPolicyXml": document("<b/>"),
    }});
    c.apply(Kind::Template, template).await?;
    let grid = json!({"metadata": {"name": "g"}, "spec": {
        "gridType": "Custom", "templateRef": {"name": "t"},
    }});
    c.apply(Kind::Grid, grid).await?;
    c.grid_online("g", CHANGE).await?;
    ensure!(c.ask("c-0", "/grid/g").await?["templateName"] == "t", "another template");
    c.resize("c", 3).await?;
    c.ready("c", 3, 2 * CHANGE).await?;
    c.resize("c", 1).await?;
    c.ready("c", 1, 2 * CHANGE).await?;
    let former = c.calls()?.into_iter().find(|call| call.path.starts_with("/wxsadmin/v1"));
    ensure!(former.is_none(), "a path of another release was asked: {former:?}");
    c.delete(Kind::Grid, "g").await?;
    c.gone(Kind::Grid, "g", CHANGE).await?;
    c.delete(Kind::Template, "t").await?;
    c.gone(Kind::Template, "t", CHANGE).await?;
    c.delete(Kind::Cache, "c").await?;
    c.gone(Kind::Cache, "c", 2 * MINUTE).await
}

fn told(object: &Value, text: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| {
        let message = condition["message"].as_str().unwrap_or_default();
        condition["reason"] == "ProfileInvalid" && message.contains(text)
    })
}

async fn wrong(c: &Context) -> Result {
    let cases = [
        ("paths: {task: /task}", "task"),
        ("paths: {tasks: task}", "paths.tasks: must begin with /"),
        ("commands: {join: {secretKey: isCatalog}}", "commands.join.catalog"),
    ];
    profile(c, cases[0].0.to_owned()).await?;
    c.create_with("c", 1, json!({"apiProfileConfigMap": "release"})).await?;
    for (text, place) in cases {
        profile(c, text.to_owned()).await?;
        c.wait_for(Kind::Cache, "c", place, CHANGE, |cache| told(cache, place)).await?;
    }
    ensure!(c.calls()?.is_empty(), "something was sent: {:?}", c.calls()?);
    profile(c, "release: 8.6.1.3".to_owned()).await?;
    c.ready("c", 1, 2 * MINUTE).await
}
