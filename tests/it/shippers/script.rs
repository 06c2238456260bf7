//! The script that appends to a stream, at a server by itself.

use std::path::Path;

use redis::{Connection, RedisResult, cmd};

use crate::support::redis::Redis;

const SCRIPT: &str = include_str!("../../../src/server/shippers/streams/ship.lua");
const STREAM: &str = "q:{p07}";
const REACHED: &str = "off:{p07}:q:audit:7d0c5a1802f1";

/// An id, and names and values of fields.
type Entry = (String, Vec<String>);

/// A server, and a stream at it.
struct Stream {
    _redis: Redis,
    connection: Connection,
    most: u64,
    keep_ms: u64,
}

impl Stream {
    fn at(folder: &Path) -> Self {
        let redis = Redis::alone(folder).unwrap();
        let url = format!("redis://{}", redis.address());
        let connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        Self { _redis: redis, connection, most: 10_000, keep_ms: 0 }
    }

    fn offer(&mut self, positions: impl IntoIterator<Item = u64>) -> RedisResult<i64> {
        let mut eval = cmd("EVAL");
        eval.arg(SCRIPT).arg(2).arg(STREAM).arg(REACHED).arg(self.most).arg(self.keep_ms);
        for position in positions {
            eval.arg(format!("{:020}{position:020}", 1)).arg(format!("j-1-{position}"));
            eval.arg("call.ended").arg("application/json").arg("{}");
        }
        eval.query(&mut self.connection)
    }

    fn ids(&mut self) -> Vec<String> {
        let read: Vec<Entry> =
            cmd("XRANGE").arg(STREAM).arg("-").arg("+").query(&mut self.connection).unwrap();
        read.into_iter().map(|(_, fields)| fields[1].clone()).collect()
    }

    fn len(&mut self) -> usize {
        cmd("XLEN").arg(STREAM).query(&mut self.connection).unwrap()
    }

    fn group(&mut self, name: &str) {
        let mut create = cmd("XGROUP");
        create.arg("CREATE").arg(STREAM).arg(name).arg("0").arg("MKSTREAM");
        create.exec(&mut self.connection).unwrap();
    }

    /// The group reads so many, and acknowledges all but the places in `but`.
    fn read(&mut self, group: &str, count: usize, but: &[usize]) {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(group).arg("one").arg("COUNT").arg(count);
        read.arg("STREAMS").arg(STREAM).arg(">");
        let read: Vec<(String, Vec<Entry>)> = read.query(&mut self.connection).unwrap();
        for (place, (id, _)) in read[0].1.iter().enumerate() {
            if !but.contains(&place) {
                cmd("XACK").arg(STREAM).arg(group).arg(id).exec(&mut self.connection).unwrap();
            }
        }
        // What came in this very millisecond is too young to go.
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn named(positions: impl IntoIterator<Item = u64>) -> Vec<String> {
    positions.into_iter().map(|position| format!("j-1-{position}")).collect()
}

#[test]
fn what_the_stream_has_is_not_appended_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = Stream::at(folder.path());

    assert_eq!(stream.offer([3, 5, 9]), Ok(3));
    assert_eq!(stream.offer([3, 5, 9]), Ok(0));
    assert_eq!(stream.offer([5, 9, 10, 11]), Ok(2));
    assert_eq!(stream.offer([1, 2, 11]), Ok(0));
    assert_eq!(stream.offer([100]), Ok(1));

    assert_eq!(stream.ids(), named([3, 5, 9, 10, 11, 100]));
}

#[test]
fn nothing_is_removed_that_a_group_has_not_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = Stream::at(folder.path());
    let rounds = |stream: &mut Stream, from: u64| {
        for n in 0..30 {
            stream.offer(from + n * 50..from + (n + 1) * 50).unwrap();
        }
    };

    // Nobody reads: everything stays.
    rounds(&mut stream, 1);
    assert_eq!(stream.len(), 1_500);

    // One group has acknowledged all, another has not read the last third.
    stream.group("fast");
    stream.group("slow");
    stream.read("fast", 1_500, &[]);
    stream.read("slow", 1_000, &[]);
    stream.offer([2_000]).unwrap();
    let left = stream.ids();
    assert!(left.len() < 700, "{} are left", left.len());
    assert!(left.ends_with(&named((1_001..=1_500).chain([2_000]))), "{left:?}");

    // It reads the rest, and one it does not acknowledge.
    stream.read("slow", 501, &[200]);
    stream.read("fast", 1, &[]);
    stream.offer([2_001]).unwrap();
    let left = stream.ids();
    assert!(left.contains(&String::from("j-1-1201")), "{left:?}");
    assert!(left.len() < 500, "{} are left", left.len());

    // What is young stays, whoever has it.
    stream.keep_ms = 3_600_000;
    let before = stream.len();
    rounds(&mut stream, 3_000);
    stream.read("slow", 2_000, &[]);
    stream.read("fast", 2_000, &[]);
    stream.offer([9_000]).unwrap();
    assert_eq!(stream.len(), before + 1_501);
}

#[test]
fn a_full_stream_takes_nothing_until_groups_have_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = Stream::at(folder.path());
    stream.most = 1_000;
    stream.group("only");

    for n in 0..20 {
        assert_eq!(stream.offer(n * 50 + 1..=(n + 1) * 50), Ok(50));
    }
    assert_eq!(stream.offer([1_001]), Ok(-1));
    assert_eq!(stream.offer([1_000]), Ok(0), "that it has is no news");
    assert_eq!(stream.len(), 1_000);

    stream.read("only", 1_000, &[]);
    assert_eq!(stream.offer([1_001]), Ok(1));
    assert!(stream.len() < 200, "{} are left", stream.len());

    // So few that they are in one block.
    stream.most = 20;
    stream.read("only", 1, &[]);
    assert_eq!(stream.offer(1_002..=1_020), Ok(19));
    assert_eq!(stream.offer([1_021]), Ok(-1));
    stream.read("only", 19, &[18]);
    assert_eq!(stream.offer(1_021..=1_038), Ok(18));
    assert_eq!(stream.ids(), named(1_020..=1_038));
}
