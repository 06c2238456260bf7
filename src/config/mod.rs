//! The configuration: one file, the environment, and `--set`, in this order of precedence.
//!
//! Owns the [`Settings`] of the process and the place in the file of everything else: trunks and
//! routing entities are handed to their owners through [`Config::section`], which is why nothing
//! of them is known here but that they are lists of tables with an `id`.
//!
//! Invariants: a field nobody knows is an error, wherever it was written; so is a text with a line
//! end or another control character in it, whatever it is for; an error names where it was written,
//! the field, the value and the remedy; a secret is never printed.
//!
//! ```text
//! file ──► tree of values + origin of each ◄── TOLLBRIDGE_A__B=v, --set a.b=v
//!             ├─► Settings
//!             └─► section("trunks"), sections([...]) ─► sip::trunk, routing
//! ```

mod account;
mod check;
mod consumers;
mod dns;
mod egress;
mod explain;
mod fault;
mod fitting;
mod fraud;
mod listen;
mod overload;
mod overrides;
mod pressure;
mod redis;
mod reread;
mod secret;
mod sessions;
mod settings;
mod shippers;
mod tls;
mod tree;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use account::AccountSettings;
pub use consumers::{ConsumerSettings, RollupSettings};
pub use dns::{DnsSettings, HealthSettings};
pub use egress::EgressSettings;
pub use fault::{ConfigError, Fault, Origin};
pub use fitting::{Fitting, Misfits};
pub use fraud::FraudSettings;
pub use listen::{
    Advertised, HostPort, ListenAddress, ListenTransport, Listener, ParseAddressError,
};
pub use overload::OverloadSettings;
pub use pressure::PressureSettings;
pub use redis::{QUESTIONS_MAX, RedisSettings, RedisUrl};
pub use secret::Secret;
pub use sessions::SessionSettings;
pub use settings::{
    ApiKey, ApiSettings, CdrSettings, DecisionSettings, JournalSettings, LogFormat, LogSettings,
    NodeSettings, OrphanBill, Settings, SipSettings, StoreSettings, TcpSettings,
};
pub use shippers::{
    CallerForm, CallersTold, EventForm, KafkaSasl, KafkaSettings, KafkaTls, SaslMechanism,
    ShipperSettings, StreamSettings,
};
pub use tls::{CertificateSettings, ClientAuth, MinVersion, TlsSettings};

use fault::Finding;
use overrides::Override;
use tree::Tree;

/// Sections with the settings of the process.
const SETTINGS: [&str; 17] = [
    "node",
    "sip",
    "api",
    "store",
    "sessions",
    "redis",
    "journal",
    "decision",
    "cdr",
    "log",
    "account",
    "consumers",
    "rollups",
    "pressure",
    "egress",
    "shippers",
    "fraud",
];

/// Sections that are lists of tables with an `id`, in the care of others.
const ENTITIES: [&str; 18] = [
    "trunks",
    "publishers",
    "buyers",
    "targets",
    "campaigns",
    "pools",
    "groups",
    "pairs",
    "numbers",
    "sets",
    "filter_sets",
    "schedules",
    "plans",
    "verticals",
    "caller_lists",
    "scorers",
    "dialects",
    "enrichers",
];

/// Sections that are tables, in the care of others.
const TABLES: [&str; 3] = ["geo", "defaults", "history"];

/// Those of [`ENTITIES`] and [`TABLES`] that belong to routing.
const ROUTING: [&str; 22] = [
    "history",
    "account",
    "defaults",
    "publishers",
    "buyers",
    "targets",
    "campaigns",
    "pools",
    "groups",
    "pairs",
    "numbers",
    "trunks",
    "sets",
    "filter_sets",
    "schedules",
    "plans",
    "geo",
    "verticals",
    "caller_lists",
    "scorers",
    "dialects",
    "enrichers",
];

/// What configures the process.
#[derive(Clone, Debug)]
pub struct Config {
    pub settings: Settings,
    tree: Tree,
    /// Absent if there was only text.
    file: Option<Arc<File>>,
}

/// Where a configuration was read from, and what goes before it.
#[derive(Debug)]
struct File {
    path: PathBuf,
    env: Vec<(String, String)>,
    sets: Vec<String>,
}

/// How a configuration is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Toml,
    /// A member that is `null` is as if it were absent.
    Json,
}

impl Config {
    /// Reads the file at `path`, JSON if it ends in `.json` and TOML otherwise, then the
    /// `TOLLBRIDGE_*` variables of `env`, then `sets`, each `key.path=value`.
    ///
    /// # Errors
    /// The file cannot be read, or all faults found in it and in the overrides; not those of the sections
    /// that are in the care of others.
    pub fn load(
        path: &Path,
        env: impl Iterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        Self::load_apart(path, env, sets)?.whole()
    }

