//! Follows files that are read again while the process runs.

use std::time::Duration;

use pointsman_core::diagnostic::Diagnostic;
use tokio_util::sync::CancellationToken;

/// Calls `reload` every so often until `stop`, and hands what is new to `news`. An error is
/// logged each time that `reload` returns it; only one with the code `unreadable`, which
/// returns for as long as the file cannot be read, is logged once.
pub async fn follow<T, F>(
    every: Duration,
    stop: &CancellationToken,
    unreadable: &str,
    reload: impl Fn() -> F,
    news: impl Fn(T),
) where
    F: Future<Output = Result<Option<T>, Diagnostic>>,
{
    let mut was_readable = true;
    let turn = || async {
        tokio::time::sleep(every).await;
        reload().await
    };
    while let Some(reloaded) = stop.run_until_cancelled(turn()).await {
        let is_readable = !matches!(&reloaded, Err(error) if error.code() == unreadable);
        match reloaded {
            Ok(new) => new.into_iter().for_each(&news),
            Err(error) if was_readable || is_readable => tracing::error!("{error}"),
            Err(_) => {}
        }
        was_readable = is_readable;
    }
}
