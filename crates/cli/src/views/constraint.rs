//! Constraints: what is held, pinned, banned, frozen or left alone.

use backstay_types::{Constraint, ConstraintOrigin, Effect, Scope, StackName};

use crate::{
    ids,
    ui::{Cell, Frame, Table, style},
};

/// Constraints in a table.
pub(crate) fn view_list(constraints: &[Constraint], frame: &Frame) -> String {
    if constraints.is_empty() {
        return "Nothing is held, pinned, banned, frozen or left alone.\n".to_owned();
    }
    let mut table = Table::new(["ID", "WHAT", "FOR", "BY", "UNTIL", "~WHY"]);
    for one in constraints {
        table.row([
            Cell::styled(ids::short(one.id), style::NAME),
            what(one),
            whom(&one.scope).into(),
            by(one).into(),
            until(one, frame).into(),
            one.reason.clone().into(),
        ]);
    }
    frame.table(&table)
}

fn what(constraint: &Constraint) -> Cell {
    let text = match &constraint.effect {
        Effect::Pin { stack, release } => format!("pin {stack} to {}", ids::short(*release)),
        Effect::Follow { stack, branch } => format!("{stack} from branch {branch}"),
        Effect::Hold { commit, .. } => format!("hold {}", commit.short()),
        Effect::Ban { stack, tree } => format!("ban {stack} {}", tree.short()),
        Effect::Freeze { stack } => format!("freeze{}", of(stack.as_ref())),
        Effect::UpdatesOff { stack } => format!("updates off{}", of(stack.as_ref())),
        Effect::Maintenance => "maintenance".to_owned(),
        Effect::Decommission => "decommission".to_owned(),
        Effect::RunsHere { stack, .. } => format!("{stack} runs here"),
        Effect::RunsNot { stack } => format!("{stack} runs not here"),
    };
    Cell::styled(text, if constraint.lifted_at.is_some() { style::DIM } else { style::WARN })
}

fn of(stack: Option<&StackName>) -> String {
    stack.map(|stack| format!(" {stack}")).unwrap_or_default()
}

fn whom(scope: &Scope) -> String {
    match scope {
        Scope::Fleet => "everyone".to_owned(),
        Scope::Nodes { selector } => selector.clone(),
        Scope::Environment { environment } => format!("environment {environment}"),
    }
}

fn by(constraint: &Constraint) -> String {
    match &constraint.origin {
        ConstraintOrigin::Person | ConstraintOrigin::Rollout => constraint.by.clone(),
        ConstraintOrigin::Undo { undo } => format!("undo {}", ids::short(*undo)),
        ConstraintOrigin::Migration { migration } => format!("migration {}", ids::short(*migration)),
        ConstraintOrigin::Manifest { .. } => "fleet.toml".to_owned(),
    }
}

fn until(constraint: &Constraint, frame: &Frame) -> String {
    let from = constraint.from.filter(|from| *from > frame.now.timestamp());
    let from = from.map(|at| format!("from {} ", frame.when(at))).unwrap_or_default();
    match (constraint.lifted_at, constraint.until) {
        (Some(at), _) => format!("lifted {}", frame.when(at)),
        (None, Some(at)) => format!("{from}{}", frame.when(at)),
        (None, None) if from.is_empty() => "-".to_owned(),
        (None, None) => from.trim_end().to_owned(),
    }
}
