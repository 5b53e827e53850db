//! Two people, one project, a cable that is pulled out in between.

use serde_json::Value;
use td_e2e::device::Device;
use td_e2e::random::Random;
use td_e2e::relay::Relay;
use td_e2e::seed;
use td_e2e::server::Server;

/// Events that each of the two makes.
const EVENTS: usize = 200;

#[test]
fn two_folders_agree_after_200_mixed_events_each_and_a_cut_network() {
    let dir = tempfile::tempdir().expect("temp");
    let server = Server::start(&dir.path().join("data"));
    let relay = Relay::to(server.address());
    server.admin(&["create-user", "--email", "ana@example.org"]);
    let devices = ["ana", "ben"].map(|n| Device::new(&dir.path().join(n)));
    for device in &devices {
        let link = server.admin(&["enroll", "create", "--email", "ana@example.org"]);
        // The relay stands where the server's public name would.
        let link = link["link"].as_str().expect("a link").replace(&server.url(), &relay.url());
        device.td(&["init"]);
        device.td(&["connect", &link]);
    }
    let project =
        devices[0].json(&["sync-project", "create", "garden"])["id"].as_str().expect("id").to_string();
    devices[0].td(&["sync-project", "link", &project]);
    devices[1].td(&["sync-project", "join", &project]);

    let mut random = Random(seed());
    let mut made = [0, 0];
    while made.iter().any(|n| *n < EVENTS) {
        let who = usize::try_from(random.below(2)).expect("0 or 1");
        made[who] += mixed_event(&devices[who], &mut random);
        match random.below(40) {
            0 => relay.cut(),
            1 | 2 => relay.restore(),
            // Offline is a result here, not a failure: exit code 3 and everything kept.
            3 => {
                let out = devices[who].run(&["sync"]);
                assert!(matches!(out.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&out.stderr));
            }
            _ => {}
        }
    }
    relay.cut();
    assert_eq!(devices[0].run(&["sync"]).status.code(), Some(3), "offline is exit code 3");
    relay.restore();
    for round in [0, 1, 0] {
        devices[round].td(&["sync"]);
    }
    devices[1].td(&["sync"]);
    let status = devices.each_ref().map(|d| d.json(&["sync", "--status"]));
    println!("{:#}", status[0]);
    for s in &status {
        assert_eq!(s["pending"], 0, "{s}");
        assert_eq!(s["cursor"], s["head"], "{s}");
        assert!(s["head"].as_i64().expect("head") >= 2 * EVENTS as i64, "{s}");
    }
    assert_ne!(status[0]["digest"]["value"], Value::Null);
    assert_eq!(status[0]["digest"], status[1]["digest"]);
}

/// One random command; how many events it made.
fn mixed_event(device: &Device, random: &mut Random) -> usize {
    let issues = device.json(&["list"]);
    let ids: Vec<&str> = issues.as_array().expect("a list").iter().filter_map(|i| i["id"].as_str()).collect();
    let text = format!("A title with number {} in it", random.below(1000));
    if ids.is_empty() || random.below(3) == 0 {
        device.td(&["create", &text]);
        return 1;
    }
    let id = *random.pick(&ids);
    match random.below(10) {
        0..=3 => device.td(&["update", id, "--title", &text]),
        4 | 5 => device.td(&["update", id, "--priority", random.pick::<&str>(&["P0", "P1", "P3"])]),
        6 | 7 => device.td(&["comment", id, &text]),
        8 => device.td(&["close", id]),
        _ => device.td(&["delete", id]),
    };
    1
}
