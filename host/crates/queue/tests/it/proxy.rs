//! Owns a proxy before a server, whose connections can go silent. The tests of
//! the host include this file, too.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

/// A TCP proxy on this machine.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    to: Arc<Mutex<SocketAddr>>,
    open: Arc<Mutex<Vec<Link>>>,
    accepting: AbortHandle,
}

/// One connection through it. The sockets stay open as long as they are held.
struct Link {
    copying: AbortHandle,
    held: Arc<Mutex<Option<[std::net::TcpStream; 2]>>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().port();
        let to = Arc::new(Mutex::new(SocketAddr::from(([127, 0, 0, 1], port))));
        let open = Arc::<Mutex<Vec<Link>>>::default();
        let (target, links) = (Arc::clone(&to), Arc::clone(&open));
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let target = *target.lock().unwrap();
                // A server that is not there closes the connection.
                if let Ok(server) = TcpStream::connect(target).await {
                    links.lock().unwrap().push(Link::new(client, server));
                }
            }
        });
        Self {
            port: at,
            to,
            open,
            accepting: accepting.abort_handle(),
        }
    }

    /// New connections lead there; open ones stay.
    pub(crate) fn lead_to(&self, port: u16) {
        self.to.lock().unwrap().set_port(port);
    }

    /// Open connections carry nothing any more, without a word; new ones work.
    /// How many there were.
    pub(crate) fn silence(&self) -> usize {
        let links = self.open.lock().unwrap();
        links.iter().for_each(|link| link.copying.abort());
        links.len()
    }

    /// Closes all open connections.
    pub(crate) fn cut(&self) {
        // Also from its destructor, which must not panic.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for link in open.drain(..) {
            link.copying.abort();
            let mut held = link.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.take();
        }
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Link {
    fn new(client: TcpStream, server: TcpStream) -> Self {
        // The copying works on clones of the sockets, so that ending it closes none.
        let (client, server) = (client.into_std().unwrap(), server.into_std().unwrap());
        let clone = |socket: &std::net::TcpStream| {
            TcpStream::from_std(socket.try_clone().unwrap()).unwrap()
        };
        let (mut from, mut to) = (clone(&client), clone(&server));
        let held = Arc::new(Mutex::new(Some([client, server])));
        let kept = Arc::clone(&held);
        let copying = tokio::spawn(async move {
            // Either side may break it off.
            let _ = copy_bidirectional(&mut from, &mut to).await;
            kept.lock().unwrap().take();
        });
        Self {
            copying: copying.abort_handle(),
            held,
        }
    }
}
