//! One GET with little patience: a host that is silent costs seconds, and every failure says what happened.

use std::io::{self, Read};
use std::time::Duration;

use ureq::{Agent, Body, Error};

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// To find the host and connect to it.
    pub connect: Duration,
    /// From the request to the answer's head, and between two pieces of its body.
    pub silence: Duration,
    /// For one whole file.
    pub whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            silence: Duration::from_secs(10),
            // A host that drips is no better than a silent one; 10 MB take a minute and a half at 1 Mbit/s.
            whole: Duration::from_secs(600),
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Refusal {
    /// Nobody is there: asking the same host for another file would only cost time.
    Host(String),
    /// The host answers, but not with this file.
    File(String),
}

pub struct Client {
    agent: Agent,
    patience: Patience,
}

impl Client {
    /// Goes through the proxy that the environment names, if any; a SOCKS proxy, too.
    pub fn new(patience: Patience) -> Self {
        Self::with(patience, ureq::Proxy::try_from_env())
    }

    /// For hosts on this machine.
    #[cfg(test)]
    pub fn direct(patience: Patience) -> Self {
        Self::with(patience, None)
    }

    /// Goes through this proxy.
    #[cfg(test)]
    pub fn through(proxy: &str, patience: Patience) -> Self {
        Self::with(patience, Some(ureq::Proxy::new(proxy).unwrap()))
    }

    fn with(patience: Patience, proxy: Option<ureq::Proxy>) -> Self {
        let config = Agent::config_builder()
            .proxy(proxy)
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.silence))
            .timeout_per_read(Some(patience.silence))
            .timeout_global(Some(patience.whole))
            // Four requests in all: a connection that the host closes in between would only make for puzzling errors.
            .max_idle_connections(0)
            .build();
        Self { agent: config.into(), patience }
    }

    /// The body of `url` and its length, if the host tells it.
    pub fn get(&self, url: &str) -> Result<(Option<u64>, impl Read + use<>), Refusal> {
        let response = self.agent.get(url).call().map_err(|error| match error {
            Error::StatusCode(status) => Refusal::File(format!("the host answers with status {status}")),
            Error::TooManyRedirects | Error::RedirectFailed => Refusal::File("redirected without end".into()),
            other => Refusal::Host(self.explain(&other)),
        })?;
        let body = response.into_body();
        let explained = Explained { patience: self.patience, length: body.content_length(), body: reader(body) };
        Ok((explained.length, explained))
    }

    fn explain(&self, error: &Error) -> String {
        explain(error, self.patience)
    }
}

fn reader(body: Body) -> impl Read {
    // The caller knows how long the file may be; ureq's own limit would count as an unexplained end.
    body.into_with_config().limit(u64::MAX).reader()
}

fn explain(error: &Error, patience: Patience) -> String {
    let seconds = |duration: Duration| format!("{} s", duration.as_secs_f64());
    match error {
        Error::HostNotFound => "the host's name cannot be resolved".into(),
        Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
            format!("no connection within {}", seconds(patience.connect))
        }
        Error::Timeout(ureq::Timeout::Global) => format!("not done within {}", seconds(patience.whole)),
        Error::Timeout(_) => format!("the host is silent for {}", seconds(patience.silence)),
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => "the connection ends too early".into(),
        Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// A body whose errors speak plainly.
struct Explained<R> {
    patience: Patience,
    length: Option<u64>,
    body: R,
}

impl<R: Read> Read for Explained<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer).map_err(|error| {
            let kind = error.kind();
            let error = Error::from(error);
            let kind = if matches!(error, Error::Timeout(_)) { io::ErrorKind::TimedOut } else { kind };
            io::Error::new(kind, explain(&error, self.patience))
        })
    }
}
