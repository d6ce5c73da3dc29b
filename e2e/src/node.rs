//! A node: an agent as a program of its own, and what it runs.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use backstay_api::{Empty, v1};
use backstay_testkit::{Docker, Network, Port, Program, Ready, capture, http, kill_under, run};

use crate::Api;

/// A running agent with a folder of its own. It can be killed and started again.
#[derive(Debug)]
pub struct Node {
    name: String,
    dir: PathBuf,
    agent: Program,
    program: PathBuf,
    port: Port,
    docker: Option<Docker>,
    network: Option<Network>,
}

/// Where and how a node is.
#[derive(Debug, Default)]
pub struct Place {
    /// Its container engine.
    pub docker: Option<Docker>,
    /// Its place in the network; the machine's own when absent.
    pub network: Option<Network>,
    /// Settings of its agent, by variables of its environment.
    pub settings: Vec<(String, String)>,
    /// Whether it looks often whether what runs is what should.
    pub hurried: bool,
    /// Whether its agent is started by the loader.
    pub loaded: bool,
}

impl Node {
    /// Joins the hub at `url` under `name`, with the label `name=<name>` and `role=web`, and starts its agent.
    pub(crate) fn join(url: &str, api: &Api, dir: &Path, name: &str, place: Place) -> Self {
        let Place { docker, network, settings, hurried, loaded } = place;
        let token =
            api.call::<v1::CreateJoinToken>(&Empty {}, &Empty {}, &v1::CreateJoinTokenRequest::default());
        let (port, node_dir) = (Port::take(), dir.join(name));
        let env_dir = node_dir.join("env");
        fs::create_dir_all(&env_dir).expect("create a node's folder");
        let values = env_dir.join("web.env");
        fs::write(&values, format!("PORT={}\n", port.number())).expect("write a node's values");
        fs::set_permissions(&values, fs::Permissions::from_mode(0o600)).expect("close a node's values");
        let mut agent = Program::ours("backstay-agent", &dir.join("logs"))
            .named(name)
            .env("BACKSTAY_AGENT_DATA_DIR", node_dir.join("data"))
            .env("BACKSTAY_AGENT_ENV_DIR", &env_dir)
            .env("BACKSTAY_AGENT_RUN_DIR", node_dir.join("run"))
            .env("BACKSTAY_AGENT_DISK_MARGIN_BYTES", "1000000")
            .env("BACKSTAY_AGENT_FETCH_TIMEOUT", "10s");
        if hurried {
            agent = agent.env("BACKSTAY_AGENT_CHECK_EVERY", "1s");
        }
        for (key, value) in docker.iter().flat_map(Docker::env) {
            agent = agent.env(key, value);
        }
        for (key, value) in settings {
            agent = agent.env(key, value);
        }
        let mut join = match &network {
            Some(network) => network.command(agent.path()),
            None => Command::new(agent.path()),
        };
        join.arg("join").args(["--hub", url, "--name", name, "--label", "role=web"]);
        join.args(["--label", &format!("name={name}")]);
        join.envs(agent.envs()).env("BACKSTAY_JOIN_TOKEN", token.token.expose());
        run(&mut join);
        let program = agent.path().to_owned();
        let agent = if loaded { by_loader(agent, &node_dir, &dir.join("logs")) } else { agent };
        let agent = match &network {
            Some(network) => agent.within(network),
            None => agent,
        };
        let agent = agent.args(["run"]).ready(Ready::Started).started();
        Self { name: name.to_owned(), dir: node_dir, agent, program, port, docker, network }
    }

    /// Joins again in its folder, after it was revoked, and starts its agent.
    pub fn join_again(&mut self, url: &str, api: &Api) {
        let token =
            api.call::<v1::CreateJoinToken>(&Empty {}, &Empty {}, &v1::CreateJoinTokenRequest::default());
        self.agent.kill();
        let mut join = Command::new(self.agent.path());
        join.arg("join").args(["--replace", "--hub", url]);
        join.envs(self.agent.envs()).env("BACKSTAY_JOIN_TOKEN", token.token.expose());
        run(&mut join);
        self.agent.start();
    }

    /// Its machine is lost with all that was on it; another one joins under its name.
    pub fn lose_and_join(&mut self, url: &str, token: &str) {
        self.agent.kill();
        kill_under(&self.dir);
        for folder in ["data", "run"] {
            fs::remove_dir_all(self.dir.join(folder)).expect("lose a node's folder");
        }
        let mut join = Command::new(self.agent.path());
        join.arg("join").args(["--hub", url, "--name", &self.name]);
        join.envs(self.agent.envs()).env("BACKSTAY_JOIN_TOKEN", token);
        run(&mut join);
        self.agent.start();
    }

    /// Its machine is lost, with all that runs on it.
    pub fn lose(&mut self) {
        self.agent.kill();
        kill_under(&self.dir);
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its container engine, where it has one.
    ///
    /// # Panics
    /// When it has none.
    pub fn docker(&self) -> &Docker {
        self.docker.as_ref().expect("a node with an engine")
    }

    /// As [`Node::docker`], to stop and start it.
    ///
    /// # Panics
    /// When it has none.
    pub fn docker_mut(&mut self) -> &mut Docker {
        self.docker.as_mut().expect("a node with an engine")
    }

    /// Its place in the network.
    ///
    /// # Panics
    /// When it has none of its own.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("a node with a place in the network")
    }

    /// The agent's process.
    pub fn pid(&self) -> Option<u32> {
        self.agent.pid()
    }

    /// The program of the agent that was installed.
    pub fn agent_program(&self) -> &Path {
        &self.program
    }

    /// Where the agent keeps things.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The port on which its stack `web` serves.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// What its stack `web` serves at a path.
    ///
    /// # Errors
    /// When nobody answers with 200.
    pub fn get(&self, path: &str) -> Result<String, String> {
        if let Some(network) = &self.network {
            let url = format!("{}/{path}", self.port.url());
            let mut get = network.command("busybox");
            return capture(get.args(["wget", "-q", "-O", "-", &url]))
                .map(|text| text + "\n")
                .map_err(|failed| failed.to_string());
        }
        let response =
            http::get(&format!("{}/{path}", self.port.url())).map_err(|error| error.to_string())?;
        if response.status == 200 { Ok(response.body) } else { Err(format!("status {}", response.status)) }
    }

    /// `kill -9` of the agent; what it runs goes on.
    pub fn kill_agent(&mut self) {
        self.agent.kill();
    }

    /// Starts the agent again.
    pub fn start_agent(&mut self) {
        self.agent.start();
    }

    /// What the agent has said.
    pub fn log(&self) -> String {
        self.agent.logs()
    }
}

/// The same agent, started by the loader.
fn by_loader(agent: Program, dir: &Path, logs: &Path) -> Program {
    let name = dir.file_name().and_then(|name| name.to_str()).expect("a node's name");
    let slots = dir.join("agents");
    fs::create_dir_all(&slots).expect("create the folder for agents");
    let loader = Program::ours("backstay-loader", logs).named(name).args([slots.as_path(), agent.path()]);
    agent.envs().fold(loader, |loader, (key, value)| loader.env(key, value))
}

impl Drop for Node {
    fn drop(&mut self) {
        self.agent.kill();
        kill_under(&self.dir);
    }
}
