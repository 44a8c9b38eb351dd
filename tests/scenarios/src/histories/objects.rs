//! Somebody else's objects under names that a cache needs.

use kube::api::PostParams;
use serde_json::{Value, json};
use xsld_histories::act::Kind as Word;
use xsld_histories::evidence::Foreign;
use xsld_histories::world::{Done, Result};

use super::acts::answered;
use super::world::{Place, broken, kind_of};

/// What somebody else has under this name.
fn object(kind: Word, name: &str) -> Option<(&'static str, &'static str, Value)> {
    let selector = json!({"matchLabels": {"whose": "somebody-else"}});
    Some(match kind {
        Word::StatefulSet => {
            let container = json!({"name": "theirs", "image": "example.com/theirs:1"});
            let spec = json!({
                "replicas": 0,
                "serviceName": name,
                "selector": selector,
                "template": {
                    "metadata": {"labels": {"whose": "somebody-else"}},
                    "spec": {"containers": [container]},
                },
            });
            ("apps/v1", "StatefulSet", json!({"spec": spec}))
        }
        Word::Service => {
            let spec = json!({
                "ports": [{"port": 80, "name": "theirs"}],
                "selector": {"whose": "somebody-else"},
            });
            ("v1", "Service", json!({"spec": spec}))
        }
        Word::Secret => ("v1", "Secret", json!({"stringData": {"theirs": "kept"}})),
        Word::ConfigMap => ("v1", "ConfigMap", json!({"data": {"theirs": "kept"}})),
        Word::Budget => {
            let spec = json!({"maxUnavailable": 1, "selector": selector});
            ("policy/v1", "PodDisruptionBudget", json!({"spec": spec}))
        }
        Word::NetworkPolicy => {
            let spec = json!({"podSelector": selector, "policyTypes": ["Ingress"]});
            ("networking.k8s.io/v1", "NetworkPolicy", json!({"spec": spec}))
        }
        _ => return None,
    })
}

impl Place<'_> {
    /// Makes it, unless the name is taken.
    pub(super) async fn make_foreign(&self, kind: Word, name: &str) -> Result<Done> {
        let Some((version, word, mut object)) = object(kind, name) else {
            return Ok(Done::Skipped("nobody has such an object".to_owned()));
        };
        object["apiVersion"] = json!(version);
        object["kind"] = json!(word);
        object["metadata"] = json!({"name": name, "labels": {"whose": "somebody-else"}});
        let object = serde_json::from_value(object).map_err(broken)?;
        let made = self.c.api(kind_of(kind)).create(&PostParams::default(), &object).await;
        match made {
            Ok(made) => {
                let made = serde_json::to_value(made).map_err(broken)?;
                self.state(|state| state.foreign.push((kind, name.to_owned(), made)));
                Ok(Done::Yes)
            }
            Err(error) => answered::<()>(Err(error.into())),
        }
    }

    /// Looks at each once more, and takes it away so that the cache can have its name.
    pub(super) async fn foreign_away(&self) -> Result {
        for (kind, name, before) in self.state(|state| std::mem::take(&mut state.foreign)) {
            let after = self.c.get(kind_of(kind), &name).await.map_err(broken)?;
            let is_theirs = after["metadata"]["uid"] == before["metadata"]["uid"];
            let after = if is_theirs { after } else { Value::Null };
            if is_theirs {
                self.c.delete(kind_of(kind), &name).await.map_err(broken)?;
            }
            let foreign = Foreign { kind, name, before, after };
            self.state(|state| state.foreign_after.push(foreign));
        }
        Ok(())
    }
}
