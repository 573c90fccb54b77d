//! Connections: how many, how long, and how they end.

use super::settings::Limits;
use super::slow::Patient;
use super::tls::Tls;
use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::gauge::Gauge;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

/// The longest head of a request: a key of 511 bytes takes at most 1.5 KiB of it.
const HEAD_BYTES: usize = 16 << 10;

/// What a connection holds of a body at once.
const BUFFER_BYTES: usize = 64 << 10;

/// How long no connection is taken after the system had nothing left to take one with.
const PAUSE: Duration = Duration::from_secs(1);

/// What every connection needs.
#[derive(Clone)]
pub struct Connections {
    /// What answers.
    pub router: Router,
    /// What a client may cost.
    pub limits: Limits,
    /// The certificate, where HTTPS is spoken.
    pub tls: Option<Arc<Tls>>,
    /// Turns to true when the server has to stop.
    pub stop: watch::Receiver<bool>,
    /// How many there are.
    pub open: Gauge,
}

impl Connections {
    /// Takes connections until the server has to stop; then waits until all have ended, but no longer than the limit
    /// of draining. Gives how many were cut off.
    pub async fn serve(self, listener: TcpListener) -> usize {
        let all = self.limits.connections;
        let slots = Arc::new(Semaphore::new(all));
        loop {
            let taken = tokio::select! {
                () = stopped(self.stop.clone()) => break,
                taken = take(&listener, &slots) => taken,
            };
            if let Some((stream, slot)) = taken {
                tokio::spawn(self.clone().converse(stream, slot));
            }
        }
        drop(listener);
        let count = u32::try_from(all).unwrap_or(u32::MAX);
        match timeout(self.limits.drain_timeout.get(), slots.acquire_many(count)).await {
            Ok(_) => 0,
            Err(_) => all - slots.available_permits(),
        }
    }

    async fn converse(self, stream: TcpStream, _slot: OwnedSemaphorePermit) {
        let _counted = Counted::new(self.open.clone());
        // Answers are written at once; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let Some(tls) = self.tls.as_ref().map(|tls| tls.acceptor()) else { return self.talk(stream).await };
        let handshake = timeout(self.limits.header_timeout.get(), tls.accept(stream));
        tokio::select! {
            () = stopped(self.stop.clone()) => {}
            shaken = handshake => match shaken {
                Ok(Ok(stream)) => self.talk(stream).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            },
        }
    }

    async fn talk(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send) {
        let mut http = Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout.get())
            .max_header_size(HEAD_BYTES)
            .max_buf_size(BUFFER_BYTES);
        let io = TokioIo::new(Patient::new(stream, self.limits.write_timeout.get()));
        let mut connection = pin!(http.serve_connection(io, TowerToHyperService::new(self.router.clone())));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopped(self.stop.clone()) => {
                // What is under way is answered; an idle connection ends now.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection failed");
        }
    }
}

/// The next connection, once there is room for one.
async fn take(listener: &TcpListener, slots: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        // It has gone already.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => None,
        Err(error) => {
            tracing::warn!(%error, "connections can't be taken: raise the limit of open files, or lower limits.connections");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

/// Waits until the server has to stop.
pub async fn stopped(mut stop: watch::Receiver<bool>) {
    // Where nobody can say so any more, it has to stop, too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// One more in a gauge, as long as it lives.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
