//! The charts of `deploy/helm` as Helm renders them: the operator's is the plain manifests in another
//! form, every value does something, and what is wrong is refused by its name.
//! Needs Go once, to build Helm.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is a test")]

#[path = "deployed/helm.rs"]
mod helm;
#[path = "deployed/manifests.rs"]
mod manifests;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use helm::Helm;
use manifests::{documents, kustomization, root};

const OPERATOR: &str = "xsld-operator";
const CACHE: &str = "xsld-cache";
/// What a cache cannot be without, and values that others are told from. As JSON, so that a later word
/// of that form replaces one of these.
const NEEDED: [&str; 6] = [
    "--set-json=license=\"accept\"",
    "--set-json=adminPasswordSecretRef.name=\"sessions\"",
    "--set-json=secretKeySecretRef.name=\"sessions\"",
    "--set-json=image=\"ibmcom/xsld:8613\"",
    "--set-json=size=3",
    "--namespace=team",
];
/// Labels that only a chart's objects have.
const HELMS: [&str; 2] = ["app.kubernetes.io/instance", "app.kubernetes.io/managed-by"];

async fn helm() -> Result<Helm> {
    Helm::new(None).await
}

impl Helm {
    /// The objects of a chart.
    async fn template(&self, chart: &str, words: &[&str]) -> Result<Vec<Value>> {
        let chart = helm::path(chart);
        let rendered = self.run(&[&["template", "release", &chart], words].concat()).await?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&rendered).context(rendered)?;
        Ok(documents.into_iter().filter(Value::is_object).collect())
    }
}

/// The objects by kind and name, without the labels that only a chart's objects have.
fn by_name(objects: Vec<Value>) -> BTreeMap<(String, String), Value> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let keyed = objects.into_iter().map(|mut object| {
        for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
            let labels = object.pointer_mut(labels).and_then(Value::as_object_mut);
            labels.into_iter().for_each(|labels| labels.retain(|key, _| !HELMS.contains(&&**key)));
        }
        ((word(&object["kind"]), word(&object["metadata"]["name"])), object)
    });
    keyed.collect()
}

