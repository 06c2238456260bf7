use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::{fs, iter};

use tempfile::TempDir;
use tokio::time::timeout;

use super::disk::Space;
use super::flaky::FlakyDisk;
use super::segment::SegmentName;
use super::*;
use crate::cdr::fact::{Checkpoint, Confirmed, Fact, FactBody, NodeStarted};
use crate::cdr::journal::format::{FOOTER_LEN, HEADER_LEN, PAYLOAD_MAX};
use crate::cdr::journal::{Durability, Entry};
use crate::cdr::testing::{START_MS, call_id, stamp};

#[tokio::test]
async fn what_was_appended_is_read_back_in_order_after_a_restart() {
    let desk = Desk::new();
    let (journal, _) = desk.open();
    let last = desk.append(&journal, 1..=5, Durability::Durable);
    journal.appender().wait(last).await.unwrap();
    journal.close().unwrap();

    let (journal, recovery) = desk.open();

    assert_eq!(seqs(&desk.read(&journal)), [1, 2, 3, 4, 5]);
    assert_eq!((recovery.epoch, recovery.next_seq, recovery.lost()), (2, 6, 0));
    assert_eq!(recovery.chain_breaks, Vec::<u64>::new());
}

#[tokio::test]
async fn what_was_promised_is_not_what_is_buffered_behind_it() {
    let desk = Desk::new();
    let (journal, recovery) = desk.open();
    let appender = journal.appender();
    assert_eq!(appender.promised().seq, recovery.next_seq - 1, "nothing yet");

    let durable = desk.append(&journal, 1..=3, Durability::Durable);
    desk.append(&journal, 4..=9, Durability::Buffered);
    assert_eq!(appender.promised(), durable);
    appender.wait(durable).await.unwrap();
    desk.append(&journal, 10..=11, Durability::Buffered);
    assert_eq!(appender.promised(), durable);
}

#[tokio::test]
async fn a_kill_loses_only_what_was_never_durable() {
    let desk = Desk::new();
    let (journal, _) = desk.open();
    let durable = desk.append(&journal, 1..=3, Durability::Durable);
    journal.appender().wait(durable).await.unwrap();
    desk.disk.kill();
    desk.append(&journal, 4..=9, Durability::Buffered);
    drop(journal);

    let (journal, recovery) = desk.restarted().open();

    assert_eq!(seqs(&desk.read(&journal)), [1, 2, 3]);
    assert_eq!((recovery.next_seq, recovery.lost(), recovery.truncated_bytes), (4, 0, 0));
}

#[tokio::test]
async fn power_loss_keeps_every_fact_that_was_announced_durable() {
    let desk = Desk::new();
    let (journal, _) = desk.open();
    let durable = desk.append(&journal, 1..=3, Durability::Durable);
    journal.appender().wait(durable).await.unwrap();
    desk.append(&journal, 4..=9, Durability::Buffered);
    desk.until(&journal, |stats| stats.records.load(Ordering::Relaxed) == 9);
    desk.disk.cut_power();
    drop(journal);

    let (journal, recovery) = desk.restarted().open();

    assert_eq!(seqs(&desk.read(&journal)), [1, 2, 3]);
    assert_eq!((recovery.epoch, recovery.next_seq, recovery.lost()), (2, 4, 0));
}

#[tokio::test]
async fn numbers_given_out_again_after_power_loss_are_newer() {
    let desk = Desk::new();
    drop(desk.write_killed(5));
    let seen = Lsn { epoch: 1, seq: 8 };

    let (journal, recovery) = desk.restarted().open_after(seen);
    let again = desk.append(&journal, 6..=6, Durability::Durable);
    journal.appender().wait(again).await.unwrap();
    let entries = journal.tail(seen).next().await.unwrap().unwrap();

    assert_eq!((recovery.behind_projection, recovery.lost()), (3, 0));
    assert!(again > seen, "{again:?}");
    assert_eq!(entries.last().unwrap().lsn, again);
}

#[tokio::test]
async fn whoever_waits_for_the_end_waits_for_all_that_was_appended_before() {
    let desk = Desk::new();
    let (journal, _) = desk.open();
    let appender = journal.appender();
    let last = desk.append(&journal, 1..=5, Durability::Buffered);
    assert_eq!(appender.end(), last);
    appender.wait(appender.end()).await.unwrap();
    assert!(appender.durable() >= last);
    assert_eq!(appender.end(), last, "it appends nothing");
}

