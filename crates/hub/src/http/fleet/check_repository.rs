//! `POST /api/v1/repositories/check`

use backstay_api::v1::{AddRepositoryRequest, CheckRepository, FoundStack, RepositoryCheck};
use backstay_engine::{Checked, CheckedStack};

use super::add_repository::wanted;
use crate::http::{ApiError, Call, releases::get_stack::in_words};

/// Looks at a repository that might be added. Nothing is kept.
pub(crate) async fn check_repository(call: Call<CheckRepository>) -> Result<RepositoryCheck, ApiError> {
    let body: AddRepositoryRequest = call.body;
    let Checked { branch, tip, stacks, problems } =
        call.app.engine.check_repository(wanted(&call.app, body)?).await?;
    let found = |one: CheckedStack| FoundStack {
        stack: one.name,
        path: one.path,
        assignment: in_words(&one.assignment),
        nodes: one.nodes,
        problems: one.problems,
    };
    Ok(RepositoryCheck { branch, tip, stacks: stacks.into_iter().map(found).collect(), problems })
}
