//! Keys (azure docs: rest/api/keyvault/keys).

use valv_model::Result;

use super::{Call, misplaced};
use crate::answer::Reply;

pub(super) async fn perform(call: &Call<'_>) -> Result<Reply> {
    Err(misplaced(call.permit.operation()))
}
