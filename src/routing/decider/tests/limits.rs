//! Caps of all modes and scopes, spacing, and concurrency, as decisions meet them.

use super::*;
use crate::reason::NoPayout;
use crate::routing::decision::RateReading;
use crate::routing::hold::Leeway;
use crate::routing::performance::rate::Lately;
use crate::routing::performance::{Scope, Tally};
use crate::routing::replay::Replay;

const TUESDAY: &str = "d:2026-03-17";

#[test]
fn a_soft_cap_is_full_when_it_is_used_up_however_much_is_in_flight() {
    let rules =
        cool("caps = [{ metric = 'connected', window = 'daily', limit = 9, mode = 'soft' }]");
    let cap = bucket("target/tgt_cool/connected/daily", TUESDAY);

    assert_eq!(refusal(&rules, &[(&cap, 8, 99)]), None);
    assert_eq!(
        refusal(&rules, &[(&cap, 9, 1)]).unwrap(),
        "connected/daily: cap.full, 9 used, 1 held, soft: less than 9 used"
    );
}

#[test]
fn a_paced_cap_lets_in_what_its_share_of_the_day_allows() {
    let rules = cool(
        "caps = [{ metric = 'attempted', window = 'daily', limit = 24, mode = 'paced', \
         time_zone = 'UTC' }]",
    );
    let cap = bucket("target/tgt_cool/attempted/daily", TUESDAY);
    // Four minutes past three: 15.07 hours of 24.
    assert_eq!(refusal(&rules, &[(&cap, 14, 1)]), None);
    assert_eq!(
        refusal(&rules, &[(&cap, 14, 2)]).unwrap(),
        "attempted/daily: cap.full, 14 used, 2 held, paced: at most 16 of 24 by now"
    );
}

#[test]
fn a_paced_cap_goes_by_the_hours_of_its_target_and_by_how_many_calls_come_to_count() {
    let rules = cool(
        "caps = [{ metric = 'converted', window = 'daily', limit = 80, mode = 'paced', \
         assumed_rate = '30%', max_over_prob = '5%' }]\n\
         schedule = { time_zone = 'America/New_York', \
         hours = [{ day = 'tue', open = '11:00', close = '12:00' }] }",
    );
    let cap = bucket("target/tgt_cool/converted/daily", TUESDAY);
    // Four minutes and 12 s of an hour: a share of 5.6, so 6. 1 + 6 * 0.3 + 2.6 * √(6 * 0.21).
    assert_eq!(refusal(&rules, &[(&cap, 1, 5)]), None);
    assert_eq!(
        refusal(&rules, &[(&cap, 1, 9)]).unwrap(),
        "converted/daily: cap.full, 1 used, 9 held, up to 7.77 with this, \
         paced: at most 6 of 80 by now"
    );
}

/// Of each scope so many calls went this way, and so full is each cap.
struct Went(Usage, Vec<(Scope, Lately)>);

impl UsageReader for Went {
    fn usage(&self, bucket: &Bucket) -> Usage {
        if bucket.window == TUESDAY { self.0 } else { Usage::default() }
    }

    fn lately(&self, scope: &Scope, _at: Wall) -> Lately {
        self.1.iter().find(|(of, _)| of == scope).map(|(_, lately)| *lately).unwrap_or_default()
    }
}

fn answered_of(dialed: u32, connected: u32) -> Lately {
    let whole = Tally { dialed, connected, ..Tally::default() };
    Lately { whole, today: Tally::default() }
}

