//! `lakemill serve`: the real binary on a free port, and whatever may come to it.

mod breaker;
mod bucket;
mod client;
mod degraded;
mod flips;
mod hostile;
mod redis;
mod routes;
mod schemathesis;
mod server;
mod shutdown;
mod split;
mod tls;
