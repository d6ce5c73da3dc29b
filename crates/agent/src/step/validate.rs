//! What is asked before anything is touched: the stack's own check, and the preflights of the parts that change.

use std::collections::BTreeMap;

use backstay_types::{ErrorCode, ImageId, Step, TreeDigest};

use super::{
    Context, Failed, Loaded,
    command::{self, Asked},
    parts::{self, Change},
};

/// Runs the stack's own check: an executable that says whether the release is good for this node.
pub(super) async fn run(cx: &mut Context, loaded: &Loaded, program: &str) -> Result<(), Failed> {
    let asked = Asked {
        what: format!("`{program}`"),
        argv: &[format!("./{program}")],
        variables: BTreeMap::new(),
        sees_machine: false,
        step: Step::Validate,
        code: ErrorCode::BS3005,
    };
    command::run(cx, loaded, asked).await
}

/// Asks the preflights of parts that differ from what runs. Returns what there is to tell of it.
pub(super) async fn preflights(
    cx: &mut Context,
    loaded: &Loaded,
    from: Option<TreeDigest>,
    images: &BTreeMap<String, (ImageId, backstay_types::Digest)>,
) -> Result<Vec<String>, Failed> {
    let change = Change::between(cx, from, loaded);
    let mut said = Vec::new();
    for part in loaded.manifest.parts.iter().filter(|part| !part.preflight.is_empty() && change.touches(part))
    {
        let mut variables = parts::variables(cx, loaded, &part.name);
        for (service, (image, _)) in images {
            variables.insert(format!("BACKSTAY_IMAGE_{}", parts::shouted(service)), image.0.clone());
        }
        if let Some(dir) = from.map(|from| cx.layout.release(&loaded.stack, from)).filter(|dir| dir.is_dir())
        {
            variables.insert("BACKSTAY_RUNNING".to_owned(), dir.display().to_string());
        }
        let asked = Asked {
            what: format!("the preflight of part `{}`, `{}`,", part.name, part.preflight.join(" ")),
            argv: &part.preflight,
            variables,
            sees_machine: true,
            step: Step::Validate,
            code: ErrorCode::BS3019,
        };
        command::run(cx, loaded, asked).await?;
        said.push(format!("the preflight of part `{}` agrees", part.name));
    }
    Ok(said)
}
