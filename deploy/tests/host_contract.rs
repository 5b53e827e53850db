//! What every host promises, asked of the local one and of the model.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use td_deploy::error::Situation;
use td_deploy::facts::Facts;
use td_deploy::host::model::ModelHost;
use td_deploy::host::{
    Detached, Digest, EntryKind, Host, HostError, LocalHost, Made, Mode, Program, Ran, Removed, Signal,
};

/// A host with an empty folder to work in.
struct Stage<'a> {
    host: &'a dyn Host,
    root: PathBuf,
}

impl Stage<'_> {
    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn names(&self) -> Vec<String> {
        self.host.list(&self.root).unwrap().unwrap()
    }
}

/// Runs one part of the contract on both hosts.
fn both(part: impl Fn(&Stage<'_>)) {
    let folder = tempfile::tempdir().unwrap();
    let env = BTreeMap::from([
        ("HOME".to_owned(), folder.path().display().to_string()),
        ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
        ("TD_SEEN".to_owned(), "yes".to_owned()),
    ]);
    let local = LocalHost::new(env, "/bin/sh".into());
    part(&Stage { host: &local, root: folder.path().into() });
    let model = modelled();
    part(&Stage { host: &model, root: "/home/ada".into() });
}

/// The few programs the contract runs, as the model knows them.
fn modelled() -> ModelHost {
    let model = ModelHost::bare();
    let ran = |code, out: &[u8], err: &[u8]| Ran {
        code: Some(code),
        signal: None,
        stdout: out.to_vec(),
        stderr: err.to_vec(),
        dropped: 0,
    };
    model.teach("/bin/cat", Arc::new(move |_, call| Ok(ran(0, call.stdin, b""))));
    model.teach(
        "/usr/bin/sleep",
        Arc::new(move |_, call| match call.pid {
            Some(_) => Ok(ran(0, b"", b"")),
            None => {
                Err(HostError::TimedOut { shown: String::new(), limit: Duration::ZERO, tail: Vec::new() })
            }
        }),
    );
    model.teach(
        "/bin/sh",
        Arc::new(move |_, call| match call.args.get(1).map(String::as_str) {
            Some("echo out; echo err >&2; exit 3") => Ok(ran(3, b"out\n", b"err\n")),
            Some("echo $MINE$TD_SEEN") => {
                let text = call.env.get("MINE").cloned().unwrap_or_default();
                let clean = call.env.contains_key("CLEAN");
                Ok(ran(0, format!("{text}{}\n", if clean { "" } else { "yes" }).as_bytes(), b""))
            }
            Some("echo 0123456789") => Ok(ran(0, b"0123456789\n", b"")),
            other => Err(HostError::Unmodelled(format!("{other:?}"))),
        }),
    );
    model
}

fn code<T: std::fmt::Debug>(result: Result<T, HostError>) -> &'static str {
    result.unwrap_err().code()
}

#[test]
fn what_is_absent_is_an_answer_when_reading() {
    both(|s| {
        s.host.put(&s.at("file"), b"x", Mode::PRIVATE).unwrap();
        for path in [s.at("none"), s.at("none/deeper"), s.at("file/below")] {
            assert_eq!(s.host.stat(&path).unwrap(), None);
            assert_eq!(s.host.read(&path, 10).unwrap(), None);
            assert_eq!(s.host.digest(&path).unwrap(), None);
            assert_eq!(s.host.read_link(&path).unwrap(), None);
            assert_eq!(s.host.remove_file(&path).unwrap(), Removed::Absent);
            assert_eq!(s.host.remove_tree(&path).unwrap(), Removed::Absent);
        }
        assert_eq!(s.host.list(&s.at("none")).unwrap(), None);
        assert_eq!(s.host.remove_dir(&s.at("none")).unwrap(), Removed::Absent);
    });
}