    /// The same as far as it fits, so that others can look at their sections: in place of what is at fault
    /// stands what is built in.
    ///
    /// # Errors
    /// The file cannot be read, or nothing of it.
    pub fn load_apart(
        path: &Path,
        env: impl Iterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Fitting<Self>, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|cause| ConfigError::unreadable(path, cause))?;
        let is_json = path.extension().is_some_and(|it| it.eq_ignore_ascii_case("json"));
        let format = if is_json { Format::Json } else { Format::Toml };
        let env: Vec<_> = env.collect();
        let name = path.display().to_string();
        let read = Self::parse_apart(&name, &text, format, env.iter().cloned(), sets)?;
        let file = Arc::new(File { path: path.to_owned(), env, sets: sets.to_vec() });
        Ok(read.map(|config| Self { file: Some(file), ..config }))
    }

    /// Reads the file as it is now, with the same overrides.
    ///
    /// # Errors
    /// As [`Config::load_apart`].
    pub fn read_again(&self) -> Result<Fitting<Self>, ConfigError> {
        match &self.file {
            Some(file) => Self::load_apart(&file.path, file.env.iter().cloned(), &file.sets),
            None => Ok(Fitting::all_of(self.clone())),
        }
    }

    /// The settings of the process must be those of `running`.
    ///
    /// # Errors
    /// Each that is not, with its value here.
    pub fn changed_settings(&self, running: &Self) -> Result<(), ConfigError> {
        let finding = |(path, value): (String, String)| Finding {
            path,
            value,
            problem: String::from("cannot change while the server runs"),
            remedy: String::from("set it back, or restart the server"),
        };
        let changed = reread::differences(&running.settings, &self.settings);
        ConfigError::unless_empty(
            changed.into_iter().map(|it| self.tree.fault(finding(it))).collect(),
        )
    }

    /// Like [`Config::load`] with the text at hand; `name` stands for the file in messages.
    ///
    /// # Errors
    /// All faults found in the text and in the overrides.
    pub fn parse(
        name: &str,
        text: &str,
        format: Format,
        env: impl Iterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        Self::parse_apart(name, text, format, env, sets)?.whole()
    }

    /// Like [`Config::load_apart`] with the text at hand.
    ///
    /// # Errors
    /// It is no TOML, or no JSON.
    pub fn parse_apart(
        name: &str,
        text: &str,
        format: Format,
        env: impl Iterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Fitting<Self>, ConfigError> {
        let mut tree = match format {
            Format::Toml => Tree::from_toml(name, text)?,
            Format::Json => Tree::from_json(name, text)?,
        };
        let mut faults = explain::unknown_sections(&tree);
        let unknown: Vec<_> = faults.iter().map(|it| it.remedy.clone()).collect();
        let defaults = serde_json::to_value(Settings::default())
            .expect("settings are maps with text keys, numbers and texts");
        let mut overrides = Override::from_env(env, &mut faults);
        overrides.extend(Override::from_sets(sets, &mut faults));
        for change in &overrides {
            if let Err(fault) = change.apply(&mut tree, &defaults) {
                faults.push(fault);
            }
        }
        let broken = check::broken_lines(&tree.root);
        faults.extend(broken.into_iter().map(|finding| tree.fault(finding)));
        let (settings, misfits) = explain::read::<Settings>(&tree, &SETTINGS).apart();
        let settings = settings.unwrap_or_default();
        let found = settings
            .findings()
            .into_iter()
            .map(|finding| tree.fault(Finding { path: misfits.placed(&finding.path), ..finding }));
        let found: Vec<_> = found.filter(|fault| !misfits.may_cause(fault)).collect();
        let mut misfits = misfits.between(faults, found);
        for remedy in unknown {
            misfits.without_section(explain::meant(&remedy));
        }
        Ok(misfits.beside(Self { settings, tree, file: None }))
    }

    /// Hands out the list of tables of that name, such as `trunks`; it is empty if the file has
    /// none. `T` is a list.
    ///
    /// # Errors
    /// All that does not fit `T`.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<T, ConfigError> {
        self.section_apart(name).whole()
    }

    /// The same as far as it fits, and what does not.
    pub fn section_apart<T: DeserializeOwned>(&self, name: &str) -> Fitting<T> {
        explain::read_list(&self.tree, name)
    }

    /// Hands out several sections at once; `T` has a field for each of `names`. One the file does
    /// not have is an empty list.
    ///
    /// # Errors
    /// All that does not fit `T`.
    pub fn sections<T: DeserializeOwned>(&self, names: &[&str]) -> Result<T, ConfigError> {
        explain::read(&self.tree, names).whole()
    }

    /// The sections that say who gets a call, as one value with a field for each of them:
    /// `account`, `publishers`, `buyers`, `targets`, `campaigns`, `pools`, `groups`, `pairs`, `numbers`,
    /// `sets`, `filter_sets`, `schedules`, `plans`, `history`, `geo`,
    /// `verticals`, `caller_lists`, `scorers`, `dialects`, `enrichers`, and `trunks` for what of them concerns it.
    pub fn routing<T: DeserializeOwned>(&self) -> Fitting<T> {
        explain::read(&self.tree, &ROUTING)
    }

    /// Where the value at `path`, such as `targets[2].dial.uri`, was written; for what was left
    /// out, where the table around it begins.
    pub fn origin_of(&self, path: &str) -> &Origin {
        self.tree.origin(path)
    }

    /// Line of the file for `path`, counted from 1; `None` if it was set elsewhere or if the
    /// whole file is meant.
    pub fn fault_at(&self, path: &str) -> Option<usize> {
        self.origin_of(path).line()
    }

    /// Faults found by others, printed like our own: path, value, problem, remedy.
    pub fn faults(
        &self,
        found: impl IntoIterator<Item = (String, String, String, String)>,
    ) -> ConfigError {
        let finding = |(path, value, problem, remedy)| Finding { path, value, problem, remedy };
        ConfigError::from_faults(found.into_iter().map(|it| self.tree.fault(finding(it))).collect())
    }

    /// The values of all sections as they stand after the overrides, without defaults; secrets
    /// are hidden.
    pub fn to_json(&self) -> Value {
        fault::without_secrets(&self.tree.root)
    }
}

/// Name (without `.toml`) and text of every carrier file in `dir`, in alphabetical order.
///
/// # Errors
/// The folder or a file in it cannot be read.
pub fn read_carrier_files(dir: &Path) -> Result<Vec<(String, String)>, (PathBuf, io::Error)> {
    let unreadable = |cause| (dir.to_owned(), cause);
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|it| it == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: PathBuf| match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), text)),
        Err(cause) => Err((path, cause)),
    };
    paths.into_iter().map(read).collect()
}
