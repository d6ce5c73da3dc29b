//! `GET /api/v1/nodes/{node}/stacks/{stack}/logs`: asked through the node's own check-in.

use std::time::Duration;

use backstay_api::{
    agent::{Answer, Question},
    v1::{GetLogs, Logs},
};
use backstay_types::{ErrorCode, NodeState};

use crate::http::{ApiError, Call, find};

/// How long the node has to answer.
pub(crate) const WAIT: Duration = Duration::from_secs(30);
const DEFAULT: u32 = 100;
const MOST: u32 = 5000;

/// The last log lines of a stack on a node.
pub(crate) async fn logs(call: Call<GetLogs>) -> Result<Logs, ApiError> {
    let Call { app, path, query, .. } = call;
    let lines = query.lines.unwrap_or(DEFAULT);
    if !(1..=MOST).contains(&lines) {
        return Err(ApiError::invalid("lines", format!("{lines} is out of range: expected 1 to {MOST}")));
    }
    let node = find::node(&mut app.store.read(), &path.node).await?;
    let state = app.node_state(&node);
    if state != NodeState::Online {
        let detail = format!("{} is not connected, so it cannot be asked", node.name);
        return Err(ApiError::new(ErrorCode::BS4009, detail));
    }
    let question = Question::Logs { stack: path.stack, service: query.service, lines };
    let mut asked = app.questions.ask(node.id, app.world.mint(), question);
    app.waiters.wake(node.id);
    match tokio::time::timeout(WAIT, asked.answer()).await {
        Ok(Some(Answer::Logs { lines } | Answer::NewLogs { lines, .. })) => Ok(Logs { lines }),
        Ok(Some(Answer::Failed { reason })) => Err(ApiError::new(ErrorCode::BS4005, reason)),
        Ok(None) | Err(_) => {
            Err(ApiError::new(ErrorCode::BS4009, format!("{} did not answer within {WAIT:?}", node.name)))
        }
    }
}