#[test]
fn a_put_file_has_exactly_its_content_and_mode() {
    both(|s| {
        let path = s.at("file");
        for (content, mode) in
            [(&b"one"[..], Mode::PRIVATE), (b"two, longer", Mode::PROGRAM), (b"", Mode::PUBLIC)]
        {
            s.host.put(&path, content, mode).unwrap();
            let stat = s.host.stat(&path).unwrap().unwrap();
            assert_eq!((stat.kind, stat.mode, stat.size), (EntryKind::File, mode, content.len() as u64));
            assert_eq!(s.host.read(&path, 100).unwrap().as_deref(), Some(content));
            assert_eq!(s.host.digest(&path).unwrap(), Some(Digest::of(content)));
        }
        assert_eq!(s.names(), ["file"], "no temporary is left");
        s.host.put(&path, b"12345", Mode::PRIVATE).unwrap();
        assert_eq!(code(s.host.read(&path, 4)), "E-HOST-TOO-LARGE");
        assert!(s.host.read(&path, 5).is_ok());
    });
}

#[test]
fn a_put_needs_its_folder_and_spares_a_folder() {
    both(|s| {
        assert_eq!(code(s.host.put(&s.at("none/file"), b"x", Mode::PRIVATE)), "E-HOST-MISSING");
        s.host.make_dir(&s.at("dir"), Mode::PROGRAM).unwrap();
        assert_eq!(code(s.host.put(&s.at("dir"), b"x", Mode::PRIVATE)), "E-HOST-IN-THE-WAY");
        assert_eq!(code(s.host.put_link(&s.at("dir"), Path::new("x"))), "E-HOST-IN-THE-WAY");
        s.host.put(&s.at("file"), b"x", Mode::PRIVATE).unwrap();
        assert_eq!(code(s.host.put(&s.at("file/below"), b"x", Mode::PRIVATE)), "E-HOST-IN-THE-WAY");
        assert_eq!(s.names(), ["dir", "file"]);
    });
}

#[test]
fn f77_a_put_replaces_a_link_and_does_not_follow_it() {
    both(|s| {
        s.host.put(&s.at("theirs"), b"theirs", Mode::PRIVATE).unwrap();
        s.host.put_link(&s.at("name"), Path::new("theirs")).unwrap();
        assert_eq!(s.host.read_link(&s.at("name")).unwrap(), Some(PathBuf::from("theirs")));
        assert_eq!(
            s.host.read(&s.at("name"), 10).unwrap().as_deref(),
            Some(&b"theirs"[..]),
            "reading follows"
        );
        s.host.put(&s.at("name"), b"ours", Mode::PRIVATE).unwrap();
        assert_eq!(s.host.read(&s.at("theirs"), 10).unwrap().as_deref(), Some(&b"theirs"[..]));
        assert_eq!(s.host.read(&s.at("name"), 10).unwrap().as_deref(), Some(&b"ours"[..]));
    });
}

#[test]
fn a_link_is_replaced_in_one_move_and_removed_without_its_goal() {
    both(|s| {
        s.host.put(&s.at("goal"), b"goal", Mode::PRIVATE).unwrap();
        s.host.put_link(&s.at("current"), Path::new("gone")).unwrap();
        assert_eq!(s.host.read(&s.at("current"), 10).unwrap(), None, "a dangling link reads as absent");
        assert_eq!(s.host.stat(&s.at("current")).unwrap().unwrap().kind, EntryKind::Link);
        s.host.put_link(&s.at("current"), Path::new("goal")).unwrap();
        assert_eq!(s.host.read_link(&s.at("current")).unwrap(), Some(PathBuf::from("goal")));
        assert_eq!(s.host.remove_file(&s.at("current")).unwrap(), Removed::Gone);
        assert_eq!(s.names(), ["goal"]);
    });
}