#[test]
fn a_cap_paced_by_its_calls_of_late_notes_them_and_tells_how_it_took_what_is_held() {
    let rules = snapshot(&cool(
        "caps = [{ metric = 'connected', window = 'daily', limit = 80, mode = 'paced', \
         assumed_rate = 'live', max_over_prob = '5%' }]\n\
         schedule = { time_zone = 'America/New_York', \
         hours = [{ day = 'tue', open = '11:00', close = '12:00' }] }",
    ));
    let request = request("+18005550198");
    let usage = Usage { used: 1, held: 5 };
    let cool = Scope::Target("tgt_cool".into());
    let decide_on = |went: Vec<(Scope, Lately)>| {
        let went = Went(usage, went);
        let decision = decide(&rules, &request, Known::default(), &went, &mut Rotation::default());
        same_again(&rules, &request, &decision);
        decision
    };
    // 2,006 of 6,001, with three spreads 35.3 %: taken for 40 %. By now 6 of 80 may be used.
    let known = decide_on(vec![(cool.clone(), answered_of(6_000, 2_000))]);
    assert_eq!(known.refused, Some(Reason::CapFull));
    assert_eq!(
        told(&known),
        "connected/daily: cap.full, 1 used, 5 held, up to 6.37 with this, each for 40 % by 6000 calls, \
         paced: at most 6 of 80 by now"
    );
    let read = answered_of(6_000, 2_000);
    assert_eq!(known.readings.rates, [RateReading { scope: cool.clone(), lately: read }]);
    // With fewer that are answered there is room.
    let fewer = decide_on(vec![(cool.clone(), answered_of(6_000, 600))]);
    assert_eq!(fewer.refused, None);
    let Some(Leeway::Paced(pace)) = fewer.plan[0].holds[0].leeway else { panic!("{fewer:?}") };
    assert_eq!((pace.rate_ppm, pace.calls), (150_000, Some(6_000)));
    // Of others nothing is asked.
    let few = decide_on(vec![
        (cool, answered_of(29, 1)),
        (Scope::Buyer("buy_cool".into()), answered_of(6_000, 600)),
    ]);
    assert_eq!(
        told(&few),
        "connected/daily: cap.full, 1 used, 5 held, each for 100 % by 29 calls, \
         paced: at most 6 of 80 by now"
    );
    let nothing = decide_on(vec![]);
    assert_eq!((nothing.refused, &nothing.readings.rates[..]), (Some(Reason::CapFull), &[][..]));
}

#[test]
fn a_cap_that_is_met_by_each_target_notes_its_calls_once() {
    let cap = "caps = [{ metric = 'converted', window = 'weekly', limit = 80, mode = 'paced', \
               assumed_rate = 'live' }]";
    let rules = snapshot(&of("{ id = \"pub_bright\"", &format!(", {cap}")));
    let request = request("+18005550100");
    let lately = answered_of(6_000, 600);
    let went = Went(Usage::default(), vec![(Scope::Publisher("pub_bright".into()), lately)]);

    let decision = decide(&rules, &request, Known::default(), &went, &mut Rotation::default());

    assert!(decision.plan.len() > 1);
    assert_eq!(decision.readings.rates.len(), 1);
    same_again(&rules, &request, &decision);
}

#[test]
fn a_rolling_window_is_that_which_ends_with_the_call() {
    let rules = cool("caps = [{ metric = 'attempted', window = 'rolling:3600', limit = 5 }]");
    let cap = bucket("target/tgt_cool/attempted/rolling:3600", "rolling:3600/29562664");
    assert_eq!(
        refusal(&rules, &[(&cap, 5, 0)]).unwrap(),
        "attempted/rolling:3600: cap.full, 5 used, 0 held, at most 5"
    );
    let before = bucket("target/tgt_cool/attempted/rolling:3600", "rolling:3600/29562663");
    assert_eq!(refusal(&rules, &[(&before, 5, 0)]), None);
}

#[test]
fn whoever_takes_calls_may_want_them_apart() {
    for (rules, owner, label) in [
        (cool("min_gap_s = 30"), "target/tgt_cool", "-"),
        (of("{ id = \"buy_cool\"", ", min_gap_s = 30"), "buyer/buy_cool", "buyer/buy_cool/spacing"),
        (group("min_gap_s = 30"), "group/night", "group/night/spacing"),
    ] {
        let gap = bucket(&format!("{owner}/spacing"), "gap");
        let at = |ago_ms| u64::try_from(OPEN.0 - ago_ms).unwrap();
        assert_eq!(refusal(&rules, &[(&gap, at(30_000), 0)]), None);
        assert_eq!(
            refusal(&rules, &[(&gap, at(29_999), 0)]).unwrap(),
            format!("{label}: cap.spacing, 29999 ms after the last, at least 30000 ms apart")
        );
    }
}

