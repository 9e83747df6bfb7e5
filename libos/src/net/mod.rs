//! Sockets: AF_UNIX, AF_INET and AF_INET6, and route netlink.
//!
//! [`calls`] and [`msg`] are the system calls. They find the [`Socket`] behind a descriptor and
//! move addresses, control messages and data in and out; the protocols live in [`unix`], [`inet`]
//! and [`netlink`]. Connections that stay inside the enclave, Unix ones and loopback TCP alike,
//! are made of [`stream::Connection`].

mod address;
pub mod calls;
mod inet;
mod interfaces;
mod ioctl;
pub mod msg;
pub mod netlink;
mod options;
mod packet;
mod payload;
mod scm;
mod socket;
mod stream;
mod unix;

pub use address::Address;
pub use socket::{Common, Socket, SocketFile};
