use super::*;
use crate::crd::{AntiAffinity, PlainSecret, SecretKeyRef, VolumePolicy, XsldCacheSpec};
use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, NodeAffinity, PodSecurityContext, ResourceRequirements, Toleration,
    TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::json;

pub(super) fn identity() -> Identity {
    Identity {
        name: "example".to_owned(),
        namespace: "team".to_owned(),
        uid: "4f6f7ae4-0000-4000-8000-000000000001".to_owned(),
    }
}

pub(super) fn valid(change: impl FnOnce(&mut XsldCacheSpec)) -> ValidCache {
    let mut spec = XsldCacheSpec {
        license: Some("accept".to_owned()),
        admin_pwd: Some(PlainSecret::from("Password123!")),
        secret_key: Some(PlainSecret::from("Secretkey123!")),
        image: "ibmcom/xsld:8613".to_owned(),
        ..XsldCacheSpec::default()
    };
    change(&mut spec);
    crate::validate::cache(&XsldCache::new("example", spec)).unwrap()
}

fn reference(name: &str, key: &str) -> Option<SecretKeyRef> {
    Some(SecretKeyRef { name: name.to_owned(), key: key.to_owned() })
}

fn with_references(spec: &mut XsldCacheSpec) {
    spec.admin_pwd = None;
    spec.admin_password_secret_ref = reference("xsld", "password");
    spec.secret_key = None;
    spec.secret_key_secret_ref = reference("xsld", "key");
}

/// A cache with every setting of its pods.
fn full() -> ValidCache {
    valid(|spec| {
        with_references(spec);
        spec.size = 3;
        spec.capacity = 4;
        spec.entrypoint_config_map = Some("ip-update-entrypoint".to_owned());
        spec.storage.size = "10Gi".to_owned();
        spec.storage.storage_class_name = Some("fast".to_owned());
        spec.storage.retention.when_deleted = VolumePolicy::Delete.into();
        let pod = &mut spec.pod;
        pod.resources = Some(ResourceRequirements {
            requests: Some([("memory".to_owned(), Quantity("2Gi".to_owned()))].into()),
            ..ResourceRequirements::default()
        });
        pod.service_account_name = Some("xsld".to_owned());
        pod.image_pull_secrets =
            vec![k8s_openapi::api::core::v1::LocalObjectReference { name: "registry".to_owned() }];
        pod.node_selector = [("disk".to_owned(), "ssd".to_owned())].into();
        pod.tolerations =
            vec![Toleration { key: Some("cache".to_owned()), ..Toleration::default() }];
        pod.affinity =
            Some(Affinity { node_affinity: Some(NodeAffinity::default()), ..Affinity::default() });
        pod.anti_affinity = AntiAffinity::Required.into();
        pod.topology_spread_constraints = vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "topology.kubernetes.io/zone".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            ..TopologySpreadConstraint::default()
        }];
        pod.priority_class_name = Some("high".to_owned());
        pod.security_context =
            Some(PodSecurityContext { fs_group: Some(1001), ..PodSecurityContext::default() });
        pod.env = vec![EnvVar {
            name: "JVM_ARGS".to_owned(),
            value: Some("-Xmx1g".to_owned()),
            value_from: None,
        }];
        pod.labels = [("team".to_owned(), "a".to_owned())].into();
        pod.annotations = [("example.com/note".to_owned(), "b".to_owned())].into();
        pod.termination_grace_period_seconds = 60;
    })
}

fn committed_template(cache: &ValidCache) -> CommittedTemplate {
    let template = pod_template(cache, &identity());
    CommittedTemplate::read(&template_json(&template), &template_digest(&template)).unwrap()
}

#[test]
fn the_pod_template_of_the_predecessors_object() {
    insta::assert_yaml_snapshot!(document(&pod_template(&valid(|_| ()), &identity())));
}

#[test]
fn the_pod_template_with_every_setting() {
    insta::assert_yaml_snapshot!(document(&pod_template(&full(), &identity())));
}

fn budgets() -> Vec<Value> {
    let budgets = Budgets { evictions: Evictions::One, primary: Some(0), members: 3 };
    let (others, of_primary) = pod_disruption_budgets(&identity(), &budgets);
    vec![document(&others), document(&of_primary)]
}

#[test]
fn the_supporting_objects() {
    let mut objects = supporting(&valid(|_| ()), &identity(), Some("xsld-system"));
    objects.extend(budgets());
    // The script has tests of its own.
    for object in &mut objects {
        if let Some(script) = object.pointer_mut("/data/entrypoint.sh") {
            *script = json!("(the script)");
        }
    }
    insta::assert_yaml_snapshot!(objects);
}

