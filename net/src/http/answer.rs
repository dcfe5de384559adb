//! From a request to an answer: the one place where routes, files, conditions and ranges meet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use hyper::body::{Body, Bytes};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};

use buildswarm_core::Digest;

use super::Log;
use super::access::{Access, PATH_SHOWN_MAX, chain, printable};
use super::body::{Content, FileContent, Sending};
use super::conditional::{Conditions, Validators, Verdict};
use super::page;
use super::range::Selection;
use super::route::{ChannelName, IndexFile, Route};
use super::tree::{Listing, Tree, TreeError};
use super::verified::{HashError, Identity, VerifiedFiles};

/// The number of the generation an index file belongs to.
const GENERATION: HeaderName = HeaderName::from_static("buildswarm-generation");

/// The name of a package is its content: it can be kept for ever (RFC 8246).
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// An index may be kept, but not used without asking: the next generation may be there.
const ASK_FIRST: &str = "no-cache";

const TEXT: &str = "text/plain; charset=utf-8";
const PACKAGE: &str = "application/x-tar";
const KEY: &str = "application/pgp-keys";

/// What the door answers with.
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    content: Content,
    problem: Option<String>,
}

impl Answer {
    fn new(status: StatusCode, media_type: &'static str, content: Content) -> Self {
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ]);
        Self { status, headers, content, problem: None }
    }

    /// A line of text.
    fn line(status: StatusCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.push('\n');
        Self::new(status, TEXT, Content::Bytes(text.into())).with(header::CACHE_CONTROL, "no-store")
    }

    /// 503, with the reason for the client and for the log.
    fn fault(reason: String) -> Self {
        let answer = Self::line(StatusCode::SERVICE_UNAVAILABLE, reason.as_str());
        Self { problem: Some(reason), ..answer }
    }

    /// 413 and friends: what follows on the connection cannot be trusted to be a request.
    fn and_close(self) -> Self {
        self.with(header::CONNECTION, "close")
    }

    fn with(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        // All values are made here, of characters a header can hold.
        if let Ok(value) = value.try_into() {
            self.headers.insert(name, value);
        }
        self
    }
}

/// Something that can be asked for under conditions and in parts.
struct Representation {
    validators: Validators,
    media_type: &'static str,
    keep: &'static str,
    content: Content,
}

/// Everything a request needs.
pub(super) struct Door {
    pub(super) tree: Arc<Tree>,
    pub(super) files: VerifiedFiles,
    pub(super) key: Option<Bytes>,
    pub(super) log: Log,
}

