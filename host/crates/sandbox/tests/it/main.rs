//! The sandbox, without a host around it.

mod calls;
mod rooms;
