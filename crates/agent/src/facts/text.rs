//! The texts of `/proc`, taken apart. Pure: what cannot be understood is none.

use backstay_types::Room;

/// Processor time since boot, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuTime {
    pub(super) busy: u64,
    pub(super) all: u64,
}

impl CpuTime {
    /// The line of all processors in `/proc/stat`.
    pub(super) fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        // user nice system idle iowait irq softirq steal; guest time is in user time already.
        let fields: Vec<u64> =
            line.split_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
        let [_, _, _, idle, rest @ ..] = fields.as_slice() else { return None };
        let all: u64 = fields.iter().sum();
        let waiting = rest.first().copied().unwrap_or_default();
        Some(Self { busy: all.saturating_sub(idle.saturating_add(waiting)), all })
    }

    /// Busy time since an earlier moment, in percent; none when no time has passed.
    pub(super) fn percent_since(self, before: Self) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        Some(tenths(self.busy.saturating_sub(before.busy).min(all) as f64 * 100.0 / all as f64))
    }
}

/// Memory and swap from `/proc/meminfo`.
pub(super) fn memory(meminfo: &str) -> (Option<Room>, Option<Room>) {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let room = |total: &str, free: &str| Some(Room { total: field(total)?, free: field(free)? });
    let memory = room("MemTotal", "MemAvailable").or_else(|| room("MemTotal", "MemFree"));
    (memory, room("SwapTotal", "SwapFree").filter(|swap| swap.total > 0))
}

/// `/proc/loadavg`.
pub(super) fn load(loadavg: &str) -> Option<[f64; 3]> {
    let mut fields =
        loadavg.split_whitespace().map(|field| field.parse::<f64>().ok().filter(|l| l.is_finite()));
    Some([fields.next()??, fields.next()??, fields.next()??])
}

/// Whole seconds of `/proc/uptime`.
pub(super) fn uptime(uptime: &str) -> Option<u64> {
    uptime.split('.').next()?.trim().parse().ok()
}

/// Ticks of processor time and bytes of memory from a process's `stat`.
pub(super) fn process(stat: &str, page: u64) -> Option<(u64, u64)> {
    // The name in parentheses may hold anything; what follows the last one may not.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let number = |at: usize| fields.get(at)?.trim().parse::<u64>().ok();
    Some((number(11)?.saturating_add(number(12)?), number(21)?.saturating_mul(page)))
}

/// When a process was started, in ticks since boot, as its `stat` writes it.
pub(super) fn started(stat: &str) -> Option<&str> {
    stat.rsplit_once(") ")?.1.split(' ').nth(19)
}

/// A number rounded to one place.
pub(super) fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_is_what_is_not_idle() {
        let before = CpuTime::parse("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3 4\n").unwrap();
        assert_eq!(before, CpuTime { busy: 150, all: 1000 });
        let after = CpuTime::parse("cpu  150 0 50 850 50 0 0 0 0 0\n").unwrap();
        assert_eq!(after.percent_since(before), Some(50.0));
        assert_eq!(before.percent_since(before), None);
        assert_eq!(before.percent_since(after), None, "a counter that went back");
        for text in ["", "cpu", "cpu  1 2", "cpux 1 2 3 4", "intr 1 2 3 4 5"] {
            assert_eq!(CpuTime::parse(text), None, "{text}");
        }
    }

    #[test]
    fn memory_is_read_with_and_without_swap() {
        let text = "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     400 kB\nSwapTotal:  0 kB\nSwapFree: 0 kB\n";
        let (memory, swap) = memory(text);
        assert_eq!(memory, Some(Room { total: 1_024_000, free: 409_600 }));
        assert_eq!(swap, None);
        assert_eq!(super::memory("MemTotal: many kB\n").0, None);
    }

    #[test]
    fn odd_texts_give_nothing() {
        assert_eq!(load("0.10 0.20 0.30 1/200 4711\n"), Some([0.1, 0.2, 0.3]));
        assert_eq!(load("0.10 NaN 0.30"), None);
        assert_eq!(load("0.10"), None);
        assert_eq!(uptime("12345.67 400.00\n"), Some(12345));
        assert_eq!(uptime("soon"), None);
        let stat =
            "42 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0 1 0 9999 1000000 256 18446744073709551615";
        assert_eq!(process(stat, 4096), Some((42, 256 * 4096)));
        assert_eq!(process("42 (a", 4096), None);
    }
}
