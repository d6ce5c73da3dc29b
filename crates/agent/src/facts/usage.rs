//! What a container or process uses, from control groups or `/proc`: no question to the engine.

use std::path::Path;

use super::{names, read, text};

/// Processor time in nanoseconds since its start, and memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) cpu: Option<u64>,
    pub(super) memory: Option<u64>,
}

/// A tick of `/proc/<id>/stat`, in nanoseconds: user space always sees 100 a second.
const TICK: u64 = 10_000_000;

/// The usage of a container, or of a process and its descendants when `id` is `<number>-<start>`. None when nothing
/// tells.
pub(super) fn usage(root: &Path, id: &str) -> Option<Usage> {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((pid, started)) = id.split_once('-').filter(|(pid, started)| number(pid) && number(started)) {
        let stat = read(root, &format!("proc/{pid}/stat"))?;
        // Another process may have got the number since.
        return if text::started(&stat)? == started { processes(root, pid) } else { None };
    }
    // It becomes part of a path.
    let is_id = id.len() >= 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id { None } else { unified(root, id).or_else(|| legacy(root, id)) }
}

/// Control groups, second version.
fn unified(root: &Path, id: &str) -> Option<Usage> {
    let places = [
        format!("system.slice/docker-{id}.scope"),
        format!("docker/{id}"),
        format!("machine.slice/libpod-{id}.scope"),
    ];
    places.iter().find_map(|place| {
        let group = |file: &str| read(root, &format!("sys/fs/cgroup/{place}/{file}"));
        let cpu = group("cpu.stat").and_then(|stat| {
            let micros = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
            micros.parse::<u64>().ok()?.checked_mul(1000)
        });
        let memory = group("memory.current").and_then(|text| text.parse().ok());
        // File pages that can be dropped at once are not what it needs.
        let idle = group("memory.stat").and_then(|stat| {
            stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?.parse::<u64>().ok()
        });
        let memory = memory.map(|memory: u64| memory.saturating_sub(idle.unwrap_or_default()));
        (cpu.is_some() || memory.is_some()).then_some(Usage { cpu, memory })
    })
}

/// Control groups, first version.
fn legacy(root: &Path, id: &str) -> Option<Usage> {
    let of = |controller: &str, file: &str| {
        let places = [format!("docker/{id}"), format!("system.slice/docker-{id}.scope")];
        places.iter().find_map(|place| {
            read(root, &format!("sys/fs/cgroup/{controller}/{place}/{file}"))?.parse::<u64>().ok()
        })
    };
    let cpu = of("cpuacct", "cpuacct.usage").or_else(|| of("cpu,cpuacct", "cpuacct.usage"));
    let memory = of("memory", "memory.usage_in_bytes");
    (cpu.is_some() || memory.is_some()).then_some(Usage { cpu, memory })
}

/// A process and its descendants.
fn processes(root: &Path, id: &str) -> Option<Usage> {
    let page = rustix::param::page_size() as u64;
    let stat = |id: &str| text::process(&read(root, &format!("proc/{id}/stat"))?, page);
    let (mut ticks, mut memory) = stat(id)?;
    let mut parents = vec![id.to_owned()];
    while let Some(parent) = parents.pop() {
        for thread in names(root, &format!("proc/{parent}/task")) {
            let children = read(root, &format!("proc/{parent}/task/{thread}/children")).unwrap_or_default();
            for child in children.split_whitespace() {
                if let Some((more, bytes)) = stat(child) {
                    (ticks, memory) = (ticks + more, memory + bytes);
                    parents.push(child.to_owned());
                }
            }
        }
    }
    Some(Usage { cpu: ticks.checked_mul(TICK), memory: Some(memory) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::figures::tests::tree;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn both_versions_of_control_groups_are_read() {
        let cpu = format!("sys/fs/cgroup/system.slice/docker-{ID}.scope/cpu.stat");
        let memory = format!("sys/fs/cgroup/system.slice/docker-{ID}.scope/memory.current");
        let stat = format!("sys/fs/cgroup/system.slice/docker-{ID}.scope/memory.stat");
        let root = tree(&[
            (&cpu, "usage_usec 1500\nuser_usec 1000\n"),
            (&memory, "5000\n"),
            (&stat, "anon 1\ninactive_file 2000\n"),
        ]);
        assert_eq!(usage(root.path(), ID), Some(Usage { cpu: Some(1_500_000), memory: Some(3000) }));
        let cpu = format!("sys/fs/cgroup/cpuacct/docker/{ID}/cpuacct.usage");
        let memory = format!("sys/fs/cgroup/memory/docker/{ID}/memory.usage_in_bytes");
        let root = tree(&[(&cpu, "77\n"), (&memory, "88\n")]);
        assert_eq!(usage(root.path(), ID), Some(Usage { cpu: Some(77), memory: Some(88) }));
        assert_eq!(usage(tree(&[]).path(), ID), None);
        assert_eq!(usage(root.path(), "../../../etc/passwd"), None);
    }

    #[test]
    fn a_process_counts_with_its_children() {
        let stat = |ticks: u32| format!("1 (sh) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 5 9 10 1");
        let root = tree(&[
            ("proc/10/stat", &stat(3)),
            ("proc/10/task/10/children", "11 12 \n"),
            ("proc/11/stat", &stat(4)),
            ("proc/11/task/11/children", ""),
        ]);
        let page = rustix::param::page_size() as u64;
        let found = usage(root.path(), "10-5").unwrap();
        assert_eq!(found, Usage { cpu: Some(7 * TICK), memory: Some(20 * page) });
        assert_eq!(usage(root.path(), "10-6"), None, "another process has the number now");
        assert_eq!(usage(root.path(), "99-5"), None);
    }
}
