//! What a person, a tool or an admission policy changes on the objects of a cache: it is told, set
//! back or taken up in order, and neither fought for ever nor left to reach the pods one by one.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use super::roll::{MEMBER, NEW, committed, has_data, order, rolled, set_image, uids, with_data};
use crate::context::{Change, Context, IMAGE, Kind, Seen, condition, is_true};
use crate::kill::{Kill, Moment};
use crate::{Result, Scenario};

/// The pod template of a StatefulSet.
const TEMPLATE: &str = "/spec/template";

/// What a policy takes for the cache's image.
const MIRROR: &str = "ibmcom/xsld-mirror:";
/// And what it takes it for.
const ORIGIN: &str = "ibmcom/xsld:";

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new("edits::what_a_person_changes_on_the_set_is_set_back_and_told", |c| {
            Box::pin(by_a_person(c))
        }),
        Scenario::new("edits::a_tool_that_changes_the_same_again_is_left_alone_and_told", |c| {
            Box::pin(by_a_tool(c))
        }),
        Scenario::new("edits::what_a_policy_makes_of_each_write_is_taken_up_in_order", |c| {
            Box::pin(by_a_policy(c))
        }),
        Scenario::new("edits::what_a_policy_makes_of_each_pod_is_nobodys_business", |c| {
            Box::pin(of_pods(c))
        }),
        Scenario::new("edits::other_objects_keep_what_is_added_and_not_what_is_changed", |c| {
            Box::pin(of_a_service(c))
        }),
    ];
    for moment in [None, Some(Moment::Intended), Some(Moment::Running)] {
        let word = moment.map_or("at_rest", Moment::word);
        let name = format!("edits::a_pod_that_took_one_up_survives_a_kill/{word}");
        all.push(Scenario::new(name, move |c| Box::pin(taken_up(c, moment))));
    }
    all
}

/// Changes an object as a tool with this name does.
async fn change(c: &Context, by: &str, (kind, name): (Kind, &str), change: &Value) -> Result {
    let params = PatchParams { field_manager: Some(by.to_owned()), ..PatchParams::default() };
    c.api(kind).patch(name, &params, &Patch::Strategic(change)).await?;
    Ok(())
}

/// Changes the StatefulSet as kubectl does, where the machine has one.
async fn by_kubectl(c: &Context, words: &[&str], otherwise: &Value) -> Result {
    match c.kubectl(words).await? {
        Some(said) => ensure!(said.success, "kubectl {words:?}: {}", said.stderr),
        None => change(c, "kubectl", (Kind::StatefulSet, "c"), otherwise).await?,
    }
    Ok(())
}

async fn template(c: &Context) -> Result<Value> {
    let set = c.get(Kind::StatefulSet, "c").await?;
    Ok(set.pointer(TEMPLATE).cloned().unwrap_or_default())
}

/// Waits until the pod template is this one, and somebody's change was told with these words.
async fn set_back(c: &Context, former: &Value, words: &[&str]) -> Result {
    c.wait("the pod template to be set back", MINUTE, async || {
        let now = template(c).await?;
        Ok(Seen::when(now == *former, || now.to_string()))
    })
    .await?;
    c.wait(&format!("an Event with {words:?}"), MINUTE, async || {
        let events = c.history.of(Kind::Event).into_iter();
        let notes = events.filter(|change| change.object["reason"] == "ForeignEdit");
        let notes: Vec<String> = notes.map(|change| change.object["note"].to_string()).collect();
        let told = notes.iter().any(|note| words.iter().all(|word| note.contains(word)));
        Ok(Seen::when(told, || format!("{notes:?}")))
    })
    .await
}

fn env(name: &str, value: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [
        {"name": "xsld", "env": [{"name": name, "value": value}]}]}}}})
}

async fn generation(c: &Context) -> Result<u64> {
    let set = c.get(Kind::StatefulSet, "c").await?;
    set["metadata"]["generation"].as_u64().context("no generation")
}