#[test]
fn a_folder_that_exists_is_left_as_it_is() {
    both(|s| {
        let dir = s.at("dir");
        assert_eq!(s.host.make_dir(&dir, Mode::PRIVATE_DIR).unwrap(), Made::Created);
        assert_eq!(s.host.stat(&dir).unwrap().unwrap().mode, Mode::PRIVATE_DIR);
        assert_eq!(s.host.make_dir(&dir, Mode::PROGRAM).unwrap(), Made::Existed);
        assert_eq!(s.host.stat(&dir).unwrap().unwrap().mode, Mode::PRIVATE_DIR);
        assert_eq!(code(s.host.make_dir(&s.at("none/dir"), Mode::PROGRAM)), "E-HOST-MISSING");
        s.host.put(&s.at("file"), b"x", Mode::PRIVATE).unwrap();
        assert_eq!(code(s.host.make_dir(&s.at("file"), Mode::PROGRAM)), "E-HOST-IN-THE-WAY");
        s.host.put_link(&s.at("alias"), Path::new("dir")).unwrap();
        assert_eq!(s.host.make_dir(&s.at("alias"), Mode::PROGRAM).unwrap(), Made::Existed);
    });
}

#[test]
fn only_an_empty_folder_is_removed_as_one() {
    both(|s| {
        let dir = s.at("dir");
        s.host.make_dir(&dir, Mode::PROGRAM).unwrap();
        s.host.put(&dir.join("file"), b"x", Mode::PRIVATE).unwrap();
        assert_eq!(s.host.remove_dir(&dir).unwrap(), Removed::NotEmpty);
        assert_eq!(code(s.host.remove_file(&dir)), "E-HOST-IN-THE-WAY");
        assert_eq!(s.host.remove_file(&dir.join("file")).unwrap(), Removed::Gone);
        assert_eq!(s.host.remove_dir(&dir).unwrap(), Removed::Gone);
        assert_eq!(s.host.stat(&dir).unwrap(), None);
        s.host.put(&s.at("file"), b"x", Mode::PRIVATE).unwrap();
        assert_eq!(code(s.host.remove_dir(&s.at("file"))), "E-HOST-IN-THE-WAY");
    });
}

#[test]
fn a_tree_goes_whole_and_links_in_it_are_not_followed() {
    both(|s| {
        s.host.put(&s.at("theirs"), b"theirs", Mode::PRIVATE).unwrap();
        for dir in ["tree", "tree/a", "tree/a/b"] {
            s.host.make_dir(&s.at(dir), Mode::PROGRAM).unwrap();
        }
        s.host.put(&s.at("tree/a/b/file"), b"x", Mode::PRIVATE).unwrap();
        s.host.put_link(&s.at("tree/link"), Path::new("../theirs")).unwrap();
        assert_eq!(s.host.remove_tree(&s.at("tree")).unwrap(), Removed::Gone);
        assert_eq!(s.names(), ["theirs"]);
        assert_eq!(code(s.host.remove_tree(&s.at("theirs"))), "E-HOST-IN-THE-WAY");
    });
}

#[test]
fn a_copy_is_what_its_source_is() {
    both(|s| {
        let content: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        s.host.put(&s.at("from"), &content, Mode::PRIVATE).unwrap();
        let digest = s.host.put_copy(&s.at("from"), &s.at("to"), Mode::PROGRAM).unwrap();
        assert_eq!(digest, Digest::of(&content));
        assert_eq!(s.host.digest(&s.at("to")).unwrap(), Some(digest));
        assert_eq!(s.host.stat(&s.at("to")).unwrap().unwrap().mode, Mode::PROGRAM);
        assert_eq!(code(s.host.put_copy(&s.at("none"), &s.at("to"), Mode::PROGRAM)), "E-HOST-MISSING");
    });
}

