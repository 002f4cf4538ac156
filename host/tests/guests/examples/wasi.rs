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
            "args" => Ok(Some(json!(env::args().collect::<Vec<_>>()))),
            "exit" => std::process::exit(path.parse().unwrap_or(0)),
            "config" => Ok(Some(json!(config(&path)))),
            "read" => Ok(Some(json!(fs::read_to_string(path).map_err(failed)?))),
            // Holds as many as it gets: how many, and why not all.
            "open-many" => {
                let count: usize = command.field("count")?;
                let mut open = Vec::new();
                let refused = (0..count).find_map(|_| match fs::File::open(&path) {
                    Ok(file) => {
                        open.push(file);
                        None
                    }
                    Err(error) => Some(error.to_string()),
                });
                let ms: u64 = command.optional_field("ms")?.unwrap_or_default();
                thread::sleep(Duration::from_millis(ms));
                Ok(Some(json!([open.len(), refused])))
            }
            // Holds as many lists of a folder as it gets.
            "list-many" => {
                let count: usize = command.field("count")?;
                let mut lists = Vec::new();
                let refused = (0..count).find_map(|_| match fs::read_dir(&path) {
                    Ok(list) => {
                        lists.push(list);
                        None
                    }
                    Err(error) => Some(error.to_string()),
                });
                Ok(Some(json!([lists.len(), refused])))
            }
            // Whatever std and WASI have for a file: what it wrote, and its length.
            "use" => {
                use std::io::{Read as _, Seek as _, Write as _};
                let mut file = fs::File::options();
                let mut file = file
                    .read(true)
                    .write(true)
                    .create(true)
                    .open(&path)
                    .map_err(failed)?;
                let (mut text, line) = (String::new(), "line\n".repeat(30_000));
                file.write_all(line.as_bytes()).map_err(failed)?;
                file.rewind().map_err(failed)?;
                file.read_to_string(&mut text).map_err(failed)?;
                file.set_len(5)
                    .and_then(|()| file.sync_all())
                    .map_err(failed)?;
                let other = format!("{path}.other");
                fs::rename(&path, &other).map_err(failed)?;
                let length = fs::metadata(&other).map_err(failed)?.len();
                let folder = std::path::Path::new(&path).parent().unwrap();
                let count = fs::read_dir(folder).map_err(failed)?.count();
                fs::remove_file(&other).map_err(failed)?;
                Ok(Some(json!([text == line, length, count])))
            }
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
