//! Hosts and resolvers that answer slowly, or never: whoever chose them waits, and nobody else.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::client::BOB_SECRET;
use super::*;

/// Shorter than a validation that nobody answers, longer than anything else takes.
const SOON: Duration = Duration::from_secs(3);

/// Each of an account's requests that waits for a host of its choice had a place of those which all of ACME and CMP share.
#[tokio::test(flavor = "multi_thread")]
async fn one_account_s_silent_hosts_keep_no_other_waiting() {
    // Asked, it says nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let stage = Stage { resolver: silent.local_addr().unwrap(), ..Stage::without_host() };
    // Four places for whoever is known by its message; two validations at once, one of each account.
    let site = stage.site_with(NOW, true, "[limits]\nrequests = 8\nqueue_seconds = 1\n").await;
    let (greedy, modest) =
        tokio::join!(Client::register(&site, "alice", &ALICE_SECRET), Client::register(&site, "bob", &BOB_SECRET));
    let mut challenges = Vec::new();
    for number in 0..6 {
        let names = json!([{ "type": "dns", "value": format!("host-{number}.example") }]);
        let (_, order) = greedy.order(names, "device").await;
        challenges.push(greedy.challenge(&order, "dns-01").await);
    }
    let (_, own_order) = modest.order(json!([{ "type": "dns", "value": "own.example" }]), "device").await;
    let own = modest.challenge(&own_order, "dns-01").await;

    let began = Instant::now();
    let respond = |challenge: &Value| {
        let url = challenge["url"].as_str().unwrap().to_owned();
        let greedy = &greedy;
        async move {
            let reply = greedy.post(&url, Some(&json!({}))).await;
            (began.elapsed(), reply)
        }
    };
    let flood = async {
        let mut all = Vec::new();
        for reply in futures_of(challenges.iter().map(respond)).await {
            all.push(reply);
        }
        all
    };
    let others = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let asked = Instant::now();
        let (_, order) = modest.order(json!([{ "type": "dns", "value": "b.example" }]), "device").await;
        assert_eq!(order["status"], "pending");
        let took = asked.elapsed();
        // Its own validation begins, and ends as one does that nobody answers.
        let reply = modest.post(own["url"].as_str().unwrap(), Some(&json!({}))).await;
        assert_eq!(reply.json()["status"], "invalid", "{}", String::from_utf8_lossy(&reply.body));
        took
    };
    let (replies, took) = tokio::join!(flood, others);
    assert!(took < SOON, "{took:?}");
    let (busy, waited): (Vec<_>, Vec<_>) = replies.into_iter().partition(|(_, reply)| reply.status == 503);
    assert_eq!((busy.len(), waited.len()), (5, 1));
    for (took, reply) in &busy {
        assert!(*took < SOON, "{took:?}");
        assert_eq!(codes(reply), ["busy"]);
        assert!(client::header(reply, "retry-after").is_some());
    }
    assert_eq!(waited[0].1.json()["status"], "invalid");
    // Whoever was told to come again has lost nothing.
    let pending = challenges.iter().map(|challenge| greedy.read(&challenge["url"]));
    let statuses: Vec<Value> = futures_of(pending).await.into_iter().map(|found| found["status"].clone()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == "pending").count(), 5, "{statuses:?}");
}

/// All of them at once.
async fn futures_of<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pinned: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut is_done = true;
        for (future, output) in &mut pinned {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(found) => *output = Some(found),
                    std::task::Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    pinned.into_iter().filter_map(|(_, output)| output).collect()
}
