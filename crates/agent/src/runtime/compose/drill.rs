//! A stack, started once more for a drill: its document, and everything of it taken away again.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use backstay_agent_core::Prepared;
use backstay_manifest::compose::{DrillDocument, DrillInput, DrillPort, HostPath, drill_document};
use backstay_types::Step;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::sleep;

use super::{Compose, Engine, cli, engine_failed, prepared_overlays, read, write_overlay};
use crate::{
    backup::inside,
    step::{Context, Fail, Failed, Loaded},
};

/// Says of everything that a drill made which folder of scratch it belongs to.
pub(crate) const LABEL: &str = "dev.backstay.drill";
/// What an engine had begun to make when whoever asked for it was killed comes this much later.
const LATE: Duration = Duration::from_millis(500);

/// Where a drill is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scratch {
    /// The folder.
    pub(crate) dir: PathBuf,
    /// The Compose project.
    pub(crate) project: String,
}

/// What came of making it ready.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Rehearsal {
    /// It can be started. What the stack publishes.
    Ready(Vec<DrillPort>),
    /// It cannot, and why.
    Refused(String),
}

impl Scratch {
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// A named volume.
    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.dir.join("volumes").join(name)
    }

    /// What stands for a path of the machine.
    pub(crate) fn host(&self, path: &Path) -> PathBuf {
        self.dir.join("host").join(path.strip_prefix("/").unwrap_or(path))
    }

    fn document(&self) -> PathBuf {
        self.dir.join("compose.json")
    }
}

impl Compose {
    /// Makes ready what is started beside what runs. `saved`: absolute paths with restored data.
    pub(crate) async fn rehearse(
        cx: &Context,
        release: &Loaded,
        prepared: &Prepared,
        scratch: &Scratch,
        saved: Vec<String>,
    ) -> Result<Rehearsal, Failed> {
        let step = Step::Probe;
        let read = read(release, step)?;
        write_overlay(cx, release, &read, prepared_overlays(cx, release, prepared), step)?;
        let rendered = cli::rendered(cx, release, &read.file, &prepared.project).await?;
        let text = |path: PathBuf| path.display().to_string();
        let input = DrillInput {
            project: scratch.project.clone(),
            volumes: text(scratch.dir.join("volumes")),
            host: text(scratch.dir.join("host")),
            saved,
            tracked: vec![
                text(cx.layout.mounts(&release.stack)),
                text(cx.layout.live(&release.stack)),
                text(cx.layout.releases(&release.stack)),
            ],
            labels: BTreeMap::from([(LABEL.to_owned(), text(scratch.dir.clone()))]),
        };
        let document = match drill_document(&rendered, &input, &kind_of) {
            Ok(document) => document,
            Err(why) => return Ok(Rehearsal::Refused(why)),
        };
        if let Some(why) = leads_out(scratch, &document) {
            return Ok(Rehearsal::Refused(why));
        }
        for folder in &document.folders {
            fs::create_dir_all(folder).map_err(Fail::io(step, folder))?;
        }
        crate::disk::write_atomic(&scratch.document(), document.text.as_bytes(), 0o600)
            .map_err(Fail::io(step, "the drill's Compose file"))?;
        Ok(Rehearsal::Ready(document.ports))
    }

    /// Starts services of it; all when none is named.
    pub(crate) async fn start_drill(
        cx: &Context,
        release: &Loaded,
        scratch: &Scratch,
        services: &[String],
    ) -> Result<(), Failed> {
        cx.lock.inherit(true).map_err(Fail::io(Step::Probe, "the drill's lock"))?;
        let env = cx.layout.rendered(&release.stack, release.tree);
        cli::up_drill(&scratch.project, &scratch.dir, &scratch.document(), &env, services).await
    }

    /// Takes away everything that a drill made with the engine, however far it came. Looks twice: what was on its way
    /// comes after whoever asked for it is gone.
    pub(crate) async fn clear_drill(scratch: &Scratch) -> Result<(), Failed> {
        let engine = Engine::new();
        let label = format!("{LABEL}={}", scratch.dir.display());
        loop {
            let removed = engine.purge(&label).await.map_err(engine_failed(Step::Return))?;
            if removed == 0 {
                return Ok(());
            }
            sleep(LATE).await;
        }
    }

    /// The addresses of its services.
    pub(crate) async fn drill_addresses(scratch: &Scratch) -> std::io::Result<BTreeMap<String, IpAddr>> {
        Engine::new().addresses(&scratch.project).await
    }
}

/// Whether something that is mounted from scratch leads out of it: what was restored may hold links.
fn leads_out(scratch: &Scratch, document: &DrillDocument) -> Option<String> {
    let made: Value = serde_json::from_str(&document.text).unwrap_or_default();
    let none = Map::new();
    let services = made["services"].as_object().unwrap_or(&none).values();
    let mounts = services.flat_map(|service| service["volumes"].as_array().into_iter().flatten());
    let binds = mounts.filter_map(|mount| mount["source"].as_str());
    let of = |key: &str| made[key].as_object().unwrap_or(&none).values();
    let files = of("secrets").chain(of("configs")).filter_map(|source| source["file"].as_str());
    let folders = document.folders.iter().map(String::as_str);
    folders.chain(binds).chain(files).find_map(|path| {
        let below = Path::new(path).strip_prefix(&scratch.dir).ok()?;
        inside(&scratch.dir, below).err().map(|error| error.to_string())
    })
}

fn kind_of(path: &str) -> HostPath {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => HostPath::Folder,
        Ok(meta) if meta.is_file() => HostPath::File,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => HostPath::Absent,
        // A socket, a device; or nobody knows what.
        _ => HostPath::Other,
    }
}