#[test]
fn the_stateful_set() {
    let cache = full();
    let template = committed_template(&cache);
    let committed = Committed { replicas: 3, template: &template };
    let mut set = stateful_set(&cache, &identity(), committed, None);
    assert_eq!(set["spec"]["template"], document(&pod_template(&cache, &identity())));
    set["spec"]["template"] = json!("(the committed template)");
    insta::assert_yaml_snapshot!(set);
}

#[test]
fn replicas_and_template_come_from_the_journal_and_not_from_the_spec() {
    let old = valid(|_| ());
    let template = committed_template(&old);
    let new = valid(|spec| {
        spec.size = 5;
        spec.image = "ibmcom/xsld:9".to_owned();
    });
    let set = stateful_set(&new, &identity(), Committed { replicas: 2, template: &template }, None);
    assert_eq!(set["spec"]["replicas"], 2);
    assert_eq!(set.pointer("/spec/template/spec/containers/0/image").unwrap(), "ibmcom/xsld:8613");
    assert_eq!(template.image(), Some("ibmcom/xsld:8613"));
    assert_eq!(set["metadata"]["annotations"][ANNOTATION_TEMPLATE_DIGEST], template.digest());
}

#[test]
fn a_recorded_template_goes_in_as_it_is() {
    let text = r#"{"spec":{"containers":[{"name":"xsld"}],"fieldOfALaterRelease":7}}"#;
    let template = CommittedTemplate::read(text, "d").unwrap();
    let set =
        stateful_set(&full(), &identity(), Committed { replicas: 1, template: &template }, None);
    assert_eq!(set["spec"]["template"], serde_json::from_str::<Value>(text).unwrap());
}

#[test]
fn what_is_no_template_is_refused_with_its_digest() {
    for text in ["", "{", "[]", "{}", r#"{"spec":{"containers":[]}}"#] {
        let error = CommittedTemplate::read(text, "abc").unwrap_err();
        assert!(error.to_string().contains("abc"), "{error}");
    }
}

#[test]
fn live_claim_templates_are_handed_through() {
    let cache = valid(|spec| spec.storage.size = "20Gi".to_owned());
    let template = committed_template(&cache);
    let live = json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "vol"}, "x": 1}]}});
    let committed = Committed { replicas: 1, template: &template };
    let set = stateful_set(&cache, &identity(), committed, Some(&live));
    assert_eq!(set["spec"]["volumeClaimTemplates"], live["spec"]["volumeClaimTemplates"]);
    let fresh = stateful_set(&cache, &identity(), committed, None);
    let size = "/spec/volumeClaimTemplates/0/spec/resources/requests/storage";
    assert_eq!(fresh.pointer(size).unwrap(), "20Gi");
}

#[test]
fn a_digest_depends_on_the_content_alone() {
    let one = pod_template(&valid(|_| ()), &identity());
    let same = pod_template(&valid(|spec| spec.size = 7), &identity());
    let other = pod_template(&valid(|spec| spec.image = "other".to_owned()), &identity());
    assert_eq!(template_digest(&one), template_digest(&same));
    assert_ne!(template_digest(&one), template_digest(&other));
    assert_eq!(template_digest(&one).len(), 64);
}

#[test]
fn plain_credentials_are_copied_and_never_printed() {
    let cache = valid(|_| ());
    let secret = credentials_secret(&cache, &identity()).unwrap();
    assert_eq!(secret.name(), "example-credentials");
    let printed = format!("{secret:?}");
    assert!(!printed.contains("UGFz") && !printed.contains("Password123"), "{printed}");
    let data = &secret.expose_document()["data"];
    assert_eq!(data[KEY_ADMIN_PASSWORD], "UGFzc3dvcmQxMjMh");
    assert_eq!(data[KEY_SECRET_KEY], "U2VjcmV0a2V5MTIzIQ==");
    assert_eq!(
        admin_password_ref(&cache, &identity()),
        reference("example-credentials", KEY_ADMIN_PASSWORD).unwrap()
    );
}

#[test]
fn referenced_credentials_are_not_copied() {
    assert!(credentials_secret(&full(), &identity()).is_none());
    assert_eq!(admin_password_ref(&full(), &identity()), reference("xsld", "password").unwrap());
    let half = valid(|spec| {
        spec.admin_pwd = None;
        spec.admin_password_secret_ref = reference("xsld", "password");
    });
    let secret = credentials_secret(&half, &identity()).unwrap().expose_document();
    assert_eq!(secret["data"].as_object().unwrap().len(), 1);
}

