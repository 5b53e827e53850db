//! A server that comes back from an older copy, under another key: every refusal names a command, and the last one ends
//! with two folders that agree again, nothing lost.

use std::path::Path;
use std::process::Command;
use td_e2e::device::Device;
use td_e2e::server::Server;

#[test]
fn a_server_put_back_to_a_copy_gets_back_what_it_lost_when_the_devices_resync() {
    let dir = tempfile::tempdir().expect("temp");
    let data = dir.path().join("data");
    let mut server = Server::start(&data);
    server.admin(&["create-user", "--email", "ana@example.org"]);
    let devices = ["ana", "ben"].map(|n| Device::new(&dir.path().join(n)));
    for device in &devices {
        let link = server.admin(&["enroll", "create", "--email", "ana@example.org"]);
        device.td(&["init"]);
        device.td(&["connect", link["link"].as_str().expect("a link")]);
    }
    devices[0].td(&["sync-project", "create", "garden"]);
    devices[1].td(&["sync-project", "join", "garden"]);
    devices[0].td(&["create", "Known before the copy was made"]);
    devices[0].td(&["sync"]);

    server.stop();
    let copy = dir.path().join("copy");
    copy_folder(&data, &copy);
    server.restart();
    devices[0].td(&["create", "Acknowledged and then lost by the server"]);
    devices[0].td(&["sync"]);
    devices[1].td(&["create", "Never sent before the restore"]);

    server.stop();
    std::fs::remove_dir_all(&data).expect("the disk died");
    copy_folder(&copy, &data);
    for file in ["epoch", "identity.key"] {
        std::fs::remove_file(data.join(file)).expect("not in the copy");
    }
    server.restart();

    for device in &devices {
        let refused = device.run(&["sync"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("td resync"), "{said}");
        // Without a terminal nobody can be asked: the command that helps is named, with what a person must check.
        let refused = device.run(&["resync"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        let key = said.split("--accept-key ").nth(1).expect("the command").trim().to_string();
        let wrong = device.run(&["resync", "--accept-key", "0123456789abcdef"]);
        assert_eq!(wrong.status.code(), Some(2), "a wrong fingerprint is not trusted");
        let done = device.json(&["resync", "--accept-key", &key]);
        assert!(Path::new(done["kept"].as_str().expect("a file")).is_file(), "{done}");
        device.td(&["sync"]);
    }
    devices[0].td(&["sync"]);
    let status = devices.each_ref().map(|d| d.json(&["sync", "--status"]));
    assert_eq!(status[0]["digest"], status[1]["digest"]);
    assert_eq!((&status[0]["head"], &status[0]["pending"]), (&3.into(), &0.into()), "{}", status[0]);
    for device in &devices {
        assert_eq!(device.json(&["list"]).as_array().map(Vec::len), Some(3));
    }
}

fn copy_folder(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").args([from, to]).status().expect("cp");
    assert!(done.success());
}