#[test]
fn recovering_twice_is_recovering_once() {
    let desk = Desk::new();
    drop(desk.write_killed(20));
    let segment = desk.only_segment();
    let len = desk.written_len(&segment);
    fs::write(&segment, &fs::read(&segment).unwrap()[..len - 10]).unwrap();

    let (first, first_recovery) = desk.restarted().open();
    first.close().unwrap();
    let (second, recovery) = desk.restarted().open();

    assert!(first_recovery.truncated_bytes > 0);
    assert_eq!(seqs(&desk.read(&second)), (1..=19).collect::<Vec<_>>());
    assert_eq!((recovery.truncated_bytes, recovery.lost()), (0, 0));
    assert_eq!((first_recovery.next_seq, recovery.next_seq), (20, 20));
}

/// Truncates and flips at every byte of the last 4 KiB of a segment (spec/data §1.10).
#[test]
fn a_torn_or_flipped_byte_costs_the_record_it_hits_and_no_other() {
    let desk = Desk::new();
    drop(desk.write_killed(100));
    let segment = desk.only_segment();
    let bytes = fs::read(&segment).unwrap()[..desk.written_len(&segment)].to_vec();
    let record = (bytes.len() - HEADER_LEN) / 100;

    for at in bytes.len() - 4096..bytes.len() {
        let hit = ((at - HEADER_LEN) / record) as u64 + 1;
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x5a;

        let torn = recover::intact(&bytes[..at]);
        let others = recover::intact(&flipped);

        assert_eq!(torn, (1..hit).collect::<Vec<_>>(), "torn at {at}");
        assert_eq!(others, (1..=100).filter(|n| *n != hit).collect::<Vec<_>>(), "flipped at {at}");
    }
}

#[test]
fn a_torn_tail_is_cut_and_a_bad_middle_is_set_aside() {
    let desk = Desk::new();
    drop(desk.write_killed(100));
    let segment = desk.only_segment();
    let name = segment.file_name().unwrap().to_owned();
    let bytes = fs::read(&segment).unwrap()[..desk.written_len(&segment)].to_vec();
    let record = (bytes.len() - HEADER_LEN) / 100;
    let disk = FlakyDisk::default();

    for at in (HEADER_LEN..bytes.len()).step_by(101) {
        let hit = ((at - HEADER_LEN) / record) as u64 + 1;
        let (torn, flipped) = (desk.scratch(), desk.scratch());

        fs::write(torn.path().join(&name), &bytes[..at]).unwrap();
        let report = recover::recover(&disk, torn.path(), 1, None).unwrap().report;
        assert_eq!(seqs(&read_all(torn.path())), (1..hit).collect::<Vec<_>>(), "torn at {at}");
        assert_eq!(report.truncated_bytes > 0, !(at - HEADER_LEN).is_multiple_of(record));
        assert_eq!((report.lost(), report.next_seq), (0, hit));

        let mut bad = bytes.clone();
        bad[at] ^= 0x5a;
        fs::write(flipped.path().join(&name), &bad).unwrap();
        let report = recover::recover(&disk, flipped.path(), 1, None).unwrap().report;
        let others: Vec<u64> = (1..=100).filter(|seq| *seq != hit).collect();
        assert_eq!(seqs(&read_all(flipped.path())), others, "flipped at {at}");
        if hit == 100 {
            assert_eq!((report.lost(), report.next_seq), (0, 100));
        } else {
            assert_eq!(report.missing, [Gap { first_seq: hit, count: 1 }], "flipped at {at}");
            assert_eq!((report.quarantined.len(), report.next_seq), (1, 101));
        }
    }
}

#[test]
fn a_damaged_header_or_footer_costs_no_fact() {
    let desk = Desk::new();
    let (journal, _) = desk.open();
    desk.append(&journal, 1..=10, Durability::Durable);
    journal.close().unwrap();
    let segment = desk.only_segment();
    let bytes = fs::read(&segment).unwrap();
    let disk = FlakyDisk::default();

    for at in (0..HEADER_LEN).chain(bytes.len() - FOOTER_LEN..bytes.len()) {
        let scratch = desk.scratch();
        let mut bad = bytes.clone();
        bad[at] ^= 0x5a;
        fs::write(scratch.path().join(segment.file_name().unwrap()), &bad).unwrap();

        let recovered = recover::recover(&disk, scratch.path(), 1, None).unwrap();

        assert_eq!(seqs(&read_all(scratch.path())).len(), 10, "flipped at {at}");
        assert_eq!((recovered.report.lost(), recovered.report.next_seq), (0, 11));
    }
}