#[tokio::test]
async fn both_charts_pass_helms_own_lint() -> Result<()> {
    let helm = helm().await?;
    for chart in [OPERATOR, CACHE] {
        let said = helm.run(&["lint", "--strict", &helm::path(chart)]).await?;
        ensure!(said.contains("0 chart(s) failed"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn the_chart_installs_what_the_plain_manifests_install() -> Result<()> {
    let helm = helm().await?;
    for (folder, set) in [
        ("deploy/manifests", "--set=watchAllNamespaces=false"),
        ("deploy/manifests/cluster-wide", "--set=watchAllNamespaces=true"),
    ] {
        let words = ["--namespace=xsld-operator", "--set=crds.install=false", set];
        let chart = by_name(helm.template(OPERATOR, &words).await?);
        let mut plain = by_name(kustomization(&root().join(folder))?);
        // Helm makes a namespace itself, when it is asked to.
        plain.remove(&("Namespace".to_owned(), "xsld-operator".to_owned()));
        assert_eq!(chart.keys().collect::<Vec<_>>(), plain.keys().collect::<Vec<_>>(), "{folder}");
        for (name, object) in &plain {
            assert_eq!(chart[name], *object, "{folder}: {name:?}");
        }
        assert!(plain.len() >= 7, "{}", plain.len());
    }
    Ok(())
}

#[tokio::test]
async fn another_namespace_holds_every_object_and_the_account_that_rights_are_given_to()
-> Result<()> {
    let words = ["--namespace=caches", "--set=crds.install=false"];
    for object in helm().await?.template(OPERATOR, &words).await? {
        if !object["kind"].as_str().is_some_and(|kind| kind.starts_with("Cluster")) {
            assert_eq!(object["metadata"]["namespace"], "caches", "{object}");
        }
        for subject in object["subjects"].as_array().into_iter().flatten() {
            assert_eq!(subject["namespace"], "caches", "{object}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_definitions_are_those_of_crds_and_are_kept() -> Result<()> {
    let helm = helm().await?;
    let mut found = helm.template(OPERATOR, &[]).await?;
    found.retain(|object| object["kind"] == "CustomResourceDefinition");
    for definition in &mut found {
        let annotations = definition["metadata"].as_object_mut().unwrap().remove("annotations");
        assert_eq!(annotations, Some(json!({"helm.sh/resource-policy": "keep"})));
    }
    let mut wanted = Vec::new();
    for kind in ["xsldcaches", "datagrids", "gridtemplates"] {
        wanted.extend(documents(&root().join(format!("crds/{kind}.yaml")))?);
    }
    assert_eq!(by_name(found), by_name(wanted));
    Ok(())
}

/// Paths of all values of a chart, with their defaults.
fn leaves(path: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value.as_object().filter(|map| !map.is_empty()) {
        Some(map) => {
            for (key, inner) in map {
                let dot = if path.is_empty() { "" } else { "." };
                leaves(&format!("{path}{dot}{key}"), inner, found);
            }
        }
        None => found.push((path.to_owned(), value.clone())),
    }
}

fn values(chart: &str) -> Result<Vec<(String, Value)>> {
    let file = root().join(helm::path(chart)).join("values.yaml");
    let mut found = Vec::new();
    leaves("", &documents(&file)?.remove(0), &mut found);
    Ok(found)
}

/// Another value than the default, and what else has to be set for it to matter.
fn another(path: &str, default: &Value) -> Option<(Value, Vec<&'static str>)> {
    let value = match path {
        "image.digest" => json!(format!("sha256:{}", "ab".repeat(32))),
        "image.pullPolicy" => json!("Always"),
        "journal.accessMode" => json!("ReadWriteOnce"),
        "log.format" => json!("text"),
        "podSecurityContext.fsGroupChangePolicy" => json!("Always"),
        "podSecurityContext.seccompProfile.type" => json!("Unconfined"),
        "journal.size" | "storage.size" => json!("7Gi"),
        "license" => return Some((json!("accept"), vec!["license=\"\""])),
        "adminPwd" => return Some((json!("P4ssword!!"), vec!["adminPasswordSecretRef=null"])),
        "secretKey" => return Some((json!("P4ssword!!"), vec!["secretKeySecretRef=null"])),
        "tls.caSecretRef.key" => return Some((json!("other"), vec!["tls.caSecretRef.name=\"a\""])),
        "alerts.labels" => return Some((json!({"release": "a"}), vec!["alerts.install=true"])),
        "dashboard.labels.grafana_dashboard" => {
            return Some((json!("2"), vec!["dashboard.install=true"]));
        }
        "journalEndpoint.tlsSecretName" => json!("tls"),
        "storage.accessModes" => json!(["ReadWriteMany"]),
        "storage.retention.whenScaled" => json!("Retain"),
        "storage.retention.whenDeleted" => json!("Delete"),
        "pod.antiAffinity" => json!("None"),
        "rollout.onFailure" => json!("Rollback"),
        "replication.mode" => json!("Off"),
        "repair.resetHalfJoined" => json!("Never"),
        "tls.mode" => json!("CA"),
        "pod.resources" => json!({"limits": {"memory": "1Gi"}}),
        "pod.affinity" | "affinity" => json!({"nodeAffinity": {}}),
        "pod.securityContext" => json!({"fsGroup": 7}),
        "imagePullSecrets" | "pod.imagePullSecrets" => json!([{"name": "registry"}]),
        "tolerations" | "pod.tolerations" => json!([{"operator": "Exists"}]),
        "extraEnv" | "pod.env" => json!([{"name": "TZ", "value": "UTC"}]),
        "pod.topologySpreadConstraints" => json!([{"maxSkew": 1, "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule"}]),
        "dataGrids" => json!([{"name": "carts"}]),
        "gridTemplates" => json!([{"name": "orders", "objectGridXml": {"inline": "<a/>"},
            "deploymentPolicyXml": {"inline": "<a/>"}}]),
        path if path.starts_with("times.") => json!("7s"),
        path if path.ends_with("cpu") || path.ends_with("memory") => json!("7"),
        "securityContext.capabilities.drop" => json!(["KILL"]),
        _ => match default {
            Value::Bool(default) => json!(!default),
            Value::Number(number) => json!(number.as_u64()? + 1),
            Value::String(_) => json!("other"),
            Value::Object(map) if map.is_empty() => json!({"other": "value"}),
            _ => return None,
        },
    };
    Some((value, Vec::new()))
}

#[tokio::test]
async fn every_value_changes_what_is_installed() -> Result<()> {
    let helm = helm().await?;
    for (chart, needed) in [(OPERATOR, &[][..]), (CACHE, &NEEDED)] {
        let values = values(chart)?;
        assert!(values.len() > 30, "{chart}: {}", values.len());
        let mut idle = Vec::new();
        for (path, default) in values {
            let (value, with) = another(&path, &default).with_context(|| path.clone())?;
            let with: Vec<String> = with.iter().map(|set| format!("--set-json={set}")).collect();
            let mut words = vec!["template", "release"];
            let folder = helm::path(chart);
            words.push(&folder);
            words.extend(needed);
            words.extend(with.iter().map(String::as_str));
            // Some values are needed: without them nothing is rendered at all.
            let before = helm.run(&words).await.unwrap_or_default();
            let set = format!("--set-json={path}={value}");
            words.push(&set);
            if helm.run(&words).await? == before {
                idle.push(path);
            }
        }
        assert!(idle.is_empty(), "{chart}: nothing changes with {idle:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_value_is_refused_by_its_name() -> Result<()> {
    let helm = helm().await?;
    for (chart, set, named) in [
        (OPERATOR, "replicas=2", "'replicas' not allowed"),
        (OPERATOR, "image.tagg=1", "'/image'"),
        (OPERATOR, "times.lease=soon", "'/times/lease'"),
        (OPERATOR, "journal.size=big", "'/journal/size'"),
        (OPERATOR, "journal.accessMode=ReadWriteMany", "'/journal/accessMode'"),
        (OPERATOR, "watchAllNamespaces=perhaps", "'/watchAllNamespaces'"),
        (CACHE, "sise=2", "'sise' not allowed"),
        (CACHE, "size=0", "'/size'"),
        (CACHE, "size=many", "'/size'"),
        (CACHE, "license=no", "'/license'"),
        (CACHE, "license=", "license: set it to accept"),
        (CACHE, "storage.retention.whenScaled=Keep", "'/storage/retention/whenScaled'"),
        (CACHE, "pod.resources.limit.memory=1Gi", "'/pod/resources'"),
        (CACHE, "nameOverride=9lives", "'/nameOverride'"),
        (CACHE, "adminPasswordSecretRef.name=", "adminPasswordSecretRef.name: name the Secret"),
        (CACHE, "adminPwd=Secret-word-1", "adminPasswordSecretRef.name and adminPwd are both set"),
        (CACHE, "dataGrids[0].numPartition=3", "'/dataGrids/0'"),
        (CACHE, "dataGrids[0].name=a,dataGrids[0].cacheRef.name=b", "'cacheRef' not allowed"),
        (CACHE, "gridTemplates[0].name=a", "'/gridTemplates/0'"),
    ] {
        let needed: &[&str] = if chart == CACHE { &NEEDED } else { &[] };
        let folder = helm::path(chart);
        let words = [&["template", "release", &folder], needed, &["--set", set]].concat();
        let said = helm.refused(&words).await.with_context(|| set.to_owned())?;
        assert!(said.contains(named), "{set}: {said}");
        assert!(!said.contains("Secret-word-1"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_of_the_whole_cluster_tells_releases_apart() -> Result<()> {
    let helm = helm().await?;
    let mut names = BTreeMap::new();
    for namespace in ["xsld-operator", "caches", "more"] {
        let words = ["--set=crds.install=false", "--namespace", namespace];
        for object in helm.template(OPERATOR, &words).await? {
            if object["metadata"].get("namespace").is_none() {
                let key = format!("{} {}", object["kind"], object["metadata"]["name"]);
                let other = names.insert(key.clone(), namespace);
                assert_eq!(other, None, "{key} is in {namespace} as well");
            }
        }
    }
    assert_eq!(names.len(), 12, "{names:?}");
    let without = ["--set=crds.install=false,journalEndpoint.enabled=false,rbac.nodes=false"];
    for object in helm.template(OPERATOR, &without).await? {
        assert!(object["metadata"]["namespace"].is_string(), "{object}");
    }
    Ok(())
}

#[tokio::test]
async fn the_roles_for_people_are_the_plain_ones_and_bound_to_nobody() -> Result<()> {
    let words = ["--set=crds.install=false,journalEndpoint.enabled=false"];
    let helm = helm().await?;
    let before = by_name(helm.template(OPERATOR, &words).await?);
    let with = [&words[..], &["--set=journalEndpoint.roles=true"]].concat();
    let mut added = by_name(helm.template(OPERATOR, &with).await?);
    added.retain(|name, _| !before.contains_key(name));
    assert_eq!(added, by_name(kustomization(&root().join("deploy/manifests/people"))?));
    Ok(())
}

#[tokio::test]
async fn alerts_and_dashboard_are_those_of_the_repository() -> Result<()> {
    let words = ["--set=alerts.install=true,dashboard.install=true", "--namespace=ops"];
    let found = helm().await?.template(OPERATOR, &words).await?;
    let of_kind = |kind: &str| found.iter().find(|object| object["kind"] == kind).unwrap();
    let monitoring = root().join("deploy/monitoring");
    let alerts = documents(&monitoring.join("alerts.yaml"))?.remove(0);
    assert_eq!(of_kind("PrometheusRule")["spec"], alerts["spec"]);
    assert_eq!(of_kind("PrometheusRule")["metadata"]["namespace"], "ops");
    let text = std::fs::read_to_string(monitoring.join("dashboard.json"))?;
    let shipped = of_kind("ConfigMap")["data"]["xsld-operator.json"].as_str().unwrap();
    assert_eq!(shipped.trim(), text.trim());
    Ok(())
}

#[tokio::test]
async fn the_definitions_own_samples_are_made_from_values() -> Result<()> {
    let samples = root().join("crds/samples");
    let mut wanted = documents(&samples.join("xsldcache-full.yaml"))?.remove(0);
    let mut values = wanted["spec"].clone();
    values["labels"] = wanted["metadata"]["labels"].clone();
    let rest = documents(&samples.join("gridtemplate.yaml"))?;
    let [template, grid] = rest.as_slice() else { bail!("not a template and a grid") };
    let item = |object: &Value| {
        let mut item = object["spec"].clone();
        item["name"] = object["metadata"]["name"].clone();
        item.as_object_mut().unwrap().remove("cacheRef");
        item
    };
    values["gridTemplates"] = json!([item(template)]);
    values["dataGrids"] = json!([item(grid)]);
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("values.json");
    std::fs::write(&file, values.to_string())?;

    let file = format!("--values={}", file.display());
    let words = ["--set=nameOverride=example-full", "--namespace=team", &file];
    let found = helm().await?.template(CACHE, &words).await?;
    let of_kind = |kind: &str| found.iter().find(|object| object["kind"] == kind).unwrap();
    // What a value does not say is the definition's default, which the chart writes out.
    for (field, value) in [("apiProfileConfigMap", Value::Null), ("secretKey", Value::Null)] {
        assert_eq!(of_kind("XsldCache")["spec"][field], value);
    }
    let cache = of_kind("XsldCache");
    assert_eq!(cache["metadata"]["labels"]["tier"], "front");
    assert_eq!(cache["metadata"]["namespace"], "team");
    assert_eq!(cache["spec"], wanted["spec"].take());
    assert_eq!(of_kind("GridTemplate")["spec"], template["spec"]);
    assert_eq!(of_kind("DataGrid")["spec"], grid["spec"]);
    Ok(())
}

#[tokio::test]
async fn the_example_of_the_readme_is_a_cache_with_a_grid() -> Result<()> {
    let readme = std::fs::read_to_string(root().join(helm::path(CACHE)).join("README.md"))?;
    let (_, example) = readme.split_once("```yaml\n").context("no example")?;
    let (example, _) = example.split_once("```").context("the example has no end")?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("values.yaml");
    std::fs::write(&file, example)?;
    let file = format!("--values={}", file.display());
    let found = helm().await?.template(CACHE, &[&file]).await?;
    assert_eq!(found.len(), 2, "{found:?}");
    let grid = found.iter().find(|object| object["kind"] == "DataGrid").unwrap();
    assert_eq!(grid["spec"], json!({"cacheRef": {"name": "release"}, "numPartition": 13}));
    Ok(())
}

#[tokio::test]
async fn a_template_without_a_selector_goes_to_the_cache_of_the_release() -> Result<()> {
    let set = r#"--set-json=gridTemplates=[{"name": "a", "objectGridXml": {"inline": "<a/>"},
        "deploymentPolicyXml": {"inline": "<a/>"}, "labels": {"b": "c"}}]"#;
    let words = [&NEEDED[..], &[set]].concat();
    let found = helm().await?.template(CACHE, &words).await?;
    let template = found.iter().find(|object| object["kind"] == "GridTemplate").unwrap();
    assert_eq!(template["spec"]["cacheRef"], json!({"name": "release"}));
    assert_eq!(template["metadata"]["labels"]["b"], "c");
    Ok(())
}

#[tokio::test]
async fn plain_credentials_go_into_a_secret_and_are_told_nowhere_else() -> Result<()> {
    let helm = helm().await?;
    let words =
        ["--set=license=accept", "--set=adminPwd=Very-Secret-1", "--set=secretKey=Key-Of-2"];
    let found = helm.template(CACHE, &words).await?;
    let (secrets, others): (Vec<&Value>, Vec<&Value>) =
        found.iter().partition(|object| object["kind"] == "Secret");
    assert_eq!(secrets.len(), 1);
    assert_eq!(secrets[0]["metadata"]["name"], "release-login");
    let data = json!({"adminPassword": "VmVyeS1TZWNyZXQtMQ==", "secretKey": "S2V5LU9mLTI="});
    assert_eq!(secrets[0]["data"], data);
    let spec = &others[0]["spec"];
    let reference = json!({"name": "release-login", "key": "adminPassword"});
    assert_eq!(spec["adminPasswordSecretRef"], reference);
    assert_eq!(spec["secretKeySecretRef"], json!({"name": "release-login", "key": "secretKey"}));
    let told = serde_json::to_string(&others)?;
    let notes = notes(&helm, CACHE, &words).await?;
    for secret in ["Very-Secret-1", "Key-Of-2", "VmVyeS1TZWNyZXQtMQ", "S2V5LU9mLTI"] {
        assert!(!told.contains(secret) && !notes.contains(secret), "{told}\n{notes}");
    }
    Ok(())
}

/// What Helm tells after an installation.
async fn notes(helm: &Helm, chart: &str, words: &[&str]) -> Result<String> {
    let folder = helm::path(chart);
    let install = ["install", "release", &folder, "--dry-run=client"];
    let said = helm.run(&[&install, words].concat()).await?;
    Ok(said.split_once("\nNOTES:\n").context("no notes")?.1.to_owned())
}

#[tokio::test]
async fn the_notes_say_what_to_type_next_and_what_becomes_of_the_volumes() -> Result<()> {
    let helm = helm().await?;
    let told = notes(&helm, OPERATOR, &["--namespace=ops"]).await?;
    assert!(told.contains("kubectl -n ops rollout status statefulset/xsld-operator"), "{told}");
    assert!(told.contains("the namespace ops") && !told.contains("crds.install"), "{told}");
    let set = ["--set=watchAllNamespaces=true", "--set=crds.install=false"];
    let told = notes(&helm, OPERATOR, &set).await?;
    assert!(told.contains("all namespaces") && told.contains("crds.install=false"), "{told}");

    let told = notes(&helm, CACHE, &NEEDED).await?;
    assert!(told.contains("with 3 members") && told.contains("release-client.team.svc"), "{told}");
    assert!(told.contains("leave are deleted") && told.contains("volumes are kept"), "{told}");
    let opposite =
        ["--set=storage.retention.whenScaled=Retain,storage.retention.whenDeleted=Delete"];
    let told = notes(&helm, CACHE, &[&NEEDED[..], &opposite].concat()).await?;
    assert!(told.contains("leave are kept") && told.contains("volumes are deleted"), "{told}");
    // An autoscaler's size is not the chart's.
    let told = notes(&helm, CACHE, &[&NEEDED[..], &["--set=size=null"]].concat()).await?;
    assert!(told.contains("is asked for. "), "{told}");
    Ok(())
}
