//! A limit without room: its figures as a decision met them, and what is said of them to people.

use minicbor::{Decode, Encode};
use smol_str::{SmolStr, format_smolstr};

use crate::time::Wall;

use super::hold::{BucketRequest, Counts, Leeway, Pace};
use super::request::Usage;

pub use super::limits::Bound;

/// A limit that had no room. Amounts are in the unit of what it counts: calls, micros or
/// milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FullLimit {
    /// What was asked of it, with the limit as it was then and the window.
    #[n(0)]
    pub request: BucketRequest,
    #[n(1)]
    pub usage: Usage,
    /// How much of what is held is held for calls that a crash left up.
    #[cbor(n(2), default)]
    pub awaited: u64,
    #[n(3)]
    pub bound: Bound,
}

impl FullLimit {
    pub(super) fn new(request: BucketRequest, usage: Usage, bound: Bound) -> Self {
        Self { request, usage, awaited: 0, bound }
    }

    /// What it counts, as caps are written (`connected`); else `concurrency`, `spacing` or `credit`.
    pub fn metric(&self) -> &'static str {
        self.request.counts.name()
    }

    /// Its window as caps are written, such as `daily` or `rolling:3600`; absent: it has none.
    pub fn window(&self) -> Option<SmolStr> {
        // A cap's key ends with what it counts and its window, the others' with what they are.
        let counted = format_smolstr!("/{}/", self.metric());
        let (_, window) = self.request.bucket.cap.rsplit_once(counted.as_str())?;
        Some(window.into())
    }

    /// Such as `cap.connected.daily`; absent: it is no cap, and the reason says all.
    pub fn code(&self) -> Option<SmolStr> {
        Some(format_smolstr!("cap.{}.{}", self.metric(), self.window()?))
    }

    /// When all of it is free again, whatever becomes of the calls that are up; absent: it is not by
    /// the time alone, or bit by bit.
    pub fn resets_at(&self) -> Option<Wall> {
        let BucketRequest { counts, limit, bucket, ends_at, .. } = &self.request;
        if *counts == Counts::Spacing {
            let free_at = self.usage.used.checked_add(*limit)?;
            return i64::try_from(free_at).ok().map(Wall);
        }
        let is_rolling = bucket.stored().1.is_some();
        ends_at.filter(|_| !is_rolling)
    }

    /// Calls that are up, and calls that ring and are not counted as up yet; absent: it is no
    /// concurrency.
    pub fn live(&self) -> Option<(u64, u64)> {
        let Usage { used, held } = self.usage;
        match self.request.counts {
            Counts::Live => Some((held, 0)),
            Counts::Talking => Some((used, held)),
            Counts::Attempted
            | Counts::Connected
            | Counts::Converted
            | Counts::Revenue
            | Counts::Payout
            | Counts::Talk
            | Counts::Spacing
            | Counts::Offered
            | Counts::Pinged
            | Counts::Credit => None,
        }
    }

    /// Which part of what was held was taken to come to count, in millionths; absent: all.
    pub fn rate_ppm(&self) -> Option<u32> {
        self.pace()?.rate_taken_ppm()
    }

    /// From how many calls of late that was; absent: it was from none.
    pub fn rate_calls(&self) -> Option<u32> {
        self.pace()?.calls
    }

    /// Why there is no room, where the reason says too little: of a paced cap that is not used up.
    pub fn text(&self) -> Option<&'static str> {
        let BucketRequest { limit, amount, .. } = self.request;
        let pace = self.pace().filter(|pace| pace.by_now < limit)?;
        let is_full = self.usage.used.saturating_add(amount) > limit.max(pace.by_now);
        (!is_full).then_some("the cap is filled evenly, and has no more room by now")
    }

    fn pace(&self) -> Option<&Pace> {
        match &self.request.leeway {
            Some(Leeway::Paced(pace)) => Some(pace),
            Some(Leeway::Soft) | None => None,
        }
    }

    /// What there is, and what would have to be.
    pub(super) fn words(&self) -> (SmolStr, SmolStr) {
        let (have, want) = words(&self.request, self.usage, self.bound);
        let have = match self.awaited {
            0 => have,
            awaited => {
                let awaited = self.request.counts.show(awaited);
                format_smolstr!("{have}, of which {awaited} from before a crash")
            }
        };
        (have, want)
    }
}

