//! `POST /agent/v1/answers/{request}`: the answer to a question that came with a check-in.

use backstay_api::{Empty, agent::SendAnswer};

use crate::http::{ApiError, Call};

/// Hands the answer to who waits for it.
pub(crate) async fn send_answer(call: Call<SendAnswer>) -> Result<Empty, ApiError> {
    let Call { app, caller, path, body, .. } = call;
    if app.questions.answer(caller.node()?, path.request, body) {
        Ok(Empty {})
    } else {
        Err(ApiError::missing("open question", path.request))
    }
}
