//! The storage: a real S3-compatible server. Everybody may read; whoever has the storage key may
//! write, by requests signed with it.

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rusty_s3::{Bucket, Credentials, S3Action as _, UrlStyle};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s::{S3Result, s3_error};
use std::path::Path;
use std::time::Duration;

/// The bucket that releases are served from.
const BUCKET: &str = "releases";

/// A storage key: an id and a secret, of the form that Google Cloud Storage gives them.
#[derive(Clone)]
pub struct StorageKey {
    pub id: String,
    pub secret: String,
}

impl StorageKey {
    /// A new one.
    pub fn generate() -> Self {
        use base64::Engine as _;
        let random = || keys::SecretKey::generate().unwrap().to_pkcs8_der().unwrap();
        let letters = hex::encode_upper(&random()[36..64]);
        let id: String = format!("GOOG{}{letters}", "1E").chars().take(61).collect();
        let secret = base64::engine::general_purpose::STANDARD.encode(&random()[36..66]);
        Self { id, secret }
    }

    /// As a configuration file of the uploading program has it.
    pub fn file(&self) -> String {
        format!(
            "[Credentials]\ngs_access_key_id = {}\ngs_secret_access_key = {}\n",
            self.id, self.secret
        )
    }

    /// The one in such a file.
    pub fn read(text: &str) -> Self {
        let value = |name: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(name));
            line.unwrap().trim_start_matches(" = ").to_owned()
        };
        Self {
            id: value("gs_access_key_id"),
            secret: value("gs_secret_access_key"),
        }
    }
}

struct ReadByAll;

#[async_trait::async_trait]
impl S3Access for ReadByAll {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        let reads = matches!(request.s3_op().name(), "GetObject" | "HeadObject");
        if reads || request.credentials().is_some() {
            return Ok(());
        }
        Err(s3_error!(AccessDenied, "who writes must sign"))
    }
}

/// The server, at work until it is dropped.
pub struct Store {
    /// `http://ADDR/BUCKET`.
    pub url: String,
    bucket: Bucket,
    root: std::path::PathBuf,
    serving: Option<tokio::runtime::Runtime>,
}

impl Store {
    /// Serves what is below `root`.
    pub fn serve(root: &Path, key: &StorageKey) -> Self {
        std::fs::create_dir_all(root.join(BUCKET)).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, root, key)
    }

    fn on(listener: std::net::TcpListener, root: &Path, key: &StorageKey) -> Self {
        let files = s3s_fs::FileSystem::new(root).unwrap();
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(key.id.clone(), key.secret.clone()));
        service.set_access(ReadByAll);
        let service = service.build().into_shared();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let serving = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        serving.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let http = Builder::new(TokioExecutor::new());
            while let Ok((socket, _)) = listener.accept().await {
                let connection = http.serve_connection(TokioIo::new(socket), service.clone());
                let connection = connection.into_owned();
                tokio::spawn(async move {
                    let _ = connection.await;
                });
            }
        });
        let endpoint = format!("http://{address}").parse().unwrap();
        Self {
            url: format!("http://{address}/{BUCKET}"),
            bucket: Bucket::new(endpoint, UrlStyle::Path, BUCKET, "us-east-1").unwrap(),
            root: root.to_owned(),
            serving: Some(serving),
        }
    }

    /// From now on another key writes, and the old one does not. The address stays.
    pub fn rotate(&mut self, key: &StorageKey) {
        let address = self.url.trim_start_matches("http://");
        let address = address.trim_end_matches(&format!("/{BUCKET}")).to_owned();
        self.stop();
        let began = std::time::Instant::now();
        let listener = loop {
            match std::net::TcpListener::bind(&address) {
                Ok(listener) => break listener,
                Err(e) => assert!(began.elapsed() < Duration::from_secs(30), "{address}: {e}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let root = self.root.clone();
        *self = Self::on(listener, &root, key);
    }

    fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.shutdown_timeout(Duration::from_secs(5));
        }
    }

    /// Writes an object with a key, as anybody who has it can; the answer's status.
    pub fn put(&self, key: &StorageKey, name: &str, bytes: &[u8]) -> u16 {
        let credentials = Credentials::new(&key.id, &key.secret);
        let put = self.bucket.put_object(Some(&credentials), name);
        let url = put.sign(Duration::from_secs(60));
        let agent = super::jobs::agent();
        agent
            .put(url.as_str())
            .send(bytes)
            .unwrap()
            .status()
            .as_u16()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}