#[test]
fn a_hole_in_the_middle_is_counted_exactly_and_what_follows_is_kept() {
    let desk = Desk::new();
    drop(desk.write_killed(300));
    let segment = desk.only_segment();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[4096..8192].fill(0);
    fs::write(&segment, &bytes).unwrap();
    let record = (desk.written_len(&segment) - HEADER_LEN) / 300;
    let first_hit = (4096 - HEADER_LEN) / record;
    let last_hit = (8191 - HEADER_LEN) / record;

    let (journal, recovery) = desk.restarted().open();
    let read = desk.read(&journal);

    let gap = Gap { first_seq: first_hit as u64 + 1, count: (last_hit - first_hit + 1) as u64 };
    assert_eq!(recovery.missing, [gap]);
    assert_eq!(recovery.quarantined.len(), 1);
    assert_eq!(read.len() as u64, 300 - gap.count);
    assert_eq!(recovery.next_seq, 301);
}

#[tokio::test]
async fn a_segment_that_is_gone_is_missed_with_its_exact_count() {
    let desk = Desk::new();
    let settings = Settings { segment_bytes: 4096, ..quick() };
    let (journal, _) = desk.open_with(settings.clone());
    for n in 1..=40 {
        let lsn = desk.append(&journal, n * 10 - 9..=n * 10, Durability::Durable);
        journal.appender().wait(lsn).await.unwrap();
    }
    journal.close().unwrap();
    let segments = desk.segments();
    assert!(segments.len() > 5, "{segments:?}");
    let lost = segments[3].first_seq - segments[2].first_seq;
    fs::remove_file(segments[2].path(desk.dir.path(), 1)).unwrap();

    let (journal, recovery) = desk.open_with(settings.clone());
    let gap = Gap { first_seq: segments[2].first_seq, count: lost };
    assert_eq!(recovery.missing, [gap]);
    assert_eq!(recovery.chain_breaks, [segments[3].first_seq]);
    assert_eq!(desk.read(&journal).len() as u64, 400 - lost);
    drop(journal);

    // Once every projection is past it, a segment that is gone is no loss.
    let past = Lsn { epoch: 1, seq: segments[3].first_seq };
    let (_journal, recovery) = desk.open_with(Settings { resume: Some(past), ..settings });
    assert_eq!(recovery.lost(), 0);
}

#[test]
fn a_segment_may_be_rolled_while_facts_in_it_are_not_synced() {
    let desk = Desk::new();
    let (journal, _) = desk.open_with(Settings { segment_bytes: 1024, ..quick() });

    for n in 1..=60 {
        desk.append(&journal, n..=n, Durability::Buffered);
        desk.until(&journal, |stats| stats.records.load(Ordering::Relaxed) == n);
    }
    journal.close().unwrap();

    assert!(desk.segments().len() > 3);
    let (journal, recovery) = desk.open();
    assert_eq!(seqs(&desk.read(&journal)), (1..=60).collect::<Vec<_>>());
    assert_eq!((recovery.lost(), recovery.chain_breaks.len()), (0, 0));
}

#[tokio::test]
async fn after_the_end_appends_fail_and_nobody_waits() {
    let desk = Desk::new();
    let (journal, _) = desk.open();
    let appender = journal.appender();
    let later = Lsn { epoch: journal.epoch(), seq: 9 };
    journal.close().unwrap();

    assert_eq!(appender.wait(later).await, Err(AppendError::Closed));
    let refused = appender.append(fact(1), Durability::Buffered).unwrap_err();
    assert_eq!((refused.error, refused.fact), (AppendError::Closed, Some(Box::new(fact(1)))));
    assert_eq!(appender.pressure(), Pressure::Failing);
}

#[tokio::test]
async fn numbering_goes_on_after_the_projection_if_the_directory_is_lost() {
    let desk = Desk::new();
    let seen = Lsn { epoch: 7, seq: 1_000 };

    let (journal, recovery) = desk.open_after(seen);

    assert_eq!((recovery.epoch, recovery.next_seq), (8, 1_001));
    assert!(desk.append(&journal, 1..=1, Durability::Durable) > seen);
}

