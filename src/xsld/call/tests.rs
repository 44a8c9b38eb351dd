use serde_json::json;

use super::*;

const KEY: Uuid = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);

fn profile() -> ApiProfile {
    ApiProfile::default()
}

fn join(secret: &str) -> TaskCommand {
    TaskCommand::Join {
        key: KEY,
        secret_key: secret.into(),
        member: "c-1".to_owned(),
        group_host: "10.0.0.1".to_owned(),
        catalog: true,
    }
}

#[test]
fn a_join_has_the_body_that_the_cache_states() {
    let call = Call::task(&profile(), &join("Secret123!")).unwrap();
    assert_eq!((call.method(), call.path()), (Method::Post, "/wxsadmin/v1/task"));
    assert_eq!(call.key, Some(KEY));
    assert!(call.needs_task);
    assert_eq!(
        call.body,
        Some(json!({
            "command": "NewMemberJoinTaskCommand",
            "description": "xsld-operator 12345678-9abc-4def-8123-456789abcdef",
            "parameters": {
                "secretKey": "Secret123!", "memberName": "c-1",
                "cacheMemberGroupHost": "10.0.0.1", "isCatalog": "true",
            },
        }))
    );
}

#[test]
fn every_command_has_its_own_body() {
    let body = |command| Call::task(&profile(), &command).unwrap().body.unwrap();
    let member = || "c-1".to_owned();
    for (command, name, parameters) in [
        (
            TaskCommand::Disjoin { key: KEY, member: member() },
            "MemberDisjoinTaskCommand",
            json!({"memberName": "c-1"}),
        ),
        (
            TaskCommand::RestartServers { key: KEY, member: member(), grid_servers: true },
            "RestartServersTaskCommand",
            json!({"memberName": "c-1", "restartGridServers": "true"}),
        ),
        (
            TaskCommand::ConfigureReplication { key: KEY, replica: member() },
            "ConfigureDerbyReplicationTaskCommand",
            json!({"slaveMemberName": "c-1"}),
        ),
        (
            TaskCommand::Promote { key: KEY, member: member() },
            "DerbyFailoverTaskCommand",
            json!({"memberName": "c-1"}),
        ),
    ] {
        assert_eq!(command.key(), KEY);
        let body = body(command);
        assert_eq!((&body["command"], &body["parameters"]), (&json!(name), &parameters));
    }
}

#[test]
fn names_come_from_the_profile() {
    let text =
        "base: ''\npaths: {tasks: /jobs}\ncommands: {disjoin: {command: Go, memberName: who}}";
    let profile = ApiProfile::parse(text).unwrap();
    let command = TaskCommand::Disjoin { key: KEY, member: "c-1".to_owned() };
    let call = Call::task(&profile, &command).unwrap();
    assert_eq!(call.path(), "/jobs");
    let body = call.body.unwrap();
    assert_eq!((&body["command"], &body["parameters"]), (&json!("Go"), &json!({"who": "c-1"})));
}

#[test]
fn an_empty_parameter_is_refused_before_anything_is_sent() {
    let command = TaskCommand::Disjoin { key: KEY, member: String::new() };
    let error = Call::task(&profile(), &command).unwrap_err().to_string();
    assert_eq!(error, "the memberName of the MemberDisjoinTaskCommand is empty");
    let error = Call::task(&profile(), &join("")).unwrap_err().to_string();
    assert!(error.contains("secretKey"), "{error}");
}

#[test]
fn the_digest_tells_requests_apart_but_not_secrets() {
    let digest = |command: &TaskCommand| Call::task(&profile(), command).unwrap().digest();
    assert_eq!(digest(&join("Secret123!")), digest(&join("Other456!!")));
    let other_key = TaskCommand::Disjoin { key: Uuid::from_u128(1), member: "c-1".to_owned() };
    let disjoin = |member: &str| TaskCommand::Disjoin { key: KEY, member: member.to_owned() };
    let mut digests = vec![
        digest(&join("x")),
        digest(&other_key),
        digest(&disjoin("c-1")),
        digest(&disjoin("c-2")),
        Call::cancel_task(&profile(), 1, KEY).digest(),
        Call::cancel_task(&profile(), 2, KEY).digest(),
        Call::delete_grid(&profile(), "g", KEY).unwrap().digest(),
        Call::delete_grid_template(&profile(), "g", KEY).unwrap().digest(),
        Call::create_grid(&profile(), "g", &GridBody::default(), KEY).unwrap().digest(),
        Call::update_grid(&profile(), "g", &GridBody::default(), KEY).unwrap().digest(),
    ];
    let all = digests.len();
    digests.sort_by_key(ToString::to_string);
    digests.dedup();
    assert_eq!(digests.len(), all);
}

