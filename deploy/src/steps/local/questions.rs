//! What is asked before a local server is set up. Every question is data, so that flags, prompts, `answers show` and the
//! list of missing answers cannot drift apart.

use crate::facts::Facts;
use crate::host::{HostError, Look, Program};
use crate::supervisor::HostStatus;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use td_state::answers::{Answer, AnswerKey, Answers};

use super::places::Places;

/// The port that is tried first.
pub const FIRST_PORT: u16 = 8470;
/// And the one that is tried last.
pub const LAST_PORT: u16 = 8479;

/// Port of the server on loopback.
pub const PORT: AnswerKey = AnswerKey::of("server.port");
/// The server's data directory.
pub const DATA: AnswerKey = AnswerKey::of("data.folder");
/// Where copies of the data go.
pub const BACKUPS: AnswerKey = AnswerKey::of("backup.folder");
/// The first admin.
pub const EMAIL: AnswerKey = AnswerKey::of("admin.email");
/// Name of this machine among the admin's devices.
pub const DEVICE: AnswerKey = AnswerKey::of("client.device");
/// Commands go to `bin` below this.
pub const PREFIX: AnswerKey = AnswerKey::of("client.prefix");
/// The demo project's folder.
pub const DEMO: AnswerKey = AnswerKey::of("client.demo");
/// `td`, or `tds` beside a foreign `td`. Found out, not asked.
pub const TD_NAME: AnswerKey = AnswerKey::of("client.command");
/// The release that is wanted. Found out by `server.release`, not asked.
pub const RELEASE: AnswerKey = AnswerKey::of("server.release");
/// One question.
pub struct Question {
    /// Where the answer is kept.
    pub key: AnswerKey,
    /// Its flag, without the dashes.
    pub flag: &'static str,
    /// What is asked.
    pub prompt: &'static str,
    /// Why it matters.
    pub help: &'static str,
    /// Reads a text as an answer, or says why not.
    pub parse: fn(&str) -> Result<Answer, String>,
}

/// All of them, in the order in which they are asked.
pub const QUESTIONS: &[Question] = &[
    Question {
        key: EMAIL,
        flag: "email",
        prompt: "Your mail address (the first admin)",
        help: "It names you on the server. No mail is sent to it.",
        parse: email,
    },
    Question {
        key: PORT,
        flag: "port",
        prompt: "Port of the server on this machine",
        help: "The server listens on 127.0.0.1, which only this machine can reach.",
        parse: port,
    },
    Question {
        key: DATA,
        flag: "data",
        prompt: "Folder of the server's data",
        help: "Every event of every project is kept here.",
        parse: folder,
    },
    Question {
        key: BACKUPS,
        flag: "backups",
        prompt: "Folder of backup copies",
        help: "A folder on another disk survives the loss of this one.",
        parse: folder,
    },
    Question {
        key: PREFIX,
        flag: "prefix",
        prompt: "Where to install the commands",
        help: "The commands td, td-sync and td-sync-setup go to the folder bin below it.",
        parse: folder,
    },
    Question {
        key: DEVICE,
        flag: "device",
        prompt: "Name of this machine",
        help: "By this name you tell your devices apart.",
        parse: word,
    },
    Question {
        key: DEMO,
        flag: "demo",
        prompt: "Folder of a demo project",
        help: "A small project to try things out in, shared through your server from the start.",
        parse: folder,
    },
];

/// What a question would be answered with, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// The answer.
    pub answer: Answer,
    /// Why this one, for people.
    pub reason: String,
}

/// The answer that fits this machine. None if there is no good one.
pub fn detect(key: &AnswerKey, answers: &Answers, facts: &Facts, look: &dyn Look) -> Option<Detected> {
    let places = Places::of(answers, facts);
    let path = |path: &Path, reason: &str| Detected {
        answer: Answer::Text(path.display().to_string()),
        reason: reason.to_owned(),
    };
    Some(match key {
        key if *key == EMAIL => detect_email(facts, look)?,
        key if *key == PORT => detect_port(&places, look)?,
        key if *key == DATA => path(&places.data, "the usual place for a user's own data"),
        key if *key == BACKUPS => path(&places.backups, "beside the data; another disk is safer"),
        key if *key == PREFIX => {
            path(&facts.home.join(".local"), "the usual place for a user's own programs")
        }
        key if *key == DEVICE => {
            let name = if facts.hostname.is_empty() { "this-machine" } else { &facts.hostname };
            Detected { answer: Answer::Text(name.to_owned()), reason: "the machine's host name".into() }
        }
        key if *key == DEMO => path(&places.demo, "in your home folder"),
        _ => return None,
    })
}

