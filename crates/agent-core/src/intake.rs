//! Which statements are taken.

use backstay_api::statement::Statement;
use backstay_types::NodeId;

/// What to make of a verified statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is newer than what is held.
    Newer,
    /// It is what is held, signed again later.
    Renewed,
    /// It is what is held, or an older copy of it.
    Known,
    /// It is not taken; someone should know.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Judges a statement whose signature was found good.
///
/// Higher (epoch, generation) is taken. The same with another digest is an alarm: two hubs,
/// or a key in wrong hands. A lower one is a replay, or a hub restored without raising its epoch.
pub fn judge(held: Option<&Statement>, new: &Statement, me: NodeId) -> Verdict {
    if new.node != me {
        return refused(format!("it is for node {}, this is {me}", new.node));
    }
    let Some(held) = held else { return Verdict::Newer };
    let (have, comes) = ((held.epoch, held.generation), (new.epoch, new.generation));
    if comes > have {
        Verdict::Newer
    } else if comes < have {
        refused(format!(
            "epoch {}, generation {} is older than epoch {}, generation {}, which this node holds: \
             a replay, or a hub restored without raising its epoch",
            comes.0, comes.1, have.0, have.1
        ))
    } else if new.digest != held.digest {
        refused(format!(
            "alarm: epoch {}, generation {} comes with digest {} but this node holds digest {}: \
             two hubs speak with one key",
            comes.0,
            comes.1,
            new.digest.short(),
            held.digest.short()
        ))
    } else if new.issued_at > held.issued_at {
        Verdict::Renewed
    } else {
        Verdict::Known
    }
}

fn refused(reason: String) -> Verdict {
    Verdict::Refused { reason }
}
