//! Owns what stands between a host and PostgreSQL in the tests: a proxy whose
//! connections go silent, and a pooler.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use crate::queue_engines::{
    Server, as_postgres, folder, free_port, missing, postgres_command, remove, try_as_postgres,
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

/// pgbouncer in transaction mode, before one server.
pub(crate) struct Pooler {
    process: Child,
    folder: PathBuf,
    port: u16,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let end = format!("kill $(cat {}/pid)", self.folder.display());
        try_as_postgres(Path::new("sh"), &["-c", &end]);
        // Where it runs as this user, and did not get the signal.
        let _ = self.process.kill();
        let _ = self.process.wait();
        remove(&self.folder);
    }
}

impl Pooler {
    pub(crate) fn before(server: &Server) -> Self {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];
        let program = program.into_iter().find(|path| Path::new(path).exists());
        let program = program.unwrap_or_else(|| missing("pgbouncer", "pgbouncer"));
        let (folder, port) = (folder(), free_port());
        let at = folder.display();
        // Fewer connections to the server than a store has: each transaction meets another one.
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\n\
             auth_type=trust\nauth_file={at}/users\npool_mode=transaction\ndefault_pool_size=2\nmax_client_conn=200\n\
             unix_socket_dir=\nlogfile={at}/log\npidfile={at}/pid\n",
            server.port
        );
        let file = folder.join("ini");
        let write =
            format!("cat >{at}/ini <<'END'\n{settings}END\necho '\"postgres\" \"\"' >{at}/users");
        as_postgres(Path::new("sh"), &["-c", &write]);
        let process = postgres_command(Path::new(program))
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pooler = Self {
            process,
            folder,
            port,
        };
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        pooler
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}