/// What has to be known and is not worth a question.
pub fn find_out(answers: &Answers, facts: &Facts, look: &dyn Look) -> Vec<(AnswerKey, Answer)> {
    if answers.text(&TD_NAME).is_some() {
        return Vec::new();
    }
    let foreign = super::client_config::foreign_td(&Places::of(answers, facts), facts, look);
    let name = if foreign.is_some() { "tds" } else { "td" };
    vec![(TD_NAME, Answer::Text(name.into()))]
}

fn detect_email(facts: &Facts, look: &dyn Look) -> Option<Detected> {
    let git = Program::new("git", Duration::from_secs(2)).args(["config", "--global", "user.email"]);
    let from_git = look.query(&git).ok().filter(|ran| ran.ok());
    let from_git = from_git.map(|ran| String::from_utf8_lossy(&ran.stdout).trim().to_owned());
    if let Some(Ok(answer)) = from_git.as_deref().map(email) {
        return Some(Detected { answer, reason: "from your git settings".into() });
    }
    let user = if facts.user.is_empty() { "admin" } else { &facts.user };
    let host = if facts.hostname.is_empty() { "localhost" } else { &facts.hostname };
    let answer = email(&format!("{user}@{host}")).or_else(|_| email("admin@localhost")).ok()?;
    Some(Detected { answer, reason: "made of your user and host name".into() })
}

fn detect_port(places: &Places, look: &dyn Look) -> Option<Detected> {
    for port in FIRST_PORT..=LAST_PORT {
        let reason = match port_state(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), places, look) {
            Ok(PortState::Free) if port == FIRST_PORT => "it is free".into(),
            Ok(PortState::Free) => format!("{FIRST_PORT} is taken by another program, this one is free"),
            Ok(PortState::Ours) => "your server already listens there".into(),
            Ok(PortState::Taken) | Err(_) => continue,
        };
        return Some(Detected { answer: Answer::Int(port.into()), reason });
    }
    None
}

/// Who has a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PortState {
    Free,
    Ours,
    Taken,
}

/// Who has it. A port of our own supervisor, or of the server of a killed one, is ours.
pub(super) fn port_state(at: SocketAddr, places: &Places, look: &dyn Look) -> Result<PortState, HostError> {
    if look.port_is_free(at)? {
        return Ok(PortState::Free);
    }
    let status = super::asking::status(places, look)?;
    let listens = |status: &HostStatus| match &status.supervisor {
        Some(supervisor) => supervisor.listen.contains(&at),
        // An orphan that drains: its port is the one of the specification.
        None => status.lives && places.address == at,
    };
    Ok(if listens(&status) { PortState::Ours } else { PortState::Taken })
}

fn email(text: &str) -> Result<Answer, String> {
    let text = text.trim().to_lowercase();
    let parts = text.split_once('@').filter(|(name, host)| !name.is_empty() && !host.is_empty());
    if parts.is_none_or(|(_, host)| host.contains('@'))
        || text.chars().any(|c| c.is_whitespace() || c.is_control())
    {
        return Err(format!("{text:?} is no mail address (name@host)"));
    }
    Ok(Answer::Text(text))
}

fn port(text: &str) -> Result<Answer, String> {
    match text.trim().parse::<u16>() {
        Ok(port) if port >= 1024 => Ok(Answer::Int(port.into())),
        _ => Err(format!("{text:?} is no port from 1024 to 65535")),
    }
}

fn folder(text: &str) -> Result<Answer, String> {
    let path = Path::new(text.trim());
    let odd = |part| !matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_));
    if !path.is_absolute() || path.parent().is_none() || path.components().any(odd) {
        return Err(format!("{text:?} is no full path (it has to begin with / and name a folder)"));
    }
    if text.chars().any(char::is_control) {
        return Err("a path with a line break or control character cannot be configured".into());
    }
    Ok(Answer::Text(path.display().to_string()))
}

fn word(text: &str) -> Result<Answer, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 64 || text.chars().any(char::is_control) {
        return Err("a name has 1 to 64 characters".into());
    }
    Ok(Answer::Text(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_has_its_own_key_and_flag_and_refuses_nothing_at_all() {
        for (index, question) in QUESTIONS.iter().enumerate() {
            assert!((question.parse)("").is_err(), "{}", question.flag);
            let same = |other: &Question| other.key == question.key || other.flag == question.flag;
            assert_eq!(QUESTIONS.iter().position(same), Some(index));
        }
    }

    #[test]
    fn refusals_say_what_would_be_right() {
        assert!(port("80").unwrap_err().contains("1024"));
        assert!(port("70000").is_err());
        assert_eq!(port(" 8470 "), Ok(Answer::Int(8470)));
        for bad in ["relative", "/", "/a/../b", "/a\nb"] {
            assert!(folder(bad).is_err(), "{bad:?}");
        }
        for bad in ["ann", "@host", "ann@", "a@b@c", "a b@c"] {
            assert!(email(bad).is_err(), "{bad:?}");
        }
        assert_eq!(email("Ann@Host"), Ok(Answer::Text("ann@host".into())));
    }
}
