//! Panics of libraries that read foreign bytes, which cost one file and not the
//! host: they are caught, and are no fault of ours that the log should show.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
};

use crate::text::{MESSAGE_MAX_BYTES, bounded};

thread_local! {
    /// How many [`caught`] this thread is within.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// What the last panic within one said, and where: the hook alone knows where.
    static SAID: Cell<Option<String>> = const { Cell::new(None) };
}

/// Runs `work`, in which a library may panic on foreign bytes, on this thread.
///
/// # Errors
/// What the panic said, of bounded length. Whoever calls this reports it.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    DEPTH.set(DEPTH.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|payload| SAID.take().unwrap_or_else(|| message(&*payload).to_owned()))
}

/// For the panic hook of a program: whether whoever runs this code catches the panic
/// and reports it, so that the hook has nothing to say.
#[must_use]
pub fn is_caught(panic: &PanicHookInfo<'_>) -> bool {
    if DEPTH.get() == 0 {
        return false;
    }
    SAID.set(Some(bounded(panic, MESSAGE_MAX_BYTES)));
    true
}

/// What a panic said.
#[must_use]
pub fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_what_it_said() {
        assert_eq!(caught(|| 7), Ok(7));
        assert_eq!(caught(|| panic!("first")), Err::<(), _>("first".into()));
        let number = 2;
        let inner = || caught(|| panic!("number {number}"));
        assert_eq!(caught(inner), Ok(Err::<(), _>("number 2".into())));
        assert_eq!(DEPTH.get(), 0);
    }
}
