//! Certificates of private authorities, made once a run, and clients that trust them.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tempfile::TempDir;

/// Makes two authorities, `ca` and `other`; certificates of the first for a server, `a` and
/// `b`, for one that has `expired`, and for a `client`; one of the other for a `stranger`;
/// and one that signs itself, `alone`.
const MAKE: &str = r#"
set -e
cd "$0"
new="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
for ca in ca other; do
  openssl req -x509 $new -keyout $ca.key -out $ca.crt -days 2 -subj "/CN=$ca"
done
printf 'basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n' > extensions
signed() {
  openssl req $new -keyout $1.key -out $1.csr -subj "/CN=$1"
  # Newer versions take dates, older ones a number of days before today.
  openssl x509 -req -in $1.csr -CA $2.crt -CAkey $2.key -CAcreateserial -days $3 -extfile extensions -out $1.crt ||
    openssl x509 -req -in $1.csr -CA $2.crt -CAkey $2.key -CAcreateserial -not_before 20200101000000Z \
      -not_after 20200102000000Z -extfile extensions -out $1.crt
}
signed a ca 2
signed b ca 2
signed client ca 2
signed stranger other 2
signed expired ca -1
openssl req -x509 $new -keyout alone.key -out alone.crt -days 2 -subj /CN=alone \
  -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE
openssl pkey -in a.key -aes256 -passout pass:secret -out encrypted.key
openssl x509 -in a.crt -outform der -out a.der
openssl ecparam -name secp521r1 -genkey -noout -out unusual.key
"#;

/// The folder with all of them.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new("sh")
            .args(["-c", MAKE])
            .arg(folder.path())
            .output();
        let made = made.expect("install openssl: apt-get install openssl");
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "{said}");
        folder
    });
    folder.path()
}

/// One of the files.
pub(crate) fn file(name: &str) -> PathBuf {
    let path = folder().join(name);
    assert!(path.exists(), "{}", path.display());
    path
}

/// Puts the certificate and key of `name` where a server looks for them, as `cert` and `key`.
pub(crate) fn install(name: &str, into: &Path) {
    for (extension, target) in [("crt", "cert"), ("key", "key")] {
        let text = fs::read(file(&format!("{name}.{extension}"))).unwrap();
        crate::host::replace(&into.join(target), text);
    }
}

/// The certificate in a file.
pub(crate) fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file(&format!("{name}.crt"))).unwrap()
}

/// A client that trusts `ca` and speaks these protocols, the best first; with a
/// certificate of its own or without.
pub(crate) fn client(protocols: &[&str], shown: Option<&str>) -> Arc<ClientConfig> {
    client_of(protocols, shown, rustls::DEFAULT_VERSIONS)
}

pub(crate) fn client_of(
    protocols: &[&str],
    shown: Option<&str>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shown {
        Some(name) => {
            let key = PrivateKeyDer::from_pem_file(file(&format!("{name}.key"))).unwrap();
            config
                .with_client_auth_cert(vec![certificate(name)], key)
                .unwrap()
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A connection to `https://ADDRESS`, on which nothing has been said yet.
pub(crate) fn connect(url: &str, config: &Arc<ClientConfig>) -> Tls {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let tcp = TcpStream::connect(url.trim_start_matches("https://")).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    tcp.set_nodelay(true).unwrap();
    let session = ClientConnection::new(Arc::clone(config), name).unwrap();
    StreamOwned::new(session, tcp)
}
