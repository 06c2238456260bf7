//! Callers who are on lists, as their calls meet them (spec/domain §2.4).

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::peer::{SDP, with_body};
use super::{Call, Setup, Stage, play_with};
use crate::support::{api, http, wait_for};

const LISTS: &str = r#"
[[caller_lists]]
id = "dnc"
kind = "block"
category = "litigator"
file = "FILE"
"#;
const FROM: &str = "P-Asserted-Identity: <sip:+16145550177@127.0.0.1>";

#[test]
fn a_caller_on_a_list_is_refused_from_the_next_reload_on_and_named_nowhere() {
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("dnc.txt");
    fs::write(&file, "# nobody yet\n").unwrap();
    let lists = LISTS.replace("FILE", &file.display().to_string());
    play_with(Setup { more: &lists, ..Setup::default() }, |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(stage, &mut caller, &mut target, "before", &[FROM])?
            .end(&mut caller, &mut target)?;

        fs::write(&file, "+16145550177\n+16145550177,soon\n")?;
        let reply = http::post(stage.api, "/v1/config:reload", "")?;
        ensure!(reply.status == 422, "{}: {}", reply.status, reply.body);
        ensure!(reply.body.contains("line 2 has no date"), "{}", reply.body);
        ensure!(!reply.body.contains("0177\\n"), "{}", reply.body);
        fs::write(&file, "+16145550177\n")?;
        let reply = http::post(stage.api, "/v1/config:reload", "")?;
        ensure!(reply.status == 200, "{}: {}", reply.status, reply.body);

        caller.send(with_body(&caller, &stage.invite(), "after", &[FROM], SDP))?;
        caller.expect("403 INVITE")?;
        let other = FROM.replace("0177", "0199");
        Call::up(stage, &mut caller, &mut target, "another", &[&other])?
            .end(&mut caller, &mut target)?;
        let id = says_why(stage)?;
        // On the configuration that is kept, which names nobody.
        let replay = http::get(stage.api, &format!("/v1/calls/{id}/replay"))?;
        ensure!(replay.body.contains("\"difference\":null"), "{}", replay.body);
        ensure!(!stage.log().contains("6145550177"), "the log names the caller");
        stage.is_clean()
    });
}

/// The refused call's decision names the list.
fn says_why(stage: &Stage) -> Result<String> {
    wait_for("the refused call to be explained", Duration::from_secs(5), || {
        for call in api::calls(stage.api)? {
            let reply = http::get(stage.api, &format!("/v1/calls/{}/explain", call.call_id))?;
            if reply.body.contains("gate.litigator") {
                ensure!(reply.body.contains("dnc has listed"), "{}", reply.body);
                return Ok(Some(call.call_id));
            }
        }
        Ok(None)
    })
}
