//! `GET /api/v1/nodes/{node}/stacks/{stack}/logs/follow`: asked through the node's own check-in, again and again.

use backstay_api::{Events, v1::FollowLogs};
use futures_util::{StreamExt as _, stream};

use crate::{
    auth::session,
    http::{
        ApiError, Call, Reply,
        events::{self, ServerEvent},
        find,
    },
    live::{Follower, Piece},
};

const DEFAULT: u32 = 100;
const MOST: u32 = 1000;

/// The last log lines of a stack on a node, and all that come.
pub(crate) async fn follow_logs(call: Call<FollowLogs>) -> Result<Reply<Events>, ApiError> {
    let Call { app, caller, path, query, .. } = call;
    let lines = query.lines.unwrap_or(DEFAULT);
    if lines > MOST {
        return Err(ApiError::invalid("lines", format!("{lines} is out of range: expected 0 to {MOST}")));
    }
    let node = find::node(&mut app.store.read(), &path.node).await?;
    let follower = app.follows.follow(&app, &node, &path.stack);
    let stream = pieces(follower, query.service, lines as usize);
    let written = stream.filter_map(async |piece| written(&piece).ok());
    let written = written.take_until(Box::pin(session::ended(app.clone(), caller)));
    Ok(events::reply(app.stopping.clone(), written))
}

fn pieces(
    follower: Follower,
    service: Option<String>,
    lines: usize,
) -> impl futures_util::Stream<Item = Piece> {
    let state = Some((follower, service));
    let batches = stream::unfold(state, move |state| async move {
        let (mut follower, service) = state?;
        let found = follower.next(service.as_deref(), lines).await;
        let ended = found.iter().any(|piece| matches!(piece, Piece::End(_)));
        Some((stream::iter(found), (!ended).then_some((follower, service))))
    });
    batches.flatten()
}

fn written(piece: &Piece) -> Result<ServerEvent, ApiError> {
    Ok(match piece {
        Piece::Line(line) => ServerEvent::json(line)?,
        Piece::Gap => ServerEvent::json(&backstay_api::Empty {})?.named("gap"),
        Piece::End(problem) => ServerEvent::json(problem)?.named("problem"),
    })
}
