//! What is played: the business, its advertisers, and the calls.

use std::time::Duration;

use super::advertiser::Manner;

/// The sample business.
pub(super) const CONFIGURATION: &str = include_str!("../../../examples/demo.toml");
pub(super) const CONFIGURATION_NAME: &str = "examples/demo.toml";

/// Changes to the sample that save time, or show a cap without hundreds of calls.
pub(super) const CHANGES: [&str; 3] = [
    "targets.tgt_summit.caps.0.metric=attempted",
    "targets.tgt_summit.caps.0.limit=2",
    "targets.tgt_statewide.ring_timeout_s=3",
];

/// One of the buyers' targets.
pub(super) struct Role {
    /// Its id in the configuration.
    pub(super) target: &'static str,
    pub(super) name: &'static str,
    pub(super) manner: Manner,
    pub(super) about: &'static str,
}

pub(super) const ROLES: [Role; 3] = [
    Role {
        target: "tgt_summit",
        name: "Summit HVAC",
        manner: Manner::HasOneLine(Duration::from_millis(600)),
        about: "one line: answers, but is busy while it talks; wants two calls a day",
    },
    Role {
        target: "tgt_coolbreeze",
        name: "CoolBreeze",
        manner: Manner::Answers(Duration::from_millis(600)),
        about: "always answers; takes what Summit cannot",
    },
    Role {
        target: "tgt_statewide",
        name: "Statewide Auto",
        manner: Manner::NeverAnswers,
        about: "rings, and nobody is there",
    },
];

/// How a call gets its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialed {
    /// The one a ping was lent from the pool.
    FromPing,
    Number(&'static str),
}

/// One call.
pub(super) struct Scene {
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) caller: &'static str,
    pub(super) dialed: Dialed,
    pub(super) patience: Option<Duration>,
    pub(super) talk: Duration,
    pub(super) expect: Expect,
}

/// How it has to come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expect {
    /// What the carrier hears.
    pub(super) status: u16,
    pub(super) outcome: &'static str,
    /// Targets that are tried, in order.
    pub(super) tried: &'static [&'static str],
    /// Of the buyer, in dollars.
    pub(super) revenue: &'static str,
}

/// Calls of one act overlap: the second begins when the first is answered.
pub(super) const ACTS: [&[Scene]; 5] = [
    &[
        Scene {
            title: "A visitor calls the number shown to her",
            about: "BrightPath's page asks for a number for this visit (POST /v1/pings) and is \
                    lent one of its pool. She calls it; the call finds her visit again. Summit \
                    answers, and after two seconds of talk the call counts: the buyer owes, the \
                    publisher earns.",
            caller: "+16145550188",
            dialed: Dialed::FromPing,
            patience: None,
            talk: Duration::from_millis(3200),
            expect: Expect {
                status: 200,
                outcome: "converted",
                tried: &["tgt_summit"],
                revenue: "42.00",
            },
        },
        Scene {
            title: "Meanwhile: busy, so the call goes on to the next",
            about: "Somebody calls the number of an advertisement while Summit talks. Summit is \
                    busy (486), CoolBreeze answers. The caller hears nothing of the change.",
            caller: "+16145550163",
            dialed: Dialed::Number("+18005550199"),
            patience: None,
            talk: Duration::from_millis(2600),
            expect: Expect {
                status: 200,
                outcome: "converted",
                tried: &["tgt_summit", "tgt_coolbreeze"],
                revenue: "35.00",
            },
        },
    ],
    &[Scene {
        title: "A target has had all it wants today",
        about: "Summit's cap of two attempts a day is used up. It is not dialled, and the decision \
                says why. The caller hangs up after a second: too short to be worth money.",
        caller: "+16145550124",
        dialed: Dialed::Number("+18005550199"),
        patience: None,
        talk: Duration::from_millis(1000),
        expect: Expect {
            status: 200,
            outcome: "connected",
            tried: &["tgt_coolbreeze"],
            revenue: "0.00",
        },
    }],
    &[Scene {
        title: "Nobody answers",
        about: "Statewide rings for the three seconds it is given. There is no other target, so \
                the carrier hears that the caller cannot be served (480).",
        caller: "+16145550135",
        dialed: Dialed::Number("+18005550120"),
        patience: None,
        talk: Duration::ZERO,
        expect: Expect {
            status: 480,
            outcome: "no_answer",
            tried: &["tgt_statewide"],
            revenue: "0.00",
        },
    }],
    &[Scene {
        title: "The caller hangs up while it rings",
        about: "A CANCEL ends the ringing on the other side at once.",
        caller: "+16145550146",
        dialed: Dialed::Number("+18005550121"),
        patience: Some(Duration::from_millis(1200)),
        talk: Duration::ZERO,
        expect: Expect {
            status: 487,
            outcome: "no_answer",
            tried: &["tgt_statewide"],
            revenue: "0.00",
        },
    }],
    &[Scene {
        title: "A number nobody advertises",
        about: "It belongs to no campaign: 404, and a record all the same.",
        caller: "+16145550157",
        dialed: Dialed::Number("+18005550177"),
        patience: None,
        talk: Duration::ZERO,
        expect: Expect { status: 404, outcome: "refused", tried: &[], revenue: "0.00" },
    }],
];

/// The ping that comes before a call to a lent number.
pub(super) fn ping(caller: &str) -> serde_json::Value {
    serde_json::json!({
        "request_id": "visit-2041",
        "publisher": "pub_brightpath",
        "pool": "pool_hvac",
        "caller_id": caller,
        "zip": "43215",
        "state": "OH",
        "sub_id": "fb-oh-3",
        "tags": { "page": "ac-repair" },
    })
}
