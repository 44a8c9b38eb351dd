//! The environment of a container: what the pod says, with its references
//! looked up and `$(NAME)` expanded. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource};

/// What a container cannot start without; the text is the kubelet's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct ConfigError(pub(super) String);

/// What a pod may ask about itself.
#[derive(Clone, Debug, Default)]
pub(super) struct PodFacts {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) address: String,
    pub(super) host_address: String,
    pub(super) node: String,
    pub(super) service_account: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

impl PodFacts {
    /// The value of a downward API field path.
    pub(super) fn field(&self, path: &str) -> Option<String> {
        let keyed = |prefix: &str| {
            path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']").map(str::to_owned)
        };
        if let Some(key) = keyed("metadata.labels") {
            return Some(self.labels.get(&key).cloned().unwrap_or_default());
        }
        if let Some(key) = keyed("metadata.annotations") {
            return Some(self.annotations.get(&key).cloned().unwrap_or_default());
        }
        let value = match path {
            "metadata.name" => &self.name,
            "metadata.namespace" => &self.namespace,
            "metadata.uid" => &self.uid,
            "spec.nodeName" => &self.node,
            "spec.serviceAccountName" => &self.service_account,
            "status.podIP" | "status.podIPs" => &self.address,
            "status.hostIP" | "status.hostIPs" => &self.host_address,
            _ => return None,
        };
        Some(value.clone())
    }
}

/// The ConfigMaps and Secrets of the pod's namespace that were found, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    pub(super) config_maps: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) secrets: BTreeMap<String, BTreeMap<String, String>>,
}

/// Names of the ConfigMaps and of the Secrets that the environment refers to.
pub(super) fn references(container: &Container) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut config_maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for from in container.env_from.iter().flatten() {
        config_maps.extend(from.config_map_ref.iter().map(|reference| reference.name.clone()));
        secrets.extend(from.secret_ref.iter().map(|reference| reference.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()) {
        config_maps.extend(source.config_map_key_ref.iter().map(|key| key.name.clone()));
        secrets.extend(source.secret_key_ref.iter().map(|key| key.name.clone()));
    }
    (config_maps, secrets)
}

/// The container's environment, in which a later entry replaces an earlier one.
pub(super) fn environment(
    container: &Container,
    facts: &PodFacts,
    sources: &Sources,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut all = BTreeMap::new();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.clone().unwrap_or_default();
        let (found, kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(map), _) => {
                (sources.config_maps.get(&map.name), "configmap", &map.name, map.optional)
            }
            (_, Some(secret)) => {
                (sources.secrets.get(&secret.name), "secret", &secret.name, secret.optional)
            }
            (None, None) => continue,
        };
        match found {
            Some(data) => {
                all.extend(data.iter().map(|(k, v)| (format!("{prefix}{k}"), v.clone())));
            }
            None if optional == Some(true) => {}
            None => return Err(ConfigError(format!("{kind} \"{name}\" not found"))),
        }
    }
    for env in container.env.iter().flatten() {
        if let Some(value) = value(env, &all, facts, sources)? {
            all.insert(env.name.clone(), value);
        }
    }
    Ok(all)
}

fn value(
    env: &EnvVar,
    before: &BTreeMap<String, String>,
    facts: &PodFacts,
    sources: &Sources,
) -> Result<Option<String>, ConfigError> {
    match &env.value_from {
        None => Ok(Some(expand(env.value.as_deref().unwrap_or_default(), before))),
        Some(source) => from_source(&env.name, source, facts, sources),
    }
}

fn from_source(
    name: &str,
    source: &EnvVarSource,
    facts: &PodFacts,
    sources: &Sources,
) -> Result<Option<String>, ConfigError> {
    if let Some(field) = &source.field_ref {
        let missing = || ConfigError(format!("{name}: unsupported fieldPath {}", field.field_path));
        return facts.field(&field.field_path).map(Some).ok_or_else(missing);
    }
    if let Some(key) = &source.config_map_key_ref {
        let found = sources.config_maps.get(&key.name);
        return lookup(found, ("configmap", "ConfigMap"), &key.name, &key.key, key.optional, facts);
    }
    if let Some(key) = &source.secret_key_ref {
        let found = sources.secrets.get(&key.name);
        return lookup(found, ("secret", "Secret"), &key.name, &key.key, key.optional, facts);
    }
    Err(ConfigError(format!(
        "{name}: this world resolves only fieldRef, configMapKeyRef and secretKeyRef"
    )))
}

