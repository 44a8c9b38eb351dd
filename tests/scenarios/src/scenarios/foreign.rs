//! Objects of somebody else that bear a cache's names: nothing of them is touched, and it is told.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use kube::discovery::{Discovery, Scope, verbs};
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use super::scale::CHANGE;
use crate::context::{Context, IMAGE, Kind, condition, is_true};
use crate::{Result, Scenario};

/// Another image of the cache.
const NEW: &str = "ibmcom/xsld:8614";

/// The cache that tells what is made for a cache. Nothing else has this word in it.
const MODEL: &str = "zebra";

/// The cache for which all names are taken that it can do without.
const REST: &str = "rest";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("foreign::no_object_of_anybody_else_is_ever_touched", |c| {
            Box::pin(never_touched(c))
        })
        .lasting(Duration::from_secs(600))
        .without_entries("its members end"),
        Scenario::new("foreign::a_pod_or_a_volume_of_anybody_else_is_no_member", |c| {
            Box::pin(no_member(c))
        }),
        Scenario::new("foreign::of_two_caches_that_need_one_name_the_later_is_told", |c| {
            Box::pin(two_caches(c))
        })
        .without_entries("its caches come and go"),
    ]
}

/// An object that somebody else made, as it was then.
struct Foreign {
    resource: ApiResource,
    name: String,
    /// The cache that would need the name.
    cache: String,
    before: Value,
}

/// What somebody wrote of an object: what controllers report of it is not theirs to keep.
fn written(object: &DynamicObject) -> Result<Value> {
    let mut object = serde_json::to_value(object)?;
    let mut without = |at: &str, field: &str| {
        object.pointer_mut(at).and_then(Value::as_object_mut).map(|found| found.remove(field))
    };
    without("", "status");
    without("/metadata", "resourceVersion");
    if let Some(managers) = object.pointer_mut("/metadata/managedFields")
        && let Some(managers) = managers.as_array_mut()
    {
        managers.retain(|manager| manager["subresource"] != "status");
    }
    Ok(object)
}

impl Foreign {
    fn is(&self) -> String {
        format!("{} {}", self.resource.kind, self.name)
    }

    fn api(&self, c: &Context) -> Api<DynamicObject> {
        Api::namespaced_with(c.client(), &c.namespace, &self.resource)
    }

    async fn is_untouched(&self, c: &Context, when: &str) -> Result {
        let now = self.api(c).get_opt(&self.name).await?;
        let now = now.with_context(|| format!("{} is gone {when}", self.is()))?;
        let now = written(&now)?;
        ensure!(now == self.before, "{when} {} is {now}\nand was {}", self.is(), self.before);
        Ok(())
    }
}

/// Everything whose controller is this cache, of whatever kind.
async fn made_for(c: &Context, cache: &str) -> Result<Vec<(ApiResource, DynamicObject)>> {
    let owner = c.get(Kind::Cache, cache).await?;
    let owner = owner["metadata"]["uid"].as_str().context("there is no such cache")?.to_owned();
    let mut made = Vec::new();
    for group in Discovery::new(c.client()).run().await?.groups() {
        for (resource, can) in group.recommended_resources() {
            if can.scope != Scope::Namespaced || !can.supports_operation(verbs::LIST) {
                continue;
            }
            let api: Api<DynamicObject> = Api::namespaced_with(c.client(), &c.namespace, &resource);
            for object in api.list(&ListParams::default()).await?.items {
                let owners = object.metadata.owner_references.iter().flatten();
                let controller = owners.into_iter().find(|owner| owner.controller == Some(true));
                if controller.is_some_and(|controller| controller.uid == owner) {
                    made.push((resource.clone(), object));
                }
            }
        }
    }
    Ok(made)
}

/// The same object for somebody else, with a name that a cache needs.
async fn foreign(
    c: &Context,
    (resource, object): &(ApiResource, DynamicObject),
    cache: &str,
) -> Result<Foreign> {
    let theirs = |word: &str| word.replace(MODEL, cache);
    let name = theirs(object.metadata.name.as_deref().unwrap_or_default());
    let mut body = object.data.clone();
    for made_up in ["/status", "/spec/clusterIP", "/spec/clusterIPs", "/spec/ipFamilies"] {
        let (parent, field) = made_up.rsplit_once('/').unwrap_or_default();
        if let Some(parent) = body.pointer_mut(parent).and_then(Value::as_object_mut) {
            let headless = parent.get(field).is_some_and(|it| *it == "None");
            let _ = if headless { None } else { parent.remove(field) };
        }
    }
    // It is about something else: nothing in it means the members of this cache.
    let mut body: Value = serde_json::from_str(&body.to_string().replace(MODEL, "shop"))?;
    if resource.kind == "StatefulSet" {
        body["spec"]["replicas"] = json!(0);
    }
    body["metadata"] = json!({"name": name, "labels": {"team": "shop"}});
    body["apiVersion"] = json!(resource.api_version);
    body["kind"] = json!(resource.kind);
    let api: Api<DynamicObject> = Api::namespaced_with(c.client(), &c.namespace, resource);
    let made = api.create(&PostParams::default(), &serde_json::from_value(body)?).await;
    let made = made.with_context(|| format!("{} {name}", resource.kind))?;
    Ok(Foreign {
        resource: resource.clone(),
        name,
        cache: cache.to_owned(),
        before: written(&made)?,
    })
}

