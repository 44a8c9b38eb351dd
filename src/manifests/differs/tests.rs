use super::*;
use proptest::prelude::*;
use serde_json::json;

#[test]
fn what_the_api_server_adds_is_no_difference() {
    let desired = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "a", "labels": {"app": "a"}},
        "spec": {"ports": [{"name": "data", "port": 9444}], "selector": {"app": "a"}},
    });
    let live = json!({
        "metadata": {"name": "a", "labels": {"app": "a", "team": "b"}, "uid": "1"},
        "spec": {
            "ports": [{"name": "data", "port": 9444, "protocol": "TCP", "targetPort": 9444}],
            "selector": {"app": "a"}, "type": "ClusterIP", "clusterIP": "10.0.0.1",
        },
        "status": {"loadBalancer": {}},
    });
    assert!(!differs(&desired, &live));
}

#[test]
fn a_field_that_we_set_counts() {
    for (desired, live) in [
        (json!({"spec": {"replicas": 2}}), json!({"spec": {"replicas": 3}})),
        (json!({"spec": {"replicas": 2}}), json!({"spec": {}})),
        (json!({"spec": {"replicas": 2}}), json!({})),
        (json!({"spec": {"paused": false}}), json!({"spec": {}})),
        (json!({"metadata": {"labels": {"a": "b"}}}), json!({"metadata": {"labels": {"a": "c"}}})),
        (json!({"command": ["a", "b"]}), json!({"command": ["a"]})),
        (json!({"command": ["a", "b"]}), json!({"command": ["b", "a"]})),
        (json!({"tolerations": []}), json!({"tolerations": [{"key": "a"}]})),
        (json!({"data": {"a": "1Gi"}}), json!({"data": {"a": "1024Mi"}})),
        (json!({"a": "1"}), json!({"a": 1})),
    ] {
        assert!(differs(&desired, &live), "{desired} {live}");
    }
}

#[test]
fn the_same_in_other_words_does_not_count() {
    for (desired, live) in [
        (json!({"a": null}), json!({"a": 5})),
        (json!({"a": null}), json!({})),
        (json!({"a": {}}), json!({})),
        (json!({"a": []}), json!({})),
        (json!({"a": {"b": null, "c": {}}}), json!({})),
        (json!({"a": 1}), json!({"a": 1.0})),
        (
            json!({"resources": {"requests": {"storage": "1Gi", "cpu": 1}}}),
            json!({"resources": {"requests": {"storage": "1024Mi", "cpu": "1000m"}}}),
        ),
        (json!({"emptyDir": {"sizeLimit": "1Gi"}}), json!({"emptyDir": {"sizeLimit": "1024Mi"}})),
        (json!({"status": {"phase": "Pending"}}), json!({"status": {"phase": "Bound"}})),
    ] {
        assert!(!differs(&desired, &live), "{desired} {live}");
    }
}

#[test]
fn quantities_of_other_amounts_count() {
    let requests = |text: &str| json!({"resources": {"requests": {"storage": text}}});
    assert!(differs(&requests("2Gi"), &requests("1Gi")));
    assert!(differs(&requests("2Gi"), &requests("broken")));
}

#[test]
fn lists_with_a_key_are_compared_by_key() {
    let desired = json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]});
    let moved = json!({"env": [
        {"name": "injected", "value": "x"},
        {"name": "B", "value": "2"},
        {"name": "A", "value": "1"},
    ]});
    assert!(!differs(&desired, &moved));
    let missing = json!({"env": [{"name": "A", "value": "1"}]});
    assert!(differs(&desired, &missing));
    let changed = json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}]});
    assert!(differs(&desired, &changed));
}

#[test]
fn ports_are_told_apart_by_number_and_protocol() {
    let desired = json!({"ports": [{"port": 53, "protocol": "UDP"}]});
    let other = json!({"ports": [{"port": 53, "protocol": "TCP"}]});
    let both = json!({"ports": [
        {"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP", "name": "dns"},
    ]});
    assert!(differs(&desired, &other));
    assert!(!differs(&desired, &both));
}

#[test]
fn defaults_inside_the_elements_of_a_plain_list_do_not_count() {
    let desired = json!({"ingress": [{"ports": [{"port": 9445, "protocol": "TCP"}]}]});
    let live = json!({"ingress": [{"ports": [{"port": 9445, "protocol": "TCP"}], "from": []}]});
    assert!(!differs(&desired, &live));
    assert!(differs(&desired, &json!({"ingress": []})));
}

fn managed(fields: &Value, live: &Value) -> Value {
    let mut live = live.clone();
    live["metadata"] = json!({"managedFields": [
        {"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {"f:theirs": {}}}},
        {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields},
    ]});
    live
}

#[test]
fn a_field_that_we_set_formerly_and_no_longer_counts() {
    let desired = json!({"spec": {
        "a": 1,
        "ports": [{"port": 1, "protocol": "TCP"}],
        "finalizers": ["x"],
    }});
    let live = json!({"spec": {
        "a": 1, "b": 2, "theirs": 3,
        "ports": [{"port": 1, "protocol": "TCP"}, {"port": 2, "protocol": "TCP"}],
        "finalizers": ["x", "y"],
    }});
    let same = json!({"f:spec": {
        "f:a": {},
        "f:ports": {r#"k:{"port":1,"protocol":"TCP"}"#: {".": {}, "f:port": {}, "f:protocol": {}}},
        "f:finalizers": {r#"v:"x""#: {}},
    }});
    assert!(!differs(&desired, &managed(&same, &live)));
    for owned in [
        json!({"f:spec": {"f:a": {}, "f:b": {}}}),
        json!({"f:spec": {"f:ports": {r#"k:{"port":2,"protocol":"TCP"}"#: {".": {}}}}}),
        json!({"f:spec": {"f:ports": {
            r#"k:{"port":1,"protocol":"TCP"}"#: {".": {}, "f:nodePort": {}},
        }}}),
        json!({"f:spec": {"f:finalizers": {r#"v:"y""#: {}}}}),
    ] {
        assert!(differs(&desired, &managed(&owned, &live)), "{owned}");
    }
}

/// Any JSON, with names among which are those of lists with keys.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z0-9]{0,4}".prop_map(Value::from),
    ];
    let name = prop_oneof![
        "[a-d]",
        Just("requests".to_owned()),
        Just("labels".to_owned()),
        Just("data".to_owned()),
    ];
    leaf.prop_recursive(4, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Adds fields that the value does not have to every object in it.
fn with_defaults(value: &Value, extra: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Map<String, Value> = fields
                .iter()
                .map(|(name, value)| (name.clone(), with_defaults(value, extra)))
                .collect();
            fields.insert("zz-default".to_owned(), extra.clone());
            Value::Object(fields)
        }
        Value::Array(items) => items.iter().map(|item| with_defaults(item, extra)).collect(),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn an_object_never_differs_from_itself(value in json_value()) {
        prop_assert!(!differs(&value, &value));
    }

    #[test]
    fn an_object_never_differs_from_itself_with_defaults(
        value in json_value(),
        extra in json_value(),
    ) {
        prop_assert!(!differs(&value, &with_defaults(&value, &extra)));
    }

    #[test]
    fn a_changed_leaf_always_differs(name in "[a-c]", before: i32, after: i32) {
        let desired = json!({"spec": {name.clone(): before}});
        let live = json!({"spec": {name: after}});
        prop_assert_eq!(differs(&desired, &live), before != after);
    }
}
