use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::tests::{identity, valid};
use super::super::{
    Committed, CommittedTemplate, pod_template, stateful_set, template_digest, template_json,
};
use super::*;

const CONTAINER: &str = "/spec/template/spec/containers/0";
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// The StatefulSet as it is applied.
fn desired() -> Value {
    let template = pod_template(&valid(|_| {}), &identity());
    let (text, digest) = (template_json(&template), template_digest(&template));
    let template = CommittedTemplate::read(&text, &digest).unwrap();
    let committed = Committed { replicas: 3, template: &template };
    stateful_set(&valid(|_| {}), &identity(), committed, None)
}

/// The fields that an apply of this owns, in the form of `fieldsV1`.
fn owned(name: &str, value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let below =
                |(name, value): (&String, &Value)| (format!("f:{name}"), owned(name, value));
            Value::Object(fields.iter().map(below).collect())
        }
        Value::Array(items) if !element_keys(name).is_empty() => {
            let key = |item: &Value| {
                let own = element_keys(name).iter().filter_map(|key| Some((key, item.get(*key)?)));
                let own: Map<_, _> =
                    own.map(|(key, own)| ((*key).to_owned(), own.clone())).collect();
                format!("k:{}", Value::Object(own))
            };
            Value::Object(items.iter().map(|item| (key(item), owned("", item))).collect())
        }
        _ => json!({}),
    }
}

