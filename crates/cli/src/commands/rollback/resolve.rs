//! Conflicting files: written out for a person to edit, read back when done.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use backstay_types::{ErrorCode, UndoPlan, tree::check_path};

use super::{Conflicts, Names};
use crate::{error::CliError, lookup::name_of, views::undo::has_markers};

/// A conflicting file: how the API names it, and its text with markers.
struct Conflicting<'a> {
    key: String,
    repository: String,
    path: &'a str,
    markers: &'a str,
}

fn all<'a>(plan: &'a UndoPlan, names: &Names) -> Vec<Conflicting<'a>> {
    let mut all: Vec<Conflicting<'a>> = Vec::new();
    for part in &plan.repositories {
        let repository = name_of(names, part.repository);
        for file in &part.conflicts {
            let key = format!("{repository}:{}", file.path);
            // Two reverts may conflict in the same file: it is one file to edit.
            if all.iter().all(|one| one.key != key) {
                all.push(Conflicting {
                    key,
                    repository: repository.clone(),
                    path: &file.path,
                    markers: &file.markers,
                });
            }
        }
    }
    all
}

/// Where a conflicting file is in `dir`. Paths come from a repository: one that would leave the folder is refused.
fn place(dir: &Path, file: &Conflicting<'_>) -> Result<PathBuf, CliError> {
    check_path(file.path).map_err(|e| {
        CliError::new(ErrorCode::BS8014, format!("`{}` cannot be written to a folder", file.path))
            .with_source(e)
    })?;
    Ok(dir.join(&file.repository).join(file.path))
}

/// Writes the conflicting files with their markers; those that are there already stay as they are.
pub(super) fn write(plan: &UndoPlan, dir: &Path, names: &Names) -> Result<Vec<PathBuf>, CliError> {
    let mut written = Vec::new();
    for file in all(plan, names) {
        let path = place(dir, &file)?;
        if !path.exists() {
            let parent = path.parent().unwrap_or(dir);
            fs::create_dir_all(parent).map_err(|e| CliError::file("create", parent, e))?;
            fs::write(&path, file.markers).map_err(|e| CliError::file("write", &path, e))?;
        }
        written.push(path);
    }
    Ok(written)
}

/// The text of each conflicting file, from `--file`, `--remove` and `--resolve`.
///
/// # Errors
/// When one is missing, still has markers, or a path was named that does not conflict. Files that were
/// missing from the folder have been written there then.
pub(super) fn read(
    plan: &UndoPlan,
    given: &Conflicts,
    names: &Names,
) -> Result<BTreeMap<String, Option<String>>, CliError> {
    let conflicting = all(plan, names);
    let mut files = named(&conflicting, given)?;
    let mut open = Vec::new();
    for file in conflicting.iter().filter(|file| !files.contains_key(&file.key)).collect::<Vec<_>>() {
        match &given.resolve {
            Some(dir) => match from_folder(&place(dir, file)?, &file.key)? {
                Some(text) => {
                    files.insert(file.key.clone(), Some(text));
                }
                None => open.push(file.key.clone()),
            },
            None => open.push(file.key.clone()),
        }
    }
    if open.is_empty() {
        return Ok(files);
    }
    let detail = format!("no text was given for {}", open.join(", "));
    let error = CliError::new(ErrorCode::BS8014, detail);
    Err(match &given.resolve {
        Some(dir) => {
            write(plan, dir, names)?;
            error.hint(format!("it was written to {}: edit it, then run this again", dir.display()))
        }
        None => error.hint("give --file PATH=FILE or --remove PATH for each, or --resolve DIR"),
    })
}