#[test]
fn a_target_that_was_called_a_moment_ago_or_is_ahead_of_its_pace_is_told_in_words_of_its_own() {
    let line = |rules: &str, bucket: Bucket, used: u64| {
        let usage = [(bucket, Usage { used, held: 0 })].into();
        let decision = decide_with(rules, &request("+18005550100"), &usage);
        let lines = decision.explain_plan();
        lines
            .into_iter()
            .find_map(|it| it.strip_prefix("tgt_cool: not dialled; ").map(str::to_owned))
    };
    let last = u64::try_from(OPEN.0 - 1_663).unwrap();
    let apart = "the last attempt was a moment ago (cap.spacing): ";
    let facts = "1663 ms after the last, at least 30000 ms apart";
    assert_eq!(
        line(&cool("min_gap_s = 30"), bucket("target/tgt_cool/spacing", "gap"), last),
        Some(format!("{apart}{facts}"))
    );
    let of_buyer = of("{ id = \"buy_cool\"", ", min_gap_s = 30");
    assert_eq!(
        line(&of_buyer, bucket("buyer/buy_cool/spacing", "gap"), last),
        Some(format!("{apart}buyer/buy_cool/spacing: {facts}"))
    );
    let paced = "caps = [{ metric = 'attempted', window = 'monthly', limit = 10, mode = 'paced' }]";
    let month = || bucket("target/tgt_cool/attempted/monthly", "m:2026-03");
    for (used, told) in [
        (
            6,
            "the cap is filled evenly, and has no more room by now (cap.full): attempted/monthly has ",
        ),
        (10, "the cap has no room for the call (cap.full): attempted/monthly has "),
    ] {
        let line = line(&cool(paced), month(), used).unwrap();
        assert!(line.starts_with(told), "{line}");
    }
}

#[test]
fn concurrency_is_of_whoever_has_it_and_its_step_says_whose() {
    let two = "concurrency = { limit = 2 }";
    for (rules, owner) in [
        (of("{ id = \"buy_cool\"", &format!(", {two}")), "buyer/buy_cool"),
        (of("{ id = \"pub_bright\"", &format!(", {two}")), "publisher/pub_bright"),
        (of("id = \"cmp_single\"", &format!("\n{two}")), "campaign/cmp_single"),
        (group(two), "group/night"),
        (number("+18005550198", two), "number/+18005550198"),
    ] {
        let key = format!("{owner}/concurrency");
        let live = bucket(&key, "live");
        assert_eq!(refusal(&rules, &[(&live, 0, 1)]), None, "{owner}");
        assert_eq!(
            refusal(&rules, &[(&live, 0, 2)]).unwrap(),
            format!("{key}: concurrency.full, 2 live, at most 2")
        );
    }
}

#[test]
fn calls_that_ring_are_told_apart_where_only_answered_ones_are_live() {
    let rules = cool("").replace("{ limit = 1 }", "{ limit = 3, count_from = 'answer' }");
    let live = live("tgt_cool");
    assert_eq!(refusal(&rules, &[(&live, 1, 1)]), None);
    assert_eq!(
        refusal(&rules, &[(&live, 1, 2)]).unwrap(),
        "-: concurrency.full, 1 live, 2 ringing, at most 3"
    );
}

#[test]
fn a_cap_of_a_group_is_met_by_calls_to_its_targets_alone() {
    let caps = "caps = [{ metric = 'attempted', window = 'total', limit = 7 }]";
    let full = bucket("group/night/attempted/total", "total");
    let config = group(caps);
    let decision = decide_with(&config, &request("+18005550100"), &usage(&[(&full, 7, 0)]));
    assert_eq!(targets_of(&decision), ["tgt_summit", "tgt_last"]);
    assert!(
        refusal(&config, &[(&full, 7, 0)]).unwrap().starts_with("group/night/attempted/total: ")
    );
}

#[test]
fn a_pair_s_cap_is_met_by_calls_that_are_of_all_it_names() {
    let caps = "caps = [{ metric = 'connected', window = 'total', limit = 7 }]";
    for (names, key, is_met) in [
        (
            "publisher = 'pub_bright'\ntarget = 'tgt_cool'",
            "publisher.pub_bright+target.tgt_cool",
            true,
        ),
        (
            "publisher = 'pub_late'\ntarget = 'tgt_cool'",
            "publisher.pub_late+target.tgt_cool",
            false,
        ),
        ("campaign = 'cmp_single'\nbuyer = 'buy_cool'", "campaign.cmp_single+buyer.buy_cool", true),
        ("campaign = 'cmp_hvac'\nbuyer = 'buy_cool'", "campaign.cmp_hvac+buyer.buy_cool", false),
        (
            "buyer = 'buy_summit'\npublisher = 'pub_bright'",
            "publisher.pub_bright+buyer.buy_summit",
            false,
        ),
        (
            "publisher = 'pub_bright'\ncampaign = 'cmp_single'",
            "publisher.pub_bright+campaign.cmp_single",
            true,
        ),
    ] {
        let config = format!("{CONFIG}\n[[pairs]]\n{names}\n{caps}");
        let key = format!("pair/{key}/connected/total");
        let full = bucket(&key, "total");
        let refused = refusal(&config, &[(&full, 7, 0)]);
        let told = format!("{key}: cap.full, 7 used, 0 held, at most 7");
        assert_eq!(refused, is_met.then_some(told), "{names}");
        let snapshot = snapshot(&config);
        assert!(snapshot.caps_calls() && snapshot.cap_keys().any(|known| known == key));
    }
}