#[test]
fn the_digest_does_not_depend_on_the_order_of_members() {
    let digest = |body: &str| {
        let body: Value = serde_json::from_str(body).unwrap();
        request_digest(Method::Post, "/x", Some(&body))
    };
    assert_eq!(
        digest(r#"{"a": {"c": 1, "b": [2]}, "d": 3}"#),
        digest(r#"{"d":3,"a":{"b":[2],"c":1}}"#)
    );
    assert_ne!(digest(r#"{"a": [1, 2]}"#), digest(r#"{"a": [2, 1]}"#));
    assert_ne!(request_digest(Method::Get, "/x", None), digest("null"));
}

#[test]
fn the_digest_survives_json() {
    let digest = Call::cancel_task(&profile(), 1, KEY).digest();
    let json = serde_json::to_string(&digest).unwrap();
    assert_eq!(json, format!("\"{digest}\""));
    assert_eq!(serde_json::from_str::<RequestDigest>(&json).unwrap(), digest);
    assert!(serde_json::from_str::<RequestDigest>("\"zz\"").is_err());
}

#[test]
fn debug_shows_no_secret() {
    let command = join("Secret123!");
    let call = Call::task(&profile(), &command).unwrap();
    let text = format!("{command:?} {call:?} {call:#?}");
    assert!(!text.contains("Secret123!"), "{text}");
}

#[test]
fn a_name_stands_in_the_path_and_nowhere_else() {
    let path = |name: &str| Call::delete_grid(&profile(), name, KEY).map(|call| call.path);
    for (name, encoded) in [
        ("g1", "g1"),
        ("My-Grid_1.~", "My-Grid_1.~"),
        ("a b", "a%20b"),
        ("a/../b", "a%2F..%2Fb"),
        ("a?x=1#y", "a%3Fx%3D1%23y"),
        ("50%", "50%25"),
        ("größe", "gr%C3%B6%C3%9Fe"),
        ("{id}", "%7Bid%7D"),
        ("...", "..."),
    ] {
        assert_eq!(path(name), Ok(format!("/wxsadmin/v1/grid/{encoded}")));
    }
    let long = "x".repeat(254);
    for name in ["", ".", "..", "a\nb", "a\0", long.as_str()] {
        assert!(path(name).is_err(), "{name:?}");
    }
    let error = path("a\nb").unwrap_err().to_string();
    assert!(error.contains("a\\\\nb") && error.contains("control"), "{error}");
}

#[test]
fn a_grid_sends_numbers_as_text_and_no_name() {
    let body = GridBody {
        description: Some("smsgw grid".to_owned()),
        grid_type: Some("Simple".to_owned()),
        owner_name: Some("xsadmin".to_owned()),
        use_authentication: Some(true),
        use_cap_lru_evictor: Some(false),
        num_partition: Some(29),
        num_sync_replicas: Some(0),
        ..GridBody::default()
    };
    let call = Call::create_grid(&profile(), "smsgw", &body, KEY).unwrap();
    assert_eq!((call.method(), call.path()), (Method::Post, "/wxsadmin/v1/grid/smsgw"));
    assert!(call.needs_task);
    assert_eq!(
        call.body,
        Some(json!({
            "description": "smsgw grid", "gridType": "Simple", "ownerName": "xsadmin",
            "useAuthentication": true, "useCapLRUEvictor": false,
            "numPartition": "29", "numSyncReplicas": "0",
        }))
    );
    let fields = body.as_fields();
    assert_eq!(
        (fields["numPartition"].as_str(), fields["useAuthentication"].as_str()),
        ("29", "true")
    );
    assert_eq!(fields.len(), 7);
}

#[test]
fn a_full_grid_has_every_field_of_the_contract() {
    let text = || Some("x".to_owned());
    let body = GridBody {
        description: text(),
        grid_type: text(),
        template_name: text(),
        owner_name: text(),
        group_name: text(),
        use_authentication: Some(true),
        use_authorization: Some(true),
        use_cap_lru_evictor: Some(true),
        grid_capacity: Some(100),
        transaction_timeout: Some(30),
        lock_timeout: Some(15),
        time_to_live: Some(0),
        num_partition: Some(37),
        num_sync_replicas: Some(1),
        num_async_replicas: Some(0),
    };
    let fields = body.as_fields();
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "description",
            "gridCapacity",
            "gridType",
            "groupName",
            "lockTimeout",
            "numAsyncReplicas",
            "numPartition",
            "numSyncReplicas",
            "ownerName",
            "templateName",
            "timeToLive",
            "transactionTimeout",
            "useAuthentication",
            "useAuthorization",
            "useCapLRUEvictor",
        ]
    );
}

#[test]
fn a_template_is_sent_as_it_is() {
    let call = Call::put_grid_template(&profile(), "t", "<a>\"é\"</a>", "<b/>", KEY).unwrap();
    assert_eq!((call.method(), call.path()), (Method::Put, "/wxsadmin/v1/gridTemplate/t"));
    assert_eq!(
        call.body,
        Some(json!({"objectGridXml": "<a>\"é\"</a>", "deploymentPolicyXml": "<b/>"}))
    );
    assert!(!call.needs_task);
}

#[test]
fn a_task_is_cancelled_by_its_number() {
    let call = Call::cancel_task(&profile(), 17, KEY);
    assert_eq!((call.method(), call.path()), (Method::Put, "/wxsadmin/v1/task/cancel/17/force"));
    assert_eq!(call.body, None);
}