impl Door {
    /// Answers one request; what is left undone is the sending.
    pub(super) async fn handle<B: Body>(&self, peer: SocketAddr, request: Request<B>) -> Response<Sending> {
        let started = Instant::now();
        let answer = self.answer(&request).await;
        let Answer { status, mut headers, content, problem } = answer;
        let mut left = content.length();
        if status != StatusCode::NOT_MODIFIED {
            headers.insert(header::CONTENT_LENGTH, left.into());
        }
        if request.method() == Method::HEAD || status == StatusCode::NOT_MODIFIED {
            left = 0;
        }
        let access = Access {
            peer,
            method: printable(request.method().as_str(), 20),
            path: printable(&asked(&request), PATH_SHOWN_MAX),
            status: status.as_u16(),
            bytes: 0,
            millis: 0,
            complete: false,
            problem,
        };
        let mut response = Response::new(Sending::new(content, left, started, access, Arc::clone(&self.log)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    async fn answer<B: Body>(&self, request: &Request<B>) -> Answer {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let refused =
                Answer::line(StatusCode::METHOD_NOT_ALLOWED, "this door is for reading: GET and HEAD");
            return refused.with(header::ALLOW, "GET, HEAD").and_close();
        }
        // Content in a GET has no meaning (RFC 9110, 9.3.1) and is a known way to smuggle a request.
        if !request.body().is_end_stream() || request.headers().contains_key(header::TRANSFER_ENCODING) {
            let refused =
                Answer::line(StatusCode::PAYLOAD_TOO_LARGE, "a request to this door has no content");
            return refused.and_close();
        }
        // RFC 9112, 3.2.
        let hosts = request.headers().get_all(header::HOST).iter().count();
        if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
            let refused = Answer::line(StatusCode::BAD_REQUEST, "a request names one Host");
            return refused.and_close();
        }
        // A server must take the absolute form (RFC 9112, 3.2.2). Its path goes the same way as any other.
        let scheme = request.uri().scheme_str();
        let route = scheme.is_none_or(|scheme| matches!(scheme, "http" | "https"));
        match route.then(|| Route::parse(request.uri().path())).flatten() {
            Some(route) => self.route(route, request).await,
            None => not_found(&asked(request)),
        }
    }

    async fn route<B: Body>(&self, route: Route, request: &Request<B>) -> Answer {
        match route {
            Route::Health => Answer::line(StatusCode::OK, "ok"),
            Route::Home => self.home(request).await,
            Route::Ready => self.ready().await,
            Route::Channels => match self.list().await {
                Ok(listing) => {
                    let content = Content::Bytes(page::json(&listing.channels).into());
                    Answer::new(StatusCode::OK, "application/json", content)
                        .with(header::CACHE_CONTROL, ASK_FIRST)
                }
                Err(answer) => answer,
            },
            Route::Key => match &self.key {
                Some(key) => {
                    let validators = Validators { digest: Digest::of(key), modified_secs: None };
                    let content = Content::Bytes(key.clone());
                    let key = Representation { validators, media_type: KEY, keep: ASK_FIRST, content };
                    represent(key, request)
                }
                None => not_found("/key.asc"),
            },
            Route::Index { channel, file } => self.index(channel, file, request).await,
            Route::Package { channel, digest } => self.package(channel, digest, request).await,
        }
    }

    async fn home<B: Body>(&self, request: &Request<B>) -> Answer {
        let listing = match self.list().await {
            Ok(listing) => listing,
            Err(answer) => return answer,
        };
        let host = page::shown_host(text(request.headers(), header::HOST).as_deref()).to_owned();
        let content = Content::Bytes(page::html(&listing.channels, &host, self.key.is_some()).into());
        Answer::new(StatusCode::OK, "text/html; charset=utf-8", content)
            .with(header::CACHE_CONTROL, "no-store")
            .with(header::CONTENT_SECURITY_POLICY, "default-src 'none'")
    }

    async fn ready(&self) -> Answer {
        match self.list().await {
            Ok(listing) if listing.channels.is_empty() => match listing.broken.first() {
                Some(error) => Answer::fault(format!("no channel can be served: {}", chain(error))),
                None => Answer::line(StatusCode::SERVICE_UNAVAILABLE, "no channel has a current generation"),
            },
            Ok(_) => Answer::line(StatusCode::OK, "ready"),
            Err(answer) => answer,
        }
    }

    async fn list(&self) -> Result<Listing, Answer> {
        let tree = Arc::clone(&self.tree);
        match blocking(move || tree.list()).await? {
            Ok(listing) => Ok(listing),
            Err(TreeError::Absent(what)) => {
                let text = format!("nothing is published yet: {what} does not exist");
                Err(Answer::line(StatusCode::SERVICE_UNAVAILABLE, text))
            }
            Err(error) => Err(Answer::fault(chain(&error))),
        }
    }

    async fn index<B: Body>(&self, channel: ChannelName, file: IndexFile, request: &Request<B>) -> Answer {
        let tree = Arc::clone(&self.tree);
        let opened = blocking(move || {
            let entry = tree.index(&channel, file)?;
            let state = identify(&entry.file, file.file_name())?;
            Ok((entry, state))
        });
        let (entry, state) = match opened.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return refused(&error, request),
            Err(answer) => return answer,
        };
        let opened = Arc::new(entry.file);
        let digest = match self.files.digest(&opened, state).await {
            Ok(digest) => digest,
            Err(error) => return unhashed(file.file_name(), &error),
        };
        let representation = Representation {
            validators: Validators { digest, modified_secs: Some(entry.header.timestamp_secs) },
            media_type: file.media_type(),
            keep: ASK_FIRST,
            content: Content::File(FileContent::whole(opened, state)),
        };
        represent(representation, request).with(GENERATION, entry.generation)
    }

    async fn package<B: Body>(&self, channel: ChannelName, name: Digest, request: &Request<B>) -> Answer {
        let tree = Arc::clone(&self.tree);
        let opened = blocking(move || {
            let file = tree.package(&channel, &name)?;
            let state = identify(&file, &name.to_string())?;
            Ok((Arc::new(file), state))
        });
        let (file, state) = match opened.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return refused(&error, request),
            Err(answer) => return answer,
        };
        match self.files.digest(&file, state).await {
            Ok(digest) if digest == name => {
                let validators = Validators { digest, modified_secs: None };
                let content = Content::File(FileContent::whole(file, state));
                represent(
                    Representation { validators, media_type: PACKAGE, keep: FOR_EVER, content },
                    request,
                )
            }
            Ok(digest) => {
                Answer::fault(format!("package {name} is damaged: the BLAKE3 of its bytes is {digest}"))
            }
            Err(error) => unhashed(&name.to_string(), &error),
        }
    }
}

