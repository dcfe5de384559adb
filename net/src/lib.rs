//! How buildswarm talks to the world.
//!
//! Today this crate holds one thing: [`http`], the door for those who cannot speak the swarm's own
//! protocol. Stock `emerge` installs from it, a browser can read what is published.

pub mod http;
