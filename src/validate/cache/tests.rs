use super::*;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ResourceRequirements};

fn spec() -> XsldCacheSpec {
    XsldCacheSpec {
        license: Some("accept".to_owned()),
        admin_pwd: Some(PlainSecret::from("Password123!")),
        secret_key: Some(PlainSecret::from("Password123!")),
        ..XsldCacheSpec::default()
    }
}

fn check(name: &str, change: impl FnOnce(&mut XsldCacheSpec)) -> Result<ValidCache, Vec<Invalid>> {
    let mut spec = spec();
    change(&mut spec);
    cache(&XsldCache::new(name, spec))
}

fn field_of(change: impl FnOnce(&mut XsldCacheSpec)) -> String {
    let findings = check("example", change).unwrap_err();
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings[0].field.clone()
}

fn reference(name: &str, key: &str) -> Option<SecretKeyRef> {
    Some(SecretKeyRef { name: name.to_owned(), key: key.to_owned() })
}

fn unknown<T>(word: &str) -> Choice<T> {
    Choice::Unknown(word.to_owned())
}

#[test]
fn the_predecessors_object_has_the_documented_defaults() {
    let cache = check("example-xsldcache", |_| ()).unwrap();
    assert_eq!((cache.size, cache.capacity, cache.catalogs), (1, 1, 3));
    assert_eq!(cache.image, "ibmcom/xsld:latest");
    assert_eq!(cache.group.as_str(), "cg1");
    assert!(cache.credentials.any_plain());
    assert_eq!(cache.storage.retention.when_scaled, VolumePolicy::Delete);
    assert_eq!(cache.storage.retention.when_deleted, VolumePolicy::Retain);
    assert_eq!(cache.pod.anti_affinity, AntiAffinity::Preferred);
    assert_eq!(cache.pod.settings.termination_grace_period_seconds, 30);
    assert_eq!(cache.tls, TlsTrust::Pin);
    assert_eq!(cache.replication.mode, ReplicationMode::Auto);
    assert_eq!(cache.rollout.on_failure, OnFailure::Halt);
    assert_eq!(cache.reset_half_joined, ResetHalfJoined::Auto);
    assert!(!cache.paused);
    assert_eq!(cache.entrypoint, EntrypointSource::Supplied);
}

#[test]
fn names_are_dns_labels_with_room_for_more() {
    for name in ["a", "a1", "a-b", &"a".repeat(52)] {
        assert!(check(name, |_| ()).is_ok(), "{name}");
    }
    for name in ["", "1a", "-a", "a-", "a.b", "A", "a_b", &"a".repeat(53)] {
        let findings = check(name, |_| ()).unwrap_err();
        assert_eq!(findings.len(), 1, "{name}: {findings:?}");
        assert_eq!(findings[0].field, "metadata.name");
    }
}

