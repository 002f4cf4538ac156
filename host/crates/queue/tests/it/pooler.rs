//! Owns what only some tests want of PostgreSQL: a pooler before it, and a standby.

use std::{
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use crate::postgres_server::{
    Server, as_postgres, folder, free_port, missing, postgres_command, remove, try_as_postgres,
};

impl Server {
    /// A server that follows this one, and only reads.
    pub(crate) fn standby(&self) -> Self {
        let folder = folder();
        let (data, port) = (folder.join("data"), self.port.to_string());
        let arguments = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-R"];
        let to = ["-X", "stream", "-c", "fast", "-D", data.to_str().unwrap()];
        let all: Vec<_> = arguments.into_iter().chain(to).collect();
        as_postgres(&self.bin.join("pg_basebackup"), &all);
        let server = Self {
            bin: self.bin.clone(),
            folder,
            port: free_port(),
        };
        server.start();
        server
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
