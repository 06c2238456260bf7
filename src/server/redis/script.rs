//! What runs in Redis. Each script is one step that nothing else can come between.

/// The scripts of a store, kept as files beside it.
pub(in crate::server) trait Script: Copy + Ord + Send + Sync + 'static {
    const ALL: &'static [Self];

    fn body(self) -> &'static str;
}
