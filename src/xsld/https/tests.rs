mod server;

use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use self::server::{Behaviour, HOST, Identity, Server, plain_listener};
use super::*;
use crate::xsld::transport::{Credentials, Fingerprint, Trust};

const KEY: Uuid = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);

fn transport() -> HttpsTransport {
    // The real bounds, but a test does not wait for a connection as long as they allow.
    HttpsTransport::new(Timeouts { connect: Duration::from_secs(2), ..Timeouts::default() })
}

fn request(port: u16, method: Method, trust: Trust) -> Request {
    Request {
        host: HOST.to_owned(),
        address: Some([127, 0, 0, 1].into()),
        port,
        method,
        path: "/wxsadmin/v1/task".to_owned(),
        body: None,
        key: None,
        credentials: Credentials::admin(SecretString::from("Password123!")),
        trust,
        deadline: Duration::from_secs(10),
    }
}

#[track_caller]
fn replied(exchange: Exchange) -> Response {
    match exchange {
        Exchange::Replied(response) => response,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn not_sent(exchange: Exchange) -> String {
    match exchange {
        Exchange::NotSent { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn unknown(exchange: Exchange) -> String {
    match exchange {
        Exchange::Unknown { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_first_use_is_answered_and_shows_the_certificate() {
    let server = Server::start(Behaviour::json(200, "[]")).await;
    let response =
        replied(transport().exchange(request(server.port, Method::Get, Trust::FirstUse)).await);
    assert_eq!((response.status, response.body.as_slice()), (200, b"[]".as_slice()));
    assert_eq!(response.certificate, Some(server.fingerprint));
    let sent = server.requests();
    assert_eq!(sent.len(), 1);
    let head = sent[0].to_ascii_lowercase();
    assert!(head.starts_with("get /wxsadmin/v1/task http/1.1\r\n"), "{head}");
    for line in [
        format!("\r\nhost: {HOST}:{}\r\n", server.port),
        "\r\naccept: application/json\r\n".to_owned(),
        "\r\nconnection: close\r\n".to_owned(),
        "\r\nuser-agent: xsld-operator/".to_owned(),
    ] {
        assert!(head.contains(&line), "{line:?} in {head}");
    }
    // xsadmin:Password123!
    assert!(sent[0].contains("Basic eHNhZG1pbjpQYXNzd29yZDEyMyE="), "{}", sent[0]);
    assert_eq!(server.name_asked_for().as_deref(), Some(HOST));
}

#[tokio::test]
async fn a_post_carries_its_body_and_its_key() {
    let server = Server::start(Behaviour::json(200, r#"{"taskId": 17}"#)).await;
    let body = json!({"command": "X", "parameters": {"a": "ü"}});
    let asked = Request {
        body: Some(body.clone()),
        key: Some(KEY),
        ..request(server.port, Method::Post, Trust::Insecure)
    };
    replied(transport().exchange(asked).await);
    let sent = server.requests().remove(0);
    let (head, sent_body) = sent.split_once("\r\n\r\n").unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(sent_body).unwrap(), body);
    let head = head.to_ascii_lowercase();
    assert!(head.contains("\r\ncontent-type: application/json"), "{head}");
    assert!(head.contains("\r\nx-request-id: 12345678-9abc-4def-8123-456789abcdef"), "{head}");
}

#[tokio::test]
async fn a_put_without_a_body_says_that_it_has_none() {
    let server = Server::start(Behaviour::json(200, "{}")).await;
    replied(transport().exchange(request(server.port, Method::Put, Trust::Insecure)).await);
    let head = server.requests().remove(0).to_ascii_lowercase();
    assert!(head.contains("\r\ncontent-length: 0\r\n"), "{head}");
}

#[tokio::test]
async fn the_pinned_certificate_is_accepted_and_no_other() {
    let server = Server::start(Behaviour::json(200, "[]")).await;
    let pinned = Trust::Pinned(server.fingerprint);
    let response = replied(transport().exchange(request(server.port, Method::Get, pinned)).await);
    assert_eq!(response.certificate, Some(server.fingerprint));

    let other = Fingerprint::of(b"another certificate");
    let exchange =
        transport().exchange(request(server.port, Method::Post, Trust::Pinned(other))).await;
    let Exchange::Untrusted { presented, reason } = exchange else { panic!("{exchange:?}") };
    assert_eq!(presented, server.fingerprint);
    assert!(reason.contains(&other.to_string()), "{reason}");
    assert!(reason.contains(&server.fingerprint.to_string()), "{reason}");
    // The handshake was refused: neither credentials nor anything else went out.
    server.wait_for_connections(2).await;
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_peer_without_the_key_of_its_certificate_is_refused() {
    let identity = Identity::with_a_foreign_key();
    let server = Server::start_as(identity, Behaviour::json(200, "[]")).await;
    for trust in [Trust::Pinned(server.fingerprint), Trust::FirstUse, Trust::Insecure] {
        not_sent(transport().exchange(request(server.port, Method::Get, trust)).await);
    }
    server.wait_for_connections(3).await;
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn tls_1_2_will_do() {
    for identity in
        [Identity::self_signed().only_tls12(), Identity::with_a_foreign_key().only_tls12()]
    {
        let foreign = identity.is_foreign();
        let server = Server::start_as(identity, Behaviour::json(200, "[]")).await;
        let pinned = Trust::Pinned(server.fingerprint);
        let exchange = transport().exchange(request(server.port, Method::Get, pinned)).await;
        if foreign {
            not_sent(exchange);
        } else {
            replied(exchange);
        }
    }
}

#[tokio::test]
async fn a_ca_vouches_for_the_name_and_only_for_it() {
    let (identity, ca) = Identity::from_ca(HOST);
    let server = Server::start_as(identity, Behaviour::json(200, "[]")).await;
    let trust = || Trust::Ca(ca.clone().into_bytes());
    replied(transport().exchange(request(server.port, Method::Get, trust())).await);

    let other_name = Request {
        host: "cache-9.cache.ns.svc".to_owned(),
        ..request(server.port, Method::Get, trust())
    };
    let (_, other_ca) = Identity::from_ca(HOST);
    let other_ca = Trust::Ca(other_ca.into_bytes());
    for refused in [other_name, request(server.port, Method::Get, other_ca)] {
        let exchange = transport().exchange(refused).await;
        let Exchange::Untrusted { presented, .. } = exchange else { panic!("{exchange:?}") };
        assert_eq!(presented, server.fingerprint);
    }
    let empty = request(server.port, Method::Get, Trust::Ca(Vec::new()));
    assert!(not_sent(transport().exchange(empty).await).contains("no certificate"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_body_has_a_bound_whether_its_length_is_told_or_not() {
    let exact = Server::start(Behaviour::json(200, &" ".repeat(MAX_BODY))).await;
    let response =
        replied(transport().exchange(request(exact.port, Method::Get, Trust::FirstUse)).await);
    assert_eq!(response.body.len(), MAX_BODY);

    let told =
        Behaviour::Raw(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", MAX_BODY + 1));
    for behaviour in
        [told, Behaviour::Endless { chunked: false }, Behaviour::Endless { chunked: true }]
    {
        let server = Server::start(behaviour).await;
        let exchange =
            transport().exchange(request(server.port, Method::Get, Trust::FirstUse)).await;
        assert!(unknown(exchange).contains("longer than 1048576"));
    }
}

#[tokio::test]
async fn a_slow_answer_is_unknown_at_the_deadline() {
    for behaviour in [Behaviour::Silent, Behaviour::Drip] {
        let server = Server::start(behaviour).await;
        let asked = Request {
            deadline: Duration::from_millis(500),
            ..request(server.port, Method::Post, Trust::FirstUse)
        };
        unknown(transport().exchange(asked).await);
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn the_transport_bounds_a_request_that_asks_for_more() {
    let server = Server::start(Behaviour::Silent).await;
    let timeouts = Timeouts { request: Duration::from_millis(500), ..Timeouts::default() };
    let asked = Request {
        deadline: Duration::from_secs(3600),
        ..request(server.port, Method::Get, Trust::FirstUse)
    };
    assert!(unknown(HttpsTransport::new(timeouts).exchange(asked).await).contains("in time"));
}

#[tokio::test]
async fn a_redirect_is_handed_back_and_not_followed() {
    let server = Server::start(Behaviour::json(200, "[]")).await;
    let location = format!("https://{HOST}:{}/elsewhere", server.port);
    let redirect = Behaviour::Raw(format!(
        "HTTP/1.1 307 Go\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
    ));
    let redirecting = Server::start(redirect).await;
    let asked = request(redirecting.port, Method::Post, Trust::FirstUse);
    assert_eq!(replied(transport().exchange(asked).await).status, 307);
    assert_eq!((redirecting.requests().len(), server.requests().len()), (1, 0));
}

#[tokio::test]
async fn what_fails_before_the_request_was_not_sent() {
    let free = plain_listener().await.local_addr().unwrap().port();
    let reason = not_sent(transport().exchange(request(free, Method::Post, Trust::FirstUse)).await);
    assert!(reason.contains("refused"), "{reason}");

    // A listener that never answers the handshake.
    let silent = plain_listener().await;
    let timeouts = Timeouts { connect: Duration::from_millis(300), ..Timeouts::default() };
    let asked = request(silent.local_addr().unwrap().port(), Method::Post, Trust::FirstUse);
    let reason = not_sent(HttpsTransport::new(timeouts).exchange(asked).await);
    assert!(reason.contains("too long"), "{reason}");

    let spent = Request { deadline: Duration::ZERO, ..request(1, Method::Post, Trust::FirstUse) };
    assert!(not_sent(transport().exchange(spent).await).contains("no time"));
}

#[tokio::test]
async fn what_breaks_after_the_request_is_unknown_and_sent_once() {
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"taskId\": 17}".to_owned();
    // Without a length the end of the body is the end of the stream; where TLS was
    // not closed properly, anyone on the way may have cut it.
    let cut = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"taskId\": 1".to_owned();
    let garbage = "SSH-2.0-OpenSSH_9.0\r\n\r\n".to_owned();
    for behaviour in [
        Behaviour::Reset,
        Behaviour::RawThenReset(short),
        Behaviour::RawThenReset(cut),
        Behaviour::Raw(garbage),
    ] {
        let server = Server::start(behaviour).await;
        let asked = Request {
            body: Some(json!({"command": "X"})),
            ..request(server.port, Method::Post, Trust::FirstUse)
        };
        let reason = unknown(transport().exchange(asked).await);
        assert!(!reason.contains("Password123!"), "{reason}");
        assert_eq!(server.requests().len(), 1);
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn every_request_has_a_connection_of_its_own() {
    let server = Server::start(Behaviour::json(200, "[]")).await;
    let transport = transport();
    for count in 1..=3 {
        replied(transport.exchange(request(server.port, Method::Get, Trust::FirstUse)).await);
        assert_eq!(server.connections(), count);
    }
}

#[tokio::test]
async fn a_host_or_path_that_means_something_else_is_not_sent() {
    let server = Server::start(Behaviour::json(200, "[]")).await;
    let asked = || request(server.port, Method::Get, Trust::FirstUse);
    for host in ["", "a/b", "user@c", "c?x", "c#x", "a b", "c:1", "[::1", "127.0.0.2", "127.1"] {
        let reason = not_sent(transport().exchange(Request { host: host.into(), ..asked() }).await);
        assert!(!reason.is_empty());
    }
    for path in ["", "task", "/a/../b", "/a/%2e%2e/b", "/a?b=c", "/a#b", "/a b", "//c"] {
        let exchange = transport().exchange(Request { path: path.into(), ..asked() }).await;
        if path == "//c" {
            // It names no other host here: the host stands before it.
            replied(exchange);
        } else {
            not_sent(exchange);
        }
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_address_alone_will_do_as_the_host() {
    let server = Server::start(Behaviour::json(200, "[]")).await;
    for address in [None, Some([127, 0, 0, 1].into())] {
        let host = "127.0.0.1".to_owned();
        let asked = Request { host, address, ..request(server.port, Method::Get, Trust::FirstUse) };
        replied(transport().exchange(asked).await);
    }
}