#[tokio::test]
async fn after_a_failed_sync_the_same_numbers_are_written_to_another_segment() {
    let desk = Desk::new();
    let journal = desk.open_and_fail_a_sync().await;

    assert_eq!(journal.stats().errors.load(Ordering::Relaxed), 1);
    assert_eq!(journal.appender().pressure(), Pressure::None);
    journal.close().unwrap();
    let rewritten = desk.segments();
    assert_eq!(rewritten.iter().map(|name| name.rewrite).collect::<Vec<_>>(), [0, 1]);
    let (journal, recovery) = desk.open();
    assert_eq!(seqs(&desk.read(&journal)), [1, 2, 3, 4, 5, 6]);
    assert_eq!((recovery.lost(), recovery.quarantined.len()), (0, 0));
}

/// Of what a disk could not sync it may keep the later half: the segment that repeats it counts.
#[tokio::test]
async fn what_is_left_of_a_failed_sync_does_not_hide_what_was_written_again() {
    let desk = Desk::new();
    let journal = desk.open_and_fail_a_sync().await;
    journal.close().unwrap();

    let suspect = desk.segments()[0].path(desk.dir.path(), 1);
    let record_len = (desk.written_len(&suspect) - HEADER_LEN) / 6;
    let mut bytes = fs::read(&suspect).unwrap();
    bytes[HEADER_LEN + 3 * record_len..HEADER_LEN + 5 * record_len].fill(0xAA);
    fs::write(&suspect, bytes).unwrap();

    assert_eq!(seqs(&read_all(desk.dir.path())), [1, 2, 3, 4, 5, 6]);
    let (journal, recovery) = desk.open();
    assert_eq!(seqs(&desk.read(&journal)), [1, 2, 3, 4, 5, 6]);
    assert_eq!((recovery.lost(), recovery.quarantined.len()), (0, 0));
}

#[tokio::test]
async fn while_the_disk_fails_facts_are_kept_and_written_once_it_works() {
    let desk = Desk::new();
    let (journal, _) = desk.open();
    desk.disk.set_full(true);

    let last = desk.append(&journal, 1..=3, Durability::Durable);
    desk.until(&journal, |_| journal.appender().pressure() == Pressure::Failing);
    assert!(journal.appender().durable() < last);
    desk.disk.set_full(false);
    desk.advance_ms(2_000);
    journal.appender().wait(last).await.unwrap();

    desk.until(&journal, |_| journal.appender().pressure() == Pressure::None);
    assert_eq!(seqs(&desk.read(&journal)), [1, 2, 3]);
}

#[tokio::test]
async fn closing_on_a_failing_disk_tells_how_much_is_lost() {
    let desk = Desk::new();
    let (journal, _) = desk.open();
    desk.disk.set_full(true);
    desk.append(&journal, 1..=3, Durability::Buffered);

    assert!(matches!(journal.close(), Err(JournalError::Unsynced(3))));
}

