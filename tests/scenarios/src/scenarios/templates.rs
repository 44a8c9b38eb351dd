//! Grid templates: uploaded, waited for, changed behind the operator's back, refused and deleted.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use crate::context::{Context, Kind, OperatorOptions, Seen, condition};
use crate::kill::{Kill, Moment};
use crate::{Result, Scenario};

const CHANGE: Duration = Duration::from_secs(90);

const POLICY: &str = "<deploymentPolicy><mapSet name=\"orders\"/></deploymentPolicy>";

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new("templates::a_grid_waits_for_its_template_and_both_go_in_order", |c| {
            Box::pin(life(c))
        }),
        Scenario::new("templates::changed_documents_and_drift_are_uploaded_again", |c| {
            Box::pin(changes(c))
        }),
        Scenario::new("templates::what_is_not_xml_is_told_and_never_sent", |c| Box::pin(wrong(c))),
        Scenario::new("templates::documents_may_stand_in_config_maps", |c| Box::pin(maps(c))),
        Scenario::new("templates::one_that_cannot_be_read_stops_only_its_own_grids", |c| {
            Box::pin(unreadable(c))
        }),
        Scenario::new("templates::a_selector_chooses_caches_by_label", |c| Box::pin(selector(c))),
    ];
    for step in ["upload_template", "delete_template"] {
        for moment in [Moment::Unsent, Moment::Unanswered] {
            let kill = Kill::at(step, moment);
            let name = format!("templates::{step}_survives_a_kill/{}", moment.word());
            all.push(Scenario::new(name, move |c| Box::pin(killed(c, kill))));
        }
    }
    all
}

async fn with_cache(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, 2 * MINUTE).await
}

fn descriptor(timeout: u32) -> String {
    format!(
        "<objectGridConfig><objectGrid name=\"orders\" txTimeout=\"{timeout}\"/></objectGridConfig>"
    )
}

