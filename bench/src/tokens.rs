//! What a token costs: issuing one, checking one for the first time, and seeing one again.

use std::{hint::black_box, time::Instant};

use valv_access::{
    Authenticator, AuthenticatorSettings, ClientRecord, ClientSecret, Issuer, IssuerSettings, Registry,
    SigningKey,
};
use valv_model::{ClientId, PrincipalId, TenantId, UnixSeconds};

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const APP: &str = "aaaaaaaa-0000-0000-0000-000000000001";
const RESOURCE: &str = "https://vault.localhost:8443";
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const ROUNDS: u32 = 2_000;
const AGAIN: u32 = 200_000;

pub(crate) fn run() -> crate::Outcome {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure())
}

async fn measure() -> crate::Outcome {
    let (tenant, resource) = (TenantId::parse(TENANT)?, RESOURCE.to_owned());
    let issuer = Issuer::new(IssuerSettings {
        tenant: tenant.clone(),
        authority: "https://login.vault.localhost:8443".into(),
        resource: resource.clone(),
        lifetime_s: 3600,
    });
    let (secret, text) = ClientSecret::generate(NOW, None)?;
    let id = ClientId::parse(APP)?;
    let record = ClientRecord {
        id: id.clone(),
        principal: PrincipalId::parse(TENANT)?,
        name: "bench".into(),
        created: NOW,
        secrets: vec![secret],
    };
    let mut registry = Registry {
        clients: [(id, record)].into(),
        signing_keys: vec![SigningKey::generate(NOW)?],
        ..Registry::default()
    };
    let form = format!(
        "grant_type=client_credentials&client_id={APP}&client_secret={}&scope={RESOURCE}/.default",
        *text
    );

    let start = Instant::now();
    let mut tokens = Vec::new();
    for _ in 0..ROUNDS {
        let grant = issuer.token(TENANT, form.as_bytes(), None, &registry, NOW).await;
        let grant = grant.map_err(|refusal| refusal.body.to_string())?;
        tokens.push(format!("Bearer {}", grant.body["access_token"].as_str().unwrap_or_default()));
    }
    let issue = start.elapsed() / ROUNDS;

    let dir = tempfile::tempdir()?;
    let authenticator = Authenticator::new(AuthenticatorSettings {
        tenant,
        resource,
        built_in_issuer: Some(issuer.issuer().to_owned()),
        issuers: vec![],
        cache_dir: dir.path().to_owned(),
        skew_s: AuthenticatorSettings::SKEW_S,
    })?;
    registry.commit = 1;
    let start = Instant::now();
    for token in &tokens {
        black_box(authenticator.authenticate(Some(token), &registry, NOW).await?);
    }
    let first = start.elapsed() / ROUNDS;
    let start = Instant::now();
    for token in tokens.iter().cycle().take(AGAIN as usize) {
        black_box(authenticator.authenticate(Some(token), &registry, NOW).await?);
    }
    let again = start.elapsed() / AGAIN;
    println!(
        "issue {issue:?}, check {first:?}, check again {again:?} ({} bytes)",
        tokens.last().map_or(0, String::len)
    );
    println!("a remembered token costs 1/{:.0} of a new one", first.as_secs_f64() / again.as_secs_f64());
    Ok(())
}