/// Without these names nothing can be done for a cache.
fn is_needed(kind: &str, name: &str) -> bool {
    match kind {
        "StatefulSet" => true,
        "Service" => name == MODEL,
        "ConfigMap" => name == format!("{MODEL}-entrypoint"),
        "Secret" => name == format!("{MODEL}-credentials"),
        _ => false,
    }
}

/// Applies a cache that needs a Secret of its own as well, because its credentials are in its spec.
async fn create(c: &Context, name: &str, size: u32) -> Result {
    let credentials = c.credentials();
    let spec = json!({
        "license": "accept", "size": size, "image": IMAGE,
        "adminPwd": credentials.password, "secretKey": credentials.secret_key,
        "storage": {"retention": {"whenDeleted": "Delete"}},
    });
    c.apply(Kind::Cache, json!({"metadata": {"name": name}, "spec": spec})).await.map(drop)
}

fn message<'a>(cache: &'a Value, kind: &str) -> &'a str {
    condition(cache, kind).and_then(|found| found["message"].as_str()).unwrap_or_default()
}

/// Waits until a cache tells that these names are taken, for its present generation.
async fn told(c: &Context, cache: &str, taken: &[&Foreign]) -> Result {
    let what = format!("NameTaken for its {} names", taken.len());
    let names: Vec<String> = taken.iter().map(|foreign| foreign.is()).collect();
    c.wait_for(Kind::Cache, cache, &what, MINUTE, |cache| {
        let message = message(cache, "Degraded");
        is_true(cache, "NeedsAttention", Some("NameTaken"))
            && names.iter().all(|name| message.contains(name))
            && cache["status"]["observedGeneration"] == cache["metadata"]["generation"]
    })
    .await
    .map(drop)
}

async fn all_untouched(c: &Context, all: &[Foreign], when: &str) -> Result {
    for foreign in all {
        foreign.is_untouched(c, when).await?;
    }
    Ok(())
}

/// For every object that is made for a cache: another one is there before, a cache is applied, scaled,
/// rolled and deleted, and the object is still what it was.
async fn never_touched(c: &Context) -> Result {
    create(c, MODEL, 2).await?;
    c.ready(MODEL, 2, 2 * MINUTE).await?;
    let own = format!("{MODEL}.primary");
    c.wait_for(Kind::Budget, &own, "made", MINUTE, |budget| !budget.is_null()).await?;
    let held = format!("{MODEL}-held");
    c.wait_for(Kind::Secret, &held, "made", MINUTE, |secret| !secret.is_null()).await?;
    let made = made_for(c, MODEL).await?;
    ensure!(made.len() >= 9, "only {} objects are made for a cache", made.len());
    c.delete(Kind::Cache, MODEL).await?;
    let mut all = Vec::new();
    for (number, object) in made.iter().enumerate() {
        let name = object.1.metadata.name.as_deref().unwrap_or_default();
        let cache = match is_needed(&object.0.kind, name) {
            true => format!("x{number}"),
            false => REST.to_owned(),
        };
        all.push(foreign(c, object, &cache).await?);
    }
    let stopped: Vec<&Foreign> = all.iter().filter(|foreign| foreign.cache != REST).collect();
    let missed: Vec<&Foreign> = all.iter().filter(|foreign| foreign.cache == REST).collect();
    ensure!(stopped.len() == 4 && missed.len() >= 5, "{} and {}", stopped.len(), missed.len());
    for foreign in &stopped {
        create(c, &foreign.cache, 1).await?;
    }
    create(c, REST, 1).await?;
    for foreign in &stopped {
        told(c, &foreign.cache, &[foreign]).await?;
    }
    has_members(c, 1, IMAGE).await?;
    told(c, REST, &missed).await?;
    all_untouched(c, &all, "after it was applied").await?;

    let change = json!({"spec": {"size": 2, "image": NEW}});
    for foreign in &stopped {
        c.patch(Kind::Cache, &foreign.cache, change.clone()).await?;
        told(c, &foreign.cache, &[foreign]).await?;
    }
    c.patch(Kind::Cache, REST, change).await?;
    has_members(c, 2, NEW).await?;
    told(c, REST, &missed).await?;
    all_untouched(c, &all, "after it was scaled and rolled").await?;

    for foreign in &stopped {
        let pods = c.list(Kind::Pod).await?;
        let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let member = pods.iter().map(name).find(|pod| pod.starts_with(&foreign.cache));
        ensure!(member.is_none(), "{member:?} was made although {} is taken", foreign.is());
        c.delete(Kind::Cache, &foreign.cache).await?;
        c.gone(Kind::Cache, &foreign.cache, MINUTE).await?;
    }
    c.delete(Kind::Cache, REST).await?;
    c.gone(Kind::Cache, REST, MINUTE).await?;
    c.gone(Kind::StatefulSet, REST, MINUTE).await?;
    c.gone(Kind::Cache, MODEL, MINUTE).await?;
    // The garbage collector is through when it took what was the cache's own.
    c.gone(Kind::Service, REST, MINUTE).await?;
    all_untouched(c, &all, "after it was deleted").await
}

