use serde_json::json;

use super::*;
use crate::testing::{Hands, One, Twist};

const LEASE: Duration = Duration::from_secs(10);

fn led(seconds: u64) -> (Arc<Hands>, Arc<Leadership>) {
    let hands = Arc::new(Hands::default());
    let leadership = Leadership::new(hands.clone());
    let began = Began { at: hands.now(), wall: hands.wall() };
    leadership.extend(began, Duration::from_secs(seconds));
    (hands, leadership)
}

/// A request in two halves: the connection, and what is sent on it when somebody looks again.
async fn request(hands: &Hands, takes: u64, sent: &AtomicU64) -> &'static str {
    hands.pass(Duration::from_secs(takes));
    tokio::task::yield_now().await;
    sent.fetch_add(1, Ordering::SeqCst);
    "answered"
}

#[tokio::test]
async fn a_process_that_wakes_after_its_term_sends_nothing_on_the_connection_that_it_made() {
    for (takes, answer, written) in [(9, Some("answered"), 1), (10, None, 0), (500, None, 0)] {
        let (hands, leadership) = led(10);
        let sent = AtomicU64::new(0);
        let effect = leadership.within(request(&hands, takes, &sent)).await;
        assert_eq!((effect, sent.into_inner()), (answer, written), "after {takes} s");
    }
    let (hands, leadership) = led(0);
    let sent = AtomicU64::new(0);
    assert_eq!(leadership.within(request(&hands, 0, &sent)).await, None, "never in a term");
    assert_eq!(hands.now(), Moment::default(), "it did not even begin");
}

/// A paused machine: the monotonic clock stood still, the wall clock did not.
#[tokio::test]
async fn a_machine_that_slept_sends_nothing_until_its_lease_is_renewed() {
    let (hands, leadership) = led(10);
    assert!(leadership.covers(Duration::from_secs(3)));
    hands.jump(6);
    assert!(leadership.covers(Duration::from_secs(3)), "6 s of 10 passed");
    assert!(!leadership.covers(Duration::from_secs(4)), "the request could outlive the term");
    hands.jump(4);
    assert!(!leadership.covers(Duration::ZERO));
    let sent = AtomicU64::new(0);
    assert_eq!(leadership.within(request(&hands, 0, &sent)).await, None);
    assert_eq!(sent.into_inner(), 0);
    assert_eq!(leadership.standing(Duration::ZERO), Standing::InDoubt, "and is not over");
}

#[tokio::test]
async fn a_wall_clock_that_jumps_never_makes_a_term_longer() {
    let (hands, leadership) = led(10);
    hands.jump(-3600);
    assert!(leadership.covers(Duration::ZERO));
    hands.pass(LEASE);
    assert_eq!(leadership.standing(Duration::ZERO), Standing::Over);
    assert!(!leadership.confirmed().await);
}

fn keeper(server: &One, hands: &Arc<Hands>, holder: &str) -> Keeper {
    let times = Times { lease: LEASE, lease_renew: Duration::from_secs(2), ..Times::default() };
    let api = Api::namespaced(server.client(), "team");
    Keeper::new(api, holder.to_owned(), hands.clone(), times)
}

/// A holder that has the Lease.
async fn holding() -> (One, Arc<Hands>, Keeper) {
    let (server, hands) = (One::default(), Arc::new(Hands::default()));
    let mut keeper = keeper(&server, &hands, "me");
    keeper.acquire().await;
    (server, hands, keeper)
}

#[tokio::test]
async fn a_doubt_is_ended_by_one_renewal_and_no_term_ends_for_a_clock_that_was_set() {
    let (server, hands, mut keeper) = holding().await;
    let leadership = keeper.leadership();
    hands.jump(3600);
    assert!(!leadership.covers(Duration::ZERO));
    // Asked for at once, and not only when the next one is due.
    tokio::select! {
        biased;
        () = leadership.doubted.notified() => {}
        () = std::future::ready(()) => panic!("nobody was asked to renew"),
    }
    keeper.renew().await.unwrap();
    assert!(leadership.confirmed().await && leadership.covers(Duration::from_secs(9)));
    assert_eq!(server.object()["spec"]["holderIdentity"], "me");
}

#[tokio::test]
async fn a_machine_that_slept_through_its_term_does_not_come_back_into_it() {
    let (server, hands, mut keeper) = holding().await;
    hands.jump(3600);
    server.write(&json!({"spec": {"holderIdentity": "another", "leaseTransitions": 2}}));
    let leadership = keeper.leadership();
    assert!(!leadership.covers(Duration::ZERO));
    let Err(Error::Lost { holder }) = keeper.renew().await else { panic!("it leads") };
    assert_eq!(holder, "another");
}

