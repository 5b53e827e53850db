//! Whatever two devices do and whatever is lost between, they end equal.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Create(usize),
    Edit(usize, usize, u8),
    Comment(usize, usize),
    Close(usize, usize),
    Delete(usize, usize),
    Push(usize),
    Pull(usize),
    Cut(Cable),
    Reopen(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let device = 0..2_usize;
    let issue = 0..6_usize;
    prop_oneof![
        3 => device.clone().prop_map(Step::Create),
        6 => (device.clone(), issue.clone(), any::<u8>()).prop_map(|(d, i, v)| Step::Edit(d, i, v)),
        2 => (device.clone(), issue.clone()).prop_map(|(d, i)| Step::Comment(d, i)),
        1 => (device.clone(), issue.clone()).prop_map(|(d, i)| Step::Close(d, i)),
        1 => (device.clone(), issue).prop_map(|(d, i)| Step::Delete(d, i)),
        3 => device.clone().prop_map(Step::Push),
        3 => device.clone().prop_map(Step::Pull),
        2 => prop_oneof![Just(Cable::Whole), Just(Cable::Cut), Just(Cable::DropsAnswers)].prop_map(Step::Cut),
        1 => device.prop_map(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn two_devices_converge_under_any_interleaving(
        steps in proptest::collection::vec(step(), 1..60), page in 1_u32..5
    ) {
        let (dir, server) = (temp(), FakeServer::new(page));
        let folders = [dir.path().join("a"), dir.path().join("b")];
        let mut devices = [linked(&folders[0], 1), linked(&folders[1], 2)];
        let mut made = 0;
        for step in steps {
            act(&mut devices, &folders, &server, step, &mut made);
        }
        server.cable.set(Cable::Whole);
        for who in [0, 1, 0, 1] {
            // Rows before a push and the pull of nothing but own events are rows after it.
            round(&mut devices[who], &server).expect("sync");
        }
        let truth = server.replayed();
        for device in &mut devices {
            prop_assert_eq!(rows(device), truth.digest_lines().expect("lines"));
            let status = device.sync(&server, |s| s.status(None)).expect("status");
            prop_assert_eq!(status.pending, 0);
            prop_assert_eq!(status.in_step, Some(true));
        }
        prop_assert_eq!(server.events.borrow().len(), made, "every action is in the log exactly once");
    }
}

fn act(
    devices: &mut [Project; 2],
    folders: &[std::path::PathBuf; 2],
    server: &FakeServer,
    step: Step,
    made: &mut usize,
) {
    let pick = |project: &Project, n: usize| {
        let all = project.store.issues(&[]).expect("list");
        (!all.is_empty()).then(|| all[n % all.len()].id.clone())
    };
    match step {
        Step::Create(d) => {
            devices[d].store.create_issue(titled(&format!("issue number {made}"))).expect("create");
            *made += 1;
        }
        Step::Edit(d, n, value) => {
            let Some(id) = pick(&devices[d], n) else { return };
            let patch = match value % 3 {
                0 => IssuePatch { title: Some(format!("title {value}")), ..IssuePatch::default() },
                1 => IssuePatch { priority: Some(format!("P{}", value % 5)), ..IssuePatch::default() },
                _ => IssuePatch { labels: Some(vec![format!("l{value}")]), ..IssuePatch::default() },
            };
            devices[d].store.update_issue(&id, patch).expect("update");
            *made += 1;
        }
        Step::Comment(d, n) => {
            let Some(id) = pick(&devices[d], n) else { return };
            devices[d].store.comment(&id, "text").expect("comment");
            *made += 1;
        }
        Step::Close(d, n) => {
            let Some(id) = pick(&devices[d], n) else { return };
            devices[d].store.close_issue(&id, None).expect("close");
            *made += 2;
        }
        Step::Delete(d, n) => {
            let Some(id) = pick(&devices[d], n) else { return };
            devices[d].store.delete_issue(&id).expect("delete");
            *made += 1;
        }
        Step::Push(d) => drop(devices[d].sync(server, |s| s.push())),
        Step::Pull(d) => drop(devices[d].sync(server, |s| s.pull())),
        Step::Cut(cable) => server.cable.set(cable),
        Step::Reopen(d) => {
            devices[d] = Project::open(&folders[d], ambient(100 + *made as u64)).expect("open")
        }
    }
}
