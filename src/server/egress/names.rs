//! Where names lead, of which only what may be asked is connected to.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{Egress, Refused};

/// Asks where a name leads.
pub(super) trait LookUp: Send + Sync + 'static {
    fn addresses(&self, name: &str) -> Found;
}

pub(super) type Found = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// As every program of this machine does.
pub(super) struct System;

impl LookUp for System {
    fn addresses(&self, name: &str) -> Found {
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Looks names up for a client, and tells it only of addresses that may be asked.
pub(super) struct Names {
    egress: Arc<Egress>,
    system: Arc<dyn LookUp>,
    /// Names that lead to nobody who may be asked, and of which that was said.
    told: Arc<Mutex<BTreeSet<String>>>,
}

/// A name leads to nobody.
#[derive(Debug, thiserror::Error)]
enum Nobody {
    #[error("{name} leads nowhere")]
    Nowhere { name: String },
    #[error("{name} {refused}")]
    Refused { name: String, refused: Refused },
}

impl Names {
    pub(super) fn new(egress: Arc<Egress>, system: impl LookUp) -> Self {
        Self { egress, system: Arc::new(system), told: Arc::default() }
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (egress, told) = (Arc::clone(&self.egress), Arc::clone(&self.told));
        let found = self.system.addresses(name.as_str());
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let judged = judged(&egress, &name, &found.await?);
            if let Err(Nobody::Refused { refused, .. }) = &judged {
                if told.lock().insert(name.clone()) {
                    tracing::warn!(name, %refused, "a name that is to be asked leads to nobody who may be");
                }
            } else {
                told.lock().remove(&name);
            }
            let addresses: Addrs = Box::new(judged?.into_iter());
            Ok(addresses)
        })
    }
}

/// Those that may be asked, without ports.
fn judged(egress: &Egress, name: &str, found: &[IpAddr]) -> Result<Vec<SocketAddr>, Nobody> {
    let (mut addresses, mut first) = (vec![], None);
    for address in found.iter().map(IpAddr::to_canonical) {
        match egress.judge_address(address) {
            Ok(()) => addresses.push(SocketAddr::new(address, 0)),
            Err(refused) => first = first.or(Some(refused)),
        }
    }
    let name = name.to_owned();
    match first {
        _ if !addresses.is_empty() => Ok(addresses),
        Some(refused) => Err(Nobody::Refused { name, refused }),
        None => Err(Nobody::Nowhere { name }),
    }
}
