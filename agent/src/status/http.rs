//! Serves a page of metrics over HTTP. Clients that are slow, silent or many cost a limited amount of memory, and
//! nothing else.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, JoinSet};

/// Path of the page.
const PATH: &str = "/metrics";
/// Content type of OpenMetrics, which Prometheus has accepted since 2.5.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Content type of error messages.
const TEXT: &str = "text/plain; charset=utf-8";

/// How long a client may take to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may take to send its request and to read the answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to write the page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of clients at a time. One more replaces the oldest.
const MAX_CLIENTS: usize = 16;
/// Maximum size of a request in bytes; hyper accepts no lower limit.
const MAX_REQUEST: usize = 8192;
/// Maximum number of headers in a request.
const MAX_HEADERS: usize = 64;
/// How long a page is served again, so that clients cannot keep the election and the kernel half busy with requests for
/// the figures.
const FRESH: Duration = Duration::from_millis(100);
/// The pause after a failure to listen, or to accept a client.
const PAUSE: Duration = Duration::from_secs(5);

/// A function that writes the page.
pub type PageWriter = Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

/// Answers clients until aborted. Metrics are no reason for a failover: if the address is in use, or not on the host
/// yet, the server waits for it.
pub async fn serve(address: SocketAddr, write: PageWriter) {
    let listener = listen(address, PAUSE).await;
    let page = Arc::new(Page { write, latest: Mutex::new(None) });
    let mut clients = Clients::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => clients.admit(stream, &page),
            Err(error) => {
                tracing::error!("no metrics: cannot accept a client: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn listen(address: SocketAddr, pause: Duration) -> TcpListener {
    let mut logged = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tracing::info!("metrics at http://{address}{PATH}");
                return listener;
            }
            Err(error) if !logged => {
                logged = true;
                tracing::error!("no metrics: cannot listen on {address}: {error}; trying again every {pause:?}");
            }
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
    }
}

/// The clients that are being answered. Dropping this value disconnects them.
#[derive(Debug, Default)]
struct Clients {
    tasks: JoinSet<()>,
    /// Handles in the order in which the clients connected.
    handles: VecDeque<AbortHandle>,
}

impl Clients {
    fn admit(&mut self, stream: TcpStream, page: &Arc<Page>) {
        while self.tasks.try_join_next().is_some() {}
        self.handles.retain(|handle| !handle.is_finished());
        // A client that reads its answer has it within milliseconds, so the oldest client is probably stuck.
        while self.handles.len() >= MAX_CLIENTS
            && let Some(oldest) = self.handles.pop_front()
        {
            oldest.abort();
        }
        self.handles.push_back(self.tasks.spawn(attend(stream, Arc::clone(page))));
    }
}

/// Answers one request, and no more on this connection.
async fn attend(stream: TcpStream, page: Arc<Page>) {
    let service = service_fn(|request: Request<_>| {
        let page = Arc::clone(&page);
        async move { Ok::<_, Infallible>(page.answer(request.method(), request.uri().path()).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(MAX_REQUEST)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Fails if the client hangs up, or does not speak HTTP: it then gets no answer.
    let _ = tokio::time::timeout(CLIENT_TIMEOUT, connection).await;
}

struct Page {
    write: PageWriter,
    latest: Mutex<Option<(Instant, Bytes)>>,
}

impl Page {
    async fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if path != PATH {
            return response(StatusCode::NOT_FOUND, TEXT, format!("metrics are at {PATH}\n").into());
        }
        if method != Method::GET {
            let mut refusal = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".into());
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return refusal;
        }
        match tokio::time::timeout(PAGE_TIMEOUT, self.content()).await {
            Ok(content) => response(StatusCode::OK, FORMAT, content),
            Err(_) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the agent does not answer\n".into()),
        }
    }

    async fn content(&self) -> Bytes {
        let mut latest = self.latest.lock().await;
        if let Some((written, content)) = &*latest
            && written.elapsed() < FRESH
        {
            return content.clone();
        }
        let content = Bytes::from((self.write)().await);
        *latest = Some((Instant::now(), content.clone()));
        content
    }
}

fn response(status: StatusCode, format: &'static str, content: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(content));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Starts a server whose pages contain their number, and returns its address.
    fn start() -> SocketAddr {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let number = Arc::new(AtomicUsize::new(0));
        tokio::spawn(serve(
            address,
            Arc::new(move || {
                let number = Arc::clone(&number);
                async move { format!("page {}\n", number.fetch_add(1, Ordering::Relaxed)) }.boxed()
            }),
        ));
        address
    }

    async fn connect(address: SocketAddr) -> TcpStream {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = connect(address).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn only_a_get_request_for_metrics_is_answered_with_the_page() {
        let address = start();
        let page = ask(address, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        assert!(page.contains(&format!("\r\ncontent-type: {FORMAT}\r\n")), "{page}");
        assert!(page.contains("\r\n\r\npage "), "{page}");
        for (request, expected) in [
            ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found\r\n"),
            ("POST /metrics HTTP/1.1\r\ncontent-length: 999999999\r\n\r\n", "HTTP/1.1 405 Method Not Allowed\r\n"),
            ("nonsense\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        ] {
            let answer = ask(address, request).await;
            assert!(answer.starts_with(expected), "{request:?}: {answer}");
        }
    }

    #[tokio::test]
    async fn an_endless_request_is_refused() {
        let address = start();
        let mut stream = connect(address).await;
        let endless = format!("GET /metrics HTTP/1.1\r\nx: {}", "y".repeat(2 * MAX_REQUEST));
        // The server may refuse it and close the connection before all of it is written.
        let _ = stream.write_all(endless.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!String::from_utf8_lossy(&answer).contains(" 200 "));
    }

    #[tokio::test]
    async fn frequent_requests_get_the_same_page_for_a_while() {
        let address = start();
        let begin = Instant::now();
        let mut last = String::new();
        for _ in 0..50 {
            last = ask(address, "GET /metrics HTTP/1.1\r\n\r\n").await;
        }
        let written: u128 = last.rsplit("page ").next().unwrap().trim().parse().unwrap();
        assert!(written <= begin.elapsed().as_millis() / FRESH.as_millis(), "{written} in {:?}", begin.elapsed());
    }

    #[tokio::test]
    async fn a_new_client_replaces_the_oldest_silent_one() {
        let address = start();
        let mut silent = Vec::new();
        for _ in 0..4 * MAX_CLIENTS {
            let mut stream = connect(address).await;
            stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
            silent.push(stream);
        }
        let begin = Instant::now();
        assert!(ask(address, "GET /metrics HTTP/1.1\r\n\r\n").await.contains("page "));
        assert!(begin.elapsed() < REQUEST_TIMEOUT, "{:?}", begin.elapsed());
        // The first client has been disconnected, and not because its request timed out.
        assert!(matches!(silent[0].read(&mut [0; 64]).await, Ok(0) | Err(_)));
        assert!(begin.elapsed() < REQUEST_TIMEOUT, "{:?}", begin.elapsed());
    }

    #[tokio::test]
    async fn the_server_waits_for_an_address_that_is_in_use() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let pause = Duration::from_millis(10);
        let listening = tokio::spawn(listen(address, pause));
        tokio::time::sleep(pause * 10).await;
        assert!(!listening.is_finished());
        drop(taken);
        assert_eq!(listening.await.unwrap().local_addr().unwrap(), address);
    }
}
