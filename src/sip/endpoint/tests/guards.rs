//! What an endpoint does in bad times: after a crash, under a flood, behind its work.

use super::*;
use crate::sip::orphan::Orphan;

/// spec/sip O8.
#[test]
fn the_next_process_knows_whose_bye_it_is_and_answers_481_to_all_else() {
    let mut dead = Rig::new();
    let (mut caller, mut target) = dead.connected();
    let [[by_caller, by_target]] = dead.dialogs[..] else { panic!("not one call was answered") };
    let mut rig = Rig::new();
    let call = CallId::from_bytes([7; 16]);
    let orphan = |party| Orphan { call, party };
    let known = [(by_caller, orphan(Party::Caller)), (by_target, orphan(Party::Target))];
    rig.endpoint.adopt(Arc::new(Orphans::new(known, rig.now + Duration::from_secs(60))));
    (caller.seen, target.seen) = ([0; 2], [0; 2]);

    caller.request(&mut rig, "INFO", "Signal=5");
    caller.request(&mut rig, "BYE", "");
    target.request(&mut rig, "BYE", "");
    assert_eq!(caller.statuses(&mut rig), [481, 200]);
    assert_eq!(target.statuses(&mut rig), [200]);
    assert_eq!(rig.orphans, [(call, Party::Caller), (call, Party::Target)]);

    let mut forged = rig.caller("a");
    forged.peer_tag = format!("{}0", &caller.peer_tag[..33]);
    forged.request(&mut rig, "BYE", "");
    assert_eq!(forged.statuses(&mut rig).last(), Some(&481));

    rig.pass(Duration::from_secs(61));
    caller.request(&mut rig, "BYE", "");
    assert_eq!(caller.statuses(&mut rig).last(), Some(&481), "no call takes that long");
    assert_eq!(rig.orphans.len(), 2);
}
