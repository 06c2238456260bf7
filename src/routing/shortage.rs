//! What an explanation says of a bucket without room.

use smol_str::{SmolStr, format_smolstr};

use super::hold::{BucketRequest, Counts, Leeway, Pace};
use super::limits::Bound;
use super::request::Usage;

/// What there is, and what would have to be.
pub(super) fn words(request: &BucketRequest, usage: Usage, bound: Bound) -> (SmolStr, SmolStr) {
    let BucketRequest { counts, limit, amount, .. } = request;
    let show = |amount| counts.show(amount);
    if *counts == Counts::Spacing {
        let ago = amount.saturating_sub(usage.used);
        return (format_smolstr!("{ago} ms after the last"), format_smolstr!("{limit} ms"));
    }
    let have = match counts {
        Counts::Live => format_smolstr!("{} live", usage.held),
        Counts::Talking if usage.held == 0 => format_smolstr!("{} live", usage.used),
        Counts::Talking => format_smolstr!("{} live, {} ringing", usage.used, usage.held),
        Counts::Attempted
        | Counts::Connected
        | Counts::Converted
        | Counts::Revenue
        | Counts::Payout
        | Counts::Talk
        | Counts::Spacing
        | Counts::Offered
        | Counts::Pinged
        | Counts::Credit => counts.show_usage(usage),
    };
    let more = match amount {
        1 => SmolStr::default(),
        asked => format_smolstr!(" with {} more", show(*asked)),
    };
    match &request.leeway {
        None => {
            let by = match bound {
                Bound::Limit => "",
                Bound::Hours => " at this hour",
                Bound::Ready => " ready to take a call",
            };
            (have, format_smolstr!("at most {}{more}{by}", show(*limit)))
        }
        Some(Leeway::Soft) => (have, format_smolstr!("soft: less than {} used", show(*limit))),
        Some(Leeway::Paced(pace)) => paced(request, pace, usage, &have, &more),
    }
}

/// The same, of which so much is held for calls that a crash left up.
pub(super) fn since_a_crash(counts: Counts, have: &str, awaited: u64) -> SmolStr {
    format_smolstr!("{have}, of which {} from before a crash", counts.show(awaited))
}

fn paced(
    request: &BucketRequest,
    pace: &Pace,
    usage: Usage,
    have: &str,
    more: &str,
) -> (SmolStr, SmolStr) {
    let show = |amount| request.counts.show(amount);
    let now = pace.by_now.min(request.limit);
    let want =
        format_smolstr!("paced: at most {} of {} by now{more}", show(now), show(request.limit));
    if pace.is_certain() {
        return (SmolStr::new(have), want);
    }
    let hundredths = pace.bound_ppm(usage, request.amount).div_ceil(10_000);
    let with = format_smolstr!("up to {}.{:02} with this", hundredths / 100, hundredths % 100);
    (format_smolstr!("{have}, {with}"), want)
}
