//! The copy-paste example that `valv dev` prints. A test runs it as printed.

use super::environment::Environment;

/// An Azure SDK program for this deployment.
pub fn text(environment: &Environment, resolves: bool) -> String {
    let check = if resolves { "" } else { ", verify_challenge_resource=False" };
    let _ = environment;
    format!(
        r#"
Try it with the Azure SDK for Python (pip install azure-identity azure-keyvault-secrets), in the shell that read dev.env:

python3 - <<'PYTHON'
import os
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient

credential = ClientSecretCredential(
    os.environ["AZURE_TENANT_ID"], os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"],
    disable_instance_discovery=True,  # the token service is Valv's own, so Microsoft is not asked about it
)
client = SecretClient(os.environ["VALV_URL"], credential{check})
client.set_secret("greeting", "hello from valv")
print(client.get_secret("greeting").value)
PYTHON
"#
    )
}
