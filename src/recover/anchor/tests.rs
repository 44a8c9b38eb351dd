use serde_json::json;

use super::*;
use crate::testing::{One, Twist};

#[test]
fn an_anchor_reads_back_as_it_was_written() {
    let anchor = Anchor { journal_id: Uuid::from_u128(5), epoch: 3, seq: 9, hash: hex(&[1, 255]) };
    assert_eq!(parse(&object(&anchor, None, None)).unwrap(), anchor);
    assert_eq!(anchor.hash, "01ff");
}

#[test]
fn where_the_journal_is_served_is_told_beside_the_anchor_and_only_while_it_is() {
    let anchor = Anchor { journal_id: Uuid::nil(), epoch: 1, seq: 1, hash: String::new() };
    let mut served = Served {
        url: "https://10.0.0.7:8443".into(),
        fingerprint: "ab".into(),
        pod: Some("xsld-operator-0".into()),
    };
    for pod in [served.pod.clone(), None] {
        served.pod = pod;
        let live = object(&anchor, None, Some(&served));
        assert_eq!(Served::on(&live), Some(served.clone()));
        assert_eq!(Served::on(&object(&anchor, Some(&live), None)), None);
    }
}

#[test]
fn anything_else_is_no_anchor_and_says_why() {
    let mut object = object(
        &Anchor { journal_id: Uuid::nil(), epoch: 1, seq: 1, hash: String::new() },
        None,
        None,
    );
    object.data.as_mut().unwrap().insert("epoch".into(), "x".into());
    assert!(parse(&object).unwrap_err().to_string().contains("epoch"));
    object.data = None;
    assert!(parse(&object).is_err());
}

fn at(seq: u64) -> Anchor {
    Anchor { journal_id: Uuid::from_u128(5), epoch: 3, seq, hash: hex(&[1, 255]) }
}

fn keeper(server: &One) -> AnchorKeeper {
    AnchorKeeper::new(Api::namespaced(server.client(), "team"), Duration::from_secs(10), None)
}

/// A keeper that wrote the first record's anchor.
async fn kept() -> (One, AnchorKeeper) {
    let server = One::default();
    let mut keeper = keeper(&server);
    assert_eq!(keeper.read().await.unwrap(), None);
    keeper.write(at(1)).await.unwrap();
    (server, keeper)
}

fn anchored(server: &One) -> u64 {
    server.object()["data"]["sequence"].as_str().unwrap().parse().unwrap()
}

fn foreign() -> serde_json::Value {
    json!({"data": {"epoch": "4", "sequence": "40"}})
}

#[tokio::test]
async fn a_label_of_somebody_else_is_no_other_operator_and_is_kept() {
    let (server, mut keeper) = kept().await;
    for seq in 2..20 {
        let label = json!({"metadata": {"labels": {"team": seq.to_string()},
            "annotations": {"owner": "platform"}}});
        server.next([Twist::After(label.clone())]);
        keeper.write(at(seq)).await.unwrap();
        assert_eq!(anchored(&server), seq);
        let metadata = &server.object()["metadata"];
        assert_eq!(metadata["labels"]["team"], seq.to_string());
        assert_eq!(metadata["annotations"]["owner"], "platform");
        assert_eq!(metadata["labels"]["app.kubernetes.io/component"], "journal-anchor");
    }
    assert!(server.writes() < 40);
}

#[tokio::test]
async fn other_data_are_another_operator_for_ever() {
    let (server, mut keeper) = kept().await;
    server.write(&foreign());
    assert!(matches!(keeper.write(at(2)).await, Err(Error::Conflict)));
    // Also when they come to be what this keeper wrote.
    let writes = server.writes();
    server.write(&json!({"data": {"epoch": "3", "sequence": "2"}}));
    assert!(matches!(keeper.write(at(3)).await, Err(Error::Conflict)));
    assert_eq!(server.writes(), writes);
}

#[tokio::test]
async fn a_write_without_an_answer_is_recognised_and_another_ones_version_is_never_taken_over() {
    let (server, mut keeper) = kept().await;
    server.next([Twist::Unanswered]);
    keeper.write(at(2)).await.unwrap();
    assert_eq!((anchored(&server), keeper.last().unwrap().seq), (2, 2));
    // Not done yet: it is tried again, and does no harm when it comes at last.
    server.next([Twist::Late]);
    assert!(matches!(keeper.write(at(3)).await, Err(Error::Api { .. })));
    keeper.write(at(4)).await.unwrap();
    server.arrive();
    assert_eq!(anchored(&server), 4);
    // It comes first: it is what was written before.
    server.next([Twist::Late]);
    keeper.write(at(5)).await.unwrap_err();
    server.arrive();
    keeper.write(at(6)).await.unwrap();
    assert_eq!(anchored(&server), 6);
    // Another operator comes first.
    server.next([Twist::Late]);
    keeper.write(at(7)).await.unwrap_err();
    server.write(&foreign());
    assert!(matches!(keeper.write(at(8)).await, Err(Error::Conflict)));
    assert!(matches!(keeper.write(at(8)).await, Err(Error::Conflict)));
    assert_eq!(anchored(&server), 40);
}

/// What was refused has been written all the same: something on the way repeated it.
#[tokio::test]
async fn a_repeated_write_is_our_own_and_the_first_one_too() {
    let server = One::default();
    let mut keeper = keeper(&server);
    keeper.read().await.unwrap();
    server.next([Twist::Unanswered]);
    keeper.write(at(1)).await.unwrap();
    assert_eq!(keeper.last(), Some(&at(1)));
    // Somebody else was first.
    let server = One::default();
    let mut keeper = self::keeper(&server);
    keeper.read().await.unwrap();
    server.next([Twist::After(serde_json::to_value(object(&at(9), None, None)).unwrap())]);
    assert!(matches!(keeper.write(at(1)).await, Err(Error::Conflict)));
}

#[tokio::test]
async fn a_deleted_anchor_is_made_again_and_not_in_a_namespace_that_goes() {
    let (server, mut keeper) = kept().await;
    server.delete();
    keeper.write(at(2)).await.unwrap();
    assert_eq!(anchored(&server), 2);
    server.delete();
    server.next([Twist::Plain, Twist::Refused(403, "NamespaceTerminating")]);
    assert!(keeper.write(at(3)).await.unwrap_err().says_namespace_ends());
}
