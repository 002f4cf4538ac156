//! Tells the service manager when the server is ready and when it stops: systemd's
//! `Type=notify`. Without `NOTIFY_SOCKET` in the environment, nobody asked.

/// What the service manager is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// Commands are accepted.
    Ready,
    /// The graceful shutdown has begun.
    Stopping,
}

/// Tells the service manager, if there is one. A failure is logged and changes
/// nothing else: a manager that hears nothing ends the service after its own timeout.
#[cfg(unix)]
pub(super) fn service_manager(state: State) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, state) {
        tracing::warn!("the service manager could not be notified: {error}");
    }
}

/// There is no such protocol.
#[cfg(not(unix))]
pub(super) fn service_manager(_: State) {}

#[cfg(unix)]
fn send(socket: &std::ffi::OsStr, state: State) -> std::io::Result<()> {
    use std::os::unix::net::UnixDatagram;
    let message: &[u8] = match state {
        State::Ready => b"READY=1",
        State::Stopping => b"STOPPING=1",
    };
    let sender = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up the server.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(message, &address(socket)?)?;
    Ok(())
}

/// A path, or behind `@` a name in Linux's abstract namespace.
#[cfg(unix)]
fn address(socket: &std::ffi::OsStr) -> std::io::Result<std::os::unix::net::SocketAddr> {
    use std::os::unix::net::SocketAddr;
    #[cfg(target_os = "linux")]
    {
        use std::os::{linux::net::SocketAddrExt as _, unix::ffi::OsStrExt as _};
        if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
            return SocketAddr::from_abstract_name(name);
        }
    }
    SocketAddr::from_pathname(socket)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        ffi::OsStr,
        os::{linux::net::SocketAddrExt as _, unix::net::*},
    };

    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut message = [0; 64];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_both_sockets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), State::Ready).unwrap();
        assert_eq!(received(&socket), "READY=1");

        let name = format!("pointsman-{}", uuid::Uuid::now_v7());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), State::Stopping).unwrap();
        assert_eq!(received(&socket), "STOPPING=1");
        assert!(send(OsStr::new("/nowhere/notify"), State::Ready).is_err());
    }
}