#[test]
fn a_rename_replaces_a_file_and_never_a_folder() {
    both(|s| {
        s.host.put(&s.at("a"), b"a", Mode::PRIVATE).unwrap();
        s.host.put(&s.at("b"), b"b", Mode::PRIVATE).unwrap();
        s.host.rename(&s.at("a"), &s.at("b")).unwrap();
        assert_eq!(s.host.read(&s.at("b"), 9).unwrap().as_deref(), Some(&b"a"[..]));
        s.host.make_dir(&s.at("dir"), Mode::PROGRAM).unwrap();
        assert_eq!(code(s.host.rename(&s.at("b"), &s.at("dir"))), "E-HOST-IN-THE-WAY");
        assert_eq!(code(s.host.rename(&s.at("none"), &s.at("c"))), "E-HOST-MISSING");
        s.host.put(&s.at("dir/file"), b"x", Mode::PRIVATE).unwrap();
        s.host.rename(&s.at("dir"), &s.at("moved")).unwrap();
        assert_eq!(s.host.list(&s.at("moved")).unwrap().unwrap(), ["file"]);
        assert_eq!(s.names(), ["b", "moved"]);
    });
}

#[test]
fn a_mode_is_set_on_what_is_there() {
    both(|s| {
        s.host.put(&s.at("file"), b"x", Mode::PRIVATE).unwrap();
        s.host.set_mode(&s.at("file"), Mode::PROGRAM).unwrap();
        assert_eq!(s.host.stat(&s.at("file")).unwrap().unwrap().mode, Mode::PROGRAM);
        assert_eq!(code(s.host.set_mode(&s.at("none"), Mode::PUBLIC)), "E-HOST-MISSING");
        assert!(s.host.free_bytes(&s.at("none/deeper")).unwrap() > 0);
        assert!(s.host.may_write(&s.at("none/deeper")).unwrap(), "the folder above it may be written");
        assert!(!s.host.may_write(&s.at("file/deeper")).unwrap(), "nothing can be made in a file");
    });
}

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_program_gets_its_input_and_gives_its_status() {
    both(|s| {
        let ran = s.host.run(&Program::new("/bin/cat", LIMIT).stdin("given")).unwrap();
        assert_eq!((ran.code, ran.stdout.as_slice()), (Some(0), &b"given"[..]));
        let sh = Program::new("/bin/sh", LIMIT).args(["-c", "echo out; echo err >&2; exit 3"]);
        let ran = s.host.query(&sh).unwrap();
        assert_eq!((ran.code, ran.ok()), (Some(3), false));
        assert_eq!((ran.stdout.as_slice(), ran.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!(ran.tail(5), ["err"]);
        assert_eq!(code(s.host.run(&Program::new("/none/such", LIMIT))), "E-HOST-NO-PROGRAM");
        assert_eq!(code(s.host.run(&Program::new("no-such-program", LIMIT))), "E-HOST-NO-PROGRAM");
    });
}

#[test]
fn output_beyond_the_limit_is_counted_and_not_kept() {
    both(|s| {
        let mut sh = Program::new("/bin/sh", LIMIT).args(["-c", "echo 0123456789"]);
        sh.keep = 4;
        let ran = s.host.run(&sh).unwrap();
        assert_eq!((ran.stdout.as_slice(), ran.dropped), (&b"0123"[..], 7));
    });
}

#[test]
fn a_program_that_hangs_is_stopped_at_its_limit() {
    both(|s| {
        let sleep = Program::new("sleep", Duration::from_millis(100)).arg("600");
        let e = s.host.run(&sleep).unwrap_err();
        assert_eq!(e.code(), "E-HOST-TIMED-OUT");
        assert!(e.to_string().contains("sleep 600"), "{e}");
        assert!(e.retryable());
    });
}

#[test]
fn a_process_lives_on_until_it_is_told_to_stop() {
    both(|s| {
        let what = Detached {
            program: "/usr/bin/sleep".into(),
            args: vec!["600".into()],
            env: BTreeMap::new(),
            dir: s.root.clone(),
            log: s.at("log"),
        };
        let process = s.host.spawn(&what).unwrap();
        assert_eq!(s.host.process(process.pid).unwrap().as_ref(), Some(&process));
        assert_eq!(s.host.stat(&s.at("log")).unwrap().unwrap().mode, Mode::PRIVATE);
        let mut other = process.clone();
        other.started.push('x');
        assert!(!s.host.signal(&other, Signal::Kill).unwrap(), "another process with that number is spared");
        assert!(s.host.signal(&process, Signal::Terminate).unwrap());
        let begin = s.host.monotonic();
        while s.host.process(process.pid).unwrap().is_some() {
            assert!(s.host.monotonic() - begin < LIMIT, "it does not end");
            s.host.pause(Duration::from_millis(5));
        }
        assert!(!s.host.signal(&process, Signal::Kill).unwrap(), "it is gone");
    });
}

#[test]
fn waiting_takes_time() {
    both(|s| {
        let (mono, unix) = (s.host.monotonic(), s.host.unix());
        s.host.pause(Duration::from_millis(20));
        assert!(s.host.monotonic() - mono >= Duration::from_millis(20));
        assert!(s.host.unix() > unix);
        let facts: Facts = s.host.facts().unwrap();
        assert_eq!(facts.home, s.root);
        assert_eq!(facts.config_home, s.root.join(".config"));
    });
}

#[test]
fn a_port_that_is_taken_answers_and_is_not_free() {
    // The model's listeners belong to modelled processes, so its half stands in the toy daemon.
    let taken = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let at = taken.local_addr().unwrap();
    let host = LocalHost::new(BTreeMap::new(), "/bin/sh".into());
    let host: &dyn Host = &host;
    assert!(!host.port_is_free(at).unwrap());
    assert!(host.port_answers(at, LIMIT).unwrap());
    drop(taken);
    assert!(host.port_is_free(at).unwrap());
    assert!(!host.port_answers(at, LIMIT).unwrap());
}

#[test]
fn a_program_of_the_local_host_gets_only_the_environment_it_is_given() {
    let env = BTreeMap::from([("TD_SEEN".to_owned(), "yes".to_owned())]);
    let host = LocalHost::new(env, "/bin/sh".into());
    let host: &dyn Host = &host;
    let mut sh = Program::new("/bin/sh", LIMIT).args(["-c", "echo $MINE$TD_SEEN$HOME"]).env("MINE", "mine,");
    assert_eq!(host.run(&sh).unwrap().stdout, b"mine,yes\n");
    sh.clean_env = true;
    assert_eq!(host.run(&sh).unwrap().stdout, b"mine,\n");
}

#[test]
fn f20_a_flood_of_complaints_blocks_nothing() {
    let host = LocalHost::new(BTreeMap::new(), "/bin/sh".into());
    let host: &dyn Host = &host;
    let flood = "i=0; while [ $i -lt 2000 ]; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa >&2; i=$((i+1)); done; echo ok";
    let mut sh = Program::new("/bin/sh", LIMIT).args(["-c", flood]);
    sh.keep = 1000;
    let ran = host.run(&sh).unwrap();
    assert_eq!((ran.stdout.as_slice(), ran.stderr.len()), (&b"ok\n"[..], 1000));
    assert!(ran.dropped > 100_000);
}

#[test]
fn a_grandchild_that_keeps_the_output_open_does_not_hold_us() {
    let host = LocalHost::new(BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]), "/bin/sh".into());
    let host: &dyn Host = &host;
    let begin = host.monotonic();
    let ran = host.run(&Program::new("/bin/sh", LIMIT).args(["-c", "sleep 20 & echo started"])).unwrap();
    assert_eq!(ran.stdout, b"started\n");
    assert!(host.monotonic() - begin < Duration::from_secs(15));
}

#[test]
fn what_the_model_does_not_know_is_an_error() {
    let model = ModelHost::bare();
    let host: &dyn Host = &model;
    host.put(Path::new("/home/ada/program"), b"x", Mode::PROGRAM).unwrap();
    assert_eq!(code(host.run(&Program::new("/home/ada/program", LIMIT))), "E-HOST-UNMODELLED");
}
