//! What happens in the demo. Each step says what it does, does it, and looks whether it came out as promised.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use backstay_api::{
    Empty,
    v1::{
        AddRepository, AddRepositoryRequest, ConversationPath, CreatedLink, DeploymentsQuery,
        GetConversation, GetNode, GetWhy, ListDeployments, NodePath, WhyQuery,
    },
};
use backstay_types::{ConversationId, DeploymentState, ErrorCode, NodeState};

use super::{
    fleet::Fleet,
    see::{Page, eventually},
    stage::Stage,
    tools::Assistant,
};
use crate::{
    api::Api,
    context::Context,
    error::CliError,
    ids,
    ui::{style, when::millis, words},
};

/// How long any one state may take to come about.
const LIMIT: Duration = Duration::from_secs(30);

/// The story, on its stage.
pub(super) struct Story<'a> {
    stage: &'a Stage,
    cx: &'a Context,
    chapter: u32,
}

impl<'a> Story<'a> {
    pub(super) fn new(stage: &'a Stage, cx: &'a Context) -> Self {
        Self { stage, cx, chapter: 0 }
    }

    /// Tells it from beginning to end.
    ///
    /// # Errors
    /// At the first thing that is not as promised.
    pub(super) async fn tell(mut self) -> Result<(), CliError> {
        let started = Instant::now();
        let (good, dim, bold) = (style::GOOD, style::DIM, style::BOLD);
        self.line(&format!(
            "{bold}Backstay, the whole loop on this machine{bold:#}\n\
             {dim}Real Git, real processes, real web servers; all of it in\n{}{dim:#}",
            self.stage.dir.display()
        ));
        let (fleet, a, b) = self.begin().await?;
        let page = self.two_conversations(&fleet, &a, &b).await?;
        self.bad_change(&fleet, &a, &page).await?;
        self.why(&fleet, &b).await?;
        self.undo(&fleet, &a, &b, &page).await?;
        self.audit().await?;
        self.line(&format!(
            "\n{good}Everything was as promised.{good:#} {dim}It took {}.{dim:#}",
            millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX))
        ));
        Ok(())
    }

    async fn begin(&mut self) -> Result<(Fleet, Assistant, Assistant), CliError> {
        self.heading("A hub, three nodes, a Git repository");
        let stage = self.stage;
        self.done(&format!("the hub runs at {}", stage.api.url()));
        for node in &stage.nodes {
            let what = format!("{} is online", node.name);
            eventually(&what, LIMIT, || is_online(&stage.api, node.name)).await?;
        }
        let small = stage.nodes.iter().find(|node| node.memory_mb < 512).map_or("one", |node| node.name);
        self.done(&format!("web-1, web-2 and web-3 have joined; {small} is a small machine"));
        let fleet = Fleet::create(&stage.dir)?;
        let request = AddRepositoryRequest {
            name: "fleet".to_owned(),
            endpoints: vec![fleet.upstream.display().to_string()],
            branch: Some("main".to_owned()),
            stacks_path: None,
            credential: None,
        };
        stage.api.call::<AddRepository>(Empty {}, Empty {}, request).await?;
        self.done("the hub follows the repository and has found the stack `page`");
        self.everyone_shows(&Page::FIRST).await?;
        let urls = stage.nodes.iter().map(|node| format!("http://127.0.0.1:{}", node.port));
        self.done(&format!("each node serves its page:\n{}", urls.collect::<Vec<_>>().join("\n")));
        self.program(
            &["track", "install", "--only", "git", "--repo", &fleet.work.display().to_string()],
            false,
        )
        .await?;
        let a = Assistant::claude_code(&stage.api, &self.cx.world).await?;
        let b = Assistant::openclaw(&stage.api).await?;
        self.done("hooks in the repository let each commit name its conversation");
        Ok((fleet, a, b))
    }

    /// A and B change the same file of the same stack in turn.
    async fn two_conversations(
        &mut self,
        fleet: &Fleet,
        a: &Assistant,
        b: &Assistant,
    ) -> Result<Page, CliError> {
        self.heading("Two conversations change the same file in turn");
        a.begins(&self.cx.world).await?;
        b.begins(&self.cx.world).await?;
        let mut page = Page::FIRST;
        page.greeting = "Good to see you";
        self.change(fleet, a, ("greeting", page.greeting), "Greet visitors warmly", &page).await?;
        page.colour = "teal";
        self.change(fleet, b, ("colour", page.colour), "Paint the page teal", &page).await?;
        page.closing = "Until next time";
        self.change(fleet, a, ("closing", page.closing), "Say goodbye nicely", &page).await?;
        page.columns = "2";
        self.change(fleet, b, ("columns", page.columns), "Use two columns", &page).await?;
        Ok(page)
    }

    async fn change(
        &self,
        fleet: &Fleet,
        who: &Assistant,
        (key, value): (&str, &str),
        subject: &str,
        page: &Page,
    ) -> Result<(), CliError> {
        let started = Instant::now();
        self.commit(fleet, who, key, value, subject).await?;
        self.everyone_shows(page).await?;
        let took = millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        let (name, dim) = (style::NAME, style::DIM);
        let (letter, tool) = (who.letter, who.tool);
        self.done(&format!(
            "{name}{letter}{name:#} {dim}({tool}){dim:#} {subject}: on all three nodes after {took}"
        ));
        Ok(())
    }

    /// Commits through the real hooks, and checks that the commit names its conversation.
    async fn commit(
        &self,
        fleet: &Fleet,
        who: &Assistant,
        key: &str,
        value: &str,
        subject: &str,
    ) -> Result<(), CliError> {
        let dir = self.stage.hub_dir().display().to_string();
        let mut env = vec![("BACKSTAY_HUB_DATA_DIR", dir.as_str())];
        env.extend(who.env.iter().map(|(name, value)| (*name, value.as_str())));
        let commit = fleet.change(key, value, subject, &env)?;
        who.committed(subject, commit.as_str(), &self.cx.world).await?;
        let conversation = who.conversation(&self.stage.api).await?;
        let trailer = format!("Backstay-Conversation: {conversation}");
        let message = fleet.message(commit.as_str())?;
        // A commit never waits for a busy hub: it names its session then, and the hub links that when it sees it.
        let named = message.contains(&trailer) || message.contains("Backstay-Session: ");
        self.promise(named, || format!("commit {} carries `{trailer}` or its session", commit.short()))
    }

    async fn bad_change(&mut self, fleet: &Fleet, a: &Assistant, good: &Page) -> Result<(), CliError> {
        self.heading("A change that one node cannot bear");
        self.commit(fleet, a, "cache_mb", "512", "Make the page faster").await?;
        self.done("A asks for a cache of 512 MB; web-2 has 256 MB of memory");
        for node in self.stage.nodes.iter().filter(|node| node.memory_mb < 512) {
            let what = format!("the hub shows that {} went back", node.name);
            eventually(&what, LIMIT, || went_back(&self.stage.api, node.name)).await?;
            eventually(&format!("{} serves what it served before", node.name), LIMIT, || {
                good.is_shown(node.port)
            })
            .await?;
            let reason = reason(&self.stage.api, node.name).await?;
            self.done(&format!("{} noticed, and went back by itself:\n{}", node.name, wrapped(&reason)));
            self.done(&format!("{} serves the page from before, healthy", node.name));
        }
        self.try_it("backstay deployments");
        Ok(())
    }

    async fn why(&mut self, fleet: &Fleet, b: &Assistant) -> Result<(), CliError> {
        self.heading("Whose line is this?");
        let line = fleet.line_of("colour").and_then(|line| u32::try_from(line).ok());
        let place = format!("web-1/page/page.conf:{}", line.unwrap_or_default());
        self.prompt(&format!("backstay why {place}"));
        self.program(&["why", &place], true).await?;
        let query = WhyQuery {
            node: "web-1".to_owned(),
            stack: "page".parse().map_err(|_| CliError::argument("page"))?,
            file: Some("page.conf".to_owned()),
            line,
        };
        let why = self.stage.api.call::<GetWhy>(Empty {}, query, Empty {}).await?;
        let conversation = b.conversation(&self.stage.api).await?;
        self.promise(why.conversations.iter().any(|one| one.id == conversation), || {
            "the colour came from conversation B".to_owned()
        })
    }

    async fn undo(
        &mut self,
        fleet: &Fleet,
        a: &Assistant,
        b: &Assistant,
        page: &Page,
    ) -> Result<(), CliError> {
        self.heading("Take back what A did, and nothing else");
        let id = a.conversation(&self.stage.api).await?;
        let short = ids::short(id);
        self.prompt(&format!("backstay rollback --conversation {short} --yes"));
        let started = Instant::now();
        self.program(&["rollback", "--conversation", &id.to_string(), "--yes", "--reason", "the demo"], true)
            .await?;
        let took = millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        // What B did stays; what A did is as it was at the beginning.
        let without_a = Page { colour: page.colour, columns: page.columns, ..Page::FIRST };
        self.everyone_shows(&without_a).await?;
        self.done(&format!("A's greeting, closing and cache are gone from all three nodes, after {took}"));
        self.done("B's colour and columns are still there");
        let undone = conversation(&self.stage.api, id).await?.view.undone;
        self.promise(undone, || "the hub counts conversation A as undone".to_owned())?;
        let other = b.conversation(&self.stage.api).await?;
        let undone = conversation(&self.stage.api, other).await?.view.undone;
        self.promise(!undone, || "the hub does not count conversation B as undone".to_owned())?;
        eventually("the undo is a commit upstream, and names what it reverts", LIMIT, || async {
            let message = fleet.upstream_message().map_err(|error| error.to_string())?;
            let reverts = message.lines().filter(|line| line.starts_with("Backstay-Reverts: ")).count();
            let ok = reverts == 3 && message.contains("Backstay-Undo: ");
            if ok { Ok(()) } else { Err(format!("the newest commit says: {message}")) }
        })
        .await?;
        self.done("upstream has one new commit that says what it reverts");
        Ok(())
    }

    async fn audit(&mut self) -> Result<(), CliError> {
        self.heading("Is the record whole?");
        self.prompt("backstay audit verify");
        self.program(&["audit", "verify"], true).await
    }

    async fn everyone_shows(&self, page: &Page) -> Result<(), CliError> {
        for node in &self.stage.nodes {
            let what = format!("{} serves {page:?}", node.name);
            eventually(&what, LIMIT, || page.is_shown(node.port)).await?;
        }
        Ok(())
    }

    /// Runs this program against the demo's hub, as a person would.
    async fn program(&self, args: &[&str], shown: bool) -> Result<(), CliError> {
        let failed =
            |e| CliError::new(ErrorCode::BS8005, "this program cannot be started again").with_source(e);
        let mut command = tokio::process::Command::new(std::env::current_exe().map_err(failed)?);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BACKSTAY_") {
                command.env_remove(&name);
            }
        }
        command.args(args).env("BACKSTAY_HUB_DATA_DIR", self.stage.hub_dir()).stdin(Stdio::null());
        if self.cx.ui.json || !shown {
            command.stdout(Stdio::null());
        }
        let status = command.kill_on_drop(true).status().await.map_err(failed)?;
        self.promise(status.success(), || format!("`backstay {}` succeeds", args.join(" ")))
    }

    fn promise(&self, kept: bool, what: impl FnOnce() -> String) -> Result<(), CliError> {
        if kept {
            Ok(())
        } else {
            Err(CliError::new(ErrorCode::BS8008, format!("promised, and not so: {}", what())))
        }
    }

    fn heading(&mut self, text: &str) {
        self.chapter += 1;
        let (bold, name) = (style::BOLD, style::NAME);
        self.line(&format!("\n{name}{}{name:#} {bold}{text}{bold:#}", self.chapter));
    }

    fn done(&self, text: &str) {
        let good = style::GOOD;
        self.line(&format!("  {good}✓{good:#} {}", text.replace('\n', "\n    ")));
    }

    fn prompt(&self, command: &str) {
        let (dim, bold) = (style::DIM, style::BOLD);
        self.line(&format!("  {dim}${dim:#} {bold}{command}{bold:#}\n"));
    }

    fn try_it(&self, command: &str) {
        let dim = style::DIM;
        self.line(&format!("    {dim}to look: {command}{dim:#}"));
    }

    fn line(&self, text: &str) {
        self.cx.ui.say(text);
    }
}

