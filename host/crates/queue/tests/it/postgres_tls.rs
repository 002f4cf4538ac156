//! A PostgreSQL server that takes connections over TLS alone.

use std::{path::Path, process::Command};

use crate::postgres_server::{Server, as_postgres, missing};

/// The name in the certificate of a server [`with_tls`].
pub(crate) const NAME: &str = "db.example.test";

/// Makes two authorities, `ca.crt` and `other.crt`, and a certificate of the first.
const CERTIFICATES: &str = r#"
set -e
cd "$0"
key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
for ca in ca other; do
  openssl req -x509 $key -keyout $ca.key -out $ca.crt -days 2 -subj "/CN=$ca"
done
openssl req $key -keyout server.key -out server.csr -subj "/CN=$1"
printf 'basicConstraints=CA:FALSE\nsubjectAltName=DNS:%s\n' "$1" > extensions
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.crt
"#;

/// A server that takes connections from this machine over TLS alone.
pub(crate) fn with_tls() -> Option<Server> {
    let server = Server::new()?;
    if Command::new("openssl").arg("version").output().is_err() {
        missing("openssl", "openssl");
    }
    let folder = server.folder.to_str().unwrap();
    as_postgres(Path::new("sh"), &["-c", CERTIFICATES, folder, NAME]);
    server.sql("postgres", "CREATE ROLE secretive LOGIN PASSWORD 'hunter2'; GRANT CREATE ON DATABASE postgres TO secretive");
    for (setting, value) in [
        ("ssl_cert_file", format!("{folder}/server.crt")),
        ("ssl_key_file", format!("{folder}/server.key")),
        ("ssl", "on".to_owned()),
    ] {
        server.sql(
            "postgres",
            &format!("ALTER SYSTEM SET {setting} = '{value}'"),
        );
    }
    let rules =
        "hostssl all secretive 127.0.0.1/32 scram-sha-256\nhostssl all all 127.0.0.1/32 trust\n";
    let file = server.folder.join("data/pg_hba.conf");
    let write = format!("printf '{rules}' > \"$0\"");
    as_postgres(Path::new("sh"), &["-c", &write, file.to_str().unwrap()]);
    server.stop();
    server.start();
    Some(server)
}
