//! `backstay up`: a hub and this machine's agent, on built-in defaults.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use backstay_api::{
    Empty,
    v1::{GetNode, ListNodes, NodePath, NodesQuery},
};
use backstay_types::{NodeState, Secret};
use clap::Args;
use serde::Serialize;

use super::{Outcome, done, open};
use crate::{
    api::Api,
    context::Context,
    error::CliError,
    local::{self, AgentPlace, HubOptions},
    paths,
    ui::style,
};

/// The shortest and longest wait before an agent that ended is started again.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// An agent that ran this long begins anew with the shortest wait.
const STEADY: Duration = Duration::from_secs(60);

/// Start a hub and this machine's agent, and keep them running. Ctrl-C ends both; workloads stay.
#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    options: HubOptions,
    /// Where this machine's agent keeps its state [default: /var/lib/backstay for root, else ~/.local/share/backstay/agent]
    #[arg(long, value_name = "DIR")]
    agent_dir: Option<PathBuf>,
    /// This node's name [default: the host's name]
    #[arg(long)]
    name: Option<String>,
    /// A label of this node, such as `role=web`; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// The hub alone, without an agent
    #[arg(long)]
    no_agent: bool,
}

/// Where things are, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Places {
    hub: String,
    /// Opens the page; absent where users sign in themselves.
    page: Option<Secret>,
    data_dir: PathBuf,
    token_file: PathBuf,
    agent_dir: Option<PathBuf>,
    agent_log: Option<PathBuf>,
}

impl Up {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        local::log_to_stderr("warn");
        let hub = local::start(self.options.settings()?, cx.world.clone()).await?;
        let token = hub.admin_token().clone();
        let place = (!self.no_agent).then(|| self.place());
        let api = Api::new(&hub.url(), Some(token.clone()), open::SOON)?;
        let places = Places {
            hub: hub.url(),
            page: open::link(&api).await?.map(|made| made.link),
            data_dir: hub.data_dir().to_owned(),
            token_file: hub.data_dir().join(backstay_hub::ADMIN_TOKEN_FILE),
            agent_dir: place.as_ref().map(|place| place.dir.clone()),
            agent_log: place.as_ref().map(AgentPlace::log),
        };
        let result = match &place {
            Some(place) => with_agent(place, &places, token, cx).await,
            None => {
                cx.ui.data(&places, || view(&places))?;
                local::asked_to_end().await;
                Ok(())
            }
        };
        cx.ui.say("\nThe hub ends. What runs on nodes keeps running.");
        hub.stop().await;
        result?;
        done()
    }

    fn place(&self) -> AgentPlace {
        let root = rustix::process::geteuid().is_root();
        let set = |name| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let own = || if root { "/var/lib/backstay".into() } else { paths::user_data().join("agent") };
        let dir = self.agent_dir.clone().or_else(|| set("BACKSTAY_AGENT_DATA_DIR")).unwrap_or_else(own);
        let dir = std::path::absolute(&dir).unwrap_or(dir);
        // Only root may write to /etc.
        let own_env = (!root && set("BACKSTAY_AGENT_ENV_DIR").is_none()).then(|| dir.join("env"));
        let settings =
            own_env.map(|dir| ("BACKSTAY_AGENT_ENV_DIR", dir.into_os_string())).into_iter().collect();
        AgentPlace { dir, settings, name: self.name.clone(), labels: self.labels.clone() }
    }
}

/// Keeps an agent running until the end is asked for.
async fn with_agent(
    place: &AgentPlace,
    places: &Places,
    token: Secret,
    cx: &Context,
) -> Result<(), CliError> {
    let api = Api::new(&places.hub, Some(token), Duration::from_secs(10))?;
    if !place.has_joined() {
        place.join(&api).await?;
    }
    let end = local::asked_to_end();
    tokio::pin!(end);
    let mut agent = place.start()?;
    cx.ui.data(places, || view(places))?;
    let mut wait = BACK_OFF.0;
    let mut told = false;
    loop {
        let started = Instant::now();
        tokio::select! {
            () = &mut end => {
                agent.stop().await;
                return Ok(());
            }
            () = online(&api, place), if !told => {
                told = true;
                cx.ui.say("This machine is online.");
                // The select ends this round; the agent is waited for in the next.
                continue;
            }
            _ = agent.ended() => {}
        }
        wait = if started.elapsed() >= STEADY { BACK_OFF.0 } else { (wait * 2).min(BACK_OFF.1) };
        cx.ui.note(format!(
            "The agent ended; it is started again in {}s. It said:\n{}",
            wait.as_secs(),
            local::tail(&place.log(), 5)
        ));
        tokio::select! {
            () = &mut end => return Ok(()),
            () = tokio::time::sleep(wait) => agent = place.start()?,
        }
    }
}

/// Ends when this machine's node is heard from.
async fn online(api: &Api, place: &AgentPlace) {
    loop {
        if let Ok(true) = is_online(api, place).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn is_online(api: &Api, place: &AgentPlace) -> Result<bool, CliError> {
    if let Some(name) = &place.name {
        let node = api.call::<GetNode>(NodePath { node: name.clone() }, Empty {}, Empty {}).await?;
        return Ok(node.state == NodeState::Online);
    }
    let nodes = api.call::<ListNodes>(Empty {}, NodesQuery::default(), Empty {}).await?.items;
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    Ok(nodes.iter().any(|view| view.node.name.as_str() == host && view.state == NodeState::Online))
}

fn view(places: &Places) -> String {
    let (good, dim, bold) = (style::GOOD, style::DIM, style::BOLD);
    let page = places.page.as_ref().map_or(places.hub.as_str(), Secret::expose);
    let mut text = format!(
        "{good}The hub runs{good:#} at {bold}{}{bold:#}\n  {dim}page{dim:#}    {page}\n  {dim}API{dim:#}     {}/docs\n  {dim}data{dim:#}    {}\n  \
         {dim}token{dim:#}   {} (found by itself on this machine)\n",
        places.hub,
        places.hub,
        places.data_dir.display(),
        places.token_file.display(),
    );
    if let (Some(dir), Some(log)) = (&places.agent_dir, &places.agent_log) {
        text.push_str(&format!("  {dim}agent{dim:#}   {}, log in {}\n", dir.display(), log.display()));
    }
    text.push_str(&format!(
        "\n{dim}Follow a Compose repository{dim:#}  backstay init DIR\n\
         {dim}Add another machine{dim:#}          backstay nodes token\n\
         {dim}Open the page again{dim:#}          backstay open\n\
         {dim}Watch{dim:#}                        backstay timeline --follow\n\n\
         Ctrl-C ends hub and agent; what they run keeps running.\n"
    ));
    text
}
