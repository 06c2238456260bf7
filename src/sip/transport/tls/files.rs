//! Reading PEM files, and everything that is wrong with them.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::certificate;
use super::{CertificateFiles, FileSpec, OwnCertificate, TlsFault};

/// What was read so far.
#[derive(Default)]
pub(super) struct Files {
    /// The authorities the system trusts, once somebody needed them.
    system: Option<Arc<RootCertStore>>,
    certificates: Vec<OwnCertificate>,
    faults: Vec<TlsFault>,
}

/// What files look like from outside, whatever each is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(BTreeMap<PathBuf, Option<[i64; 4]>>);

impl Stamp {
    pub(super) fn of(paths: impl Iterator<Item = PathBuf>) -> Self {
        let look = |path: &Path| {
            let about = std::fs::metadata(path).ok()?;
            let bits = |number: u64| i64::from_ne_bytes(number.to_ne_bytes());
            Some([about.mtime(), about.mtime_nsec(), bits(about.ino()), bits(about.size())])
        };
        let looked = paths.map(|path| {
            let seen = look(&path);
            (path, seen)
        });
        Self(looked.collect())
    }
}

impl Files {
    pub(super) fn fault(&mut self, fault: TlsFault) {
        self.faults.push(fault);
    }

    pub(super) fn finish(self) -> (Vec<OwnCertificate>, Vec<TlsFault>) {
        (self.certificates, self.faults)
    }

    fn wrong(&mut self, file: &FileSpec, problem: impl Into<String>, remedy: &'static str) {
        self.fault(TlsFault {
            field: file.field.clone(),
            value: file.path.display().to_string(),
            problem: problem.into(),
            remedy,
        });
    }

    /// A chain with its key. `None` together with a fault.
    pub(super) fn certified_key(
        &mut self,
        pair: &CertificateFiles,
        provider: &CryptoProvider,
    ) -> Option<CertifiedKey> {
        let chain = self.certificates_in(&pair.chain);
        let key = match PrivateKeyDer::from_pem_file(&pair.key.path) {
            Ok(key) => Some(key),
            Err(error) => {
                let remedy = "name a PEM file with one unencrypted private key";
                self.wrong(&pair.key, problem(&error, "private key"), remedy);
                None
            }
        };
        let (chain, key) = (chain?, key?);
        let about = certificate::about(&chain[0]);
        let certified = match CertifiedKey::from_der(chain, key, provider) {
            Ok(certified) => certified,
            Err(rustls::Error::InconsistentKeys(_)) => {
                let chain = pair.chain.path.display();
                let problem = format!("is not the key of the first certificate in {chain}");
                self.wrong(&pair.key, problem, "put a chain beside its own key");
                return None;
            }
            Err(error) => {
                self.wrong(&pair.key, format!("cannot be used: {error}"), "use an RSA or EC key");
                return None;
            }
        };
        let Some(about) = about else {
            self.wrong(&pair.chain, "holds a certificate that cannot be read", LEAF_FIRST);
            return None;
        };
        self.certificates.push(OwnCertificate {
            file: pair.chain.path.clone(),
            name: about.names.first().cloned().unwrap_or_default(),
            not_after: about.not_after,
        });
        Some(certified)
    }

    /// At least one certificate. `None` together with a fault.
    fn certificates_in(&mut self, file: &FileSpec) -> Option<Vec<CertificateDer<'static>>> {
        let read = CertificateDer::pem_file_iter(&file.path).and_then(Iterator::collect);
        let fault = match read {
            Ok(found) if !Vec::is_empty(&found) => return Some(found),
            Ok(_) => String::from("holds no certificate"),
            Err(error) => problem(&error, "certificate"),
        };
        self.wrong(file, fault, LEAF_FIRST);
        None
    }

    /// Only the authorities of a file. `None` together with a fault.
    pub(super) fn roots_in(&mut self, file: &FileSpec) -> Option<Arc<RootCertStore>> {
        self.add_roots(file, RootCertStore::empty())
    }

    /// The system's authorities, and those of a file if there is one.
    pub(super) fn roots(&mut self, extra: Option<&FileSpec>) -> Option<Arc<RootCertStore>> {
        let system = Arc::clone(self.system.get_or_insert_with(certificate::system_roots));
        match extra {
            None => Some(system),
            Some(file) => self.add_roots(file, RootCertStore::clone(&system)),
        }
    }

    fn add_roots(&mut self, file: &FileSpec, mut to: RootCertStore) -> Option<Arc<RootCertStore>> {
        for certificate in self.certificates_in(file)? {
            if let Err(error) = to.add(certificate) {
                let problem = format!("holds a certificate that cannot be an authority: {error}");
                self.wrong(file, problem, "name a PEM file with certificates of authorities");
                return None;
            }
        }
        Some(Arc::new(to))
    }
}

const LEAF_FIRST: &str = "name a PEM file with certificates, the server's own first";

fn problem(error: &pem::Error, wanted: &str) -> String {
    if let pem::Error::Io(error) = error {
        format!("cannot be read: {error}")
    } else if matches!(error, pem::Error::NoItemsFound) {
        format!("holds no {wanted}")
    } else {
        format!("is no PEM file: {error}")
    }
}
