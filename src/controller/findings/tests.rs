use std::sync::Arc;

use http::Response;
use kube::client::Body;
use secrecy::SecretString;

use super::super::rehearse::tests::context;
use super::*;

const UID: &str = "0199a0c0-0000-7000-8000-000000000001";

fn silent() -> Arc<Context> {
    let answer = |_: http::Request<Body>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
    };
    context(&kube::Client::new(tower::service_fn(answer), "team")).0
}

fn refused<T>(code: u16, message: &str) -> Result<T, Error> {
    let status = serde_json::json!({"status": "Failure", "code": code, "message": message,
        "reason": "Forbidden"});
    let status: kube::core::Status = serde_json::from_value(status).unwrap();
    Err(Error::Write { what: "apply an object", source: Box::new(kube::Error::Api(status.into())) })
}

fn policy() -> Thing {
    Thing::new("NetworkPolicy", "c")
}

/// What one pass finds, which the next one remembers.
async fn pass(context: &Context, write: Result<(), Error>) -> (Vec<Problem>, bool) {
    let reference = ObjectReference::default();
    let mut findings = Findings::about(context, &reference, UID);
    let tried = findings.may_write(&policy(), "wish");
    if tried {
        findings.wrote(&policy(), "wish", &[], write);
    }
    let problems = findings.problems().to_vec();
    context.findings.keep(UID, findings.memory);
    (problems, tried)
}

#[tokio::test]
async fn a_refusal_is_told_at_once_and_stands_while_it_is_not_tried_again() {
    let context = silent();
    let (problems, tried) = pass(&context, refused(422, "made by the platform team only")).await;
    assert!(tried);
    assert_eq!(problems[0].reason, Reason::WriteRefused);
    let words = "the API server refuses to let the operator write the NetworkPolicy c: \
                 made by the platform team only";
    assert_eq!(problems[0].message, words);
    let (again, tried) = pass(&context, Ok(())).await;
    assert!(!tried, "it is not tried in each pass");
    assert_eq!(again, problems, "its finding stands");
}

#[tokio::test]
async fn another_wish_is_tried_at_once_and_what_is_well_is_forgotten() {
    let context = silent();
    pass(&context, refused(403, "no")).await;
    let reference = ObjectReference::default();
    let mut findings = Findings::about(&context, &reference, UID);
    assert!(!findings.may_write(&policy(), "wish"));
    assert!(findings.may_write(&policy(), "another"));
    findings.is_well(&policy());
    context.findings.keep(UID, findings.memory);
    assert!(pass(&context, Ok(())).await.1, "nothing is held against it");
}

#[tokio::test]
async fn what_may_pass_by_itself_is_told_once_it_lasts() {
    let context = silent();
    let reference = ObjectReference::default();
    let mut findings = Findings::about(&context, &reference, UID);
    for time in 1..=LASTS {
        assert!(findings.problems().is_empty());
        let read = Err::<(), _>(Error::Timeout { what: "read an object" });
        assert_eq!(findings.read(&policy(), read), None);
        assert!(findings.has_untold(), "pass {time}");
    }
    assert_eq!(findings.problems()[0].reason, Reason::ApiUnavailable);
    assert_eq!(findings.read(&policy(), Ok(7)), Some(7));
    assert!(findings.memory.troubles.is_empty(), "one good answer and it counts from nothing");
}

#[tokio::test]
async fn what_the_api_server_says_is_bounded_on_one_line_and_without_secrets() {
    let context = silent();
    let reference = ObjectReference::default();
    let mut findings = Findings::about(&context, &reference, UID);
    let text = format!("Password123! is\nrefused {}", "x".repeat(5000));
    let secrets = [SecretString::from("Password123!")];
    findings.wrote(&policy(), "", &secrets, refused::<()>(400, &text));
    let message = &findings.problems()[0].message;
    assert!(message.contains("[redacted] is\\nrefused"), "{message}");
    assert!(message.chars().count() <= 512, "{}", message.chars().count());
}

#[test]
fn the_next_try_is_due_later_and_later_up_to_a_bound() {
    let times = Times::default();
    let delays: Vec<u64> = (1..=8).map(|passes| delay(&times, passes).as_secs()).collect();
    assert_eq!(delays, [5, 10, 20, 40, 80, 120, 120, 120]);
    assert_eq!(delay(&times, u32::MAX).as_secs(), 120);
}

#[tokio::test]
async fn only_the_end_of_the_term_ends_a_pass() {
    let context = silent();
    let reference = ObjectReference::default();
    let mut findings = Findings::about(&context, &reference, UID);
    assert!(findings.ended(Err::<(), _>(Error::TermEnded)).is_err());
    let refused = refused::<()>(403, "pods is forbidden");
    let Err(Error::Write { source, .. }) = refused else { panic!() };
    let pods = crate::observe::Error::Api { what: "the pods", source };
    assert!(findings.ended(Err::<(), _>(Error::Observe(pods))).unwrap().is_none());
    assert_eq!(findings.problems()[0].reason, Reason::ReadRefused);
    assert!(findings.problems()[0].message.contains("read the pods: pods is forbidden"));
}

#[tokio::test]
async fn what_a_whole_pass_did_not_meet_is_over_and_is_polled_for_no_more() {
    let context = silent();
    pass(&context, refused(403, "no")).await;
    let reference = ObjectReference::default();
    let mut findings = Findings::about(&context, &reference, UID);
    let read = Err::<(), _>(Error::Timeout { what: "read an object" });
    findings.read(&Thing::new("pods", ""), read);
    context.findings.keep(UID, findings.memory);
    // Another pass, at work, meets neither.
    let mut findings = Findings::about(&context, &reference, UID);
    findings.came_to_its_end(false);
    let kept: Vec<_> = findings.memory.troubles.keys().map(|(deed, _)| *deed).collect();
    assert_eq!(kept, [Deed::Write], "one silence is over, a write may come again");
    // And one at rest, which met all that it would write.
    let idle = context.times.poll_idle;
    assert!(findings.next(idle) < idle);
    findings.came_to_its_end(true);
    assert_eq!(findings.next(idle), idle);
    let mut findings = Findings::about(&context, &reference, UID);
    assert!(!findings.may_write(&policy(), "wish"));
    findings.came_to_its_end(true);
    assert_eq!(findings.memory.troubles.len(), 1, "what is wanted still is remembered");
}
