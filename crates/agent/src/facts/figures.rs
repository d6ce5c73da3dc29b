//! A machine's figures. What needs two looks is kept from one to the next.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use backstay_types::{ContainerFigures, HostFigures, MOST_CONTAINERS, ObservedStack, Room};

use super::{
    hardware, read,
    text::{self, CpuTime, tenths},
    usage::{Usage, usage},
};

/// Measures a machine, over and over.
#[derive(Debug)]
pub(crate) struct Measure {
    /// Where `proc` and `sys` are.
    root: PathBuf,
    cpu: Option<CpuTime>,
    /// Processor time of each container, and when it was looked at, since the agent began.
    containers: HashMap<String, (u64, Duration)>,
}

impl Measure {
    /// Measures this machine.
    pub(crate) fn new() -> Self {
        Self { root: PathBuf::from("/"), cpu: None, containers: HashMap::new() }
    }

    /// The figures now. `data` is the agent's data folder, `mono` a time that only goes forward.
    pub(crate) fn figures(
        &mut self,
        data: &Path,
        observed: &[ObservedStack],
        clock_offset_ms: Option<i64>,
        mono: Duration,
    ) -> HostFigures {
        let root = self.root.clone();
        let (memory, swap) = read(&root, "proc/meminfo").map(|text| text::memory(&text)).unwrap_or_default();
        let (disk, inodes) = disk(data);
        HostFigures {
            cpu_percent: self.cpu_percent(),
            load: read(&root, "proc/loadavg").and_then(|text| text::load(&text)),
            memory,
            swap,
            disk,
            inodes,
            temperature_celsius: hardware::temperature(&root),
            throttling: hardware::throttling(&root),
            clock_offset_ms,
            uptime_seconds: read(&root, "proc/uptime").and_then(|text| text::uptime(&text)),
            agent_memory_bytes: own_memory(&root),
            containers: self.containers(observed, mono),
        }
    }

    fn cpu_percent(&mut self) -> Option<f64> {
        let now = CpuTime::parse(&read(&self.root, "proc/stat")?)?;
        let before = self.cpu.replace(now)?;
        now.percent_since(before)
    }

    fn containers(&mut self, observed: &[ObservedStack], mono: Duration) -> Vec<ContainerFigures> {
        let before = std::mem::take(&mut self.containers);
        let mut all = Vec::new();
        for stack in observed {
            for container in stack.containers.iter().filter(|container| container.running) {
                let Some(Usage { cpu, memory }) = usage(&self.root, &container.id) else { continue };
                let cpu_percent = cpu.and_then(|cpu| {
                    self.containers.insert(container.id.clone(), (cpu, mono));
                    let (then, at) = before.get(&container.id)?;
                    let passed = mono.checked_sub(*at).filter(|passed| !passed.is_zero())?;
                    Some(tenths(cpu.checked_sub(*then)? as f64 * 100.0 / passed.as_nanos() as f64))
                });
                all.push(ContainerFigures {
                    stack: stack.stack.clone(),
                    service: container.service.clone(),
                    cpu_percent,
                    memory_bytes: memory,
                });
            }
        }
        if all.len() > MOST_CONTAINERS {
            all.sort_by_key(|one| std::cmp::Reverse(one.memory_bytes));
            all.truncate(MOST_CONTAINERS);
        }
        all
    }
}

fn disk(data: &Path) -> (Option<Room>, Option<Room>) {
    let Ok(stat) = rustix::fs::statvfs(data) else { return (None, None) };
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    let disk = Room { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) };
    let inodes = Room { total: stat.f_files, free: stat.f_favail };
    (Some(disk), Some(inodes).filter(|inodes| inodes.total > 0))
}

fn own_memory(root: &Path) -> Option<u64> {
    let pages = read(root, "proc/self/statm")?.split(' ').nth(1)?.parse::<u64>().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use backstay_types::{Container, ImageId, StackHealth};
    use tempfile::TempDir;

    use super::*;

    /// A folder with these files in it, as `/` would have them.
    pub(in crate::facts) fn tree(files: &[(&str, &str)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn measure(root: &TempDir) -> Measure {
        Measure { root: root.path().to_owned(), ..Measure::new() }
    }

    fn observed(id: &str) -> ObservedStack {
        let container = Container {
            service: "web".to_owned(),
            id: id.to_owned(),
            name: "web".to_owned(),
            image: ImageId("sha256:1".to_owned()),
            running: true,
            health: None,
            deployment: None,
        };
        ObservedStack {
            stack: "shop".parse().unwrap(),
            current: None,
            previous: None,
            deployment: None,
            health: StackHealth::Healthy,
            detail: String::new(),
            can_return: false,
            drift: Vec::new(),
            figures: Default::default(),
            containers: vec![container],
        }
    }

    #[test]
    fn a_raspberry_pi_is_measured() {
        let id = "0123456789ab";
        let usage = format!("sys/fs/cgroup/docker/{id}/cpu.stat");
        let root = tree(&[
            ("proc/stat", "cpu  100 0 0 900 0 0 0 0\n"),
            ("proc/loadavg", "0.52 0.58 0.59 1/213 4711\n"),
            ("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 250 kB\nSwapTotal: 100 kB\nSwapFree: 99 kB\n"),
            ("proc/uptime", "93.50 300.00\n"),
            ("proc/self/statm", "5000 1500 100 1 0 1 0\n"),
            ("sys/class/thermal/thermal_zone0/temp", "71234\n"),
            ("sys/devices/platform/soc/soc:firmware/get_throttled", "50000\n"),
            (&usage, "usage_usec 1000000\n"),
        ]);
        let mut measure = measure(&root);
        let stacks = [observed(id)];
        let second = Duration::from_secs(1);
        let first = measure.figures(root.path(), &stacks, Some(-7), second);
        assert_eq!((first.cpu_percent, first.containers[0].cpu_percent), (None, None));
        fs::write(root.path().join("proc/stat"), "cpu  175 0 0 925 0 0 0 0\n").unwrap();
        fs::write(root.path().join(&usage), "usage_usec 1500000\n").unwrap();
        let found = measure.figures(root.path(), &stacks, Some(-7), second * 3);
        assert_eq!(found.cpu_percent, Some(75.0));
        assert_eq!(found.load, Some([0.52, 0.58, 0.59]));
        assert_eq!(found.memory, Some(Room { total: 1_024_000, free: 256_000 }));
        assert_eq!(found.temperature_celsius, Some(71.2));
        let throttling = found.throttling.unwrap();
        assert!(throttling.under_voltage_before && !throttling.under_voltage);
        assert_eq!((found.uptime_seconds, found.clock_offset_ms), (Some(93), Some(-7)));
        assert!(found.agent_memory_bytes.unwrap() >= 1500 * 4096);
        assert_eq!(found.containers[0].cpu_percent, Some(25.0));
        assert!(found.disk.unwrap().total > 0);
        assert!(found.conditions(4).contains(&backstay_types::HostCondition::Over70Degrees));
    }

    #[test]
    fn a_machine_that_says_nothing_is_measured_too() {
        let root = tree(&[]);
        let found = measure(&root).figures(Path::new("/nowhere"), &[observed("1")], None, Duration::ZERO);
        assert_eq!(found, HostFigures::default());
    }

    #[test]
    fn this_machine_says_the_most_usual_things() {
        let found = Measure::new().figures(Path::new("/"), &[], None, Duration::ZERO);
        assert!(found.memory.unwrap().total > 0 && found.uptime_seconds.is_some() && found.load.is_some());
        assert!(found.agent_memory_bytes.unwrap() > 0);
    }
}