/// Tuesday is the third day, and eleven its twelfth hour.
#[test]
fn an_hour_or_a_day_may_have_its_own_concurrency() {
    let week = |tuesday_at_eleven: i64| {
        let mut week = vec![[-1; 24]; 7];
        week[2][11] = tuesday_at_eleven;
        format!("{week:?}")
    };
    let rules = |matrix: &str, more: &str| {
        cool("").replace(
            "{ limit = 1 }",
            &format!("{{ limit = 3, matrix = {matrix}, time_zone = 'America/New_York'{more} }}"),
        )
    };
    let full = |rules: &str, live_: u64| refusal(rules, &[(&live("tgt_cool"), 0, live_)]);
    assert_eq!(full(&rules(&week(5), ""), 4), None);
    let told = "-: concurrency.full, 5 live, at most 5 at this hour";
    assert_eq!(full(&rules(&week(5), ""), 5).unwrap(), told);
    assert_eq!(full(&rules(&week(-1), ""), 3).unwrap(), "-: concurrency.full, 3 live, at most 3");
    assert_eq!(
        full(&rules(&week(0), ""), 0).unwrap(),
        "-: concurrency.full, 0 live, at most 0 at this hour"
    );
    let on = ", exceptions = [{ date = '2026-03-17', limit = 1 }]";
    assert_eq!(
        full(&rules(&week(5), on), 1).unwrap(),
        "-: concurrency.full, 1 live, at most 1 at this hour"
    );
    let not_on = ", exceptions = [{ date = '2026-03-18', limit = 1 }]";
    assert_eq!(full(&rules(&week(5), not_on), 4), None);
}

/// Nothing but one call is up, and so many can be taken.
struct Agents(u32);

impl UsageReader for Agents {
    fn usage(&self, bucket: &Bucket) -> Usage {
        Usage { used: 0, held: u64::from(bucket.window == "live") }
    }

    fn ready(&self, concurrency: &str) -> Option<u32> {
        (concurrency == "target/tgt_cool/concurrency").then_some(self.0)
    }
}

#[test]
fn no_more_calls_are_sent_than_there_are_agents_ready() {
    let rules = snapshot(&CONFIG.replace("{ limit = 1 }", "{ limit = 3 }"));
    let request = request("+18005550198");
    for (agents, refused) in [(2, None), (1, Some(Reason::ConcurrencyFull)), (9, None)] {
        let mut rotation = Rotation::default();
        let decision = decide(&rules, &request, Known::default(), &Agents(agents), &mut rotation);
        assert_eq!(decision.refused, refused, "{agents} agents");
        assert_eq!(decision.readings.ready[0].ready, agents);
        if refused.is_some() {
            assert_eq!(
                told(&decision),
                "-: concurrency.full, 1 live, at most 1 ready to take a call"
            );
        }
        same_again(&rules, &request, &decision);
    }
}

