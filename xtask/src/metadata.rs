//! What cargo knows of the workspace.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::PathBuf,
    process::Command,
};

use serde::Deserialize;

/// A crate's name.
pub(crate) type Name = String;

/// The workspace's crates and everything below them.
pub(crate) struct Workspace {
    /// The workspace's folder.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// Our crates: folder of each by name.
    pub(crate) members: BTreeMap<Name, PathBuf>,
    /// What each crate links to directly, of ours and others'; dev-dependencies are left out.
    pub(crate) direct: BTreeMap<Name, BTreeSet<Name>>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: Name,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dep>,
}

#[derive(Deserialize)]
struct Dep {
    pkg: String,
    dep_kinds: Vec<DepKind>,
}

#[derive(Deserialize)]
struct DepKind {
    kind: Option<String>,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn read() -> Result<Self, String> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host()]);
        let output = command.output().map_err(|error| format!("cargo metadata: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let metadata = serde_json::from_slice::<Metadata>(&output.stdout);
        metadata.map(Self::from).map_err(|error| format!("cargo metadata: {error}"))
    }

    /// Everything that ends up in a program because of `name`, and what brought it: one path to each.
    pub(crate) fn below(&self, name: &str) -> BTreeMap<Name, Vec<Name>> {
        let mut paths = BTreeMap::new();
        let mut open = vec![vec![name.to_owned()]];
        while let Some(path) = open.pop() {
            let last = path.last().map(String::as_str).unwrap_or_default();
            for next in self.direct.get(last).into_iter().flatten() {
                if !paths.contains_key(next) {
                    let path: Vec<_> = path.iter().chain([next]).cloned().collect();
                    paths.insert(next.clone(), path.clone());
                    open.push(path);
                }
            }
        }
        paths
    }
}

impl From<Metadata> for Workspace {
    fn from(metadata: Metadata) -> Self {
        let names: BTreeMap<_, _> =
            metadata.packages.iter().map(|package| (package.id.as_str(), package.name.clone())).collect();
        let mut direct = BTreeMap::<_, BTreeSet<_>>::new();
        for node in &metadata.resolve.nodes {
            let Some(name) = names.get(node.id.as_str()) else { continue };
            let linked = node.deps.iter().filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            let linked = linked.filter_map(|dep| names.get(dep.pkg.as_str()).cloned());
            // Two versions of a crate are one for our purpose.
            direct.entry(name.clone()).or_default().extend(linked);
        }
        let ours =
            metadata.packages.iter().filter(|package| metadata.workspace_members.contains(&package.id));
        let members = ours
            .filter_map(|package| Some((package.name.clone(), package.manifest_path.parent()?.to_owned())));
        let (root, target) = (metadata.workspace_root, metadata.target_directory);
        Self { root, target, members: members.collect(), direct }
    }
}

fn host() -> &'static str {
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" }
}
