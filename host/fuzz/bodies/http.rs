//! Any bytes on a connection: an answer in HTTP or none, within a bounded time, and
//! never a failure of the host.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, LazyLock},
    time::Duration,
};

use pointsman::{
    config::Config,
    host::Unloaded,
    http,
    queue::{Engine, SqliteSettings},
    reload::Wait,
};

/// The host that all inputs go to; its runtime lives as long as the process.
static ADDRESS: LazyLock<SocketAddr> = LazyLock::new(|| {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("there are threads");
        runtime.block_on(async {
            let folder = std::env::temp_dir().join(format!("pointsman-fuzz-{}", std::process::id()));
            let mut config = Config {
                plugins: folder.join("plugins"),
                rules: folder.join("rules"),
                ..Config::default()
            };
            for folder in [&config.plugins, &config.rules] {
                std::fs::create_dir_all(folder).expect("the folder can be written");
            }
            let rule = r#"{"rules":[{"name":"a","match":{"a":[1]},"guard":"command.b > 1","handlers":["greet"]}]}"#;
            std::fs::write(config.rules.join("a.json"), rule).expect("the folder can be written");
            config.queue.engine = Engine::Sqlite(SqliteSettings {
                folder: folder.join("data"),
                ..SqliteSettings::default()
            });
            let host = Unloaded::new(config).expect("it starts");
            let host = host.with_queue().await.expect("the queue opens");
            let host = host.load(Wait::ForAll).await;
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            send.send(listener.local_addr().expect("an address")).expect("it is waited for");
            http::serve(Arc::clone(host.host()), listener).await.expect("it serves");
        });
    });
    receive.recv().expect("it listens")
});

pub(crate) fn run(data: &[u8]) {
    let mut stream = TcpStream::connect(*ADDRESS).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a time");
    stream
        .set_write_timeout(Some(Duration::from_secs(30)))
        .expect("a time");
    // It may answer, and close, before it has read all.
    let _ = stream.write_all(data);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.take(64 << 20).read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert!(
            error.kind() == std::io::ErrorKind::ConnectionReset,
            "no end of the answer: {error}: {data:?}"
        ),
    }
    let begins =
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 ") || answer.starts_with(b"HTTP/1.0 ");
    assert!(begins, "{data:?}");
    assert!(!answer.starts_with(b"HTTP/1.1 500"), "{data:?}");
}