#[test]
fn a_full_cap_that_stops_paying_lets_the_call_go_on_unpaid() {
    let cap = |on_full: &str| {
        let cap = "caps = [{ metric = 'payout', window = 'daily', limit = '100.00'";
        of("{ id = \"pub_bright\"", &format!(", {cap}, on_full = '{on_full}' }}]"))
    };
    let paid = bucket("publisher/pub_bright/payout/daily", TUESDAY);
    let of_payout = |used| usage(&[(&paid, used, 24_000_000)]);
    let request = request("+18005550100");

    let fits = decide_with(&cap("stop_paying"), &request, &of_payout(52_000_000));
    let terms = fits.plan[0].terms.unwrap();
    assert_eq!((terms.payout, terms.no_payout), (Money(24_000_000), None));
    assert!(fits.plan[0].holds.iter().any(|hold| hold.bucket == paid));

    let full = decide_with(&cap("stop_paying"), &request, &of_payout(52_000_001));
    assert_eq!(targets_of(&full), ["tgt_summit", "tgt_cool", "tgt_last"]);
    let terms = full.plan[0].terms.unwrap();
    assert_eq!((terms.payout, terms.no_payout), (Money::ZERO, Some(NoPayout::PublisherCap)));
    assert_eq!(terms.revenue, Money(42_000_000));
    assert!(full.plan[0].holds.iter().all(|hold| hold.bucket != paid));
    same_again(&snapshot(&cap("stop_paying")), &request, &full);
    assert_eq!(
        full.explain_first(1)[1],
        "tgt_summit: dialled as number 1; no payout (publisher_cap): \
         publisher/pub_bright/payout/daily has 52.000001 used, 24.00 held, \
         at most 100.00 with 24.00 more"
    );

    let stopped = decide_with(&cap("stop_traffic"), &request, &of_payout(52_000_001));
    assert_eq!(targets_of(&stopped), ["tgt_last"], "the only one of which it is owed nothing");
    let over = decide_with(&cap("stop_paying"), &request, &of_payout(100_000_000));
    assert_eq!(over.refused, None, "the gate lets it pass");
    let over = decide_with(&cap("stop_traffic"), &request, &of_payout(100_000_000));
    assert_eq!(over.refused, Some(Reason::PublisherCapped));
}

#[test]
fn calls_that_come_are_counted_before_any_target_is_thought_of() {
    let cap = "caps = [{ metric = 'offered', window = 'daily', limit = 5 }]";
    for (rules, owner, reason) in [
        (
            of("id = \"cmp_single\"", &format!("\n{cap}")),
            "campaign/cmp_single",
            Reason::CampaignCapped,
        ),
        (
            of("{ id = \"pub_bright\"", &format!(", {cap}")),
            "publisher/pub_bright",
            Reason::PublisherCapped,
        ),
        (format!("{CONFIG}\n[[trunks]]\nid = 'trk'\n{cap}"), "trunk/trk", Reason::TrunkCapped),
        (account(cap), "account/harbor", Reason::AccountCapped),
        (number("+18005550198", cap), "number/+18005550198", Reason::NumberCapped),
    ] {
        let key = format!("{owner}/offered/daily");
        let came = bucket(&key, TUESDAY);
        let request = request("+18005550198");

        let last = decide_with(&rules, &request, &usage(&[(&came, 4, 0)]));
        assert_eq!(last.refused, None, "{owner}");
        let counted: Vec<_> = last.offered.iter().map(|it| (&it.bucket, it.amount)).collect();
        assert_eq!(counted, [(&came, 1)]);
        assert!(last.plan[0].holds.iter().all(|hold| hold.bucket != came));
        same_again(&snapshot(&rules), &request, &last);

        let full = decide_with(&rules, &request, &usage(&[(&came, 5, 0)]));
        assert_eq!((full.refused, &full.offered[..]), (Some(reason), &[][..]));
        assert_eq!(told(&full), format!("{key}: {}, 5 used, 0 held, less than 5", reason.code()));
        same_again(&snapshot(&rules), &request, &full);
    }
}

#[test]
fn what_limits_the_account_limits_every_call() {
    let cap = |rest: &str| account(&format!("caps = [{{ metric = 'connected', {rest} }}]"));
    let key = bucket("account/harbor/connected/daily", "d:2026-03-17");
    for dialed in ["+18005550100", "+18005550198"] {
        let request = request(dialed);
        let rules = cap("window = 'daily', limit = 5");
        let room = decide_with(&rules, &request, &usage(&[(&key, 3, 1)]));
        assert!(room.plan.iter().all(|it| it.holds.iter().any(|hold| hold.bucket == key)));
        same_again(&snapshot(&rules), &request, &room);

        let full = decide_with(&rules, &request, &usage(&[(&key, 3, 2)]));
        assert_eq!(full.refused, Some(Reason::AccountCapped));
        same_again(&snapshot(&rules), &request, &full);
        assert_eq!(
            full.explain_first(1)[1..],
            [
                "refused with 480; the account's cap leaves no room for any call (gate.account_capped): \
                 account/harbor/connected/daily has 3 used, 2 held, less than 5",
                "no route: no target had room (no_capacity)",
            ]
        );

        let rules = account("concurrency = { limit = 2 }");
        let live = bucket("account/harbor/concurrency", "live");
        let busy = decide_with(&rules, &request, &usage(&[(&live, 0, 2)]));
        assert_eq!(busy.refused, Some(Reason::ConcurrencyFull));
        same_again(&snapshot(&rules), &request, &busy);
    }
}

