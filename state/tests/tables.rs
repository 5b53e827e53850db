//! The two tables that decide what a crash means: what may follow what, and what to do about what may have run.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use td_state::legality::{Move, State, next};
use td_state::resume::{Decision, Looks, Operation, Word, decide};

#[test]
fn the_resume_table_holds_row_by_row() {
    let rows = include_str!("resume.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    let mut seen = 0;
    for row in rows {
        let words: Vec<&str> = row.split_whitespace().collect();
        let [operation, looks, redo, same, check, "->", wanted] = words[..] else { panic!("{row}") };
        let operation = match operation {
            "running" => Operation::Running,
            "good" => Operation::Good,
            "bad" => Operation::Bad,
            "none" => Operation::None,
            _ => panic!("{row}"),
        };
        let looks = match looks {
            "wanted" => Looks::Wanted,
            "before" => Looks::Before,
            "neither" => Looks::Neither,
            _ => panic!("{row}"),
        };
        let word = Word { redo_safe: redo == "yes", same_change: same == "yes", check: check == "yes" };
        let decision = match decide(operation, looks, word) {
            Decision::Reattach => "reattach",
            Decision::Adopt => "adopt",
            Decision::Fail => "fail",
            Decision::Again => "again",
            Decision::Redo => "redo",
            Decision::UndoFirst => "undo_first",
            Decision::Ask => "ask",
        };
        assert_eq!(decision, wanted, "{row}");
        seen += 1;
    }
    assert_eq!(seen, 25);
}

const STATES: [State; 9] = [
    State::NotStarted,
    State::MayHaveRun,
    State::Done,
    State::Verified,
    State::Skipped,
    State::Failed,
    State::Undoing,
    State::Undone,
    State::Stuck,
];

const MOVES: [Move; 11] = [
    Move::Intent,
    Move::Ok,
    Move::Failed,
    Move::Refused,
    Move::Skipped,
    Move::Satisfied,
    Move::Adopted,
    Move::Verified,
    Move::UndoIntent,
    Move::UndoOk,
    Move::UndoFailed,
];

/// The table as it stands; every cell, so that no change to it goes unseen.
const TABLE: &str = "\
                intent          good outcome    failed outcome  refusal         skip            no-op           adoption        verification    undo intent     good undo outcome failed undo outcome
not started   : may have run    -               -               failed          skipped         skipped         -               -               -               -               -
may have run  : may have run    done            failed          may have run    skipped         -               done            -               undoing         -               -
done          : may have run    -               failed          failed          skipped         done            -               verified        undoing         -               -
verified      : may have run    -               -               failed          skipped         verified        -               verified        undoing         -               -
skipped       : may have run    -               -               failed          skipped         skipped         -               -               undoing         -               -
failed        : may have run    -               -               failed          skipped         done            done            -               undoing         -               -
undoing       : -               -               -               -               -               -               -               -               undoing         undone          stuck
undone        : may have run    -               -               failed          skipped         skipped         -               -               undoing         -               -
stuck         : -               -               -               -               -               -               -               -               undoing         -               -";

#[test]
fn the_legality_table_is_this_one() {
    for (line, state) in TABLE.lines().skip(1).zip(STATES) {
        let (name, cells) = line.split_once(':').unwrap();
        assert_eq!(name.trim(), state.name());
        let cells: Vec<&str> = cells.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
        assert_eq!(cells.len(), MOVES.len(), "{line}");
        for (cell, record) in cells.iter().zip(MOVES) {
            let wanted = next(state, record).map_or("-", State::name);
            assert_eq!(*cell, wanted, "{} after {}", record.name(), state.name());
        }
    }
}

#[test]
fn what_may_have_run_never_becomes_done_without_a_word() {
    for record in MOVES {
        if let Some(State::Done | State::Verified) = next(State::MayHaveRun, record) {
            assert!(matches!(record, Move::Ok | Move::Adopted), "{record:?}");
        }
        assert!(!matches!(next(State::Undoing, record), Some(State::Done | State::Verified)), "{record:?}");
    }
}
