//! From YAML to [`Compose`].

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Compose, EnvFile, FileSource, Place, Service,
    volume::{self, Mount},
    yaml::{self, Node, Yaml},
};
use crate::{Problem, Variables, code, interpolate::expand, problem::nearest};

pub(super) fn parse(file: &str, bytes: &[u8], variables: &Variables) -> Result<Compose, Vec<Problem>> {
    let mut root = yaml::parse(file, bytes).map_err(|problem| vec![problem])?;
    let mut reader = Reader { file, problems: Vec::new() };
    reader.interpolate(&mut root, variables);
    let mut compose = reader.compose(&root);
    compose.complete = variables.is_complete();
    // A service that others extend is read again with each of them.
    reader.problems.sort();
    reader.problems.dedup();
    if reader.problems.is_empty() { Ok(compose) } else { Err(reader.problems) }
}

struct Reader<'a> {
    file: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn interpolate(&mut self, root: &mut Node, variables: &Variables) {
        root.each_text(&mut |text, line, column| {
            if !text.contains('$') {
                return;
            }
            match expand(text, variables) {
                Ok(expanded) => *text = expanded,
                Err(error) => self
                    .problems
                    .push(Problem::error(code::INTERPOLATION, self.file, error.to_string()).at(line, column)),
            }
        });
    }

    fn compose(&mut self, root: &Node) -> Compose {
        self.expect_map(root, "", "a map with `services`");
        for (key, node) in root.entries() {
            let known = [
                "version", "name", "include", "services", "networks", "volumes", "secrets", "configs",
                "models",
            ];
            if !known.contains(&key.as_str()) && !key.starts_with("x-") {
                let problem = self.wrong(node, key, format!("unknown key `{key}`: Compose would refuse it"));
                let hint = nearest(key, known).map(|key| format!("did you mean `{key}`?"));
                self.problems.push(Problem { code: code::UNKNOWN_KEY, hint, ..problem });
            }
        }
        let mut compose = Compose {
            file: self.file.to_owned(),
            name: root.get("name").and_then(Node::text).map(str::to_owned),
            services: BTreeMap::new(),
            configs: self.file_sources(root, "configs"),
            secrets: self.file_sources(root, "secrets"),
            volumes: self.volumes(root),
            includes: Vec::new(),
            complete: false,
        };
        self.name(root, &compose);
        self.includes(root, &mut compose);
        self.services(root, &mut compose);
        compose
    }

    fn name(&mut self, root: &Node, compose: &Compose) {
        if let (Some(name), Some(node)) = (&compose.name, root.get("name"))
            && !name.contains('$')
            && !crate::stack::is_project_name(name)
        {
            let message =
                format!("`{name}`: expected a-z, 0-9, `-` and `_`, beginning with a letter or digit");
            self.report(node, "name", message);
        }
    }

    fn services(&mut self, root: &Node, compose: &mut Compose) {
        let Some(services) = root.get("services").filter(|node| !node.entries().is_empty()) else {
            let node = root.get("services").unwrap_or(root);
            self.report(node, "services", "expected at least one service");
            return;
        };
        for (name, node) in services.entries() {
            let mut chain = BTreeSet::from([name.as_str()]);
            if let Some(service) = self.service(services, name, node, &mut chain, compose) {
                compose.services.insert(name.clone(), service);
            }
        }
    }

    /// A service with what it extends within the file.
    fn service<'n>(
        &mut self,
        services: &'n Node,
        name: &str,
        node: &'n Node,
        chain: &mut BTreeSet<&'n str>,
        compose: &mut Compose,
    ) -> Option<Service> {
        let field = format!("services.{name}");
        if !self.expect_map(node, &field, "a map") {
            return None;
        }
        let mut service = Service::default();
        if let Some(extends) = node.get("extends") {
            let base = extends.text().or_else(|| extends.get("service").and_then(Node::text));
            match (extends.get("file").and_then(Node::text), base) {
                (Some(file), _) => compose.includes.push(place(file.to_owned(), extends)),
                (None, Some(base)) => {
                    let found = services.entries().iter().find(|(name, _)| name == base);
                    match found {
                        Some((base, node)) if chain.insert(base) => {
                            service = self.service(services, base, node, chain, compose)?;
                        }
                        Some(_) => self.report(
                            extends,
                            &format!("{field}.extends"),
                            "services extend each other in a circle",
                        ),
                        None => self.report(
                            extends,
                            &format!("{field}.extends"),
                            format!("no service is called `{base}`"),
                        ),
                    }
                }
                (None, None) => {
                    self.report(extends, &format!("{field}.extends"), "expected a service's name")
                }
            }
        }
        self.fill(&mut service, &field, node);
        Some(service)
    }

    fn fill(&mut self, service: &mut Service, field: &str, node: &Node) {
        service.line = node.line;
        if let Some(image) = node.get("image") {
            match image.text() {
                Some(text) => service.image = Some(place(text.to_owned(), image)),
                None => self.report(
                    image,
                    &format!("{field}.image"),
                    format!("expected an image's name, found {}", image.kind()),
                ),
            }
        }
        service.build |= node.get("build").is_some_and(|build| !matches!(build.value, Yaml::Null));
        if let Some(name) = node.get("container_name").and_then(Node::text) {
            service.container_name = Some(name.to_owned());
        }
        if let Some(check) = node.get("healthcheck") {
            service.healthcheck = !is_disabled(check);
        }
        self.mounts(service, field, node);
        self.env_files(service, field, node);
        service.configs.extend(uses(node, "configs"));
        service.secrets.extend(uses(node, "secrets"));
        service.ports.extend(node.get("ports").map(ports).unwrap_or_default());
        service.labels.extend(node.get("labels").map(pairs).unwrap_or_default());
        service.depends_on.extend(node.get("depends_on").map(names).unwrap_or_default());
        service.profiles.extend(node.get("profiles").map(names).unwrap_or_default());
        if service.image.is_none() && !service.build && node.get("extends").is_none() {
            self.report(node, field, "expected `image` or `build`");
        }
    }

    fn mounts(&mut self, service: &mut Service, field: &str, node: &Node) {
        let Some(volumes) = node.get("volumes") else { return };
        let field = format!("{field}.volumes");
        if !matches!(volumes.value, Yaml::List(_) | Yaml::Null) {
            self.report(volumes, &field, format!("expected a list, found {}", volumes.kind()));
        }
        for item in volumes.items() {
            match volume::read(item) {
                Ok(Mount::Bind(bind)) => {
                    // As in Compose, a later mount at the same path replaces an earlier one.
                    service.binds.retain(|other| other.target != bind.target);
                    service.binds.push(bind);
                }
                Ok(Mount::Named { volume, target }) => {
                    service.binds.retain(|other| other.target != target);
                    service.volumes.push((volume, target));
                }
                Ok(Mount::Other) => {}
                Err(message) => self.report(item, &field, message),
            }
        }
    }

    fn env_files(&mut self, service: &mut Service, field: &str, node: &Node) {
        let Some(files) = node.get("env_file") else { return };
        let items = if files.text().is_some() { std::slice::from_ref(files) } else { files.items() };
        for item in items {
            let path = item.text().or_else(|| item.get("path").and_then(Node::text));
            let required = item.get("required").is_none_or(Node::is_true);
            match path {
                Some(path) => service.env_files.push(EnvFile {
                    path: path.to_owned(),
                    required,
                    line: item.line,
                    column: item.column,
                }),
                None => {
                    self.report(item, &format!("{field}.env_file"), "expected a path, or a map with `path`")
                }
            }
        }
    }

    fn file_sources(&mut self, root: &Node, key: &str) -> BTreeMap<String, FileSource> {
        let entries = root.get(key).map(Node::entries).unwrap_or_default();
        entries
            .iter()
            .filter_map(|(name, node)| {
                let path = node.get("file")?;
                Some((name.clone(), FileSource { path: place(path.text()?.to_owned(), path) }))
            })
            .collect()
    }

    fn volumes(&mut self, root: &Node) -> BTreeMap<String, Option<String>> {
        let entries = root.get("volumes").map(Node::entries).unwrap_or_default();
        let name = |key: &str, node: &Node| {
            let own = node.get("name").and_then(Node::text);
            // One that is not the project's is not named after it.
            let external = node.get("external").is_some_and(Node::is_true).then_some(key);
            own.or(external).map(str::to_owned)
        };
        entries.iter().map(|(key, node)| (key.clone(), name(key, node))).collect()
    }

    fn includes(&mut self, root: &Node, compose: &mut Compose) {
        let Some(include) = root.get("include") else { return };
        for item in include.items() {
            let path = item.text().or_else(|| item.get("path").and_then(Node::text));
            compose.includes.push(place(path.unwrap_or("include").to_owned(), item));
        }
    }

    fn expect_map(&mut self, node: &Node, field: &str, expected: &str) -> bool {
        let is_map = matches!(node.value, Yaml::Map(_));
        if !is_map {
            self.report(node, field, format!("expected {expected}, found {}", node.kind()));
        }
        is_map
    }

    fn report(&mut self, node: &Node, field: &str, message: impl Into<String>) {
        let problem = self.wrong(node, field, message);
        self.problems.push(problem);
    }

    fn wrong(&self, node: &Node, field: &str, message: impl Into<String>) -> Problem {
        let problem = Problem::error(code::COMPOSE_SHAPE, self.file, message).at(node.line, node.column);
        if field.is_empty() { problem } else { problem.field(field) }
    }
}