#[tokio::test]
async fn a_full_buffer_refuses_and_nothing_is_half_appended() {
    let desk = Desk::new();
    let (journal, _) = desk.open_with(Settings { unsynced_bytes_max: 1_000, ..quick() });
    desk.disk.set_full(true);
    let appender = journal.appender();

    let refused = iter::repeat_with(|| appender.append(fact(1), Durability::Durable))
        .take(100)
        .find_map(|appended| appended.err().map(|refused| refused.error));

    assert_eq!(refused, Some(AppendError::Full));
    assert!(journal.stats().refused.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn facts_appended_together_are_all_there_or_none() {
    let desk = Desk::new();
    let (journal, _) = desk.open();
    let live = vec![(call_id(1), 1); PAYLOAD_MAX / 20 + 1];
    let too_long = Fact::of_node(stamp(START_MS), Checkpoint { live });
    let appender = journal.appender();

    let refused = appender.append_all([fact(1), too_long], Durability::Durable);
    let next = appender.append(fact(2), Durability::Durable).unwrap();
    appender.wait(next).await.unwrap();

    assert!(matches!(refused, Err(AppendError::TooLong(_))));
    assert_eq!(next.seq, 1);
    assert_eq!(seqs(&desk.read(&journal)), [1]);
}

#[tokio::test]
async fn a_disk_that_fills_up_refuses_pings_then_calls_and_gives_its_reserve_back() {
    let desk = Desk::new();
    let settings = Settings { emergency_bytes: 4096, ..quick() };
    let reserve = desk.dir.path().join("emergency.bin");
    let (journal, _) = desk.open_with(settings.clone());
    assert!(reserve.exists());
    drop(journal);

    for (free, expected) in
        [(100 << 30, Pressure::None), (1 << 30, Pressure::Low), (200 << 20, Pressure::Reserve)]
    {
        desk.disk.set_space(Space { free, total: 200 << 30 });
        let (journal, _) = desk.open_with(settings.clone());
        assert_eq!(journal.appender().pressure(), expected);
        assert_eq!(reserve.exists(), expected != Pressure::Reserve);
        let lsn = desk.append(&journal, 1..=1, Durability::Durable);
        journal.appender().wait(lsn).await.unwrap();
    }
}

#[tokio::test]
async fn on_a_full_disk_live_calls_are_closed_in_the_room_of_the_reserve() {
    let desk = Desk::new();
    let settings = Settings { segment_bytes: 8 << 20, emergency_bytes: 2 << 20, ..quick() };
    let (journal, _) = desk.open_with(settings);
    desk.disk.set_room(0);

    let lsn = desk.append(&journal, 1..=10, Durability::Durable);
    journal.appender().wait(lsn).await.unwrap();

    assert!(!desk.dir.path().join("emergency.bin").exists());
    assert_eq!(journal.appender().pressure(), Pressure::None);
    assert_eq!(seqs(&desk.read(&journal)).len(), 10);
}

#[tokio::test]
async fn a_tail_that_lags_still_gets_every_fact_once_and_in_order() {
    let desk = Desk::new();
    let settings = Settings { tail_batches: 1, ..quick() };
    let (journal, _) = desk.open_with(settings);
    let mut tail = journal.tail(Lsn::default());
    for n in 1..=50 {
        let lsn = desk.append(&journal, n * 3 - 2..=n * 3, Durability::Durable);
        journal.appender().wait(lsn).await.unwrap();
    }
    assert!(journal.stats().tail_lags.load(Ordering::Relaxed) > 0);
    journal.close().unwrap();

    let mut read = Vec::new();
    while let Some(entries) = tail.next().await.unwrap() {
        read.extend(entries);
    }

    assert_eq!(seqs(&read), (1..=150).collect::<Vec<_>>());
    assert!(read.iter().zip(1..).all(|(entry, n)| entry.fact == fact(n)));
    assert_eq!(tail.gaps(), []);
}

#[tokio::test]
async fn a_segment_is_deleted_once_it_is_old_and_every_projection_is_past_it() {
    let desk = Desk::new();
    let settings = Settings { segment_bytes: 1024, ..quick() };
    let (journal, _) = desk.open_with(settings);
    let (slow, fast) = (journal.watermark(Lsn::default()), journal.watermark(Lsn::default()));
    let mut last = Lsn::default();
    for n in 1..=20 {
        last = desk.append(&journal, n * 5 - 4..=n * 5, Durability::Durable);
        journal.appender().wait(last).await.unwrap();
    }
    let before = desk.segments();

    fast.advance(last);
    slow.advance(Lsn { seq: before[3].first_seq, ..last });
    desk.advance_ms(2_000);
    desk.append(&journal, 101..=101, Durability::Durable);
    desk.advance_ms(24 * 3_600_000);
    desk.until(&journal, |stats| stats.segments_deleted.load(Ordering::Relaxed) == 3);
    journal.close().unwrap();

    assert_eq!(desk.segments()[0], before[3]);
}

/// What nobody but a follower wants is kept as far as there is room, and no further.
#[tokio::test]
async fn segments_that_a_follower_has_not_read_are_kept_up_to_a_number_of_bytes() {
    let desk = Desk::new();
    let settings = Settings { segment_bytes: 1024, backlog_bytes_max: 3_000, ..quick() };
    let (journal, _) = desk.open_with(settings);
    let (book, behind) = (journal.watermark(Lsn::default()), journal.follower_mark(Lsn::default()));
    let mut last = Lsn::default();
    for n in 1..=20 {
        last = desk.append(&journal, n * 5 - 4..=n * 5, Durability::Durable);
        journal.appender().wait(last).await.unwrap();
    }
    let before = desk.segments();
    assert!(before.len() > 6, "{before:?}");

    book.advance(last);
    desk.advance_ms(24 * 3_600_000);
    let last = desk.append(&journal, 101..=101, Durability::Durable);
    journal.appender().wait(last).await.unwrap();
    desk.until(&journal, |stats| stats.segments_deleted.load(Ordering::Relaxed) > 0);
    // The thread that deletes is done with it once it has written another fact.
    let last = desk.append(&journal, 102..=102, Durability::Durable);
    journal.appender().wait(last).await.unwrap();
    let kept = desk.segments();
    let unread = journal.stats().segments_unread.load(Ordering::Relaxed);
    assert!(kept.len() > 2 && kept.len() < before.len(), "{kept:?}");
    assert_eq!(unread, journal.stats().segments_deleted.load(Ordering::Relaxed));

    // What it has read meanwhile is deleted, and is lost to nobody.
    behind.advance(last);
    desk.advance_ms(25 * 3_600_000);
    let last = desk.append(&journal, 103..=103, Durability::Durable);
    journal.appender().wait(last).await.unwrap();
    desk.until(&journal, |stats| stats.segments_deleted.load(Ordering::Relaxed) > unread);
    assert_eq!(journal.stats().segments_unread.load(Ordering::Relaxed), unread);
    journal.close().unwrap();
}

#[test]
fn a_second_process_is_kept_out() {
    let desk = Desk::new();
    let (_journal, _) = desk.open();

    let second =
        Journal::open_on(Arc::new(desk.disk.clone()), desk.dir.path(), 1, quick(), desk.hooks());

    assert!(matches!(second, Err(JournalError::InUse(_))));
}

#[tokio::test]
async fn durability_is_announced_in_order_and_after_the_sync() {
    let desk = Desk::new();
    let (sender, announced) = std::sync::mpsc::channel();
    let hooks = Hooks {
        on_durable: Box::new(move |durable| sender.send(durable.up_to).unwrap()),
        ..desk.hooks()
    };
    let disk = Arc::new(desk.disk.clone());
    let (journal, _) = Journal::open_on(disk, desk.dir.path(), 1, quick(), hooks).unwrap();
    let first = desk.append(&journal, 1..=2, Durability::Durable);
    journal.appender().wait(first).await.unwrap();
    let second = desk.append(&journal, 3..=4, Durability::Durable);
    journal.appender().wait(second).await.unwrap();
    journal.close().unwrap();

    assert_eq!(announced.iter().collect::<Vec<_>>(), [first, second]);
}

#[tokio::test]
async fn the_pace_of_commits_is_not_waited_for_once_it_has_passed() {
    let pace = Duration::from_secs(3_600);
    let desk = Desk::new();
    desk.advance_ms(3_600_000);
    let (journal, _) = desk.open_with(Settings { pace, ..quick() });
    let first = desk.append(&journal, 1..=1, Durability::Durable);
    journal.appender().wait(first).await.unwrap();

    desk.advance_ms(3_600_000);
    let second = desk.append(&journal, 2..=2, Durability::Durable);

    timeout(Duration::from_secs(30), journal.appender().wait(second)).await.unwrap().unwrap();
}

/// A journal's directory, disk and clock.
struct Desk {
    dir: TempDir,
    disk: FlakyDisk,
    now_ms: Arc<AtomicI64>,
}

impl Desk {
    /// Facts 1 to 3 are durable at once, 4 to 6 after a sync that failed.
    async fn open_and_fail_a_sync(&self) -> Journal {
        let (journal, _) = self.open();
        let first = self.append(&journal, 1..=3, Durability::Durable);
        journal.appender().wait(first).await.unwrap();
        self.disk.fail_syncs(1);
        let second = self.append(&journal, 4..=6, Durability::Durable);
        journal.appender().wait(second).await.unwrap();
        journal
    }

    fn new() -> Self {
        let now_ms = Arc::new(AtomicI64::new(START_MS));
        Self { dir: TempDir::new().unwrap(), disk: FlakyDisk::default(), now_ms }
    }

    /// The same directory after the process died.
    fn restarted(&self) -> DeadDesk<'_> {
        DeadDesk { desk: self }
    }

    fn hooks(&self) -> Hooks {
        let now_ms = Arc::clone(&self.now_ms);
        Hooks::silent(Arc::new(move || stamp(now_ms.load(Ordering::Relaxed))))
    }

    fn open(&self) -> (Journal, Recovery) {
        self.open_with(quick())
    }

    fn open_after(&self, resume: Lsn) -> (Journal, Recovery) {
        self.open_with(Settings { resume: Some(resume), ..quick() })
    }

    fn open_with(&self, settings: Settings) -> (Journal, Recovery) {
        let disk = Arc::new(self.disk.clone());
        Journal::open_on(disk, self.dir.path(), 1, settings, self.hooks()).unwrap()
    }

    /// A journal of `count` facts whose process was killed before it could close it.
    fn write_killed(&self, count: u64) -> Journal {
        let (journal, _) = self.open();
        self.append(&journal, 1..=count, Durability::Durable);
        self.until(&journal, |stats| stats.syncs.load(Ordering::Relaxed) > 0);
        self.disk.kill();
        journal
    }

    fn append(
        &self,
        journal: &Journal,
        numbers: impl Iterator<Item = u64>,
        durability: Durability,
    ) -> Lsn {
        journal.appender().append_all(numbers.map(fact), durability).unwrap()
    }

    fn read(&self, journal: &Journal) -> Vec<Entry> {
        let mut entries = Vec::new();
        journal.reader(Lsn::default()).read(usize::MAX, MAX, &mut entries).unwrap();
        entries
    }

    fn advance_ms(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Yields to the committer's thread until it has done what is expected of it.
    fn until(&self, journal: &Journal, done: impl Fn(&Stats) -> bool) {
        while !done(journal.stats()) {
            std::thread::yield_now();
        }
    }

    fn segments(&self) -> Vec<SegmentName> {
        segment::list(&RealDisk, self.dir.path(), 1).unwrap()
    }

    fn only_segment(&self) -> PathBuf {
        let segments = self.segments();
        assert_eq!(segments.len(), 1);
        segments[0].path(self.dir.path(), 1)
    }

    /// Bytes of a segment up to the last that is not zero.
    fn written_len(&self, segment: &Path) -> usize {
        fs::read(segment).unwrap().iter().rposition(|byte| *byte != 0).unwrap() + 1
    }

    fn scratch(&self) -> TempDir {
        TempDir::new_in(self.dir.path()).unwrap()
    }
}

struct DeadDesk<'a> {
    desk: &'a Desk,
}

impl DeadDesk<'_> {
    fn open(&self) -> (Journal, Recovery) {
        self.open_with(quick())
    }

    fn open_after(&self, resume: Lsn) -> (Journal, Recovery) {
        self.open_with(Settings { resume: Some(resume), ..quick() })
    }

    fn open_with(&self, settings: Settings) -> (Journal, Recovery) {
        let disk = Arc::new(FlakyDisk::default());
        let hooks = self.desk.hooks();
        Journal::open_on(disk, self.desk.dir.path(), 1, settings, hooks).unwrap()
    }
}

