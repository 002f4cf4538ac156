//! Owns the host's side of the contract in `wit/`: the generated types and what
//! each import does.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use wasmtime::{
    Engine, Store, StoreContextMut,
    component::{
        ComponentNamedList, ComponentType, HasSelf, InstancePre, Lift, Linker, Lower, WasmStr,
        types::ComponentItem,
    },
};

use super::{files, polling, request_errors, state::State, timers};
use crate::{component::contract::Version, grants::secrets::Secret};
use pointsman_core::outcome::Level;

/// One module a served version; its interfaces' `Host`s are implemented below.
mod v0_1_0 {
    wasmtime::component::bindgen!({
        path: "wit/handler@0.1.0.wit",
        world: "handler",
        // The command is lent to its handlers: each call copies it once, into the guest.
        ownership: Borrowing { duplicate_if_necessary: false },
        imports: {
            "pointsman:handler/clock.sleep": async,
            "pointsman:handler/random": trappable,
        },
        exports: { default: async },
    });
}

pub(super) mod v0_2_0 {
    wasmtime::component::bindgen!({
        path: "wit/handler@0.2.0.wit",
        world: "handler",
        ownership: Borrowing { duplicate_if_necessary: false },
        imports: {
            "pointsman:handler/clock.sleep": async,
            "pointsman:handler/emit": async | trappable,
            "pointsman:handler/random": trappable,
            "pointsman:handler/sql": async,
            "pointsman:handler/state": async,
        },
        exports: { default: async },
    });
}

// The newest version's: an older one's are converted where it is called.
use v0_2_0::pointsman::handler::types::RetryInfo;
pub(crate) use v0_2_0::{
    exports::pointsman::handler::command_handler::Failure, pointsman::handler::types::Command,
};

/// A component of a served version, ready to be instantiated.
#[derive(Clone)]
pub(crate) enum Pre {
    V0_1_0(v0_1_0::HandlerPre<State>),
    V0_2_0(v0_2_0::HandlerPre<State>),
}

/// Binds a component that was built for `version` and whose imports are there.
pub(crate) fn bind(version: Version, pre: InstancePre<State>) -> wasmtime::Result<Pre> {
    match version {
        Version::V0_1_0 => {
            type Answer = Result<Option<String>, OldFailure>;
            check::<OldCommand<'_>, Answer>("pointsman:handler/command-handler@0.1.0", &pre)?;
            Ok(Pre::V0_1_0(v0_1_0::HandlerPre::new(pre)?))
        }
        Version::V0_2_0 => {
            type Answer = Result<Option<String>, Failure>;
            check::<Command<'_>, Answer>("pointsman:handler/command-handler@0.2.0", &pre)?;
            Ok(Pre::V0_2_0(v0_2_0::HandlerPre::new(pre)?))
        }
    }
}

use v0_1_0::{
    exports::pointsman::handler::command_handler::Failure as OldFailure,
    pointsman::handler::types::Command as OldCommand,
};

/// Finds the export of a version, and checks its types: wasmtime by itself does so
/// only when an instance is there.
fn check<Command, Answer>(export: &str, pre: &InstancePre<State>) -> wasmtime::Result<()>
where
    Command: Lower,
    (Command,): ComponentNamedList + Lower,
    (Answer,): ComponentNamedList + Lift,
{
    let (component, engine) = (pre.component().component_type(), pre.engine());
    let found = component.get_export(engine, export).map(|found| found.ty);
    let Some(ComponentItem::ComponentInstance(found)) = found else {
        wasmtime::bail!("missing export `{export}`");
    };
    let handle = found.get_export(engine, "handle").map(|handle| handle.ty);
    let Some(ComponentItem::ComponentFunc(handle)) = handle else {
        wasmtime::bail!("missing export `handle` in `{export}`");
    };
    if handle.async_() {
        wasmtime::bail!("`handle` is an async function");
    }
    handle.typecheck::<(Command,), (Answer,)>(&component.instance_type())
}

impl Pre {
    pub(crate) fn engine(&self) -> &Engine {
        match self {
            Self::V0_1_0(pre) => pre.engine(),
            Self::V0_2_0(pre) => pre.engine(),
        }
    }

    pub(crate) async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Instance> {
        match self {
            Self::V0_1_0(pre) => Ok(Instance::V0_1_0(pre.instantiate_async(store).await?)),
            Self::V0_2_0(pre) => Ok(Instance::V0_2_0(pre.instantiate_async(store).await?)),
        }
    }
}

/// An instance of a component of a served version.
pub(crate) enum Instance {
    V0_1_0(v0_1_0::Handler),
    V0_2_0(v0_2_0::Handler),
}

impl Instance {
    /// Calls the contract's `handle`.
    pub(crate) async fn handle(
        &self,
        store: &mut Store<State>,
        command: Command<'_>,
    ) -> wasmtime::Result<Result<Option<String>, Failure>> {
        match self {
            Self::V0_1_0(handler) => {
                let command = OldCommand {
                    id: command.id,
                    attributes: command.attributes,
                    attempt: command.attempt,
                    delivery_id: command.delivery_id,
                    traceparent: command.traceparent,
                };
                let export = handler.pointsman_handler_command_handler();
                let answer = export.call_handle(store, command).await?;
                Ok(answer.map_err(Failure::from))
            }
            Self::V0_2_0(handler) => {
                let export = handler.pointsman_handler_command_handler();
                export.call_handle(store, command).await
            }
        }
    }
}