async fn by_a_person(c: &Context) -> Result {
    with_data(c, 2, json!({})).await?;
    let (former, before, first) = (template(c).await?, uids(c).await?, generation(c).await?);
    let restarted = json!({"spec": {"template": {"metadata": {"annotations": {
        "kubectl.kubernetes.io/restartedAt": "2026-11-29T13:00:00Z"}}}}});
    by_kubectl(c, &["rollout", "restart", "statefulset/c"], &restarted).await?;
    set_back(c, &former, &["kubectl", "restartedAt", "spec.pod.annotations"]).await?;
    let debug = env("DEBUG", "1");
    by_kubectl(c, &["set", "env", "statefulset/c", "DEBUG=1"], &debug).await?;
    set_back(c, &former, &["kubectl", "env[DEBUG]", "spec.pod.env"]).await?;
    let image = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "xsld", "image": "ibmcom/xsld:9"}]}}}});
    by_kubectl(c, &["set", "image", "statefulset/c", "xsld=ibmcom/xsld:9"], &image).await?;
    set_back(c, &former, &["kubectl", "containers[xsld].image", "spec.image"]).await?;
    let rolling =
        json!({"spec": {"updateStrategy": {"type": "RollingUpdate"}, "minReadySeconds": 7}});
    change(c, "tool", (Kind::StatefulSet, "c"), &rolling).await?;
    // What the operator owns itself is set back by one write, what was added by another.
    for place in ["spec.updateStrategy", "spec.minReadySeconds"] {
        set_back(c, &former, &["tool", place]).await?;
    }
    let set = c.get(Kind::StatefulSet, "c").await?;
    ensure!(set["spec"]["updateStrategy"]["type"] == "OnDelete", "{}", set["spec"]);
    ensure!(set["spec"]["minReadySeconds"].as_u64().unwrap_or(0) == 0, "{}", set["spec"]);
    // Each change is one generation, and setting it back two at most.
    let writes = generation(c).await? - first;
    ensure!(writes <= 12, "the StatefulSet was written {writes} times for four changes");
    c.ready("c", 2, MINUTE).await?;
    ensure!(uids(c).await? == before, "a pod was made anew");
    ensure!(order(c)?.is_empty(), "a member was rolled");
    has_data(c).await
}

/// Three times the same is set back, then it stands, and a person is asked.
async fn by_a_tool(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.entries_are_lost("its only member is rolled");
    let (former, before) = (template(c).await?, uids(c).await?);
    let edit = env("TOOL", "on");
    for _ in 0..3 {
        change(c, "tool", (Kind::StatefulSet, "c"), &edit).await?;
        set_back(c, &former, &["tool", "env[TOOL]"]).await?;
    }
    change(c, "tool", (Kind::StatefulSet, "c"), &edit).await?;
    let asked = ("NeedsAttention", "True", "NotConverging");
    let cache = c.wait_condition(Kind::Cache, "c", asked, MINUTE).await?;
    let message = condition(&cache, "NeedsAttention").map(|found| found["message"].to_string());
    let message = message.unwrap_or_default();
    ensure!(message.contains("tool") && message.contains("env[TOOL]"), "{message}");
    let stands = generation(c).await?;
    // What it waits for is a person: a roll that is asked for meanwhile deletes no pod.
    set_image(c, NEW).await?;
    c.wait_condition(Kind::Cache, "c", ("Progressing", "True", "NotConverging"), MINUTE).await?;
    ensure!(uids(c).await? == before, "a pod was made from what the tool wrote");
    // The new image is the one write since, and the tool's own is not fought.
    let writes = generation(c).await? - stands;
    ensure!(writes <= 2, "the StatefulSet was written {writes} times while it is left alone");
    // Another operator knows nothing of it, and tries anew.
    c.kill_operator().await?;
    c.start_operator().await?;
    rolled(c, 1, NEW).await?;
    ensure!(!template(c).await?.to_string().contains("TOOL"), "what the tool wrote stays");
    Ok(())
}