pub(super) fn template(more: Value) -> Value {
    let mut object = json!({
        "metadata": {"name": "orders"},
        "spec": {
            "objectGridXml": {"inline": descriptor(30)},
            "deploymentPolicyXml": {"inline": POLICY},
        }
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object
}

fn grid() -> Value {
    json!({"metadata": {"name": "g"}, "spec": {
        "numPartition": 3, "gridType": "Custom", "templateRef": {"name": "orders"},
    }})
}

async fn uploaded(c: &Context) -> Result<Value> {
    c.wait_condition(Kind::Template, "orders", ("Ready", "True", "Uploaded"), CHANGE).await
}

/// The descriptor that the group has.
async fn live(c: &Context, pod: &str) -> Result<Value> {
    Ok(c.ask(pod, "/gridTemplate/orders").await?["objectGridXml"].clone())
}

fn message(object: &Value, kind: &str) -> String {
    condition(object, kind).map(|it| it["message"].to_string()).unwrap_or_default()
}

async fn life(c: &Context) -> Result {
    with_cache(c).await?;
    c.apply(Kind::Grid, grid()).await?;
    let waits = ("Ready", "False", "TemplateMissing");
    let waiting = c.wait_condition(Kind::Grid, "g", waits, CHANGE).await?;
    ensure!(message(&waiting, "Ready").contains("orders"), "{}", message(&waiting, "Ready"));
    ensure!(c.count("grid_create_started", "")? == 0, "the grid did not wait");
    c.apply(Kind::Template, template(json!({}))).await?;
    let ready = uploaded(c).await?;
    let uploads = &ready["status"]["uploads"];
    ensure!(uploads[0]["cache"] == "c" && uploads[0]["digest"].is_string(), "{uploads}");
    c.grid_online("g", CHANGE).await?;
    ensure!(c.ask("c-0", "/grid/g").await?["templateName"] == "orders", "another template");
    // A template that a grid is made from stays, and says why.
    c.delete(Kind::Template, "orders").await?;
    let used = ("Deferred", "True", "TemplateInUse");
    let used = c.wait_condition(Kind::Template, "orders", used, CHANGE).await?;
    ensure!(message(&used, "Deferred").contains("grid g"), "{}", message(&used, "Deferred"));
    ensure!(live(c, "c-0").await?.is_string(), "a template in use is gone");
    c.delete(Kind::Grid, "g").await?;
    c.gone(Kind::Grid, "g", CHANGE).await?;
    c.gone(Kind::Template, "orders", CHANGE).await?;
    ensure!(live(c, "c-0").await.is_err(), "the template is still in the group");
    ensure!(c.count("template_stored", "")? == 1, "uploaded more than once");
    ensure!(c.count("template_deleted", "")? == 1, "deleted more than once");
    Ok(())
}

async fn changes(c: &Context) -> Result {
    c.allow(|allowed| allowed.foreign_tasks = true);
    with_cache(c).await?;
    c.apply(Kind::Template, template(json!({}))).await?;
    let first = uploaded(c).await?["status"]["uploads"][0]["digest"].clone();
    let other = json!({"spec": {"objectGridXml": {"inline": descriptor(60)}}});
    c.patch(Kind::Template, "orders", other).await?;
    c.wait_for(Kind::Template, "orders", "the other digest", CHANGE, |template| {
        let digest = &template["status"]["uploads"][0]["digest"];
        digest.is_string() && *digest != first
    })
    .await?;
    uploaded(c).await?;
    ensure!(live(c, "c-0").await? == descriptor(60).as_str(), "the group has the former one");
    // Somebody changes it in the console: it is noticed, and set back with a reason of its own.
    let theirs = json!({"objectGridXml": "<theirs/>", "deploymentPolicyXml": POLICY});
    c.put("c-0", "/gridTemplate/orders", theirs).await?;
    c.wait("the drift to be corrected", CHANGE, async || {
        let told = live(c, "c-0").await?;
        Ok(Seen::when(told == descriptor(60).as_str(), || told.to_string()))
    })
    .await?;
    uploaded(c).await?;
    let reasons = c.records()?.into_iter().filter(|record| {
        matches!(&record.event, xsld_journal::event::Event::OperationBegun { cause, .. }
            if cause.reason.contains("changed by somebody else"))
    });
    ensure!(reasons.count() == 1, "the drift has no reason of its own in the journal");
    Ok(())
}

async fn wrong(c: &Context) -> Result {
    with_cache(c).await?;
    let broken = json!({"objectGridXml": {"inline": "<a><b></a>"}});
    c.apply(Kind::Template, template(broken)).await?;
    let told = ("Ready", "False", "TemplateInvalid");
    let told = c.wait_condition(Kind::Template, "orders", told, CHANGE).await?;
    let text = message(&told, "Ready");
    ensure!(text.contains("spec.objectGridXml") && text.contains("well-formed"), "{text}");
    let outside = "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>";
    let outside = json!({"spec": {"objectGridXml": {"inline": outside}}});
    c.patch(Kind::Template, "orders", outside).await?;
    c.wait_for(Kind::Template, "orders", "the DTD to be refused", CHANGE, |template| {
        message(template, "Ready").contains("DTD")
    })
    .await?;
    c.apply(Kind::Grid, grid()).await?;
    let waits = ("Ready", "False", "TemplateMissing");
    c.wait_condition(Kind::Grid, "g", waits, CHANGE).await?;
    ensure!(c.count("template_stored", "")? == 0, "it was sent");
    // Mended, both come up.
    let mended = json!({"spec": {"objectGridXml": {"inline": descriptor(30)}}});
    c.patch(Kind::Template, "orders", mended).await?;
    uploaded(c).await?;
    c.grid_online("g", CHANGE).await
}

async fn maps(c: &Context) -> Result {
    with_cache(c).await?;
    let from_map =
        json!({"objectGridXml": {"configMapRef": {"name": "documents", "key": "a.xml"}}});
    c.apply(Kind::Template, template(from_map)).await?;
    let missing = ("Ready", "False", "ConfigMapMissing");
    c.wait_condition(Kind::Template, "orders", missing, CHANGE).await?;
    let map = |text: String| json!({"metadata": {"name": "documents"}, "data": {"a.xml": text}});
    c.apply(Kind::ConfigMap, map(descriptor(30))).await?;
    uploaded(c).await?;
    ensure!(live(c, "c-0").await? == descriptor(30).as_str(), "another document");
    c.apply(Kind::ConfigMap, map(descriptor(90))).await?;
    c.wait("the changed document", CHANGE, async || {
        let told = live(c, "c-0").await?;
        Ok(Seen::when(told == descriptor(90).as_str(), || told.to_string()))
    })
    .await
}

/// A Role that lets the operator work, and get no ConfigMap but those.
fn role(maps: &[&str]) -> Value {
    let of_others = [
        "xsld.ibm.com",
        "apps",
        "policy",
        "networking.k8s.io",
        "events.k8s.io",
        "coordination.k8s.io",
    ];
    let core = ["pods", "persistentvolumeclaims", "services", "secrets", "events"];
    json!({"metadata": {"name": "narrow"}, "rules": [
        {"apiGroups": of_others, "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": core, "verbs": ["*"]},
        // Whose journal it is.
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["configmaps"],
            "verbs": ["list", "watch", "create", "patch", "update"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"],
            "resourceNames": maps},
    ]})
}

async fn unreadable(c: &Context) -> Result {
    const OWN: [&str; 2] = ["xsld-operator-journal", "c-entrypoint"];
    with_cache(c).await?;
    let narrow = c.person("narrow", &[]).await?;
    c.apply(Kind::Role, role(&OWN)).await?;
    c.kill_operator().await?;
    let kubeconfig = Some(narrow.kubeconfig);
    c.start_operator_with(&OperatorOptions { kubeconfig, ..OperatorOptions::default() }).await?;
    let map = json!({"metadata": {"name": "documents"}, "data": {"a.xml": descriptor(30)}});
    c.apply(Kind::ConfigMap, map).await?;
    let from_map =
        json!({"objectGridXml": {"configMapRef": {"name": "documents", "key": "a.xml"}}});
    let mut closed = template(from_map);
    closed["metadata"]["name"] = json!("closed");
    c.apply(Kind::Template, closed).await?;
    let mut waits = grid();
    waits["metadata"]["name"] = json!("h");
    waits["spec"]["templateRef"]["name"] = json!("closed");
    c.apply(Kind::Grid, waits).await?;
    let refused = ("Ready", "False", "ReadRefused");
    let cache = c.wait_condition(Kind::Cache, "c", refused, CHANGE).await?;
    ensure!(message(&cache, "Ready").contains("ConfigMap documents"), "{cache}");
    let told = c.wait_condition(Kind::Grid, "h", ("Ready", "False", "NotObserved"), CHANGE).await?;
    ensure!(message(&told, "Ready").contains("ConfigMap documents"), "{told}");
    // The others go on, and are told.
    c.apply(Kind::Template, template(json!({}))).await?;
    c.apply(Kind::Grid, grid()).await?;
    c.create_grid("i", json!({})).await?;
    c.grid_online("g", CHANGE).await?;
    c.grid_online("i", CHANGE).await?;
    c.delete(Kind::Grid, "i").await?;
    c.gone(Kind::Grid, "i", CHANGE).await?;
    c.apply(Kind::Role, role(&[OWN[0], OWN[1], "documents"])).await?;
    c.grid_online("h", CHANGE).await?;
    c.ready("c", 1, MINUTE).await
}

async fn selector(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.create("d", 1).await?;
    let labels = |tier: &str| json!({"metadata": {"labels": {"tier": tier}}});
    c.patch(Kind::Cache, "c", labels("front")).await?;
    c.patch(Kind::Cache, "d", labels("back")).await?;
    c.ready("c", 1, 2 * MINUTE).await?;
    c.ready("d", 1, 2 * MINUTE).await?;
    let selected = json!({"cacheSelector": {"matchLabels": {"tier": "front"}}});
    c.apply(Kind::Template, template(selected)).await?;
    uploaded(c).await?;
    ensure!(live(c, "c-0").await.is_ok() && live(c, "d-0").await.is_err(), "not where selected");
    // The label moves to the other cache, and the template with it.
    c.patch(Kind::Cache, "d", labels("front")).await?;
    c.patch(Kind::Cache, "c", labels("back")).await?;
    c.wait_for(Kind::Template, "orders", "the other cache", CHANGE, |template| {
        let uploads = template["status"]["uploads"].as_array();
        uploads.is_some_and(|all| all.len() == 1 && all[0]["cache"] == "d")
    })
    .await?;
    ensure!(live(c, "d-0").await.is_ok() && live(c, "c-0").await.is_err(), "it did not move");
    // A cache that is deleted holds up no template.
    c.delete(Kind::Cache, "d").await?;
    c.gone(Kind::Cache, "d", MINUTE).await?;
    c.delete(Kind::Template, "orders").await?;
    c.gone(Kind::Template, "orders", CHANGE).await
}

async fn killed(c: &Context, kill: Kill) -> Result {
    with_cache(c).await?;
    let apply = async { c.apply(Kind::Template, template(json!({}))).await.map(drop) };
    if kill.step == "upload_template" {
        c.killed_during("c", kill, apply).await?;
    } else {
        apply.await?;
    }
    uploaded(c).await?;
    ensure!(live(c, "c-0").await? == descriptor(30).as_str(), "another document");
    if kill.step == "delete_template" {
        c.killed_during("c", kill, c.delete(Kind::Template, "orders")).await?;
        c.gone(Kind::Template, "orders", CHANGE).await?;
        ensure!(live(c, "c-0").await.is_err(), "the template is still in the group");
    }
    for effect in ["template_stored", "template_deleted"] {
        let count = c.count(effect, "")?;
        ensure!(count <= 1, "{count} times {effect}");
    }
    Ok(())
}
