//! The door over real sockets: a raw client, `curl` and `wget` where the machine has them.

mod client;
mod conditions;
mod damage;
mod fixture;
mod generations;
mod hostile;
mod lifecycle;
mod ranges;
mod routes;
