//! Somebody has a node's key, and adds index files and packs to its repository: as the append-only endpoint lets them, new
//! files with the names that their content gives them.

use std::fs;

use aes256ctr_poly1305aes::{
    Aes256CtrPoly1305Aes, Key,
    aead::{AeadInPlace, Nonce},
};
use backstay_testkit::{Part, find_tool, left_out::leave_out};
use backstay_types::backup::job::{Done, FailedKind, Task};
use rustic_core::repofile::KeyFile;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    job::{Bench, PASSWORD, noise},
    tree::{assert_same, many_small},
};

struct Thief<'a> {
    bench: &'a Bench,
    cipher: Aes256CtrPoly1305Aes,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl<'a> Thief<'a> {
    fn new(bench: &'a Bench) -> Self {
        let file: KeyFile = serde_json::from_slice(&fs::read(&bench.files("keys")[0]).unwrap()).unwrap();
        let (encrypt, mac, nonces) = file.key_from_password(&PASSWORD).unwrap().to_keys();
        let key: [u8; 64] = [encrypt, mac, nonces].concat().try_into().unwrap();
        let key: &Key = (&key).into();
        Self { bench, cipher: Aes256CtrPoly1305Aes::new(key) }
    }

    fn sealed(&self, text: &[u8], nonce: u8) -> Vec<u8> {
        let mut text = text.to_vec();
        let nonce = [nonce; 16];
        let nonce_of: &Nonce<Aes256CtrPoly1305Aes> = (&nonce).into();
        let tag = self.cipher.encrypt_in_place_detached(nonce_of, &[], &mut text).unwrap();
        [&nonce[..], &text, &tag].concat()
    }

    fn opened(&self, sealed: &[u8]) -> Vec<u8> {
        let (nonce, rest) = sealed.split_at(16);
        let (text, tag) = rest.split_at(rest.len() - 16);
        let nonce: &Nonce<Aes256CtrPoly1305Aes> = nonce.into();
        let mut text = text.to_vec();
        self.cipher.decrypt_in_place_detached(nonce, &[], &mut text, tag.into()).unwrap();
        text
    }

    /// All packs that the index names.
    fn packs(&self) -> Vec<Value> {
        let read = |path| {
            let text = self.opened(&fs::read(path).unwrap());
            let text = match text.split_first() {
                Some((2, packed)) => zstd::decode_all(packed).unwrap(),
                _ => text,
            };
            serde_json::from_slice::<Value>(&text).unwrap()["packs"].as_array().unwrap().clone()
        };
        self.bench.files("index").into_iter().flat_map(read).collect()
    }

    fn add(&self, kind: &str, content: &[u8]) -> String {
        let id = hex(&Sha256::digest(content));
        let folder = self.bench.path("repository").join(kind);
        let folder = if kind == "data" { folder.join(&id[..2]) } else { folder };
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(&id), content).unwrap();
        id
    }

    /// A pack that says that it has what these have, and has nothing of it.
    fn pack(&self, blobs: &[Value]) -> Value {
        let (mut content, mut header, mut own) = (Vec::new(), Vec::new(), Vec::new());
        for blob in blobs {
            let part = self.sealed(b"none of it", 3);
            let length = u32::try_from(part.len()).unwrap();
            let id = blob["id"].as_str().unwrap();
            let bytes = (0..32).map(|at| u8::from_str_radix(&id[at * 2..at * 2 + 2], 16).unwrap());
            header.push(u8::from(blob["type"] == "tree"));
            header.extend(length.to_le_bytes());
            header.extend(bytes);
            own.push(json!({ "id": id, "type": blob["type"], "offset": content.len(), "length": length }));
            content.extend(part);
        }
        let header = self.sealed(&header, 4);
        content.extend(&header);
        content.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
        json!({ "id": self.add("data", &content), "blobs": own })
    }

    /// Index files that say that packs of files have nothing, which is all in another one; so many that one of them is
    /// read before the true one. Trees are left: a prune reads these.
    fn forge(&self) {
        let mut packs = self.packs();
        packs.retain(|pack| pack["blobs"][0]["type"] == "data");
        let blobs: Vec<Value> =
            packs.iter().flat_map(|pack| pack["blobs"].as_array().unwrap()).cloned().collect();
        let own = [self.pack(&blobs)];
        let long_ago = "2020-01-01T00:00:00Z";
        for number in 0..24 {
            let empty = packs.iter().map(|pack| {
                let size = fs::metadata(self.path_of(pack)).unwrap().len();
                json!({ "id": pack["id"], "blobs": [], "size": size, "time": long_ago })
            });
            let mut listed: Vec<Value> = own.iter().cloned().chain(empty).collect();
            listed.iter_mut().for_each(|pack| pack["time"] = json!(long_ago));
            let index = json!({ "packs": listed, "number": number });
            self.add("index", &self.sealed(&serde_json::to_vec(&index).unwrap(), number));
        }
    }

    fn path_of(&self, pack: &Value) -> std::path::PathBuf {
        let id = pack["id"].as_str().unwrap();
        self.bench.path("repository").join("data").join(&id[..2]).join(id)
    }
}

#[test]
fn an_index_of_somebody_who_has_the_key_takes_nothing_good_away() {
    let Some(faketime) = find_tool("faketime") else {
        return leave_out(Part::Faketime, "it is not installed");
    };
    let mut bench = Bench::made();
    let from = bench.path("from");
    many_small(&from, 60);
    fs::write(from.join("large"), noise(1, 9_000_000)).unwrap();
    let made = bench.save(&from).id;
    bench.verify(made);
    let good = bench.files("data");
    Thief::new(&bench).forge();

    let said: Vec<_> = [0, 25, 50]
        .map(|hours| {
            bench.prefix = vec![faketime.display().to_string(), "-f".to_owned(), format!("+{hours}h")];
            bench.run(Task::Prune { dry_run: false })
        })
        .into_iter()
        .collect();
    bench.prefix.clear();
    assert!(good.iter().all(|path| path.exists()), "good packs were deleted: {said:?}");
    for one in said {
        let failed = one.failed();
        assert_eq!(failed.kind, FailedKind::Damaged, "{failed:?}");
        assert!(failed.problems.iter().any(|one| one.at.starts_with("index/")), "{failed:?}");
        assert!(failed.problems.iter().any(|one| one.at.starts_with("data/")), "{failed:?}");
    }

    // What is not true is taken out; then all is as it was.
    let Done::Repair { lost, .. } = bench.run(Task::Repair).done() else { panic!() };
    assert_eq!(lost.iter().filter(|one| one.at.starts_with("index/")).count(), 24, "{lost:?}");
    assert_eq!(bench.files("data"), good);
    bench.verify(made);
    assert_eq!(bench.check(), []);
    bench.run(Task::Prune { dry_run: false }).done();
    bench.restore(made, "data", &bench.path("into"));
    assert_same(&from, &bench.path("into"));
}