const MAX: Lsn = Lsn { epoch: u64::MAX, seq: u64::MAX };

/// Small segments, no waiting.
fn quick() -> Settings {
    Settings {
        linger: Duration::ZERO,
        pace: Duration::ZERO,
        tail_delay: Duration::ZERO,
        segment_bytes: 1 << 16,
        emergency_bytes: 0,
        ..Settings::default()
    }
}

/// Facts of one length, so that a byte tells which record it is in.
fn fact(n: u64) -> Fact {
    let at = stamp(START_MS + n as i64);
    Fact::of_call(call_id(n), at, FactBody::from(Confirmed::default()))
}

fn seqs(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.lsn.seq).collect()
}

fn read_all(dir: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    Reader::new(Arc::new(RealDisk), dir, 1, Lsn::default())
        .read(usize::MAX, MAX, &mut entries)
        .unwrap();
    entries
}

#[test]
fn a_fact_of_the_node_has_no_call() {
    let desk = Desk::new();
    let (journal, _) = desk.open();
    let started = Fact::of_node(stamp(START_MS), NodeStarted { version: "0.1.0".into() });
    journal.appender().append(started.clone(), Durability::Durable).unwrap();
    journal.close().unwrap();

    assert_eq!(read_all(desk.dir.path())[0].fact, started);
}
