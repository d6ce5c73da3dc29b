//! `current` and `previous`: derived from the journal, switched by rename.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use backstay_agent_core::Links;
use backstay_types::TreeDigest;

use super::files::sync_dir;
use crate::crash::crash_point;

/// Where a stack's links point. What is no link to a release counts as absent.
pub(crate) fn read_links(stack: &Path) -> io::Result<Links> {
    Ok(Links { current: read(&stack.join("current"))?, previous: read(&stack.join("previous"))? })
}

/// Points the links, one after the other, each durable before the next. What is right already is left alone.
pub(crate) fn set_links(stack: &Path, links: Links, back: bool) -> io::Result<()> {
    let forward = [("previous", links.previous), ("current", links.current)];
    let order = if back { [forward[1], forward[0]] } else { forward };
    for (name, tree) in order {
        crash_point(&format!("link.{name}.before"));
        set(stack, name, tree)?;
        crash_point(&format!("link.{name}.after"));
    }
    Ok(())
}

fn set(stack: &Path, name: &str, tree: Option<TreeDigest>) -> io::Result<()> {
    let path = stack.join(name);
    if read(&path)? == tree && (tree.is_some() || !is_there(&path)?) {
        return Ok(());
    }
    let Some(tree) = tree else {
        fs::remove_file(&path)?;
        return sync_dir(stack);
    };
    let beside = stack.join(format!(".{name}.tmp"));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(format!("releases/{tree}"), &beside)?;
    crash_point(&format!("link.{name}.made"));
    fs::rename(&beside, &path)?;
    sync_dir(stack)
}

fn read(path: &Path) -> io::Result<Option<TreeDigest>> {
    match fs::read_link(path) {
        Ok(target) => {
            Ok(target.to_str().and_then(|t| t.strip_prefix("releases/")).and_then(|t| t.parse().ok()))
        }
        // Something else than a link stands there, or nothing.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_there(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use backstay_types::Digest;

    use super::*;

    #[test]
    fn links_are_set_moved_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
        for links in [
            Links { current: Some(a), previous: None },
            Links { current: Some(b), previous: Some(a) },
            Links { current: Some(a), previous: None },
            Links::default(),
        ] {
            set_links(dir.path(), links, links.previous.is_none()).unwrap();
            assert_eq!(read_links(dir.path()).unwrap(), links);
        }
    }

    #[test]
    fn what_is_in_the_way_is_replaced_or_named() {
        let dir = tempfile::tempdir().unwrap();
        let links = Links { current: Some(Digest::of(b"a")), previous: None };
        symlink("/etc", dir.path().join("current")).unwrap();
        symlink("/etc", dir.path().join("previous")).unwrap();
        set_links(dir.path(), links, false).unwrap();
        assert_eq!(read_links(dir.path()).unwrap(), links);
        assert!(!is_there(&dir.path().join("previous")).unwrap());
    }
}
