//! Who is at the other end of a connection, and whether it may be.

use orchd_model::{Code, Refusal};
use tokio::net::UnixStream;

/// The peer of a connection, as the kernel tells it (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its user id.
    pub uid: u32,
}

impl Peer {
    /// Lets in the daemon's own user and root, nobody else.
    ///
    /// # Errors
    /// `not_permitted`, also when the kernel does not tell who it is.
    pub fn of(stream: &UnixStream) -> Result<Self, Refusal> {
        let refuse = |who: String| {
            Refusal::new(Code::NotPermitted, "only the daemon's user and root may connect").value(who)
        };
        let uid = stream.peer_cred().map_err(|error| refuse(error.to_string()))?.uid();
        let own = rustix::process::geteuid().as_raw();
        if uid == own || uid == 0 { Ok(Self { uid }) } else { Err(refuse(format!("uid {uid}"))) }
    }
}
