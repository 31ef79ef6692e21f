//! Running a command to its end: its words go to the terminal or to a log, and Ctrl-C lets it save first.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::interrupt::{self, Stopped};
use crate::text;

/// How long a child may go on after somebody asked to stop before it is asked by us. Ctrl-C in a terminal has asked it already,
/// its save may wait for a validation, and of being asked twice `flow` makes an end without a save.
const GRACE: Duration = Duration::from_secs(180);

/// Where the messages of a command (its standard error) go.
pub enum Messages {
    /// To our own: a person watches.
    Shown,
    /// Into this file.
    Logged(PathBuf),
}

/// Runs `program arguments..` in `folder` and gives the seconds it took. Its standard output goes to the file `output`.
pub fn run(mut command: Command, messages: &Messages, output: Option<&Path>) -> Result<f64> {
    let started = Instant::now();
    let line = shown(&command);
    command.stdin(Stdio::null());
    match messages {
        Messages::Shown => command.stderr(Stdio::inherit()),
        Messages::Logged(path) => command.stderr(create(path)?),
    };
    match (output, messages) {
        (Some(path), _) => command.stdout(create(path)?),
        (None, Messages::Shown) => command.stdout(Stdio::inherit()),
        (None, Messages::Logged(_)) => command.stdout(Stdio::null()),
    };
    let child = command.spawn().with_context(|| format!("cannot start `{line}`"))?;
    let status = wait(child, &line).with_context(|| format!("cannot wait for `{line}`"))?;
    if interrupt::requested() || status.code() == Some(i32::from(interrupt::EXIT_CODE)) {
        bail!(Stopped(format!("`{line}` was stopped")));
    }
    if status.success() { Ok(started.elapsed().as_secs_f64()) } else { Err(failure(&line, status, messages)) }
}

/// The command as it could be typed.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    text::command_line(words.map(|word| word.to_string_lossy()))
}

fn create(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    File::create(path).with_context(|| format!("cannot create {}", path.display()))
}

fn wait(mut child: Child, line: &str) -> std::io::Result<ExitStatus> {
    let mut asked_at: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        // Ctrl-C in a terminal reaches the child by itself; a signal that was sent to us alone does not.
        if interrupt::requested() && asked_at.is_none() {
            say!("Waiting for `{line}` to save what it has; a second Ctrl-C ends it at once");
            asked_at = Some(Instant::now());
        }
        if asked_at.is_some_and(|asked| asked.elapsed() > GRACE) {
            let pid = child.id().to_string();
            let politely = Command::new("kill").arg(&pid).status().is_ok_and(|status| status.success());
            if !politely {
                child.kill()?;
            }
            asked_at = Some(Instant::now());
        }
        sleep(Duration::from_millis(20));
    }
}

fn failure(line: &str, status: ExitStatus, messages: &Messages) -> anyhow::Error {
    match messages {
        Messages::Shown => anyhow!("`{line}` failed ({status}); its messages are above"),
        Messages::Logged(path) => {
            let log = fs::read_to_string(path).unwrap_or_default();
            let mut last: Vec<&str> = log.lines().rev().filter(|line| !line.trim().is_empty()).take(5).collect();
            last.reverse();
            let last = last.join("\n    ");
            anyhow!("`{line}` failed ({status}); its log is {}, at the end of which:\n    {last}", path.display())
        }
    }
}
