//! What needs a person, each with the command that shows or ends it.

use backstay_api::v1::{Attention, AttentionKind as Kind};

use super::fields::section;
use crate::{ids, ui::style};

/// Everything that needs a person; nothing where nothing does. Stacks that are not well are left to the list of
/// those, which has all of them, and the update of agents to what stands before everything.
pub(crate) fn view_list(found: &[Attention]) -> String {
    let dim = style::DIM;
    let mut text = String::new();
    let elsewhere = [Kind::StackUnwell, Kind::AgentsHalted];
    for one in found.iter().filter(|one| !elsewhere.contains(&one.kind)) {
        let summary = one.summary.replace(char::is_control, " ");
        text.push_str(&format!("  {summary}\n"));
        if let Some(command) = remedy(one) {
            text.push_str(&format!("    {dim}{command}{dim:#}\n"));
        }
    }
    if text.is_empty() { text } else { format!("{}{text}", section("Needs a person")) }
}

/// The command that ends it, or shows what has to be decided.
fn remedy(one: &Attention) -> Option<String> {
    let name = one.name.as_deref();
    Some(match one.kind {
        Kind::UndoConflicted | Kind::UndoAwaitingMerge => {
            format!("backstay undos {}", ids::short(one.refs.undo?))
        }
        Kind::NodeBroken => match one.refs.deployment {
            Some(deployment) => format!("backstay deployments {}", ids::short(deployment)),
            None => format!("backstay nodes show {}", name?),
        },
        Kind::DriftEscalated => format!("backstay drift {}", name.unwrap_or_default()).trim_end().to_owned(),
        Kind::SafeMode => match name {
            Some(name) => format!("backstay nodes leave-safe-mode {name} --reason WHY"),
            None => "backstay nodes list --only safe-mode".to_owned(),
        },
        Kind::StackUnwell => format!("backstay logs {}/{}", name?, one.refs.stack.as_ref()?),
        Kind::RolloutHalted => format!("backstay rollout explain {}", ids::short(one.refs.rollout?)),
        Kind::AgentsHalted => "backstay agents list".to_owned(),
        Kind::BackupDamaged | Kind::BackupUnwell | Kind::RestoreWaiting | Kind::DrillFailed => {
            format!("backstay backup status {}", name.unwrap_or_default()).trim_end().to_owned()
        }
        Kind::RecoveryKeyMissing => "backstay backup recovery-key".to_owned(),
        Kind::NodesOffline => match name {
            Some(name) => format!("backstay nodes show {name}"),
            None => "backstay nodes list --only offline".to_owned(),
        },
        Kind::RewriteToAccept => format!("backstay repos accept {}", name?),
        Kind::RepositoryUnwell => format!("backstay repos sync {}", name?),
        Kind::BranchUnwell => "backstay follow branches".to_owned(),
        Kind::DeliveryUnrecognised => return None,
    })
}

#[cfg(test)]
mod tests {
    use backstay_types::Refs;

    use super::*;

    fn item(kind: Kind, name: Option<&str>) -> Attention {
        let summary = "what is so\n\u{1b}[31m".to_owned();
        Attention { kind, summary, since: None, refs: Refs::default(), name: name.map(str::to_owned) }
    }

    #[test]
    fn each_comes_with_what_ends_it() {
        let text = |one: Attention| anstream::adapter::strip_str(&view_list(&[one])).to_string();
        let one = text(item(Kind::SafeMode, Some("pi-7")));
        assert!(one.ends_with("\n    backstay nodes leave-safe-mode pi-7 --reason WHY\n"), "{one}");
        assert_eq!(one.lines().count(), 4, "{one:?}");
        assert!(text(item(Kind::NodesOffline, None)).contains("nodes list --only offline"));
        assert!(text(item(Kind::RecoveryKeyMissing, None)).ends_with("backstay backup recovery-key\n"));
        assert!(text(item(Kind::DriftEscalated, None)).ends_with("backstay drift\n"));
        assert!(text(item(Kind::DeliveryUnrecognised, Some("gitea"))).ends_with("what is so  [31m\n"));
        for kind in [Kind::StackUnwell, Kind::AgentsHalted] {
            assert_eq!(text(item(kind, Some("pi-7"))), "");
        }
    }
}
