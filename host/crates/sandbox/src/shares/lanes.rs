//! Owns the threads on which calls of guests may block: on files, on names. Each
//! lane is a thread of its own, so that a call that never ends keeps one lane and
//! the share that was taken for it, and no thread of the async runtime, which
//! reloads, the queue and the end of the process wait for.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::runtime::{Builder, Handle, Runtime};

use super::part::Held;

/// The lanes that wait for their next call. Their threads end by themselves
/// after some seconds without one.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    waiting: Mutex<Vec<Thread>>,
}

/// A runtime that is used for its one blocking thread only.
#[derive(Debug)]
struct Thread(Option<Runtime>);

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // What hangs is not waited for.
            runtime.shutdown_background();
        }
    }
}

/// A thread for one call, given back when the call has ended, however long
/// that takes after the lane was dropped.
#[derive(Debug)]
pub(crate) struct Lane {
    // None only while it is dropped.
    place: Option<Place>,
    // Whether its thread may be at work.
    busy: bool,
}

#[derive(Debug)]
struct Place {
    thread: Thread,
    lanes: Arc<Lanes>,
    held: Held,
}

impl Lanes {
    /// A lane, for which `held` was taken.
    pub(crate) fn lane(self: &Arc<Self>, held: Held) -> Lane {
        let waiting = self.lock().pop();
        let thread = waiting.unwrap_or_else(|| {
            let mut builder = Builder::new_current_thread();
            builder
                .max_blocking_threads(1)
                .thread_name("pointsman-guest");
            // Without a driver it is made of memory alone.
            Thread(Some(builder.build().expect("needs nothing of the system")))
        });
        Lane {
            place: Some(Place {
                thread,
                lanes: Arc::clone(self),
                held,
            }),
            busy: false,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Thread>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    /// Drives `call`; what it sends to a blocking thread runs on this one.
    pub(crate) async fn drive<F: Future>(mut self, call: F) -> F::Output {
        self.begin();
        let result = self.poll(call).await;
        self.end();
        result
    }

    /// As [`Lane::drive`], for calls that may leave something at work.
    pub(crate) async fn poll<F: Future>(&self, call: F) -> F::Output {
        let mut call = pin!(call);
        poll_fn(|context| {
            let _here = self.handle().enter();
            call.as_mut().poll(context)
        })
        .await
    }

    /// Runs `call`; what it sends to a blocking thread runs on this one.
    pub(crate) fn enter<T>(&mut self, call: impl FnOnce() -> T) -> T {
        self.begin();
        let _here = self.handle().enter();
        call()
    }

    /// Runs `job` on this thread.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let task = self.handle().spawn_blocking(job);
        match self.drive(task).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Leaves `job` to this thread.
    pub(crate) fn leave(mut self, job: impl FnOnce() + Send + 'static) {
        self.begin();
        // Whoever drops the lane waits for it.
        drop(self.handle().spawn_blocking(job));
    }

    /// Something may be at work from now on.
    pub(crate) fn begin(&mut self) {
        self.busy = true;
    }

    /// Nothing is at work any more.
    pub(crate) fn end(&mut self) {
        self.busy = false;
    }

    fn handle(&self) -> &Handle {
        let place = self.place.as_ref().expect("taken when dropped");
        let runtime = place.thread.0.as_ref();
        runtime.expect("taken when dropped").handle()
    }
}

impl Place {
    fn give_back(self) {
        self.lanes.lock().push(self.thread);
        drop(self.held);
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        let runtime = place.thread.0.as_ref().map(Runtime::handle).cloned();
        match runtime.filter(|_| self.busy) {
            // After what is at work there.
            Some(runtime) => drop(runtime.spawn_blocking(|| place.give_back())),
            None => place.give_back(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::super::AllShares;
    use pointsman_core::name::HandlerName;
    use pointsman_machine::budget::{BudgetSettings, Budgets, Machine};

    /// Budgets of eight threads, two for each handler.
    fn budgets() -> Budgets {
        let settings = BudgetSettings {
            blocking_max: Some(8),
            ..BudgetSettings::default()
        };
        Budgets::new(&settings, &Machine::here())
    }

    #[tokio::test]
    async fn calls_that_hang_keep_their_handlers_part_and_nothing_else() {
        let budgets = budgets();
        let all = AllShares::new(budgets.clone());
        let of = |name: &str| all.of(&HandlerName::parse(name).unwrap());
        let (end, ended) = mpsc::channel::<()>();
        let ended = std::sync::Arc::new(std::sync::Mutex::new(ended));
        let hanging = of("hanging");
        for _ in 0..600 {
            let ended = std::sync::Arc::clone(&ended);
            let call = async {
                let lane = hanging.lane().await;
                lane.run(move || ended.lock().unwrap().recv().unwrap_err())
                    .await
            };
            // As at the timeout of a call.
            let call = tokio::time::timeout(Duration::from_millis(1), call).await;
            assert!(call.is_err());
        }
        assert_eq!(budgets.blocking.used(), 2);
        assert!(hanging.free_lane().is_none());
        assert_eq!(of("good").lane().await.run(|| 1).await, 1);
        // Those of the runtime are free as well.
        assert_eq!(tokio::task::spawn_blocking(|| 2).await.unwrap(), 2);
        drop(end);
        drop(hanging.lane().await);
        while budgets.blocking.used() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_others_send_to_a_blocking_thread_runs_on_the_lane() {
        let all = AllShares::new(budgets());
        let shares = all.of(&HandlerName::parse("one").unwrap());
        let name = || std::thread::current().name().map(str::to_owned);
        let lane = shares.lane().await;
        let ran_on = lane.drive(async { tokio::task::spawn_blocking(name).await.unwrap() });
        assert_eq!(ran_on.await.as_deref(), Some("pointsman-guest"));
    }
}
