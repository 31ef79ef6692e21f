//! A living process that computes when it is told to, and waits on its standard input otherwise, so that it takes no time
//! from the others. `xtask/compare/protocol.py` says what is spoken.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::interrupt::{self, Stopped};

/// How often a person's wish to stop is looked for while a worker computes.
const GLANCE: Duration = Duration::from_millis(100);
/// How long a worker may take to end once it says no more.
const GRACE: Duration = Duration::from_secs(2);
/// Lines of a dead worker's log that are shown.
const LAST_LINES: usize = 3;

pub struct Worker {
    name: String,
    child: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
    log: PathBuf,
    patience: Duration,
}

impl Worker {
    /// Starts `command`; what it says on standard error goes to `log`.
    pub fn start(name: &str, mut command: Command, log: &Path, patience: Duration) -> Result<Self> {
        let messages = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(messages);
        // A group of its own: whatever it starts ends with it, and Ctrl-C is ours to pass on.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().with_context(|| format!("{name}: cannot start {program}"))?;
        let requests = child.stdin.take().context("its standard input is a pipe")?;
        let output = BufReader::new(child.stdout.take().context("its standard output is a pipe")?);
        let (told, answers) = channel();
        thread::spawn(move || {
            for line in output.lines() {
                let Ok(line) = line else { return };
                // Libraries print, too. An answer is an object.
                if line.starts_with('{') && told.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Worker { name: name.to_owned(), child, requests, answers, log: log.to_owned(), patience })
    }

    /// Sends a request and waits for its answer.
    pub fn ask<T: DeserializeOwned>(&mut self, request: &str) -> Result<T> {
        // A worker that is gone is told of by the missing answer.
        let _ = writeln!(self.requests, "{request}");
        self.answer().map_err(|error| self.named(error, &format!(", asked to `{request}`")))
    }

    /// Waits for the line that says it is ready.
    pub fn ready<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.answer().map_err(|error| self.named(error, ""))
    }

    fn named(&self, error: anyhow::Error, when: &str) -> anyhow::Error {
        // A person who wants to stop knows why.
        if error.is::<Stopped>() { error } else { error.context(format!("{}{when}", self.name)) }
    }

    fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let since = Instant::now();
        let line = loop {
            if interrupt::requested() {
                bail!(Stopped("stopped; nothing was written".into()));
            }
            match self.answers.recv_timeout(GLANCE) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Disconnected) => return Err(self.death()),
                Err(RecvTimeoutError::Timeout) if since.elapsed() > self.patience => {
                    bail!("no answer in {} s", self.patience.as_secs())
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        let value: Value = serde_json::from_str(&line).with_context(|| format!("answered {line:?}"))?;
        if let Some(error) = value["error"].as_str() {
            bail!("{error}");
        }
        serde_json::from_value(value).with_context(|| format!("answered {line:?}"))
    }

    fn death(&mut self) -> anyhow::Error {
        let since = Instant::now();
        let how = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status.to_string(),
                Ok(None) if since.elapsed() < GRACE => thread::sleep(GLANCE / 10),
                // It ends when it is dropped.
                _ => break "it has closed its output".to_owned(),
            }
        };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        match last {
            [] => anyhow!("its process ended ({how}) and said nothing"),
            _ => anyhow!("its process ended ({how}): {}", last.join(" / ")),
        }
    }
}

impl Drop for Worker {
    /// Leaves no process behind.
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
