//! A root key inside a PKCS#11 token (OASIS PKCS #11, version 2.40 and later): it wraps there and never
//! comes out.
//!
//! Calls into a token's module block, for as long as the module likes. They run on a thread of their own,
//! and whoever asks waits [`DEADLINE`] at most. Few ever ask: unwrapped data keys are kept, so the token
//! works when the node starts, when a vault is met for the first time, when keys rotate, and for backups.

mod pin;
mod session;
mod worker;

use std::{fmt, path::Path, time::Duration};

use zeroize::Zeroizing;

pub use pin::PinSource;
use session::{Fault, Place, Token};
use worker::{Late, Worker};

use super::{RootKey, RootKeyError, RootKeyId};

/// The longest that anybody waits for the token, its start included.
const DEADLINE: Duration = Duration::from_secs(10);

/// A root key that wraps inside its token.
pub(super) struct TokenKey {
    id: RootKeyId,
    from: String,
    worker: Worker<Token>,
}

impl TokenKey {
    /// Logs in, finds the key and tries it. `from` names it in messages.
    pub(super) fn open(
        module: &Path,
        token: &str,
        key: &str,
        pin: &PinSource,
        from: String,
    ) -> Result<Self, RootKeyError> {
        let unusable = |problem: String| RootKeyError::TokenUnusable { from: from.clone(), problem };
        let place = Place { module: module.into(), token: token.into(), key: key.into() };
        let token = Token::new(place, pin.read()?, pin.to_string());
        let worker = Worker::start(token, DEADLINE)
            .map_err(|e| unusable(format!("the system gave no thread for it: {e}")))?;
        let id = worker
            .call(Token::open)
            .map_err(|Late| unusable(format!("its module does not answer; {CONNECTED}")))?
            .map_err(unusable)?;
        Ok(Self { id, from, worker })
    }

    fn failed(&self, fault: Fault) -> RootKeyError {
        match fault {
            Fault::DoesNotOpen => RootKeyError::DoesNotOpen,
            Fault::NoRandomness => RootKeyError::NoRandomness,
            Fault::Unusable(problem) => RootKeyError::TokenUnusable { from: self.from.clone(), problem },
        }
    }

    fn late(&self) -> RootKeyError {
        let problem = format!("it did not answer within {} s; {CONNECTED}", DEADLINE.as_secs());
        RootKeyError::TokenUnusable { from: self.from.clone(), problem }
    }
}

/// What to look after when a token is silent.
const CONNECTED: &str = "check that the token is connected and that its service runs";

impl RootKey for TokenKey {
    fn id(&self) -> &RootKeyId {
        &self.id
    }

    fn wrap(&self, context: &[u8], data_key: &[u8; 32]) -> Result<Vec<u8>, RootKeyError> {
        let (context, data_key) = (context.to_vec(), Zeroizing::new(*data_key));
        let wrapped = self.worker.call(move |token| token.wrap(&context, &data_key));
        wrapped.map_err(|Late| self.late())?.map_err(|fault| self.failed(fault))
    }

    fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, RootKeyError> {
        let (context, wrapped) = (context.to_vec(), wrapped.to_vec());
        let data_key = self.worker.call(move |token| token.unwrap(&context, &wrapped));
        data_key.map_err(|Late| self.late())?.map_err(|fault| self.failed(fault))
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("id", &self.id).field("from", &self.from).finish_non_exhaustive()
    }
}
