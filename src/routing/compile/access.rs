//! The keys of publishers and of their pages.

use smol_str::SmolStr;

use crate::id::{PoolId, PublisherId};
use crate::routing::access::{Access, Holder, Site};
use crate::routing::config::{BrowserConfig, RoutingConfig, SecretKey};

use super::Compiler;

/// A key that is shorter can be guessed.
const KEY_CHARS_MIN: usize = 16;
/// Stands for a key in messages.
pub(super) const HIDDEN: &str = "…";

impl Compiler<'_> {
    pub(super) fn access(&mut self, config: &RoutingConfig) -> Access {
        let mut access = Access::default();
        for (p, publisher) in config.publishers.iter().enumerate() {
            let path = format!("publishers[{p}]");
            for (k, key) in publisher.keys.iter().enumerate() {
                let path = format!("{path}.keys[{k}]");
                if publisher.keys[..k].iter().any(|other| other.id == key.id) {
                    let remedy = "give each key its own id";
                    self.fault(&path, "id", &key.id, "is listed twice", remedy);
                }
                let named = (key.key.as_ref(), key.key_env.as_ref());
                let secret = self.secret(&path, named, config);
                let long = |it: &SecretKey| self.long_enough(&format!("{path}.key"), it.bytes());
                if let Some(secret) = secret.filter(long) {
                    let holder =
                        Holder { publisher: publisher.id.clone(), key: key.id.clone(), site: None };
                    self.add_key(&format!("{path}.key"), &mut access, &secret, holder);
                }
            }
            if let Some(browser) = &publisher.browser {
                self.browser(&path, browser, (&publisher.id, None), &mut access);
            }
        }
        for (p, pool) in config.pools.iter().enumerate() {
            if let Some(browser) = &pool.browser {
                let of = (&pool.publisher, Some(&pool.id));
                self.browser(&format!("pools[{p}]"), browser, of, &mut access);
            }
        }
        access
    }

    /// `None` only together with a fault.
    pub(super) fn secret(
        &mut self,
        path: &str,
        named: (Option<&SecretKey>, Option<&SmolStr>),
        all: &RoutingConfig,
    ) -> Option<SecretKey> {
        match named {
            (Some(key), None) => Some(key.clone()),
            (None, Some(name)) => {
                let known = all.keys.get(name).cloned();
                if known.is_none() {
                    let problem = "is no variable of the environment, or is empty";
                    self.fault(path, "key_env", name, problem, "set it, or write `key`");
                }
                known
            }
            (None, None) => {
                let remedy = "write `key`, or the variable that holds it as `key_env`";
                self.fault(path, "key", "", "is missing", remedy);
                None
            }
            (Some(_), Some(name)) => {
                let remedy = "keep one of the two";
                self.fault(path, "key_env", name, "is given beside `key`", remedy);
                None
            }
        }
    }

    fn browser(
        &mut self,
        path: &str,
        config: &BrowserConfig,
        (publisher, pool): (&PublisherId, Option<&PoolId>),
        access: &mut Access,
    ) {
        let path = format!("{path}.browser");
        if config.origins.is_empty() {
            let remedy = "name the sites, such as \"https://www.example.com\"";
            self.fault(&path, "origins", "[]", "is empty, so that no page may use it", remedy);
        }
        for (n, origin) in config.origins.iter().enumerate() {
            if !is_origin(origin) {
                let problem = "is no origin of a web page";
                let remedy = "write it as browsers do: https://www.example.com, in lower case, with a \
                              port if it has one and nothing behind";
                self.fault_at(&format!("{path}.origins[{n}]"), origin, problem, remedy);
            }
        }
        if self.long_enough(&format!("{path}.site_key"), config.site_key.as_bytes()) {
            let site = Site { pool: pool.cloned(), origins: config.origins.clone() };
            let holder =
                Holder { publisher: publisher.clone(), key: "site".into(), site: Some(site) };
            let key = SecretKey::new(&config.site_key);
            self.add_key(&format!("{path}.site_key"), access, &key, holder);
        }
    }

    pub(super) fn long_enough(&mut self, path: &str, key: &[u8]) -> bool {
        let chars = String::from_utf8_lossy(key).chars().count();
        if chars < KEY_CHARS_MIN {
            let remedy = format!("use {KEY_CHARS_MIN} random characters or more");
            self.fault_at(path, format!("{chars} characters"), "can be guessed", &remedy);
        }
        chars >= KEY_CHARS_MIN
    }

    fn add_key(&mut self, path: &str, access: &mut Access, key: &SecretKey, holder: Holder) {
        if let Err(known) = access.add(key.bytes(), holder) {
            let problem = format!("is the key of publisher `{}` too", known.publisher);
            self.fault_at(path, HIDDEN, &problem, "give each its own");
        }
    }
}