fn lookup(
    found: Option<&BTreeMap<String, String>>,
    (lower, kind): (&str, &str),
    name: &str,
    key: &str,
    optional: Option<bool>,
    facts: &PodFacts,
) -> Result<Option<String>, ConfigError> {
    let missing = match found {
        None => format!("{lower} \"{name}\" not found"),
        Some(data) => match data.get(key) {
            Some(value) => return Ok(Some(value.clone())),
            None => format!("couldn't find key {key} in {kind} {}/{name}", facts.namespace),
        },
    };
    if optional == Some(true) { Ok(None) } else { Err(ConfigError(missing)) }
}

/// Replaces `$(NAME)` by its value; `$$(NAME)` stands for `$(NAME)` itself, and
/// a name that is not known stays as it is.
pub(super) fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) =
            rest.strip_prefix('(').and_then(|inner| inner.split_once(')'))
        {
            match known.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn facts() -> PodFacts {
        PodFacts {
            namespace: "ns".into(),
            name: "cache-0".into(),
            address: "127.70.1.2".into(),
            labels: [("app".to_owned(), "cache".to_owned())].into(),
            ..PodFacts::default()
        }
    }

    fn container(env: Value, env_from: Value) -> Container {
        serde_json::from_value(json!({"name": "c", "env": env, "envFrom": env_from})).unwrap()
    }

    fn sources() -> Sources {
        let data = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        Sources {
            config_maps: [("settings".to_owned(), data("MODE", "fast"))].into(),
            secrets: [("keys".to_owned(), data("password", "s3cret"))].into(),
        }
    }

    #[test]
    fn references_fields_and_earlier_variables_are_resolved() {
        let env = json!([
            {"name": "PASSWORD",
             "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}},
            {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "URL", "value": "https://$(ME):9445/$(P_MODE)/$(LATER)/$$(ME)"},
            {"name": "LATER", "value": "x"},
        ]);
        let from = json!([{"prefix": "P_", "configMapRef": {"name": "settings"}}]);
        let all = environment(&container(env, from), &facts(), &sources()).unwrap();
        assert_eq!(all["PASSWORD"], "s3cret");
        assert_eq!(all["APP"], "cache");
        assert_eq!(all["URL"], "https://cache-0:9445/fast/$(LATER)/$(ME)");
    }

    #[test]
    fn what_is_missing_is_named_as_the_kubelet_names_it() {
        let error = |env: Value, from: Value| {
            environment(&container(env, from), &facts(), &sources()).unwrap_err().0
        };
        let key = |kind: &str, name: &str, key: &str| {
            let reference = json!({"name": name, "key": key});
            json!([{"name": "A", "valueFrom": {kind: reference}}])
        };
        assert_eq!(error(key("secretKeyRef", "none", "k"), json!([])), "secret \"none\" not found");
        assert_eq!(
            error(key("configMapKeyRef", "settings", "k"), json!([])),
            "couldn't find key k in ConfigMap ns/settings"
        );
        let from = json!([{"configMapRef": {"name": "none"}}]);
        assert_eq!(error(json!([]), from), "configmap \"none\" not found");
    }

    #[test]
    fn an_optional_reference_that_is_missing_leaves_the_variable_out() {
        let reference = json!({"name": "none", "key": "k", "optional": true});
        let env = json!([{"name": "A", "valueFrom": {"secretKeyRef": reference}}]);
        let from = json!([{"secretRef": {"name": "none", "optional": true}}]);
        assert!(environment(&container(env, from), &facts(), &sources()).unwrap().is_empty());
    }

    #[test]
    fn a_dollar_that_begins_no_reference_stays() {
        let known = BTreeMap::new();
        assert_eq!(expand("100$ $( $x $$", &known), "100$ $( $x $");
    }
}