/// A pod dies while nobody looks, and takes up what somebody changed. The operator that comes sets
/// that back and puts this pod right, and no other one.
async fn taken_up(c: &Context, moment: Option<Moment>) -> Result {
    with_data(c, 3, json!({})).await?;
    let (former, before) = (template(c).await?, uids(c).await?);
    c.kill_operator().await?;
    change(c, "kubectl-set", (Kind::StatefulSet, "c"), &env("DEBUG", "1")).await?;
    c.delete(Kind::Pod, "c-1").await?;
    let debugs =
        |pod: &Value| pod["metadata"]["uid"] != before["c-1"] && pod.to_string().contains("DEBUG");
    c.wait_for(Kind::Pod, "c-1", "made from the edit", MINUTE, debugs).await?;
    let armed = match moment {
        Some(moment) => Some(c.arm("c", Kill::at("roll_member", moment)).await?),
        None => None,
    };
    c.start_operator().await?;
    if let Some(armed) = armed {
        armed.strike().await?;
        c.start_operator().await?;
    }
    set_back(c, &former, &["kubectl-set", "env[DEBUG]"]).await?;
    c.wait_for(Kind::Pod, "c-1", "made anew as committed", 3 * MEMBER, |pod| {
        !pod.is_null()
            && pod["metadata"]["deletionTimestamp"].is_null()
            && !pod.to_string().contains("DEBUG")
    })
    .await?;
    rolled(c, 3, IMAGE).await?;
    let after = uids(c).await?;
    ensure!(after["c-0"] == before["c-0"] && after["c-2"] == before["c-2"], "others were rolled");
    ensure!(order(c)?.iter().all(|name| name == "c-1"), "rolled: {:?}", order(c)?);
    has_data(c).await
}

fn admission(kind: &str, plural: &str) -> ApiResource {
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    ApiResource::from_gvk_with_plural(&kind, plural)
}

/// A policy that rewrites the objects of this kind in the scenario's namespace at each write.
async fn rewrite(
    c: &Context,
    (group, resource): (&str, &str),
    condition: &str,
    to: &str,
) -> Result {
    let name = c.namespace.clone();
    let only_here = json!({"matchLabels": {"kubernetes.io/metadata.name": name}});
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConstraints": {"namespaceSelector": only_here, "resourceRules": [{
                "apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": [resource],
            }]},
            "matchConditions": [{"name": "once", "expression": condition}],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": to}}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": {"policyName": name},
    });
    let params = PatchParams::apply("scenario").force();
    for (kind, plural, object) in [
        ("MutatingAdmissionPolicy", "mutatingadmissionpolicies", policy),
        ("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", binding),
    ] {
        let api: Api<DynamicObject> = Api::all_with(c.client(), &admission(kind, plural));
        api.patch(&name, &params, &Patch::Apply(&object)).await?;
    }
    Ok(())
}

async fn no_policy(c: &Context) -> Result {
    for (kind, plural) in [
        ("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
        ("MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
    ] {
        let api: Api<DynamicObject> = Api::all_with(c.client(), &admission(kind, plural));
        api.delete(&c.namespace, &DeleteParams::default()).await?;
    }
    Ok(())
}

async fn images(c: &Context) -> Result<BTreeMap<String, String>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pods = c.list(Kind::Pod).await?;
    let image = |pod: &Value| text(&pod["spec"]["containers"][0]["image"]);
    Ok(pods.iter().map(|pod| (text(&pod["metadata"]["name"]), image(pod))).collect())
}

/// The API server takes images from a mirror in every StatefulSet that is written. Somebody writes a
/// note on the cache's: the mutated template is taken up in order, told, and never written again.
async fn by_a_policy(c: &Context) -> Result {
    with_data(c, 2, json!({})).await?;
    let image = "object.spec.template.spec.containers[0].image";
    let path = "/spec/template/spec/containers/0/image";
    let value = format!("{image}.replace('{ORIGIN}', '{MIRROR}')");
    let to = format!("[JSONPatch{{op: 'replace', path: '{path}', value: {value}}}]");
    let once = format!("{image}.startsWith('{ORIGIN}')");
    rewrite(c, ("apps", "statefulsets"), &once, &to).await?;
    let note = json!({"metadata": {"annotations": {"shop.test/note": "1"}}});
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    c.wait("the policy to take effect", MINUTE, async || {
        let written = c.api(Kind::StatefulSet).patch("c", &dry, &Patch::Merge(&note)).await?;
        let written = serde_json::to_value(written)?;
        let image = written.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Seen::when(image.starts_with(MIRROR), || image))
    })
    .await?;
    change(c, "tool", (Kind::StatefulSet, "c"), &note).await?;
    let told = ("Deferred", "True", "ForeignEdit");
    let cache = c.wait_condition(Kind::Cache, "c", told, MINUTE).await?;
    let message = condition(&cache, "Deferred").map(|found| found["message"].to_string());
    ensure!(message.unwrap_or_default().contains("containers[xsld].image"), "{cache}");
    let mirrored = |image: &str| image.replace(ORIGIN, MIRROR);
    rolled(c, 2, &mirrored(IMAGE)).await?;
    ensure!(order(c)? == ["c-1", "c-0"], "taken up in the order {:?}", order(c)?);
    ensure!(generation(c).await? <= 3, "it is fought: {}", generation(c).await?);
    // A new image is a roll like any other.
    set_image(c, NEW).await?;
    rolled(c, 2, &mirrored(NEW)).await?;
    ensure!(order(c)?.len() == 4, "{:?}", order(c)?);
    let cache = c.wait_condition(Kind::Cache, "c", told, MINUTE).await?;
    ensure!(is_true(&cache, "Ready", None) && !is_true(&cache, "NeedsAttention", None), "{cache}");
    has_data(c).await?;
    no_policy(c).await
}

