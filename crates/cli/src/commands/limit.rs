//! `backstay freeze`, `pin`, `follow`, `maintenance` and `updates-off`: what nodes may be moved to, and when, set by people.
//! Each has `add`, `list` and `lift`.

use backstay_api::{
    Empty,
    v1::{
        ConstraintPath, ConstraintsQuery, CreateConstraint, CreateConstraintRequest, LiftConstraint,
        LiftRequest, ListConstraints, NewEffect,
    },
};
use backstay_types::{Constraint, Effect, ErrorCode, StackName};
use clap::{Args, Subcommand};

use super::{Outcome, done};
use crate::{api::Api, context::Context, error::CliError, lookup, time, views::constraint};

/// What can be limited, and how it is asked for.
pub(crate) trait Limit: Args {
    /// The request's part of its own, and for which nodes.
    fn asked(self) -> Result<(NewEffect, Option<String>, Terms), CliError>;

    /// Whether a constraint is of this kind.
    fn is_one(effect: &Effect) -> bool;
}

/// One kind of limit.
#[derive(Debug, Subcommand)]
pub(crate) enum Limits<A: Limit> {
    /// Set one
    Add(A),
    /// Those in force, and those still to begin
    List(List),
    /// Lift one
    Lift(Lift),
}

/// Why, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Terms {
    /// Why
    #[arg(long)]
    reason: String,
    /// When it begins, such as `friday 18:00` [default: now]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// When it ends by itself, such as `in 2h` or `monday 06:00`: the first one after it begins
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// Options of `freeze add`.
#[derive(Debug, Args)]
pub(crate) struct Freeze {
    /// Only this stack
    #[arg(long)]
    stack: Option<String>,
    /// Only nodes that this label selector matches, or the node of this name
    #[arg(long, value_name = "SELECTOR")]
    nodes: Option<String>,
    #[command(flatten)]
    terms: Terms,
}

/// Options of `pin add`.
#[derive(Debug, Args)]
pub(crate) struct Pin {
    /// The stack
    stack: String,
    /// A commit, whole or its first digits, or a release's id [default: what the last rollout that succeeded brought]
    #[arg(long, value_name = "SHA")]
    to: Option<String>,
    /// Only nodes that this label selector matches, or the node of this name [default: everyone who runs the stack]
    #[arg(long, value_name = "SELECTOR")]
    nodes: Option<String>,
    #[command(flatten)]
    terms: Terms,
}

/// Options of `follow add`.
#[derive(Debug, Args)]
pub(crate) struct Follow {
    /// The node's name, or a label selector
    nodes: String,
    /// The stack
    #[arg(long)]
    stack: String,
    /// The branch of the stack's repository
    #[arg(long)]
    branch: String,
    #[command(flatten)]
    terms: Terms,
}

/// Options of `updates-off add`.
#[derive(Debug, Args)]
pub(crate) struct UpdatesOff {
    /// The node's name, or a label selector
    nodes: String,
    /// Only this stack
    #[arg(long)]
    stack: Option<String>,
    #[command(flatten)]
    terms: Terms,
}

/// Options of `maintenance add`.
#[derive(Debug, Args)]
pub(crate) struct Maintenance {
    /// The node's name, or a label selector
    nodes: String,
    #[command(flatten)]
    terms: Terms,
}

/// Which to list.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Those no longer in force too
    #[arg(long)]
    all: bool,
}

/// Which to lift.
#[derive(Debug, Args)]
pub(crate) struct Lift {
    /// Its id
    id: String,
    /// Why
    #[arg(long)]
    reason: String,
}

impl Limit for Freeze {
    fn asked(self) -> Result<(NewEffect, Option<String>, Terms), CliError> {
        let effect = NewEffect::Freeze { stack: self.stack.map(stack).transpose()? };
        Ok((effect, self.nodes.map(selector), self.terms))
    }

    fn is_one(effect: &Effect) -> bool {
        matches!(effect, Effect::Freeze { .. })
    }
}

