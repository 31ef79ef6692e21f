//! Fetching from a server on this machine that misbehaves in every way a mirror might, with tiny files in MNIST's place.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

use super::http::{Client, Patience};
use super::mnist::File;
use super::{copy, folder, mirrors, provide, verify};
use crate::workspace::Workspace;

const NAMES: [&str; 2] = ["images", "labels"];

fn contents(name: &str) -> Vec<u8> {
    format!("\0\0the {name}, over and over. ").repeat(500).into_bytes()
}

fn files() -> Vec<File> {
    let file = |name: &&str| {
        let contents = contents(name);
        let sha256 = verify::hexadecimal(&Sha256::digest(&contents));
        File { name: name.to_string(), size: contents.len() as u64, sha256 }
    };
    NAMES.iter().map(file).collect()
}

fn gzip(contents: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(contents).unwrap();
    encoder.finish().unwrap()
}

/// Serves `http://ADDRESS/MANNER/NAME.gz`, in the manner asked for.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        Self::behind(|_| Ok(()))
    }

    /// Answers after another protocol has had its say.
    fn behind(greet: fn(&mut TcpStream) -> std::io::Result<()>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                // A client that hangs up halfway is part of the game.
                thread::spawn(move || greet(&mut stream).and_then(|()| answer(stream, &log)).is_ok());
            }
        });
        Self { address, asked }
    }

    fn mirrors(&self, manners: &[&str]) -> Vec<String> {
        manners.iter().map(|manner| format!("http://{}/{manner}/", self.address)).collect()
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let path = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
    log.lock().unwrap().push(path.clone());
    let (manner, name) = path.split_once('/').unwrap_or((&path, ""));
    let good = gzip(&contents(name.trim_end_matches(".gz")));
    let mut ok = |length: usize, body: &[u8]| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
        stream.write_all(body)
    };
    let long_after_all_patience = Duration::from_secs(20);
    match manner {
        "good" => ok(good.len(), &good),
        "plain" => ok(contents("images").len(), &contents(name.trim_end_matches(".gz"))),
        "other" => ok(20_000, &b"\0\0the wrong numbers ".repeat(1_000)[..20_000]),
        "changed" => {
            let mut changed = contents(name.trim_end_matches(".gz"));
            changed[700] ^= 1;
            let changed = gzip(&changed);
            ok(changed.len(), &changed)
        }
        "page" => ok(27, b"<html>Not here, sorry</html"),
        "bomb" => {
            let bomb = gzip(&vec![0; 20_000_000]);
            ok(bomb.len(), &bomb)
        }
        "cut" => ok(good.len(), &good[..good.len() / 2]),
        "cut-and-lies" => ok(good.len() / 2, &good[..good.len() / 2]),
        "silent" => {
            thread::sleep(long_after_all_patience);
            Ok(())
        }
        "stalls" => {
            ok(good.len(), &good[..good.len() / 2])?;
            thread::sleep(long_after_all_patience);
            Ok(())
        }
        "turns-in-circles" => {
            write!(stream, "HTTP/1.1 302 Found\r\nLocation: /{path}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        }
        "garbage" => stream.write_all(b"220 this is no web server\r\n\r\n"),
        _ => write!(stream, "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
    }
}

/// A SOCKS 5 proxy that wants no password, and is itself whoever it is asked to connect to.
fn socks(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 3])?;
    stream.write_all(&[5, 0])?;
    // Version, command, a zero, the kind of the address, an IPv4 address, a port.
    stream.read_exact(&mut [0; 10])?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
}

fn patience() -> Patience {
    let soon = Duration::from_secs(1);
    Patience { connect: soon, silence: soon, whole: Duration::from_secs(10) }
}

fn client() -> Client {
    Client::direct(patience())
}

