//! Sets and places that stand in files.

use super::*;
use crate::routing::facts::Facts;

#[test]
fn a_set_that_cannot_be_meant_is_a_fault_that_names_file_and_line() {
    let texts = [
        ("zips.txt", Ok("# Columbus\r\n43215\n\n  43216-43219\n2134\n43215x # no\n".to_owned())),
        ("many.txt", Ok("x\n".repeat(12))),
        ("none.txt", Err("No such file or directory (os error 2)".to_owned())),
        ("empty.txt", Ok("# nothing\n".to_owned())),
    ];
    let texts: BTreeMap<_, _> = texts.into_iter().map(|(name, text)| (name.into(), text)).collect();
    let told = |sets: &str| -> Vec<String> {
        let mut config =
            config(&SOUND.replacen("publishers", &format!("sets = [{sets}]\npublishers"), 1));
        config.texts = texts.clone();
        let faults = RoutingSnapshot::compile(config, 1).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect()
    };
    for (set, says) in [
        (
            "{ id = 's', kind = 'zip' }",
            "sets[0] = s: is a set of nothing; write `values`, or name a `file`",
        ),
        (
            "{ id = 's', kind = 'zip', values = ['43215'], file = 'zips.txt' }",
            "sets[0].file = zips.txt: stands beside `values`; keep one of the two",
        ),
        (
            "{ id = 's', kind = 'zip', values = [2134] }",
            "sets[0].values[0] = 2134: is no ZIP code of five digits; write one such as \"43215\", in quotes, or a range such as \"43000-43299\"",
        ),
        (
            "{ id = 's', kind = 'text', values = [] }",
            "sets[0] = s: is empty, so that nothing is in it; add a value",
        ),
        (
            "{ id = 's', kind = 'text', file = 'empty.txt' }",
            "sets[0] = s: is empty, so that nothing is in it; add a value",
        ),
        (
            "{ id = 's', kind = 'npa', values = ['614'], ignore_case = true }",
            "sets[0].ignore_case = true: has no meaning for the kind `npa`; leave it out",
        ),
        (
            "{ id = 's', kind = 'text', file = 'none.txt' }",
            "sets[0].file = none.txt: cannot be read: No such file or directory (os error 2); name a text file; a relative path starts at the working directory",
        ),
        (
            "{ id = 's', kind = 'text', file = 'x' }",
            "sets[0].file = x: was not read; hand over its text",
        ),
        (
            "{ id = 's', kind = 'text', values = 'a' }, { id = 's', kind = 'text', values = 'b' }",
            "sets[1].id = s: is the name of sets[0] already; give each its own name",
        ),
    ] {
        assert_eq!(told(set), [says], "{set}");
    }
    let faults = told("{ id = 's', kind = 'zip', file = 'zips.txt' }");
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("sets[0].file = zips.txt: line 5: `2134` is no ZIP code"));
    assert!(faults[1].contains("line 6: `43215x # no`"));
    let faults = told("{ id = 's', kind = 'npa', file = 'many.txt' }");
    assert_eq!(faults.len(), 11);
    assert_eq!(faults[10], "sets[0].file = many.txt: has 2 more such lines; correct them too");
}

#[test]
fn a_filter_names_a_set_of_a_file() {
    let text = SOUND
        .replacen("publishers", "sets = [{ id = 's', kind = 'zip', file = 'f' }]\npublishers", 1)
        .replace(
            "id = \"tgt_b\"",
            "id = \"tgt_b\"\nfilters.all = [{ tag = 'geo.zip', op = 'in_set', value = 's' }]",
        );
    let mut config = config(&text);
    assert_eq!(config.files().collect::<Vec<_>>(), [std::path::Path::new("f")]);
    config.texts.insert("f".into(), Ok("43215\n".into()));
    let snapshot = RoutingSnapshot::compile(config, 1).unwrap();
    let filters = &snapshot.target(&"tgt_b".into()).unwrap().filters;
    let check = |zip: &str| {
        let tags = [("geo.zip".into(), zip.into())].into();
        filters.groups[0].check(&Facts::new(&tags, None, &snapshot.geo)).is_ok()
    };
    assert!(check("43215") && !check("43216"));
}

#[test]
fn a_file_of_places_that_cannot_be_meant_is_a_fault_that_names_the_line() {
    let told = |text: &str| -> Vec<String> {
        let mut config =
            config(&SOUND.replacen("publishers", "geo.file = 'geo.csv'\npublishers", 1));
        config.texts.insert("geo.csv".into(), Ok(text.to_owned()));
        let faults = RoutingSnapshot::compile(config, 1).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect()
    };
    assert_eq!(told("# ours\nprefix,state,time_zone\n614,OH,America/New_York\n"), [""; 0]);
    let faults = told("prefix,state,time_zone\n614,OH,Ohio\n\n61,OH,America/New_York\n");
    assert_eq!(
        faults,
        [
            "geo.file = geo.csv: line 2: `614,OH,Ohio` says `Ohio`, which is no known time zone; write an IANA name such as America/New_York, or nothing",
            "geo.file = geo.csv: line 4: `61,OH,America/New_York` begins with no prefix; write an area code such as 614, or with its exchange, such as 614555",
        ]
    );
    // One fault, not one for each line.
    assert_eq!(told("614,OH,America/New_York\n740,OH,America/New_York\n").len(), 1);
    assert_eq!(
        told("# nothing\n"),
        ["geo.file = geo.csv: is empty; begin with prefix,state,time_zone, or leave the file out"]
    );
}
