//! What `/proc/net` and `/sys` say of the network that the machine reaches others by.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

use backstay_types::{HostFacts, network_of};

use super::read;

/// The interface of the default route, and its network where it says one.
#[derive(Debug, PartialEq, Eq)]
struct Route {
    interface: String,
    network: Option<String>,
}

/// Fills in the network of the default route and what kind of link leads there.
pub(super) fn fill(root: &Path, facts: &mut HostFacts) {
    let found = read(root, "proc/net/route")
        .and_then(|table| route(&table))
        .or_else(|| read(root, "proc/net/ipv6_route").and_then(|table| route6(&table)));
    if let Some(Route { interface, network }) = found {
        facts.link = link(root, &interface).to_owned();
        facts.network = network.unwrap_or_default();
    }
}

/// A line of `/proc/net/route`; addresses are in the machine's own order of bytes.
struct Line<'a> {
    interface: &'a str,
    to: u32,
    gateway: u32,
    metric: u32,
    mask: u32,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [interface, to, gateway, flags, _, _, metric, mask, ..] = fields[..] else { return None };
        let address = |text: &str| {
            u32::from_str_radix(text, 16).ok().map(|n| u32::from(Ipv4Addr::from(n.to_ne_bytes())))
        };
        let up = u32::from_str_radix(flags, 16).ok()? & 1 == 1;
        let (to, gateway, mask) = (address(to)?, address(gateway)?, address(mask)?);
        up.then_some(Self { interface, to, gateway, metric: metric.parse().ok()?, mask })
    }
}

fn route(table: &str) -> Option<Route> {
    let lines: Vec<_> = table.lines().filter_map(Line::read).collect();
    let default =
        lines.iter().filter(|line| line.to == 0 && line.mask == 0).min_by_key(|line| line.metric)?;
    // A route to one machine, as some hosters have it to their gateway, is no network.
    let own = lines.iter().filter(|line| {
        line.interface == default.interface
            && line.gateway == 0
            && (1..=30).contains(&line.mask.leading_ones())
    });
    let own = own.max_by_key(|line| (default.gateway & line.mask == line.to, line.mask));
    let network = own.map(|line| format!("{}/{}", Ipv4Addr::from(line.to), line.mask.leading_ones()));
    Some(Route { interface: default.interface.to_owned(), network })
}

fn route6(table: &str) -> Option<Route> {
    let line = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let [to, length, .., metric, _, _, _, interface] = &fields[..] else { return None };
        let to = Ipv6Addr::from(u128::from_str_radix(to, 16).ok()?);
        let length = u8::from_str_radix(length, 16).ok()?;
        Some((to, length, u32::from_str_radix(metric, 16).ok()?, interface.clone()))
    };
    let lines: Vec<_> = table.lines().filter_map(line).filter(|(.., interface)| interface != "lo").collect();
    let default = lines.iter().filter(|(to, length, ..)| to.is_unspecified() && *length == 0);
    let (.., interface) = default.min_by_key(|(_, _, metric, _)| *metric)?;
    let global = |to: &Ipv6Addr| !to.is_multicast() && !to.is_unicast_link_local() && !to.is_unspecified();
    let own = lines.iter().find(|(to, length, _, of)| of == interface && global(to) && *length <= 64);
    Some(Route { interface: interface.clone(), network: own.map(|(to, ..)| network_of((*to).into())) })
}

/// `wifi`, `cellular`, `ethernet` or `other`.
fn link(root: &Path, interface: &str) -> &'static str {
    let folder = format!("sys/class/net/{interface}");
    let told = read(root, &format!("{folder}/uevent")).unwrap_or_default();
    let kind = told.lines().find_map(|line| line.strip_prefix("DEVTYPE="));
    match kind {
        Some("wlan") => "wifi",
        Some("wwan") => "cellular",
        _ if root.join(&folder).join("wireless").exists() => "wifi",
        _ if interface.starts_with("wwan") => "cellular",
        // ARPHRD_ETHER
        _ if read(root, &format!("{folder}/type")).as_deref() == Some("1") => "ethernet",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    /// An address as the kernel of this machine would write it.
    fn hex(address: [u8; 4]) -> String {
        format!("{:08X}", u32::from_ne_bytes(address))
    }

    fn line(interface: &str, to: [u8; 4], gateway: [u8; 4], metric: u32, mask: [u8; 4]) -> String {
        format!("{interface}\t{}\t{}\t0003\t0\t0\t{metric}\t{}\t0\t0\t0\n", hex(to), hex(gateway), hex(mask))
    }

    #[test]
    fn the_network_of_the_default_route_is_found() {
        let (any, home) = ([0, 0, 0, 0], [255, 255, 255, 0]);
        let table = HEAD.to_owned()
            + &line("wlan0", any, [192, 168, 7, 1], 600, any)
            + &line("eth0", any, [10, 1, 0, 1], 100, any)
            + &line("docker0", [172, 17, 0, 0], any, 0, [255, 255, 0, 0])
            + &line("wlan0", [192, 168, 7, 0], any, 600, home)
            + &line("eth0", [10, 9, 0, 0], any, 100, [255, 255, 255, 0])
            + &line("eth0", [10, 1, 0, 0], any, 100, [255, 255, 0, 0]);
        let expected = Route { interface: "eth0".to_owned(), network: Some("10.1.0.0/16".to_owned()) };
        assert_eq!(route(&table), Some(expected), "the lowest metric, and the network of its gateway");
        let hoster = HEAD.to_owned()
            + &line("eth0", any, [172, 31, 1, 1], 0, any)
            + &line("eth0", [172, 31, 1, 1], any, 0, [255; 4]);
        assert_eq!(route(&hoster), Some(Route { interface: "eth0".to_owned(), network: None }));
        assert_eq!(route(HEAD), None);
        assert_eq!(route("nonsense\neth0 x y 0003 0 0 0 z\n"), None);
    }

    #[test]
    fn without_one_the_sixth_version_is_asked() {
        let none = "0".repeat(32);
        let line = |to: &str, length: &str, metric: &str, interface: &str| {
            format!("{to} {length} {none} 00 {none} {metric} 00000001 00000000 00000003 {interface}\n")
        };
        let table = line(&none, "00", "00000400", "wwan0")
            + &line("fe800000000000000000000000000000", "40", "00000100", "wwan0")
            + &line("20010db8000100020000000000000000", "40", "00000100", "wwan0")
            + &line(&none, "00", "ffffffff", "lo");
        let expected = Route { interface: "wwan0".to_owned(), network: Some("2001:db8:1:2::/64".to_owned()) };
        assert_eq!(route6(&table), Some(expected));
    }

    #[test]
    fn the_kind_of_link_is_told() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("sys/class/net/wlp1s0/uevent", "DEVTYPE=wlan\nINTERFACE=wlp1s0\n");
        write("sys/class/net/wwp2s0/uevent", "DEVTYPE=wwan\n");
        write("sys/class/net/eth0/type", "1\n");
        write("sys/class/net/tun0/type", "65534\n");
        write("proc/net/route", &(HEAD.to_owned() + &line("wlp1s0", [0; 4], [10, 0, 0, 1], 0, [0; 4])));
        let found = ["wlp1s0", "wwp2s0", "eth0", "tun0"].map(|interface| link(root.path(), interface));
        assert_eq!(found, ["wifi", "cellular", "ethernet", "other"]);
        let mut facts = HostFacts::default();
        fill(root.path(), &mut facts);
        assert_eq!((facts.link.as_str(), facts.network.as_str()), ("wifi", ""));
    }
}
