//! Kamailio as a proxy that stays in the way of the calls that pass it (`kamailio.cfg`).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Result;

use super::ports;
use super::server::repository;
use super::software::Software;

/// One proxy to start.
#[derive(Debug)]
pub(crate) struct Proxy<'a> {
    /// In its cookie, and in the `Passed` of what went through it.
    pub(crate) name: &'a str,
    /// On 127.0.0.1, UDP and TCP.
    pub(crate) port: u16,
    /// Where it sends new calls.
    pub(crate) next: SocketAddr,
    /// How it does: over TCP or UDP.
    pub(crate) tcp: bool,
    pub(crate) work: &'a Path,
}

impl Proxy<'_> {
    pub(crate) fn start(&self) -> Result<Software> {
        let Self { name, port, next, tcp, work } = self;
        let file = |kind: &str| work.join(format!("{name}.{kind}"));
        // Where it would put its sockets.
        std::fs::create_dir_all(file("run"))?;
        let transport = if *tcp { ";transport=tcp" } else { "" };
        let defined = [
            format!("PORT={port}"),
            format!("NEXT=\"sip:{next}{transport}\""),
            format!("COOKIE=\";did={name}.7f1\""),
            format!("CHECK=\"did={name}.7f1\""),
            format!("DOWN=\"Passed: {name} downstream\\r\\n\""),
            format!("UP=\"Passed: {name} upstream\\r\\n\""),
        ];
        let config = repository("tests/it/support/kamailio.cfg").display().to_string();
        let run = file("run").display().to_string();
        // In the foreground, with little memory.
        let mut arguments =
            ["-f", &config, "-DD", "-E", "-m", "32", "-M", "4", "-Y", &run, "-w", &run]
                .map(str::to_owned)
                .to_vec();
        arguments.extend(defined.into_iter().flat_map(|define| ["-A".to_owned(), define]));
        let mut proxy = Software::start("kamailio", "kamailio", arguments, &file("log"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        for tcp in [false, true] {
            ports::wait_until_bound(name, address, tcp).or_else(|error| {
                proxy.is_running()?;
                Err(error)
            })?;
        }
        Ok(proxy)
    }
}
