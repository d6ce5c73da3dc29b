//! `backstay bundle`: what a node should run, as one file for a node that reaches no network.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use backstay_api::{
    bundle::{Part, PartContent},
    v1::{BundleRequest, ExportBundle, NodePath},
};
use backstay_types::{Digest, ErrorCode};
use clap::{Args, Subcommand};

use super::{Outcome, done};
use crate::{context::Context, error::CliError, time};

/// Bundles.
#[derive(Debug, Subcommand)]
pub(crate) enum Bundle {
    /// Write a node's statement with its releases into a file; `backstay-agent apply FILE` takes it up there
    Export(Export),
}

/// Options of `bundle export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The node, by name or id
    #[arg(long)]
    node: String,
    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// An image to put in, as this machine's Docker has it. May be given several times
    #[arg(long = "image", value_name = "IMAGE")]
    images: Vec<String>,
    /// How long the node may take it up
    #[arg(long, value_name = "DURATION", default_value = "30d")]
    valid: String,
}

impl Bundle {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let Self::Export(command) = self;
        export(command, cx).await
    }
}

async fn export(command: Export, cx: &Context) -> Outcome {
    let failed = |error: io::Error| {
        let text = format!("{} cannot be written", command.output.display());
        CliError::new(ErrorCode::BS8004, text).with_source(error)
    };
    let name = command.output.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = |end: String| command.output.with_file_name(format!(".{name}.{end}"));
    let mut scratch = Scratch(vec![beside("tmp".to_owned())]);
    let mut images = Vec::new();
    for (at, image) in command.images.iter().enumerate() {
        let file = beside(format!("image-{at}"));
        scratch.0.push(file.clone());
        images.push(save(image, &file)?);
    }
    let valid_seconds = Some(time::parse_length(&command.valid)?.as_secs());
    let request = BundleRequest { images, valid_seconds };
    let path = NodePath { node: command.node.clone() };
    let mut file = File::create(&scratch.0[0]).map_err(failed)?;
    cx.api()?.download::<ExportBundle>(&path, &request, &mut file).await?;
    for image in &scratch.0[1..] {
        io::copy(&mut File::open(image).map_err(failed)?, &mut file).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    std::fs::rename(&scratch.0[0], &command.output).map_err(failed)?;
    cx.ui.say(format!(
        "{}: {bytes} bytes for node {}. On the node:\n\n  backstay-agent apply {name}",
        command.output.display(),
        command.node,
    ));
    done()
}

/// Files that go when all is done, or when it failed.
struct Scratch(Vec<PathBuf>);

impl Drop for Scratch {
    fn drop(&mut self) {
        for file in &self.0 {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Has Docker save an image to a file.
fn save(name: &str, file: &Path) -> Result<Part, CliError> {
    let failed = |message: String| CliError::new(ErrorCode::BS8005, message);
    if name.starts_with('-') {
        return Err(CliError::argument(format!("`{name}` is no image")));
    }
    let output = Command::new("docker")
        .args(["image", "save", "--output"])
        .arg(file)
        .arg(name)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed("`docker` cannot be started".to_owned()).with_source(error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(format!("docker image save {name}: {said}")));
    }
    let unread = |error| failed(format!("the saved image {name} cannot be read")).with_source(error);
    let (sha256, bytes) = File::open(file).and_then(Digest::of_reader).map_err(unread)?;
    Ok(Part { content: PartContent::Image { name: name.to_owned() }, bytes, sha256 })
}