#[test]
fn what_limits_a_number_limits_the_calls_that_dial_it() {
    let rules = number(
        "+18005550100-+18005550101",
        "caps = [{ metric = 'connected', window = 'daily', limit = 5 }]",
    );
    let key = bucket("number/+18005550100-+18005550101/connected/daily", TUESDAY);
    let request_to = |dialed| request(dialed);

    let room = decide_with(&rules, &request_to("+18005550100"), &usage(&[(&key, 3, 1)]));
    assert!(room.plan.iter().all(|it| it.holds.iter().any(|hold| hold.bucket == key)));
    same_again(&snapshot(&rules), &request_to("+18005550100"), &room);

    let full = decide_with(&rules, &request_to("+18005550100"), &usage(&[(&key, 3, 2)]));
    assert_eq!(full.refused, Some(Reason::NumberCapped));
    same_again(&snapshot(&rules), &request_to("+18005550100"), &full);
    assert_eq!(
        full.explain_first(1)[1..],
        [
            "refused with 480; the number's cap leaves no room for any call (gate.number_capped): \
             number/+18005550100-+18005550101/connected/daily has 3 used, 2 held, less than 5",
            "no route: no target had room (no_capacity)"
        ]
    );

    let other = decide_with(&rules, &request_to("+18005550198"), &usage(&[(&key, 3, 2)]));
    assert_eq!(other.refused, None, "it dials another");
    assert!(other.plan.iter().all(|it| it.holds.iter().all(|hold| hold.bucket != key)));
}

#[test]
fn a_cap_of_a_period_is_met_while_it_lasts_and_at_no_other_time() {
    for (to, is_met) in [("2026-03-17T11:05", true), ("2026-03-17T11:04", false)] {
        let rules = cool(&format!(
            "caps = [{{ metric = 'connected', window = 'period:2026-03-01/{to}', limit = 5, \
             time_zone = 'America/New_York' }}]"
        ));
        let full = bucket(
            &format!("target/tgt_cool/connected/period:2026-03-01/{to}"),
            &format!("p:2026-03-01/{to}"),
        );
        let told = format!("connected/period:2026-03-01/{to}: cap.full, 5 used, 0 held, at most 5");
        assert_eq!(refusal(&rules, &[(&full, 5, 0)]), is_met.then_some(told));
        let metered = snapshot(&rules).meters(&usage(&[(&full, 5, 0)]), OPEN);
        assert_eq!(metered.contains_key(&full.cap), is_met);
    }
}

#[test]
fn a_cap_of_half_days_is_full_until_noon() {
    let rules = cool(
        "caps = [{ metric = 'connected', window = 'every:12h@2026-01-05', limit = 5, \
         time_zone = 'America/New_York' }]",
    );
    let cap = "target/tgt_cool/connected/every:12h@2026-01-05";
    let full = bucket(cap, "e:12h/2026-03-17");
    assert_eq!(
        refusal(&rules, &[(&full, 5, 0)]).unwrap(),
        "connected/every:12h@2026-01-05: cap.full, 5 used, 0 held, at most 5"
    );
    let meters = snapshot(&rules).meters(&usage(&[(&full, 5, 0)]), OPEN);
    let resets_at = meters[cap].resets_at.map(Wall::to_rfc3339);
    assert_eq!(resets_at.as_deref(), Some("2026-03-17T16:00:00.000Z"));
}

#[test]
fn a_window_is_of_the_account_s_zone_where_nobody_nearer_says_another() {
    let eastern = "time_zone = 'America/New_York'";
    let cap = "{ metric = 'attempted', window = 'daily', limit = 5 }";
    let cool = |rules: &str| cool(&format!("caps = [{cap}]\n{rules}"));
    let window = |config: &str| {
        // 21:30 on Monday in New York, 19:30 in Denver, and Tuesday in Greenwich.
        let request = RouteRequest { at: Wall(1_773_711_000_000), ..request("+18005550100") };
        let decision = decide_with(config, &request, &usage(&[]));
        let cool = decision.plan.iter().find(|it| it.target.as_str() == "tgt_cool").unwrap();
        cool.holds[0].bucket.window.clone()
    };
    let of_account = |rules: &str| format!("{}\n[account]\n{eastern}", cool(rules));
    assert_eq!(window(&cool("")), "d:2026-03-17");
    assert_eq!(window(&of_account("")), "d:2026-03-16");
    assert_eq!(window(&of_account("schedule = { always_open = true }")), "d:2026-03-16");
    let in_greenwich = "schedule = { time_zone = 'UTC', always_open = true }";
    assert_eq!(window(&of_account(in_greenwich)), "d:2026-03-17");
}

