//! Who follows the logs of a stack on a node. All followers of the same share one row of questions to the node,
//! one at a time; when the last one has gone, nothing is asked any more.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backstay_api::{
    Problem,
    agent::{Answer, LogLine, Question},
};
use backstay_types::{ErrorCode, Node, NodeId, NodeState, StackName};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// How many lines are kept for followers that come later, or are slow.
const KEPT: usize = 4000;
/// How many lines of each service the node is asked for at once.
const LINES: u32 = 1000;
/// How long the node waits for something new.
const WAIT: Duration = Duration::from_secs(8);
/// How long it has to answer after that.
const PATIENCE: Duration = Duration::from_secs(5);
/// The least time between two questions.
const REST: Duration = Duration::from_millis(200);
/// How long a node that has not been heard from since the hub's start is waited for.
const RETURN: Duration = Duration::from_secs(30);

type Key = (NodeId, StackName);

/// Everybody who follows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Follows(Arc<Mutex<HashMap<Key, Arc<Shared>>>>);

impl Follows {
    /// Follows a stack's logs on a node until the result is dropped.
    pub(crate) fn follow(&self, app: &Arc<App>, node: &Node, stack: &StackName) -> Follower {
        let key = (node.id, stack.clone());
        let mut all = self.lock();
        let open = all.get(&key).filter(|shared| shared.lock().end.is_none()).cloned();
        let shared = open.unwrap_or_else(|| {
            let shared = Arc::<Shared>::default();
            app.tasks.spawn(pump(app.clone(), node.clone(), stack.clone(), shared.clone()));
            all.insert(key.clone(), shared.clone());
            shared
        });
        shared.lock().followers += 1;
        Follower { follows: self.clone(), key, shared, next: None }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Shared>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What followers of the same stack share.
#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<Kept>,
    changed: Notify,
    /// Set when the last follower has gone.
    over: CancellationToken,
}

#[derive(Debug, Default)]
struct Kept {
    followers: usize,
    /// The number of the first piece that is kept.
    first: u64,
    pieces: VecDeque<Piece>,
    /// The node has answered once.
    begun: bool,
    end: Option<Problem>,
}

/// What a follower is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// A line.
    Line(LogLine),
    /// Lines before the next one are left out.
    Gap,
    /// Why nothing comes any more.
    End(Box<Problem>),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, dropped: bool, lines: Vec<LogLine>) {
        let mut kept = self.lock();
        kept.begun = true;
        kept.pieces.extend(dropped.then_some(Piece::Gap));
        kept.pieces.extend(lines.into_iter().map(Piece::Line));
        let surplus = kept.pieces.len().saturating_sub(KEPT);
        kept.pieces.drain(..surplus);
        kept.first += surplus as u64;
        drop(kept);
        self.changed.notify_waiters();
    }

    fn end(&self, problem: Problem) {
        self.lock().end = Some(problem);
        self.changed.notify_waiters();
    }
}

/// One who follows.
#[derive(Debug)]
pub(crate) struct Follower {
    follows: Follows,
    key: Key,
    shared: Arc<Shared>,
    /// The number of the piece that comes next; none before the first look.
    next: Option<u64>,
}

impl Follower {
    /// What is new, at first the last `lines` of each service. Waits for something; empty never.
    pub(crate) async fn next(&mut self, service: Option<&str>, lines: usize) -> Vec<Piece> {
        let shared = self.shared.clone();
        loop {
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let found = self.look(service, lines);
            if !found.is_empty() {
                return found;
            }
            changed.await;
        }
    }

    fn look(&mut self, service: Option<&str>, lines: usize) -> Vec<Piece> {
        let kept = self.shared.lock();
        let wanted = |piece: &&Piece| match piece {
            Piece::Line(line) => service.is_none_or(|service| service == line.service),
            _ => true,
        };
        let mut found: Vec<Piece> = Vec::new();
        match self.next {
            None if kept.begun => {
                let all: Vec<_> = kept.pieces.iter().filter(wanted).cloned().collect();
                found = last_of_each(all, lines);
            }
            None => {}
            Some(next) => {
                found.extend((next < kept.first).then_some(Piece::Gap));
                let skip = usize::try_from(next.saturating_sub(kept.first)).unwrap_or(usize::MAX);
                found.extend(kept.pieces.iter().skip(skip).filter(wanted).cloned());
            }
        }
        if kept.begun {
            self.next = Some(kept.first + kept.pieces.len() as u64);
        }
        found.extend(kept.end.clone().map(|problem| Piece::End(Box::new(problem))));
        found
    }
}

/// The last lines of each service, in their order.
fn last_of_each(pieces: Vec<Piece>, lines: usize) -> Vec<Piece> {
    let mut left: HashMap<String, usize> = HashMap::new();
    let mut last: Vec<_> = pieces
        .into_iter()
        .rev()
        .filter(|piece| {
            let Piece::Line(line) = piece else { return false };
            let left = left.entry(line.service.clone()).or_insert(lines);
            let fits = *left > 0;
            *left = left.saturating_sub(1);
            fits
        })
        .collect();
    last.reverse();
    last
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut all = self.follows.lock();
        let mut kept = self.shared.lock();
        kept.followers -= 1;
        if kept.followers == 0 {
            self.shared.over.cancel();
            if all.get(&self.key).is_some_and(|shared| Arc::ptr_eq(shared, &self.shared)) {
                all.remove(&self.key);
            }
        }
    }
}

