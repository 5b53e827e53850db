//! A published archive with `install.sh` beside it. Its programs are stubs that write down how they were called.

use crate::home::script;
use crate::root;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Words and environment of the stub, one a line.
const STUB: &str = "#!/bin/sh
[ \"$1\" = --version ] && { echo stub; exit 0; }
{ printf '%s\\n' \"$@\"; printf 'called as: %s\\n' \"$TD_SETUP_CALLED_AS\"; } >\"$HOME/called\"
exit \"${STUB_EXIT:-0}\"
";

/// The archive, and a person who has it.
pub struct Dist {
    dir: tempfile::TempDir,
    name: &'static str,
}

impl Dist {
    /// A whole one in a folder of this name.
    pub fn new(name: &'static str) -> Self {
        let dist = Self { dir: tempfile::tempdir().expect("temp"), name };
        for folder in ["programs", "home of ana", "tmp", name] {
            fs::create_dir(dist.dir.path().join(folder)).expect("folder");
        }
        for program in ["td-sync", "td-sync-setup", "td"] {
            script(&dist.dir.path().join("programs").join(program), STUB);
        }
        fs::copy(root().join("install.sh"), dist.folder().join("install.sh")).expect("install.sh");
        dist.pack();
        dist
    }

    /// Folder of script and archive.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join(self.name)
    }

    /// What is packed.
    pub fn programs(&self) -> PathBuf {
        self.dir.path().join("programs")
    }

    /// Home folder of the person.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home of ana")
    }

    /// Folder for what is temporary.
    pub fn tmp(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    /// The archive's path.
    pub fn archive(&self) -> PathBuf {
        self.folder().join(format!("td-sync-{}-unknown-linux-gnu.tar.gz", std::env::consts::ARCH))
    }

    /// Packs what is there now.
    pub fn pack(&self) {
        let packed = Command::new("tar")
            .args(["-czf".as_ref(), self.archive().as_os_str(), "-C".as_ref(), self.programs().as_os_str()])
            .args(["td-sync", "td-sync-setup", "td"])
            .status();
        assert!(packed.expect("tar").success());
        self.publish();
    }

    /// Writes the digest of the archive as it is.
    pub fn publish(&self) {
        let sum = Command::new("sha256sum").arg(self.archive()).output().expect("sha256sum");
        fs::write(self.digest(), sum.stdout).expect("digest");
    }

    /// Path of the digest.
    pub fn digest(&self) -> PathBuf {
        PathBuf::from(format!("{}.sha256", self.archive().display()))
    }

    /// The script, not started yet.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg(self.folder().join("install.sh")).args(words).env_clear().stdin(Stdio::null());
        command.current_dir(self.dir.path()).env("HOME", self.home()).env("PATH", "/usr/bin:/bin");
        command.env("TMPDIR", self.tmp());
        command
    }

    /// Runs it.
    pub fn run(&self, words: &[&str]) -> Run {
        Run::of(self.command(words))
    }

    /// How td-sync-setup was called; none if it was not. Read once.
    pub fn called(&self) -> Option<String> {
        let path = self.home().join("called");
        let text = fs::read_to_string(&path).ok();
        let _ = fs::remove_file(path);
        text
    }

    /// Serves the archive's folder until the test ends. `cut` bytes are missing at the end of each file.
    pub fn serve(&self, cut: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("address");
        let folder = self.folder();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut line = String::new();
                let _ = BufReader::new(&stream).read_line(&mut line);
                let name = line.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
                let _ = answer(&stream, fs::read(folder.join(name)).ok(), cut);
            }
        });
        address
    }
}

fn answer(mut stream: &std::net::TcpStream, file: Option<Vec<u8>>, cut: usize) -> std::io::Result<()> {
    let Some(file) = file else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len())?;
    stream.write_all(&file[..file.len().saturating_sub(cut)])
}

/// How a script ended.
pub struct Run {
    /// Its exit code.
    pub code: Option<i32>,
    /// Both streams, without line breaks.
    pub said: String,
}

impl Run {
    /// Runs it to its end.
    pub fn of(mut command: Command) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("sh");
        let both = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        Self { code: status.code(), said: both.split_whitespace().collect::<Vec<_>>().join(" ") }
    }

    /// It ended with this code and said all of these.
    pub fn is(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.said);
        for word in words {
            assert!(self.said.contains(word), "{word:?} in: {}", self.said);
        }
    }
}

/// Names in a folder.
pub fn names(folder: &Path) -> Vec<String> {
    let all = fs::read_dir(folder).expect("folder");
    all.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect()
}
