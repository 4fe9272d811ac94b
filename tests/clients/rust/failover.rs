//! A program that knows nothing of regions goes on through the loss of one; `check_failover.py` does the same.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use azure_core::{
    error::ErrorKind,
    http::{ClientOptions, RetryOptions, headers::HeaderName},
};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions, models::SetSecretParameters};

use crate::{Outcome, client, own_credential, secrets, value, var};

const DEADLINE: Duration = Duration::from_secs(120);

/// What was seen in one phase.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    home: usize,
    pair: usize,
    done: usize,
    refused: usize,
}

struct Shared {
    home: String,
    stop: AtomicBool,
    failed: Mutex<Vec<String>>,
    seen: Mutex<HashMap<String, Counts>>,
    acknowledged: Mutex<HashMap<String, String>>,
}

fn phase() -> String {
    fs::read_to_string(var("VALV_PHASE")).unwrap().trim().to_owned()
}

impl Shared {
    fn fail(&self, why: String) {
        self.failed.lock().unwrap().push(format!("in phase {}: {why}", phase()));
        self.stop.store(true, Ordering::Relaxed);
    }

    fn count(&self, phase: &str, count: impl FnOnce(&mut Counts)) {
        count(self.seen.lock().unwrap().entry(phase.to_owned()).or_default());
    }

    fn of(&self, phase: &str) -> Counts {
        self.seen.lock().unwrap().get(phase).copied().unwrap_or_default()
    }

    async fn enough(&self, of: &str, least: Counts) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(self.failed.lock().unwrap().is_empty(), "{:?}", self.failed.lock().unwrap());
            let seen = self.of(of);
            let is = seen.home >= least.home
                && seen.pair >= least.pair
                && seen.done >= least.done
                && seen.refused >= least.refused;
            if is && phase() == of {
                return;
            }
            assert!(Instant::now() < deadline, "not enough of {of}: {seen:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn reader(shared: Arc<Shared>, number: usize) {
    let kept = client(own_credential());
    let mut number = number;
    while !shared.stop.load(Ordering::Relaxed) {
        number += 1;
        // Every fourth time a new client: a new connection and a new challenge.
        let new = number.is_multiple_of(4).then(|| client(own_credential()));
        let began = Instant::now();
        match new.as_ref().unwrap_or(&kept).get_secret("failover", None).await {
            Ok(response) => {
                let text = |name: &'static str| {
                    response.headers().get_optional_string(&HeaderName::from_static(name))
                };
                let (region, mode) = (text("x-ms-keyvault-region"), text("x-valv-mode"));
                let home = region.as_deref() == Some(&shared.home);
                if home != mode.is_none() {
                    shared.fail(format!("{region:?} answered in mode {mode:?}"));
                }
                shared.count(&phase(), |counts| if home { counts.home += 1 } else { counts.pair += 1 });
                let secret = response.into_model().unwrap();
                if !secret.value.unwrap_or_default().starts_with(&value("failover")) {
                    shared.fail("another secret's value".into());
                }
                if began.elapsed() > Duration::from_secs(4) {
                    shared.fail(format!("a read took {:?}", began.elapsed()));
                }
            }
            Err(error) => shared.fail(error.to_string()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Without the SDK's own retries, which would go on for a minute: each refusal is seen.
fn impatient() -> SecretClient {
    let client_options = ClientOptions { retry: RetryOptions::none(), ..ClientOptions::default() };
    let options = SecretClientOptions { client_options, ..SecretClientOptions::default() };
    SecretClient::new(&var("VALV_URL"), own_credential(), Some(options)).unwrap()
}

async fn writer(shared: Arc<Shared>) {
    let vault = impatient();
    let mut number = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        number += 1;
        let (text, before) = (value(&format!("failover-{number}")), phase());
        let body = SetSecretParameters { value: Some(text.clone()), ..Default::default() };
        match vault.set_secret("failover", body.try_into().unwrap(), None).await {
            Ok(response) => {
                let version = secrets::identified(&response.into_model().unwrap(), "failover");
                shared.acknowledged.lock().unwrap().insert(version, text);
                shared.count(&before, |counts| counts.done += 1);
            }
            Err(error) => match error.kind() {
                ErrorKind::HttpResponse { status, .. } if u16::from(*status) == 503 => {
                    shared.count(&before, |counts| counts.refused += 1);
                }
                ErrorKind::HttpResponse { status, .. } if u16::from(*status) == 504 => {}
                _ => shared.fail(format!("a write: {error}")),
            },
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn through_the_loss_of_a_region() -> Outcome {
    let shared = Arc::new(Shared {
        home: var("VALV_HOME"),
        stop: AtomicBool::new(false),
        failed: Mutex::default(),
        seen: Mutex::default(),
        acknowledged: Mutex::default(),
    });
    let vault = client(own_credential());
    secrets::set(&vault, "failover", value("failover-0")).await?;
    for number in 0..3 {
        tokio::spawn(reader(Arc::clone(&shared), number));
    }
    tokio::spawn(writer(Arc::clone(&shared)));
    println!("ok prepare");
    shared.enough("healthy", Counts { home: 30, done: 3, ..Counts::default() }).await;
    assert_eq!(shared.of("healthy").pair, 0, "the replica answered while home was healthy");
    println!("ok healthy");
    shared.enough("lost", Counts { pair: 40, refused: 1, ..Counts::default() }).await;
    println!("ok lost");
    shared.enough("returned", Counts { home: 40, done: 3, ..Counts::default() }).await;
    println!("ok returned");
    shared.stop.store(true, Ordering::Relaxed);
    assert!(shared.failed.lock().unwrap().is_empty(), "{:?}", shared.failed.lock().unwrap());
    let known = shared.acknowledged.lock().unwrap().clone();
    for (version, text) in known {
        assert_eq!(secrets::get(&vault, "failover", Some(&version)).await?.value, Some(text));
    }
    println!("passed: 5 checks");
    Ok(())
}