/// Conditions first, then the range (RFC 9110, 13.2.2).
fn represent<B>(representation: Representation, request: &Request<B>) -> Answer {
    let Representation { validators, media_type, keep, content } = representation;
    let field = |name| text(request.headers(), name);
    let (if_match, if_none_match) = (field(header::IF_MATCH), field(header::IF_NONE_MATCH));
    let (since, unmodified) = (field(header::IF_MODIFIED_SINCE), field(header::IF_UNMODIFIED_SINCE));
    let (if_range, range) = (field(header::IF_RANGE), field(header::RANGE));
    let conditions = Conditions {
        if_match: if_match.as_deref(),
        if_unmodified_since: unmodified.as_deref(),
        if_none_match: if_none_match.as_deref(),
        if_modified_since: since.as_deref(),
        if_range: if_range.as_deref(),
    };
    let length = content.length();
    // Ranges are defined for GET alone (RFC 9110, 14.2).
    let selection = match &range {
        Some(range) if request.method() == Method::GET && conditions.range_applies(&validators) => {
            Selection::parse(range, length)
        }
        _ => Selection::Whole,
    };
    let answer = match (conditions.judge(&validators), selection) {
        (Verdict::NotModified, _) => {
            Answer::new(StatusCode::NOT_MODIFIED, media_type, Content::Bytes(Bytes::new()))
        }
        (Verdict::Failed, _) => {
            Answer::line(StatusCode::PRECONDITION_FAILED, "it is not what you have any more")
        }
        (Verdict::Send, Selection::Whole) => Answer::new(StatusCode::OK, media_type, content),
        (Verdict::Send, Selection::Part { first, last }) => {
            let part = content.part(first, last - first + 1);
            Answer::new(StatusCode::PARTIAL_CONTENT, media_type, part)
                .with(header::CONTENT_RANGE, format!("bytes {first}-{last}/{length}"))
        }
        (Verdict::Send, Selection::Unsatisfiable) => {
            let text = format!("there is no such range in {length} bytes");
            Answer::line(StatusCode::RANGE_NOT_SATISFIABLE, text)
                .with(header::CONTENT_RANGE, format!("bytes */{length}"))
        }
    };
    if answer.status.is_client_error() {
        return answer;
    }
    let answer = answer
        .with(header::ETAG, validators.etag())
        .with(header::CACHE_CONTROL, keep)
        .with(header::ACCEPT_RANGES, "bytes");
    match validators.last_modified() {
        Some(date) => answer.with(header::LAST_MODIFIED, date),
        None => answer,
    }
}

/// A header as text. One that comes several times is the list of its values (RFC 9110, 5.2), which makes a
/// header that must be single, like a date or a range, invalid and thereby ignored. Bytes that are no text are
/// kept as something that matches nothing.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// What the request named, as it came.
fn asked<B>(request: &Request<B>) -> String {
    match request.uri().scheme() {
        None => request.uri().path().to_owned(),
        Some(_) => request.uri().to_string(),
    }
}

fn not_found(asked: &str) -> Answer {
    Answer::line(StatusCode::NOT_FOUND, format!("not found: {}", printable(asked, PATH_SHOWN_MAX)))
}

fn refused<B>(error: &TreeError, request: &Request<B>) -> Answer {
    match error {
        TreeError::Absent(_) => not_found(&asked(request)),
        error => Answer::fault(chain(error)),
    }
}

fn unhashed(what: &str, error: &HashError) -> Answer {
    match error {
        HashError::Stopped => Answer::line(StatusCode::SERVICE_UNAVAILABLE, "closing").and_close(),
        error => Answer::fault(format!("{what} cannot be verified: {}", chain(error))),
    }
}

fn identify(file: &std::fs::File, what: &str) -> Result<Identity, TreeError> {
    Identity::of(file).map_err(|source| TreeError::Unreadable { what: what.to_owned(), source })
}

/// Runs what touches files on a thread that may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Answer> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|gone| Answer::fault(format!("the request was not worked on: {}", chain(&gone))))
}
