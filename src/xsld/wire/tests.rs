use serde_json::json;

use super::*;
use crate::xsld::view::{GridStatus, MemberStatus, TaskStatus};

fn profile() -> ApiProfile {
    ApiProfile::default()
}

fn bytes(status: u16, body: &[u8]) -> Reply {
    let response = Response { status, body: body.to_vec(), certificate: None };
    Reply::read(&response, &Redactor::new())
}

fn reply(status: u16, body: Value) -> Reply {
    bytes(status, body.to_string().as_bytes())
}

fn member(name: &str) -> Value {
    json!({"memberName": name, "status": "Online"})
}

#[track_caller]
fn known<T: std::fmt::Debug>(answer: Answer<T>) -> T {
    match answer {
        Answer::Known(value) => value,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn unknown<T: std::fmt::Debug>(answer: Answer<T>, word: &str) {
    match answer {
        Answer::Unknown { reason } => assert!(reason.contains(word), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Answer<T>, wanted: u16, word: &str) {
    match answer {
        Answer::Refused { status, error } => {
            assert_eq!(status, wanted);
            assert!(error.contains(word), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_group_is_read_with_all_its_fields_and_sorted() {
    let view = known(group(
        &profile(),
        &reply(
            200,
            json!({
                "cacheMemberGroupName": "cg1", "numContainers": 2, "maxCapacityPerMember": "4",
                "members": [
                    {"memberName": "c-1", "hostName": "c-1.c.ns.svc", "ipAddress": "10.0.0.2",
                     "status": "starting", "capacity": "4", "isCatalog": "false",
                     "isPrimary": false, "replicationRole": "slave", "zone": {"a": [1]}},
                    {"memberName": "c-0", "hostName": "", "ipAddress": null, "status": "Online",
                     "capacity": 4, "isCatalog": true, "isPrimary": "true",
                     "replicationRole": "master"},
                ],
            }),
        ),
    ));
    assert_eq!(view.name, "cg1");
    assert!(!view.stale);
    let names: Vec<&str> = view.members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["c-0", "c-1"]);
    let (primary, second) = (&view.members[0], &view.members[1]);
    assert_eq!(view.primary(), Some(primary));
    assert_eq!((&primary.host, &primary.address), (&None, &None));
    assert_eq!((primary.capacity, primary.catalog), (Some(4), Some(true)));
    assert_eq!(second.status, MemberStatus::Starting);
    assert_eq!(second.host.as_deref(), Some("c-1.c.ns.svc"));
    assert_eq!(second.address.as_deref(), Some("10.0.0.2"));
    assert_eq!(
        (second.capacity, second.catalog, second.primary),
        (Some(4), Some(false), Some(false))
    );
    assert_eq!(second.replication.as_deref(), Some("slave"));
}

#[test]
fn every_word_of_a_member_status_is_known_or_kept() {
    for (word, wanted) in [
        (json!("Online"), MemberStatus::Online),
        (json!("ONLINE"), MemberStatus::Online),
        (json!(" Stopped "), MemberStatus::Stopped),
        (json!("Unreachable"), MemberStatus::Unreachable),
        (json!("Hibernating"), MemberStatus::Unknown("Hibernating".to_owned())),
        (json!("Online\n"), MemberStatus::Online),
        (json!("On\nline"), MemberStatus::Unknown("On\\nline".to_owned())),
        (json!(7), MemberStatus::Unknown("7".to_owned())),
        (json!(null), MemberStatus::Unknown(String::new())),
        (json!(["Online"]), MemberStatus::Unknown(String::new())),
    ] {
        let body = json!({"members": [{"memberName": "c-0", "status": word}]});
        let view = known(group(&profile(), &reply(200, body)));
        assert_eq!(view.members[0].status, wanted, "{word}");
    }
}

#[test]
fn a_group_from_which_an_entry_would_be_lost_is_unknown() {
    let long = "x".repeat(254);
    for (members, word) in [
        (json!([]), "no member"),
        (json!("c-0"), "no list"),
        (json!(null), "no list"),
        (json!({"c-0": {}}), "no list"),
        (json!([member("c-0"), "c-1"]), "no object"),
        (json!([member("c-0"), null]), "no object"),
        (json!([member("c-0"), {"status": "Online"}]), "readable name"),
        (json!([member("c-0"), {"memberName": 5}]), "readable name"),
        (json!([member("c-0"), member("")]), "readable name"),
        (json!([member("c-0"), member("c\n1")]), "readable name"),
        (json!([member("c-0"), member(&long)]), "readable name"),
    ] {
        unknown(group(&profile(), &reply(200, json!({"members": members}))), word);
    }
    for body in [json!([]), json!(null), json!(5), json!("Online"), json!({})] {
        unknown(group(&profile(), &reply(200, body)), "not a group");
    }
}

#[test]
fn a_name_listed_twice_is_present_but_not_online() {
    let entry = |address: &str, primary: bool| {
        json!({"memberName": "c-1", "status": "Online", "ipAddress": address, "capacity": 4,
               "isPrimary": primary})
    };
    let members = json!([entry("10.0.0.2", false), member("c-0"), entry("10.0.0.9", true)]);
    let view = known(group(&profile(), &reply(200, json!({"members": members}))));
    assert_eq!(view.members.len(), 2);
    assert_eq!(view.member("c-0").unwrap().status, MemberStatus::Online);
    let twice = view.member("c-1").unwrap();
    assert_eq!(twice.status, MemberStatus::Unknown("listed more than once".to_owned()));
    assert_eq!((&twice.address, twice.capacity), (&None, Some(4)));
    assert_eq!(view.primary(), Some(twice));
}

#[test]
fn roles_in_replication_have_one_word_each() {
    let profile =
        ApiProfile::parse("words: {replication: {primary: [Leader], replica: [Standby, slave]}}")
            .unwrap();
    for (word, role) in [("leader", "master"), ("Standby", "slave"), ("None", "none"), ("x", "x")] {
        let body = json!({"members": [{"memberName": "c-0", "replicationRole": word}]});
        let view = known(group(&profile, &reply(200, body)));
        assert_eq!(view.members[0].replication.as_deref(), Some(role));
    }
}

#[test]
fn a_mark_of_staleness_that_is_not_understood_counts() {
    for (mark, stale) in [
        (json!(null), false),
        (json!(false), false),
        (json!("false"), false),
        (json!(true), true),
        (json!("TRUE"), true),
        (json!("perhaps"), true),
        (json!({"since": 5}), true),
    ] {
        let body = json!({"members": [member("c-0")], "stale": mark});
        assert_eq!(known(group(&profile(), &reply(200, body))).stale, stale, "{mark}");
    }
}

#[test]
fn a_list_has_a_bound() {
    let many: Vec<Value> = (0..=MAX_ITEMS).map(|n| member(&format!("m{n}"))).collect();
    unknown(group(&profile(), &reply(200, json!({"members": many}))), "at most 10000");
    let many: Vec<Value> = (0..=MAX_ITEMS).map(|id| json!({"taskId": id})).collect();
    unknown(tasks(&profile(), &reply(200, json!(many))), "at most 10000");
    assert_eq!(known(tasks(&profile(), &reply(200, json!(many[1..])))).len(), MAX_ITEMS);
}

#[test]
fn errors_are_told_apart_from_answers_that_are_not_understood() {
    let read = |status, body: &[u8]| group(&profile(), &bytes(status, body));
    refused(read(503, br#"{"error": "starting"}"#), 503, "starting");
    refused(read(404, br#"{"error": "no such thing"}"#), 404, "no such");
    refused(read(200, br#"{"error": "CWOBJ0001E"}"#), 200, "CWOBJ0001E");
    refused(read(500, br#"{"error": {"code": 5}}"#), 500, "code");
    refused(read(401, b"<html>Error 401</html>"), 401, "not JSON");
    refused(read(403, b""), 403, "empty");
    refused(read(400, br#"{"error": "a\nb"}"#), 400, "a\\nb");
    // The server answers, but not the API.
    unknown(read(404, b"<html>Context Root Not Found</html>"), "not JSON");
    unknown(read(500, br#"{"message": "oops"}"#), "another shape");
    unknown(read(302, b""), "302");
    unknown(read(200, b""), "empty");
    unknown(read(200, b"<html>Welcome</html>"), "not JSON");
    unknown(read(200, b"{\"members\": [{\"memberName\": \"c-0\"}"), "not JSON");
    unknown(read(200, b"\xff\xfe{}"), "not JSON");
    assert!(!read(404, b"<html/>").is_absent());
    assert!(read(404, br#"{"error": "x"}"#).is_absent());
}

#[test]
fn an_error_that_says_nothing_is_none() {
    for error in [json!(null), json!(""), json!("  "), json!(false)] {
        let body = json!({"members": [member("c-0")], "error": error});
        known(group(&profile(), &reply(200, body)));
    }
}

#[test]
fn deep_nesting_is_unknown_and_does_not_overflow() {
    for depth in [200, 100_000] {
        let body = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        unknown(tasks(&profile(), &bytes(200, body.as_bytes())), "not JSON");
        let body = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        unknown(task_status(&profile(), 1, &bytes(200, body.as_bytes())), "not JSON");
    }
}

#[test]
fn secrets_that_a_member_echoes_do_not_get_through() {
    let redactor = Redactor::new().with(&"Password123!".into());
    let body = json!({"error": "bad key Password123!"}).to_string().into_bytes();
    let echo = Reply::read(&Response { status: 400, body, certificate: None }, &redactor);
    refused(group(&profile(), &echo), 400, "bad key [redacted]");
    let body = b"<p>Password123!</p>".to_vec();
    let page = Reply::read(&Response { status: 200, body, certificate: None }, &redactor);
    unknown(group(&profile(), &page), "19 bytes that are not JSON");
    assert!(!format!("{page:?} {echo:?}").contains("Password"));
}

#[test]
fn a_task_list_is_read_with_all_its_fields_and_sorted() {
    let body = json!([
        {"taskId": "18", "command": "X", "description": 5, "status": "Success", "progress": "100%"},
        {"taskId": 17, "command": "NewMemberJoinTaskCommand",
         "description": "xsld-operator 12345678-9abc-4def-8123-456789abcdef",
         "status": "Running", "progress": 45.7, "memberName": "c-1",
         "startTime": "2024-05-01T10:00:00Z", "message": "copying"},
    ]);
    for body in [body.clone(), json!({"tasks": body})] {
        let list = known(tasks(&profile(), &reply(200, body)));
        assert_eq!(list.iter().map(|task| task.id).collect::<Vec<_>>(), [17, 18]);
        assert!(list[0].is_running());
        assert_eq!(list[0].progress, Some(45));
        assert_eq!(list[0].member.as_deref(), Some("c-1"));
        assert_eq!(list[0].started.as_deref(), Some("2024-05-01T10:00:00Z"));
        assert_eq!(list[0].message.as_deref(), Some("copying"));
        assert!(list[0].key().is_some());
        assert_eq!((list[1].progress, &list[1].description), (Some(100), &None));
        assert_eq!(list[1].status, TaskStatus::Success);
    }
    assert!(known(tasks(&profile(), &reply(200, json!([])))).is_empty());
}

#[test]
fn a_task_list_that_could_hide_a_task_is_unknown() {
    for (body, word) in [
        (json!([{"taskId": 1}, {"status": "Running"}]), "readable number"),
        (json!([{"taskId": -1}]), "readable number"),
        (json!([{"taskId": 1.5}]), "readable number"),
        (json!([17]), "no object"),
        (json!([{"taskId": 1}, {"taskId": "1"}]), "twice"),
        (json!({"tasks": [], "next": "page2"}), "not a list"),
        (json!({}), "not a list"),
        (json!("none"), "not a list"),
    ] {
        unknown(tasks(&profile(), &reply(200, body)), word);
    }
}

#[test]
fn progress_outside_its_range_is_none() {
    for (progress, wanted) in [
        (json!(0), Some(0)),
        (json!("45 %"), Some(45)),
        (json!(101), None),
        (json!(-1), None),
        (json!("NaN"), None),
        (json!("half"), None),
        (json!(null), None),
    ] {
        let list =
            known(tasks(&profile(), &reply(200, json!([{"taskId": 1, "progress": progress}]))));
        assert_eq!(list[0].progress, wanted, "{progress}");
    }
}

#[test]
fn running_wins_and_otherwise_the_overall_status_decides() {
    let status = |word: &str| match word {
        "Running" => TaskStatus::Running,
        "Success" => TaskStatus::Success,
        "Failed" => TaskStatus::Failed,
        other => TaskStatus::Unknown(other.to_owned()),
    };
    for (body, wanted) in [
        (json!({"taskId": 17, "status": "Running", "progress": 5}), "Running"),
        (json!({"status": "SUCCESS"}), "Success"),
        (json!({"status": "Failed", "message": "no route"}), "Failed"),
        (json!("Success"), "Success"),
        (json!({"status": "Success", "steps": [{"status": "Running"}]}), "Running"),
        (json!({"status": "Failed", "steps": [{"status": "Running"}]}), "Running"),
        (json!({"steps": [{"status": "Success"}, {"state": {"x": "running"}}]}), "Running"),
        (json!({"status": "Running", "error": "Failed to reach c-2"}), "Running"),
        (json!({"status": "Failed", "steps": [{"status": "Success"}]}), "Failed"),
        (json!({"status": "Success", "steps": [{"status": "Failed"}]}), "Success"),
        (json!({"status": "Failed", "error": "join failed"}), "Failed"),
        (json!({"status": "Queued", "steps": [{"status": "Success"}]}), "Queued"),
        (json!({"status": "Success (almost)"}), "Success (almost)"),
        (
            json!({"status": "Success", "description": "Running", "memberName": "running"}),
            "Success",
        ),
    ] {
        let view = known(task_status(&profile(), 17, &reply(200, body.clone())));
        assert_eq!((view.id, view.status), (17, status(wanted)), "{body}");
    }
}

#[test]
fn a_failed_task_tells_why() {
    let view = known(task_status(
        &profile(),
        3,
        &reply(200, json!({"status": "Failed", "error": "join failed"})),
    ));
    assert_eq!(view.message.as_deref(), Some("join failed"));
}

#[test]
fn a_task_status_that_cannot_be_told_is_unknown() {
    let unavailable = json!({"error": "CWX1: Failed to get the task status"});
    for status in [200, 404, 500, 503] {
        let answer = task_status(&profile(), 17, &reply(status, unavailable.clone()));
        unknown(answer, "Failed to get the task status");
    }
    for (status, body, word) in [
        (200, json!({"steps": [{"status": "Success"}]}), "another shape"),
        (200, json!({"taskId": 17}), "another shape"),
        (200, json!({"status": null}), "another shape"),
        (200, json!([{"status": "Success"}]), "another shape"),
        (200, json!(17), "another shape"),
        (200, json!({"status": "Success", "error": "x"}), "success and an error"),
        (200, json!({"taskId": 18, "status": "Success"}), "task 18, not of 17"),
        (500, json!({"status": "Success"}), "another shape"),
        (404, json!({"status": "Failed"}), "another shape"),
    ] {
        unknown(task_status(&profile(), 17, &reply(status, body)), word);
    }
    unknown(task_status(&profile(), 17, &bytes(200, b"Success")), "not JSON");
    refused(task_status(&profile(), 17, &reply(404, json!({"error": "no task"}))), 404, "no task");
    refused(task_status(&profile(), 17, &reply(200, json!({"error": "gone"}))), 200, "gone");
}

#[test]
fn only_a_number_names_the_task_that_was_started() {
    let accepted = |task| Acceptance::Accepted { task };
    for (body, task) in [
        (json!({"taskId": 17}), Some(17)),
        (json!({"id": "17"}), Some(17)),
        (json!({"whatever": 17, "message": "ok", "flag": true}), Some(17)),
        (json!({"taskId": 17, "code": 0}), Some(17)),
        (json!({"task": 0}), Some(0)),
        (json!({"taskId": 17, "error": null}), Some(17)),
        (json!({"a": 1, "b": 2}), None),
        (json!({"a": 1, "b": "2"}), None),
        (json!({"taskId": -1}), None),
        (json!({"taskId": 1.5}), None),
        (json!({"taskId": "x", "other": 5}), None),
        (json!({"taskId": {"id": 17}}), None),
        (json!({}), None),
        (json!([17]), None),
        (json!(17), None),
        (json!(null), None),
    ] {
        let found = acceptance(&profile(), &reply(200, body.clone()), true);
        match task {
            Some(_) => assert_eq!(found, accepted(task), "{body}"),
            None => assert!(matches!(found, Acceptance::Unknown { .. }), "{body}: {found:?}"),
        }
    }
}

#[test]
fn an_answer_without_a_task_is_accepted_where_none_is_needed() {
    for (body, wanted) in [
        ("", Some(None)),
        ("null", Some(None)),
        ("{}", Some(None)),
        (r#"{"taskId": 9}"#, Some(Some(9))),
        (r#"{"t": 9}"#, Some(Some(9))),
        (r#"{"gridType": "Simple", "numPartition": "37"}"#, Some(None)),
        (r#"{"status": "Failed"}"#, None),
        (r#"{"status": "Error"}"#, None),
        ("<html>log in</html>", None),
        ("[]", None),
        ("\"done\"", None),
    ] {
        let found = acceptance(&profile(), &bytes(200, body.as_bytes()), false);
        match wanted {
            Some(task) => assert_eq!(found, Acceptance::Accepted { task }, "{body}"),
            None => assert!(matches!(found, Acceptance::Unknown { .. }), "{body}: {found:?}"),
        }
    }
    let empty = acceptance(&profile(), &bytes(204, b""), true);
    assert!(matches!(empty, Acceptance::Unknown { .. }), "{empty:?}");
}

#[test]
fn a_change_is_refused_only_where_it_is_clear_that_nothing_was_done() {
    let busy = r#"{"error": "another task is running: 17"}"#;
    for (status, body, refused) in [
        (400, r#"{"error": "numPartition is no prime"}"#, true),
        (404, r#"{"error": "no such grid"}"#, true),
        (409, busy, true),
        (429, busy, true),
        (503, r#"{"error": "no primary"}"#, true),
        (401, "<html>", true),
        (403, "", true),
        (200, r#"{"error": "bad parameter"}"#, true),
        (404, "<html>Context Root Not Found</html>", false),
        (408, busy, false),
        (500, busy, false),
        (502, busy, false),
        (503, "<html>", false),
        (504, "", false),
        (302, "", false),
        (303, r#"{"error": "see there"}"#, false),
        (200, r#"{"taskId": 17, "error": "but"}"#, false),
    ] {
        let found = acceptance(&profile(), &bytes(status, body.as_bytes()), true);
        let is_refused = matches!(&found, Acceptance::Refused { status: it, .. } if *it == status);
        let is_unknown = matches!(found, Acceptance::Unknown { .. });
        assert!(if refused { is_refused } else { is_unknown }, "{status} {body}: {found:?}");
    }
}

#[test]
fn grids_are_read_in_every_form_of_list() {
    for body in [
        json!([{"gridName": "b", "status": "Online"}, {"gridName": "a", "status": "Created"}]),
        json!([{"name": "b", "status": "online"}, {"name": "a", "status": "Created"}]),
        json!({"grids": [{"name": "b", "status": "Online"}, {"name": "a", "status": "Created"}]}),
    ] {
        let list = known(grids(&profile(), &reply(200, body)));
        let seen: Vec<_> = list.iter().map(|grid| (grid.name.as_str(), &grid.status)).collect();
        assert_eq!(seen, [("a", &GridStatus::Created), ("b", &GridStatus::Online)]);
    }
    let list = known(grids(&profile(), &reply(200, json!(["x"]))));
    assert_eq!(list[0].status, GridStatus::Unknown(String::new()));
    assert!(known(grids(&profile(), &reply(200, json!([])))).is_empty());
    for (body, word) in [
        (json!([{"status": "Online"}]), "readable name"),
        (json!(["a", "a"]), "twice"),
        (json!([5]), "readable name"),
        (json!({"a": 1}), "not a list"),
    ] {
        unknown(grids(&profile(), &reply(200, body)), word);
    }
}

#[test]
fn a_grid_keeps_its_fields_as_text() {
    let body = json!({
        "gridName": "g", "status": "Online", "gridType": "Simple", "numPartition": "37",
        "numSyncReplicas": 1, "useAuthentication": true, "gridCapacity": null,
        "description": "a\nb", "nested": {"x": 1},
    });
    let view = known(grid(&profile(), "g", &reply(200, body)));
    assert_eq!((view.name.as_str(), view.status), ("g", GridStatus::Online));
    let fields: Vec<_> = view.fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        fields,
        [
            ("description", "a\nb"),
            ("gridType", "Simple"),
            ("numPartition", "37"),
            ("numSyncReplicas", "1"),
            ("useAuthentication", "true"),
        ]
    );
}

#[test]
fn a_grid_answer_about_something_else_is_unknown() {
    for (body, word) in [
        (json!({"name": "other", "status": "Online"}), "not \"g\""),
        (json!({"name": 5, "status": "Online"}), "not \"g\""),
        (json!({"gridType": "Simple"}), "no status"),
        (json!({}), "no status"),
        (json!([]), "no object"),
        (json!("Online"), "no object"),
    ] {
        unknown(grid(&profile(), "g", &reply(200, body)), word);
    }
    let many: Map<String, Value> = (0..300).map(|n| (format!("f{n}"), json!(n))).collect();
    let mut many = Value::Object(many);
    many["status"] = json!("Online");
    unknown(grid(&profile(), "g", &reply(200, many)), "fields");
    refused(grid(&profile(), "g", &reply(404, json!({"error": "no grid"}))), 404, "no grid");
    refused(
        grid(&profile(), "g", &reply(200, json!({"error": "x", "status": "Online"}))),
        200,
        "x",
    );
}

#[test]
fn a_grid_in_error_may_say_why() {
    let body = json!({"status": "Error", "error": "no capacity"});
    let view = known(grid(&profile(), "g", &reply(200, body)));
    assert_eq!(view.status, GridStatus::Error);
    assert_eq!(view.fields["error"], "no capacity");
}

#[test]
fn a_template_needs_both_documents() {
    let body = json!({"objectGridXml": "<a/>", "deploymentPolicyXml": "<b/>", "name": "t"});
    let view = known(grid_template(&profile(), &reply(200, body)));
    assert_eq!(
        (view.object_grid_xml.as_str(), view.deployment_policy_xml.as_str()),
        ("<a/>", "<b/>")
    );
    for body in [json!({"objectGridXml": "<a/>"}), json!([]), json!({"objectGridXml": 1})] {
        unknown(grid_template(&profile(), &reply(200, body)), "missing");
    }
}

#[test]
fn other_names_come_from_the_profile() {
    let profile = ApiProfile::parse(
        "fields: {group: {members: [nodes, members]}, member: {name: alias}}\n\
         words: {member: {online: [Up, Online]}}",
    )
    .unwrap();
    let body = json!({"nodes": [{"alias": "c-0", "status": "UP"}]});
    let view = known(group(&profile, &reply(200, body)));
    assert_eq!(
        (view.members[0].name.as_str(), &view.members[0].status),
        ("c-0", &MemberStatus::Online)
    );
}
