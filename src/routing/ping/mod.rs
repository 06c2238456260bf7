//! Pings: what publishers tell us about a caller before the call comes.
//!
//! Owns: the sessions that pings open, the numbers lent to them, and the answers that are given again.
//! Does not own: authentication, the journal (the caller writes the fact before it answers), the
//! rules of lending (see [`pool`](super::pool)).
//!
//! Invariants: the same request of a publisher opens one session, however often it is sent within a
//! day; memory is bounded by [`DeskLimits`] and [`Answers::max`]; a session that was accepted is never
//! dropped before it expires.

mod answers;
mod desk;
mod extra;
mod quota;
mod request;
mod shares;
mod visit;

pub use answers::{
    ANSWERS_MAX, Answers, Claim, Fingerprint, Identity, KEPT_MS, Kept, KeptVisit, Reference,
    RequestKey,
};
pub use desk::{
    Accepted, Checked, Consumed, Desk, DeskLimits, EnrichedBy, KeptTags, Lent, Moved, NewIds,
    NumberState, NumberStatus, PoolState, Session, SessionKind, Shows, SignOfLife, Touched, Visit,
    Visiting, VisitorKey, ends_when_closed, publisher_of,
};
pub use extra::{EXTRA_BYTES_MAX, EXTRA_MAX, PING_FIELDS};
pub use quota::{Admission, OverQuota, QuotaKind, Quotas};
pub use request::{PingRefusal, PingRefusals, PingRequest, RefusalCode, TAG_BYTES_MAX, TAGS_MAX};
pub use shares::{OverShare, Shares};
pub use visit::{CLICK_IDS, VisitKind, VisitRequest, VisitUpdate, Want};
