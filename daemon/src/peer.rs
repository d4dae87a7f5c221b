//! Who is at the other end of a connection, and whether it may be.

use orchd_model::{Code, Refusal};
use tokio::net::UnixStream;

use crate::config::{Access, Role};

/// The peer of a connection, as the kernel tells it (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its user id.
    pub uid: u32,
    /// What it may do.
    pub role: Role,
    /// Its process, where that can be seen from here.
    pub pid: Option<u32>,
}

impl Peer {
    /// Lets in whom the configuration lets in.
    ///
    /// # Errors
    /// `not_permitted`, also when the kernel does not tell who it is.
    pub fn of(stream: &UnixStream, access: &Access) -> Result<Self, Refusal> {
        let refuse = |who: String| Refusal::new(Code::NotPermitted, "this user may not connect").value(who);
        let peer = stream.peer_cred().map_err(|error| refuse(error.to_string()))?;
        match access.role(peer.uid(), peer.gid()) {
            Some(role) => {
                let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
                Ok(Self { uid: peer.uid(), role, pid })
            }
            None => Err(refuse(format!("uid {}", peer.uid()))
                .hint("the daemon's user and root may, and who is named in [access]")),
        }
    }

    /// The owner whose tasks alone this peer may see and touch; none: all.
    pub fn only_owner(&self) -> Option<u32> {
        (self.role == Role::Submitter).then_some(self.uid)
    }
}