/// A text in lines that fit a terminal of 80 columns behind an indent.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < 72 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

async fn is_online(api: &Api, node: &str) -> Result<(), String> {
    let path = NodePath { node: node.to_owned() };
    let view = api.call::<GetNode>(path, Empty {}, Empty {}).await.map_err(|error| error.to_string())?;
    if view.state == NodeState::Online { Ok(()) } else { Err(format!("the hub says {:?}", view.state)) }
}

async fn newest(api: &Api, node: &str) -> Result<DeploymentState, CliError> {
    let query =
        DeploymentsQuery { node: Some(node.to_owned()), limit: Some(1), ..DeploymentsQuery::default() };
    let page = api.call::<ListDeployments>(Empty {}, query, Empty {}).await?;
    let newest = page.items.into_iter().next();
    newest
        .map(|view| view.deployment.state)
        .ok_or_else(|| CliError::new(ErrorCode::BS8008, "there is no deployment"))
}

async fn went_back(api: &Api, node: &str) -> Result<(), String> {
    match newest(api, node).await {
        Ok(DeploymentState::RolledBack { .. }) => Ok(()),
        Ok(state) => Err(format!("its newest deployment {}", words::deployment_sentence(&state))),
        Err(error) => Err(error.to_string()),
    }
}

async fn reason(api: &Api, node: &str) -> Result<String, CliError> {
    match newest(api, node).await? {
        DeploymentState::RolledBack { reason, .. } => Ok(reason),
        state => Ok(words::deployment_sentence(&state)),
    }
}

