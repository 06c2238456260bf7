//! What the machine gives this process: files, buffers, memory (spec/sip O13, S13).

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};

/// Files the process needs besides sockets: journal, database, their like.
const FILES: u64 = 64;

/// Raises the limit of open files as far as it goes, and returns what is wrong, a sentence each.
/// `sockets` is how many there may be; `asked` and `granted` are bytes of a socket's buffer.
pub(super) fn complaints(sockets: u64, asked: usize, granted: Option<usize>) -> Vec<String> {
    let mut complaints = Vec::new();
    complaints.extend(open_files().and_then(|limit| too_few_files(sockets + FILES, limit)));
    complaints.extend(granted.and_then(|granted| small_buffer(asked, granted)));
    complaints.extend(
        number_in("/proc/sys/net/netfilter/nf_conntrack_max").and_then(small_connection_table),
    );
    complaints
}

/// The limit of open files, raised to the highest the process may choose.
fn open_files() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => Some(hard),
        Err(_) => Some(soft),
    }
}

fn too_few_files(needed: u64, limit: u64) -> Option<String> {
    (limit < needed).then(|| {
        format!(
            "{limit} files may be open, which is less than {needed}: connections will be refused \
             before sip.tcp.connections_max and api.connections_max are reached; raise LimitNOFILE or ulimit -n, or set \
             fewer connections"
        )
    })
}

fn small_buffer(asked: usize, granted: usize) -> Option<String> {
    (granted < asked).then(|| {
        format!(
            "the kernel grants UDP sockets a buffer of {granted} bytes instead of {asked}: bursts \
             will be lost; set sysctl net.core.rmem_max={asked}, or sip.receive_buffer_bytes to \
             what there is"
        )
    })
}

/// Below this a signalling server's flows fill the table within seconds.
const CONNECTIONS_TRACKED_MIN: u64 = 65_536;

fn small_connection_table(max: u64) -> Option<String> {
    (max < CONNECTIONS_TRACKED_MIN).then(|| {
        format!(
            "the firewall tracks {max} connections at most, and drops packets beyond that; set \
             sysctl net.netfilter.nf_conntrack_max={CONNECTIONS_TRACKED_MIN} or more, or exempt \
             SIP from tracking"
        )
    })
}

/// Bytes of memory in use by this process.
pub(super) fn memory_used() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    kilobytes(&status, "VmRSS:")
}

/// Time that cores have worked for this process, on its own code and on the kernel's.
pub(super) fn cpu_used() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let micros = [usage.user_time(), usage.system_time()]
        .map(|time| time.tv_sec() * 1_000_000 + time.tv_usec())
        .map(|micros| u64::try_from(micros).unwrap_or(0));
    Duration::from_micros(micros.iter().sum())
}

/// Bytes of memory this process may use: its control group's limit, or all there is.
pub(super) fn memory_given() -> Option<u64> {
    let all = kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:");
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let own = Path::new("/sys/fs/cgroup").join(own).join("memory.max");
    let limits = [
        own.to_str().and_then(number_in),
        number_in("/sys/fs/cgroup/memory.max"),
        number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ];
    limits.into_iter().chain([all]).flatten().min()
}

fn number_in(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_does_not_give_is_told_with_the_remedy() {
        let told = |complaint: Option<String>, word: &str| {
            complaint.is_some_and(|text| text.contains(word))
        };

        assert!(told(too_few_files(5_000, 1_024), "LimitNOFILE"));
        assert_eq!(too_few_files(5_000, 5_000), None);
        assert!(told(small_buffer(4 << 20, 212_992), "net.core.rmem_max=4194304"));
        assert_eq!(small_buffer(4 << 20, 4 << 20), None);
        assert!(told(small_connection_table(1_000), "nf_conntrack_max"));
        assert_eq!(small_connection_table(262_144), None);
    }

    #[test]
    fn a_size_in_proc_is_read_as_bytes() {
        assert_eq!(kilobytes("VmPeak:\t 9 kB\nVmRSS:\t  512 kB\n", "VmRSS:"), Some(524_288));
        assert_eq!(kilobytes("VmRSS:\t  512\n", "VmRSS:"), None);
        assert!(memory_used().is_some_and(|used| used > 0));
    }
}