fn listed(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn whatever_a_mirror_does_the_next_one_is_asked() {
    let server = Server::start();
    let manners = [
        "other",
        "changed",
        "page",
        "bomb",
        "cut",
        "cut-and-lies",
        "silent",
        "stalls",
        "turns-in-circles",
        "garbage",
        "missing",
    ];
    for manner in manners {
        let folder = tempfile::tempdir().unwrap();
        mirrors::download(&client(), &files(), &server.mirrors(&[manner, "good"]), folder.path()).unwrap();
        assert_eq!(listed(folder.path()), ["images.gz", "labels.gz"], "{manner}");
        assert_eq!(folder::complete(folder.path(), &files()), Ok(()), "{manner}");
    }
}

#[test]
fn a_bad_mirror_alone_is_an_error_that_names_it_and_leaves_nothing() {
    let server = Server::start();
    let cases = [
        ("other", "it goes on after"),
        ("changed", "SHA-256"),
        ("page", "a web page came instead of the file"),
        ("bomb", "goes on after"),
        ("cut", "the connection ends too early"),
        ("cut-and-lies", "it ends after"),
        ("silent", "the host is silent for 1 s"),
        ("stalls", "the host is silent for 1 s"),
        ("turns-in-circles", "redirected without end"),
        ("missing", "status 404"),
    ];
    for (manner, complaint) in cases {
        let folder = tempfile::tempdir().unwrap();
        let mirrors = server.mirrors(&[manner]);
        let error = mirrors::download(&client(), &files(), &mirrors, folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("{}images.gz: ", mirrors[0])), "{manner}: {error}");
        assert!(error.contains(complaint), "{manner}: {error}");
        assert_eq!(listed(folder.path()), [] as [&str; 0], "{manner}");
    }
}

#[test]
fn a_mirror_that_is_silent_is_not_asked_again() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens on a port that was free a moment ago.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mirrors = [vec![format!("http://{closed}/")], server.mirrors(&["silent", "missing", "good"])].concat();
    mirrors::download(&client(), &files(), &mirrors, folder.path()).unwrap();
    let expected = ["silent/images.gz", "missing/images.gz", "good/images.gz", "missing/labels.gz", "good/labels.gz"];
    assert_eq!(server.asked(), expected);
}

#[test]
fn what_is_right_stays_and_what_is_wrong_is_replaced() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("images"), contents("images")).unwrap();
    fs::write(path("labels"), "not the labels").unwrap();
    mirrors::download(&client(), &files(), &server.mirrors(&["good"]), folder.path()).unwrap();
    assert_eq!(server.asked(), ["good/labels.gz"]);
    // The wrong plain file is gone: a reader might have taken it instead of the new one.
    assert_eq!(listed(folder.path()), ["images", "labels.gz"]);

    mirrors::download(&client(), &files(), &server.mirrors(&["silent"]), folder.path()).unwrap();
    assert_eq!(server.asked().len(), 1, "nothing was missing");
}

#[test]
fn a_file_that_comes_decompressed_is_kept_under_its_plain_name() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    mirrors::download(&client(), &files()[..1], &server.mirrors(&["plain"]), folder.path()).unwrap();
    assert_eq!(listed(folder.path()), ["images"]);
}