#[tokio::test]
async fn a_label_on_the_lease_is_no_other_holder_and_is_kept() {
    let (server, hands, mut keeper) = holding().await;
    let label = |value: &str| json!({"metadata": {"labels": {"team": value}}});
    for round in 0..20 {
        server.next([Twist::After(label(&round.to_string()))]);
        hands.pass(Duration::from_secs(2));
        let before = server.object()["spec"]["renewTime"].clone();
        keeper.renew().await.unwrap();
        let object = server.object();
        assert_ne!(object["spec"]["renewTime"], before, "others would see it expire");
        assert_eq!(object["metadata"]["labels"]["team"], round.to_string());
    }
    keeper.release().await.unwrap();
    let object = server.object();
    assert_eq!(
        (&object["spec"]["holderIdentity"], &object["metadata"]["labels"]["team"]),
        (&json!(""), &json!("19"))
    );
    let mut next = self::keeper(&server, &hands, "next");
    assert_eq!(next.acquire().await, TakeOver::Mine);
    assert_eq!(server.object()["metadata"]["labels"]["team"], "19", "whoever takes it over");
}

/// What others can see must have changed before a term gets longer.
#[tokio::test]
async fn a_term_is_longer_only_by_a_renewal_that_was_written() {
    let (server, hands, mut keeper) = holding().await;
    let until = keeper.leadership().valid_until();
    let label = json!({"metadata": {"labels": {"team": "platform"}}});
    server.next(std::iter::repeat_n(Twist::After(label), TRIES_MAX));
    hands.pass(Duration::from_secs(2));
    keeper.renew().await.unwrap_err();
    assert_eq!(keeper.leadership().valid_until(), until);
    // An answer that was lost is made good by the next.
    server.next([Twist::Unanswered]);
    keeper.renew().await.unwrap_err();
    keeper.renew().await.unwrap();
    assert_eq!(keeper.leadership().valid_until(), hands.now().plus(LEASE));
}

#[tokio::test]
async fn a_missing_lease_is_taken_over_as_another_ones_unless_the_last_term_was_our_own() {
    let cases = [
        (None, TakeOver::FromAnother),
        (Some("another"), TakeOver::FromAnother),
        (Some("me"), TakeOver::Mine),
    ];
    for (last, expected) in cases {
        let (server, hands) = (One::default(), Arc::new(Hands::default()));
        let mut keeper = keeper(&server, &hands, "me").after(last.map(str::to_owned));
        assert_eq!(keeper.acquire().await, expected, "{last:?}");
    }
}

#[tokio::test]
async fn a_lease_that_was_deleted_is_made_again_by_its_holder_or_lost_to_who_was_first() {
    let (server, _, mut keeper) = holding().await;
    server.delete();
    keeper.renew().await.unwrap();
    assert_eq!(server.object()["spec"]["holderIdentity"], "me");
    server.delete();
    server.next([
        Twist::Plain,
        Twist::After(json!({"spec": {"holderIdentity": "another", "leaseTransitions": 1}})),
    ]);
    assert!(matches!(keeper.renew().await, Err(Error::Lost { .. })));
}

#[tokio::test]
async fn in_a_namespace_that_goes_the_last_holder_stays_the_last() {
    let (server, hands, mut keeper) = holding().await;
    let ends = || [Twist::Plain, Twist::Refused(403, "NamespaceTerminating")];
    server.delete();
    server.next(ends());
    hands.pass(Duration::from_secs(2));
    keeper.renew().await.unwrap();
    assert_eq!(keeper.leadership().valid_until(), hands.now().plus(LEASE));
    // Not when somebody else may have led meanwhile.
    hands.jump(3600);
    server.next([Twist::Refused(403, "NamespaceTerminating")]);
    keeper.renew().await.unwrap_err();
}

#[tokio::test]
async fn a_machine_that_slept_through_its_term_does_not_make_a_deleted_lease_its_own_again() {
    let (server, hands, mut keeper) = holding().await;
    server.delete();
    keeper.renew().await.expect("awake, it makes it again");
    hands.jump(3600);
    server.delete();
    assert!(matches!(keeper.renew().await, Err(Error::Lost { .. })));
    assert_eq!(server.object(), serde_json::Value::Null);
}
