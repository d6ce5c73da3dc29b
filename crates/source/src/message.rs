//! What a commit's message says about where the commit came from. Pure.
//!
//! Trailers are found on any line: a squash puts those of the squashed commits in the middle.

use backstay_types::{ConversationId, ForeignId, UndoId};

/// A link from a commit to where it came from. Only the first three identify a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provenance {
    /// `Backstay-Conversation: <uuid>`
    Conversation(ConversationId),
    /// A session in another tool: `Backstay-Session: tool/kind/value`, or that tool's own trailer.
    Foreign(ForeignId),
    /// A session that a note of git-ai names.
    Note(NoteSession),
    /// `Co-authored-by: <who>`. Says nothing about which conversation it was.
    CoAuthor(String),
    /// `Assisted-by: <what>`. Says nothing about which conversation it was.
    AssistedBy(String),
}

/// A session in a git-ai note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSession {
    /// The tool and its id for the conversation.
    pub session: ForeignId,
    /// The model, where the note says.
    pub model: Option<String>,
    /// The person on whose behalf, where the note says.
    pub human: Option<String>,
}

/// A line `Key: value` that Backstay knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// The key as written.
    pub key: String,
    /// The value.
    pub value: String,
}

/// All that a message says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageFacts {
    /// Its first line.
    pub subject: String,
    /// Known trailers in order, those with a wrong value too.
    pub trailers: Vec<Trailer>,
    /// Where the commit came from, without repetition.
    pub provenance: Vec<Provenance>,
    /// The undos that made it (`Backstay-Undo`).
    pub undo: Vec<UndoId>,
    /// Commits that it takes back, as written: `Backstay-Reverts: <sha>` and Git's own `This reverts
    /// commit <sha>`, which may be shortened to 7 digits or more.
    pub reverts: Vec<String>,
}

const KNOWN: &[&str] = &[
    "backstay-conversation",
    "backstay-session",
    "backstay-undo",
    "backstay-reverts",
    "claude-session",
    "co-authored-by",
    "assisted-by",
];
const KNOWN_PREFIXES: &[&str] = &["replit-", "entire-"];
/// No message of a person has more; a crafted one must not cost more.
const MAX_TRAILERS: usize = 1000;

/// Reads a commit's message.
pub fn read_message(message: &str) -> MessageFacts {
    let subject = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let mut facts = MessageFacts { subject: subject.to_owned(), ..MessageFacts::default() };
    for line in message.lines().map(str::trim) {
        if let Some(commit) = reverted(line) {
            push_new(&mut facts.reverts, commit);
        } else if let Some(trailer) = trailer(line)
            && facts.trailers.len() < MAX_TRAILERS
        {
            understand(&trailer, &mut facts);
            facts.trailers.push(trailer);
        }
    }
    facts
}

fn understand(trailer: &Trailer, facts: &mut MessageFacts) {
    let value = trailer.value.as_str();
    let key = trailer.key.to_ascii_lowercase();
    let found = match key.as_str() {
        "backstay-conversation" => value.parse().ok().map(Provenance::Conversation),
        "backstay-session" => session(value).map(Provenance::Foreign),
        "backstay-undo" => {
            facts.undo.extend(value.parse().ok().filter(|id| !facts.undo.contains(id)));
            None
        }
        "backstay-reverts" => {
            if is_hex(value, 40..=64) {
                push_new(&mut facts.reverts, value.to_ascii_lowercase());
            }
            None
        }
        "claude-session" => Some(foreign("claude-code", "session_url", value)),
        "entire-checkpoint" => Some(foreign("entire", "checkpoint", value)),
        "replit-commit-session-id" => Some(foreign("replit", "session_id", value)),
        "co-authored-by" => Some(Provenance::CoAuthor(value.to_owned())),
        "assisted-by" => Some(Provenance::AssistedBy(value.to_owned())),
        _ => None,
    };
    if let Some(found) = found {
        push_new(&mut facts.provenance, found);
    }
}

fn trailer(line: &str) -> Option<Trailer> {
    let (key, value) = line.split_once(':')?;
    let value = value.trim();
    let lower = key.to_ascii_lowercase();
    let known =
        KNOWN.contains(&lower.as_str()) || KNOWN_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
    let word = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (known && word && !value.is_empty() && value.len() <= 1000)
        .then(|| Trailer { key: key.to_owned(), value: value.to_owned() })
}

/// `tool/kind/value`; the value may hold slashes.
fn session(value: &str) -> Option<ForeignId> {
    let mut parts = value.splitn(3, '/').map(str::trim);
    let (tool, kind, value) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = !tool.is_empty() && !kind.is_empty() && !value.is_empty();
    whole.then(|| ForeignId { tool: tool.into(), kind: kind.into(), value: value.into() })
}

