"""Stands for the host where there is none: in unit tests. Leave this file as it is.

A handler's own tests replace what they need: `patch("handler.config", …)`, `patch("pointsman.http.get", …)`.
"""

import os
import sys
import time
from enum import IntEnum
from types import ModuleType
from typing import Any


class _Module(ModuleType):
    """Has a class for every name that is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {"__getattr__": lambda _, name: name})
        setattr(self, name, made)
        return made


class _Err(Exception):
    def __init__(self, value: Any):
        super().__init__(value)
        self.value = value


def _module(name: str, **functions: Any) -> None:
    module = _Module(name)
    # A package, so that there can be modules in it.
    module.__path__ = []
    vars(module).update(functions)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


_module("componentize_py_types", Err=_Err)
_module("wit_world")
_module("wit_world.exports")
_module("wit_world.imports")
_module("wit_world.imports.clock", now=lambda: time.time_ns() // 1_000_000, sleep=lambda ms: time.sleep(ms / 1000))
_module("wit_world.imports.config", get=lambda key: None)
_module(
    "wit_world.imports.log",
    Level=IntEnum("Level", "TRACE DEBUG INFO WARN ERROR", start=0),
    log=lambda level, message: print(f"{level.name.lower()}: {message}", file=sys.stderr),
)
_module("wit_world.imports.random", number=lambda: int.from_bytes(os.urandom(8)), bytes=os.urandom)
for _name in ("emit", "monotonic_clock", "outgoing_handler", "pointsman_handler_types", "poll", "sql", "state", "streams", "wasi_http_types"):
    _module(f"wit_world.imports.{_name}")
