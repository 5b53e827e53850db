//! Disks that are full, may not be written or run no programs. They are mounted in a name space of the test's own, so
//! nothing outside sees them and nothing has to be unmounted.
#![cfg(feature = "guest")]

use std::path::Path;
use std::process::Command;
use td_e2e::dist::{Dist, Run, names};
use td_e2e::home::Home;
use td_e2e::{binary, skip};

/// Runs the script as `sh -c`, in a mount name space of its own, with the words behind it.
fn mounted(mut command: Command, script: &str) -> Command {
    let mut inside = Command::new("/usr/bin/unshare");
    inside.args(["--mount", "--propagation", "private", "/bin/sh", "-eu", "-c", script, "sh"]);
    inside.arg(command.get_program()).args(command.get_args()).env_clear();
    inside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    inside
        .current_dir(command.get_current_dir().unwrap_or(Path::new("/")))
        .stdin(std::process::Stdio::null());
    command.env_clear();
    inside
}

fn may_mount() -> bool {
    rustix::process::geteuid().is_root() || {
        skip("guest.mounts", "needs root to mount");
        false
    }
}

#[test]
fn guest_a_full_disk_and_one_that_runs_no_programs_are_told_apart_before_setup() {
    if !may_mount() {
        return;
    }
    let dist = Dist::new("dist");
    std::fs::write(dist.programs().join("td-sync"), vec![0x41; 4 << 20]).expect("a program of some size");
    dist.pack();
    let small = r#"mount -t tmpfs -o size=1m tmpfs "$TMPDIR"; exec "$@""#;
    let run = Run::of(mounted(dist.command(&["--local"]), small));
    run.is(1, &["could not be unpacked", "is full", "df -h", "TMPDIR=$HOME"]);
    let noexec = r#"mount -t tmpfs -o noexec tmpfs "$TMPDIR"; exec "$@""#;
    let run = Run::of(mounted(dist.command(&["--local"]), noexec));
    run.is(7, &["cannot be run here", "noexec", "TMPDIR=$HOME"]);
    assert_eq!(dist.called(), None);
}

#[test]
fn guest_a_small_disk_and_a_prefix_that_cannot_be_written_are_refused_before_anything_changes() {
    if !may_mount() {
        return;
    }
    let home = Home::new();
    let small =
        r#"mount -t tmpfs -o size=20m tmpfs "$HOME"; code=0; "$@" || code=$?; ls -A "$HOME"; exit $code"#;
    let run = Run::of(mounted(home.command(&["setup", "--yes", "--port", &home.port]), small));
    run.is(7, &["MiB are free", "256 MiB are needed", "E-POLICY"]);
    let prefix = home.beside().join("locked");
    std::fs::create_dir(&prefix).expect("folder");
    let locked = format!("mount -t tmpfs -o ro tmpfs '{}'; exec \"$@\"", prefix.display());
    let words = ["setup", "--yes", "--port", &home.port, "--prefix", &prefix.display().to_string()];
    let run = Run::of(mounted(home.command(&words), &locked));
    run.is(7, &["nothing can be written in", "locked/bin", "E-POLICY"]);
    home.assert_gone("after the refusals");
}

#[test]
fn guest_a_disk_that_fills_up_stops_setup_and_making_room_lets_it_go_on() {
    if !may_mount() {
        return;
    }
    let home = Home::new();
    let size: u64 = ["td", "td-sync", "td-sync-setup"]
        .iter()
        .map(|name| binary(name).metadata().expect("a program").len() >> 20)
        .sum();
    // Everything in one name space: the server lives and ends in it.
    let script = format!(
        r#"mount -t tmpfs -o size={}m tmpfs "$HOME"; cd /
        setup="$1"; shift
        trap '"$setup" uninstall --yes >/dev/null 2>&1 || true' EXIT
        "$setup" setup --yes --port {port} >/dev/null 2>&1
        dd if=/dev/zero of="$HOME/filler" bs=64k 2>/dev/null || true
        code=0; "$setup" setup --yes --port {port} --device other || code=$?; echo "full: $code"
        "$setup" status
        rm "$HOME/filler"
        "$setup" setup --yes --port {port}
        "$setup" uninstall --yes; ls -A "$HOME"; echo "the end""#,
        size + 300,
        port = home.port
    );
    let run = Run::of(mounted(home.command(&[]), &script));
    run.is(
        0,
        &["E-STATE-FULL", "df -h", "full: 7", "td-sync is set up", "this machine is as it was. the end"],
    );
    assert_eq!(names(&home.path()), [""; 0]);
}
