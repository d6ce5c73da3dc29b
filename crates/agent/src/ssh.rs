//! The machine's SSH server: looked at, never touched. Whoever has to mend a node by hand gets in by it.

use std::{fs, path::Path};

use backstay_types::SshState;

/// Whether the server is there and listens.
pub(crate) fn look() -> SshState {
    let configured = Path::new("/etc/ssh/sshd_config").exists();
    let installed = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].iter().any(|path| Path::new(path).exists());
    if !configured && !installed {
        return SshState::Absent;
    }
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).ok());
    if tables.iter().all(Option::is_none) {
        return SshState::Unknown;
    }
    let listening: Vec<u16> = tables.iter().flatten().flat_map(|table| listening(table)).collect();
    if ports().iter().any(|port| listening.contains(port)) { SshState::Listening } else { SshState::Silent }
}

/// The ports that the server is configured for.
fn ports() -> Vec<u16> {
    let mut texts = vec![fs::read_to_string("/etc/ssh/sshd_config").unwrap_or_default()];
    for entry in fs::read_dir("/etc/ssh/sshd_config.d").into_iter().flatten().flatten() {
        texts.extend(fs::read_to_string(entry.path()));
    }
    configured(&texts)
}

fn configured(texts: &[String]) -> Vec<u16> {
    let lines = texts.iter().flat_map(|text| text.lines());
    let ports: Vec<u16> = lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            words.next().filter(|word| word.eq_ignore_ascii_case("port"))?;
            words.next()?.parse().ok()
        })
        .collect();
    if ports.is_empty() { vec![22] } else { ports }
}

/// The ports that anybody listens on, by a table of the kernel's.
fn listening(table: &str) -> Vec<u16> {
    /// The state of a socket that listens.
    const LISTEN: &str = "0A";
    let rows = table.lines().skip(1).filter_map(|row| {
        let mut fields = row.split_whitespace();
        let local = fields.nth(1)?;
        let state = fields.nth(1)?;
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        (state == LISTEN).then_some(port)
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_read_from_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n\
             1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 1\n\
             2: 00000000000000000000000000000000:08AE 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 3\n";
        assert_eq!(listening(table), [22, 2222]);
    }

    #[test]
    fn ports_are_read_from_the_servers_settings() {
        let texts = |text: &str| configured(&[text.to_owned()]);
        assert_eq!(texts("# Port 99\nPermitRootLogin no\n"), [22]);
        assert_eq!(texts("Port 2222\nport 23\n"), [2222, 23]);
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        assert_ne!(look(), SshState::Unknown);
    }
}