async fn conversation(
    api: &Api,
    id: ConversationId,
) -> Result<backstay_api::v1::ConversationDetail, CliError> {
    api.call::<GetConversation>(ConversationPath { conversation: id.to_string() }, Empty {}, Empty {}).await
}

/// What to try while the demo keeps running.
pub(super) fn invite(stage: &Stage, page: Option<&CreatedLink>, cx: &Context) {
    let (dim, bold) = (style::DIM, style::BOLD);
    let program =
        std::env::current_exe().map_or_else(|_| "backstay".to_owned(), |path| path.display().to_string());
    let first = stage.nodes.first().map_or(0, |node| node.port);
    cx.ui.say(format!(
        "\n{bold}It keeps running: look and play.{bold:#} The page, signed in (once, for 10 minutes):\n\n  \
         {bold}{}{bold:#}\n\n\
         In another terminal:\n\n  \
         export BACKSTAY_HUB_DATA_DIR={}\n  \
         alias backstay={program}\n\n  \
         backstay open                     {dim}another link to the page{dim:#}\n  \
         backstay status                   {dim}the fleet at a glance{dim:#}\n  \
         backstay timeline                 {dim}what happened{dim:#}\n  \
         backstay conversations list       {dim}who changed what{dim:#}\n  \
         backstay rollback --last --dry-run\n  \
         backstay undos                    {dim}and then: backstay rollback --undo ID{dim:#}\n  \
         cd {}  {dim}change stacks/page/page.conf, commit, push{dim:#}\n  \
         xdg-open http://127.0.0.1:{first}\n\n\
         Ctrl-C ends everything and takes the folder away.",
        page.map_or_else(|| stage.api.url(), |made| made.link.expose()),
        stage.hub_dir().display(),
        stage.dir.join("fleet").display(),
    ));
}
