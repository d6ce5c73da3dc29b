//! The agent's life: one loop around the core, one around the hub.

mod check_in;
mod contact;
mod driver;
mod elsewhere;
mod hands;
mod inbox;
mod machine;
mod watchdog;

pub(crate) use self::{
    check_in::{Asking, CheckIn, Host},
    contact::Contact,
    driver::{Answering, Driver, Event, View},
    hands::Hands,
    watchdog::Pulse,
};

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use backstay_agent_core::{Adopted, BootId, Core, Cx, Hold, Settings};
use backstay_config::AgentSettings;
use backstay_types::StackName;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

use crate::{
    AgentError, Identity, backup, crash,
    disk::{AgentLock, JournalDb, Layout, WorkLock, read_links},
    join,
    minimal::{self, Local},
    proc, settings,
    tasks::Machine,
    update::{Slots, Updater},
};

/// Why the agent ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to.
    Told,
    /// Another agent is to be started in its place.
    Update,
}

/// Runs the agent until it is told to end. What it started keeps running.
pub(crate) async fn run(settings: AgentSettings, slots: Option<Slots>) -> Result<Ended, AgentError> {
    let layout = settings::layout(&settings);
    let identity = Identity::load(&layout)?;
    let (key, place) = (identity.verifying_key()?, settings::place(&settings, &identity));
    layout.create().map_err(AgentError::io(layout.data()))?;
    let _lock = AgentLock::take(&layout)?;
    WorkLock::clear(&layout).map_err(AgentError::io(layout.data()))?;
    let path = layout.journal();
    let (db, journal, lost) = JournalDb::open(&path)?;
    layout.sweep().map_err(AgentError::io(layout.stacks()))?;
    let found = if lost { adoptable(&layout)? } else { BTreeMap::new() };
    crash::crash_point("start.opened");

    let world = crate::system();
    let by_hand = inbox::Inbox::new(&layout, key);
    let hub = join::client(&identity.hub, Some(identity.credential.clone()), settings.ca_file.as_deref())?;
    let store = backup::Store::open(&path)?;
    // What is half-way in place, or may be, is nobody's but of who puts it there.
    let hold = (!matches!(store.restore(), Ok(None))).then_some(Hold { id: 0, stack: None });
    let core_settings = Settings {
        check_every: settings.check_every,
        deep_check_every: settings.deep_check_every,
        drift_heals: settings.drift_heals,
        keep: settings.keep_releases as usize,
        failure_pause: settings.failure_pause,
        outage_after: settings.outage_after,
        // A look every fifteen seconds: after a minute.
        restart_engine: (!settings.engine_restart.is_empty()).then_some(4),
        snapshots: true,
        hold,
        ..Settings::new(identity.node)
    };
    let (backups, asked) = backup::Handle::new();
    let machine = Machine {
        world: world.clone(),
        layout: layout.clone(),
        place,
        settings: Arc::new(settings),
        hub: hub.clone(),
        backups: backups.clone(),
    };
    let started = Instant::now();
    let cx = Cx { world: &world, mono: started.elapsed() };
    let (core, actions) = Core::start(core_settings, journal, BootId(proc::boot_id()), found, &cx);
    let (events, inbox) = mpsc::channel(16);
    let (view, seen) = watch::channel(View::of(&core, &cx));
    let contact = Contact::new(machine.settings.outage_after, machine.settings.airgapped);
    let local = Local::default();
    let pulse = Pulse::watched(machine.settings.watchdog);
    let hands = machine::MachineHands::new(db, machine.clone(), events.clone());
    let driver = Driver {
        core,
        hands,
        hub: hub.clone(),
        world: world.clone(),
        started,
        view,
        contact: contact.clone(),
        pulse: pulse.clone(),
    };
    tracing::info!(node = %identity.name, hub = %identity.hub, version = env!("CARGO_PKG_VERSION"), "the agent runs");
    pulse.say("READY=1");

    let minimal = minimal::keep(machine.clone(), seen.clone(), local.clone());
    let updater = Updater::new(slots, machine.clone(), seen.clone(), events.clone(), contact.clone()).run();
    let (keeper, clerk) =
        backup::Keeper::new(machine.clone(), identity.clone(), store, events.clone(), seen.clone(), asked);
    let (keeper, clerk) = (keeper.run(), clerk.run());
    let asking = Asking { backups: Some(backups), hub, key, node: identity.node, world, contact, local };
    let by_hand = by_hand.run(events.clone());
    let check_in = CheckIn::new(asking, events, seen).run(machine::Measured::new(&machine, identity.node));
    let mut terminate = signal(SignalKind::terminate()).map_err(AgentError::io("signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AgentError::io("signals"))?;
    let answers = machine::Answers(machine);
    let mut ended = Ended::Told;
    tokio::select! {
        result = updater => {
            result?;
            ended = Ended::Update;
        }
        result = driver.run(actions, inbox, answers) => result?,
        () = check_in => {}
        () = minimal => {}
        () = keeper => {}
        () = clerk => {}
        result = by_hand => result?,
        _ = terminate.recv() => tracing::info!("told to end; what runs keeps running"),
        _ = interrupt.recv() => tracing::info!("told to end; what runs keeps running"),
    }
    if ended == Ended::Told {
        // An update is no end: this process goes on as another agent.
        pulse.say("STOPPING=1");
    }
    WorkLock::clear(&layout).map_err(AgentError::io(layout.data()))?;
    Ok(ended)
}

/// What the links say, for when there is no journal.
fn adoptable(layout: &Layout) -> Result<BTreeMap<StackName, Adopted>, AgentError> {
    let mut found = BTreeMap::new();
    for stack in layout.stacks_here().map_err(AgentError::io(layout.stacks()))? {
        let dir = layout.stack(&stack);
        let mut links = read_links(&dir).map_err(AgentError::io(&dir))?;
        // A link to a folder that is not there says nothing.
        links.current = links.current.filter(|tree| layout.release(&stack, *tree).is_dir());
        links.previous = links.previous.filter(|tree| layout.release(&stack, *tree).is_dir());
        found.insert(stack, Adopted { links });
    }
    Ok(found)
}