async fn has_members(c: &Context, size: u32, image: &str) -> Result {
    let what = format!("{size} members on {image}");
    c.wait_for(Kind::Cache, REST, &what, 2 * CHANGE, |cache| {
        let status = &cache["status"];
        status["members"] == size
            && status["online"] == size
            && status["image"]["updated"] == size
            && status["image"]["current"] == image
            && status["observedGeneration"] == cache["metadata"]["generation"]
    })
    .await
    .map(drop)
}

/// A pod and a volume that are somebody else's stand where members would be: no replica is added, the
/// others go on, and once they are out of the way the members are made.
async fn no_member(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    let pod = json!({
        "metadata": {"name": "c-1", "labels": {"team": "shop"}},
        "spec": {"schedulingGates": [{"name": "shop.test/never"}],
            "containers": [{"name": "shop", "image": "shop"}]},
    });
    let claim = json!({
        "metadata": {"name": "vol-c-2", "labels": {"team": "shop"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "of-the-shop",
            "resources": {"requests": {"storage": "1Gi"}}},
    });
    let mut all = Vec::new();
    for (kind, object) in [(Kind::Pod, pod), (Kind::Claim, claim)] {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let made = c.apply(kind, object).await?;
        let before = written(&serde_json::from_value(made)?)?;
        all.push(Foreign { resource: kind.resource(), name, cache: "c".into(), before });
    }
    c.resize("c", 3).await?;
    let both: Vec<&Foreign> = all.iter().collect();
    told(c, "c", &both).await?;
    let set = c.get(Kind::StatefulSet, "c").await?;
    ensure!(set["spec"]["replicas"] == 1, "replicas were added: {}", set["spec"]["replicas"]);
    let cache = c.get(Kind::Cache, "c").await?;
    ensure!(cache["status"]["online"] == 1, "the member is not looked at any more");
    all_untouched(c, &all, "while it is waited for").await?;
    c.allow(|allowed| {
        let uids = all.iter().filter_map(|foreign| foreign.before["metadata"]["uid"].as_str());
        allowed.deleted_claims.extend(uids.map(str::to_owned));
    });
    c.delete(Kind::Pod, "c-1").await?;
    c.delete(Kind::Claim, "vol-c-2").await?;
    c.ready("c", 3, 2 * CHANGE).await
}

/// Waits until a cache is refused, in words that name all of these.
async fn refused(c: &Context, cache: &str, words: &[&str]) -> Result {
    let taken = ("Ready", "False", "NameTaken");
    let cache = c.wait_condition(Kind::Cache, cache, taken, MINUTE).await?;
    let message = message(&cache, "Ready");
    if let Some(word) = words.iter().find(|word| !message.contains(**word)) {
        bail!("{word} is not told: {message}");
    }
    Ok(())
}

async fn version(c: &Context, kind: Kind, name: &str) -> Result<Value> {
    let object = c.get(kind, name).await?;
    ensure!(!object.is_null(), "there is no {kind:?} {name}");
    Ok(object["metadata"]["resourceVersion"].clone())
}

/// The client Service of `web` has the name of the headless Service of `web-client`.
async fn two_caches(c: &Context) -> Result {
    c.create("web", 1).await?;
    c.ready("web", 1, MINUTE).await?;
    let before = version(c, Kind::Service, "web-client").await?;
    c.create("web-client", 1).await?;
    refused(c, "web-client", &["Service web-client", "XsldCache web "]).await?;
    // The operator itself lives in this namespace.
    c.create("xsld-operator", 1).await?;
    refused(c, "xsld-operator", &["StatefulSet xsld-operator", "the operator's own"]).await?;
    for cache in ["xsld-operator", "web-client"] {
        c.delete(Kind::Cache, cache).await?;
        c.gone(Kind::Cache, cache, MINUTE).await?;
    }
    let after = version(c, Kind::Service, "web-client").await?;
    ensure!(after == before, "the Service of web was written");
    c.ready("web", 1, MINUTE).await?;
    c.delete(Kind::Cache, "web").await?;
    c.gone(Kind::Cache, "web", MINUTE).await?;
    c.gone(Kind::Service, "web-client", MINUTE).await?;

    // The other way round, and the one that was refused gets the name when it is free.
    c.create("app-client", 1).await?;
    c.ready("app-client", 1, MINUTE).await?;
    let before = version(c, Kind::Service, "app-client").await?;
    c.create("app", 1).await?;
    refused(c, "app", &["Service app-client", "XsldCache app-client "]).await?;
    let after = version(c, Kind::Service, "app-client").await?;
    ensure!(after == before, "the Service of app-client was written");
    c.delete(Kind::Cache, "app-client").await?;
    c.gone(Kind::Cache, "app-client", MINUTE).await?;
    c.ready("app", 1, CHANGE).await
}
