//! A guest with std's input and output: reads what the operator grants and
//! calls out over HTTP, as the command's `do` says.
#![cfg(target_os = "wasi")]

use std::{
    env, fs,
    hash::{BuildHasher, RandomState},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use pointsman_sdk::{Command, Failure, Handler, Value, config, export, json};
use wasip2::http::{
    outgoing_handler,
    types::{ErrorCode, Fields, Method, OutgoingRequest, Scheme},
};

struct Wasi;

impl Handler for Wasi {
    fn handle(command: Command) -> Result<Option<Value>, Failure> {
        let what: String = command.field("do")?;
        let path: String = command.optional_field("path")?.unwrap_or_default();
        let failed = |error: std::io::Error| Failure::rejected(error.to_string());
        match what.as_str() {
            "env" => {
                let mut variables: Vec<_> = env::vars().collect();
                variables.sort();
                Ok(Some(json!(variables)))
            }
            "config" => Ok(Some(json!(config(&path)))),
            "read" => Ok(Some(json!(fs::read_to_string(path).map_err(failed)?))),
            "write" => {
                fs::write(path, "written").map_err(failed)?;
                Ok(None)
            }
            "sleep-hours" => {
                let hours: u64 = path.parse().unwrap();
                let (began, random) = (Instant::now(), RandomState::new().hash_one(0));
                thread::sleep(Duration::from_secs(hours * 3600));
                let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                Ok(Some(json!({
                    "unix_ms": unix.as_millis() as u64,
                    "slept_ms": began.elapsed().as_millis() as u64,
                    "random": random,
                })))
            }
            "print" => {
                println!("to standard output");
                eprintln!("to standard error");
                Ok(None)
            }
            "print-part" => {
                use std::io::Write as _;
                let mut out = std::io::stdout();
                out.write_all(path.as_bytes())
                    .and_then(|()| out.flush())
                    .map_err(failed)?;
                Ok(None)
            }
            "connect" => {
                std::net::TcpStream::connect(path).map_err(failed)?;
                Ok(None)
            }
            "get" => match get(&command) {
                Ok(status) => Ok(Some(json!(status))),
                Err(error) => Err(Failure::rejected(format!("{error:?}"))),
            },
            "get-or-trap" => Ok(Some(json!(get(&command).unwrap()))),
            "get-if-i-may" => Ok(Some(json!(get(&command).ok()))),
            other => Err(Failure::rejected(format!(
                "`do` is {other}, which I cannot"
            ))),
        }
    }
}

/// The status of the answer to `GET http://<authority><path>`.
fn get(command: &Command) -> Result<u16, ErrorCode> {
    let field = |name| command.field::<String>(name).unwrap();
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(&Method::Get).unwrap();
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(&field("authority"))).unwrap();
    request.set_path_with_query(Some(&field("path"))).unwrap();
    let response = outgoing_handler::handle(request, None)?;
    response.subscribe().block();
    let response = response
        .get()
        .expect("it is ready")
        .expect("it is asked for once")?;
    Ok(response.status())
}

export!(Wasi);
