//! The daemon's socket: a directory of mode 0700 that is ours, a socket of mode 0600 in it. Where others
//! are let in, both can be reached by everybody, and the daemon decides by who they are.
//!
//! A socket that a dead daemon left is replaced, a live one never.

use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Longest path of a socket, bytes with the closing zero (`sun_path`, unix(7)).
const PATH_BYTES: usize = 108;

/// Binds the socket. Call it only while the state directory is locked, so that two daemons cannot both
/// find a stale one.
///
/// # Errors
/// When another process listens there, the directory is not ours, or the path is too long.
pub fn bind(path: &Path, is_shared: bool) -> Result<UnixListener> {
    if path.as_os_str().len() >= PATH_BYTES {
        bail!(
            "the socket's path is too long: {} ({} bytes, at most {})\nhint: choose a shorter one with --socket",
            path.display(),
            path.as_os_str().len(),
            PATH_BYTES - 1
        );
    }
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    prepare_directory(directory, is_shared)?;
    refuse_live(path)?;
    match fs::symlink_metadata(path) {
        Ok(found) if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
            bail!("this is no socket: {}", path.display());
        }
        Ok(_) => {
            fs::remove_file(path).with_context(|| format!("the stale socket stays: {}", path.display()))?
        }
        Err(_) => {}
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    share(path, is_shared)?;
    listener.set_nonblocking(true).context("cannot make the socket non-blocking")?;
    Ok(listener)
}

/// Refuses a socket that a live process listens on.
///
/// # Errors
/// When there is one.
pub fn refuse_live(path: &Path) -> Result<()> {
    if UnixStream::connect(path).is_ok() {
        bail!(
            "another process listens on this socket: {}\nhint: name another one with --socket",
            path.display()
        );
    }
    Ok(())
}

/// Lets everybody connect, whom the daemon then asks who they are, or only the daemon's user.
///
/// # Errors
/// When the rights of the socket or of its usual directory cannot be set.
pub fn share(path: &Path, is_shared: bool) -> Result<()> {
    let mode = if is_shared { 0o666 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot protect {}", path.display()))?;
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    match fs::metadata(directory) {
        Ok(found) if is_usual(directory) => share_directory(directory, found.mode() & 0o777, is_shared),
        Ok(_) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", directory.display())),
    }
}

/// Whether this is a directory of ours, and not one that has other things in it.
fn is_usual(directory: &Path) -> bool {
    directory.file_name().is_some_and(|name| name.to_string_lossy().starts_with("orchd"))
}

fn share_directory(directory: &Path, mode: u32, is_shared: bool) -> Result<()> {
    // Others may go through it to the socket, and not look around.
    let wanted = if is_shared { 0o711 } else { 0o700 };
    if mode != wanted {
        fs::set_permissions(directory, fs::Permissions::from_mode(wanted))
            .with_context(|| format!("cannot protect {}", directory.display()))?;
    }
    Ok(())
}

/// Makes the directory if it is missing. One in which others may write, or that is another's, or a link from where
/// everybody may make one, is refused where the name is the usual one and so can be guessed.
fn prepare_directory(directory: &Path, is_shared: bool) -> Result<()> {
    let is_usual = is_usual(directory);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.with_context(|| format!("cannot make the socket's directory {}", directory.display()))?;
    let look = |path: &Path| {
        fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))
    };
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    let anybody_writes = parent.map(look).transpose()?.is_some_and(|parent| parent.mode() & 0o002 != 0);
    if is_usual && anybody_writes && look(directory)?.is_symlink() {
        bail!("the socket's directory is a symbolic link that others may have made: {}", directory.display());
    }
    let found = fs::metadata(directory).with_context(|| format!("cannot look at {}", directory.display()))?;
    let own = rustix::process::geteuid().as_raw();
    if is_usual && found.uid() != own {
        bail!("the socket's directory belongs to uid {}: {}", found.uid(), directory.display());
    }
    if is_usual {
        share_directory(directory, found.mode() & 0o777, is_shared)?;
    }
    Ok(())
}