fn place<T>(value: T, node: &Node) -> Place<T> {
    Place { value, line: node.line, column: node.column }
}

fn is_disabled(check: &Node) -> bool {
    let test = check.get("test");
    let none = |node: &Node| {
        node.text() == Some("NONE") || node.items().first().and_then(Node::text) == Some("NONE")
    };
    check.get("disable").is_some_and(Node::is_true) || test.is_some_and(none)
}

/// The names of configs or secrets that a service uses.
fn uses(node: &Node, key: &str) -> Vec<String> {
    let items = node.get(key).map(Node::items).unwrap_or_default();
    let name =
        |item: &Node| item.text().or_else(|| item.get("source").and_then(Node::text)).map(str::to_owned);
    items.iter().filter_map(name).collect()
}

/// A list of names, or the keys of a map.
fn names(node: &Node) -> Vec<String> {
    let keys = node.entries().iter().map(|(key, _)| key.clone());
    keys.chain(node.items().iter().filter_map(|item| item.text().map(str::to_owned))).collect()
}

/// A map of texts, or a list of `key=value`.
fn pairs(node: &Node) -> BTreeMap<String, String> {
    let from_map = node.entries().iter().map(|(k, v)| (k.clone(), v.text().unwrap_or_default().to_owned()));
    let from_list = node.items().iter().filter_map(Node::text).map(|text| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    });
    from_map.chain(from_list).collect()
}

fn ports(node: &Node) -> Vec<String> {
    let port = |item: &Node| match item.text() {
        Some(text) => text.to_owned(),
        None => {
            let part = |key: &str| item.get(key).and_then(Node::text).unwrap_or_default().to_owned();
            let protocol = item.get("protocol").and_then(Node::text).unwrap_or("tcp");
            format!("{}:{}/{protocol}", part("published"), part("target"))
        }
    };
    node.items().iter().map(port).collect()
}