#[test]
fn a_call_that_a_busy_campaign_does_not_take_is_not_counted_for_its_trunk() {
    let cap = "caps = [{ metric = 'offered', window = 'daily', limit = 5 }]";
    let rules = of("id = \"cmp_single\"", &format!("\n{cap}"));
    let rules = format!("{rules}\n[[trunks]]\nid = 'trk'\n{cap}");
    let came = bucket("campaign/cmp_single/offered/daily", TUESDAY);
    let full = decide_with(&rules, &request("+18005550198"), &usage(&[(&came, 5, 0)]));
    assert_eq!((full.refused, full.offered), (Some(Reason::CampaignCapped), vec![]));
}

#[test]
fn a_buyer_owes_no_more_than_its_credit_and_what_it_has_deposited() {
    let rules = of("{ id = \"buy_cool\"", ", credit = { limit = '100.00' }");
    let owed = bucket("buyer/buy_cool/credit", "total");
    let deposited = bucket("buyer/buy_cool/deposits", "total");
    // A call may come to 35.00.
    assert_eq!(refusal(&rules, &[(&owed, 30_000_000, 35_000_000)]), None);
    assert_eq!(
        refusal(&rules, &[(&owed, 30_000_001, 35_000_000)]).unwrap(),
        "buyer/buy_cool/credit: target.no_credit, 30.000001 used, 35.00 held, \
         at most 100.00 with 35.00 more"
    );
    let more = (&deposited, 50_000_000, 0);
    assert_eq!(refusal(&rules, &[(&owed, 80_000_000, 35_000_000), more]), None);
    assert_eq!(
        refusal(&rules, &[(&owed, 80_000_001, 35_000_000), more]).unwrap(),
        "buyer/buy_cool/credit: target.no_credit, 80.000001 used, 35.00 held, \
         at most 150.00 with 35.00 more"
    );
}

/// Two live calls, of which one was up before the process was started.
struct LeftUp;

impl UsageReader for LeftUp {
    fn usage(&self, bucket: &Bucket) -> Usage {
        Usage { used: 0, held: if bucket.window == "live" { 2 } else { 0 } }
    }

    fn awaited(&self, bucket: &Bucket) -> u64 {
        u64::from(bucket.window == "live")
    }
}

#[test]
fn a_refusal_tells_how_many_places_calls_have_that_a_crash_left_up() {
    let snapshot =
        snapshot(&CONFIG.replace("concurrency = { limit = 1 }", "concurrency = { limit = 2 }"));
    let request = request("+18005550198");

    let decision = decide(&snapshot, &request, Known::default(), &LeftUp, &mut Rotation::default());

    assert_eq!(
        told(&decision),
        "-: concurrency.full, 2 live, of which 1 from before a crash, at most 2"
    );
    same_again(&snapshot, &request, &decision);
}

#[test]
fn a_refusal_keeps_the_figures_of_the_limit_that_had_no_room() {
    let (cool, publisher) = ("id = \"tgt_cool\"\n", "id = \"pub_bright\",");
    let midnight = Some("2026-03-18T00:00:00.000Z");
    for (owner, metric, window, id, resets_at, class, code) in [
        (cool, "connected", "daily", TUESDAY, midnight, "cap.full", "cap.connected.daily"),
        (
            cool,
            "attempted",
            "rolling:3600",
            "rolling:3600/29562664",
            None,
            "cap.full",
            "cap.attempted.rolling:3600",
        ),
        (
            publisher,
            "converted",
            "total",
            "total",
            None,
            "gate.publisher_capped",
            "gate.publisher_capped",
        ),
    ] {
        let cap = format!("caps = [{{ metric = '{metric}', window = '{window}', limit = 4 }}]");
        let then = if owner == cool { "\n" } else { "," };
        let config = of(owner, &format!(" {cap}{then}"));
        let whose = if owner == cool { "target/tgt_cool" } else { "publisher/pub_bright" };
        let full = bucket(&format!("{whose}/{metric}/{window}"), id);
        let request = request("+18005550198");

        let decision = decide_with(&config, &request, &usage(&[(&full, 3, 1)]));

        let step = decision.steps.last().unwrap();
        let found = step.full.as_deref().unwrap_or_else(|| panic!("{class}: {step:?}"));
        assert_eq!(found.request.bucket, full);
        assert_eq!((found.request.limit, found.usage), (4, Usage { used: 3, held: 1 }));
        assert_eq!((found.metric(), found.window().as_deref()), (metric, Some(window)));
        assert_eq!(found.resets_at().map(Wall::to_rfc3339).as_deref(), resets_at);
        assert_eq!(step.reason.map(Reason::code), Some(class));
        assert_eq!(step.code().as_deref(), Some(code));
        assert_eq!((&step.have, &step.want), (&None, &None), "words are made from the figures");
        same_again(&snapshot(&config), &request, &decision);
    }
}