/// `https://host` or `https://host:port`, or the same with `http`, as browsers write it.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        let is_written_so = |b: u8| {
            b.is_ascii_lowercase()
                || b.is_ascii_digit()
                || matches!(b, b'.' | b'-' | b':' | b'[' | b']')
        };
        !host.is_empty() && host.bytes().all(is_written_so)
    })
}

#[cfg(test)]
mod tests {
    use crate::routing::RoutingSnapshot;
    use crate::routing::config::RoutingConfig;
    use crate::routing::config::SecretKey;

    #[test]
    fn every_fault_of_keys_is_found_and_no_key_is_repeated() {
        let config: RoutingConfig = toml::from_str(
            r#"
            [[publishers]]
            id = "a"
            keys = [
                { id = "one", key = "a key of sixteen" },
                { id = "one", key = "short and secret" },
                { id = "two", key = "too short" },
                { id = "three", key_env = "NOT_THERE" },
                { id = "four" },
                { id = "five", key = "a key of sixteen", key_env = "THERE" },
                { id = "six", key = "a key of sixteen" },
            ]
            browser = { site_key = "site", origins = ["example.com", "https://Example.com", "https://a/"] }
            [[publishers]]
            id = "b"
            keys = [{ id = "one", key_env = "THERE" }]
            browser = { site_key = "a public site key", origins = [] }
            "#,
        )
        .unwrap();
        let there = SecretKey::new("short and secret");
        let config = RoutingConfig { keys: [("THERE".into(), there)].into(), ..config };

        let faults = RoutingSnapshot::compile(config, 1).unwrap_err();

        let told: Vec<_> = faults.iter().map(|it| format!("{} = {}", it.path, it.value)).collect();
        assert_eq!(
            told,
            [
                "publishers[0].keys[1].id = one",
                "publishers[0].keys[2].key = 9 characters",
                "publishers[0].keys[3].key_env = NOT_THERE",
                "publishers[0].keys[4].key = ",
                "publishers[0].keys[5].key_env = THERE",
                "publishers[0].keys[6].key = …",
                "publishers[0].browser.origins[0] = example.com",
                "publishers[0].browser.origins[1] = https://Example.com",
                "publishers[0].browser.origins[2] = https://a/",
                "publishers[0].browser.site_key = 4 characters",
                "publishers[1].keys[0].key = …",
                "publishers[1].browser.origins = []",
            ]
        );
        let said = faults.iter().map(ToString::to_string).collect::<String>();
        assert!(!said.contains("secret") && !said.contains("sixteen"), "{said}");
    }

    #[test]
    fn keys_open_for_whom_they_are() {
        let config: RoutingConfig = toml::from_str(
            r#"
            buyers = [{ id = "buy" }]
            targets = [{ id = "t", buyer = "buy", dial = { kind = "sip", uri = "sip:a" } }]
            [[publishers]]
            id = "a"
            keys = [{ id = "one", key = "a key of sixteen" }]
            browser = { site_key = "a public site key", origins = ["https://a.example"] }
            [[campaigns]]
            id = "c"
            routing = { tiers = [{ targets = [{ target = "t" }] }] }
            [[pools]]
            id = "pool"
            campaign = "c"
            publisher = "a"
            numbers = ["+16145550101"]
            browser = { site_key = "another public key", origins = ["http://localhost:8000"] }
            "#,
        )
        .unwrap();

        let snapshot = RoutingSnapshot::compile(config, 1).unwrap();

        let access = snapshot.access();
        let own = access.holder(b"a key of sixteen").unwrap();
        assert_eq!((own.publisher.as_str(), own.key.as_str()), ("a", "one"));
        assert!(own.site.is_none());
        let of_pool = access.holder(b"another public key").unwrap();
        assert_eq!(of_pool.site.as_ref().unwrap().pool, Some("pool".into()));
        let of_any = access.holder(b"a public site key").unwrap();
        assert_eq!(of_any.site.as_ref().unwrap().pool, None);
        assert!(access.knows_origin("http://localhost:8000"));
        assert!(!access.knows_origin("https://b.example"));
    }
}
