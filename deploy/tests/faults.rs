//! The generated fault tests of anchors-installer e21.3 on toy steps of every sort. Cases 1-4 of section (f).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod machinery;

use machinery::toy::SCENE;

#[test]
fn a_second_run_changes_nothing() {
    machinery::a_second_run_changes_nothing(&SCENE);
}

#[test]
fn f1_f2_f3_a_kill_at_any_point_is_gone_on_from() {
    // Six steps act, each passes five points.
    assert_eq!(machinery::every_kill_is_gone_on_from(&SCENE), 30);
}

#[test]
fn f4_a_kill_at_any_point_of_an_undo_is_gone_on_from() {
    // The rehearsal leaves nothing to undo.
    assert_eq!(machinery::every_kill_in_undo_is_gone_on_from(&SCENE), 25);
}

#[test]
fn a_strike_at_any_operation_is_gone_on_from() {
    assert!(machinery::every_strike_is_gone_on_from(&SCENE) >= 4 * 2 * 9);
}

#[test]
fn a_strike_at_any_operation_of_an_undo_is_gone_on_from() {
    assert!(machinery::every_strike_in_undo_is_gone_on_from(&SCENE) >= 4 * 7);
}

#[test]
fn rows_of_disturbances_converge() {
    for seed in 0..40 {
        machinery::a_row_of_disturbances_converges(&SCENE, seed);
    }
}