impl Limit for Pin {
    fn asked(self) -> Result<(NewEffect, Option<String>, Terms), CliError> {
        let effect = NewEffect::Pin { stack: stack(self.stack)?, to: self.to };
        Ok((effect, self.nodes.map(selector), self.terms))
    }

    fn is_one(effect: &Effect) -> bool {
        matches!(effect, Effect::Pin { .. })
    }
}

impl Limit for Follow {
    fn asked(self) -> Result<(NewEffect, Option<String>, Terms), CliError> {
        let effect = NewEffect::Follow { stack: stack(self.stack)?, branch: self.branch };
        Ok((effect, Some(selector(self.nodes)), self.terms))
    }

    fn is_one(effect: &Effect) -> bool {
        matches!(effect, Effect::Follow { .. })
    }
}

impl Limit for UpdatesOff {
    fn asked(self) -> Result<(NewEffect, Option<String>, Terms), CliError> {
        let effect = NewEffect::UpdatesOff { stack: self.stack.map(stack).transpose()? };
        Ok((effect, Some(selector(self.nodes)), self.terms))
    }

    fn is_one(effect: &Effect) -> bool {
        matches!(effect, Effect::UpdatesOff { .. })
    }
}

impl Limit for Maintenance {
    fn asked(self) -> Result<(NewEffect, Option<String>, Terms), CliError> {
        Ok((NewEffect::Maintenance, Some(selector(self.nodes)), self.terms))
    }

    fn is_one(effect: &Effect) -> bool {
        matches!(effect, Effect::Maintenance)
    }
}

impl<A: Limit> Limits<A> {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let constraints = match self {
            Self::Add(asked) => vec![add(&api, asked, cx).await?],
            Self::List(list) => list.run(&api, A::is_one).await?,
            Self::Lift(lift) => vec![lift.run(&api).await?],
        };
        cx.ui.data(&constraints, || constraint::view_list(&constraints, &cx.frame()))?;
        done()
    }
}

async fn add<A: Limit>(api: &Api, asked: A, cx: &Context) -> Result<Constraint, CliError> {
    let (effect, nodes, terms) = asked.asked()?;
    let now = cx.frame().now;
    let from = terms.from.as_deref().map(|text| time::future(text, &now)).transpose()?;
    let until = terms.until.as_deref().map(|text| time::end(text, &now, from)).transpose()?;
    let request = CreateConstraintRequest { effect, nodes, from, until, reason: terms.reason };
    api.call::<CreateConstraint>(Empty {}, Empty {}, request).await
}

impl List {
    pub(crate) async fn run(
        self,
        api: &Api,
        is_one: impl Fn(&Effect) -> bool,
    ) -> Result<Vec<Constraint>, CliError> {
        let query = ConstraintsQuery { all: self.all.then_some(true), ..ConstraintsQuery::default() };
        let mut found = api.call::<ListConstraints>(Empty {}, query, Empty {}).await?.items;
        found.retain(|one| is_one(&one.effect));
        Ok(found)
    }
}

impl Lift {
    pub(crate) async fn run(self, api: &Api) -> Result<Constraint, CliError> {
        let path = ConstraintPath { constraint: lookup::constraint(api, &self.id).await? };
        api.call::<LiftConstraint>(path, Empty {}, LiftRequest { reason: self.reason }).await
    }
}

fn stack(text: String) -> Result<StackName, CliError> {
    let wrong = |error| CliError::new(ErrorCode::BS8003, format!("`{text}` is no stack's name: {error}"));
    text.parse().map_err(wrong)
}

/// A plain word is a node's name; anything else is a selector, which the hub reads.
fn selector(text: String) -> String {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if plain && !text.is_empty() { format!("name={text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_node_and_the_rest_are_selectors() {
        let read = |text: &str| selector(text.to_owned());
        assert_eq!(read("pi-7.garage"), "name=pi-7.garage");
        assert_eq!(read("ring=canary,!edge"), "ring=canary,!edge");
        assert_eq!(read("name in (a,b)"), "name in (a,b)");
    }
}