impl From<OldFailure> for Failure {
    fn from(failure: OldFailure) -> Self {
        match failure {
            OldFailure::Rejected(message) => Self::Rejected(message),
            OldFailure::Unavailable(retry) => Self::Unavailable(RetryInfo {
                message: retry.message,
                retry_after_ms: retry.retry_after_ms,
            }),
        }
    }
}

/// Bytes that `random.bytes` gives at once: the limit of the Web's `getRandomValues`.
const RANDOM_BYTES_MAX: u32 = 65_536;

/// Links what a handler may import: every served version of the contract, and
/// WASI 0.2 with whatever the handler was granted.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    v0_1_0::Handler::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    v0_2_0::Handler::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    add_log_to_linker::<v0_1_0::pointsman::handler::log::Level>("0.1.0", linker)?;
    add_log_to_linker::<v0_2_0::pointsman::handler::log::Level>("0.2.0", linker)?;
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    files::add_to_linker(linker, State::files)?;
    timers::add_to_linker(linker)?;
    polling::add_to_linker(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    request_errors::add_to_linker(linker)
}

/// Links the contract's `log` over the generated one. A message can be as large
/// as the guest's memory: it is read where it lies, and no more of it is copied
/// than the limits keep.
fn add_log_to_linker<L>(version: &str, linker: &mut Linker<State>) -> wasmtime::Result<()>
where
    L: Lift + ComponentType + Into<Level> + Send + Sync + 'static,
{
    let write = |store: StoreContextMut<'_, State>, (level, message): (L, WasmStr)| {
        let shared = Arc::clone(&store.data().shared);
        shared.logs.write(level.into(), &message.to_str(&store)?);
        Ok(())
    };
    linker.allow_shadowing(true);
    let added = linker
        .instance(&format!("pointsman:handler/log@{version}"))
        .and_then(|mut log| log.func_wrap("log", write));
    linker.allow_shadowing(false);
    added
}

/// What all versions so far have alike.
macro_rules! implement {
    ($($version:ident)*) => { $(
        impl $version::pointsman::handler::types::Host for State {}

        impl $version::pointsman::handler::log::Host for State {
            fn log(&mut self, level: $version::pointsman::handler::log::Level, message: String) {
                self.shared.logs.write(level.into(), &message);
            }
        }

        impl From<$version::pointsman::handler::log::Level> for Level {
            fn from(level: $version::pointsman::handler::log::Level) -> Self {
                use $version::pointsman::handler::log::Level as Said;
                match level {
                    Said::Trace => Self::Trace,
                    Said::Debug => Self::Debug,
                    Said::Info => Self::Info,
                    Said::Warn => Self::Warn,
                    Said::Error => Self::Error,
                }
            }
        }

        impl $version::pointsman::handler::clock::Host for State {
            fn now(&mut self) -> u64 {
                self.now_ms()
            }

            async fn sleep(&mut self, duration_ms: u64) {
                self.sleep_for(Duration::from_millis(duration_ms)).await;
            }
        }

        impl $version::pointsman::handler::random::Host for State {
            fn number(&mut self) -> wasmtime::Result<u64> {
                self.random_number()
            }

            fn bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
                self.random_bytes(count)
            }
        }

        impl $version::pointsman::handler::config::Host for State {
            fn get(&mut self, key: String) -> Option<String> {
                self.configured(&key)
            }
        }
    )* };
}

implement!(v0_1_0 v0_2_0);

impl State {
    fn now_ms(&self) -> u64 {
        let now = match self.simulated_clock() {
            Some(clock) => Ok(clock.now()),
            None => SystemTime::now().duration_since(UNIX_EPOCH),
        };
        now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }

    async fn sleep_for(&mut self, duration: Duration) {
        match self.simulated_clock() {
            Some(clock) => clock.sleep(duration).await,
            None => tokio::time::sleep(duration).await,
        }
    }

    fn random_number(&mut self) -> wasmtime::Result<u64> {
        match &mut self.random {
            Some(random) => Ok(random.next()),
            None => Ok(getrandom::u64()?),
        }
    }

    fn random_bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        if count > RANDOM_BYTES_MAX {
            wasmtime::bail!(
                "`random.bytes` returns at most {RANDOM_BYTES_MAX} at once, not {count}"
            );
        }
        let mut bytes = vec![0; count as usize];
        match &mut self.random {
            Some(random) => random.fill(&mut bytes),
            None => getrandom::fill(&mut bytes)?,
        }
        Ok(bytes)
    }

    fn configured(&self, key: &str) -> Option<String> {
        let secret = self.handler.grants.secret(key).map(Secret::reveal);
        let value = secret.or_else(|| self.handler.settings.config.get(key).map(String::as_str));
        value.map(str::to_owned)
    }
}