#[test]
fn each_broken_rule_names_its_field() {
    assert_eq!(field_of(|s| s.license = None), "spec.license");
    assert_eq!(field_of(|s| s.license = Some("yes".to_owned())), "spec.license");
    assert_eq!(field_of(|s| s.size = 0), "spec.size");
    assert_eq!(field_of(|s| s.size = 101), "spec.size");
    assert_eq!(field_of(|s| s.image = String::new()), "spec.image");
    assert_eq!(field_of(|s| s.image = "a b".to_owned()), "spec.image");
    assert_eq!(field_of(|s| s.capacity = 0), "spec.capacity");
    assert_eq!(field_of(|s| s.catalogs = 0), "spec.catalogs");
    assert_eq!(field_of(|s| s.group = "x".repeat(65)), "spec.group");
    assert_eq!(field_of(|s| s.group = String::new()), "spec.group");
    assert_eq!(
        field_of(|s| s.entrypoint_config_map = Some("A".to_owned())),
        "spec.entrypointConfigMap"
    );
    assert_eq!(
        field_of(|s| s.api_profile_config_map = Some(String::new())),
        "spec.apiProfileConfigMap"
    );
    assert_eq!(field_of(|s| s.storage.size = "0".to_owned()), "spec.storage.size");
    assert_eq!(field_of(|s| s.storage.size = "1 GB".to_owned()), "spec.storage.size");
    assert_eq!(field_of(|s| s.storage.access_modes.clear()), "spec.storage.accessModes");
    assert_eq!(
        field_of(|s| s.storage.retention.when_scaled = unknown("Burn")),
        "spec.storage.retention.whenScaled"
    );
    assert_eq!(field_of(|s| s.rollout.partition = -1), "spec.rollout.partition");
    assert_eq!(
        field_of(|s| s.rollout.progress_deadline_seconds = 0),
        "spec.rollout.progressDeadlineSeconds"
    );
    assert_eq!(field_of(|s| s.rollout.on_failure = unknown("Pray")), "spec.rollout.onFailure");
    assert_eq!(field_of(|s| s.replication.mode = unknown("On")), "spec.replication.mode");
    assert_eq!(
        field_of(|s| s.replication.primary_grace_seconds = 0),
        "spec.replication.primaryGraceSeconds"
    );
    assert_eq!(
        field_of(|s| s.repair.reset_half_joined = unknown("Always")),
        "spec.repair.resetHalfJoined"
    );
    assert_eq!(field_of(|s| s.tls.mode = unknown("Trust")), "spec.tls.mode");
}

#[test]
fn pod_settings_keep_the_syntax_of_a_pod() {
    let quantities =
        |text: &str| Some(BTreeMap::from([("memory".to_owned(), Quantity(text.to_owned()))]));
    assert_eq!(
        field_of(|s| {
            s.pod.resources =
                Some(ResourceRequirements { limits: quantities("2Gx"), ..Default::default() });
        }),
        "spec.pod.resources.limits"
    );
    assert_eq!(
        field_of(|s| {
            s.pod.resources =
                Some(ResourceRequirements { requests: quantities("-1"), ..Default::default() });
        }),
        "spec.pod.resources.requests"
    );
    let label = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    assert_eq!(field_of(|s| s.pod.labels = label("a b", "c")), "spec.pod.labels");
    assert_eq!(field_of(|s| s.pod.labels = label("app", "c")), "spec.pod.labels");
    assert_eq!(field_of(|s| s.pod.node_selector = label("a", "b c")), "spec.pod.nodeSelector");
    assert_eq!(field_of(|s| s.pod.annotations = label("a b", "x")), "spec.pod.annotations");
    assert_eq!(
        field_of(|s| s.pod.termination_grace_period_seconds = -1),
        "spec.pod.terminationGracePeriodSeconds"
    );
    assert_eq!(field_of(|s| s.pod.anti_affinity = unknown("Maybe")), "spec.pod.antiAffinity");
    assert_eq!(
        field_of(|s| s.pod.service_account_name = Some("A".to_owned())),
        "spec.pod.serviceAccountName"
    );
    assert_eq!(
        field_of(|s| s.pod.priority_class_name = Some("A".to_owned())),
        "spec.pod.priorityClassName"
    );
}

#[test]
fn an_environment_names_each_variable_once_and_none_of_the_operators() {
    let variable = |name: &str, value: &str| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    };
    for env in [
        vec![variable("", "x")],
        vec![variable("a=b", "x")],
        vec![variable("SECRET_KEY", "x")],
        vec![variable("A", "x"), variable("A", "y")],
        vec![EnvVar { value_from: Some(EnvVarSource::default()), ..variable("A", "x") }],
    ] {
        assert_eq!(field_of(|s| s.pod.env = env), "spec.pod.env");
    }
}

#[test]
fn exactly_one_of_the_plain_secret_and_the_reference_is_set() {
    assert_eq!(field_of(|s| s.admin_pwd = None), "spec.adminPwd");
    assert_eq!(field_of(|s| s.secret_key_secret_ref = reference("a", "b")), "spec.secretKey");
    let cache = check("example", |s| {
        s.admin_pwd = None;
        s.admin_password_secret_ref = reference("xsld", "password");
    })
    .unwrap();
    assert!(matches!(cache.credentials.admin_password, SecretSource::Ref(_)));
    assert!(matches!(cache.credentials.secret_key, SecretSource::Plain(_)));
    assert_eq!(
        field_of(|s| {
            s.secret_key = None;
            s.secret_key_secret_ref = reference("xsld", "a/b");
        }),
        "spec.secretKeySecretRef.key"
    );
}

