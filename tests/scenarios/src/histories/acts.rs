//! How each act is done on the control plane.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, EvictParams, Patch, PatchParams, PropagationPolicy};
use serde_json::{Value, json};
use xsld_histories::act::{Act, Cascade, Holder, Kind as Word, member_name};
use xsld_histories::goal::put;
use xsld_histories::world::{Done, Result};

use super::world::{Place, broken, kind_of};
use crate::context::Kind;

/// A client that is told to come later asks again by itself; it is not waited for.
const EVICTION: Duration = Duration::from_millis(1500);

/// What came of a request: refusals are answers, anything else is the world's fault.
pub(super) fn answered<T>(result: crate::Result<T>) -> Result<Done> {
    let Err(error) = result else { return Ok(Done::Yes) };
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) if status.code == 404 => {
            Ok(Done::Skipped(status.message.clone()))
        }
        Some(kube::Error::Api(status)) if (400..500).contains(&status.code) => {
            Ok(Done::Refused(status.message.clone()))
        }
        _ => Err(broken(format!("{error:#}"))),
    }
}

impl Place<'_> {
    pub(super) async fn do_act(&self, act: &Act) -> Result<Done> {
        match act {
            Act::CreateCache { cache, size, spec } => {
                answered(self.create_cache(cache, *size, spec).await)
            }
            Act::DeleteCache { cache, cascade } => {
                self.remove(Word::Cache, cache, *cascade, false).await
            }
            Act::CreateGrid { grid, cache, spec } => {
                answered(self.create_grid(grid, cache.as_deref(), spec).await)
            }
            Act::DeleteGrid { grid } => {
                self.remove(Word::Grid, grid, Cascade::Background, false).await
            }
            Act::CreateTemplate { template, cache } => {
                answered(self.create_template(template, cache).await)
            }
            Act::DeleteTemplate { template } => {
                self.remove(Word::Template, template, Cascade::Background, false).await
            }
            Act::Change { kind, name, path, value, .. }
            | Act::Invalid { kind, name, path, value } => {
                self.change(*kind, name, path, value.clone()).await
            }
            Act::Rotate { number, first } => self.rotate(*number, *first).await,
            Act::DeleteObject { kind, name, cascade, force } => {
                if *kind == Word::Claim {
                    self.allow_claim(name).await?;
                }
                self.remove(*kind, name, *cascade, *force).await
            }
            Act::MakeForeign { kind, name } => self.make_foreign(*kind, name).await,
            Act::RemoveLabels { .. }
            | Act::StripFinalizers { .. }
            | Act::Annotate { .. }
            | Act::ScaleByHand { .. }
            | Act::RestartByHand { .. }
            | Act::SetEnvironmentByHand { .. } => self.by_hand(act).await,
            Act::Evict { .. }
            | Act::Drain { .. }
            | Act::Cordon { .. }
            | Act::Uncordon { .. }
            | Act::StopNode { .. }
            | Act::StartNode { .. } => self.on_nodes(act).await,
            Act::RefuseWrites { .. }
            | Act::RewriteWrites { .. }
            | Act::LimitObjects { .. }
            | Act::LiftPolicies => self.policies(act).await,
            Act::FaultMember { cache, member, fault } => {
                let pod = member_name(cache, *member);
                self.c.fault(&pod, fault.clone()).await.map_err(broken)?;
                Ok(Done::Yes)
            }
            Act::ClearFaults { cache, member } => {
                self.c.clear_faults(&member_name(cache, *member)).await.map_err(broken)?;
                Ok(Done::Yes)
            }
            _ => self.operators(act).await,
        }
    }

    pub(super) async fn create_cache(&self, cache: &str, size: u32, spec: &Value) -> crate::Result {
        self.c.make_credentials().await?;
        let mut object = self.cache(cache, size);
        for (field, value) in spec.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        self.c.apply(Kind::Cache, object).await.map(drop)
    }

    pub(super) async fn create_grid(
        &self,
        grid: &str,
        cache: Option<&str>,
        spec: &Value,
    ) -> crate::Result {
        let mut object = json!({
            "metadata": {"name": grid},
            "spec": {"numPartition": 3, "templateName": "Simple"},
        });
        if let Some(cache) = cache {
            object["spec"]["cacheRef"] = json!({"name": cache});
        }
        for (field, value) in spec.as_object().into_iter().flatten() {
            match (value.is_null(), object["spec"].as_object_mut()) {
                (true, Some(fields)) => drop(fields.remove(field)),
                _ => object["spec"][field] = value.clone(),
            }
        }
        self.c.apply(Kind::Grid, object).await.map(drop)
    }

    pub(super) async fn create_template(&self, template: &str, cache: &str) -> crate::Result {
        let grid =
            "<objectGridConfig><objectGrid name=\"orders\" txTimeout=\"30\"/></objectGridConfig>";
        let policy = "<deploymentPolicy><mapSet name=\"orders\"/></deploymentPolicy>";
        let object = json!({
            "metadata": {"name": template},
            "spec": {
                "objectGridXml": {"inline": grid},
                "deploymentPolicyXml": {"inline": policy},
                "cacheRef": {"name": cache},
            }
        });
        self.c.apply(Kind::Template, object).await.map(drop)
    }

    /// Deletes an object as a person does.
    pub(super) async fn remove(
        &self,
        kind: Word,
        name: &str,
        cascade: Cascade,
        force: bool,
    ) -> Result<Done> {
        let policy = match cascade {
            Cascade::Background => PropagationPolicy::Background,
            Cascade::Foreground => PropagationPolicy::Foreground,
            Cascade::Orphan => PropagationPolicy::Orphan,
        };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            grace_period_seconds: force.then_some(0),
            ..DeleteParams::default()
        };
        let deleted = self.c.api(kind_of(kind)).delete(name, &params).await;
        answered(deleted.map(drop).map_err(anyhow::Error::new))
    }

    pub(super) async fn change(
        &self,
        kind: Word,
        name: &str,
        path: &str,
        value: Value,
    ) -> Result<Done> {
        let mut spec = json!({});
        put(&mut spec, path, self.placed(path, value));
        self.patch_spec(kind, name, spec).await
    }

    pub(super) async fn patch_spec(&self, kind: Word, name: &str, spec: Value) -> Result<Done> {
        answered(self.c.patch(kind_of(kind), name, json!({"spec": spec})).await)
    }

    /// The password of this number, which nothing else in the world has in it.
    pub(super) fn password(&self, number: u32) -> String {
        let (head, tail) = ("Canary-P", self.c.credentials().secret_key);
        let tail: String = tail.chars().skip_while(|c| !c.is_ascii_digit()).collect();
        format!("{head}{number}-{tail}")
    }

    /// Claims that a person deletes need no receipt.
    async fn allow_claim(&self, name: &str) -> Result {
        let claim = self.c.get(Kind::Claim, name).await.map_err(broken)?;
        if let Some(uid) = claim["metadata"]["uid"].as_str() {
            self.c.allow(|allowed| allowed.deleted_claims.push(uid.to_owned()));
        }
        Ok(())
    }

    async fn rotate(&self, number: u32, first: Holder) -> Result<Done> {
        let password = self.password(number);
        if first == Holder::Group {
            self.rotate_groups(&password).await?;
        }
        let change = json!({"stringData": {"adminPassword": password}});
        let patched = self.c.patch(Kind::Secret, "credentials", change).await;
        if first == Holder::Secret {
            self.rotate_groups(&password).await?;
        }
        let secret_key = self.c.credentials().secret_key;
        self.c.use_credentials(&password, &secret_key);
        answered(patched)
    }

    /// Gives every group the password, as soon as its first member serves.
    pub(super) async fn rotate_groups(&self, password: &str) -> Result {
        for cache in self.c.list(Kind::Cache).await.map_err(broken)? {
            let name = cache["metadata"]["name"].as_str().unwrap_or_default();
            let fault = json!({"fault": "rotate_password", "password": password, "count": 1});
            self.c.fault(&member_name(name, 0), fault).await.map_err(broken)?;
        }
        Ok(())
    }

    async fn by_hand(&self, act: &Act) -> Result<Done> {
        match act {
            Act::RemoveLabels { kind, name } => {
                let object = self.c.get(kind_of(*kind), name).await.map_err(broken)?;
                let labels = object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
                let none: serde_json::Map<String, Value> =
                    labels.into_iter().map(|(label, _)| (label, Value::Null)).collect();
                let change = json!({"metadata": {"labels": none}});
                answered(self.c.patch(kind_of(*kind), name, change).await)
            }
            Act::StripFinalizers { kind, name } => {
                let change = json!({"metadata": {"finalizers": null}});
                answered(self.c.patch(kind_of(*kind), name, change).await)
            }
            Act::Annotate { kind, name } => {
                let note = json!({"somebody.example.com/note": "seen"});
                let change = json!({"metadata": {"annotations": note}});
                answered(self.c.patch(kind_of(*kind), name, change).await)
            }
            Act::ScaleByHand { cache, replicas } => {
                self.c.allow(|allowed| allowed.scaled_by_hand = true);
                let change = json!({"spec": {"replicas": replicas}});
                answered(self.c.patch(Kind::StatefulSet, cache, change).await)
            }
            Act::RestartByHand { cache } => {
                let note = json!({"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"});
                let change = json!({"spec": {"template": {"metadata": {"annotations": note}}}});
                answered(self.c.patch(Kind::StatefulSet, cache, change).await)
            }
            Act::SetEnvironmentByHand { cache } => {
                let container = json!({"name": "xsld", "env": [{"name": "BY_HAND", "value": "1"}]});
                let change = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
                let sets: Api<k8s_openapi::api::apps::v1::StatefulSet> =
                    Api::namespaced(self.c.client(), &self.c.namespace);
                let patch = Patch::Strategic(change);
                let patched = sets.patch(cache, &PatchParams::default(), &patch).await;
                answered(patched.map_err(anyhow::Error::new))
            }
            other => Ok(Done::Skipped(format!("not by hand: {}", other.told()))),
        }
    }

    async fn on_nodes(&self, act: &Act) -> Result<Done> {
        match act {
            Act::Evict { cache, member } => self.evict(&member_name(cache, *member)).await,
            Act::Drain { node } => {
                self.cordon(*node, true).await?;
                self.state(|state| state.draining.insert(*node));
                self.evict_from(*node).await?;
                Ok(Done::Yes)
            }
            Act::Cordon { node } => self.cordon(*node, true).await,
            Act::Uncordon { node } => {
                self.state(|state| state.draining.remove(node));
                self.cordon(*node, false).await
            }
            Act::StopNode { node } => self.power(*node, false).await,
            Act::StartNode { node } => self.power(*node, true).await,
            other => Ok(Done::Skipped(format!("not about a node: {}", other.told()))),
        }
    }

    async fn evict(&self, pod: &str) -> Result<Done> {
        let pods: Api<Pod> = Api::namespaced(self.c.client(), &self.c.namespace);
        let params = EvictParams::default();
        match tokio::time::timeout(EVICTION, pods.evict(pod, &params)).await {
            Err(_) => Ok(Done::Refused("its budget said no for a while".to_owned())),
            Ok(evicted) => answered(evicted.map(drop).map_err(anyhow::Error::new)),
        }
    }

    /// Evicts what stands on a node, as far as the budgets let it.
    pub(super) async fn evict_from(&self, node: u32) -> Result {
        let Some(node) = self.nodes.get(node as usize) else { return Ok(()) };
        for pod in self.c.list(Kind::Pod).await.map_err(broken)? {
            let is_here = pod["spec"]["nodeName"] == node.as_str();
            if is_here && pod["metadata"]["deletionTimestamp"].is_null() {
                self.evict(pod["metadata"]["name"].as_str().unwrap_or_default()).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn cordon(&self, node: u32, is_cordoned: bool) -> Result<Done> {
        let Some(node) = self.nodes.get(node as usize) else {
            return Ok(Done::Skipped("there is no such node".to_owned()));
        };
        let nodes: Api<Node> = Api::all(self.c.client());
        let patch = Patch::Merge(json!({"spec": {"unschedulable": is_cordoned}}));
        let patched = nodes.patch(node, &PatchParams::default(), &patch).await;
        answered(patched.map_err(anyhow::Error::new))
    }

    pub(super) async fn power(&self, node: u32, is_on: bool) -> Result<Done> {
        let Some(node) = self.nodes.get(node as usize) else {
            return Ok(Done::Skipped("there is no such node".to_owned()));
        };
        let stage = &self.c.stage;
        let url = format!("http://{}/nodes/{node}", stage.world.faults_address());
        let request = match is_on {
            true => stage.http.delete(url),
            false => stage.http.post(url).body(json!({"fault": "stop"}).to_string()),
        };
        let answer = request.send().await.map_err(broken)?;
        answer.error_for_status().map_err(broken)?;
        Ok(Done::Yes)
    }

    /// Every node runs and takes pods.
    pub(super) async fn nodes_back(&self) -> Result {
        self.state(|state| state.draining.clear());
        for node in 0..self.nodes.len() as u32 {
            self.power(node, true).await?;
            self.cordon(node, false).await?;
        }
        Ok(())
    }
}
