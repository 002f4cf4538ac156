//! The sandbox, without a host around it.

mod rooms;
