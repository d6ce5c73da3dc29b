//! Whether code names what does I/O or asks the system for the time.
//! Reads the syntax, so that comments, strings and tests do not count.

use std::{
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, Item, ItemFn, ItemMod, ItemUse, UseTree,
    spanned::Spanned,
    visit::{self, Visit},
};

/// Modules and types that pure code has no use for.
const IMPURE: &[&[&str]] = &[
    &["std", "fs"],
    &["std", "net"],
    &["std", "process"],
    &["std", "env"],
    &["std", "thread"],
    &["std", "os"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["std", "io", "stdin"],
    &["std", "io", "stdout"],
    &["std", "io", "stderr"],
    &["tokio"],
    &["getrandom"],
];

/// Looks through all files below a folder and says where something impure is named.
///
/// # Errors
/// When a file cannot be read or is not Rust.
pub(crate) fn scan(dir: &Path) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for path in files(dir)? {
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let places = scan_text(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        found.extend(places.iter().map(|(line, name)| format!("{name} in {}:{line}", path.display())));
    }
    Ok(found)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    let wrong = |error| format!("{}: {error}", dir.display());
    for entry in fs::read_dir(dir).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() && !is_test {
            files.extend(self::files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn scan_text(text: &str) -> syn::Result<Vec<(usize, String)>> {
    let file = syn::parse_file(text)?;
    let mut scan = Scan::default();
    if !only_for_tests(&file.attrs) {
        scan.visit_file(&file);
    }
    Ok(scan.found)
}

#[derive(Default)]
struct Scan {
    found: Vec<(usize, String)>,
}

impl Scan {
    fn look(&mut self, line: usize, path: &[String]) {
        let hit = IMPURE.iter().find(|impure| {
            path.len() >= impure.len() && impure.iter().zip(path).all(|(want, have)| want == have)
        });
        if let Some(impure) = hit {
            self.found.push((line, impure.join("::")));
        }
    }

    /// Every path that a `use` brings in; `use std::{fs, io}` brings two.
    fn look_at_use(&mut self, tree: &UseTree, prefix: &[String]) {
        let longer = |name: String| prefix.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.look_at_use(&path.tree, &longer(path.ident.to_string())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.look_at_use(tree, prefix)),
            UseTree::Name(name) => self.look(name.span().start().line, &longer(name.ident.to_string())),
            UseTree::Rename(name) => self.look(name.span().start().line, &longer(name.ident.to_string())),
            UseTree::Glob(glob) => self.look(glob.span().start().line, prefix),
        }
    }
}

impl<'ast> Visit<'ast> for Scan {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(ItemMod { attrs, .. })
            | Item::Fn(ItemFn { attrs, .. })
            | Item::Use(ItemUse { attrs, .. }) => attrs.as_slice(),
            _ => &[],
        };
        if !only_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.look_at_use(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.look(path.span().start().line, &names);
        visit::visit_path(self, path);
    }
}

fn only_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        scan_text(text).unwrap().into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn finds_what_is_imported_in_any_way_or_named_in_full() {
        assert_eq!(names("use std::{collections::BTreeMap, fs, io};"), ["std::fs"]);
        assert_eq!(names("use std::fs::File;"), ["std::fs"]);
        assert_eq!(names("use std::fs as disk;"), ["std::fs"]);
        assert_eq!(names("use std::net::*;"), ["std::net"]);
        assert_eq!(names("fn f() { let _ = std::env::var(\"X\"); }"), ["std::env"]);
        assert_eq!(names("fn f(at: std::time::Instant) {}"), ["std::time::Instant"]);
        assert_eq!(scan_text("\n\nuse tokio::spawn;").unwrap(), [(3, "tokio".to_owned())]);
    }

    #[test]
    fn comments_strings_tests_and_the_rest_of_std_are_let_be() {
        let fine = "
            //! Never touches std::fs.
            use std::{io::Read, time::Duration, path::Path};
            const TEXT: &str = \"std::fs::read\";
            #[cfg(test)]
            mod tests { use std::fs; #[test] fn t() { fs::read(\"x\").unwrap(); } }
        ";
        assert_eq!(names(fine), Vec::<String>::new());
    }

    #[test]
    fn goes_through_folders_and_says_where() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("deep")).unwrap();
        fs::write(dir.path().join("deep/one.rs"), "use std::process::Command;").unwrap();
        fs::write(dir.path().join("tests.rs"), "use std::process::Command;").unwrap();
        let found = scan(dir.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("std::process in ") && found[0].ends_with("deep/one.rs:1"), "{found:?}");
    }
}
