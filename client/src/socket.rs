//! Where the daemon's socket is, and whether its place can be trusted.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const FILE: &str = "orchd.sock";

/// The socket that is used when none is named: `$ORCHD_SOCKET`, else `/run/orchd/orchd.sock` for root, else
/// `$XDG_RUNTIME_DIR/orchd/orchd.sock`, else `/tmp/orchd-$UID/orchd.sock`.
///
/// ```
/// assert!(orchd_client::default_socket().is_absolute() || std::env::var_os("ORCHD_SOCKET").is_some());
/// ```
#[must_use]
pub fn default_socket() -> PathBuf {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    socket_for(named("ORCHD_SOCKET"), named("XDG_RUNTIME_DIR"), rustix::process::geteuid().as_raw())
}

fn socket_for(named: Option<OsString>, runtime_dir: Option<OsString>, uid: u32) -> PathBuf {
    match (named, runtime_dir) {
        (Some(path), _) => PathBuf::from(path),
        (None, _) if uid == 0 => Path::new("/run/orchd").join(FILE),
        (None, Some(directory)) => Path::new(&directory).join("orchd").join(FILE),
        (None, None) => shared_directory(uid).join(FILE),
    }
}

/// The fallback stands in a directory that everybody can write to.
fn shared_directory(uid: u32) -> PathBuf {
    PathBuf::from(format!("/tmp/orchd-{uid}"))
}

/// Refuses the fallback directory when someone else made it, or others can write to it: what listens there
/// might not be our daemon.
pub(crate) fn check_owner(socket: &Path) -> io::Result<()> {
    let uid = rustix::process::geteuid().as_raw();
    let directory = shared_directory(uid);
    if socket.parent() != Some(&directory) {
        return Ok(());
    }
    match directory.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if found.is_dir() && found.uid() == uid && found.mode() & 0o077 == 0 => Ok(()),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "its directory must be a directory of this user with mode 0700",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_found_in_the_documented_order() {
        let some = |text: &str| Some(OsString::from(text));
        for (named, runtime, uid, path) in [
            (some("/x/s"), some("/run/user/7"), 7, "/x/s"),
            (None, some("/run/user/7"), 7, "/run/user/7/orchd/orchd.sock"),
            (None, None, 7, "/tmp/orchd-7/orchd.sock"),
            (None, some("/run/user/0"), 0, "/run/orchd/orchd.sock"),
        ] {
            assert_eq!(socket_for(named, runtime, uid), Path::new(path));
        }
    }
}
