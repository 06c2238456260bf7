//! Publishers whose pings come as another platform has them.

use std::time::Duration;

use crate::routing::config::{Dialect, DialectConfig, RoutingConfig};
use crate::routing::door::{Door, Doors, digest};
use crate::routing::ping::TAG_BYTES_MAX;
use crate::routing::snapshot::NumberRange;

use super::access::HIDDEN;
use super::{Compiler, index, settings};

/// Seconds that a price may hold.
const QUOTE_TTL_S: std::ops::RangeInclusive<u32> = 5..=3_600;

impl Compiler<'_> {
    pub(super) fn doors(&mut self, config: &RoutingConfig, numbers: &[NumberRange]) -> Doors {
        let ids = config.dialects.iter().map(|dialect| dialect.id.as_str()).collect();
        index("dialects", ids, &mut self.faults);
        let mut doors = Doors::default();
        for (n, dialect) in config.dialects.iter().enumerate() {
            let path = format!("dialects[{n}]");
            let named = (dialect.key.as_ref(), dialect.key_env.as_ref());
            let key = self.secret(&path, named, config);
            if let Some(key) = &key
                && (dialect.token.is_none() || dialect.dialect != Dialect::Trackdrive)
            {
                self.long_enough(&format!("{path}.key"), key.bytes());
            }
            self.token(&path, dialect);
            self.place(&path, dialect, config, numbers);
            self.parameters(&path, dialect);
            self.lives(&path, dialect);
            let Some(key) = key else { continue };
            if let Err(known) = doors.add(dialect.dialect, key.bytes(), door(dialect)) {
                let problem = format!("is the key of `{}` too", known.id);
                self.fault(&path, "key", HIDDEN, &problem, "give each its own");
            }
        }
        doors
    }

    fn token(&mut self, path: &str, config: &DialectConfig) {
        let Some(token) = &config.token else { return };
        self.long_enough(&format!("{path}.token"), token.bytes());
        if config.dialect != Dialect::Trackdrive {
            let problem = format!("is nothing that pings of {} show", config.dialect.name());
            self.fault(path, "token", HIDDEN, &problem, "leave it out, and use a long key");
        }
    }

    /// Whose calls will come, and where.
    fn place(
        &mut self,
        path: &str,
        config: &DialectConfig,
        all: &RoutingConfig,
        numbers: &[NumberRange],
    ) {
        let publisher = self.publisher(&format!("{path}.publisher"), config.publisher.as_str());
        let campaign = self.campaign(&format!("{path}.campaign"), config.campaign.as_str());
        let (Some(publisher), Some(campaign)) = (publisher, campaign) else { return };
        let payouts = &all.publishers[publisher].payouts;
        if !payouts.iter().any(|payout| payout.campaign == config.campaign) {
            let problem = format!(
                "has no payout for campaign `{}`, so that nothing would ever be bid",
                config.campaign
            );
            let remedy = "add one to `payouts` of the publisher";
            self.fault(path, "publisher", &config.publisher, &problem, remedy);
        }
        let owns =
            |range: &&NumberRange| range.campaign == campaign && range.publisher == publisher;
        match (&config.pool, config.number) {
            (Some(pool), Some(_)) => {
                let remedy = "keep one of the two";
                self.fault(path, "pool", pool, "is given beside `number`", remedy);
            }
            (Some(id), None) => match all.pools.iter().find(|pool| pool.id == *id) {
                None => self.dangling(&format!("{path}.pool"), "pool", id.as_str()),
                Some(pool) => {
                    if pool.campaign != config.campaign || pool.publisher != config.publisher {
                        let problem = "belongs to another campaign or publisher";
                        self.fault(path, "pool", id, problem, "name one of this publisher's");
                    }
                }
            },
            (None, Some(number)) => {
                let is_static = |range: &&NumberRange| {
                    range.pool.is_none() && range.digits.contains(&number.digits())
                };
                if !numbers.iter().filter(is_static).any(|range| owns(&range)) {
                    let problem = "is no static number of this campaign and publisher";
                    let remedy = "add it to `numbers` of the campaign, or name another";
                    self.fault(path, "number", number.to_e164(), problem, remedy);
                }
            }
            (None, None) if all.account.sip_host.is_none() => {
                let problem = "is missing, so that no ping could be told where to call";
                let remedy = "write `pool` or `number`, or `account.sip_host` for SIP addresses";
                self.fault(path, "number", "", problem, remedy);
            }
            (None, None) => {}
        }
    }

    fn parameters(&mut self, path: &str, config: &DialectConfig) {
        for (name, tag) in &config.parameters {
            if tag.is_empty() || tag.len() > TAG_BYTES_MAX {
                let problem = "is no name of a tag";
                let remedy = format!("write 1 to {TAG_BYTES_MAX} bytes, such as lead.age");
                self.fault_at(&format!("{path}.parameters.{name}"), tag, problem, &remedy);
            }
        }
    }

    fn lives(&mut self, path: &str, config: &DialectConfig) {
        self.within(path, "quote_ttl_s", config.quote_ttl_s, QUOTE_TTL_S);
        let Some(session) = config.session_ttl_s else { return };
        self.within(path, "session_ttl_s", session, settings::SESSION_TTL_S);
        if session < config.quote_ttl_s {
            let problem = "is shorter than a price holds";
            let remedy = format!("write {} or more", config.quote_ttl_s);
            self.fault(path, "session_ttl_s", session, problem, &remedy);
        }
    }
}

