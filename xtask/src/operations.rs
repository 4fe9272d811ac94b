//! `docs/operations.md`, written from the operation table.

use std::{fmt::Write as _, fs};

use anyhow::{Result, bail};
use valv_model::{Admission, Effect, OPERATIONS, ObjectType, Spec};

use crate::workspace::Workspace;

const PAGE: &str = "docs/operations.md";

/// Writes the page, or with `check` fails if it is not what the table says.
pub(crate) fn run(workspace: &Workspace, check: bool) -> Result<String> {
    let path = workspace.root.join(PAGE);
    let page = page(OPERATIONS);
    if fs::read_to_string(&path).is_ok_and(|old| old == page) {
        return Ok(format!("{PAGE} is what the table says ({} operations)", OPERATIONS.len()));
    }
    if check {
        bail!(
            "{PAGE} is not what the operation table says; run `cargo xtask operations` and commit the page"
        );
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(&path, page)?;
    Ok(format!("{PAGE} written ({} operations)", OPERATIONS.len()))
}

/// The planes in the order of the page, each with its heading and a sentence.
const PLANES: &[(ObjectType, &str, &str)] = &[
    (
        ObjectType::Secret,
        "Secrets",
        "At the vault's own host. The paths, bodies and answers are Azure Key Vault's.",
    ),
    (
        ObjectType::Key,
        "Keys",
        "At the vault's own host, as Azure Key Vault's. `/rng` is a Managed HSM's in Azure; its action is Valv's own. Under\n\
         roles, `keys/read` alone lets its holder encrypt, wrap and verify with asymmetric keys, as in Azure: that takes the\n\
         public half only. What counts under access policies is the word.",
    ),
    (ObjectType::Vault, "Vaults", "Administration of vaults, at any of the deployment's hosts."),
    (ObjectType::Deployment, "Deployment", "Administration of clients, role assignments and the root key."),
    (ObjectType::Token, "Tokens", "What MSAL and azure-identity ask for; answered by the built-in issuer."),
    (
        ObjectType::Service,
        "Service",
        "For monitoring. `/healthstatus` is for load balancers, at any door and under any host: 200 as long as the door can get reads\n\
         answered, here or elsewhere, else 503. The others: on the listener `listen.health` only, plain HTTP on a loopback address.",
    ),
];

fn page(table: &[Spec]) -> String {
    let mut page = String::from(
        "# Operations\n\n\
         Written by `cargo xtask operations` from the table in `crates/valv-model/src/operation.rs`; do not edit.\n\n\
         *Changes state* decides what a region answers while it is read-only: what changes nothing is answered,\n\
         what changes state is refused with 503 and changes nothing.\n\
         `{x?}` in a path may be left out. *Access policy* is the word in a vault's access policy, *action* what a\n\
         role must allow instead. An operation open to anyone checks credentials of its own or tells nothing.\n",
    );
    for (object, heading, about) in PLANES {
        let rows = table.iter().filter(|spec| spec.object == *object);
        let _ = write!(page, "\n## {heading}\n\n{about}\n\n");
        page.push_str(
            "| operation | method | path | access policy | action | changes state | when read-only | success |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for spec in rows {
            page.push_str(&row(spec));
        }
    }
    page
}

fn row(spec: &Spec) -> String {
    let (policy, action) = match spec.admission {
        Admission::Vault { policy, action } => (format!("`{policy}`"), format!("`{action}`")),
        Admission::Control { action } => ("-".into(), format!("`{action}`")),
        Admission::Anyone => ("-".into(), "anyone".into()),
    };
    let (changes, read_only) = match spec.effect {
        Effect::Read => ("no", "answered"),
        Effect::Write => ("yes", "refused"),
    };
    format!(
        "| {} | {} | `{}` | {policy} | {action} | {changes} | {read_only} | {} |\n",
        spec.name,
        spec.method.as_str(),
        spec.path,
        spec.success,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_of_the_table_stands_on_the_page_once() {
        let page = page(OPERATIONS);
        for spec in OPERATIONS {
            let cell = format!("| {} | {} | `{}` |", spec.name, spec.method.as_str(), spec.path);
            assert_eq!(page.matches(&cell).count(), 1, "{cell}");
        }
    }

    #[test]
    fn a_row_says_what_the_table_says() {
        let set = OPERATIONS.iter().find(|spec| spec.name == "SecretSet").unwrap();
        assert_eq!(
            row(set),
            "| SecretSet | PUT | `/secrets/{name}` | `set` | `Microsoft.KeyVault/vaults/secrets/setSecret/action` | yes | refused | 200 |\n"
        );
    }
}
