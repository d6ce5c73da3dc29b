//! A machine that is not there. What it says of itself follows from its name and from how long it has run, and goes the
//! way of a real one's facts and figures: as often, and about as much.

use std::time::{Duration, Instant};

use backstay_config::AgentSettings;
use backstay_types::{
    ContainerFigures, Digest, HostFacts, HostFigures, NodeName, ObservedStack, Room, Throttling,
};

use crate::daemon::Host;

const GB: u64 = 1_000_000_000;
const MEMORY: u64 = 4 * GB;
const DISK: u64 = 64 * GB;
const INODES: u64 = 4_000_000;

/// A machine by its name.
#[derive(Debug)]
pub(super) struct Pretended {
    name: NodeName,
    began: Instant,
    every: Duration,
}

impl Pretended {
    pub(super) fn new(name: NodeName) -> Self {
        Self { name, began: Instant::now(), every: AgentSettings::default().figures_every }
    }

    /// From 0 up to 1: the same for a name, a thing and a minute.
    fn chance(&self, of: &str, ran: Duration) -> f64 {
        let minute = ran.as_secs() / 60;
        let digest = Digest::of(format!("{}\0{of}\0{minute}", self.name).as_bytes());
        f64::from(u16::from_le_bytes([digest.as_bytes()[0], digest.as_bytes()[1]])) / 65_536.0
    }

    /// Free room: between a quarter and three quarters of all, and a little less or more by the minute.
    fn room(&self, of: &str, total: u64, ran: Duration) -> Room {
        let (own, now) = (self.chance(of, Duration::ZERO), self.chance(of, ran));
        Room { total, free: (total as f64 * (0.25 + own / 2.0 + now / 100.0)) as u64 }
    }

    pub(super) fn facts_at(&self, ran: Duration) -> HostFacts {
        let disk = self.room("disk", DISK, ran);
        HostFacts {
            os: "linux".to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            hostname: self.name.to_string(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            manifest_schema: backstay_manifest::MANIFEST_SCHEMA,
            runtimes: vec!["compose".to_owned(), "process".to_owned()],
            disk_free_bytes: disk.free,
            disk_total_bytes: disk.total,
            system: "Debian GNU/Linux 13 (trixie)".to_owned(),
            kernel: "6.12.0-simulated".to_owned(),
            model: "Raspberry Pi 4 Model B Rev 1.4".to_owned(),
            cpus: 4,
            memory_bytes: MEMORY,
            flash_worn_percent: Some(10),
            network: format!("10.{}.0.0/24", (self.chance("network", Duration::ZERO) * 256.0) as u8),
            link: "ethernet".to_owned(),
            ..HostFacts::default()
        }
    }

    pub(super) fn figures_at(
        &self,
        ran: Duration,
        observed: &[ObservedStack],
        clock_offset_ms: Option<i64>,
    ) -> HostFigures {
        let tenths =
            |of: &str, least: f64, more: f64| ((least + self.chance(of, ran) * more) * 10.0).round() / 10.0;
        let running = observed.iter().flat_map(|stack| {
            let running = stack.containers.iter().filter(|container| container.running);
            running.map(|container| (&stack.stack, &container.service))
        });
        let containers = running.map(|(stack, service)| ContainerFigures {
            stack: stack.clone(),
            service: service.clone(),
            cpu_percent: Some(tenths(service, 0.0, 20.0)),
            memory_bytes: Some((self.chance(service, ran) * 200e6) as u64),
        });
        HostFigures {
            cpu_percent: Some(tenths("cpu", 1.0, 60.0)),
            load: Some([tenths("load", 0.0, 2.0), tenths("load5", 0.0, 2.0), tenths("load15", 0.0, 2.0)]),
            memory: Some(self.room("memory", MEMORY, ran)),
            swap: None,
            disk: Some(self.room("disk", DISK, ran)),
            inodes: Some(self.room("inodes", INODES, ran)),
            temperature_celsius: Some(tenths("heat", 35.0, 25.0)),
            throttling: Some(Throttling::default()),
            clock_offset_ms,
            uptime_seconds: Some(86_400 + ran.as_secs()),
            agent_memory_bytes: Some(8_000_000 + (self.chance("agent", ran) * 1e6) as u64),
            containers: containers.collect(),
        }
    }
}

impl Host for Pretended {
    async fn facts(&mut self) -> HostFacts {
        self.facts_at(self.began.elapsed())
    }

    fn figures_every(&self) -> Duration {
        self.every
    }

    fn figures(&mut self, observed: &[ObservedStack], clock_offset: Option<i64>) -> Option<HostFigures> {
        Some(self.figures_at(self.began.elapsed(), observed, clock_offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_follows_from_its_name_and_the_time() {
        let [one, other] = ["node-1", "node-2"].map(|name| Pretended::new(name.parse().unwrap()));
        let again = Pretended::new("node-1".parse().unwrap());
        let figures =
            |of: &Pretended, minutes: u64| of.figures_at(Duration::from_secs(60 * minutes), &[], Some(3));
        assert_eq!(figures(&one, 5), figures(&again, 5));
        assert_ne!(figures(&one, 5).cpu_percent, figures(&one, 6).cpu_percent);
        assert_ne!(figures(&one, 5), figures(&other, 5));
        assert_eq!(one.facts_at(Duration::ZERO), again.facts_at(Duration::ZERO));
        assert_ne!(
            one.facts_at(Duration::ZERO).disk_free_bytes,
            other.facts_at(Duration::ZERO).disk_free_bytes
        );
        assert_eq!(one.figures_every(), AgentSettings::default().figures_every, "as often as a real one");
        for minute in 0..500 {
            let found = figures(&one, minute);
            for room in [found.memory, found.disk, found.inodes].map(Option::unwrap) {
                assert!(room.free > room.total / 5 && room.free < room.total, "{room:?}");
            }
        }
    }
}
