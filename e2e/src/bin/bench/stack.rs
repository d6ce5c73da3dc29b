//! The stack that is measured: one service with Compose's own health check.

use backstay_e2e::{Fleet, Node};
use backstay_testkit::{Image, WorkTree};

/// What a benchmark cannot do without.
pub(crate) const MISSING: &str = "a real part is missing; scripts/setup says which";

/// How a release proves itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Proof {
    /// The containers' health, once: what `docker compose up --wait` looks at too.
    Health,
    /// Three good answers in a row a second apart, and two seconds of bake.
    Whole,
}

/// Writes a stack of one service, `web`, on the port that the node names.
pub(crate) fn write(tree: &WorkTree, stack: &str, image: &str, port: &str, proof: Proof) {
    let proof = match proof {
        Proof::Health => "[[probe]]\ncontainer = true\n",
        Proof::Whole => "[[probe]]\ncontainer = true\nevery = \"1s\"\nsuccesses = 3\n[bake]\nfor = \"2s\"\n",
    };
    tree.write(&format!("stacks/{stack}/compose.yaml"), &compose(image, port))
        .write(&format!("stacks/{stack}/stack.toml"), proof);
}

/// Its Compose file.
pub(crate) fn compose(image: &str, port: &str) -> String {
    format!(
        "services:\n  web:\n    image: {image}\n    ports: ['127.0.0.1:{port}:8080']\n    healthcheck: {{retries: 2}}\n"
    )
}

/// Makes `web:v1` and `web:v2` in a node's engine.
pub(crate) fn images(node: &Node) {
    for version in ["v1", "v2"] {
        node.docker().image(&format!("web:{version}"), &Image::web(version));
    }
}

/// A fleet of one node as it is shipped, running `web:v1`.
pub(crate) fn fleet_of_one(proof: Proof) -> Result<Fleet, String> {
    let fleet = Fleet::of(1).containers().as_shipped().start().ok_or(MISSING)?;
    images(&fleet.nodes[0]);
    write(&fleet.tree, "web", "web:v1", &fleet.nodes[0].port().to_string(), proof);
    fleet.commit("Add web", None);
    fleet.follow();
    fleet.settle();
    Ok(fleet)
}

/// Fails unless the node's stack `web` is made of this image and serves it.
pub(crate) fn runs(node: &Node, image: &str) -> Result<(), String> {
    let wanted = node.docker().run(&["image", "inspect", "--format", "{{.Id}}", image]);
    let container = node.docker().run(&["ps", "--quiet", "--filter", "label=com.docker.compose.project=web"]);
    let found = node.docker().run(&["inspect", "--format", "{{.Image}}", container.trim()]);
    let served = node.get("")?;
    let version = image.split(':').nth(1).unwrap_or_default();
    if found.trim() == wanted.trim() && served.trim() == version {
        Ok(())
    } else {
        Err(format!("expected {image} ({wanted}), found {found} which serves {served}"))
    }
}
