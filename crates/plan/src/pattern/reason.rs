//! A reason without what differs from node to node.

use backstay_types::NodeName;

/// The most that is kept of a reason, in characters.
const MOST: usize = 300;
/// A hexadecimal word from this length on is an id, when a digit is in it.
const ID: usize = 7;

/// A reason as it would read on any node: numbers become `N`, ids and digests `#`, the node's own name `<node>`;
/// white space is one blank, and no more than 300 characters are kept.
pub fn same_for_all(reason: &str, node: &NodeName) -> String {
    let mut same = String::new();
    let mut words = reason.split_whitespace();
    if let Some(first) = words.next() {
        push_word(&mut same, first, node);
    }
    for word in words {
        same.push(' ');
        push_word(&mut same, word, node);
    }
    match same.char_indices().nth(MOST) {
        Some((end, _)) => same[..end].to_owned(),
        None => same,
    }
}

fn push_word(out: &mut String, word: &str, node: &NodeName) {
    // Names may hold `-` and `.`, so that one is looked for before the word is cut there.
    let mut parts = word.split(node.as_str());
    if let Some(first) = parts.next() {
        push_pieces(out, first);
    }
    for part in parts {
        out.push_str("<node>");
        push_pieces(out, part);
    }
}

/// Pieces of letters and digits, with what is between them as it is.
fn push_pieces(out: &mut String, text: &str) {
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = after_uuid(rest) {
            out.push('#');
            rest = after;
            continue;
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if end == 0 {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..next]);
            rest = &rest[next..];
            continue;
        }
        push_piece(out, &rest[..end]);
        rest = &rest[end..];
    }
}

fn push_piece(out: &mut String, piece: &str) {
    let hex = piece.bytes().all(|b| b.is_ascii_hexdigit()) && piece.bytes().any(|b| b.is_ascii_digit());
    if hex && piece.len() >= ID && !piece.bytes().all(|b| b.is_ascii_digit()) {
        out.push('#');
        return;
    }
    let mut in_number = false;
    for c in piece.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !in_number {
            out.push('N');
        }
        in_number = c.is_ascii_digit();
    }
}

/// What follows a UUID at the beginning of a text.
fn after_uuid(text: &str) -> Option<&str> {
    let head = text.get(..36)?;
    let shape = |(i, b): (usize, u8)| match i {
        8 | 13 | 18 | 23 => b == b'-',
        _ => b.is_ascii_hexdigit(),
    };
    let ends = !text[36..].starts_with(|c: char| c.is_ascii_alphanumeric());
    (ends && head.bytes().enumerate().all(shape)).then(|| &text[36..])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn same(reason: &str) -> String {
        same_for_all(reason, &"pi-7".parse().unwrap())
    }

    #[test]
    fn what_differs_from_node_to_node_is_left_out() {
        let told = "pi-7: http://127.0.0.1:8080/  said 503 after 12.5s (container 4f2ab39c01de)";
        assert_eq!(same(told), "<node>: http://N.N.N.N:N/ said N after N.Ns (container #)");
        assert_eq!(same("deployment 0198c0de-1111-7222-8333-444455556666 failed"), "deployment # failed");
        assert_eq!(same("sha256:ab12cd34ef"), "shaN:#");
        assert_eq!(same("defaced added facade"), "defaced added facade", "words are no ids");
        assert_eq!(same(&"ä".repeat(1000)).chars().count(), MOST);
    }
}
