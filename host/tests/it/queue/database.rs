//! What the tests of the program want of a PostgreSQL server.

use crate::postgres_server::{Server, as_postgres, new_schema};

impl Server {
    /// `[queue]` of a settings file, for a schema of its own.
    pub(crate) fn settings(&self) -> String {
        format!(
            "engine = \"postgres\"\nurl = \"{}\"\nschema = \"{}\"\nconnections = 8\n",
            self.url(),
            new_schema()
        )
    }

    /// Cuts every connection to it.
    pub(crate) fn cut(&self) {
        let port = self.port.to_string();
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
        let arguments = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-c", cut];
        as_postgres(&self.bin.join("psql"), &arguments);
    }
}
