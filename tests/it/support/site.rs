//! A server of files, as a publisher's web site is one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

const PATIENCE: Duration = Duration::from_secs(5);

/// Pages by their paths, with the headers of all of them. It serves as long as the process runs.
pub(crate) struct Site {
    port: u16,
    pages: Arc<Mutex<Pages>>,
}

#[derive(Default)]
struct Pages {
    by_path: BTreeMap<String, String>,
    headers: String,
}

impl Site {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let pages = Arc::new(Mutex::new(Pages::default()));
        let served = Arc::clone(&pages);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = Arc::clone(&served);
                // A browser keeps connections that it has not yet asked anything on.
                std::thread::spawn(move || serve(&stream, &served));
            }
        });
        Ok(Self { port, pages })
    }

    pub(crate) fn add(&self, path: &str, html: String) {
        self.pages().by_path.insert(path.to_owned(), html);
    }

    /// A header field of every page from now on.
    pub(crate) fn add_header(&self, field: &str) {
        self.pages().headers += &format!("{field}\r\n");
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers one request.
fn serve(stream: &TcpStream, pages: &Mutex<Pages>) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream).lines();
    let asked = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = asked.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
    let (status, html) = match pages.by_path.get(path) {
        Some(html) => ("200 OK", html.as_str()),
        None => ("404 Not Found", ""),
    };
    let (headers, length) = (&pages.headers, html.len());
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\n{headers}\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{html}"
    );
    (&*stream).write_all(answer.as_bytes())?;
    Ok(())
}