/// The same as the API server stores it: with its defaults and with whose each field is.
fn stored() -> Value {
    let mut live = desired();
    let fields = owned("", &json!({"metadata": live["metadata"], "spec": live["spec"]}));
    live["metadata"]["managedFields"] = json!([
        {"manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": "apps/v1",
            "time": "2026-11-29T12:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields},
        {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status",
            "fieldsV1": {"f:status": {"f:replicas": {}}}},
    ]);
    live["metadata"]["uid"] = json!("u");
    live["metadata"]["generation"] = json!(3);
    live["spec"]["revisionHistoryLimit"] = json!(10);
    let spec = live.pointer_mut("/spec/template/spec").unwrap();
    spec["restartPolicy"] = json!("Always");
    spec["dnsPolicy"] = json!("ClusterFirst");
    spec["schedulerName"] = json!("default-scheduler");
    let container = live.pointer_mut(CONTAINER).unwrap();
    container["imagePullPolicy"] = json!("IfNotPresent");
    container["resources"] = json!({});
    container["terminationMessagePath"] = json!("/dev/termination-log");
    container["readinessProbe"]["successThreshold"] = json!(1);
    live["status"] = json!({"replicas": 3});
    live
}

/// An Update by somebody, who owns these fields then.
fn by(live: &mut Value, manager: &str, fields: Value) {
    let managers = live["metadata"]["managedFields"].as_array_mut().unwrap();
    managers.push(json!({"manager": manager, "operation": "Update", "apiVersion": "apps/v1",
        "time": "2026-11-29T13:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields}));
}

fn told(live: &Value) -> Vec<(Option<String>, String, bool)> {
    let all = edits(&desired(), live).all.into_iter();
    all.map(|edit| (edit.by, edit.path, edit.is_added)).collect()
}

/// A merge patch, as the API server applies it.
fn merged(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *into = patch.clone();
        return;
    };
    for (name, change) in fields {
        if change.is_null() {
            into.as_object_mut().unwrap().remove(name);
        } else {
            merged(&mut into[name], change);
        }
    }
}

/// Takes the additions off, and demands that nothing else changes and none is left.
fn without_additions(live: &Value) -> Value {
    let mut clean = live.clone();
    if let Some(removal) = edits(&desired(), live).removal {
        merged(&mut clean, &removal);
    }
    assert!(edits(&desired(), &clean).all.iter().all(|edit| !edit.is_added), "{clean}");
    clean
}

#[test]
fn what_the_api_server_fills_in_is_nobodys_edit() {
    assert_eq!(edits(&desired(), &stored()), Edits::default());
    // Also where a tool sent it along with all else, and owns it.
    let mut live = stored();
    let fields = json!({"f:spec": {"f:revisionHistoryLimit": {}, "f:template": {"f:spec": {
        "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}}}}});
    by(&mut live, "kubectl-client-side-apply", fields);
    assert_eq!(told(&live), []);
}

#[test]
fn a_restart_by_kubectl_is_an_annotation_of_the_pod_template() {
    let mut live = stored();
    live["spec"]["template"]["metadata"]["annotations"][RESTARTED] = json!("2026-11-29T13:00:00Z");
    let fields = json!({"f:spec": {"f:template": {"f:metadata": {"f:annotations": {
        "f:kubectl.kubernetes.io/restartedAt": {}}}}}});
    by(&mut live, "kubectl-rollout", fields);
    let found = edits(&desired(), &live);
    let path = format!("spec.template.metadata.annotations[{RESTARTED}]");
    assert_eq!(told(&live), [(Some("kubectl-rollout".to_owned()), path.clone(), true)]);
    assert_eq!(found.of_pods().count(), 1);
    assert_eq!(
        (found.who(), found.places()),
        ("kubectl-rollout".to_owned(), format!("{path} at 2026-11-29T13:00:00Z"))
    );
    assert!(found.instead().contains("spec.pod.annotations"), "{}", found.instead());
    assert_eq!(
        found.removal,
        Some(json!({"spec": {"template": {"metadata": {"annotations": {
        RESTARTED: null}}}}}))
    );
    let mut expected = stored();
    expected["metadata"]["managedFields"] = live["metadata"]["managedFields"].clone();
    assert_eq!(without_additions(&live), expected);
}

#[test]
fn set_env_adds_one_changes_one_and_takes_one_away() {
    let mut live = stored();
    let env = live.pointer_mut(&format!("{CONTAINER}/env")).unwrap().as_array_mut().unwrap();
    env.retain(|one| one["name"] != "CACHE_GROUP");
    env.iter_mut().find(|one| one["name"] == "MEMBER_CAP").unwrap()["value"] = json!("9");
    env.push(json!({"name": "DEBUG", "value": "Password123!"}));
    let fields = json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {
    r#"k:{"name":"xsld"}"#: {"f:env": {
        r#"k:{"name":"DEBUG"}"#: {".": {}, "f:name": {}, "f:value": {}},
        r#"k:{"name":"MEMBER_CAP"}"#: {"f:value": {}},
    }}}}}}});
    by(&mut live, "kubectl-set", fields);
    let path = |rest: &str| format!("spec.template.spec.containers[xsld].env{rest}");
    let kubectl = || Some("kubectl-set".to_owned());
    assert_eq!(
        told(&live),
        [
            (kubectl(), path("[MEMBER_CAP].value"), false),
            (kubectl(), path("[DEBUG]"), true),
            (None, path("[CACHE_GROUP]"), false),
        ]
    );
    let found = edits(&desired(), &live);
    assert!(!found.key().contains("Password123!") && !found.places().contains("Password123!"));
    let clean = without_additions(&live);
    let env = clean.pointer(&format!("{CONTAINER}/env")).unwrap().as_array().unwrap();
    assert!(env.iter().all(|one| one["name"] != "DEBUG"), "it stays");
    assert!(env.iter().any(|one| one["name"] == "LICENSE"), "ours went with it");
}

#[test]
fn an_image_that_a_person_sets_has_an_owner_and_one_that_a_policy_writes_has_none() {
    let mut live = stored();
    live.pointer_mut(CONTAINER).unwrap()["image"] = json!("mirror/xsld:1");
    let path = "spec.template.spec.containers[xsld].image".to_owned();
    assert_eq!(told(&live), [(None, path.clone(), false)]);
    assert_eq!(edits(&desired(), &live).removal, None, "an apply sets it back");
    let fields = json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {
        r#"k:{"name":"xsld"}"#: {"f:image": {}}}}}}});
    by(&mut live, "kubectl-set", fields);
    assert_eq!(told(&live), [(Some("kubectl-set".to_owned()), path, false)]);
}

#[test]
fn what_a_policy_adds_has_no_owner_and_is_found_all_the_same() {
    let mut live = stored();
    let spec = live.pointer_mut("/spec/template/spec").unwrap();
    spec["containers"].as_array_mut().unwrap().push(json!({"name": "proxy", "image": "p:1",
        "terminationMessagePath": "/dev/termination-log"}));
    spec["initContainers"] = json!([{"name": "init", "image": "i:1"}]);
    spec["volumes"].as_array_mut().unwrap().push(json!({"name": "certs", "emptyDir": {}}));
    spec["nodeSelector"] = json!({"pool": "cache"});
    spec["tolerations"] = json!([{"operator": "Exists"}]);
    spec["affinity"]["nodeAffinity"] = json!({"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}});
    spec["containers"][0]["resources"]["limits"] = json!({"memory": "1Gi"});
    live["spec"]["template"]["metadata"]["labels"]["team"] = json!("shop");
    let places: Vec<_> = told(&live)
        .into_iter()
        .map(|(by, path, added)| {
            assert!(by.is_none() && added, "{path}");
            path
        })
        .collect();
    for place in [
        "spec.template.metadata.labels[team]",
        "spec.template.spec.containers[proxy]",
        "spec.template.spec.containers[xsld].resources",
        "spec.template.spec.initContainers",
        "spec.template.spec.nodeSelector",
        "spec.template.spec.tolerations",
        "spec.template.spec.volumes[certs]",
        "spec.template.spec.affinity.nodeAffinity",
    ] {
        assert!(places.contains(&place.to_owned()), "{place} is missing: {places:?}");
    }
    assert_eq!(places.len(), 8, "{places:?}");
    let mut clean = without_additions(&live);
    // The API server fills that in again.
    clean.pointer_mut(CONTAINER).unwrap()["resources"] = json!({});
    assert_eq!(clean, stored());
}

#[test]
fn fields_of_the_set_count_and_what_others_note_on_the_object_does_not() {
    let mut live = stored();
    live["metadata"]["annotations"]["team.io/owner"] = json!("shop");
    live["metadata"]["labels"]["team"] = json!("shop");
    live["metadata"]["finalizers"] = json!(["team.io/keep"]);
    let fields = json!({"f:metadata": {"f:annotations": {"f:team.io/owner": {}},
        "f:labels": {"f:team": {}}, "f:finalizers": {r#"v:"team.io/keep""#: {}}}});
    by(&mut live, "tool", fields);
    assert_eq!(told(&live), []);
    live["spec"]["replicas"] = json!(1);
    live["spec"]["updateStrategy"] = json!({"type": "RollingUpdate"});
    live["spec"]["ordinals"] = json!({"start": 5});
    let fields = json!({"f:spec": {"f:updateStrategy": {"f:type": {}},
        "f:ordinals": {".": {}, "f:start": {}}}});
    by(&mut live, "kubectl-edit", fields);
    let managers = live["metadata"]["managedFields"].as_array_mut().unwrap();
    managers.push(json!({"manager": "kubectl", "operation": "Update", "subresource": "scale",
        "fieldsV1": {"f:spec": {"f:replicas": {}}}}));
    let editor = || Some("kubectl-edit".to_owned());
    assert_eq!(
        told(&live),
        [
            (editor(), "spec.ordinals".to_owned(), true),
            (Some("kubectl".to_owned()), "spec.replicas".to_owned(), false),
            (editor(), "spec.updateStrategy.type".to_owned(), false),
        ]
    );
    assert_eq!(edits(&desired(), &live).removal, Some(json!({"spec": {"ordinals": null}})));
}

#[test]
fn what_an_apply_of_ours_lets_go_of_is_no_edit() {
    let mut live = stored();
    live.pointer_mut(&format!("{CONTAINER}/env"))
        .unwrap()
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "FORMERLY", "value": "1"}));
    let fields = live.pointer_mut("/metadata/managedFields/0/fieldsV1").unwrap();
    fields["f:spec"]["f:template"]["f:spec"]["f:containers"][r#"k:{"name":"xsld"}"#]["f:env"][r#"k:{"name":"FORMERLY"}"#] =
        json!({".": {}, "f:name": {}, "f:value": {}});
    assert_eq!(told(&live), []);
}

#[test]
fn what_others_add_to_other_kinds_stays_and_what_they_change_is_told() {
    let service = |port: i32| {
        json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "c"}, "spec": {"ports": [{"port": port, "protocol": "TCP"}],
        "selector": {"app": "c"}}})
    };
    let mut live = service(9443);
    live["metadata"]["annotations"] = json!({"cloud.io/lb": "7"});
    live["spec"]["ports"].as_array_mut().unwrap().push(json!({"port": 1, "protocol": "TCP"}));
    live["spec"]["selector"]["app"] = json!("d");
    live["metadata"]["managedFields"] = json!([{"manager": "kubectl-edit", "operation": "Update",
        "fieldsV1": {"f:spec": {"f:selector": {}}}}]);
    let found = edits(&service(9443), &live);
    let paths: Vec<_> = found.all.iter().map(|edit| edit.path.as_str()).collect();
    assert_eq!((paths, &found.removal), (vec!["spec.selector.app"], &None));
    assert_eq!(found.who(), "kubectl-edit", "a selector has one owner as a whole");
}

#[test]
fn pods_are_others_for_what_runs_in_them_and_not_for_an_annotation_or_a_later_default() {
    let template = stored()["spec"]["template"].clone();
    let other = |change: &dyn Fn(&mut Value)| {
        let mut from = template.clone();
        from["$patch"] = json!("replace");
        change(&mut from);
        makes_other_pods(&from, &template)
    };
    assert!(!other(&|_| {}));
    assert!(!other(&|from| from["metadata"]["annotations"][RESTARTED] = json!("now")));
    assert!(
        !other(&|from| {
            from["spec"].as_object_mut().unwrap().remove("dnsPolicy");
        }),
        "a default that a later API server fills in"
    );
    assert!(other(&|from| from["spec"]["containers"][0]["image"] = json!("b:1")));
    assert!(other(&|from| from["spec"]["hostNetwork"] = json!(true)));
    assert!(other(&|from| from["spec"]["nodeSelector"] = json!({"a": "b"})));
    assert!(
        other(&|from| {
            from["spec"]["containers"][0]["env"].as_array_mut().unwrap().pop();
        }),
        "one of ours is missing"
    );
}

proptest! {
    /// Nothing in `managedFields` makes it panic, or find something where nothing differs.
    #[test]
    fn garbage_owns_nothing(manager in "\\PC{0,200}", path in "[a-z:.{}\"]{0,12}") {
        let mut live = stored();
        by(&mut live, &manager, json!({path.clone(): {"f:spec": null, path: [1, {}]}}));
        live["metadata"]["managedFields"].as_array_mut().unwrap().push(json!(7));
        prop_assert_eq!(told(&live), []);
        live["spec"]["template"]["metadata"]["annotations"][manager.clone()] = json!("x");
        let found = edits(&desired(), &live);
        prop_assert!(found.all.iter().all(|edit| edit.path.chars().count() <= WORD_MAX));
    }
}
