//! Text from Git and from the other side of a connection, made fit for people.

/// The lines of standard error without progress meters and control characters.
pub(crate) fn progress_free(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines = text.split('\n').filter_map(|line| {
        // A progress meter overwrites itself with carriage returns; its last state may be followed by text.
        let line: String = line
            .rsplit('\r')
            .find(|part| !part.trim().is_empty())?
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        let line = line.trim_end().to_owned();
        (!is_progress(&line)).then_some(line)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn is_progress(line: &str) -> bool {
    let line = line.strip_prefix("remote: ").unwrap_or(line);
    let meters = ["objects:", "Resolving deltas:", "Checking connectivity:", "Delta compression", "Total "];
    line.is_empty()
        || meters.iter().any(|meter| line.contains(meter))
            && !line.contains("fatal:")
            && !line.contains("error:")
}

/// The last `count` lines, joined for one line of text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    // What Git says after every failure of ssh.
    const NOTHING_NEW: [&str; 3] = [
        "fatal: Could not read from remote repository.",
        "Please make sure you have the correct access rights",
        "and the repository exists.",
    ];
    let all = || text.lines().filter(|line| !line.trim().is_empty());
    let mut lines: Vec<&str> = all().filter(|line| !NOTHING_NEW.contains(&line.trim())).collect();
    if lines.is_empty() {
        lines = all().collect();
    }
    let joined = lines[lines.len().saturating_sub(count)..].join("; ");
    if joined.is_empty() { "it gave no reason".to_owned() } else { joined }
}

/// Bytes as text; what is not UTF-8 is written as `\xNN`, so that names stay distinct.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_people_need() {
        let stderr = b"remote: Counting objects:  50% (1/2)\rremote: Counting objects: 100% (2/2), done.\n\
            remote: \x1b[31mdeclined\x1b[0m by rule\nfatal: unable to access 'https://x/': timed out\n";
        assert_eq!(
            progress_free(stderr),
            "remote: [31mdeclined[0m by rule\nfatal: unable to access 'https://x/': timed out"
        );
        assert_eq!(last_lines("a\n\nb\nc\n", 2), "b; c");
        assert_eq!(last_lines("", 2), "it gave no reason");
    }

    #[test]
    fn names_stay_distinct() {
        assert_eq!(escaped(b"caf\xe9.txt"), "caf\\xE9.txt");
        assert_ne!(escaped(b"\xe9"), escaped(b"\xe8"));
    }
}
