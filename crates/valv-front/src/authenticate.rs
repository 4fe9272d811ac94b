//! Bearer token to caller, and what the request may see of the state before it is authorized.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use valv_access::{Authenticator, Caller, Registry};
use valv_model::{Error, Result, VaultName};
use valv_vault::{Service, Sight};

/// Checks the token against the registry of one linearizable read. Who brings none is challenged without one.
pub(crate) async fn authenticate(
    service: &Service,
    authenticator: &Authenticator,
    vault: Option<&VaultName>,
    headers: &HeaderMap,
) -> Result<(Sight, Caller)> {
    let now = service.clock().now();
    let mut tokens = headers.get_all(AUTHORIZATION).iter();
    let Some(token) = tokens.next() else {
        let refused = authenticator.authenticate(None, &Registry::default(), now).await;
        return Err(refused.err().unwrap_or_else(|| Error::internal("a caller without a token")));
    };
    let sight = service.look(vault).await?;
    // What is no text, or not the only one, is no token: an empty one gets the right refusal.
    let token = token.to_str().ok().filter(|_| tokens.next().is_none()).unwrap_or_default();
    let caller = authenticator.authenticate(Some(token), &sight.registry, now).await?;
    Ok((sight, caller))
}