#[test]
fn no_finding_and_no_debug_output_holds_a_secret() {
    let findings = check("example", |s| {
        s.admin_pwd = Some(PlainSecret::from("hunter2"));
    })
    .unwrap_err();
    assert!(!format!("{findings:?}").contains("hunter2"));
    let cache = check("example", |_| ()).unwrap();
    assert!(!format!("{cache:?}").contains("Password123!"));
    assert!(!format!("{:?}", spec()).contains("Password123!"));
}

#[test]
fn a_certificate_authority_belongs_to_its_mode() {
    assert_eq!(field_of(|s| s.tls.mode = TlsMode::Ca.into()), "spec.tls.caSecretRef");
    assert_eq!(field_of(|s| s.tls.ca_secret_ref = reference("a", "b")), "spec.tls.caSecretRef");
    let cache = check("example", |s| {
        s.tls.mode = TlsMode::Ca.into();
        s.tls.ca_secret_ref = reference("ca", "ca.crt");
    })
    .unwrap();
    assert!(matches!(cache.tls, TlsTrust::Ca(_)));
}

#[test]
fn access_modes_are_known_distinct_and_can_be_combined() {
    let modes = |modes: &[&str]| modes.iter().map(|mode| (*mode).to_owned()).collect();
    for allowed in [&["ReadWriteOnce"][..], &["ReadWriteOnce", "ReadWriteMany"]] {
        assert!(check("example", |s| s.storage.access_modes = modes(allowed)).is_ok());
    }
    for refused in [
        &["ReadOnlyMany"][..],
        &["ReadWriteOnce", "ReadWriteOnce"],
        &["ReadWriteOnce", "ReadWriteOncePod"],
    ] {
        assert_eq!(
            field_of(|s| s.storage.access_modes = modes(refused)),
            "spec.storage.accessModes"
        );
    }
}

fn changed(change: impl FnOnce(&mut XsldCacheSpec)) -> Vec<String> {
    let old = spec();
    let mut new = spec();
    change(&mut new);
    cache_change(&old, &new).into_iter().map(|finding| finding.field).collect()
}

#[test]
fn fixed_fields_cannot_be_changed() {
    assert_eq!(changed(|s| s.group = "other".to_owned()), ["spec.group"]);
    assert_eq!(changed(|s| s.capacity = 2), ["spec.capacity"]);
    assert_eq!(
        changed(|s| s.storage.storage_class_name = Some("fast".to_owned())),
        ["spec.storage.storageClassName"]
    );
    assert_eq!(
        changed(|s| s.storage.access_modes = vec!["ReadWriteMany".to_owned()]),
        ["spec.storage.accessModes"]
    );
    assert_eq!(
        changed(|s| s.admin_pwd = Some(PlainSecret::from("Password124!"))),
        ["spec.adminPwd"]
    );
}

#[test]
fn everything_else_can_be_changed() {
    assert!(
        changed(|s| {
            s.size = 5;
            s.image = "ibmcom/xsld:8613".to_owned();
            s.catalogs = 1;
            s.storage.size = "2Gi".to_owned();
            s.admin_pwd = None;
            s.admin_password_secret_ref = reference("xsld", "password");
        })
        .is_empty()
    );
}

#[test]
fn the_size_of_volumes_can_be_set_back() {
    assert!(changed(|s| s.storage.size = "1023Mi".to_owned()).is_empty());
}

#[test]
fn a_plain_secret_cannot_come_back() {
    let mut old = spec();
    old.secret_key = None;
    old.secret_key_secret_ref = reference("xsld", "key");
    let findings = cache_change(&old, &spec());
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].field, "spec.secretKey");
}