#[test]
fn files_elsewhere_are_used_where_they_are_or_copied() {
    let elsewhere = tempfile::tempdir().unwrap();
    let clone = tempfile::tempdir().unwrap();
    let workspace = Workspace::at(Some(clone.path().to_path_buf()));
    let dead = ["http://127.0.0.1:9/".to_owned()];

    // FLOW_DATA_DIR/mnist and FLOW_DATA_DIR itself, gzipped and not.
    let below = elsewhere.path().join("mnist");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("images.gz"), gzip(&contents("images"))).unwrap();
    fs::write(below.join("labels"), contents("labels")).unwrap();
    for data_dir in [elsewhere.path(), &below] {
        assert_eq!(provide(&client(), &files(), Some(data_dir.into()), &dead, &workspace).unwrap(), below);
        assert!(!workspace.mnist().exists(), "nothing is copied");
    }

    // One file wrong: neither used nor copied.
    fs::write(below.join("labels"), b"other").unwrap();
    assert!(provide(&client(), &files(), Some(elsewhere.path().into()), &dead, &workspace).is_err());
    let error = copy(&files(), elsewhere.path(), &workspace.mnist()).unwrap_err().to_string();
    assert!(error.contains("labels: it ends after 5 of"), "{error}");
    assert_eq!(listed(&workspace.mnist()), [".lock"]);

    fs::write(below.join("labels"), contents("labels")).unwrap();
    copy(&files(), elsewhere.path(), &workspace.mnist()).unwrap();
    assert_eq!(listed(&workspace.mnist()), [".lock", "images.gz", "labels"]);
    assert_eq!(provide(&client(), &files(), None, &dead, &workspace).unwrap(), workspace.mnist());
}

#[cfg(unix)]
#[test]
fn a_folder_that_is_named_from_here_is_found_from_anywhere() {
    let elsewhere = tempfile::tempdir().unwrap();
    let clone = tempfile::tempdir().unwrap();
    let workspace = Workspace::at(Some(clone.path().to_path_buf()));
    for name in NAMES {
        fs::write(elsewhere.path().join(name), contents(name)).unwrap();
    }
    // Up to the root from where the tests run, and down again.
    let up: PathBuf = std::env::current_dir().unwrap().components().skip(1).map(|_| "..").collect();
    let named = up.join(elsewhere.path().canonicalize().unwrap().strip_prefix("/").unwrap());
    let found = provide(&client(), &files(), Some(named.into()), &[], &workspace).unwrap();
    assert!(found.is_absolute(), "{}", found.display());
    assert_eq!(found.canonicalize().unwrap(), elsewhere.path().canonicalize().unwrap());
}

#[test]
fn a_complete_folder_needs_no_lock() {
    let clone = tempfile::tempdir().unwrap();
    let workspace = Workspace::at(Some(clone.path().to_path_buf()));
    let folder = workspace.mnist();
    let dead = ["http://127.0.0.1:9/".to_owned()];
    // A folder in the place of the lock refuses everybody, root too, as a disk does that can only be read.
    fs::create_dir_all(folder.join(".lock")).unwrap();
    for name in NAMES {
        fs::write(folder.join(name), contents(name)).unwrap();
    }
    assert_eq!(provide(&client(), &files(), None, &dead, &workspace).unwrap(), folder);
    copy(&files(), clone.path(), &folder).unwrap();

    fs::remove_file(folder.join("labels")).unwrap();
    let error = provide(&client(), &files(), None, &dead, &workspace).unwrap_err().to_string();
    assert!(error.contains("cannot create") && error.contains(".lock"), "{error}");
}

#[test]
fn a_socks_proxy_is_gone_through() {
    let proxy = Server::behind(socks);
    let client = Client::through(&format!("socks5://{}", proxy.address), patience());
    let folder = tempfile::tempdir().unwrap();
    // An address that is kept for examples: nobody has it.
    let mirror = "http://192.0.2.1/good/".to_owned();
    mirrors::download(&client, &files(), &[mirror], folder.path()).unwrap();
    assert_eq!(proxy.asked(), ["good/images.gz", "good/labels.gz"]);
}

#[test]
fn two_fetches_at_once_do_not_disturb_each_other() {
    let server = Server::start();
    let clone = tempfile::tempdir().unwrap();
    let fetch = || {
        let workspace = Workspace::at(Some(clone.path().to_path_buf()));
        provide(&client(), &files(), None, &server.mirrors(&["good"]), &workspace).unwrap();
    };
    thread::scope(|scope| {
        scope.spawn(fetch);
        scope.spawn(fetch);
    });
    assert_eq!(server.asked().len(), 2, "each file once");
}
