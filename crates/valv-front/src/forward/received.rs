//! Requests that another door received.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use valv_engine::GroupId;
use valv_geo::Role;
use valv_model::Result;
use valv_peer::{ForwardHead, Forwarded};

use super::strip;
use crate::answer::{Record, Reply};
use crate::front::Received;
use crate::resolve::Door;
use crate::route::{Mode, Subject, misdirected, subject};
use crate::serve::{Serving, Taken};
use crate::{Far, Front, Here, Peer};

#[async_trait]
impl Forwarded for Front {
    async fn handle(
        &self,
        role: valv_peer::Role,
        from: ForwardHead,
        request: Request<Bytes>,
    ) -> Response<Bytes> {
        let (mut head, body) = request.into_parts();
        // The listener has done it; what a client sent in our name must not come through by anybody's fault.
        let _ = strip(&mut head.headers);
        tracing::debug!(request = %from.request_id, %role, doors = ?from.doors, "a forwarded request");
        let peer = Peer { address: from.client, door: Door::Public, identity: None };
        let minimum = Ok(from.minimum_commit);
        self.answer(&peer, head, minimum, &mut Full::new(body), Some(&from)).await
    }
}

impl Front {
    /// Performs a request in the part in which another door asks for it, or says that it cannot. Never forwards.
    pub(crate) async fn serve_for(
        &self,
        far: &Far,
        request: &Received<'_>,
        from: &ForwardHead,
        record: &mut Record,
        body: Bytes,
    ) -> Result<Reply> {
        let here = self.wiring.here.as_ref().ok_or_else(|| misdirected("a gateway holds nothing"))?;
        let subject = subject(request.asked, &body);
        let group = self.part(far, here, subject.as_ref(), from.asked_as)?;
        let mode = Mode::from(from.asked_as);
        let serving = Serving { mode, from: Some(from), group: group.as_ref(), placed: false };
        let body = Taken::<Full<Bytes>>::Whole(body);
        self.serve(here, request, &serving, record, body).await
    }

    /// May this node take the part? The group, as far as the subject names it; what holds a vault is seen when it is read.
    fn part(&self, far: &Far, _: &Here, subject: Option<&Subject>, part: Role) -> Result<Option<GroupId>> {
        let view = far.view.load();
        let own = view.here.as_ref().ok_or_else(|| misdirected("this node's own state is not known yet"))?;
        let system = GroupId::system();
        let is_system = matches!(subject, None | Some(Subject::System | Subject::Anywhere));
        match part {
            Role::Home if !own.standing.is_good() => Err(misdirected("this home may not serve")),
            Role::Home if is_system && own.region != *far.regions.system_home() => {
                Err(misdirected("another region is the system home"))
            }
            Role::Home => Ok(None),
            Role::Replica if is_system && !own.replicas.contains(&system) => {
                Err(misdirected("the system group is not copied whole"))
            }
            Role::Replica if is_system => Ok(Some(system)),
            Role::Replica => {
                // A region is the replica of one other region.
                let copied = own.replicas.iter().find(|group| **group != system);
                copied.cloned().map(Some).ok_or_else(|| misdirected("no group is copied whole"))
            }
        }
    }
}
