//! Archives and images made for tests, with names as they are given, however hostile.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

use std::io::Write as _;

/// A tar.
#[must_use]
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A gzip file.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A zip.
#[must_use]
pub fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A container image as `docker save` writes it: an OCI layout in a tar. Each of `layers` is what a
/// layer's tar holds, the lowest first. Gives the image and its layers' digests.
#[must_use]
pub fn image(layers: &[Vec<(&str, &[u8])>]) -> (Vec<u8>, Vec<String>) {
    let digest = |bytes: &[u8]| ledger::hex32(&ledger::sha256(bytes));
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut blob = |bytes: Vec<u8>| {
        let name = digest(&bytes);
        let size = bytes.len();
        files.push((format!("blobs/sha256/{name}"), bytes));
        (name, size)
    };
    let (mut named, mut diffs) = (Vec::new(), Vec::new());
    for layer in layers {
        let plain = tar(layer);
        diffs.push(format!("sha256:{}", digest(&plain)));
        let (name, size) = blob(gzip(&plain));
        named.push((name, size));
    }
    let config = serde_json::json!({ "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diffs } });
    let (config, config_size) = blob(config.to_string().into_bytes());
    let descriptor = |media: &str, name: &str, size: usize| {
        serde_json::json!({ "mediaType": format!("application/vnd.oci.image.{media}"),
        "digest": format!("sha256:{name}"), "size": size })
    };
    let listed: Vec<_> = named
        .iter()
        .map(|(name, size)| descriptor("layer.v1.tar+gzip", name, *size))
        .collect();
    let manifest = serde_json::json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &config, config_size), "layers": listed });
    let (manifest, manifest_size) = blob(manifest.to_string().into_bytes());
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [descriptor("manifest.v1+json", &manifest, manifest_size)] });
    let paths: Vec<String> = named
        .iter()
        .map(|(name, _)| format!("blobs/sha256/{name}"))
        .collect();
    let docker = serde_json::json!([{ "Config": format!("blobs/sha256/{config}"), "RepoTags": ["acme/tool:1"], "Layers": paths }]);
    files.push(("index.json".into(), index.to_string().into_bytes()));
    files.push(("manifest.json".into(), docker.to_string().into_bytes()));
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    files.push(("oci-layout".into(), layout.to_vec()));
    let borrowed: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    (tar(&borrowed), named.into_iter().map(|(n, _)| n).collect())
}
