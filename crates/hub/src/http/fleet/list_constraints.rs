//! `GET /api/v1/constraints`

use backstay_api::v1::{ListConstraints, Page};
use backstay_store::constraints;
use backstay_types::Constraint;

use crate::http::{ApiError, Call, paging};

/// The most that are listed; those in force are always all there.
const MOST: u32 = 1000;

/// Those in force or still to begin, oldest first; or all, newest first.
pub(crate) async fn list_constraints(call: Call<ListConstraints>) -> Result<Page<Constraint>, ApiError> {
    let mut store = call.app.store.read();
    let found = if call.query.all.unwrap_or_default() {
        constraints::list(&mut store, None, MOST).await?
    } else {
        constraints::set_at(&mut store, call.app.world.now()).await?
    };
    Ok(paging::whole(found))
}