fn words(request: &BucketRequest, usage: Usage, bound: Bound) -> (SmolStr, SmolStr) {
    let BucketRequest { counts, limit, amount, .. } = request;
    let show = |amount| counts.show(amount);
    if *counts == Counts::Spacing {
        let ago = amount.saturating_sub(usage.used);
        let want = format_smolstr!("at least {limit} ms apart");
        return (format_smolstr!("{ago} ms after the last"), want);
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
                Bound::Gate => return (have, format_smolstr!("less than {}", show(*limit))),
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
    let by = match pace.calls {
        None => SmolStr::default(),
        Some(calls) => {
            let points = pace.rate_ppm / 10_000;
            format_smolstr!(", each for {points} % by {calls} calls")
        }
    };
    if pace.is_certain() {
        return (format_smolstr!("{have}{by}"), want);
    }
    let hundredths = pace.bound_ppm(usage, request.amount, request.limit).div_ceil(10_000);
    let with = format_smolstr!("up to {}.{:02} with this", hundredths / 100, hundredths % 100);
    (format_smolstr!("{have}, {with}{by}"), want)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::hold::Bucket;

    #[test]
    fn a_full_limit_is_named_by_what_it_counts_and_its_window() {
        let named = |full: &FullLimit| {
            let window = full.window();
            (full.metric(), window, full.code(), full.resets_at(), full.live())
        };
        let text = |text: &str| Some(SmolStr::new(text));
        let ends_at = Some(Wall(7));
        let daily = full("connected/daily", Counts::Connected, "d:2026-03-17", ends_at);
        assert_eq!(
            named(&daily),
            ("connected", text("daily"), text("cap.connected.daily"), ends_at, None)
        );
        for window in
            ["minute", "total", "every:14d@2026-01-05T06:00", "period:2026-11-23/2026-11-30"]
        {
            let full = full(&format!("minutes/{window}"), Counts::Talk, "any", None);
            assert_eq!(full.code(), Some(format_smolstr!("cap.minutes.{window}")), "{window}");
        }
        // What happened an hour ago is free again, and that is another instant for each call.
        let id = "rolling:3600/29562664";
        let rolling = full("revenue/rolling:3600", Counts::Revenue, id, ends_at);
        let code = text("cap.revenue.rolling:3600");
        assert_eq!(named(&rolling), ("revenue", text("rolling:3600"), code, None, None));
        let live = full("concurrency", Counts::Live, "live", None);
        assert_eq!(named(&live), ("concurrency", None, None, None, Some((2, 0))));
        let talking = full("concurrency", Counts::Talking, "live", None);
        assert_eq!(named(&talking), ("concurrency", None, None, None, Some((3, 2))));
        let credit = full("credit", Counts::Credit, "total", None);
        assert_eq!(named(&credit), ("credit", None, None, None, None));
        // The last attempt was at 3, and the next may follow 4 ms later.
        let spacing = full("spacing", Counts::Spacing, "gap", Some(Wall(99)));
        assert_eq!(named(&spacing), ("spacing", None, None, Some(Wall(7)), None));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut full = full("concurrency", Counts::Talking, "live", None);
        (full.awaited, full.bound) = (1, Bound::Hours);

        let bytes = minicbor::to_vec(&full).unwrap();

        assert_eq!(minicbor::decode::<FullLimit>(&bytes).unwrap(), full);
        let have = "3 live, 2 ringing, of which 1 from before a crash";
        assert_eq!(full.words(), (have.into(), "at most 4 at this hour".into()));
    }

    fn full(cap: &str, counts: Counts, window: &str, ends_at: Option<Wall>) -> FullLimit {
        let cap = format_smolstr!("target/t/{cap}");
        let bucket = Bucket { cap, window: window.into() };
        let request = BucketRequest { bucket, counts, limit: 4, amount: 1, ends_at, leeway: None };
        FullLimit::new(request, Usage { used: 3, held: 2 }, Bound::Limit)
    }
}
