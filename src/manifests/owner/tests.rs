use serde_json::{Value, json};

use super::*;

const UID: &str = "4f6f7ae4";
const SET: &str = "set-uid";

fn identity() -> Identity {
    Identity { name: "c".into(), namespace: "ns".into(), uid: UID.into() }
}

fn owner(kind: &str, name: &str, uid: &str) -> Value {
    let version = match kind {
        "XsldCache" => "xsld.ibm.com/v1alpha1",
        "StatefulSet" | "Deployment" => "apps/v1",
        _ => "v1",
    };
    json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true})
}

fn labels(of: &str) -> Value {
    json!({
        "app": of,
        "app.kubernetes.io/name": "xsld",
        "app.kubernetes.io/instance": of,
        "app.kubernetes.io/managed-by": "xsld-operator",
    })
}

fn metadata(labels: &Value, owners: &[Value]) -> ObjectMeta {
    let object =
        json!({"name": "x", "namespace": "ns", "labels": labels, "ownerReferences": owners});
    serde_json::from_value(object).unwrap()
}

/// Whose it is, in a word.
fn word(whose: &Whose) -> &'static str {
    match whose {
        Whose::Ours => "ours",
        Whose::Orphaned => "orphaned",
        Whose::Former => "former",
        Whose::Foreign { .. } => "foreign",
    }
}

#[test]
fn an_object_is_ours_by_its_controller_and_adopted_by_its_labels_only_where_nobody_controls_it() {
    let (ours, theirs, none) = (labels("c"), labels("d"), json!({}));
    let mut of_another_group = owner("XsldCache", "c", UID);
    of_another_group["apiVersion"] = json!("example.com/v1");
    let mut no_controller = owner("XsldCache", "c", UID);
    no_controller["controller"] = json!(false);
    let me = || owner("XsldCache", "c", UID);
    let rows = [
        ("ours", &ours, vec![me()]),
        ("ours", &none, vec![me()]),
        // As the predecessor made it.
        ("ours", &json!({"app": "c"}), vec![me()]),
        ("orphaned", &ours, vec![]),
        ("orphaned", &ours, vec![no_controller.clone()]),
        ("foreign", &none, vec![no_controller]),
        ("foreign", &none, vec![]),
        ("foreign", &json!({"app": "c"}), vec![]),
        ("foreign", &json!({"app.kubernetes.io/instance": "c"}), vec![]),
        ("foreign", &theirs, vec![]),
        ("foreign", &ours, vec![owner("Deployment", "app", "u")]),
        ("foreign", &ours, vec![owner("XsldCache", "d", "other")]),
        ("foreign", &ours, vec![of_another_group]),
        ("former", &ours, vec![owner("XsldCache", "c", "former")]),
        ("former", &none, vec![owner("XsldCache", "c", "former")]),
    ];
    for (expected, labels, owners) in rows {
        let found = whose(&metadata(labels, &owners), &identity());
        assert_eq!(word(&found), expected, "{labels} {owners:?}: {found:?}");
        assert_eq!(found.may_be_written(), ["ours", "orphaned"].contains(&expected));
    }
}

#[test]
fn an_object_of_another_namespace_is_nobodys_business() {
    let mut copied = metadata(&labels("c"), &[owner("XsldCache", "c", UID)]);
    copied.namespace = Some("other".into());
    assert_eq!(word(&whose(&copied, &identity())), "foreign");
}

#[test]
fn a_pod_is_ours_by_its_stateful_set() {
    let (ours, none) = (labels("c"), json!({}));
    let of = |set: &str, name: &str| vec![owner("StatefulSet", name, set)];
    let live = Beside { set: Some(SET), replicas: Some(3), ..Beside::default() };
    let foreign_set = Beside { replicas: None, is_foreign: true, ..live };
    let gone = Beside::default();
    let known = |beside: Beside<'static>| Beside { is_known: true, ..beside };
    let rows = [
        ("ours", &ours, of(SET, "c"), live),
        // Whoever edits a label does not make it another's.
        ("ours", &none, of(SET, "c"), live),
        ("orphaned", &none, vec![], known(live)),
        ("orphaned", &ours, vec![], live),
        ("foreign", &none, vec![], live),
        // Of a StatefulSet that is gone.
        ("ours", &ours, of("former", "c"), live),
        ("ours", &ours, of("former", "c"), gone),
        ("ours", &none, of("former", "c"), known(gone)),
        ("foreign", &none, of("former", "c"), gone),
        ("foreign", &ours, of("former", "d"), gone),
        // The StatefulSet of this name is somebody else's.
        ("foreign", &ours, of(SET, "c"), foreign_set),
        ("foreign", &ours, vec![owner("ReplicaSet", "app", "u")], live),
        ("foreign", &ours, vec![owner("ReplicaSet", "app", "u")], known(live)),
    ];
    for (expected, labels, owners, beside) in rows {
        let found = whose_pod(&metadata(labels, &owners), &identity(), beside);
        assert_eq!(word(&found), expected, "{labels} {owners:?} {beside:?}: {found:?}");
    }
}

