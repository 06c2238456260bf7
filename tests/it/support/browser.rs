//! Chromium without a window, led by chromedriver (W3C WebDriver, and Chromium's log).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::software::Software;
use super::{ports, wait_for};

/// Nothing but the page under test is to be looked at, fetched or kept.
const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// It may take long to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with a profile of its own. Dropping it ends it.
pub(crate) struct Browser {
    driver: SocketAddr,
    session: String,
    /// Ended with the session, which goes first.
    _process: Software,
    _profile: TempDir,
}

impl Browser {
    /// `preferences` are those of the profile.
    pub(crate) fn start(preferences: &Value) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let driver = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::block(1)?));
        let log = profile.path().join("driver.log");
        let port = format!("--port={}", driver.port());
        let process = Software::start("chromedriver", "chromium-driver", [port], &log)?;
        wait_for("chromedriver", Duration::from_secs(10), || {
            Ok(exchange(driver, ("GET", "/status"), "").ok())
        })?;
        let folder = profile.path().join("profile");
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", folder.display()));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments, "prefs": preferences },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let opened = exchange(driver, ("POST", "/session"), &wanted.to_string());
        let opened = opened.with_context(|| process.log())?;
        let session = opened["sessionId"].as_str().context("no session")?.to_owned();
        Ok(Self { driver, session, _process: process, _profile: profile })
    }

    pub(crate) fn open(&self, url: &str) -> Result<()> {
        self.post("url", &json!({ "url": url })).map(drop)
    }

    /// What this piece of JavaScript, the body of a function, returns, or what its promise comes to.
    pub(crate) fn run(&self, script: &str) -> Result<Value> {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until this expression is `expected`.
    pub(crate) fn until(&self, expression: &str, expected: &Value) -> Result<()> {
        let mut last = Value::Null;
        let found = wait_for(expression, Duration::from_secs(10), || {
            last = self.run(&format!("return {expression}"))?;
            Ok((last == *expected).then_some(()))
        });
        found.with_context(|| format!("it is {last}, not {expected}"))
    }

    /// The handle of the tab in front.
    pub(crate) fn tab(&self) -> Result<String> {
        let handle = self.ask("GET", "window", "")?;
        Ok(handle.as_str().context("a handle is a text")?.to_owned())
    }

    /// Opens a tab, and brings it to the front.
    pub(crate) fn new_tab(&self) -> Result<()> {
        let opened = self.post("window/new", &json!({ "type": "tab" }))?;
        self.switch_to(opened["handle"].as_str().context("no handle")?)
    }

    pub(crate) fn switch_to(&self, tab: &str) -> Result<()> {
        self.post("window", &json!({ "handle": tab })).map(drop)
    }

    /// Closes the tab in front. The last one takes the browser along.
    pub(crate) fn close_tab(&self) -> Result<()> {
        self.ask("DELETE", "window", "").map(drop)
    }

    /// What stands in the console since it was last asked, but for failed requests, which the browser
    /// itself tells there.
    pub(crate) fn console(&self) -> Result<Vec<String>> {
        let entries = self.post("se/log", &json!({ "type": "browser" }))?;
        let entries = entries.as_array().context("a log is a list")?;
        let told = entries.iter().filter(|entry| entry["source"] != "network");
        Ok(told.map(Value::to_string).collect())
    }

    fn post(&self, command: &str, body: &Value) -> Result<Value> {
        self.ask("POST", command, &body.to_string())
    }

    fn ask(&self, method: &str, command: &str, body: &str) -> Result<Value> {
        let path = format!("/session/{}/{command}", self.session);
        exchange(self.driver, (method, &path), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends Chromium. If that fails, chromedriver takes it along when it is ended.
        let path = format!("/session/{}", self.session);
        let _ended = exchange(self.driver, ("DELETE", &path), "");
    }
}

/// One command to chromedriver: what it answers as `value`. It knows nothing older than HTTP/1.1, and
/// does not close the connection, whatever it says.
fn exchange(driver: SocketAddr, (method, path): (&str, &str), body: &str) -> Result<Value> {
    let mut stream = TcpStream::connect_timeout(&driver, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {driver}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    while answer.read_line(&mut head)? > 2 {
        let line = head.lines().last().unwrap_or_default();
        if let Some((_, value)) = line.split_once("Content-Length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    let body = String::from_utf8(body)?;
    ensure!(head.starts_with("HTTP/1.1 200"), "the browser says {head}{body}");
    let mut answer: Value = serde_json::from_str(&body)?;
    Ok(answer["value"].take())
}
