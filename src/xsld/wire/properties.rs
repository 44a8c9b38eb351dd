//! What holds for every answer, whatever it is made of.

use proptest::prelude::*;

use super::*;
use crate::xsld::view::{TaskStatus, TaskView};

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

/// JSON of any shape whose texts are not the words of the contract.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    let name = prop_oneof![
        "\\PC{0,6}",
        Just("members".to_owned()),
        Just("memberName".to_owned()),
        Just("taskId".to_owned()),
        Just("status".to_owned()),
        Just("stale".to_owned()),
        Just("error".to_owned()),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Reads one body as everything that it could be an answer to.
fn read_all(status: u16, body: &[u8]) -> (Vec<TaskView>, Option<TaskStatus>) {
    let (profile, reply) = (profile(), bytes(status, body));
    if let Answer::Known(view) = group(&profile, &reply) {
        assert!(!view.members.is_empty());
    }
    let _ = grids(&profile, &reply);
    let _ = grid(&profile, "g", &reply);
    let _ = grid_template(&profile, &reply);
    let list = tasks(&profile, &reply).known().unwrap_or_default();
    (list, task_status(&profile, 17, &reply).known().map(|task| task.status))
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_never_a_success(
        status in 100_u16..600,
        body in prop::collection::vec(any::<u8>(), 0..512),
    ) {
        let (list, task) = read_all(status, &body);
        prop_assert!(list.is_empty());
        prop_assert!(task.is_none_or(|task| !task.is_terminal()));
        for needs_task in [true, false] {
            let found = acceptance(&profile(), &bytes(status, &body), needs_task);
            let empty = body.trim_ascii().is_empty() && !needs_task;
            prop_assert!(empty || !matches!(found, Acceptance::Accepted { .. }), "{found:?}");
        }
    }

    #[test]
    fn json_without_the_words_never_ends_a_task(status in 200_u16..600, body in any_json()) {
        let (list, task) = read_all(status, body.to_string().as_bytes());
        prop_assert!(list.iter().all(|task| !task.status.is_terminal()));
        prop_assert!(task.is_none_or(|task| !task.is_terminal()));
    }

    #[test]
    fn an_answer_that_is_no_success_is_never_known(
        status in prop_oneof![100_u16..200, 300_u16..600],
        body in any_json(),
    ) {
        let (profile, reply) = (profile(), reply(status, body));
        prop_assert!(group(&profile, &reply).known().is_none());
        prop_assert!(tasks(&profile, &reply).known().is_none());
        prop_assert!(task_status(&profile, 1, &reply).known().is_none());
        prop_assert!(grids(&profile, &reply).known().is_none());
        prop_assert!(grid(&profile, "g", &reply).known().is_none());
        let found = acceptance(&profile, &reply, true);
        prop_assert!(!matches!(found, Acceptance::Accepted { .. }), "{found:?}");
    }

    #[test]
    fn every_reason_fits_on_one_bounded_line(status in 100_u16..600, body in any_json()) {
        let reply = reply(status, body);
        let reason = match tasks(&profile(), &reply) {
            Answer::Refused { error, .. } => error,
            Answer::Unknown { reason } => reason,
            Answer::Known(_) => String::new(),
        };
        prop_assert!(reason.chars().count() <= crate::xsld::text::MAX_TEXT);
        prop_assert!(!reason.chars().any(char::is_control), "{reason:?}");
    }
}
