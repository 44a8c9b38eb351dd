use std::collections::VecDeque;

use async_trait::async_trait;
use serde_json::json;

use super::*;
use crate::xsld::transport::{Method, Response};

const KEY: Uuid = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);

/// Answers from a list, and keeps what it was asked.
struct Scripted {
    answers: Mutex<VecDeque<Exchange>>,
    requests: Mutex<Vec<Request>>,
}

impl Scripted {
    fn new(answers: impl IntoIterator<Item = Exchange>) -> Scripted {
        Scripted {
            answers: Mutex::new(answers.into_iter().collect()),
            requests: Mutex::new(Vec::new()),
        }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

#[async_trait]
impl Transport for Scripted {
    async fn exchange(&self, request: Request) -> Exchange {
        self.requests.lock().unwrap().push(request);
        self.answers.lock().unwrap().pop_front().expect("an answer for every request")
    }
}

fn replied(status: u16, body: Value) -> Exchange {
    let certificate = Some(Fingerprint::of(b"leaf"));
    Exchange::Replied(Response { status, body: body.to_string().into_bytes(), certificate })
}

fn member() -> Member {
    Member {
        host: "c-0.c.ns.svc".to_owned(),
        address: Some([127, 0, 0, 2].into()),
        trust: Trust::FirstUse,
        credentials: Credentials::admin("Password123!".into()),
    }
}

fn disjoin() -> TaskCommand {
    TaskCommand::Disjoin { key: KEY, member: "c-1".to_owned() }
}

/// What comes of one post when the transport says `exchange`.
async fn post(exchange: Exchange) -> Sent {
    let (profile, member) = (ApiProfile::default(), member());
    let transport = Scripted::new([exchange]);
    let client = GroupClient::new(&transport, &profile, &member, Duration::from_secs(10));
    let sent = client.post_task(&disjoin()).await;
    assert_eq!(transport.requests().len(), 1, "a post is sent once");
    sent
}

#[tokio::test]
async fn a_request_carries_who_where_and_how_long() {
    let profile = ApiProfile::parse("adminPort: 19445").unwrap();
    let member = member();
    let transport = Scripted::new([replied(200, json!({"taskId": 17}))]);
    let client = GroupClient::new(&transport, &profile, &member, Duration::from_secs(7));
    let call = Call::task(&profile, &disjoin()).unwrap();
    let sent = client.post_task(&disjoin()).await;
    assert_eq!(sent, Sent::Accepted { task: Some(17), digest: call.digest() });
    let requests = transport.requests();
    let [request] = requests.as_slice() else { panic!("{} requests", requests.len()) };
    assert_eq!((request.host.as_str(), request.port), ("c-0.c.ns.svc", 19445));
    assert_eq!(request.address, Some(IpAddr::from([127, 0, 0, 2])));
    assert_eq!((request.method, request.path.as_str()), (Method::Post, "/wxsadmin/v1/task"));
    assert_eq!(request.key, Some(KEY));
    assert_eq!(request.trust, Trust::FirstUse);
    assert_eq!(request.deadline, Duration::from_secs(7));
    assert_eq!(request.credentials.user, "xsadmin");
}

#[tokio::test]
async fn a_post_has_four_outcomes() {
    let digest = Call::task(&ApiProfile::default(), &disjoin()).unwrap().digest();
    let refused =
        Exchange::Untrusted { presented: Fingerprint::of(b"x"), reason: "pin".to_owned() };
    let text = |text: &str| text.to_owned();
    for (exchange, wanted) in [
        (replied(200, json!({"taskId": 17})), Sent::Accepted { task: Some(17), digest }),
        (
            replied(409, json!({"error": "busy: 17"})),
            Sent::Refused { status: 409, error: text("busy: 17") },
        ),
        (Exchange::NotSent { reason: text("refused") }, Sent::NotSent { reason: text("refused") }),
        (refused, Sent::NotSent { reason: text("pin") }),
        (Exchange::Unknown { reason: text("a\nb") }, Sent::Unknown { reason: text("a\\nb") }),
    ] {
        assert_eq!(post(exchange).await, wanted);
    }
    for exchange in [replied(500, json!({"error": "oops"})), replied(200, json!({"x": "y"}))] {
        let sent = post(exchange).await;
        assert!(matches!(sent, Sent::Unknown { .. }), "{sent:?}");
    }
}

#[tokio::test]
async fn an_answer_that_echoes_secrets_is_shown_without_them() {
    let (profile, member) = (ApiProfile::default(), member());
    let echo = json!({"error": "secretKey GroupSecret1! by Password123! is wrong"});
    let transport = Scripted::new([replied(400, echo)]);
    let client = GroupClient::new(&transport, &profile, &member, Duration::from_secs(10));
    let sent = client
        .post_task(&TaskCommand::Join {
            key: KEY,
            secret_key: "GroupSecret1!".into(),
            member: "c-1".to_owned(),
            group_host: "10.0.0.1".to_owned(),
            catalog: false,
        })
        .await;
    let error = "secretKey [redacted] by [redacted] is wrong".to_owned();
    assert_eq!(sent, Sent::Refused { status: 400, error });
}

#[tokio::test]
async fn every_read_asks_its_own_path() {
    let (profile, member) = (ApiProfile::default(), member());
    let transport = Scripted::new([
        replied(200, json!({"members": [{"memberName": "c-0", "status": "Online"}]})),
        replied(200, json!([])),
        replied(200, json!({"status": "Running"})),
        replied(200, json!([])),
        replied(404, json!({"error": "no such grid"})),
        replied(200, json!({"objectGridXml": "<a/>", "deploymentPolicyXml": "<b/>"})),
        replied(200, json!({"swagger": "2.0"})),
    ]);
    let client = GroupClient::new(&transport, &profile, &member, Duration::from_secs(10));
    assert_eq!(client.group().await.known().unwrap().members[0].name, "c-0");
    assert_eq!(client.tasks().await, Answer::Known(Vec::new()));
    assert!(client.task_status(17).await.known().unwrap().is_running());
    assert_eq!(client.grids().await, Answer::Known(Vec::new()));
    assert!(client.grid("a b").await.is_absent());
    assert_eq!(client.grid_template("t").await.known().unwrap().object_grid_xml, "<a/>");
    assert_eq!(client.api_docs().await, Answer::Known(json!({"swagger": "2.0"})));
    let requests = transport.requests();
    assert!(requests.iter().all(|request| request.method == Method::Get && request.body.is_none()));
    assert_eq!(
        requests.iter().map(|request| request.path.as_str()).collect::<Vec<_>>(),
        [
            "/wxsadmin/v1/cacheMemberGroup",
            "/wxsadmin/v1/task",
            "/wxsadmin/v1/task/17/status",
            "/wxsadmin/v1/grid",
            "/wxsadmin/v1/grid/a%20b",
            "/wxsadmin/v1/gridTemplate/t",
            "/ibm/api/docs",
        ]
    );
}

#[tokio::test]
async fn a_read_that_brought_nothing_is_unknown() {
    let (profile, member) = (ApiProfile::default(), member());
    for exchange in [
        Exchange::NotSent { reason: "no".to_owned() },
        Exchange::Unknown { reason: "no".to_owned() },
        Exchange::Untrusted { presented: Fingerprint::of(b"x"), reason: "no".to_owned() },
    ] {
        let transport = Scripted::new([exchange]);
        let client = GroupClient::new(&transport, &profile, &member, Duration::from_secs(10));
        assert_eq!(client.tasks().await, Answer::Unknown { reason: "no".to_owned() });
    }
}

#[tokio::test]
async fn a_name_that_fits_no_path_is_never_sent() {
    let (profile, member) = (ApiProfile::default(), member());
    let transport = Scripted::new([]);
    let client = GroupClient::new(&transport, &profile, &member, Duration::from_secs(10));
    assert!(matches!(client.grid("..").await, Answer::Unknown { .. }));
    let body = GridBody::default();
    for sent in [
        client.create_grid("..", &body, KEY).await,
        client.update_grid("", &body, KEY).await,
        client.delete_grid(".", KEY).await,
        client.put_grid_template("..", "", "", KEY).await,
        client.delete_grid_template("a\0", KEY).await,
    ] {
        assert!(matches!(sent, Sent::NotSent { .. }), "{sent:?}");
    }
}

#[tokio::test]
async fn the_certificate_is_told_also_when_it_was_refused() {
    let (profile, member) = (ApiProfile::default(), member());
    let refused = Fingerprint::of(b"other");
    let transport = Scripted::new([
        Exchange::NotSent { reason: "no".to_owned() },
        replied(503, json!({"error": "starting"})),
        Exchange::Unknown { reason: "no".to_owned() },
        Exchange::Untrusted { presented: refused, reason: "no".to_owned() },
    ]);
    let client = GroupClient::new(&transport, &profile, &member, Duration::from_secs(10));
    let (mut seen, mut refusals) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let _ = client.tasks().await;
        seen.push(client.certificate());
        refusals.push(client.refused_certificate());
    }
    assert_eq!(refusals, [None, None, None, Some(refused)]);
    let first = Some(Fingerprint::of(b"leaf"));
    assert_eq!(seen, [None, first, first, Some(refused)]);
}