fn door(config: &DialectConfig) -> Door {
    let lower = |name: &smol_str::SmolStr| name.to_ascii_lowercase().into();
    Door {
        id: config.id.clone(),
        publisher: config.publisher.clone(),
        campaign: config.campaign.clone(),
        pool: config.pool.clone(),
        number: config.number,
        parameters: config
            .parameters
            .iter()
            .map(|(name, tag)| (lower(name), tag.clone()))
            .collect(),
        quote_life: Duration::from_secs(config.quote_ttl_s.into()),
        session_ttl_s: config.session_ttl_s,
        sip_user: config.sip_user,
        token: config.token.as_ref().map(|token| digest(token.bytes())),
    }
}

#[cfg(test)]
mod tests {
    use crate::routing::RoutingSnapshot;
    use crate::routing::config::{Dialect, RoutingConfig};

    const BUSINESS: &str = r#"
        buyers = [{ id = "buy" }]
        targets = [{ id = "t", buyer = "buy", dial = { kind = "sip", uri = "sip:a" } }]
        [[publishers]]
        id = "a"
        payouts = [{ campaign = "c", amount = "24.00" }]
        [[publishers]]
        id = "b"
        [[campaigns]]
        id = "c"
        publisher = "a"
        numbers = ["+18005550100"]
        routing = { tiers = [{ targets = [{ target = "t" }] }] }
        [[pools]]
        id = "pool"
        campaign = "c"
        publisher = "a"
        numbers = ["+16145550101"]
    "#;

    #[test]
    fn every_fault_of_dialects_is_found_and_no_key_is_repeated() {
        let doors = r#"
            dialects = [
                { id = "one", dialect = "ringba", key = "a key of sixteen", publisher = "a", campaign = "c",
                    number = "+18005550100", pool = "pool" },
                { id = "one", dialect = "ringba", key = "a key of sixteen", publisher = "a", campaign = "c",
                    number = "+16145550101" },
                { id = "two", dialect = "callgrid", key = "too short", publisher = "b", campaign = "d",
                    pool = "none", token = "a token of sixteen" },
                { id = "three", dialect = "retreaver", key_env = "NOT_THERE", publisher = "b",
                    campaign = "c", pool = "pool", quote_ttl_s = 4, session_ttl_s = 3 },
                { id = "four", dialect = "trackdrive", key = "my_uri", token = "short", publisher = "a",
                    campaign = "c", parameters = { x = "" } },
            ]
        "#;
        let config: RoutingConfig = toml::from_str(&format!("{doors}{BUSINESS}")).unwrap();

        let faults = RoutingSnapshot::compile(config, 1).unwrap_err();

        let told: Vec<_> = faults.iter().map(|it| format!("{} = {}", it.path, it.value)).collect();
        assert_eq!(
            told,
            [
                "dialects[1].id = one",
                "dialects[0].pool = pool",
                "dialects[1].number = +16145550101",
                "dialects[1].key = …",
                "dialects[2].key = 9 characters",
                "dialects[2].token = …",
                "dialects[2].campaign = d",
                "dialects[3].key_env = NOT_THERE",
                "dialects[3].publisher = b",
                "dialects[3].pool = pool",
                "dialects[3].quote_ttl_s = 4",
                "dialects[3].session_ttl_s = 3",
                "dialects[4].token = 5 characters",
                "dialects[4].number = ",
                "dialects[4].parameters.x = ",
            ]
        );
        let said = faults.iter().map(ToString::to_string).collect::<String>();
        assert!(!said.contains("sixteen") && !said.contains("short\""), "{said}");
    }

    #[test]
    fn a_door_stands_where_its_key_says() {
        let doors = r#"
            account = { sip_host = "sip.example.com:5070" }
            dialects = [
                { id = "one", dialect = "ringba", key = "a key of sixteen", publisher = "a", campaign = "c",
                    number = "+18005550100", parameters = { ZipCode = "zip" } },
                { id = "two", dialect = "trackdrive", key = "my_uri", token = "a token of sixteen",
                    publisher = "a", campaign = "c", session_ttl_s = 600 },
            ]
        "#;
        let config: RoutingConfig = toml::from_str(&format!("{doors}{BUSINESS}")).unwrap();
        let snapshot = RoutingSnapshot::compile(config, 1).unwrap();
        let one = snapshot.doors().of(Dialect::Ringba, "a key of sixteen").unwrap();
        assert_eq!((one.id.as_str(), one.quote_life.as_secs()), ("one", 60));
        assert_eq!(one.parameters.get("zipcode").map(|it| it.as_str()), Some("zip"));
        let two = snapshot.doors().of(Dialect::Trackdrive, "my_uri").unwrap();
        assert!(two.opens(Some("a token of sixteen")) && !two.opens(None));

        for (host, is_one) in [
            ("sip.example.com", true),
            ("192.0.2.7:5070", true),
            ("[2001:db8::7]:5070", true),
            ("sip:host", false),
            ("a b", false),
            ("", false),
            ("host:0", false),
        ] {
            let config = format!("account = {{ sip_host = '{host}' }}\n{BUSINESS}");
            let compiled = RoutingSnapshot::compile(toml::from_str(&config).unwrap(), 1);
            assert_eq!(compiled.is_ok(), is_one, "{host}");
        }
    }
}