/// Mirrors and injectors mostly work on pods: those differ from their template, and that is all.
async fn of_pods(c: &Context) -> Result {
    let image = "object.spec.containers[0].image";
    let to = format!(
        "[JSONPatch{{op: 'replace', path: '/spec/containers/0/image', \
         value: {image}.replace('{ORIGIN}', '{MIRROR}')}}, JSONPatch{{op: 'add', path: '/metadata/annotations/injected', value: 'yes'}}]"
    );
    let once = format!("{image}.startsWith('{ORIGIN}')");
    rewrite(c, ("", "pods"), &once, &to).await?;
    with_data(c, 2, json!({})).await?;
    set_image(c, NEW).await?;
    let wanted = NEW.replace(ORIGIN, MIRROR);
    c.wait("both members on the mirror's image", 4 * MEMBER, async || {
        let found = images(c).await?;
        let all = found.len() == 2 && found.values().all(|image| *image == wanted);
        Ok(Seen::when(all, || format!("{found:?}")))
    })
    .await?;
    c.ready("c", 2, 2 * MEMBER).await?;
    ensure!(order(c)? == ["c-1", "c-0"], "rolled in the order {:?}", order(c)?);
    ensure!(committed(c).await? == NEW, "the template is another one");
    let cache = c.get(Kind::Cache, "c").await?;
    ensure!(!is_true(&cache, "Deferred", None), "{cache}");
    has_data(c).await?;
    no_policy(c).await
}

/// A Service keeps the annotation of a load balancer and a port of somebody's; a changed selector
/// would lead clients astray.
async fn of_a_service(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    let added = json!({"metadata": {"annotations": {"cloud.test/balancer": "7"}},
        "spec": {"ports": [{"name": "extra", "port": 7, "protocol": "TCP"}]}});
    let service = (Kind::Service, "c-client");
    change(c, "cloud", service, &added).await?;
    change(c, "kubectl-edit", service, &json!({"spec": {"selector": {"app": "shop"}}})).await?;
    c.wait_for(Kind::Service, "c-client", "its own selector", MINUTE, |service| {
        service["spec"]["selector"]["app"] == "c"
    })
    .await?;
    let told = |change: &Change| {
        let note = change.object["note"].as_str().unwrap_or_default();
        change.object["reason"] == "ForeignEdit"
            && ["kubectl-edit", "Service c-client", "spec.selector"]
                .iter()
                .all(|it| note.contains(it))
    };
    c.wait("it to be told", MINUTE, async || {
        let told = c.history.of(Kind::Event).iter().any(told);
        Ok(Seen::when(told, || "no Event yet".to_owned()))
    })
    .await?;
    let service = c.get(Kind::Service, "c-client").await?;
    ensure!(service["metadata"]["annotations"]["cloud.test/balancer"] == "7", "{service}");
    let ports = service["spec"]["ports"].as_array().context("no ports")?;
    ensure!(ports.iter().any(|port| port["name"] == "extra"), "{service}");
    c.ready("c", 1, MINUTE).await
}