#[test]
fn a_pod_that_was_let_go_for_an_edited_label_is_still_known_by_its_template() {
    let mut edited = metadata(&json!({"app": "else"}), &[]);
    let live = Beside { set: Some(SET), replicas: Some(3), ..Beside::default() };
    assert_eq!(word(&whose_pod(&edited, &identity(), live)), "foreign");
    let annotation = (crate::manifests::ANNOTATION_SPEC_DIGEST.to_owned(), "d".to_owned());
    edited.annotations = Some([annotation].into());
    assert_eq!(word(&whose_pod(&edited, &identity(), live)), "orphaned");
    let foreign_set = Beside { replicas: None, is_foreign: true, ..live };
    assert_eq!(word(&whose_pod(&edited, &identity(), foreign_set)), "foreign");
    edited.owner_references =
        metadata(&json!({}), &[owner("ReplicaSet", "app", "u")]).owner_references;
    assert_eq!(word(&whose_pod(&edited, &identity(), live)), "foreign");
}

#[test]
fn a_claim_is_ours_by_its_label_by_the_journal_or_because_ours_mounts_it() {
    let (ours, none, app) = (labels("c"), json!({}), json!({"app": "db"}));
    let live = Beside { set: Some(SET), replicas: Some(2), ..Beside::default() };
    let none_yet = Beside::default();
    let foreign_set = Beside { replicas: None, is_foreign: true, ..live };
    let known = |beside: Beside<'static>| Beside { is_known: true, ..beside };
    let of_policy = owner("StatefulSet", "c", SET);
    let of_pod = owner("Pod", "c-1", "pod");
    let mut of_group = owner("Application", "app", "u");
    of_group["controller"] = json!(false);
    let rows = [
        // Who groups objects of several kinds adds an owner to what is this cache's.
        ("ours", &ours, vec![of_group.clone()], 1, known(live)),
        ("foreign", &ours, vec![of_group.clone()], 1, live),
        ("orphaned", &none, vec![of_group.clone()], 1, known(live)),
        ("foreign", &none, vec![of_group], 1, live),
        ("ours", &ours, vec![], 1, none_yet),
        ("ours", &ours, vec![], 7, live),
        ("ours", &ours, vec![of_policy.clone()], 1, live),
        ("ours", &ours, vec![of_pod.clone()], 1, live),
        ("foreign", &ours, vec![of_pod], 0, live),
        ("foreign", &ours, vec![of_policy], 1, foreign_set),
        ("foreign", &ours, vec![owner("ConfigMap", "app", "u")], 1, live),
        ("foreign", &ours, vec![owner("ConfigMap", "app", "u")], 1, known(live)),
        // Restored without labels: what its StatefulSet mounts is this cache's.
        ("orphaned", &none, vec![], 1, live),
        ("orphaned", &app, vec![], 1, live),
        ("foreign", &none, vec![], 2, live),
        ("foreign", &none, vec![], 0, none_yet),
        ("foreign", &app, vec![], 0, foreign_set),
        // Kept by this cache once, and used by the StatefulSet that came meanwhile.
        ("foreign", &ours, vec![], 0, foreign_set),
        ("foreign", &none, vec![], 0, known(foreign_set)),
        // A former StatefulSet of this cache goes, and the volumes stay.
        ("ours", &ours, vec![], 0, Beside { is_foreign: false, ..foreign_set }),
        ("orphaned", &none, vec![], 2, known(live)),
        ("orphaned", &none, vec![], 0, known(none_yet)),
        ("foreign", &labels("d"), vec![], 0, none_yet),
    ];
    for (expected, labels, owners, ordinal, beside) in rows {
        let found = whose_claim(&metadata(labels, &owners), &identity(), ordinal, beside);
        assert_eq!(word(&found), expected, "{labels} {owners:?} {ordinal} {beside:?}: {found:?}");
    }
}

#[test]
fn an_apply_is_about_what_was_judged() {
    let mut made = json!({"metadata": {"name": "x"}});
    guard(&mut made, None);
    assert_eq!(made["metadata"], json!({"name": "x", "resourceVersion": "1"}));
    let live = ObjectMeta {
        uid: Some("u".into()),
        resource_version: Some("7".into()),
        ..ObjectMeta::default()
    };
    let mut changed = json!({"metadata": {"name": "x"}});
    guard(&mut changed, Some(&live));
    assert_eq!(changed["metadata"], json!({"name": "x", "uid": "u", "resourceVersion": "7"}));
}

#[test]
fn the_labels_that_count_are_those_by_which_members_are_found() {
    let with = |labels: &Value| has_labels(&metadata(labels, &[]), &identity());
    assert!(with(&labels("c")));
    let mut edited = labels("c");
    edited["app"] = json!("else");
    assert!(!with(&edited) && !with(&json!({})) && !with(&labels("d")));
}