/// Asks the node for as long as anybody follows.
async fn pump(app: Arc<App>, node: Node, stack: StackName, shared: Arc<Shared>) {
    tokio::select! {
        problem = ask(&app, &node, &stack, &shared) => shared.end(problem),
        () = shared.over.cancelled() => {}
        () = app.stopping.cancelled() => {}
    }
}

/// Asks again and again, each time behind what was answered before. Gives why it cannot go on.
async fn ask(app: &App, node: &Node, stack: &StackName, shared: &Shared) -> Problem {
    let wait_ms = u64::try_from(WAIT.as_millis()).unwrap_or(u64::MAX);
    let mut after: Option<String> = None;
    let mut unanswered = 0;
    loop {
        if !is_there(app, node).await {
            let detail = format!("{} is not connected, so it cannot be asked", node.name);
            return Problem::new(ErrorCode::BS4009, detail);
        }
        let question =
            Question::NewLogs { stack: stack.clone(), after: after.clone(), lines: LINES, wait_ms };
        let mut asked = app.questions.ask(node.id, app.world.mint(), question);
        app.waiters.wake(node.id);
        let answer = tokio::select! {
            answer = timeout(WAIT + PATIENCE, asked.answer()) => answer.ok().flatten(),
            () = goes(app, node) => continue,
        };
        match answer {
            Some(Answer::NewLogs { lines, after: place, dropped }) => {
                after = Some(place);
                unanswered = 0;
                shared.push(dropped, lines);
            }
            Some(Answer::Failed { reason }) => return Problem::new(ErrorCode::BS4005, reason),
            // The question or its answer was lost, as when the agent was restarted. The same again loses nothing.
            _ if unanswered < 2 => unanswered += 1,
            _ => {
                let detail = format!("{} does not answer", node.name);
                return Problem::new(ErrorCode::BS4009, detail);
            }
        }
        drop(asked);
        sleep(REST).await;
    }
}

/// Ends when the node is not heard from any more.
async fn goes(app: &App, node: &Node) {
    while app.node_state(node) == NodeState::Online {
        sleep(REST).await;
    }
}

/// Whether the node can be asked; one that was not heard from since the hub's start is waited for. `Joined` is such a
/// one too: that it was heard from is not yet in the database when the hub is killed soon after.
async fn is_there(app: &App, node: &Node) -> bool {
    let unknown = async {
        while matches!(app.node_state(node), NodeState::Unknown | NodeState::Joined) {
            sleep(REST).await;
        }
    };
    let _ = timeout(RETURN, unknown).await;
    app.node_state(node) == NodeState::Online
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(service: &str, n: usize) -> LogLine {
        LogLine { service: service.into(), at: None, text: n.to_string() }
    }

    fn follower(shared: &Arc<Shared>) -> Follower {
        let key = (backstay_types::Id::from_uuid(uuid::Uuid::from_u128(1)), "web".parse().unwrap());
        shared.lock().followers += 1;
        Follower { follows: Follows::default(), key, shared: shared.clone(), next: None }
    }

    fn texts(pieces: &[Piece]) -> Vec<String> {
        let text = |piece: &Piece| match piece {
            Piece::Line(line) => format!("{}{}", line.service, line.text),
            Piece::Gap => "gap".to_owned(),
            Piece::End(problem) => problem.detail.clone(),
        };
        pieces.iter().map(text).collect()
    }

    #[tokio::test]
    async fn followers_begin_with_the_last_lines_and_miss_none_after() {
        let shared = Arc::<Shared>::default();
        shared.push(false, (1..=5).flat_map(|n| [line("a", n), line("b", n)]).collect());
        let (mut all, mut one, mut none) = (follower(&shared), follower(&shared), follower(&shared));
        assert_eq!(texts(&all.next(None, 2).await), ["a4", "b4", "a5", "b5"]);
        assert_eq!(texts(&one.next(Some("b"), 1).await), ["b5"]);
        assert!(timeout(Duration::from_millis(20), none.next(None, 0)).await.is_err());
        shared.push(false, vec![line("a", 6)]);
        shared.push(true, vec![line("b", 7)]);
        assert_eq!(texts(&all.next(None, 2).await), ["a6", "gap", "b7"]);
        assert_eq!(texts(&one.next(Some("b"), 1).await), ["gap", "b7"]);
        assert_eq!(texts(&none.next(None, 0).await), ["a6", "gap", "b7"]);
        shared.end(Problem::new(ErrorCode::BS4009, "gone"));
        assert_eq!(texts(&all.next(None, 2).await), ["gone"]);
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_and_who_leaves_last_ends_it() {
        let shared = Arc::<Shared>::default();
        shared.push(false, vec![line("a", 0)]);
        let (mut slow, other) = (follower(&shared), follower(&shared));
        slow.next(None, 10).await;
        shared.push(false, (1..=KEPT + 1).map(|n| line("a", n)).collect());
        let found = texts(&slow.next(None, 10).await);
        assert_eq!((found.len(), found[0].as_str(), found[1].as_str()), (KEPT + 1, "gap", "a2"));
        drop(slow);
        assert!(!shared.over.is_cancelled());
        drop(other);
        assert!(shared.over.is_cancelled());
    }
}