fn foreign(tool: &str, kind: &str, value: &str) -> Provenance {
    Provenance::Foreign(ForeignId { tool: tool.into(), kind: kind.into(), value: value.into() })
}

fn reverted(line: &str) -> Option<String> {
    let rest = line.strip_prefix("This reverts commit ")?;
    let hex: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
    is_hex(&hex, 7..=64).then(|| hex.to_ascii_lowercase())
}

fn is_hex(text: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) && list.len() < MAX_TRAILERS {
        list.push(item);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b";
    const B: &str = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5c";
    const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

    fn conversation(id: &str) -> Provenance {
        Provenance::Conversation(id.parse().unwrap())
    }

    #[test]
    fn finds_trailers_of_a_squash_in_the_middle() {
        let message = format!(
            "Two changes (#7)\n\n* Raise the limit\n\nBackstay-Conversation: {A}\n\n    commit x\n\n    \
             backstay-conversation: {B}\n\nBackstay-Conversation: {A}\nSigned-off-by: x\n"
        );
        let facts = read_message(&message);
        assert_eq!(facts.subject, "Two changes (#7)");
        assert_eq!(facts.provenance, [conversation(A), conversation(B)]);
        assert_eq!(facts.trailers.len(), 3);
    }

    #[test]
    fn reads_what_other_tools_write() {
        let facts = read_message(
            "x\n\nBackstay-Session: openclaw/session_key/agent:main:main/7\n\
             Claude-Session: https://claude.example/code/session_01\n\
             Entire-Checkpoint: 0123456789ab\nReplit-Commit-Session-Id: s-1\nReplit-Commit-Author: Agent\n\
             Co-authored-by: A <a@x>\nAssisted-by: tool:model\n",
        );
        let foreign = |tool: &str, kind: &str, value: &str| foreign(tool, kind, value);
        assert_eq!(
            facts.provenance,
            [
                foreign("openclaw", "session_key", "agent:main:main/7"),
                foreign("claude-code", "session_url", "https://claude.example/code/session_01"),
                foreign("entire", "checkpoint", "0123456789ab"),
                foreign("replit", "session_id", "s-1"),
                Provenance::CoAuthor("A <a@x>".into()),
                Provenance::AssistedBy("tool:model".into()),
            ]
        );
        assert!(facts.trailers.iter().any(|t| t.key == "Replit-Commit-Author"));
    }

    #[test]
    fn reads_reverts_of_git_and_ours() {
        let facts = read_message(&format!(
            "Revert \"x\"\n\nThis reverts commit {SHA}, reversing\nchanges made to y.\n\
             This reverts commit 89abcde (x, 2026-01-01).\nBackstay-Undo: {A}\nBackstay-Reverts: {SHA}\n\
             Backstay-Reverts: {}\n",
            SHA.replace('0', "f")
        ));
        assert_eq!(facts.reverts, [SHA, "89abcde", &SHA.replace('0', "f")]);
        assert_eq!(facts.undo, [A.parse().unwrap()]);
    }

    #[test]
    fn wrong_values_link_nothing_but_are_shown() {
        let facts = read_message(
            "x\n\nBackstay-Conversation: nonsense\nBackstay-Session: a/b\nBackstay-Reverts: xyz\nBackstay-Undo: 1\n\
             > Backstay-Conversation: 019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b\n\
             see This reverts commit 0123456789\nThis reverts commit zzz\n",
        );
        assert_eq!(facts.provenance, []);
        assert_eq!(facts.reverts, Vec::<String>::new());
        assert_eq!(facts.trailers.len(), 4);
    }

    proptest! {
        #[test]
        fn any_text_is_read(message in "\\PC{0,40}(\n\\PC{0,40}){0,8}") {
            read_message(&message);
        }

        #[test]
        fn what_is_written_is_found_wherever_it_stands(
            ids in prop::collection::vec(any::<u128>(), 1..6),
            noise in prop::collection::vec("[a-z (#):]{0,30}", 1..8),
            indent in "[ \t]{0,4}",
        ) {
            let ids: Vec<String> = ids.into_iter().map(|id| uuid::Uuid::from_u128(id).to_string()).collect();
            let mut lines = noise.clone();
            for (at, id) in ids.iter().enumerate() {
                lines.insert((at * 2).min(lines.len()), format!("{indent}Backstay-Conversation: {id}"));
            }
            let found = read_message(&lines.join("\n")).provenance;
            let mut expected: Vec<Provenance> = Vec::new();
            for id in &ids {
                push_new(&mut expected, conversation(id));
            }
            for link in &expected {
                prop_assert!(found.contains(link));
            }
            prop_assert_eq!(found.len(), expected.len());
        }
    }
}