#[test]
fn no_secret_is_in_any_other_object() {
    let cache = valid(|_| ());
    let template = committed_template(&cache);
    let committed = Committed { replicas: 1, template: &template };
    let mut objects = supporting(&cache, &identity(), None);
    objects.push(stateful_set(&cache, &identity(), committed, None));
    objects.extend(budgets());
    for object in objects {
        let text = object.to_string();
        assert!(!text.contains("Password123!") && !text.contains("Secretkey123!"), "{text}");
    }
}

#[test]
fn a_users_entrypoint_replaces_the_operators() {
    assert!(entrypoint_config_map(&full(), &identity()).is_none());
    assert_eq!(entrypoint_name(&full(), &identity()), "ip-update-entrypoint");
    assert_eq!(entrypoint_name(&valid(|_| ()), &identity()), "example-entrypoint");
}

#[test]
fn anti_affinity_can_be_left_out() {
    let cache = valid(|spec| spec.pod.anti_affinity = AntiAffinity::None.into());
    assert_eq!(pod_template(&cache, &identity()).spec.unwrap().affinity, None);
}

#[test]
fn an_operator_outside_the_cluster_is_let_in_from_anywhere() {
    let policy = document(&network_policy(&identity(), None));
    assert_eq!(
        policy.pointer("/spec/ingress/2").unwrap(),
        &json!({"ports": [{"port": PORT_ADMIN, "protocol": "TCP"}]})
    );
}

#[test]
fn every_object_but_the_claims_goes_with_the_cache() {
    let cache = valid(|_| ());
    let template = committed_template(&cache);
    let committed = Committed { replicas: 1, template: &template };
    let mut objects = supporting(&cache, &identity(), None);
    objects.extend(budgets());
    objects.push(credentials_secret(&cache, &identity()).unwrap().expose_document());
    let set = stateful_set(&cache, &identity(), committed, None);
    assert!(set.pointer("/spec/volumeClaimTemplates/0/metadata/ownerReferences").is_none());
    objects.push(set);
    for object in &objects {
        let owner = object.pointer("/metadata/ownerReferences/0").unwrap();
        assert_eq!(owner["uid"], identity().uid, "{object}");
        assert_eq!(owner["controller"], true);
        assert_eq!(object["metadata"]["namespace"], "team");
        assert_eq!(object["metadata"]["labels"]["app"], "example");
        assert!(!differs(object, object), "{object}");
    }
}

#[test]
fn the_longest_name_fits_into_every_label_and_service() {
    let name = "a".repeat(crate::crd::MAX_CACHE_NAME);
    assert!(client_service_name(&name).len() <= 63);
    assert!(pod_name(&name, 99).len() <= 63);
    // `controller-revision-hash` is the name, a dash and at most ten characters.
    assert!(name.len() + 11 <= 63);
}

#[test]
fn an_identity_is_that_of_a_stored_object() {
    let mut object = XsldCache::new("example", XsldCacheSpec::default());
    assert_eq!(Identity::of(&object), None);
    object.metadata.namespace = Some("team".to_owned());
    object.metadata.uid = Some(identity().uid);
    assert_eq!(Identity::of(&object), Some(identity()));
    assert_eq!(
        identity().selector_text(),
        "app=example,app.kubernetes.io/instance=example,app.kubernetes.io/name=xsld"
    );
}

#[test]
fn every_object_that_is_made_for_a_cache_has_a_name_that_is_kept_for_it() {
    let (cache, identity) = (valid(|_| {}), identity());
    let mut made = supporting(&cache, &identity, None);
    let budgets = Budgets { evictions: Evictions::One, primary: Some(0), members: 2 };
    let (others, own) = pod_disruption_budgets(&identity, &budgets);
    made.extend([document(&others), document(&own)]);
    made.push(credentials_secret(&cache, &identity).unwrap().expose_document());
    let password = secrecy::SecretString::from("Password123!");
    made.push(held_credentials(&identity, &password).expose_document());
    let names = own_names(&identity.name);
    for object in &made {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        let kept = names.iter().any(|(of, named)| kind == of && name == named.as_str());
        assert!(kept, "nobody looks whose {kind} {name} is before it is written");
    }
    // And the StatefulSet.
    assert_eq!(made.len() + 1, names.len());
}
