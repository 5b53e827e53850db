//! Setup as a conversation in a real pseudo terminal: suggestions taken, one changed, stopped in the middle and gone on
//! with, and the server that stands in the end.

use rexpect::session::{PtySession, spawn_command};
use std::process::Command;
use std::time::{Duration, Instant};
use td_e2e::home::Home;

/// Longer than anything here takes on a busy machine.
const LIMIT_MS: u64 = 40_000;
/// The effect of a key is waited for so long before it is pressed again.
const KEY: Duration = Duration::from_millis(700);
/// What the shell says behind it, before the exit code.
const END: &str = "ended with ";

/// The installer on a terminal of 80 columns.
struct Dialogue(PtySession);

impl Dialogue {
    fn begin(home: &Home, words: &[&str]) -> Self {
        let setup = home.command(words);
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!("stty rows 40 cols 80; trap : INT; \"$@\"; echo \"{END}$?\""), "sh"])
            .arg(setup.get_program());
        command.args(setup.get_args()).env_clear().env("TERM", "xterm").current_dir(home.beside());
        command.envs(setup.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Self(spawn_command(command, Some(LIMIT_MS)).expect("a pseudo terminal"))
    }

    /// Waits for these words; what was said before them.
    fn hears(&mut self, words: &str) -> String {
        self.0.exp_string(words).unwrap_or_else(|e| panic!("{words:?} was not said: {e}"))
    }

    fn types(&mut self, words: &str) {
        self.0.send_line(words).expect("the terminal takes it");
    }

    /// Enter: what is suggested.
    fn takes(&mut self, question: &str) {
        self.hears(question);
        self.types("");
    }

    /// Ctrl-C, once more if it came before the prompt listened; the last words and the exit code.
    fn interrupts(mut self) -> (String, i32) {
        let mut said = String::new();
        loop {
            // It may have ended by itself meanwhile, and then there is nobody to take the key.
            let _ = self.0.send_control('c');
            let end = Instant::now() + KEY;
            while Instant::now() < end {
                match self.0.try_read() {
                    Some(letter) => said.push(letter),
                    None if said.contains(END) => return self.ends(said),
                    None => std::thread::yield_now(),
                }
            }
        }
    }

    /// Until it has ended.
    fn ends(mut self, mut said: String) -> (String, i32) {
        said += &self.0.exp_eof().expect("it ends");
        let code = said.rsplit(END).next().and_then(|code| code.trim().parse().ok());
        let code = code.unwrap_or_else(|| panic!("no exit code after {said}"));
        (said, code)
    }
}

#[test]
fn a_person_answers_stops_and_goes_on_until_the_server_stands_and_then_takes_it_away() {
    let home = Home::new();

    let mut first = Dialogue::begin(&home, &[]);
    first.hears("7 questions.");
    first.takes("Your mail address (the first admin)");
    first.hears("Port of the server on this machine");
    first.types("80");
    first.hears("no port from 1024 to 65535");
    first.hears("Port of the server on this machine");
    first.types(&home.port);
    first.hears("Folder of the server's data");
    let (said, code) = first.interrupts();
    assert_eq!(code, 8, "stopped by the person: {said}");
    assert!(said.contains("what you answered so far is kept"), "{said}");
    let answers = home.json(&["answers", "show", "--json"]);
    assert_eq!(answers["server.port"].to_string(), home.port, "{answers}");
    assert!(answers["admin.email"].as_str().is_some_and(|email| email.starts_with("ana@")), "{answers}");
    assert_eq!(answers["data.folder"], serde_json::Value::Null, "{answers}");

    let mut second = Dialogue::begin(&home, &[]);
    let before = second.hears("5 questions.") + &second.hears("Folder of the server's data");
    assert!(!before.contains("mail address") && !before.contains("Port"), "asked twice: {before}");
    second.types("");
    for question in ["Folder of backup copies", "Where to install the commands", "Name of this machine"] {
        second.takes(question);
    }
    second.hears("Folder of a demo project");
    second.types("garden");
    second.hears("no full path");
    second.takes("Folder of a demo project");
    second.hears("does not start at boot yet");
    second.hears("Up to here nothing has been changed.");
    second.hears("Do this?");
    let (said, code) = second.interrupts();
    assert_eq!(code, 8, "{said}");
    assert!(said.contains("stopped as you asked"), "{said}");
    assert!(said.rfind("\u{1b}[?25h") > said.rfind("\u{1b}[?25l"), "the cursor is back: {said:?}");
    assert!(home.processes().is_empty() && !home.path().join(".config").exists(), "nothing was changed");

    let mut third = Dialogue::begin(&home, &[]);
    let before = third.hears("Do this?");
    assert!(!before.contains("question"), "everything was answered: {before}");
    third.types("y");
    third.hears("Install the programs");
    // Once: a second one would end it at once, and this is about the safe point.
    third.0.send_control('c').expect("the terminal takes it");
    third.hears("Stopping");
    let (said, code) = third.ends(String::new());
    assert_eq!(code, 8, "{said}");
    assert!(said.contains("continue with:"), "{said}");

    let mut fourth = Dialogue::begin(&home, &[]);
    fourth.hears("Do this?");
    fourth.types("y");
    fourth.hears("unchanged");
    fourth.hears("td-sync is set up.");
    let (said, code) = fourth.ends(String::new());
    assert_eq!(code, 0, "{said}");
    home.assert_complete("after the conversation");
    assert_eq!(home.json(&["answers", "show", "--json"])["admin.email"], answers["admin.email"]);

    let mut keep = Dialogue::begin(&home, &["uninstall"]);
    keep.hears("every project and event");
    keep.takes("Delete them?");
    let (said, code) = keep.ends(String::new());
    assert_eq!(code, 8, "Enter deletes nothing: {said}");
    home.assert_complete("after a no");

    let mut remove = Dialogue::begin(&home, &["uninstall"]);
    remove.hears("Delete them?");
    remove.types("y");
    let (said, code) = remove.ends(String::new());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("this machine is as it was"), "{said}");
    home.assert_gone("after the conversation");
}
