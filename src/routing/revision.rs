//! A configuration as it is kept, so that what was decided on it can be decided again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::config::RoutingConfig;
use super::snapshot::RoutingSnapshot;

/// Bytes that make no configuration.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("they cannot be unpacked: {0}")]
    Packed(#[from] lz4_flex::block::DecompressError),
    #[error("this version does not understand it: {0}")]
    Written(#[from] serde_json::Error),
    #[error("this version refuses it: {0}")]
    Refused(String),
}

#[derive(Deserialize)]
struct Document {
    routing: RoutingConfig,
    files: BTreeMap<PathBuf, Result<String, String>>,
}

#[derive(Serialize)]
struct DocumentRef<'a> {
    routing: &'a RoutingConfig,
    files: BTreeMap<&'a Path, &'a Result<String, String>>,
    /// In place of callers, by the names of their lists, so that others make another configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    lists: BTreeMap<&'a str, String>,
    /// In place of records of lines, the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<String>,
}

/// The configuration with what stands in its files, packed. The same gives the same bytes. The numbers
/// of people are not in it, only a SHA-256 of each list of them and of the records of lines: who was found
/// on which list, and what was on record of the caller, is in the record of each decision.
pub fn pack(config: &RoutingConfig) -> Vec<u8> {
    let of_callers: BTreeSet<_> = config.files_of_callers().collect();
    let files = config.texts.iter().filter(|(path, _)| !of_callers.contains(path.as_path()));
    let files = files.map(|(path, text)| (path.as_path(), text)).collect();
    let lists = config.caller_lists.iter().map(|list| {
        let mut digest = Sha256::new();
        let text = list.file.as_ref().and_then(|file| config.texts.get(file));
        if let Some(Ok(text)) = text {
            digest.update(text);
        }
        for entry in list.callers.iter().flatten() {
            digest.update(format!("{}\n", entry.0));
        }
        (list.id.as_str(), hex(digest))
    });
    let lines = config.geo.line_records.as_ref().map(|file| {
        let text = config.texts.get(file).and_then(|text| text.as_ref().ok());
        hex(Sha256::new().chain_update(text.map(String::as_str).unwrap_or_default()))
    });
    let document = DocumentRef { routing: config, files, lists: lists.collect(), lines };
    let json = serde_json::to_vec(&document).expect("a configuration has text for keys");
    lz4_flex::compress_prepend_size(&json)
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The snapshot of what [`pack`] wrote.
///
/// # Errors
/// It wrote something else, or a version that is not understood any more.
pub fn compile(bytes: &[u8], revision: u64) -> Result<RoutingSnapshot, UnpackError> {
    RoutingSnapshot::compile(unpack(bytes)?, revision).map_err(|faults| {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        UnpackError::Refused(faults.join("; "))
    })
}

fn unpack(bytes: &[u8]) -> Result<RoutingConfig, UnpackError> {
    let json = lz4_flex::decompress_size_prepended(bytes)?;
    let Document { routing, files } = serde_json::from_slice(&json)?;
    Ok(RoutingConfig { texts: files, is_kept: true, ..routing })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was in force before that was known.
    #[test]
    fn what_is_kept_may_contradict_itself() {
        let config: RoutingConfig = toml::from_str(
            r#"
            publishers = [{ id = "p" }]
            buyers = [{ id = "b" }]
            [[targets]]
            id = "t"
            buyer = "b"
            dial = { kind = "sip", uri = "sip:a" }
            filters = { all = [
                { tag = "geo.state", op = "eq", value = "OH" },
                { tag = "geo.state", op = "eq", value = "PA" },
                { tag = "geo.stat", op = "required" },
            ] }
            schedule = { stop_before_close_s = 7200, hours = [
                { day = "mon", open = "09:00", close = "10:00" },
                { day = "tue", open = "09:00", close = "10:00",
                  breaks = [{ start = "09:00", end = "10:00" }] },
            ] }
            [[campaigns]]
            id = "c"
            publisher = "p"
            price = { min_revenue = "1.00" }
            routing = { tiers = [{ targets = [{ target = "t" }] }] }
            "#,
        )
        .unwrap();
        assert!(compile(&pack(&config), 1).is_ok());
        let faults = RoutingSnapshot::compile(config, 1).unwrap_err();
        let paths: Vec<_> = faults.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "campaigns[0].price.min_revenue",
                "targets[0].schedule.hours[1].breaks",
                "targets[0].schedule.stop_before_close_s",
                "targets[0].filters.all[1]",
                "targets[0].filters.all[2].tag",
            ]
        );
    }

    #[test]
    fn what_is_kept_compiles_to_the_same_with_its_files() {
        let mut config: RoutingConfig = toml::from_str(
            r#"
            publishers = [{ id = "p", payouts = [{ campaign = "c", amount = "24.00" }] }]
            buyers = [{ id = "b", dedupe = { after = "connected", window_s = "forever" } }]
            sets = [{ id = "zips", kind = "zip", file = "zips.txt" }]
            scorers = [{ id = "m", kind = "table", file = "m.csv" }]
            trunks = [{ id = "t", caps = [{ metric = "revenue", window = "daily", limit = "10.00" }] }]
            [[targets]]
            id = "t"
            buyer = "b"
            dial = { kind = "sip", uri = "sip:a" }
            filters = { all = [[{ tag = "geo.zip", op = "in_set", value = "zips" }]] }
            conversion = { seconds = 60, revenue = "42.00" }
            [[campaigns]]
            id = "c"
            publisher = "p"
            numbers = ["+18005550100-+18005550149"]
            min_match_confidence = 0.95
            callers = { min_attestation = "B", duplicates = { mark_on = "talked", talk_s = 9 } }
            price = { min_revenue = "5.00", min_margin = "20%", hourly = [
                { min_revenue = "9.00", during = { time_zone = "UTC", always_open = true } } ] }
            routing = {
                distribution = { by = "performance", exploration_daily = "9.00", min_calls = 9 },
                tiers = [{ ring = "parallel", targets = [{ target = "t" }],
                    distribution = { by = "scorer", scorer = "m", times = "margin" } }],
            }
            "#,
        )
        .unwrap();
        let model = String::from("target.id, score\nt, 0.5\n");
        let zips = String::from("43215\n");
        config.texts = [("zips.txt".into(), Ok(zips)), ("m.csv".into(), Ok(model))].into();

        let kept = unpack(&pack(&config)).unwrap();

        assert_eq!(pack(&kept), pack(&config));
        let compiled = RoutingSnapshot::compile(config.clone(), 7).unwrap();
        assert_eq!(compile(&pack(&config), 7).unwrap(), compiled);
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        let mut bytes = pack(&RoutingConfig::default());
        bytes.truncate(bytes.len() / 2);
        assert!(unpack(&bytes).is_err());
        assert!(unpack(&[]).is_err());
    }
}