/// Steps of records that were written before their figures were kept.
#[derive(minicbor::Encode)]
struct OldStep {
    #[n(0)]
    target: Option<TargetId>,
    #[n(1)]
    check: Check,
    #[cbor(n(2), with = "crate::codec::optional_text", has_nil)]
    subject: Option<SmolStr>,
    #[n(3)]
    verdict: Verdict,
    #[n(4)]
    reason: Option<Reason>,
    #[cbor(n(5), with = "crate::codec::optional_text", has_nil)]
    have: Option<SmolStr>,
    #[cbor(n(6), with = "crate::codec::optional_text", has_nil)]
    want: Option<SmolStr>,
}

#[test]
fn a_record_of_before_still_says_what_it_said() {
    let old = OldStep {
        target: Some("tgt_cool".into()),
        check: Check::Cap,
        subject: Some("connected/daily".into()),
        verdict: Verdict::Refused,
        reason: Some(Reason::CapFull),
        have: Some("9 used, 1 held".into()),
        want: Some("at most 10".into()),
    };

    let step: Step = minicbor::decode(&minicbor::to_vec(&old).unwrap()).unwrap();

    assert_eq!(step.words(), (old.have, old.want));
    assert_eq!((step.code().as_deref(), &step.full), (Some("cap.full"), &None));
}

/// What the step says that keeps a call from the only target of its campaign.
fn refusal(config: &str, used: &[(&Bucket, u64, u64)]) -> Option<String> {
    let request = request("+18005550198");
    let decision = decide_with(config, &request, &usage(used));
    same_again(&snapshot(config), &request, &decision);
    decision.refused.map(|_| told(&decision))
}

fn told(decision: &Decision) -> String {
    let step = decision.steps.last().unwrap();
    let part = |part: &Option<SmolStr>| part.clone().unwrap_or_else(|| "-".into());
    let reason = step.reason.unwrap().code();
    let (have, want) = step.words();
    format!("{}: {reason}, {}, {}", part(&step.subject), part(&have), part(&want))
}

fn same_again(snapshot: &RoutingSnapshot, request: &RouteRequest, decision: &Decision) {
    let record = record_bytes(request, Known::default(), decision);
    let record = DecisionRecord::from_bytes(&record).unwrap();
    let Replay { difference, .. } = replay(snapshot, &record);
    assert_eq!(difference, None);
}

fn cool(rules: &str) -> String {
    CONFIG.replace("id = \"tgt_cool\"\n", &format!("id = \"tgt_cool\"\n{rules}\n"))
}

fn of(owner: &str, rules: &str) -> String {
    CONFIG.replacen(owner, &format!("{owner}{rules}"), 1)
}

/// With an account that says this of its limits.
fn account(rules: &str) -> String {
    format!("{CONFIG}\n[account]\nid = 'harbor'\n{rules}")
}

/// Where this is said of a number, or of several.
fn number(number: &str, rules: &str) -> String {
    format!("{CONFIG}\n[[numbers]]\nnumber = '{number}'\n{rules}")
}

fn group(rules: &str) -> String {
    format!("{CONFIG}\n[[groups]]\nid = 'night'\ntargets = ['tgt_cool']\n{rules}")
}

fn bucket(cap: &str, window: &str) -> Bucket {
    Bucket { cap: cap.into(), window: window.into() }
}

fn usage(used: &[(&Bucket, u64, u64)]) -> BTreeMap<Bucket, Usage> {
    used.iter().map(|&(bucket, used, held)| (bucket.clone(), Usage { used, held })).collect()
}