/// What `--file` and `--remove` say.
fn named(
    conflicting: &[Conflicting<'_>],
    given: &Conflicts,
) -> Result<BTreeMap<String, Option<String>>, CliError> {
    let mut files = BTreeMap::new();
    for argument in &given.files {
        let (path, file) = argument
            .split_once('=')
            .ok_or_else(|| CliError::argument(format!("`{argument}` is not PATH=FILE")))?;
        let text = from_folder(Path::new(file), path)?
            .ok_or_else(|| CliError::file("read", Path::new(file), io::ErrorKind::NotFound.into()))?;
        files.insert(key(conflicting, path)?, Some(text));
    }
    for path in &given.removed {
        files.insert(key(conflicting, path)?, None);
    }
    Ok(files)
}

/// The conflicting file that a path means, with or without its repository in front.
fn key(conflicting: &[Conflicting<'_>], path: &str) -> Result<String, CliError> {
    let fits: Vec<_> = conflicting.iter().filter(|file| file.key == path || file.path == path).collect();
    let all = || conflicting.iter().map(|file| file.key.as_str()).collect::<Vec<_>>().join("\n");
    match fits[..] {
        [one] => Ok(one.key.clone()),
        [] => Err(CliError::argument(format!("`{path}` is not one of the conflicting files")).hint(all())),
        _ => Err(CliError::argument(format!("`{path}` conflicts in more than one repository")).hint(all())),
    }
}

/// A resolved file; none when it is not there.
fn from_folder(path: &Path, name: &str) -> Result<Option<String>, CliError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CliError::file("read", path, error)),
    };
    if has_markers(&text) {
        let detail = format!("{} still has conflict markers", path.display());
        return Err(CliError::new(ErrorCode::BS8014, detail)
            .hint(format!("edit it until {name} is as it should be, then run this again")));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use backstay_types::{ConflictedFile, Id as _, PushState, RepositoryId, RepositoryUndo, UndoRoute};

    use super::*;

    const MARKERS: &str = "a\n<<<<<<< now\nb\n=======\nc\n>>>>>>> taken back\n";

    fn plan(paths: &[&str]) -> (UndoPlan, Names) {
        let repository = RepositoryId::from_uuid("019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b".parse().unwrap());
        let sha = "0".repeat(40).parse::<backstay_types::CommitId>().unwrap();
        let conflict = |path: &&str| ConflictedFile {
            path: (*path).to_owned(),
            reverting: sha.clone(),
            later: Vec::new(),
            markers: MARKERS.to_owned(),
        };
        let part = RepositoryUndo {
            repository,
            route: UndoRoute::Branch,
            base: sha.clone(),
            commits: vec![sha.clone()],
            skipped: Vec::new(),
            conflicts: paths.iter().map(conflict).collect(),
            files: Vec::new(),
            commit: None,
            push: PushState::NotYet,
        };
        let plan = UndoPlan { repositories: vec![part], ..UndoPlan::default() };
        (plan, Names::from([(repository, "fleet".to_owned())]))
    }

    fn given(resolve: Option<&Path>, files: &[String], removed: &[&str]) -> Conflicts {
        Conflicts {
            resolve: resolve.map(Path::to_owned),
            files: files.to_vec(),
            removed: removed.iter().map(|&path| path.to_owned()).collect(),
            guesses: Vec::new(),
        }
    }

    #[test]
    fn a_folder_is_written_edited_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let (plan, names) = plan(&["stacks/web/a.conf", "b"]);
        let given = given(Some(dir.path()), &[], &[]);
        let error = read(&plan, &given, &names).unwrap_err();
        assert!(error.to_string().contains("fleet:stacks/web/a.conf, fleet:b"), "{error}");
        let first = dir.path().join("fleet/stacks/web/a.conf");
        assert_eq!(fs::read_to_string(&first).unwrap(), MARKERS);
        let error = read(&plan, &given, &names).unwrap_err();
        assert!(error.to_string().contains("still has conflict markers"), "{error}");
        fs::write(&first, "mine\n").unwrap();
        fs::write(dir.path().join("fleet/b"), "").unwrap();
        write(&plan, dir.path(), &names).unwrap();
        let files = read(&plan, &given, &names).unwrap();
        assert_eq!(files["fleet:stacks/web/a.conf"].as_deref(), Some("mine\n"));
        assert_eq!(files["fleet:b"].as_deref(), Some(""));
    }

    #[test]
    fn files_may_be_named_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("text");
        fs::write(&text, "mine\n").unwrap();
        let (plan, names) = plan(&["a", "b"]);
        let file = format!("a={}", text.display());
        let files = read(&plan, &given(None, std::slice::from_ref(&file), &["fleet:b"]), &names).unwrap();
        assert_eq!(files["fleet:a"].as_deref(), Some("mine\n"));
        assert_eq!(files["fleet:b"], None);
        assert!(read(&plan, &given(None, &[file], &[]), &names).unwrap_err().to_string().contains("fleet:b"));
        assert!(read(&plan, &given(None, &[], &["c"]), &names).is_err());
        assert!(read(&plan, &given(None, &["a".to_owned()], &[]), &names).is_err());
        assert!(read(&plan, &given(None, &["a=/nowhere".to_owned()], &[]), &names).is_err());
    }

    #[test]
    fn a_path_from_a_repository_cannot_leave_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["../evil", "/etc/evil", "a/../../evil"] {
            let (plan, names) = plan(&[path]);
            assert!(write(&plan, &dir.path().join("in"), &names).is_err(), "{path}");
        }
        assert!(!dir.path().join("evil").exists());
    }
}
